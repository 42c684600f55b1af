# SPDX-License-Identifier: Apache-2.0
"""Every limit of the configuration at, below and above its value."""

import re
import time
from pathlib import Path

import pytest

from loomtest import events, wire
from loomtest.process import BINARY, SENSOR, SENSOR_2, TOKEN, TOKEN_2, Drain, wait_for
from loomtest.wire import request


def blank_body(size):
    """A lawful body of exactly `size` bytes."""
    return b"[" + b" " * (size - 2) + b"]"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("limit", [1000, 70000])
def test_max_body_size_bytes(start_loom, limit, chunked):
    loom = start_loom({"limits": {"max_body_size_bytes": limit, "max_event_size_bytes": 500}})

    def send(size):
        body = blank_body(size)
        options = {"chunks": [body[i : i + 333] for i in range(0, size, 333)]} if chunked else {"body": body}
        with loom.connect() as connection:
            return connection.request(token=TOKEN, **options)

    for size, status in [(limit - 1, 204), (limit, 204), (limit + 1, 413), (limit * 2, 413)]:
        answer = send(size)
        assert answer.status == status, size
        assert status == 204 or answer.word == "payload_too_large"


def test_max_body_size_default_is_2_mib(start_loom):
    loom = start_loom({"limits": {"max_body_size_bytes": 0}})
    assert loom.post(blank_body(2097152)).status == 204
    assert loom.post(blank_body(2097153)).word == "payload_too_large"


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_max_events_per_batch(start_loom, limit):
    loom = start_loom({"limits": {"max_events_per_batch": limit}})
    most = limit or 500
    for count, status in [(most - 1, 204), (most, 204), (most + 1, 413)]:
        answer = loom.post(events.batch([b"{}"] * count))
        assert answer.status == status, count
        assert status == 204 or answer.word == "batch_too_large"


@pytest.mark.parametrize("limit", [0, 300])
def test_max_event_size_bytes(start_loom, limit):
    loom = start_loom({"limits": {"max_event_size_bytes": limit}})
    most = limit or 131072
    for size, status in [(most - 1, 204), (most, 204), (most + 1, 413)]:
        answer = loom.post(events.batch([b"{}", events.sized(size), b"{}"]))
        assert answer.status == status, size
        assert status == 204 or answer.word == "event_too_large"
    spelt = b'{"a":"' + b"\\u0061" * 20 + b'"}'
    assert len(spelt) < most, "escapes count as they stand"


def burst(connections, count, token=TOKEN, body=b"[]"):
    """Sends `count` requests as fast as it goes, over all connections at once, and gives the answers and the time it
    took."""
    began = time.monotonic()
    for i, connection in enumerate(connections):
        share = count // len(connections) + (i < count % len(connections))
        connection.send(request(token=token, body=body) * share)
    answers = []
    for i, connection in enumerate(connections):
        share = count // len(connections) + (i < count % len(connections))
        answers.extend(connection.read() for _ in range(share))
    return answers, time.monotonic() - began


@pytest.mark.parametrize("rps", [3, 20])
@pytest.mark.parametrize("workers,connection_count", [(1, 1), (2, 6)], ids=["one-worker", "two-workers"])
def test_per_sensor_rps(start_loom, rps, workers, connection_count):
    """A second's worth at once, then a steady refill; the bucket is one for all workers."""
    loom = start_loom({"server": {"workers": workers}, "limits": {"per_sensor_rps": rps}})
    connections = [loom.connect() for _ in range(connection_count)]
    try:
        answers, seconds = burst(connections, rps * 3)
        passed = [answer for answer in answers if answer.status == 204]
        refused = [answer for answer in answers if answer.status == 429]
        assert len(passed) + len(refused) == len(answers)
        assert rps <= len(passed) <= rps + rps * seconds + 1
        if seconds < 1:
            assert refused
        for answer in refused:
            assert answer.word == "rate_limit_exceeded" and answer.retry_after == 1
        assert connections[0].post(b"[]", token=TOKEN_2).status == 204, "another sensor has a bucket of its own"
        time.sleep(1.05)
        answers, seconds = burst(connections[:1], rps)
        assert [answer.status for answer in answers] == [204] * rps, "after a second the bucket is full again"
    finally:
        for connection in connections:
            connection.close()


def test_a_refused_request_costs_nothing(start_loom):
    """Knocking while over the limit does not push the next admission away."""
    loom = start_loom({"limits": {"per_sensor_rps": 2}})
    with loom.connect() as connection:
        began, passed = time.monotonic(), 0

        def knock():
            nonlocal passed
            passed += connection.post(b"[]", token=TOKEN).status == 204
            return passed == 6

        wait_for(knock, "the sixth admission: two at once, two a second then")
        assert time.monotonic() - began > 1.4


def test_per_sensor_rps_default_is_50(start_loom):
    loom = start_loom({"limits": {"per_sensor_rps": 0}})
    with loom.connect() as connection:
        answers, seconds = burst([connection], 150)
        passed = sum(answer.status == 204 for answer in answers)
        assert 50 <= passed <= 50 + 50 * seconds + 1


