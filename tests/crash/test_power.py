# SPDX-License-Identifier: Apache-2.0
"""Power cuts, failing syncs and full disks. A Loom runs under shim.c; disk.py then makes what a disk may hold after a power
cut at any moment of that run, and another Loom starts from it. kill -9 alone proves nothing about syncs: what was written
stays in the page cache."""

import random
import re
import shutil
import signal
import subprocess
import time

import pytest

import disk
import rig
from loomtest import events
from loomtest.process import wait_for

HOW = ("none", "all", "some", "some")


class World:
    """An outbox under the shim, with the server and the book that go with it."""

    def __init__(self, tmp_path, seed, looms, binary=None):
        self.tmp_path, self.looms, self.binary = tmp_path, looms, binary
        self.choose = random.Random(seed)
        self.book = rig.Book(seed)
        self.outbox, self.journal, self.faults = tmp_path / "outbox", tmp_path / "journal", tmp_path / "faults"
        self.outbox.mkdir()
        self.disk = disk.Disk(self.outbox)
        self.server = rig.Server(self.position, mood=0.1, seed=seed)
        self.loom = None
        self.failed = False  # the disk, at any time
        self.set_faults()

    def position(self):
        return self.journal.stat().st_size if self.journal.exists() else 0

    def set_faults(self, *rules):
        self.failed = self.failed or any(" -" not in rule for rule in rules)
        new = self.tmp_path / "faults.new"
        new.write_text("\n".join(rules) + "\n")
        new.rename(self.faults)

    def start(self, ready=True):
        shim = {
            "LD_PRELOAD": str(rig.SHIM),
            "LOOM_SHIM_DIR": str(self.outbox),
            "LOOM_SHIM_JOURNAL": str(self.journal),
            "LOOM_SHIM_FAULTS": str(self.faults),
        }
        directory = self.tmp_path / f"loom{len(self.looms)}"
        self.loom = rig.start(directory, self.server, self.outbox, self.binary, env=shim)
        self.looms.append(self.loom)
        assert rig.wait_serving(self.loom), self.loom.log_text()
        if ready:
            self.loom.wait_ready()
        return self.loom

    def run(self, seconds, least=0):
        """Sensors for a while, in which at least so many events are acknowledged; then the end of the process. The journal has all
        of it."""
        self.start()
        before = len(self.book.acknowledged)
        sensors = rig.Sensors(self.loom, self.book, position=self.position)
        time.sleep(seconds)
        wait_for(lambda: len(self.book.acknowledged) >= before + least, "sensors that are busy")
        self.loom.kill()
        sensors.stop()

    def faults_hit(self):
        return sum(entry.kind == disk.FAULT for entry in disk.read_journal(self.journal))

    def positions(self, count):
        """Moments for a cut: right after a sync, right before one, in the midst of everything, and the end."""
        entries = disk.read_journal(self.journal)
        syncs = [i for i, entry in enumerate(entries) if entry.kind in (disk.SYNC, disk.SYNC_FAILED, disk.SYNC_DIR)]
        chosen = {len(entries) - 1}
        for _ in range(count):
            at = self.choose.choice(syncs) if syncs and self.choose.random() < 0.7 else self.choose.randrange(len(entries))
            chosen.add(max(0, at - self.choose.randint(0, 1)))
        return entries, [entries[i].end for i in sorted(chosen)]

    def cut_and_check(self, how, name):
        """A power cut at the disk's position: a Loom that starts from what is left owes everything it had promised. Returns the
        directory as it was found."""
        at = self.disk.position
        found = self.tmp_path / name
        self.disk.cut(found, how, self.choose.random())
        kept = self.tmp_path / (name + ".kept")
        shutil.copytree(found, kept)
        with rig.Server() as server:
            loom = rig.start(self.tmp_path / (name + ".loom"), server, found, self.binary)
            try:
                assert rig.wait_serving(loom), f"Loom does not start; log:\n{loom.log_text()}"
                rig.wait_drained(loom)
                loom.stop()
                # A power cut leaves nothing that would have to be set aside; a disk that has failed before may.
                if not self.failed:
                    assert not loom.log(level="error", message=re.compile("^outbox")), loom.log_text()
                promised = {number for number, known in self.book.acknowledged.items() if known <= at}
                delivered = {number for number, known in self.server.received.items() if known <= at}
                rig.check(self.book, promised, server, found, before=delivered, torn=True)
            except rig.Lost as lost:
                raise rig.Lost(f"{lost} after a cut at {at} ({how}), see {kept}; log:\n{loom.log_text()}") from None
            finally:
                loom.kill()
        shutil.rmtree(found)
        return kept

    def check_cuts(self, count, name):
        """Cuts all over the run, in each manner."""
        entries, positions = self.positions(count)
        made = 0
        for position in positions:
            entries = self.disk.replay(entries, position)
            for how in HOW if position == positions[-1] else (self.choose.choice(HOW),):
                shutil.rmtree(self.cut_and_check(how, f"{name}-{made}"))
                made += 1
        return made


