# SPDX-License-Identifier: Apache-2.0
"""What the crash tests share: the Looms that they are about, sensors that keep book of every promise, and the one question
of all these tests: is every acknowledged event delivered or in the dead letters, once, byte for byte?"""

import itertools
import json
import os
import random
import re
import subprocess
import threading
import time
from pathlib import Path

from loomtest import events, process, wire
from loomtest.bulk import BulkServer, Fault
from loomtest.process import PATIENCE, TOKEN, Loom
from loomtest.wire import Closed

CRASH_BUILD = Path(os.environ.get("LOOM_CRASH_BUILD", process.REPOSITORY / "build-crash"))
NOSYNC_BUILD = Path(os.environ.get("LOOM_NOSYNC_BUILD", process.REPOSITORY / "build-nosync"))
BINARY = CRASH_BUILD / "loom"  # with crash points, else as it is released
BINARY_WITHOUT_SYNC = NOSYNC_BUILD / "loom"
SHIM = CRASH_BUILD / "tests" / "crash" / "shim.so"

REJECTED = 13  # numbers with this remainder of 50 are refused by the server


def config(server, outbox, **more):
    """Short waits, so that much happens in a short run."""
    return {
        "server": {"workers": 2},
        "output": {"type": "elasticsearch", "elasticsearch_url": server.url, "ack_timeout_ms": 5000},
        "output.outbox": {
            "dir": outbox,
            "flush_interval_ms": 5,
            "retry_backoff_ms": 10,
            "retry_max_backoff_ms": 50,
            **more,
        },
        "observability": {"metrics_enabled": True},
    }


class Lost(AssertionError):
    """An acknowledged event is nowhere."""


class Server(BulkServer):
    """A bulk server that refuses some events for good, knows when it got which, and is moody on demand."""

    def __init__(self, position=lambda: 0, mood=0.0, seed=0):
        self.received = {}  # number -> position of the journal at that time
        self.mood = mood  # share of the requests that go wrong
        self._choose = random.Random(seed)
        self._position = position
        super().__init__()
        self.rule = self._rule

    def _rule(self, document, _):
        number = json.loads(document)["n"]
        if number % 50 == REJECTED:
            return (400, "document_parsing_exception", "refused for good")
        if self.mood and self._choose.random() < self.mood / 10:
            return (429, "es_rejected_execution_exception", "later")
        self.received.setdefault(number, self._position())
        return None

    def next_fault(self):
        fault = super().next_fault()
        if fault is not None or self._choose.random() >= self.mood:
            return fault
        return self._choose.choice(
            (
                Fault(status=503),
                Fault(status=429),
                Fault(status=500),
                Fault(close=True),
                Fault(reset=True, take=False),
                Fault(cut=self._choose.randrange(200)),
                Fault(delay=0.05),
                Fault(body=b"<html>"),
            )
        )


class Book:
    """What was sent, and what was promised. Shared by the sensors of all rounds of a test."""

    def __init__(self, seed=0):
        self.lock = threading.Lock()
        self.sent = {}  # number -> the event's bytes
        self.acknowledged = {}  # number -> position of the journal when that was known
        self.open = []  # batches that were sent and not acknowledged
        self.statuses = {}
        self._choose = random.Random(seed)
        self._next = itertools.count()

    def batch(self):
        """A new batch, or one that has to be sent again, as a sensor does that was not told 204."""
        with self.lock:
            if self.open and self._choose.random() < 0.3:
                return self.open.pop(self._choose.randrange(len(self.open)))
            count = self._choose.choice((1, 5, 20, 50))
            pad = self._choose.choice((0, 100, 100, 1000, 4000))
            first = next(self._next)
            made = []
            for number in range(first, first + count):
                text = "%x" % self._choose.getrandbits(4 * pad + 4)  # hard to compress
                made.append(events.event(n=number, pad=text))
                self.sent[number] = made[-1]
            for _ in range(count - 1):
                next(self._next)
            return made

    def answered(self, batch, status, position):
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status != 204:
                self.open.append(batch)
                return
            for event in batch:
                self.acknowledged.setdefault(json.loads(event)["n"], position)


