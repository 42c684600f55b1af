# SPDX-License-Identifier: Apache-2.0
"""The ingest API as its contract: status, word, headers and the order in which a request is checked; by raw socket and
by curl."""

import json
import subprocess

import pytest

from loomtest import events, wire
from loomtest.process import SENSOR, SENSOR_2, TOKEN, TOKEN_2, running, wait_for
from loomtest.wire import Connection, request

LIMITS = {"max_body_size_bytes": 20000, "max_events_per_batch": 10, "max_event_size_bytes": 1000}

# A row: what is sent, then what must come back. `request` are arguments
# of wire.request; token None sends no Authorization.
ROWS = {
    "204": ({"body": b'[{"n":1}]', "token": TOKEN}, 204, None),
    "204-empty-batch": ({"body": b"[]", "token": TOKEN}, 204, None),
    "204-blanks": ({"body": b" \t\r\n[ ] \n", "token": TOKEN}, 204, None),
    "204-ingest": ({"path": "/ingest", "body": b"[]", "token": TOKEN}, 204, None),
    "204-root": ({"path": "/", "body": b"[]", "token": TOKEN}, 204, None),
    "204-query": ({"path": "/ingest?a=b", "body": b"[]", "token": TOKEN}, 204, None),
    "204-parameter": ({"content_type": "application/json; charset=utf-8", "body": b"[]", "token": TOKEN}, 204, None),
    "204-type-in-capitals": ({"content_type": "Application/JSON", "body": b"[]", "token": TOKEN}, 204, None),
    "204-own-sensor-id": ({"headers": [("X-Spip-ID", SENSOR)], "body": b"[]", "token": TOKEN}, 204, None),
    "404": ({"path": "/nowhere", "token": TOKEN}, 404, "not_found"),
    "404-prefix": ({"path": "/ingest/", "token": TOKEN}, 404, "not_found"),
    "404-longer": ({"path": "/api/v1/ingestx", "token": TOKEN}, 404, "not_found"),
    "404-case": ({"path": "/INGEST", "token": TOKEN}, 404, "not_found"),
    "404-management": ({"method": "GET", "path": "/metrics", "body": None, "token": TOKEN}, 404, "not_found"),
    "405-get": ({"method": "GET", "body": None, "token": TOKEN}, 405, "method_not_allowed"),
    "405-put": ({"method": "PUT", "token": TOKEN}, 405, "method_not_allowed"),
    "405-delete": ({"method": "DELETE", "path": "/", "body": None, "token": TOKEN}, 405, "method_not_allowed"),
    "405-options": ({"method": "OPTIONS", "path": "/ingest", "body": None, "token": TOKEN}, 405, "method_not_allowed"),
    "415-other": ({"content_type": "text/plain", "token": TOKEN}, 415, "invalid_content_type"),
    "415-none": ({"content_type": None, "token": TOKEN}, 415, "invalid_content_type"),
    "415-longer": ({"content_type": "application/jsonx", "token": TOKEN}, 415, "invalid_content_type"),
    "415-ndjson": ({"content_type": "application/x-ndjson", "token": TOKEN}, 415, "invalid_content_type"),
    "415-suffix": ({"content_type": "application/vnd.api+json", "token": TOKEN}, 415, "invalid_content_type"),
    "415-form": ({"content_type": "application/x-www-form-urlencoded", "token": TOKEN}, 415, "invalid_content_type"),
    "401-none": ({"token": None}, 401, "unauthorized"),
    "401-wrong": ({"token": "wrong"}, 401, "unauthorized"),
    "401-longer": ({"token": TOKEN + "x"}, 401, "unauthorized"),
    "401-shorter": ({"token": TOKEN[:-1]}, 401, "unauthorized"),
    "401-case": ({"token": TOKEN.upper()}, 401, "unauthorized"),
    "401-other-sensor-id": ({"headers": [("X-Spip-ID", SENSOR_2)], "token": TOKEN}, 401, "unauthorized"),
    "401-unknown-sensor-id": ({"headers": [("X-Spip-ID", "nobody")], "token": TOKEN}, 401, "unauthorized"),
    "413-payload": ({"body": b"[" + b" " * 20000 + b"]", "token": TOKEN}, 413, "payload_too_large"),
    "413-batch": ({"body": events.batch([b"{}"] * 11), "token": TOKEN}, 413, "batch_too_large"),
    "413-event": ({"body": events.batch([b"{}", events.sized(1001)]), "token": TOKEN}, 413, "event_too_large"),
}
NOT_A_BATCH = {
    "empty": b"",
    "blank": b"  \n",
    "object": b"{}",
    "number": b"1",
    "string": b'"x"',
    "null": b"null",
    "word": b"hello",
    "array-of-number": b"[1]",
    "array-of-null": b"[null]",
    "array-of-array": b"[[]]",
    "array-of-text": b'["x"]',
    "mixed": b"[{},1]",
    "unclosed": b"[{}",
    "unclosed-object": b'[{"a":1]',
    "trailing-comma": b"[{},]",
    "no-comma": b"[{}{}]",
    "two-commas": b"[{},,{}]",
    "after-the-array": b"[{}]x",
    "two-arrays": b"[{}][{}]",
    "ndjson": b'{"a":1}\n{"a":2}\n',
    "bom": b"\xef\xbb\xbf[{}]",
    "comment": b"[{}]//x",
    "single-quotes": b"[{'a':1}]",
    "bare-key": b"[{a:1}]",
    "leading-zero": b'[{"a":01}]',
    "plus": b'[{"a":+1}]',
    "hex": b'[{"a":0x1}]',
    "nan": b'[{"a":NaN}]',
    "infinity": b'[{"a":-Infinity}]',
    "dot-first": b'[{"a":.5}]',
    "dot-last": b'[{"a":1.}]',
    "bare-exponent": b'[{"a":1e}]',
    "minus": b'[{"a":-}]',
    "capital-true": b'[{"a":True}]',
    "short-true": b'[{"a":tru}]',
    "raw-newline-in-string": b'[{"a":"x\ny"}]',
    "raw-tab-in-string": b'[{"a":"x\ty"}]',
    "raw-nul-in-string": b'[{"a":"\0"}]',
    "nul": b"[{}]\0",
    "bad-escape": b'[{"a":"\\x41"}]',
    "short-escape": b'[{"a":"\\u12"}]',
    "bad-hex": b'[{"a":"\\u12g4"}]',
    "open-string": b'[{"a":"x}]',
    "colon-missing": b'[{"a" 1}]',
    "value-missing": b'[{"a":}]',
    "key-missing": b"[{:1}]",
    "comma-in-object": b'[{"a":1,}]',
    "form-feed": b"[\f{}]",
    "no-break-space": b"[\xc2\xa0{}]",
    "utf8-bare-continuation": b'[{"a":"\x80"}]',
    "utf8-cut": b'[{"a":"\xc3"}]',
    "utf8-overlong": b'[{"a":"\xc0\xaf"}]',
    "utf8-overlong-3": b'[{"a":"\xe0\x80\xaf"}]',
    "utf8-surrogate": b'[{"a":"\xed\xa0\x80"}]',
    "utf8-beyond": b'[{"a":"\xf4\x90\x80\x80"}]',
    "utf8-ff": b'[{"a":"\xff"}]',
    "utf8-in-key": b'[{"\xc3(":1}]',
    "latin-1": '[{"a":"é"}]'.encode("latin-1"),
    "utf-16": "[{}]".encode("utf-16"),
    "too-deep": b"[" + events.nested(128) + b"]",
    "far-too-deep": b"[" + b'{"a":' * 3000,
}
ROWS.update(
    {"400-" + name: ({"body": body, "token": TOKEN}, 400, "invalid_request") for name, body in NOT_A_BATCH.items()}
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    config = {"limits": LIMITS, "observability": {"metrics_enabled": True}}
    with running(tmp_path_factory.mktemp("ingest"), config) as loom:
        yield loom


def check_answer(answer, status, word):
    assert answer.status == status, answer
    if status == 204:
        assert answer.body == b"" and answer.header("Content-Type") is None
        return
    assert answer.word == word
    assert set(answer.json()) <= {"error", "detail"}
    assert (answer.header("Allow") == "POST") == (status == 405), answer
    assert (answer.header("WWW-Authenticate") == "Bearer") == (status == 401), answer
    if status in (400, 413):
        assert isinstance(answer.detail, str) and answer.detail
    else:
        assert answer.detail is None


@pytest.mark.parametrize("row", ROWS)
def test_row_by_socket(shared, row):
    arguments, status, word = ROWS[row]
    with shared.connect() as connection:
        check_answer(connection.request(**{"method": "POST", **arguments}), status, word)


def curl(
    loom, tmp_path, method="POST", path="/api/v1/ingest", body=b"[]", token=None, content_type=wire.JSON, headers=()
):
    """The same request by curl: a client that nobody here wrote."""
    host, port = loom.ingest
    command = [
        "curl",
        "--noproxy",
        "*",  # whatever the environment says
        "-sS",
        "--max-time",
        "30",
        "--path-as-is",
        "-X",
        method,
        "-D",
        "headers",
        "-o",
        "body",
        "-w",
        "%{http_code}",
    ]
    command += ["-H", f"Content-Type: {content_type}" if content_type else "Content-Type:"]
    if token is not None:
        command += ["-H", f"Authorization: Bearer {token}"]
    for name, value in headers:
        command += ["-H", f"{name}: {value}"]
    (tmp_path / "body").write_bytes(b"")
    if body is not None:
        (tmp_path / "request").write_bytes(body)
        command += ["--data-binary", "@request"]
    result = subprocess.run(
        [*command, f"http://{host}:{port}{path}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    head = (tmp_path / "headers").read_text().strip().split("\n\n")[-1].splitlines()
    fields = [tuple(part.strip() for part in line.split(":", 1)) for line in head[1:]]
    return wire.Response("HTTP/1.1", int(result.stdout), "", fields, (tmp_path / "body").read_bytes())


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.startswith("400-") or row in ("400-object", "400-utf8-cut", "400-too-deep")]
)
def test_row_by_curl(shared, tmp_path, row):
    arguments, status, word = ROWS[row]
    check_answer(curl(shared, tmp_path, **arguments), status, word)


def test_every_answer_to_a_request_has_a_duration(start_loom):
    loom = start_loom({"observability": {"metrics_enabled": True}})
    with loom.connect() as connection:
        assert connection.request(path="/other").status == 404
        assert connection.request("PUT").status == 405
        assert connection.request().status == 401
        assert connection.request(token=TOKEN).status == 204
    assert loom.metrics().sum("loom_ingest_request_duration_seconds_count") == 4


def test_head_has_no_body(shared):
    with shared.connect() as connection:
        answer = connection.request("HEAD", token=TOKEN)
        assert answer.status == 405 and answer.header("Allow") == "POST"
        assert connection.post(b"[]", token=TOKEN).status == 204, "the connection goes on"


def test_depth_limit_counts_the_array(shared):
    assert shared.post(b"[" + events.nested(127) + b"]").status == 204
    assert shared.post(b"[" + events.nested(128) + b"]").status == 400


# Each request breaks its own rule and all that are checked later; what comes first wins.
ORDER = [
    ("404", {"method": "BREW", "path": "/nowhere", "content_type": "text/plain", "length": 99999, "body": b""}, 404),
    ("405", {"method": "PUT", "content_type": "text/plain", "length": 99999, "body": b""}, 405),
    ("415", {"content_type": "text/plain", "length": 99999, "body": b""}, 415),
    ("401", {"length": 99999, "body": b""}, 401),
    ("413", {"token": TOKEN, "length": 99999, "body": b""}, 413),
]


@pytest.mark.parametrize("name,arguments,status", ORDER, ids=[row[0] for row in ORDER])
def test_order_of_checks_at_the_headers(shared, name, arguments, status):
    """All five are decided at the end of the headers: the body was announced, and not one byte of it sent."""
    with shared.connect() as connection:
        assert connection.request(**arguments).status == status


def test_401_comes_before_429(start_loom):
    loom = start_loom({"limits": {"per_sensor_rps": 1}})
    with loom.connect() as connection:
        assert connection.post(b"[]", token=TOKEN).status == 204
        wait_for(lambda: connection.post(b"[]", token=TOKEN).status == 429, "429")
        assert connection.post(b"[]", token="wrong").status == 401


def test_429_comes_before_413(start_loom):
    loom = start_loom({"limits": {"per_sensor_rps": 1, "max_body_size_bytes": 2000, "max_event_size_bytes": 1000}})

    def second():
        """Of two in a row; 413 when a second has gone by between them."""
        assert loom.post(b"[]").status in (204, 429)
        return loom.post(b"", length=5000).status

    wait_for(lambda: second() == 429, "429")


@pytest.mark.parametrize(
    "body,word",
    [
        (events.batch([b"{}"] * 11) + b"x", "invalid_request"),
        (events.batch([events.sized(1001)])[:-1], "invalid_request"),
        (events.batch([b"{}"] * 11 + [b"1"]), "invalid_request"),
        (events.batch([events.sized(1001), b"[]"]), "invalid_request"),
    ],
    ids=["many-and-trailing", "large-and-cut", "many-and-a-number", "large-and-an-array"],
)
def test_400_wins_over_413(shared, body, word):
    answer = shared.post(body)
    assert (answer.status, answer.word) == (400, word)


def test_raw_bytes_of_an_element_count(shared):
    """Blanks inside an element count, those around it don't."""
    padded = b'{"a":1' + b" " * 993 + b"}"
    assert len(padded) == 1000
    assert shared.post(b"[   " + padded + b"   ]").status == 204
    assert shared.post(b"[" + padded.replace(b"}", b" }") + b"]").word == "event_too_large"


def test_refused_before_the_body(shared):
    """401 and 413 are answered at the end of the headers: the client has sent nothing of 1 GB yet."""
    with shared.connect() as connection:
        assert connection.request(length=1 << 30, body=b"", token="wrong").status == 401
    with shared.connect() as connection:
        assert connection.request(length=1 << 30, body=b"", token=TOKEN).word == "payload_too_large"


def test_chunked_is_refused_as_soon_as_it_is_over(shared):
    """The last chunk never comes, the answer does."""
    with shared.connect() as connection:
        head = request(token=TOKEN, body=None, headers=[("Transfer-Encoding", "chunked")])
        connection.send(head + b"4000\r\n" + b" " * 0x4000 + b"\r\n4000\r\n" + b" " * 0x1000)
        answer = connection.read()
        assert (answer.status, answer.word) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "body,offset,index",
    [
        (b'[{"a":1},{"b":x}]', 14, 1),
        (b"[{},{},3]", 7, 2),
        (b'[{"a":"\xff"}]', 7, 0),
    ],
    ids=["in-second", "number-as-third", "utf8"],
)
def test_detail_tells_where(shared, body, offset, index):
    detail = shared.post(body).detail
    assert str(offset) in detail and str(index) in detail, detail


