# SPDX-License-Identifier: Apache-2.0
"""Standard output that does not take what it is given: nothing is promised meanwhile, nothing promised is lost, lines
stay whole."""

import os
import subprocess
import time

import pytest

from loomtest import events
from loomtest.load import Load, check_kept
from loomtest.process import PATIENCE, Drain, wait_for

# Short waits, so that a stuck output shows soon.
OUTPUT = {
    "output": {"ack_timeout_ms": 300},
    "output.outbox": {"retry_backoff_ms": 50, "retry_max_backoff_ms": 200},
    "observability": {"metrics_enabled": True},
}


class Sender:
    """Posts numbered events and remembers which were acknowledged."""

    def __init__(self, loom, pad):
        self.loom, self.pad = loom, pad
        self.next = 0
        self.acknowledged = set()

    def post(self, count=10):
        answer = self.loom.post(events.batch(events.numbered(self.next, count, self.pad)))
        assert answer.status in (204, 503), answer
        if answer.status == 204:
            self.acknowledged.update(range(self.next, self.next + count))
        else:
            assert answer.word == "unavailable"
            assert answer.retry_after >= 1
        self.next += count
        return answer.status

    def until_503(self, reason=""):
        """Until the output takes nothing more, for a reason that /ready names. (A 503 alone may be a machine that is slow.)"""
        for _ in range(200):
            if self.post() == 503 and reason in self.loom.reasons():
                return
        raise AssertionError("204 for ever into an output that takes nothing")


def test_blocked_pipe(start_loom, pipe):
    """The reader stands still: 503 after ack_timeout_ms, /ready says why; it reads again: all is well."""
    loom = start_loom(OUTPUT, stdout=pipe.writer)
    sender = Sender(loom, pad=300)
    sender.until_503()
    wait_for(lambda: "output" in loom.reasons(), "/ready to name the output")
    began = time.monotonic()
    assert sender.post() == 503
    assert time.monotonic() - began < 9 * PATIENCE, "not ack_timeout_ms's default"
    assert loom.get("/health").status == 200, "alive all the same"
    assert loom.metrics().sum("loom_output_up") == 0
    assert not pipe.is_nonblocking()

    drain = Drain(pipe)
    wait_for(lambda: loom.ready().status == 200, "/ready 200")
    wait_for(lambda: sender.post() == 204, "204")
    wait_for(lambda: loom.metrics().sum("loom_output_up") == 1, "the output to be up")
    loom.stop()
    assert not pipe.is_nonblocking()
    check_kept(sender.acknowledged, drain.finish())


def test_slow_reader(start_loom, pipe):
    """Reads in drips, in the middle of lines: slow, but nothing is lost and nothing is mixed."""
    loom = start_loom({**OUTPUT, "output": {"ack_timeout_ms": 10000}}, stdout=pipe.writer)
    load = Load(loom, threads=3, batch=10, pad=500)
    received = bytearray()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        received += os.read(pipe.reader, 777)
        time.sleep(0.002)
    drain = Drain(pipe)
    load.stop()
    loom.stop()
    assert load.statuses.get(204, 0) >= 3
    check_kept(load.acknowledged, bytes(received) + drain.finish())


def test_blocked_again_and_again(start_loom, pipe):
    loom = start_loom(OUTPUT, stdout=pipe.writer)
    sender = Sender(loom, pad=700)
    received = b""
    for _ in range(3):
        sender.until_503()
        drain = Drain(pipe)
        wait_for(lambda: sender.post() == 204, "204")
        received += drain.finish()
    drain = Drain(pipe)
    loom.stop()
    check_kept(sender.acknowledged, received + drain.finish())


def test_an_event_larger_than_the_pipe(start_loom, pipe):
    """More than one write for one line: what the pipe took stays taken, the rest follows, once."""
    loom = start_loom({**OUTPUT, "output": {"ack_timeout_ms": 10000}}, stdout=pipe.writer)
    drain = Drain(pipe)
    batch = [events.sized(100000, number=n) for n in range(5)]
    assert loom.post(events.batch(batch)).status == 204
    loom.stop()
    assert drain.finish() == b"".join(event + b"\n" for event in batch)