class Sensors:
    """Threads that post batches until they are stopped or Loom is gone."""

    def __init__(self, loom, book, threads=3, position=lambda: 0, pause=0.0):
        self._loom, self._book, self._position, self._pause = loom, book, position, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                with self._loom.connect() as connection:
                    while not self._stop.is_set() and self._post(connection):
                        self._stop.wait(self._pause)
            except OSError:
                if self._loom.process.poll() is not None:
                    return
                time.sleep(0.01)

    def _post(self, connection):
        batch = self._book.batch()
        status = 0
        try:
            answer = connection.post(events.batch(batch), token=TOKEN)
            status = answer.status
            assert status in (204, 503), answer
            return answer.header("Connection") != "close"
        except Closed:
            return False
        finally:
            self._book.answered(batch, status, self._position())

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()


def dead_letters(outbox, torn=False):
    """Number -> letter. The same event may have two letters when Loom was killed between the letter's sync and that of the
    record. `torn`: a power cut may have left a line that is none."""
    found = {}
    for name in ("dead-letters.ndjson.1", "dead-letters.ndjson"):
        path = outbox / name
        for line in path.read_bytes().split(b"\n") if path.exists() else []:
            try:
                letter = json.loads(line)
            except ValueError:
                assert torn or line == b"", line
                continue
            before = found.setdefault(letter["event"]["n"], letter)
            assert before["id"] == letter["id"] and before["event"] == letter["event"]
    return found


def documents(server):
    """Number -> bytes of what the server has; no number twice."""
    found = {}
    for document in server.stored().values():
        number = json.loads(document)["n"]
        assert number not in found, f"event {number} has two ids"
        found[number] = document
    return found


def check(book, wanted, server, outbox, before=(), torn=False):
    """The promises. `wanted`: numbers of acknowledged events; `before`: numbers that an earlier server has."""
    stored, dead = documents(server), dead_letters(outbox, torn)
    missing = set(wanted) - set(stored) - set(dead) - set(before)
    if missing:
        raise Lost(f"{len(missing)} of {len(wanted)} acknowledged events are lost, such as {sorted(missing)[:5]}")
    for number, document in stored.items():
        assert document == book.sent[number], f"event {number} was changed"
        assert number % 50 != REJECTED
    for number, letter in dead.items():
        assert number % 50 == REJECTED, f"event {number} was not refused, but is a dead letter: {letter}"
        assert letter["event"] == json.loads(book.sent[number])


def start(directory, server, outbox, binary=None, env=None, **more):
    """A Loom; not yet ready."""
    directory.mkdir(parents=True, exist_ok=True)
    return Loom(directory, config(server, outbox, **more), env=env, binary=str(binary or BINARY))


def wait_serving(loom, seconds=60.0):
    """True when it listens, False when it ended before."""
    deadline = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < deadline:
        if any('"listening"' in line for line in loom.log_lines):
            loom.wait_ready(management=False)
            told = loom.wait_log(message="management listening")
            loom.management = wire.parse_address(told[0]["address"])
            return True
        if loom.process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError("Loom neither serves nor ends; log:\n" + loom.log_text())


def wait_drained(loom, seconds=60.0):
    """Everything in the outbox has its verdict."""
    loom.wait_ready()
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        metrics = loom.metrics()
        if metrics.sum("loom_store_events") == 0 and metrics.sum("loom_output_in_flight_events") == 0:
            return metrics
        if time.monotonic() > deadline:
            raise AssertionError(f"not drained: {metrics.sum('loom_store_events')} events; log:\n" + loom.log_text())
        time.sleep(0.01)


def events_on_disk(loom):
    """What is open by the last commit."""
    done = subprocess.run([BINARY, "outbox", "-config", loom.config_path], capture_output=True, text=True, check=True)
    return int(re.search(r"^events: +(\d+)$", done.stdout, re.MULTILINE)[1])


def crash_points():
    """The names in CRASH_POINT() all over src/."""
    names = set()
    for path in (process.REPOSITORY / "src").rglob("*.c"):
        names.update(re.findall(r'\bCRASH_POINT\("([^"]+)"\)', path.read_text()))
    return sorted(names)