def test_detail_has_no_content(shared):
    canary = "canaryCONTENT7351"
    bodies = [
        f'[{{"{canary}":{canary}}}]',
        f'[{{"a":"{canary}\x01"}}]',
        f'[{{}},"{canary}"]',
        f"{canary}",
        f'[{{"{canary}":1}}] {canary}',
        "[" + ",".join(f'{{"{canary}":{n}}}' for n in range(11)) + "]",
        f'[{{"a":"{canary * 100}"}}]',
    ]
    for body in bodies:
        answer = shared.post(body.encode())
        assert answer.status in (400, 413)
        assert canary.encode() not in answer.body and b"canary" not in answer.body, answer


def test_what_was_refused_is_not_in_the_output(shared):
    """A batch is taken whole or not at all."""
    for body in (
        b'[{"refused":1},2]',
        events.batch([b'{"refused":1}'] * 11),
        events.batch([b'{"refused":1}', events.sized(1001)]),
    ):
        assert shared.post(body).status in (400, 413)
    assert not [line for line in shared.written() if b"refused" in line]


def test_events_of_a_batch_keep_their_order(start_loom):
    loom = start_loom()
    batch = events.numbered(0, 500)
    assert loom.post(events.batch(batch)).status == 204
    assert loom.lines(500) == batch


