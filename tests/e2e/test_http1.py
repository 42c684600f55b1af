# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on the wire: what a client may do is served, what RFC 9112 forbids is refused with 400 and the connection
closed."""

import socket
import threading

import pytest

from loomtest import events
from loomtest.process import SENSOR, TOKEN, running
from loomtest.wire import request

HEAD = f"Host: loom.test\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    config = {"limits": {"max_body_size_bytes": 200000}, "observability": {"metrics_enabled": True}}
    with running(tmp_path_factory.mktemp("http"), config) as loom:
        yield loom


def test_keep_alive(shared):
    with shared.connect() as connection:
        for status, body in [(204, b"[]"), (400, b"{}"), (204, b"[{}]"), (400, b""), (204, b"[]")] * 20:
            answer = connection.post(body, token=TOKEN)
            assert answer.status == status
            assert (answer.header("Connection") or "").lower() != "close"


def test_connection_close(shared):
    with shared.connect() as connection:
        answer = connection.post(b"[]", token=TOKEN, headers=[("Connection", "close")])
        assert answer.status == 204 and answer.header("Connection") == "close"
        assert connection.at_end()


def test_http_1_0_is_served_and_closed(shared):
    with shared.connect() as connection:
        assert connection.post(b"[]", token=TOKEN, version="HTTP/1.0").status == 204
        assert connection.at_end()


def test_pipelining(shared):
    """All requests in one write; answers in order, good and bad ones mixed."""
    requests = [
        request(token=TOKEN, body=b"[{}]"),
        request(path="/nowhere", token=TOKEN),
        request(token="wrong"),
        request(token=TOKEN, body=b"nonsense"),
        request(token=TOKEN, chunks=[b"[", b"]"]),
    ] * 10
    with shared.connect() as connection:
        connection.send(b"".join(requests))
        assert [connection.read().status for _ in requests] == [204, 404, 401, 400, 204] * 10
        assert connection.is_open()


def test_pipelined_after_close_is_not_served(shared):
    with shared.connect() as connection:
        connection.send(
            request(token=TOKEN, headers=[("Connection", "close")]) + request(token=TOKEN, body=b'[{"after":"close"}]')
        )
        assert connection.read().status == 204
        assert connection.at_end()
    assert b'{"after":"close"}' not in shared.written()


def test_byte_by_byte(shared):
    """A request in pieces of one byte, head and chunks alike."""
    with shared.connect() as connection:
        for data in (
            request(token=TOKEN, body=b'[{"a":"b"}]'),
            request(token=TOKEN, chunks=[b'[{"a"', b':"b"}', b"]"]),
        ):
            for i in range(len(data)):
                connection.send(data[i : i + 1])
            assert connection.read().status == 204


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 4096, 100000])
def test_chunks_of_any_size(start_loom, size):
    loom = start_loom()
    batch = events.numbered(0, 300, pad=100)
    body = events.batch(batch)
    if size < 7:
        batch, body = batch[:3], events.batch(batch[:3])
    with loom.connect() as connection:
        assert (
            connection.request(chunks=[body[i : i + size] for i in range(0, len(body), size)], token=TOKEN).status
            == 204
        )
    assert loom.lines(len(batch)) == batch


def test_chunk_extensions_and_trailers(shared):
    with shared.connect() as connection:
        connection.send(
            f"POST / HTTP/1.1\r\n{CHUNKED}".encode() + b'2;name=value;q="x"\r\n[]\r\n0\r\nX-Trailer: yes\r\n\r\n'
        )
        assert connection.read().status == 204
        assert connection.post(b"[]", token=TOKEN).status == 204


def test_trailers_grant_nothing(shared):
    """An Authorization that comes after the body is too late."""
    with shared.connect() as connection:
        connection.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n[]\r\n0\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
        )
        assert connection.read().status == 401


def test_expect_continue(shared):
    body = b'[{"n":1}]'
    with shared.connect() as connection:
        connection.send(request(token=TOKEN, body=b"", length=len(body), headers=[("Expect", "100-continue")]))
        assert connection.read().status == 100
        connection.send(body)
        assert connection.read().status == 204
        assert connection.post(b"[]", token=TOKEN).status == 204


def test_expect_continue_chunked(shared):
    with shared.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n".encode())
        assert connection.read().status == 100
        connection.send(b"2\r\n[]\r\n0\r\n\r\n")
        assert connection.read().status == 204


@pytest.mark.parametrize(
    "arguments,status",
    [
        ({"token": "wrong"}, 401),
        ({"token": TOKEN, "length": 1 << 30}, 413),
        ({"token": TOKEN, "path": "/nowhere"}, 404),
    ],
    ids=["401", "413", "404"],
)
def test_expect_continue_is_not_encouraged_when_refused(shared, arguments, status):
    """The final answer comes in place of 100, so that the body is never sent."""
    with shared.connect() as connection:
        connection.send(request(**{"length": 1000, "body": b"", "headers": [("Expect", "100-continue")], **arguments}))
        assert connection.read().status == status


def test_expect_with_the_body_at_once(shared):
    """A client need not wait: 100 may come or not, then the answer."""
    with shared.connect() as connection:
        connection.send(request(token=TOKEN, body=b"[]", headers=[("Expect", "100-continue")]))
        answer = connection.read()
        if answer.status == 100:
            answer = connection.read()
        assert answer.status == 204


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
def test_upgrade_is_ignored(shared, protocol):
    """The request is served as it stands, body and all, and so is the next one on the connection."""
    upgrade = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", protocol),
        ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
    ]
    sent = [b'{"upgrade":"%s","n":%d}' % (protocol.encode(), n) for n in (1, 2)]
    with shared.connect() as connection:
        connection.send(
            request(token=TOKEN, body=b"[" + sent[0] + b"]", headers=upgrade)
            + request(token=TOKEN, body=b"[" + sent[1] + b"]")
        )
        assert connection.read().status == 204
        assert connection.read().status == 204
    assert [line for line in shared.written() if line in sent] == sent


def test_connect_and_odd_methods_are_refused(shared):
    """CONNECT has a target of its own form; nothing of it may reach a tunnel."""
    with shared.connect() as connection:
        connection.send(f"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n{'x' * 50}".encode())
        assert connection.read().status in (400, 404, 405)


def test_absolute_form(shared):
    with shared.connect() as connection:
        assert connection.post(b"[]", path="http://loom.test/ingest", token=TOKEN).status == 204
        assert connection.post(b"[]", path="http://loom.test/nowhere", token=TOKEN).status == 404


def test_header_names_in_any_case_and_blanks_around_values(shared):
    with shared.connect() as connection:
        connection.send(
            f"POST /ingest HTTP/1.1\r\nhOST:x\r\naUTHORIZATION:\t bearer {TOKEN} \t\r\n"
            f"CONTENT-TYPE:application/json\r\n"
            f"x-sPIP-id:  {SENSOR}\t\r\ncontent-LENGTH:2\r\n\r\n[]".encode()
        )
        assert connection.read().status == 204


def test_empty_line_before_a_request(shared):
    """RFC 9112, 2.2: at least one CRLF there is to be ignored."""
    with shared.connect() as connection:
        connection.send(b"\r\n" + request(token=TOKEN))
        assert connection.read().status == 204


def test_answers_have_a_date(shared):
    import email.utils

    value = shared.post(b"[]").header("Date")
    assert value.endswith(" GMT") and email.utils.parsedate_to_datetime(value)


# What RFC 9112 forbids or leaves to the server, by what is wrong with it.
MALFORMED = {
    "length-and-encoding": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "encoding-and-length": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "two-lengths": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
    "same-length-twice": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\nContent-Length: 2\r\n\r\n[]",
    "length-list": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2, 2\r\n\r\n[]",
    "length-plus": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: +2\r\n\r\n[]",
    "length-minus": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: -2\r\n\r\n[]",
    "length-hex": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 0x2\r\n\r\n[]",
    "length-inner-blank": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 1 2\r\n\r\n[]",
    "length-empty": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: \r\n\r\n[]",
    "length-word": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: two\r\n\r\n[]",
    "length-fraction": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2.0\r\n\r\n[]",
    "length-overflow": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 18446744073709551618\r\n\r\n[]",
    "encoding-unknown": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: gzip\r\n\r\n[]",
    "encoding-gzip-chunked": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    "encoding-chunked-gzip": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    "encoding-identity": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: identity\r\n\r\n[]",
    "encoding-xchunked": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: xchunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    "encoding-chunked-twice": f"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{CHUNKED}2\r\n[]\r\n0\r\n\r\n",
    "encoding-vertical-tab": f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: \x0bchunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    "chunk-size-word": f"POST / HTTP/1.1\r\n{CHUNKED}zz\r\n[]\r\n0\r\n\r\n",
    "chunk-size-minus": f"POST / HTTP/1.1\r\n{CHUNKED}-2\r\n[]\r\n0\r\n\r\n",
    "chunk-size-0x": f"POST / HTTP/1.1\r\n{CHUNKED}0x2\r\n[]\r\n0\r\n\r\n",
    "chunk-size-overflow": f"POST / HTTP/1.1\r\n{CHUNKED}10000000000000002\r\n[]\r\n0\r\n\r\n",
    "chunk-size-empty": f"POST / HTTP/1.1\r\n{CHUNKED}\r\n[]\r\n0\r\n\r\n",
    "chunk-without-end": f"POST / HTTP/1.1\r\n{CHUNKED}2\r\n[]0\r\n\r\n",
    "chunk-bare-lf": f"POST / HTTP/1.1\r\n{CHUNKED}2\n[]\r\n0\r\n\r\n",
    "chunk-data-bare-lf": f"POST / HTTP/1.1\r\n{CHUNKED}2\r\n[]\n0\r\n\r\n",
    "space-after-name": f"POST / HTTP/1.1\r\n{HEAD}X-Thing : 1\r\nContent-Length: 2\r\n\r\n[]",
    "space-after-length": f"POST / HTTP/1.1\r\n{HEAD}Content-Length : 2\r\n\r\n[]",
    "tab-after-name": f"POST / HTTP/1.1\r\n{HEAD}X-Thing\t: 1\r\nContent-Length: 2\r\n\r\n[]",
    "space-in-name": f"POST / HTTP/1.1\r\n{HEAD}X Thing: 1\r\nContent-Length: 2\r\n\r\n[]",
    "name-empty": f"POST / HTTP/1.1\r\n{HEAD}: 1\r\nContent-Length: 2\r\n\r\n[]",
    "name-with-bracket": f"POST / HTTP/1.1\r\n{HEAD}X(Thing: 1\r\nContent-Length: 2\r\n\r\n[]",
    "name-not-ascii": f"POST / HTTP/1.1\r\n{HEAD}X-Th\u00efng: 1\r\nContent-Length: 2\r\n\r\n[]",
    "no-colon": f"POST / HTTP/1.1\r\n{HEAD}X-Thing\r\nContent-Length: 2\r\n\r\n[]",
    "bare-lf-in-request-line": f"POST / HTTP/1.1\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "bare-lf-after-header": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: 1\nContent-Length: 2\r\n\r\n[]",
    "bare-lf-at-the-end": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\n[]",
    "bare-lf-everywhere": f"POST / HTTP/1.1\n{HEAD}Content-Length: 2\n\n[]".replace("\r", ""),
    "bare-cr": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: 1\rContent-Length: 2\r\n\r\n[]",
    "folded": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: 1\r\n  2\r\nContent-Length: 2\r\n\r\n[]",
    "folded-by-tab": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: 1\r\n\t2\r\nContent-Length: 2\r\n\r\n[]",
    "folded-first": f"POST / HTTP/1.1\r\n X-Thing: 1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "no-host": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]".replace("Host: loom.test\r\n", ""),
    "two-hosts": f"POST / HTTP/1.1\r\n{HEAD}Host: other.test\r\nContent-Length: 2\r\n\r\n[]",
    "version-0.9": f"POST / HTTP/0.9\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-1.2": f"POST / HTTP/1.2\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-1.9": f"POST / HTTP/1.9\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-2.0": f"POST / HTTP/2.0\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-1.10": f"POST / HTTP/1.10\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-none": f"POST /\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-small": f"POST / http/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "version-other": f"POST / ICAP/1.0\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "http2-preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "nul-in-value": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: a\0b\r\nContent-Length: 2\r\n\r\n[]",
    "control-in-value": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: a\x01b\r\nContent-Length: 2\r\n\r\n[]",
    "escape-in-value": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: \x1b[31m\r\nContent-Length: 2\r\n\r\n[]",
    "delete-in-value": f"POST / HTTP/1.1\r\n{HEAD}X-Thing: a\x7fb\r\nContent-Length: 2\r\n\r\n[]",
    "control-in-target": f"POST /\x01 HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "nul-in-target": f"POST /\0 HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "space-in-target": f"POST /a b HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "tab-in-request-line": f"POST\t/\tHTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "target-missing": f"POST HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "method-lower": f"post / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n[]",
    "tls-client-hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x55" * 200 + "\r\n\r\n",
    "ssh": "SSH-2.0-Go\r\n\r\n",
    "nonsense": "\0\1\2\3\r\n\r\n",
}
# RFC 9110 makes methods case-sensitive tokens, so "post" may also be a well-formed unknown method.
ALSO = {"method-lower": (405,)}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_refused_and_closed(shared, name):
    """What follows on the connection must not be read as a request: that would be request smuggling."""
    smuggled = b'{"smuggled":"%s"}' % name.encode()
    with shared.connect() as connection:
        connection.send(MALFORMED[name].encode("latin-1") + request(token=TOKEN, body=b"[" + smuggled + b"]"))
        answer = connection.read()
        if answer.status in ALSO.get(name, ()):
            return  # a whole request after all, so the next one is none that was smuggled
        assert answer.status == 400, answer
        assert answer.word == "invalid_request"
        assert answer.header("Connection") == "close"
        assert connection.at_end()
    assert smuggled not in shared.written()


def test_malformed_after_a_good_one(shared):
    """The first is answered, then the fault."""
    with shared.connect() as connection:
        connection.send(request(token=TOKEN, body=b"[{}]") + b"nonsense\r\n\r\n")
        assert connection.read().status == 204
        assert connection.read().status == 400
        assert connection.at_end()


def test_malformed_is_counted(shared):
    before = shared.metrics().sum("loom_ingest_requests_total", status="400")
    with shared.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.read().status == 400
    assert shared.metrics().sum("loom_ingest_requests_total", status="400") == before + 1


def test_head_too_large(shared):
    with shared.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\n{HEAD}".encode())
        sender = threading.Thread(target=_send_quietly, args=(connection, b"X-Pad: " + b"x" * 60000 + b"\r\n\r\n"))
        sender.start()
        assert connection.read().status in (400, 431)
        assert connection.at_end()
        sender.join()


def test_many_headers(shared):
    """Spip sends about ten; proxies add some."""
    assert shared.post(b"[]", headers=[(f"X-Thing-{n}", "v" * 20) for n in range(80)]).status == 204
    assert shared.post(b"[]", headers=[(f"X-Thing-{n}", "v" * 20) for n in range(1000)]).status in (400, 431)


def _send_quietly(connection, data):
    try:
        connection.send(data)
    except OSError:
        pass


@pytest.mark.parametrize(
    "arguments,status",
    [({"token": TOKEN}, 413), ({"token": "wrong"}, 401), ({"path": "/x", "token": TOKEN}, 404)],
    ids=["413", "401", "404"],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_refused_while_sending_still_gets_its_answer(shared, arguments, status, chunked):
    """The client writes 10 MB without looking, and reads only then: the answer must not be lost to a reset."""
    size = 10 << 20
    with shared.connect() as connection:
        if chunked:
            head = request(body=None, headers=[("Transfer-Encoding", "chunked")], **arguments)
            body = (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * (size >> 16) + b"0\r\n\r\n"
        else:
            head, body = request(body=b"", length=size, **arguments), b" " * size
        connection.send(head + body)
        assert connection.read().status == status


def test_half_closed_client_gets_its_answer(shared):
    """A client that has said all may end its side before it reads (`nc -N` does)."""
    with shared.connect() as connection:
        connection.send(request(token=TOKEN, body=b'[{"half":"closed"}]'))
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.read().status == 204
        assert connection.at_end()


def test_unix_socket(start_loom, short_path):
    path = short_path / "in.sock"
    loom = start_loom({"server": {"listen_address": f"unix:{path}"}})
    assert loom.ingest == str(path)
    assert loom.post(b'[{"n":1}]').status == 204
    assert loom.lines(1) == [b'{"n":1}']
    loom.stop()
    assert not path.exists(), "the socket is left behind"


def test_ipv6(start_loom):
    loom = start_loom({"server": {"listen_address": "[::1]:0"}})
    assert loom.ingest[0] == "::1"
    assert loom.post(b"[]").status == 204