def test_per_sensor_rps_off(start_loom):
    loom = start_loom({"limits": {"per_sensor_rps": -1}})
    with loom.connect() as connection:
        answers, _ = burst([connection], 300)
        assert {answer.status for answer in answers} == {204}


def test_per_sensor_events_rps(start_loom):
    """Events are counted when the batch is known; a sensor in debt is sent away until it has paid."""
    loom = start_loom({"limits": {"per_sensor_events_rps": 10}})
    ten = events.batch([b"{}"] * 10)
    with loom.connect() as connection:
        statuses = []
        while 429 not in statuses:
            answer = connection.post(ten, token=TOKEN)
            statuses.append(answer.status)
            assert len(statuses) < 10, statuses
        assert statuses[0] == 204 and set(statuses) == {204, 429}
        assert answer.word == "rate_limit_exceeded" and 1 <= answer.retry_after <= 2
        assert connection.post(ten, token=TOKEN_2).status == 204
        time.sleep(answer.retry_after + 0.05)
        assert connection.post(b"[{}]", token=TOKEN).status == 204, "after Retry-After it passes"


def test_per_sensor_events_rps_off_by_default(start_loom):
    loom = start_loom()
    with loom.connect() as connection:
        answers, _ = burst([connection], 20, body=events.batch([b"{}"] * 500))
        assert {answer.status for answer in answers} == {204}


def test_max_connections(start_loom):
    loom = start_loom({"server": {"workers": 1}, "limits": {"max_connections": 3}})
    connections = [loom.connect() for _ in range(3)]
    try:
        for connection in connections:
            assert connection.post(b"[]", token=TOKEN).status == 204
        for _ in range(5):
            assert wire.closed_at_once(loom.ingest)
        assert loom.get("/health").status == 200, "operators are let in"
        for connection in connections:
            assert connection.post(b"[]", token=TOKEN).status == 204, "those who are in stay"
        connections.pop().close()
        connections.append(wait_for(lambda: let_in(loom), "the free place"))
        assert wire.closed_at_once(loom.ingest)
    finally:
        for connection in connections:
            connection.close()


def let_in(loom):
    """A connection that is served, or None: Loom may not have seen yet that another one has gone."""
    connection = loom.connect()
    try:
        if connection.post(b"[]", token=TOKEN).status == 204:
            return connection
    except (wire.Closed, ConnectionError):
        pass
    connection.close()
    return None


def test_max_inflight_bytes(start_loom):
    """A second large body is turned away while the first is still on its way, and let in afterwards."""
    loom = start_loom(
        {
            "limits": {"max_body_size_bytes": 2000000, "max_inflight_bytes": 3000000},
            "observability": {"metrics_enabled": True},
        }
    )
    body = blank_body(1900000)
    with loom.connect() as slow, loom.connect() as second:
        slow.send(request(token=TOKEN, body=body)[:-1])
        wait_for(lambda: loom_inflight(loom) >= 1800000, "the first body to be in flight")
        answer = second.post(body, token=TOKEN)
        assert (answer.status, answer.word) == (503, "unavailable")
        assert 1 <= answer.retry_after <= 60
        assert loom.post(b"[{}]").status == 204, "a small one still fits"
        slow.send(body[-1:])
        assert slow.read().status == 204
    assert loom.post(body).status == 204
    wait_for(lambda: loom_inflight(loom) == 0, "nothing in flight")


def test_an_announced_body_keeps_nobody_out(start_loom):
    """Headers cost a client nothing, so they hold little: many large bodies that never come, and all is served."""
    loom = start_loom(
        {
            "limits": {"max_body_size_bytes": 2000000, "max_inflight_bytes": 3000000},
            "observability": {"metrics_enabled": True},
        }
    )
    silent = [loom.connect() for _ in range(10)]
    try:
        for connection in silent:
            connection.send(request(token=TOKEN, body=b"", length=1900000))
        wait_for(lambda: loom_inflight(loom) > 0, "a body to be in flight")
        assert loom.post(blank_body(1900000)).status == 204
        assert loom_inflight(loom) <= 10 * 65536
    finally:
        for connection in silent:
            connection.close()


def test_a_body_that_no_longer_fits_is_refused_midway(start_loom):
    """Two that were let in and grow: one of them is told, and the other one gets through."""
    loom = start_loom(
        {
            "limits": {"max_body_size_bytes": 2000000, "max_inflight_bytes": 3000000},
            "observability": {"metrics_enabled": True},
        }
    )
    data = request(token=TOKEN, body=blank_body(1900000))
    with loom.connect() as first, loom.connect() as second:
        first.send(data[:1000])
        second.send(data[:1000])
        wait_for(lambda: loom_inflight(loom) >= 2 * 65536, "both to be in flight")
        first.send(data[1000:-1])
        wait_for(lambda: loom_inflight(loom) >= 1900000, "the first to have come")
        second.send(data[1000:])
        answer = second.read()
        assert (answer.status, answer.word) == (503, "unavailable")
        first.send(data[-1:])
        assert first.read().status == 204
    wait_for(lambda: loom_inflight(loom) == 0, "nothing in flight")


