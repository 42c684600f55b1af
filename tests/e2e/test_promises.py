# SPDX-License-Identifier: Apache-2.0
"""The five promises of the durable store, a test of its name each. tests/crash asks harder (power cuts, failing disks, every kind of
damage), tests/integration asks real servers."""

import json
import os
import random
import re
import signal
import time

import pytest

from loomtest import events, process
from loomtest.bulk import Fault
from loomtest.feed import stored_by_number
from loomtest.load import Load
from loomtest.process import PATIENCE, wait_for


@pytest.fixture
def outbox(tmp_path):
    return tmp_path / "outbox"


@pytest.fixture
def start(start_loom, server, outbox):
    """Another Loom on the same outbox."""

    def start(**more):
        short = {"retry_backoff_ms": 10, "retry_max_backoff_ms": 100, "flush_interval_ms": 10}
        config = {
            "output": {"type": "elasticsearch", "elasticsearch_url": server.url},
            "output.outbox": {"dir": outbox, **short, **more},
            "observability": {"metrics_enabled": True},
        }
        return start_loom(config)

    return start


def killed(loom):
    """As by the kernel, and no fault of Loom's."""
    loom.kill()
    loom.expected_status = -signal.SIGKILL


def dead(outbox):
    path = outbox / "dead-letters.ndjson"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def drained(loom):
    wait_for(lambda: loom.metrics().sum("loom_store_events") == 0, "an empty outbox")


def test_acked_is_safe(start, server):
    """Killed under load, three times, in front of a server that is away at times."""
    acknowledged = set()
    for i in range(3):
        server.always = Fault(status=503) if i == 1 else None
        loom = start()
        load = Load(loom, first=100000 * i)
        wait_for(lambda: len(load.acknowledged) > 500, "acknowledged events")  # pylint: disable=cell-var-from-loop
        killed(loom)
        load.stop()
        acknowledged |= load.acknowledged
    server.always = None
    loom = start()
    drained(loom)
    assert acknowledged <= set(stored_by_number([server]))


def test_repeat_is_harmless(start, server):
    """The same batch again, before and after a restart, and replies that are lost: each event is there once."""
    batch = events.batch(events.numbered(0, 50))
    loom = start()
    server.script(Fault(close=True), Fault(cut=30), Fault(body=b"?"))
    for _ in range(3):
        assert loom.post(batch).status == 204
    drained(loom)
    killed(loom)
    loom = start()
    assert loom.post(batch).status == 204
    drained(loom)
    assert set(stored_by_number([server])) == set(range(50)) and server.count() == 50
    assert server.repeats > 0


def test_one_verdict_each(start, server, outbox):
    """Refused for good, refused for now, failing, taken: no event suffers for its neighbour."""
    tries = {}

    def rule(document, _):
        number = json.loads(document)["n"]
        tries[number] = tries.get(number, 0) + 1
        if number % 10 == 3:
            return (400, "document_parsing_exception", "never")
        if number % 10 in (5, 6) and tries[number] < 4:
            return (429, "es_rejected_execution_exception", "later") if number % 10 == 5 else (500, "oops", "oops")
        return None

    server.rule = rule
    loom = start()
    assert loom.post(events.batch(events.numbered(0, 100))).status == 204
    drained(loom)
    assert sorted(stored_by_number([server])) == [n for n in range(100) if n % 10 != 3]
    assert sorted(letter["event"]["n"] for letter in dead(outbox)) == [n for n in range(100) if n % 10 == 3]
    assert all(count == (4 if n % 10 in (5, 6) else 1) for n, count in tries.items())


