# SPDX-License-Identifier: Apache-2.0
"""The end: orderly by SIGTERM or SIGINT, at once by a second one, and by force. What was acknowledged is out in every
case."""

import re
import signal
import time

import pytest

from loomtest import events
from loomtest.load import Load, check_kept
from loomtest.process import TOKEN, Drain, wait_for
from loomtest.wire import Closed, Connection, request


def forced(loom):
    """Whether the end had to be: no clock tells it on a busy machine, so ask the log."""
    return bool(loom.log(message=re.compile("cutting them off")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_under_load(start_loom, number):
    loom = start_loom({"server": {"workers": 2}})
    load = Load(loom, threads=4)
    wait_for(lambda: len(load.acknowledged) >= 1000, "some load")
    loom.stop(number)
    load.stop()
    assert not forced(loom)
    numbers = check_kept(load.acknowledged, loom.output)
    assert len(numbers) == loom.output.count(b"\n"), "a line stands twice"
    assert set(load.statuses) <= {204, 503}, load.statuses


def test_under_load_over_tls(start_loom, tls_config, tls_client):
    loom = start_loom({"server": tls_config})
    load = Load(loom, threads=3, tls=tls_client)
    wait_for(lambda: len(load.acknowledged) >= 500, "some load")
    loom.stop()
    load.stop()
    check_kept(load.acknowledged, loom.output)


METRICS = {"observability": {"metrics_enabled": True}}


def half_sent(loom, body):
    """A connection with all but the last byte of a request sent, and the headers read by Loom: from there on it is in
    flight. (What is still unread at the signal may be dropped with the connection.)"""
    connection = loom.connect()
    connection.send(request(token=TOKEN, body=body)[:-1])
    wait_for(lambda: loom.metrics().sum("loom_ingest_inflight_bytes") > 0, "the request to be in flight")
    return connection


@pytest.mark.parametrize("rest", [b"", b"0123456789"], ids=["never", "after"])
def test_a_refused_body_does_not_hold_up_the_end(start_loom, rest):
    """Who was answered before its body, and then sends it late or not at all, has nothing to wait for."""
    loom = start_loom()
    with loom.connect() as connection:
        connection.send(request(body=b"", length=10))
        assert connection.read().status == 401
        loom.send_signal(signal.SIGTERM)
        connection.send(rest)
        loom.stop()
        assert not forced(loom)


def draining(loom):
    return "draining" in loom.reasons()


def test_what_is_in_flight_is_finished(start_loom):
    """While one request is still on its way: /ready says draining, nobody new is let in, idle connections end."""
    loom = start_loom(METRICS)
    idle = loom.connect()
    assert idle.post(b"[]", token=TOKEN).status == 204
    connection = half_sent(loom, b'[{"n":1}]')
    loom.send_signal(signal.SIGTERM)
    wait_for(lambda: draining(loom), "/ready to say draining")
    assert loom.get("/health").status == 200
    assert idle.at_end()
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        Connection(loom.ingest)
    assert loom.process.poll() is None
    connection.send(b"]")
    answer = connection.read()
    assert answer.status == 204
    assert answer.header("Connection") == "close"
    assert connection.at_end()
    loom.stop()
    assert loom.lines() == [b'{"n":1}']
    idle.close()
    connection.close()


@pytest.mark.parametrize(
    "first,second",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)],
    ids=["term-term", "term-int", "int-term"],
)
def test_a_second_signal_ends_it_at_once(start_loom, first, second):
    loom = start_loom(METRICS)
    with half_sent(loom, b"[{}]"):
        loom.send_signal(first)
        wait_for(lambda: draining(loom), "/ready to say draining")
        loom.send_signal(second)
        loom.expected_status = 128 + second  # as a shell says it: this was no orderly end
        loom.stop()
        assert not forced(loom)


@pytest.mark.slow
def test_a_client_that_never_ends_is_cut_off(start_loom):
    """15 s are the most that a client can hold the end up."""
    loom = start_loom(METRICS)
    with half_sent(loom, b"[{}]"):
        began = time.monotonic()
        loom.stop(seconds=45)
        assert 13 < time.monotonic() - began
    assert forced(loom)
    assert loom.lines() == []