def test_max_inflight_bytes_chunked(start_loom):
    """A chunked body says nothing about its size beforehand; it counts all the same."""
    loom = start_loom(
        {
            "limits": {"max_body_size_bytes": 2000000, "max_inflight_bytes": 3000000},
            "observability": {"metrics_enabled": True},
        }
    )
    chunk = b" " * 100000
    with loom.connect() as slow:
        slow.send(request(token=TOKEN, body=blank_body(1900000))[:-1])
        wait_for(lambda: loom_inflight(loom) >= 1800000, "the first body to be in flight")
        with loom.connect() as second:
            answer = second.request(token=TOKEN, chunks=[b"["] + [chunk] * 18 + [b"]"])
            assert (answer.status, answer.word) == (503, "unavailable")


def test_a_client_that_goes_away_gives_its_memory_back(start_loom):
    loom = start_loom(
        {
            "limits": {"max_body_size_bytes": 2000000, "max_inflight_bytes": 3000000},
            "observability": {"metrics_enabled": True},
        }
    )
    body = blank_body(1900000)
    for _ in range(5):
        with loom.connect() as connection:
            connection.send(request(token=TOKEN, body=body)[:-1000])
            wait_for(lambda: loom_inflight(loom) > 0, "a body in flight")
            connection.reset()
        wait_for(lambda: loom_inflight(loom) == 0, "nothing in flight")
    assert loom.post(body).status == 204


def under_sanitizer():
    return b"__asan_init" in Path(BINARY).read_bytes() or b"__tsan_init" in Path(BINARY).read_bytes()


def rss_anon(loom):
    status = (Path("/proc") / str(loom.process.pid) / "status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024


def blocked_loom(start_loom, pipe, limit):
    """A Loom whose output takes nothing, with a batch in it that waits."""
    loom = start_loom(
        {
            "limits": {"max_inflight_bytes": limit},
            "observability": {"metrics_enabled": True},
            "output": {"ack_timeout_ms": 60000},
            "server": {"workers": 1},
        },
        stdout=pipe.writer,
    )
    first = loom.connect()
    first.send(request(token=TOKEN, body=events.batch([events.sized(90000)])))
    wait_for(lambda: loom.metrics().sum("loom_store_batches") == 1, "the first batch to wait")
    return loom, first


def test_what_waits_is_charged_with_all_that_it_holds(start_loom, pipe):
    """White space costs a sensor nothing; a batch that waits must not keep the room that it took."""
    loom, first = blocked_loom(start_loom, pipe, 64 << 20)
    before = rss_anon(loom)
    waiting = [loom.connect() for _ in range(400)]
    for connection in waiting:
        connection.send(request(token=TOKEN, body=b'[{"a":1}' + b" " * 63000 + b"]"))
    wait_for(lambda: loom.metrics().sum("loom_store_batches") == 401, "all to wait")
    assert under_sanitizer() or rss_anon(loom) - before < 8 << 20
    drain = Drain(pipe)
    assert {connection.read().status for connection in [first, *waiting]} == {204}
    assert loom_inflight(loom) == 0
    drain.pause()


def test_what_is_sent_ahead_stays_with_the_system(start_loom, pipe):
    """Pipelined requests behind one that waits are not read into memory that nothing counts."""
    loom, first = blocked_loom(start_loom, pipe, 64 << 20)
    waiting = []
    for _ in range(100):
        waiting.append(loom.connect())
        waiting[-1].send(request(token=TOKEN, body=b"[{}]"))
    wait_for(lambda: loom.metrics().sum("loom_store_batches") == 101, "all to wait")
    time.sleep(0.2)
    before = rss_anon(loom)
    for connection in waiting:
        connection.send(b"POST / HTTP/1.1\r\nA: " + b"x" * 60000)
    time.sleep(0.5)
    assert under_sanitizer() or rss_anon(loom) - before < 2 << 20
    drain = Drain(pipe)
    for connection in [first, *waiting]:
        connection.close()
    wait_for(lambda: loom_inflight(loom) == 0, "nothing in flight")
    drain.pause()


def loom_inflight(loom):
    return loom.metrics().sum("loom_ingest_inflight_bytes")


def test_limits_are_per_sensor_in_the_metrics(start_loom):
    loom = start_loom({"limits": {"per_sensor_rps": 1}, "observability": {"metrics_enabled": True}})
    with loom.connect() as connection:
        answers, _ = burst([connection], 5)
        assert connection.post(b"[]", token=TOKEN_2).status == 204
    limited = sum(answer.status == 429 for answer in answers)
    counted = loom.metrics()
    assert limited >= 1
    assert counted.sum("loom_ingest_requests_total", sensor_id=SENSOR, status="429") == limited
    assert counted.sum("loom_ingest_requests_total", sensor_id=SENSOR_2, status="429") == 0
