# SPDX-License-Identifier: Apache-2.0
"""kill -9, at random and at the named points, round after round on one outbox, in front of a server that fails now and
then. After the last round everything is drained, and every acknowledged event has to be there once."""

import contextlib
import json
import random
import sqlite3
import time

import pytest

import rig
from loomtest import events
from loomtest.process import PATIENCE

SEQUENCES, ROUNDS = 8, 20
ROUNDS_AT_POINT = 3
# What has to be done before a start that is to come past these points.
PREPARED = ("import-", "salvage-")
POINTS = rig.crash_points()


def test_there_are_points():
    assert len(POINTS) >= 12
    assert SEQUENCES * ROUNDS + len(POINTS) * ROUNDS_AT_POINT >= 200, "rounds in all"


class Rounds:
    """One outbox, one server, many Looms."""

    def __init__(self, tmp_path, seed, looms):
        self.choose = random.Random(seed)
        self.book = rig.Book(seed)
        self.server = rig.Server(mood=0.2, seed=seed)
        self.outbox = tmp_path / "outbox"
        self.looms, self.tmp_path = looms, tmp_path

    def round(self, seconds, point=None, pause=0.0, least=0):
        """A Loom that is killed, by a point or after a while; a while in which at least so many events are acknowledged. True: by
        the point. With a pause between its batches a single sensor sends, without one several do."""
        env = {"LOOM_CRASH_AT": point} if point else None
        loom = rig.start(self.tmp_path / f"round{len(self.looms)}", self.server, self.outbox, env=env)
        self.looms.append(loom)
        if rig.wait_serving(loom):
            sensors = rig.Sensors(loom, self.book, threads=1 if pause else 4, pause=pause)
            before = len(self.book.acknowledged)
            deadline = time.monotonic() + seconds
            at_most = deadline + 60 * PATIENCE
            while loom.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            while loom.process.poll() is None and len(self.book.acknowledged) < before + least and time.monotonic() < at_most:
                time.sleep(0.002)
            by_point = loom.process.poll() is not None
            loom.kill()
            sensors.stop()
        else:
            by_point = True
        loom.wait()
        assert loom.process.returncode == -9, f"ended by itself ({loom.process.returncode}); log:\n{loom.log_text()}"
        loom.check_log()
        return by_point

    def finish(self):
        """A last Loom, which is not killed; and the promises."""
        self.server.mood = 0.0
        loom = rig.start(self.tmp_path / "last", self.server, self.outbox)
        self.looms.append(loom)
        assert rig.wait_serving(loom), loom.log_text()
        metrics = rig.wait_drained(loom)
        assert metrics.sum("loom_store_damaged_records_total") == 0, "kill -9 damages nothing"
        loom.stop()
        rig.check(self.book, self.book.acknowledged, self.server, self.outbox)
        self.server.stop()
        return loom


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_acked_is_safe(tmp_path, seed, killed_at_the_end):
    """Killed at random moments."""
    rounds = Rounds(tmp_path, seed, killed_at_the_end)
    for _ in range(ROUNDS):
        rounds.round(rounds.choose.uniform(0.0, 0.5))
    for _ in range(10 * ROUNDS):  # on a slow machine they come to less
        if len(rounds.book.acknowledged) > 100 * ROUNDS:
            break
        rounds.round(rounds.choose.uniform(0.0, 2.0))
    rounds.finish()
    assert len(rounds.book.acknowledged) > 100 * ROUNDS, "the sensors were busy"


def spool(outbox, book, first):
    """A file as the Go implementation left it, a promise of old: `first` is the number of its first event."""
    lines = [events.event(n=number, pad="spool") for number in range(first, first + 40) if number % 50 != rig.REJECTED]
    outbox.mkdir(exist_ok=True)
    (outbox / f"{first}.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    for line in lines:
        book.sent[json.loads(line)["n"]] = line
        book.acknowledged[json.loads(line)["n"]] = 0


def break_header(outbox):
    """The first page's magic: SQLite takes the file for none, and all of its rows can be found. The log comes home first, as
    it has a good copy of that page."""
    path = outbox / "outbox.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with path.open("r+b") as file:
        file.write(b"no database file")


@pytest.mark.parametrize("point", POINTS)
def test_at_point(tmp_path, point, killed_at_the_end):
    """Killed the first time that it passes the point, the second, and the seventh; what is passed at a start only, each time."""
    rounds = Rounds(tmp_path, 1, killed_at_the_end)
    for i in range(ROUNDS_AT_POINT):
        if point.startswith("import-"):
            spool(rounds.outbox, rounds.book, 1000000 + 1000 * i)
        if point.startswith("salvage-"):
            rounds.server.always = rig.Fault(status=503)
            rounds.round(0.3, least=100)
            rounds.server.always = None
            break_header(rounds.outbox)
        nth = 1 if point.startswith(PREPARED) else (1, 2, 7)[i]
        # What the pump has settled rides along with the next batches, unless there are none for a while.
        pause = 0.4 if point.endswith("-settle") and point.startswith("store-") else 0.0
        hit = rounds.round(60 * PATIENCE, f"{point}:{nth}", pause)
        assert hit, f"{point} was not passed {nth} times"
    rounds.finish()
    rounds.server.stop()


def test_repeat_is_harmless(tmp_path, killed_at_the_end):
    """The same batches before and after kills, each several times: one document an event."""
    rounds = Rounds(tmp_path, 3, killed_at_the_end)
    batches = [events.numbered(50 * i, 12, 50) for i in range(20)]
    for batch in batches:
        rounds.book.sent.update((json.loads(event)["n"], event) for event in batch)
    for _ in range(6):
        loom = rig.start(tmp_path / f"loom{len(killed_at_the_end)}", rounds.server, rounds.outbox)
        killed_at_the_end.append(loom)
        assert rig.wait_serving(loom)
        deadline = time.monotonic() + rounds.choose.uniform(0.1, 0.4)
        posts = 0
        while posts < 8 or time.monotonic() < deadline:  # more than there are batches, in all
            posts += 1
            batch = rounds.choose.choice(batches)
            if loom.post(events.batch(batch)).status == 204:
                rounds.book.acknowledged.update((json.loads(event)["n"], 0) for event in batch)
        loom.kill()
    rounds.finish()
    assert rounds.server.repeats > 0
    assert len(rounds.server.stored()) <= 20 * 12


def test_always_starts(tmp_path, killed_at_the_end):
    """Killed within its start again and again, then left alone."""
    rounds = Rounds(tmp_path, 4, killed_at_the_end)
    rounds.round(0.4)
    for _ in range(15):
        loom = rig.start(tmp_path / f"loom{len(killed_at_the_end)}", rounds.server, rounds.outbox)
        killed_at_the_end.append(loom)
        time.sleep(rounds.choose.uniform(0, 0.06))
        loom.kill()
        loom.check_log()
    rounds.finish()
