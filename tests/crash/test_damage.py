# SPDX-License-Identifier: Apache-2.0
"""Store files that are cut, flipped and mixed up. Loom starts from any of them, serves, says what it sets aside, and delivers what
is whole. The outbox is made once, each row of it one batch, so that a test knows which events a page is about."""

import contextlib
import json
import random
import shutil
import sqlite3
import struct

import pytest

import pages
import rig
from loomtest import events
from loomtest.process import wait_for

ROWS = 60
WAL_HEAD, FRAME_HEAD = 32, 24


class Store:
    """An outbox as a dead Loom left it: `closed` in order (all in the database file), or `killed` (the end of it in the log)."""

    def __init__(self, directory, orderly):
        self.outbox = directory / "outbox"
        self.batches = []  # row by row
        choose = random.Random(1 + orderly)
        server = rig.Server()
        looms = []

        def start():
            looms.append(rig.start(directory / f"loom{len(looms)}", server, self.outbox))
            assert rig.wait_serving(looms[-1])
            return looms[-1]

        loom = start()
        server.always = rig.Fault(status=503)
        self._fill(loom, choose, 0, ROWS // 2)
        # Brings the log home; what follows stays in it when the process is killed.
        loom.stop()
        loom = start()
        self._fill(loom, choose, ROWS // 2, ROWS)
        # Some more, which are delivered: of one row a part only, and two leave free pages behind.
        delivered = [self._batch(choose, first, 60000) for first in (1000000, 1000020)]
        delivered.append(self.batches[-1][:1])
        wanted = {json.loads(event)["n"] for batch in delivered for event in batch}
        server.rule = lambda document, _: None if json.loads(document)["n"] in wanted else (429, "busy", "busy")
        server.always = None
        for batch in delivered[:2]:
            assert loom.post(events.batch(batch)).status == 204
        wait_for(lambda: server.count() == len(wanted), "some deliveries")
        wait_for(lambda: rig.events_on_disk(loom) == self._open(wanted), "them to be settled on disk")
        if orderly:
            loom.stop()
        else:
            loom.kill()
        server.stop()
        self.partly = {json.loads(delivered[2][0])["n"]}
        self.sent = {json.loads(event)["n"]: event for batch in self.batches for event in batch}
        self.left_over = {json.loads(event)["n"]: event for batch in delivered for event in batch}

    @staticmethod
    def _batch(choose, first, size):
        count = choose.choice((1, 4, 10))
        return [events.event(n=first + i, pad="%x" % choose.getrandbits(4 * size // count)) for i in range(count)]

    def _fill(self, loom, choose, first, end):
        for i in range(first, end):
            batch = self._batch(choose, 100 * i + 20, choose.choice((300, 3000, 3000, 90000)))
            assert loom.post(events.batch(batch)).status == 204
            self.batches.append(batch)

    def _open(self, delivered):
        return len({json.loads(event)["n"] for batch in self.batches for event in batch} - delivered)

    def database(self):
        return pages.Database((self.outbox / "outbox.db").read_bytes())

    def numbers(self, rows):
        """Of the events of these rows, by their order, that are not delivered."""
        return {json.loads(event)["n"] for i in rows for event in self.batches[i]} - self.partly


@pytest.fixture(scope="module", params=(True, False), ids=("closed", "killed"))
def store(request, tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"), request.param)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("closed"), True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("killed"), False)


class Outcome:
    def __init__(self, store, directory, change, wanted, looms, told=True):
        """Copies the store, changes it, starts a Loom from it. `wanted`: numbers of events that have to come; `told`: if any
        does not come, the log has to say that something is wrong."""
        outbox = directory / "outbox"
        shutil.copytree(store.outbox, outbox)
        change(outbox)
        with rig.Server() as server:
            self.loom = rig.start(directory, server, outbox)
            looms.append(self.loom)
            assert rig.wait_serving(self.loom), f"Loom does not start; log:\n{self.loom.log_text()}"
            # It serves: what is new comes through.
            new = [events.event(n=2000000 + i) for i in range(5)]
            wait_for(lambda: self.loom.post(events.batch(new)).status == 204, "204")
            rig.wait_drained(self.loom)
            self.found = rig.documents(server)
            self.loom.stop()
        known = {**store.sent, **store.left_over, **{json.loads(event)["n"]: event for event in new}}
        for number, document in self.found.items():
            assert document == known[number], f"event {number} was changed"
        missing = set(wanted) - set(self.found)
        assert not missing, f"{len(missing)} events are whole, and were not delivered: {sorted(missing)[:5]}; log:\n{self.loom.log_text()}"
        assert {json.loads(event)["n"] for event in new} <= set(self.found)
        lost = set(store.sent) - set(self.found) - store.partly
        if lost and told:
            assert self.loom.log(level="error"), f"{len(lost)} events are lost without a word"
        self.lost = lost


@pytest.fixture
def outcome(tmp_path, killed_at_the_end):
    return lambda store, change, wanted, **more: Outcome(store, tmp_path, change, wanted, killed_at_the_end, **more)


def flip(path, at, mask=0x10):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def test_store_has_every_kind(closed, killed):
    """Or what follows would test nothing."""
    database = closed.database()
    kinds = set(database.kinds.values())
    assert {"schema", "map", "rows-leaf", "rows-interior", "rows-overflow", "settled-leaf", "damaged-leaf"} <= kinds, kinds
    assert {"free-trunk", "free-leaf"} <= kinds, kinds
    assert len(database.rows) == ROWS
    assert (killed.outbox / "outbox.db-wal").stat().st_size > 100000
    assert len(killed.database().rows) == ROWS // 2


def test_undamaged(store, outcome):
    done = outcome(store, lambda outbox: None, store.sent.keys() - store.partly)
    assert not done.loom.log(level="error") and not done.loom.log(level="warn")
    assert not done.found.keys() & store.partly, "what was settled before does not come again"


KINDS = (
    "schema",
    "map",
    "rows-interior",
    "rows-leaf",
    "rows-overflow",
    "settled-leaf",
    "damaged-leaf",
    "free-trunk",
    "free-leaf",
)
DAMAGES = ("one-bit", "many-bits", "zeros", "noise", "another-page")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_page(closed, outcome, kind, damage):
    """One page of each kind. Every row that has no byte on it is delivered."""
    choose = random.Random(f"{kind} {damage}")
    database = closed.database()
    of_kind = database.of_kind(kind)
    if not of_kind:
        pytest.skip(f"this store has no {kind}")
    number, size = choose.choice(of_kind), database.page_size
    at = (number - 1) * size

    def change(outbox):
        path = outbox / "outbox.db"
        if damage == "one-bit":
            flip(path, at + choose.choice((0, 1, 3, 5, 8, choose.randrange(size))), 1 << choose.randrange(8))
        elif damage == "many-bits":
            for _ in range(40):
                flip(path, at + choose.randrange(size), 1 << choose.randrange(8))
        else:
            other = choose.randrange(len(database.data) // size) + 1
            new = {"zeros": bytes(size), "noise": choose.randbytes(size), "another-page": database.page(other)}[damage]
            with path.open("r+b") as file:
                file.seek(at)
                file.write(new)

    outcome(closed, change, closed.numbers(i for i, row in enumerate(database.rows) if number not in row.pages))


@pytest.mark.parametrize("at", range(0, 100, 3))
def test_file_header(closed, outcome, at):
    """Each field of the first 100 bytes: no row is there, so no row is lost."""

    def change(outbox):
        for offset in range(at, min(at + 3, 100)):
            flip(outbox / "outbox.db", offset, 0x85)

    outcome(closed, change, closed.numbers(range(ROWS)))


@pytest.mark.parametrize("part", range(0, 10))
def test_file_is_cut(closed, outcome, part):
    """Rows whose pages are all there are delivered."""
    database = closed.database()
    size = len(database.data) * part // 10 + 77 * part
    whole = {number for number in database.kinds if number * database.page_size <= size}

    def change(outbox):
        with (outbox / "outbox.db").open("r+b") as file:
            file.truncate(size)

    # An empty file is a new one, for all that Loom can know.
    outcome(closed, change, closed.numbers(i for i, row in enumerate(database.rows) if row.pages <= whole), told=size > 0)


# ---- The log


def frames(outbox):
    """Offset, and whether it ends a commit, of each frame of the log."""
    data = (outbox / "outbox.db-wal").read_bytes()
    size = struct.unpack_from(">I", data, 8)[0]
    found = []
    for at in range(WAL_HEAD, len(data) - FRAME_HEAD - size + 1, FRAME_HEAD + size):
        if data[at + 8 : at + 16] == data[16:24]:  # of this round of the log
            found.append((at, struct.unpack_from(">I", data, at + 4)[0] != 0))
    return found


def in_database(store):
    """Events that do not need the log."""
    return store.numbers(range(ROWS // 2))


def test_log_is_cut(killed, outcome):
    """Within the last commit: that one is gone, all before it are there."""
    all_frames = frames(killed.outbox)
    assert len([at for at, ends in all_frames if ends]) >= ROWS // 2

    def change(outbox):
        with (outbox / "outbox.db-wal").open("r+b") as file:
            file.truncate(all_frames[-1][0] + 1000)

    # So a power cut leaves it that came before the sync: nothing to say.
    outcome(killed, change, killed.numbers(range(ROWS - 2)), told=False)


@pytest.mark.parametrize("seed", range(12))
def test_log_is_flipped(killed, outcome, seed):
    """A bit in a frame, its head or its page: what came before is there. (SQLite's log is a chain: what follows a bad frame does not
    count for it. Loom looks for records in there, too, but then a page may be missing that a row needs.)"""
    choose = random.Random(seed)
    all_frames = frames(killed.outbox)
    commits = [i for i, (_, ends) in enumerate(all_frames) if ends]
    nth = choose.randrange(len(all_frames))
    before = sum(i < nth for i in commits)
    offset = choose.choice((0, 5, 9, 17, FRAME_HEAD, FRAME_HEAD + choose.randrange(4096)))

    def change(outbox):
        flip(outbox / "outbox.db-wal", all_frames[nth][0] + offset)

    # The commits of the start come first, so as many rows as commits before, less those, are safe to expect.
    others = len(commits) - ROWS // 2
    assert others >= 0
    outcome(killed, change, killed.numbers(range(ROWS // 2 + max(0, before - others))))


@pytest.mark.parametrize("at", range(0, WAL_HEAD, 4))
def test_log_header(killed, outcome, at):
    outcome(killed, lambda outbox: flip(outbox / "outbox.db-wal", at), in_database(killed))


def change_both(database, log):
    def change(outbox):
        for name, how in (("outbox.db", database), ("outbox.db-wal", log)):
            path = outbox / name
            if how == "gone":
                path.unlink()
            elif how == "empty":
                path.write_bytes(b"")
            elif how == "noise":
                path.write_bytes(random.Random(1).randbytes(path.stat().st_size))
            elif how == "short-noise":
                path.write_bytes(random.Random(2).randbytes(777))

    return change


FATES = ("well", "gone", "empty", "noise", "short-noise")


@pytest.mark.parametrize("log", FATES)
@pytest.mark.parametrize("database", FATES)
def test_whole_files(killed, outcome, database, log):
    """Database and log each well, gone, empty or nonsense: what only needs the well one is there."""
    wanted = set()
    if database == "well":
        wanted = killed.numbers(range(ROWS)) if log == "well" else in_database(killed)
    # What is gone, or empty, leaves no trace.
    outcome(killed, change_both(database, log), wanted, told=not {database, log} & {"gone", "empty"})


def plan_damage(store, choose):
    """For some files of the outbox: what to write where, and the size to cut it to, if it is to be cut."""
    plan = {}
    for path in sorted(store.outbox.iterdir()):
        size = path.stat().st_size
        if size == 0 or choose.random() < 0.3:
            continue
        writes = [
            (choose.randrange(size), choose.randbytes(choose.choice((1, 8, 512, 5000))))
            for _ in range(choose.choice((1, 3, 30)))
        ]
        plan[path.name] = (writes, choose.randrange(size) if choose.random() < 0.3 else None)
    return plan


def looks_torn(store, plan):
    """The end of the log is not as it was, so that it looks like what a power cut leaves of commits that nobody was told of."""
    writes, cut = plan.get("outbox.db-wal", ((), None))
    return cut is not None or any(at + len(new) > frames(store.outbox)[-1][0] for at, new in writes)


@pytest.mark.parametrize("seed", range(10))
def test_always_starts(store, outcome, seed):
    """Anything anywhere: bits, blocks, cuts, in every file of the directory; and a second start from what the first has left."""
    plan = plan_damage(store, random.Random(seed))

    def change(outbox):
        for name, (writes, cut) in plan.items():
            with (outbox / name).open("r+b") as file:
                for at, new in writes:
                    file.seek(at)
                    file.write(new)
                if cut is not None:
                    file.truncate(cut)

    done = outcome(store, change, (), told=not looks_torn(store, plan))
    with rig.Server() as server:
        again = rig.start(done.loom.directory / "again", server, done.loom.directory / "outbox")
        try:
            assert rig.wait_serving(again), again.log_text()
            rig.wait_drained(again)
            again.stop()
        finally:
            again.kill()


def test_row_of_nonsense(closed, outcome):
    """A row that SQLite finds in order, and whose content is none: set aside in the table `damaged`, counted, and the rest goes."""

    def change(outbox):
        with contextlib.closing(sqlite3.connect(outbox / "outbox.db")) as database:
            (seq,) = database.execute("SELECT seq FROM rows ORDER BY seq LIMIT 1 OFFSET 7").fetchone()
            database.execute("UPDATE rows SET data = randomblob(length(data)) WHERE seq = ?", (seq,))
            database.commit()

    done = outcome(closed, change, closed.numbers(i for i in range(ROWS) if i != 7))
    assert done.lost == closed.numbers([7])
    with contextlib.closing(sqlite3.connect(done.loom.directory / "outbox" / "outbox.db")) as database:
        assert database.execute("SELECT count(*) FROM damaged").fetchone()[0] >= 1