@pytest.mark.parametrize("seed", range(4))
def test_acked_is_safe(tmp_path, seed, killed_at_the_end):
    """Cuts at any moment of a run under load."""
    world = World(tmp_path, seed, killed_at_the_end)
    world.set_faults("sync * -2 0 0")  # a disk takes its time
    world.run(1.0, least=300)
    assert world.check_cuts(12, "cut") >= 12
    world.server.stop()


def test_one_cut_after_the_other(tmp_path, killed_at_the_end):
    """Each Loom starts from what the cut before has left."""
    world = World(tmp_path, 7, killed_at_the_end)
    for generation in range(4):
        world.run(0.4)
        entries, _ = world.positions(0)
        world.disk.replay(entries, world.position())
        kept = world.cut_and_check(world.choose.choice(HOW), f"cut-{generation}")
        world.loom.wait()
        shutil.rmtree(world.outbox)
        shutil.copytree(kept, world.outbox)
        world.journal.unlink()
        world.disk = disk.Disk(world.outbox)
        # What was promised up to here holds from the beginning of the next journal on.
        world.book.acknowledged = dict.fromkeys(world.book.acknowledged, 0)
        world.server.received = dict.fromkeys(world.server.received, 0)
    world.server.stop()


def test_without_sync_it_fails(tmp_path, killed_at_the_end):
    """These tests notice a Loom that does not sync: a build with synchronous=OFF loses what it has promised."""
    world = World(tmp_path, 1, killed_at_the_end, binary=rig.BINARY_WITHOUT_SYNC)
    world.server.always = rig.Fault(status=503)  # nothing is delivered, all is in the outbox
    world.run(0.6, least=100)
    world.disk.replay(*[disk.read_journal(world.journal)], world.position())
    with pytest.raises(rig.Lost):
        world.cut_and_check("none", "cut")
    world.server.stop()


# name -> rule, and whether it is the store that fails (or the dead letters)
FAULTS = {
    "log-sync": ("sync outbox.db-wal 5 4 0", True),
    "log-sync-once": ("sync outbox.db-wal 5 4 1", True),
    "log-write-eio": ("write outbox.db-wal 5 9 0", True),
    "log-write-enospc": ("write outbox.db-wal 28 9 0", True),
    "log-write-enospc-once": ("write outbox.db-wal 28 30 1", True),
    "everything-enospc": ("write * 28 9 0", True),
    "everything-eio": ("write * 5 9 0\nsync * 5 4 0", True),
    "letters-sync": ("sync dead-letters.ndjson 5 0 0", False),
    "letters-write": ("write dead-letters.ndjson 28 0 0", False),
}


def hear_503(book):
    """Waits until every sensor has heard it again, and some more than once."""
    before = book.statuses[503]
    wait_for(lambda: book.statuses[503] > before + 30, "sensors to hear 503")


@pytest.mark.parametrize("fault", FAULTS)
def test_failing_disk(tmp_path, fault, killed_at_the_end):
    """No 204 for what is not safe, /ready 503 and the reason; when the fault is lifted it goes on without a restart, and a power
    cut at any time in between loses nothing that was promised."""
    rule, of_store = FAULTS[fault]
    world = World(tmp_path, 5, killed_at_the_end)
    loom = world.start()
    sensors = rig.Sensors(loom, world.book, position=world.position, pause=0.01)
    wait_for(lambda: len(world.book.acknowledged) > 100, "some load")
    world.set_faults(*rule.split("\n"))
    wait_for(world.faults_hit, "the fault to be met")
    if of_store:
        wait_for(lambda: world.book.statuses.get(503), "a 503")
        if not fault.endswith("once"):
            wait_for(lambda: loom.ready().status == 503 and "outbox" in loom.reasons(), "/ready 503")
            wait_for(lambda: loom.log(level="error"), "a word in the log")
            hear_503(world.book)  # so that those that were under way have been written down
            before = len(world.book.acknowledged)
            hear_503(world.book)
            assert len(world.book.acknowledged) == before, "204 while nothing can be made safe"
    else:
        wait_for(lambda: "dead letters" in loom.ready().body.decode(), "/ready to name the dead letters")
        wait_for(lambda: world.faults_hit() > 3, "it to be tried again and again")
    world.set_faults()
    wait_for(lambda: loom.ready().status == 200, "/ready 200")
    before = len(world.book.acknowledged)
    wait_for(lambda: len(world.book.acknowledged) > before + 100, "204s again")
    loom.kill()
    sensors.stop()
    world.check_cuts(8, "cut")
    world.server.stop()