def test_204_means_written(start_loom, pipe):
    """When the answer is here, the event is in the pipe: no wait between the two."""
    loom = start_loom(stdout=pipe.writer)
    for n in range(20):
        (event,) = events.numbered(n, 1)
        assert loom.post(events.batch([event])).status == 204
        assert pipe.read_available() == event + b"\n"


def test_every_answer_is_counted_once(start_loom):
    loom = start_loom({"observability": {"metrics_enabled": True}, "limits": LIMITS})
    sent = [
        ({"token": TOKEN, "body": b"[{},{}]"}, 204),
        ({"token": TOKEN_2, "body": b"[{}]"}, 204),
        ({"token": TOKEN, "body": b"{}"}, 400),
        ({"token": "wrong"}, 401),
        ({"token": None}, 401),
        ({"token": TOKEN, "headers": [("X-Spip-ID", SENSOR_2)]}, 401),
        ({"path": "/nowhere", "token": TOKEN}, 404),
        ({"method": "PUT", "token": TOKEN}, 405),
        ({"content_type": "text/plain", "token": TOKEN}, 415),
        ({"token": TOKEN, "body": b"", "length": 99999}, 413),
        ({"token": TOKEN_2, "body": events.batch([b"{}"] * 11)}, 413),
    ]
    for arguments, status in sent:
        with loom.connect() as connection:
            assert connection.request(**arguments).status == status
    counted = loom.metrics()
    name = "loom_ingest_requests_total"
    assert counted.sum(name) == len(sent)
    for status in {status for _, status in sent}:
        assert counted.sum(name, status=str(status)) == sum(1 for _, have in sent if have == status), status
    assert counted.sum(name, sensor_id=SENSOR, status="204") == 1
    assert counted.sum(name, sensor_id=SENSOR, status="400") == 1
    assert counted.sum(name, sensor_id=SENSOR_2, status="204") == 1
    assert counted.sum(name, sensor_id=SENSOR_2, status="413") == 1
    assert counted.sum(name, sensor_id="unknown", status="401") >= 2
    assert counted.sum("loom_ingest_events_total", sensor_id=SENSOR) == 2
    assert counted.sum("loom_ingest_events_total", sensor_id=SENSOR_2) == 1
    assert {labels["sensor_id"] for labels in counted.labels(name)} <= {SENSOR, SENSOR_2, "unknown"}


def test_content_encoding_is_not_json(shared):
    """A compressed body is no JSON: 400 (or 415 where the header is heeded), never 204 and never a crash."""
    import gzip

    answer = shared.post(gzip.compress(b"[]"), headers=[("Content-Encoding", "gzip")])
    assert answer.status in (400, 415)


def test_two_authorizations_are_none(shared):
    answer = shared.post(b"[]", headers=[("Authorization", "Bearer wrong")])
    assert answer.status in (400, 401), answer
    with Connection(shared.ingest) as connection:
        connection.send(
            request(token=None, headers=[("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {TOKEN}")])
        )
        assert connection.read().status in (400, 401)


def test_answers_are_json_that_says_one_thing(shared):
    answer = shared.post(b"[]", token="wrong")
    assert json.loads(answer.body) == {"error": "unauthorized"}
