# SPDX-License-Identifier: Apache-2.0
"""The log on standard error. Loom.stop checks for every run of every test that each line is a record with a UTC
time."""

import calendar
import re
import time

import pytest

from loomtest import events
from loomtest.process import RFC3339_UTC, SENSOR, TOKEN, wait_for
from loomtest.wire import Connection

REFUSED = "request refused"


def test_a_flood_of_one_reason_hides_no_other(start_loom):
    loom = start_loom()
    with loom.connect() as connection:
        for _ in range(100):
            assert connection.request(path="/wp-login.php").status == 404
        assert connection.request(token="wrong").status == 401
    assert loom.wait_log(message=REFUSED, reason="unauthorized")


def test_json_lines(start_loom):
    began = time.time()
    loom = start_loom()
    loom.post(b"[{}]")
    loom.stop()
    ended = time.time()
    messages = [record["message"] for record in loom.log()]
    assert messages[0] != messages[-1] and "listening" in messages
    times = [record["time"] for record in loom.log()]
    assert all(RFC3339_UTC.match(moment) for moment in times)
    # Now, and not in another time zone. (Two threads may write in another order than they looked at the clock.)
    seconds = [calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) for moment in times]
    assert all(began - 60 < moment < ended + 60 for moment in seconds), times


def test_console_format(start_loom):
    loom = start_loom({"logging": {"format": "console"}}, log_format="console")
    loom.post(b"[]", token="wrong")
    loom.until(lambda: REFUSED in loom.log_text(), "the refusal")
    for line in loom.log_lines:
        assert re.match(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z +(DEBUG|INFO|WARN|ERROR)\b", line, re.IGNORECASE
        ), line
        assert "\x1b" not in line, "no colour where there is no terminal"


def listens(path):
    try:
        Connection(str(path)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("level,seen", [("debug", True), ("info", True), ("warn", False), ("error", False)])
def test_level(start_loom, short_path, level, seen):
    path = short_path / "in.sock"
    loom = start_loom({"logging": {"level": level}, "server": {"listen_address": f"unix:{path}"}}, ready=seen)
    if not seen:  # at these levels a start is silent
        wait_for(lambda: listens(path), "it to listen")
        assert loom.process.poll() is None
    loom.stop()
    assert bool(loom.log(message="listening")) == seen
    assert seen or not loom.log(level="info")


@pytest.mark.parametrize(
    "arguments,reason,sensor",
    [
        ({"token": "wrong"}, "unauthorized", "unknown"),
        ({"token": TOKEN, "body": b"nonsense"}, "invalid_request", SENSOR),
        ({"token": TOKEN, "path": "/nowhere"}, "not_found", None),
        ({"token": TOKEN, "content_type": "text/plain"}, "invalid_content_type", None),
        ({"token": TOKEN, "length": 1 << 30, "body": b""}, "payload_too_large", SENSOR),
        ({"token": TOKEN, "body": events.batch([b"{}"] * 501)}, "batch_too_large", SENSOR),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_refused_request_is_one_line(start_loom, arguments, reason, sensor):
    loom = start_loom()
    with loom.connect() as connection:
        port = connection.local_port
        assert connection.request(**arguments).status >= 400
    loom.wait_log(message=REFUSED)
    loom.stop()
    (record,) = loom.log(message=REFUSED)
    assert record["level"] == "info"
    assert record["reason"] == reason
    assert record["address"] == f"127.0.0.1:{port}"
    assert sensor is None or record["sensor_id"] == sensor


def test_a_broken_message_is_one_line(start_loom):
    loom = start_loom()
    with loom.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.read().status == 400
    loom.stop()
    (record,) = loom.log(message=REFUSED)
    assert record["level"] == "info" and record["address"].startswith("127.0.0.1:")


def test_an_accepted_request_is_no_line(start_loom):
    """At info an operator reads what matters; thousands of batches a second do not."""
    loom = start_loom()
    for n in range(100):
        assert loom.post(b"[{}]").status == 204
    loom.stop()
    assert len(loom.log_lines) < 50, "more than what a start and an end say"


def test_refusals_are_limited_in_rate(start_loom):
    """A thousand bad requests fill no disk; how many were held back is told."""
    loom = start_loom()
    began = time.monotonic()
    with loom.connect() as connection:
        for _ in range(1000):
            assert connection.post(b"[]", token="wrong").status == 401
        seconds = time.monotonic() - began
        time.sleep(1.1)
        assert connection.post(b"[]", token="wrong").status == 401
    loom.stop()
    records = loom.log(message=REFUSED)
    assert 1 <= len(records) <= 100 + 20 * seconds
    assert len(records) + sum(record.get("held_back", 0) for record in records) == 1001


def test_no_token_no_body_no_header(start_loom, enrichment):
    """A canary in every place that a client or the environment can fill, in requests of every fate; then the logs are
    searched."""
    token, other = "canary-TOKEN-1", "canary-TOKEN-2"
    loom = start_loom(
        {
            "logging": {"level": "debug"},
            "enrichment": enrichment,
            "limits": {"max_body_size_bytes": 2000, "max_event_size_bytes": 1000},
        },
        env={"LOOM_SENSOR_bird": token},
    )
    headers = [
        (name, f"canary-{name}")
        for name in ("User-Agent", "Cookie", "X-Forwarded-For", "Referer", "X-Thing", "canary-name")
    ]
    bodies = [
        b'[{"canary-key":"canary-value"}]',
        b'[{"canary":canary}]',
        b"canary",
        b'[{"source":{"ip":"canary"}}]',
        b'["canary"]',
        b'[{"a":"' + b"canary" * 400 + b'"}]',
        b'[{"a":"canary\xff"}]',
        b"[" + b'{"canary":1},' * 130 + b"{}]",
    ]
    for body in bodies:
        for secret in (token, other):
            loom.post(body, token=secret, headers=headers)
    fates = [
        {"headers": [("X-Spip-ID", "canary-sensor")]},
        {"content_type": "canary/canary"},
        {"host": "canary.example"},
        {"headers": [("Authorization", "canary-scheme canary")], "token": None},
        {"headers": [("Content-Encoding", "canary")]},
        {"headers": [("Expect", "canary")]},
        {"headers": [("Upgrade", "canary"), ("Connection", "upgrade")]},
    ]
    for fate in fates:
        loom.post(b"[{}]", **{"token": token, **fate})
    for head in (
        "X-Canary : canary",
        "canary",
        "X-Canary: a\x01canary",
        "Content-Length: canary",
        "Transfer-Encoding: canary",
        "X: a\r\n canary",
    ):
        with loom.connect() as connection:
            connection.send(f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{head}\r\n\r\n".encode())
            assert connection.read().status == 400
    loom.stop()
    assert loom.log_lines
    found = [line for line in loom.log_lines if "canary" in line.lower()]
    assert not found, found


def test_log_text_cannot_be_forged(start_loom):
    """What a client chooses and may be logged (the path, say) can't start a line of its own."""
    loom = start_loom()
    loom.post(b"[]", path='/a%0a{"level":"error"}"\\')
    loom.post(b"[]", path="/%1b[31m")
    loom.stop()  # checks that every line is a record
    assert not loom.log(level="error")
