# SPDX-License-Identifier: Apache-2.0
"""Clients that are slow, silent, rude or many, and the real time-outs (10 s for the headers, 30 s for the body; the
unit tests of http/ have all of them, in milliseconds)."""

import socket
import threading
import time

import pytest

from loomtest import events
from loomtest.process import PATIENCE, TOKEN, wait_for
from loomtest.wire import Closed, Connection, request


def ends_after(connection, began):
    """Seconds from `began` until the server ends the connection, and what it said before."""
    connection.socket.settimeout(100 * PATIENCE)
    said = b""
    try:
        while data := connection.socket.recv(4096):
            said += data
    except (ConnectionResetError, BrokenPipeError):
        pass
    return time.monotonic() - began, said


@pytest.mark.slow
def test_time_outs(start_loom, tls_config):
    """All at once, each on its own connection: nobody holds a place for long by saying little."""
    loom, secure = start_loom(), start_loom({"server": tls_config})
    results = {}

    def watch(name, target, sent, drip=b""):
        def run():
            began = time.monotonic()
            with Connection(target.ingest) as connection:
                connection.send(sent)
                stop = threading.Event()
                if drip:
                    threading.Thread(target=_drip, args=(connection, drip, stop), daemon=True).start()
                results[name] = ends_after(connection, began)
                stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    head = request(token=TOKEN, body=b"", length=1000)
    threads = [
        watch("headers", loom, head[:30]),
        watch("headers in drips", loom, head[:30], drip=b"X-A: b\r\n"),
        watch("body", loom, head + b"[{}"),
        watch(
            "chunked body",
            loom,
            request(token=TOKEN, body=None, headers=[("Transfer-Encoding", "chunked")]) + b"10\r\n[{}",
        ),
        watch("handshake", secure, b""),
        watch("handshake begun", secure, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ]
    for thread in threads:
        thread.join(120 * PATIENCE)
        assert not thread.is_alive()
    for name, least, most in [
        ("headers", 9, 25),
        ("headers in drips", 9, 25),
        ("body", 28, 55),
        ("chunked body", 28, 55),
        ("handshake", 9, 25),
        ("handshake begun", 9, 25),
    ]:
        seconds, said = results[name]
        assert least < seconds < most * PATIENCE, (name, seconds)
        if name.startswith("handshake"):
            assert not said.startswith(b"HTTP/")
        else:
            assert said.startswith(b"HTTP/1.1 408 "), (name, said)
    assert loom.post(b"[]").status == 204


def _drip(connection, data, stop):
    """A header line every half second: progress, but no end."""
    try:
        while not stop.wait(0.5):
            connection.send(data)
    except OSError:
        pass


def test_many_stalled_clients_do_not_slow_the_others(start_loom):
    loom = start_loom()
    stalled = [loom.connect() for _ in range(300)]
    for n, connection in enumerate(stalled):
        data = request(token=TOKEN, body=b"[{}]")
        connection.send(data[: n % len(data)])
    began = time.monotonic()
    for n in range(20):
        assert loom.post(b"[{}]").status == 204
    assert time.monotonic() - began < 9 * PATIENCE, "as long as the others may stall"
    for connection in stalled:
        connection.close()


def test_a_slow_but_steady_client_is_served(start_loom):
    loom = start_loom()
    batch = events.numbered(0, 30, pad=100)
    data = request(token=TOKEN, body=events.batch(batch))
    with loom.connect() as connection:
        for i in range(0, len(data), 200):
            connection.send(data[i : i + 200])
            time.sleep(0.02)
        assert connection.read().status == 204
    assert loom.lines(30) == batch


def test_a_client_that_vanishes_in_its_body_leaves_nothing(start_loom):
    loom = start_loom({"observability": {"metrics_enabled": True}})
    data = request(token=TOKEN, body=b'[{"half":1}]')
    for cut in range(1, len(data), 9):
        connection = loom.connect()
        connection.send(data[:cut])
        if cut % 2:
            connection.reset()
        else:
            connection.close()
    assert loom.post(b'[{"whole":1}]').status == 204
    assert loom.lines(1) == [b'{"whole":1}']
    wait_for(lambda: loom.metrics().sum("loom_ingest_inflight_bytes") == 0, "nothing in flight")


def test_a_client_that_does_not_wait_for_its_answer(start_loom):
    """Its batch was whole, so it may be delivered; what matters is that Loom survives."""
    loom = start_loom()
    for n in range(50):
        connection = loom.connect()
        connection.send(request(token=TOKEN, body=events.batch(events.numbered(n, 5, pad=1000))))
        connection.reset()
    assert loom.post(b'[{"n":99}]').status == 204


def test_a_client_that_never_reads_its_answers(start_loom):
    """It pipelines for as long as it can; Loom stops reading from it and serves the others."""
    loom = start_loom()
    with loom.connect(receive_buffer=4096) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        connection.socket.settimeout(1)
        data = request(path="/nowhere", body=None, token=TOKEN) * 50
        sent = 0
        try:
            for _ in range(5000):
                connection.socket.sendall(data)
                sent += len(data)
        except TimeoutError:
            pass
        assert sent < 5000 * len(data), "everything was read, and the answers pile up in memory"
        assert loom.post(b"[{}]").status == 204


def test_random_bytes(start_loom):
    """Noise of any kind ends in 400 or in the end of the connection, and never in a crash."""
    import random

    generator = random.Random(7)
    loom = start_loom()
    good = request(token=TOKEN, body=b'[{"source":{"ip":"203.0.113.5"}}]')
    for _ in range(150):
        noise = bytearray(good)
        for _ in range(generator.randrange(1, 6)):
            noise[generator.randrange(len(noise))] = generator.randrange(256)
        with loom.connect() as connection:
            try:
                connection.send(bytes(noise))
                connection.socket.shutdown(socket.SHUT_WR)
                assert connection.read().status in (204, 400, 401, 404, 405, 413, 415, 431)
            except (Closed, OSError):  # it may have gone before all was sent
                pass
    assert loom.post(b"[]").status == 204