def test_intake_stands(start, server):
    """While the server hangs sensors are answered as ever, until the outbox is full: then 503, with Retry-After. When it is back
    everything is delivered, and there is room again."""
    loom = start(max_bytes=1000000)
    server.always = Fault(hang=True)
    acknowledged, number, longest_s = set(), 0, 0.0
    while True:
        began = time.monotonic()
        pad = "%x" % random.getrandbits(8000)  # hard to compress
        answer = loom.post(events.batch([events.event(n=n, pad=pad) for n in range(number, number + 20)]))
        longest_s = max(longest_s, time.monotonic() - began)
        if answer.status != 204:
            break
        acknowledged.update(range(number, number + 20))
        number += 20
    assert answer.status == 503 and answer.retry_after > 0
    assert longest_s < 9 * PATIENCE, "not ack_timeout_ms"
    assert len(acknowledged) > 500
    assert "full" in loom.reasons()
    server.always = None
    server.release()
    drained(loom)
    assert acknowledged <= set(stored_by_number([server]))
    wait_for(lambda: loom.ready().status == 200, "/ready 200")
    assert loom.post(events.batch(events.numbered(900000, 1))).status == 204


@pytest.mark.parametrize("state", ["nonsense", "cut", "not-ours", "left-overs"])
def test_always_starts(start, server, outbox, state):
    """Whatever stands in the directory, Loom serves, and says what it sets aside."""
    server.always = Fault(status=503)
    loom = start()
    assert loom.post(events.batch(events.numbered(0, 100))).status == 204
    killed(loom)
    database, log = outbox / "outbox.db", outbox / "outbox.db-wal"
    if state == "nonsense":
        database.write_bytes(os.urandom(50000))
        log.write_bytes(os.urandom(50000))
    elif state == "cut":
        database.write_bytes(database.read_bytes()[:5000])
        log.unlink()
    elif state == "not-ours":
        database.write_bytes(b"#!/bin/sh\necho this is no outbox\n")
        log.unlink()
    else:
        for name in ("outbox.db.new", "outbox.db.salvaged-journal", "outbox.db-journal", "dead-letters.ndjson"):
            (outbox / name).write_bytes(os.urandom(3000))
    server.always = None
    loom = start()
    assert loom.post(events.batch(events.numbered(1000, 10))).status == 204
    drained(loom)
    found = set(stored_by_number([server]))
    assert set(range(1000, 1010)) <= found
    if state == "left-overs":
        assert set(range(100)) <= found
    else:
        assert loom.log(level="error", message=re.compile("set aside"))
        assert list(outbox.glob("outbox.db.damaged-*"))


def test_file_of_a_later_version(start, server, outbox):
    """After a downgrade the file is left to whom it belongs: nothing starts with it, and all is told what to do."""
    server.always = Fault(status=503)
    loom = start()
    assert loom.post(events.batch(events.numbered(0, 100))).status == 204
    loom.stop()
    database = outbox / "outbox.db"
    ours = database.read_bytes()
    theirs = ours[:63] + b"\x02" + ours[64:]  # user_version
    database.write_bytes(theirs)
    for arguments in ((), ("check",), ("outbox",)):
        result = process.run(*arguments, "-config", loom.config_path)
        assert result.returncode == 1, result
        assert len(process.complaints(result.err)) == 1
        assert str(database) in result.err and "a later version of Loom" in result.err
    assert database.read_bytes() == theirs
    assert not list(outbox.glob("outbox.db.*"))
    database.write_bytes(ours)
    server.always = None
    drained(start())
    assert set(stored_by_number([server])) == set(range(100))


def test_larger_than_the_outbox(start, server):
    """What will never fit is told so, and is nobody else's trouble."""
    loom = start(max_bytes=20000)
    pad = "%x" % random.getrandbits(8000)
    small = events.batch([events.event(n=0, pad=pad)])
    large = events.batch([events.event(n=n, pad="%x" % random.getrandbits(8000)) for n in range(1, 21)])
    answer = loom.post(large)
    assert answer.status == 413 and answer.json()["error"] == "batch_too_large"
    assert "outbox" in answer.json()["detail"] and answer.header("Retry-After") is None
    assert loom.ready().status == 200
    assert loom.post(small).status == 204
    drained(loom)
    assert set(stored_by_number([server])) == {0}