@pytest.mark.slow
def test_blocked_output_does_not_hold_up_the_end(start_loom, pipe):
    """Nobody reads: the sensors get 503, and Loom is gone in time, with nothing promised that is not out."""
    loom = start_loom({"output": {"ack_timeout_ms": 500}}, stdout=pipe.writer)
    load = Load(loom, threads=2, batch=10, pad=500)
    wait_for(lambda: load.statuses.get(503, 0) >= 2, "503")
    loom.stop(seconds=45)
    load.stop()
    pipe.close_writer()
    output = b""
    while data := pipe.read_available(0.5):
        output += data
    lines = output.split(b"\n")[:-1]  # the last line may have been cut: nobody took its rest
    assert load.acknowledged <= set(events.numbers(lines))


def test_output_that_is_slow_is_waited_for(start_loom, pipe):
    """At the signal events wait for a slow reader: they go out before the end."""
    loom = start_loom({"output": {"ack_timeout_ms": 10000}}, stdout=pipe.writer)
    load = Load(loom, threads=3, batch=10, pad=500)
    drain = Drain(pipe)
    wait_for(lambda: len(load.acknowledged) >= 100, "some load")
    output = drain.pause()
    time.sleep(0.2)  # the pipe is full now, and batches wait
    loom.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    drain = Drain(pipe)
    loom.stop()
    load.stop()
    check_kept(load.acknowledged, output + drain.finish())


def test_kill_loses_nothing_acknowledged(start_loom, pipe):
    """SIGKILL in the midst of it: what was answered 204 was in the pipe before the answer."""
    loom = start_loom({"server": {"workers": 2}}, stdout=pipe.writer)
    drain = Drain(pipe)
    load = Load(loom, threads=4, batch=10, pad=300)
    wait_for(lambda: len(load.acknowledged) >= 1000, "some load")
    loom.expected_status = -signal.SIGKILL
    loom.send_signal(signal.SIGKILL)
    loom.stop()
    load.stop()
    check_kept(load.acknowledged, drain.finish(), whole=False)


def test_signal_right_after_the_start(start_loom):
    for _ in range(5):
        loom = start_loom(ready=False)
        loom.wait_log(message="listening")
        loom.stop()


def test_signal_during_the_start(start_loom, short_path):
    """From the moment that clients can connect the end is an orderly one: status 0, and no socket stays behind."""
    path = short_path / "in.sock"

    def listens():
        try:
            Connection(str(path)).close()
        except OSError:
            return False
        return True

    for _ in range(20):
        loom = start_loom({"server": {"listen_address": f"unix:{path}", "workers": 64}}, ready=False)
        while not listens():
            assert loom.process.poll() is None
        loom.stop()
        assert not path.exists()


def test_idle_connections_do_not_hold_it_up(start_loom, tls_config, tls_client):
    for config, tls in (({}, None), ({"server": tls_config}, tls_client)):
        loom = start_loom(config)
        connections = [loom.connect(tls=tls) for _ in range(20)] + [Connection(loom.ingest) for _ in range(5)]
        for connection in connections[:20]:
            assert connection.post(b"[]", token=TOKEN).status == 204
        loom.stop()
        assert not forced(loom)
        for connection in connections:
            connection.close()


def test_requests_after_the_signal_are_not_lost_silently(start_loom):
    """A pipelined request that is no longer served gets no 204."""
    loom = start_loom(METRICS)
    connection = half_sent(loom, b'[{"n":1}]')
    loom.send_signal(signal.SIGTERM)
    wait_for(lambda: draining(loom), "/ready to say draining")
    connection.send(b"]" + request(token=TOKEN, body=b'[{"n":2}]'))
    acknowledged = set()
    try:
        for number in (1, 2):
            if connection.read().status == 204:
                acknowledged.add(number)
    except (Closed, ConnectionResetError):
        pass
    loom.stop()
    assert acknowledged == set(events.numbers(loom.lines()))
    connection.close()