@pytest.mark.slow
def test_closed_pipe(start_loom, pipe):
    """The reader is gone for good: no SIGPIPE, no 204, and it stays up to say so."""
    loom = start_loom(OUTPUT, stdout=pipe.writer)
    drain = Drain(pipe)
    sender = Sender(loom, pad=10)
    wait_for(lambda: sender.post() == 204, "204")
    drain.finish()
    pipe.close_reader()
    for _ in range(4):
        assert sender.post() == 503
    wait_for(lambda: "output" in loom.reasons(), "/ready to name the output")
    assert "pipe" in loom.reasons().lower(), "the reason is told"
    assert loom.process.poll() is None
    assert loom.metrics().sum("loom_output_errors_total") >= 1
    loom.stop()


def test_the_empty_batch_needs_no_output(start_loom, pipe):
    """It holds nothing that could be lost; while the output is known to be down it may be refused like any other."""
    loom = start_loom(OUTPUT, stdout=pipe.writer)
    assert loom.post(b"[]").status == 204


@pytest.mark.slow
def test_dev_full(start_loom):
    """The device that is always full: every write is ENOSPC."""
    with open("/dev/full", "wb") as full:
        loom = start_loom(OUTPUT, stdout=full.fileno())
        sender = Sender(loom, pad=10)
        for _ in range(3):
            assert sender.post() == 503
        wait_for(lambda: "No space left" in loom.reasons(), "/ready to tell the reason")
        loom.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "loom-test", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system (root): {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_full_disk(start_loom, small_disk):
    """A file on a disk that fills in the midst of a line; when there is room again the rest of that line goes first."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 150000)
    path = small_disk / "events.ndjson"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        loom = start_loom(OUTPUT, stdout=descriptor)
        sender = Sender(loom, pad=1500)
        sender.until_503("No space left")
        for _ in range(3):
            assert sender.post() == 503
        filler.unlink()
        wait_for(lambda: loom.ready().status == 200, "/ready 200")
        wait_for(lambda: sender.post(1) == 204, "204")
        loom.stop()
    finally:
        os.close(descriptor)
    output = path.read_bytes()
    check_kept(sender.acknowledged, output)
    assert len(output) > 100000


def test_stop_while_the_disk_is_full(start_loom, small_disk):
    """Half a line is out and its rest never will be: it is cut off, and the next Loom appends whole lines."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 150000)
    path = small_disk / "events.ndjson"
    with path.open("ab") as file:
        loom = start_loom(OUTPUT, stdout=file.fileno())
        sender = Sender(loom, pad=1500)
        sender.until_503("No space left")
        assert not path.read_bytes().endswith(b"\n"), "the disk was full at the end of a line: this proves nothing"
        loom.stop()
        check_kept(sender.acknowledged, path.read_bytes())
        filler.unlink()
        sender.loom = start_loom(OUTPUT, stdout=file.fileno())
        wait_for(lambda: sender.post() == 204, "204")
        sender.loom.stop()
    check_kept(sender.acknowledged, path.read_bytes())


def test_a_file_that_ends_within_a_line(start_loom, tmp_path):
    """As a power cut leaves it: what is appended starts on a line of its own."""
    path = tmp_path / "out.ndjson"
    path.write_bytes(b'{"n":0}\n{"n":')
    with path.open("ab") as file:
        loom = start_loom(stdout=file.fileno())
        assert loom.post(b'[{"n":1},{"n":2}]').status == 204
        loom.stop()
    assert path.read_bytes() == b'{"n":0}\n{"n":\n{"n":1}\n{"n":2}\n'


def test_output_to_a_file(start_loom, tmp_path):
    path = tmp_path / "out.ndjson"
    with path.open("wb") as file:
        loom = start_loom(OUTPUT, stdout=file.fileno())
        load = Load(loom)
        wait_for(lambda: len(load.acknowledged) >= 2000, "2000 events")
        load.stop()
        loom.stop()
    assert check_kept(load.acknowledged, path.read_bytes()) >= load.acknowledged
