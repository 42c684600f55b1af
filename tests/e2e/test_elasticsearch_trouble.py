# SPDX-License-Identifier: Apache-2.0
"""Elasticsearch and OpenSearch: requests that fail as a whole, and items of a request that do."""

import json
import re

import pytest

from loomtest import events
from loomtest.bulk import Fault
from loomtest.feed import Feed
from loomtest.process import wait_for

# --- whole requests that fail

WHOLE = {
    "401": Fault(status=401),
    "403": Fault(status=403),
    "404": Fault(status=404),
    "400": Fault(status=400),
    "429": Fault(status=429),
    "500": Fault(status=500),
    "502-of-a-proxy": Fault(status=502, body=b"<html>", headers={"Content-Type": "text/html"}),
    "503": Fault(status=503),
    "504": Fault(status=504, body=b"", headers={"Content-Type": "text/html"}),
    "redirect": Fault(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "closed-before": Fault(close=True, take=False),
    "closed-unread": Fault(close=True, unread=True),
    "reset": Fault(reset=True),
    "reset-unread": Fault(reset=True, unread=True),
    "no-json": Fault(body=b"<html>well done</html>"),
    "empty": Fault(body=b""),
    "no-items": Fault(body=b'{"errors":false}'),
    "wrong-length": Fault(body=b"", headers={"Content-Length": "9999999"}, cut=1000),
    "fewer-items": Fault(edit=lambda reply: {**reply, "items": reply["items"][:-1]}),
    "more-items": Fault(edit=lambda reply: {**reply, "items": reply["items"] + reply["items"][:1]}),
    "other-action": Fault(edit=lambda reply: {**reply, "items": [{"index": item["create"]} for item in reply["items"]]}),
    "odd-status": Fault(edit=lambda reply: {**reply, "items": [{"create": {"status": "201"}} for _ in reply["items"]]}),
    "nothing-taken-well-said": Fault(take=False, status=200, body=b'{"errors":false,"items":[]}'),
    "slow": Fault(drip=3),
    "late": Fault(delay=0.5),
}


@pytest.mark.parametrize("fault", WHOLE.values(), ids=WHOLE.keys())
def test_whole_request(feed, server, fault):
    """It fails three times and is well again: every event is there once."""
    server.script(fault, fault, fault)
    feed.send(10)
    feed.settled()
    feed.wait_up()
    assert feed.dead() == {}


@pytest.mark.parametrize("status", (401, 403, 404, 400))
def test_refusal_is_named(feed, server, status):
    """/ready has status, type and URL; nothing is lost meanwhile."""
    server.always = Fault(status=status)
    made = feed.make(10)
    feed.offer(made)
    wait_for(lambda: f"{status} " in feed.named(), "/ready to name the status")
    assert server.url in feed.named()
    server.always = None
    wait_for(lambda: feed.offer(made) == 204, "204")
    feed.settled()


def reply_length(server, seen):
    """Of the answer to a bulk request of events that were all taken."""
    items = [{"create": {"status": 201}} for _ in seen.documents]
    body = json.dumps({"errors": False, "items": items}, separators=(",", ":"))
    head = f"HTTP/1.1 200 OK\r\nDate: {'x' * 29}\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
    return len(head) + len(body)


def test_cut_at_every_byte(start_loom, server, tmp_path):
    """The connection ends after each number of bytes of an answer in turn."""
    feed = Feed(start_loom, server, tmp_path, outbox={"retry_backoff_ms": 1, "retry_max_backoff_ms": 2})
    feed.send(3)
    feed.settled()
    length = reply_length(server, server.bulks()[0])
    assert 150 < length < 400
    server.script(*[Fault(cut=cut) for cut in range(length)])
    for _ in range(10 * length):
        feed.send(3)
        if server.script_left() == 0:
            break
    assert server.script_left() == 0
    feed.send(3)
    feed.settled()
    assert feed.dead() == {}


def test_too_large_is_halved(feed, server):
    """413: the same events come in smaller requests until they fit."""
    server.max_body = 3000
    feed.send(100, pad=40)
    made = [events.event(n=feed.next + i, pad="%x" % (3**900 + i * 7**300)) for i in range(40)]  # hard to compress
    feed.next += 40
    wait_for(lambda: feed.offer(made) == 204, "204")
    feed.settled()
    assert feed.dead() == {}
    assert any(bulk.status == 413 for bulk in server.bulks())


def test_one_event_too_large(feed, server):
    """An event that no request can carry is a dead letter, and the others are not."""
    server.max_body = 3000
    giant = events.event(n=1000, pad="%x" % 3**40000)
    made = feed.make(10) + [giant]
    wait_for(lambda: feed.offer(made) == 204, "204")
    _, dead = feed.settled()
    assert set(dead) == {1000}
    assert dead[1000]["status"] == 413


def test_retry_after(start_loom, server, tmp_path):
    """The cluster says when to come again, and nobody comes before."""
    feed = Feed(start_loom, server, tmp_path, durable=True)
    feed.send(1)
    feed.settled()
    server.script(Fault(status=429, headers={"Retry-After": "2"}))
    feed.send(1)
    feed.settled()
    first, second = server.bulks()[-2:]
    assert first.status == 429
    assert second.at - first.at >= 1.9


# --- items


def by_number(table):
    """A rule for the server: the verdict on an event by its number modulo 100."""

    def rule(document, _):
        return table.get(json.loads(document)["n"] % 100)

    return rule


REJECTIONS = {
    3: (400, "mapper_parsing_exception", "failed to parse field [source.ip]"),
    4: (400, "document_parsing_exception", 'Preview: "secret-of-the-event" \u00e9'),
    5: (400, "strict_dynamic_mapping_exception", "not allowed"),
    6: (400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
    7: (400, "never_heard_of_exception", "x" * 5000),
}


def test_rejected_events(feed, server):
    """Documents at fault are dead letters with what was said about them; all others are delivered."""
    server.rule = by_number(REJECTIONS)
    feed.send(200)
    stored, dead = feed.settled()
    assert set(dead) == {n + base for n in REJECTIONS for base in (0, 100)}
    assert len(stored) == 190
    for number, letter in dead.items():
        status, kind, reason = REJECTIONS[number % 100]
        assert letter["status"] == status
        assert letter["kind"] == kind
        assert letter["reason"][:500] == reason[:500]
        assert len(letter["reason"]) <= 1024
        assert letter["event"] == json.loads(feed.acknowledged[number])
    feed.wait_up()
    feed.loom.stop()
    assert "secret-of-the-event" not in feed.loom.log_text(), "reasons quote events: they are not for the log"


def test_item_mix(patient_feed, server):
    """Taken, repeated, refused, busy and failing items in one request: to each its own."""
    busy = {"left": 40}

    def rule(document, _):
        number = json.loads(document)["n"] % 10
        if number in (1, 2) and busy["left"] > 0:
            busy["left"] -= 1
            return (429, "es_rejected_execution_exception", "full") if number == 1 else (503, "unavailable_shards_exception", "x")
        return (400, "document_parsing_exception", "no") if number == 3 else None

    server.rule = rule
    for _ in range(5):
        patient_feed.send(50)
    stored, dead = patient_feed.settled()
    assert set(dead) == {n for n in range(250) if n % 10 == 3}
    assert len(stored) == 225
    taken = [key for bulk in server.bulks() for _, key, _ in bulk.documents]
    assert len(taken) - len(set(taken)) <= 45 + server.repeats, "what was decided is not sent again"


TROUBLES = {
    "write-block": (403, "cluster_block_exception", "index [loom-events] blocked by: [FORBIDDEN/8/index write (api)]"),
    "disk-full": (429, "cluster_block_exception", "blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded]"),
    "closed": (400, "index_closed_exception", "closed"),
    "missing": (404, "index_not_found_exception", "no such index [loom-events]"),
    "forbidden": (403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized"),
    "shards": (400, "validation_exception", "Validation Failed: 1: this action would add [2] shards"),
    "no-write-index": (400, "illegal_argument_exception", "no write index is defined for alias [loom-events]"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_trouble_of_the_output(feed, server, trouble):
    """Not the event's fault: kept and tried again, and /ready names type and index."""
    server.rule = lambda document, index: trouble
    made = feed.make(10)
    feed.offer(made)
    wait_for(lambda: trouble[1] in feed.named() and "loom-events" in feed.named(), "/ready to name it")
    assert feed.dead() == {}
    server.rule = None
    wait_for(lambda: feed.offer(made) == 204, "204")
    feed.settled()
    assert feed.dead() == {}


def test_one_bad_index_of_many(start_loom, server, tmp_path):
    """A closed index of long ago does not stop today's events."""
    server.rule = lambda document, index: (400, "index_closed_exception", "closed") if index == "spip-2001" else None
    feed = Feed(start_loom, server, tmp_path, durable=True, output={"elasticsearch_index": "spip-%Y"})
    old = [json.dumps({"@timestamp": "2001-02-03", "n": 5000}, separators=(",", ":")).encode()]
    feed.send(10)
    feed.settled()
    assert feed.offer(old) == 204
    for _ in range(20):
        feed.send(10)
    wait_for(lambda: len(feed.stored()) == 210, "all events but the old one")
    feed.wait_up()
    feed.loom.wait_log(message=re.compile("have to wait"))
    waits = feed.loom.log(message=re.compile("have to wait"))
    assert ["index_closed_exception, index spip-2001" in line["reason"] for line in waits] == [True], "once a minute"
    server.rule = None
    feed.settled()
    assert feed.dead() == {}


@pytest.mark.parametrize("kind", ["poison", "closed"])
def test_one_bad_event_does_not_close_intake(start_loom, server, tmp_path, kind):
    """Without an outbox, and nobody sends anything else: the event on which the output fails is the sensor's again (503), and the
    others of its batch, and of later ones, go through."""
    if kind == "poison":
        server.poison = lambda document: json.loads(document)["n"] == 5000
    else:
        server.rule = lambda document, index: (400, "index_closed_exception", "closed") if index == "spip-2001" else None
    output = {"elasticsearch_index": "spip-%Y", "ack_timeout_ms": 500}
    feed = Feed(start_loom, server, tmp_path, output=output)
    bad = [json.dumps({"@timestamp": "2001-02-03", "n": 5000}, separators=(",", ":")).encode()]
    assert feed.offer(bad) == 503
    wait_for(lambda: feed.loom.ready().status == 200, "/ready 200")
    wait_for(lambda: feed.loom.metrics().sum("loom_store_events") == 0, "the event to be let go")
    feed.send(5)
    feed.settled()
    wait_for(lambda: feed.offer(bad + feed.make(3)) == 503, "503")
    feed.send(5)
    feed.settled()