@pytest.mark.parametrize("error", (5, 28), ids=("eio", "enospc"))
def test_checkpoint_fails(tmp_path, error, killed_at_the_end):
    """The database file itself can't be written or synced, while its log can: intake need not notice, and nothing is lost."""
    world = World(tmp_path, 6, killed_at_the_end)
    world.server.always = rig.Fault(status=503)
    loom = world.start()
    world.set_faults(f"write outbox.db {error} 0 0", f"sync outbox.db {error} 0 0")
    sensors = rig.Sensors(loom, world.book, position=world.position)
    wait_for(world.faults_hit, "a checkpoint")
    time.sleep(0.2)
    world.set_faults()
    before = len(world.book.acknowledged)
    wait_for(lambda: len(world.book.acknowledged) > before + 100, "204s again")
    world.server.always = None
    loom.kill()
    sensors.stop()
    world.check_cuts(6, "cut")
    world.server.stop()


def test_start_on_a_failing_disk(tmp_path, killed_at_the_end):
    """Nothing can be read safely at the start: Loom serves all the same, with 503, and gets well."""
    world = World(tmp_path, 8, killed_at_the_end)
    world.server.always = rig.Fault(status=503)
    world.run(0.3, least=1)
    world.set_faults("sync outbox.db* 5 0 0", "write outbox.db* 5 0 0")
    loom = world.start(ready=False)
    batch = world.book.batch()
    assert loom.post(events.batch(batch)).status == 503
    world.book.answered(batch, 503, world.position())
    world.set_faults()
    world.server.always = None
    wait_for(lambda: loom.post(events.batch(batch)).status == 204, "204")
    world.book.answered(batch, 204, world.position())
    rig.wait_drained(loom)
    loom.stop()
    rig.check(world.book, world.book.acknowledged, world.server, world.outbox)
    world.server.stop()


def test_stop_on_a_hanging_disk(tmp_path, killed_at_the_end):
    """A sync that never comes back: the end comes all the same, with a word and a status, and nothing promised is lost."""
    world = World(tmp_path, 9, killed_at_the_end)
    world.run(0.3)
    loom = world.start()
    sensors = rig.Sensors(loom, world.book, position=world.position)
    wait_for(lambda: len(world.book.acknowledged) > 400, "some load")
    world.set_faults("sync outbox.db* -600000 0 0")
    wait_for(lambda: world.book.statuses.get(503), "a 503")
    began = time.monotonic()
    loom.send_signal(signal.SIGTERM)
    assert loom.wait() == 1
    assert 15 <= time.monotonic() - began
    assert loom.log(level="error", message=re.compile("hangs"))
    sensors.stop()
    world.set_faults()
    loom = world.start()
    rig.wait_drained(loom)
    loom.stop()
    rig.check(world.book, world.book.acknowledged, world.server, world.outbox)
    world.server.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "loom-test", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system (root): {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_disk_fills_and_drains(tmp_path, small_disk, killed_at_the_end):
    """Twice: the output is away until the disk is full, comes back, and the outbox is empty again, without a restart."""
    book, outbox = rig.Book(9), small_disk / "outbox"
    server = rig.Server()
    loom = rig.start(tmp_path / "loom", server, outbox)
    killed_at_the_end.append(loom)
    assert rig.wait_serving(loom)
    for _ in range(2):
        server.always = rig.Fault(status=503)
        sensors = rig.Sensors(loom, book)
        wait_for(lambda: "outbox: No space left" in loom.reasons(), "/ready to name the full disk")
        wait_for(lambda: book.statuses.get(503), "sensors to hear 503")
        sensors.stop()
        server.always = None
        rig.wait_drained(loom)
        wait_for(lambda: loom.ready().status == 200, "/ready 200")
        batch = book.batch()
        wait_for(lambda: loom.post(events.batch(batch)).status == 204, "204")
        book.answered(batch, 204, 0)
    rig.wait_drained(loom)
    loom.stop()
    rig.check(book, book.acknowledged, server, outbox)
    assert len(book.acknowledged) > 1000
    server.stop()


def test_full_by_quota(tmp_path, killed_at_the_end):
    """test_intake_stands for a crash: full by max_bytes, killed, full again, drained."""
    book, outbox = rig.Book(10), tmp_path / "outbox"
    server = rig.Server()
    server.always = rig.Fault(status=503)
    for _ in range(2):
        loom = rig.start(tmp_path / f"loom{len(killed_at_the_end)}", server, outbox, max_bytes=1000000)
        killed_at_the_end.append(loom)
        assert rig.wait_serving(loom)
        sensors = rig.Sensors(loom, book)
        wait_for(lambda: "full" in loom.ready().body.decode(), "a full outbox")
        wait_for(lambda: book.statuses.get(503, 0) > 3, "503")
        loom.kill()
        sensors.stop()
    server.always = None
    loom = rig.start(tmp_path / "last", server, outbox, max_bytes=1000000)
    killed_at_the_end.append(loom)
    assert rig.wait_serving(loom)
    rig.wait_drained(loom)
    loom.stop()
    rig.check(book, book.acknowledged, server, outbox)
    server.stop()
