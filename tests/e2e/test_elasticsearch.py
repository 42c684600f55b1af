# SPDX-License-Identifier: Apache-2.0
"""Elasticsearch and OpenSearch: whatever the cluster does, acknowledged = delivered + dead-lettered, each event once. The cluster
is loomtest/bulk.py; tests/integration has real ones."""

import base64
import json
import re
import time

import pytest

from loomtest import certs, events, process
from loomtest.bulk import BulkServer, Fault
from loomtest.process import wait_for

SECRET = "geheim-5d1c7e90-e2e"
# For tests that want 204 at the first go, however slow the machine is; a second go would be another request to count.
PATIENT = {"ack_timeout_ms": 30000}
# Short waits, so that a failure is over soon.
OUTBOX = {"retry_backoff_ms": 20, "retry_max_backoff_ms": 100, "flush_interval_ms": 10}


@pytest.fixture(params=["memory", "durable"])
def durable(request):
    return request.param == "durable"


@pytest.fixture
def server():
    with BulkServer() as server:
        yield server


class Feed:
    """A Loom in front of a server, and a sensor that sends a batch again until it is acknowledged."""

    def __init__(self, start_loom, server, tmp_path, durable=False, output=None, outbox=None, ready=True, env=None):
        self.dead_letters_path = tmp_path / "outbox" / "dead-letters.ndjson"
        url = server.url if isinstance(server, BulkServer) else [one.url for one in server]
        self.config = {
            "output": {"type": "elasticsearch", "elasticsearch_url": url, "ack_timeout_ms": 2000, **(output or {})},
            "output.outbox": {**OUTBOX, "enabled": durable, "dir": tmp_path / "outbox", **(outbox or {})},
            "observability": {"metrics_enabled": True},
        }
        self.env = env
        self.loom = start_loom(self.config, ready=ready, env=env)
        self.servers = [server] if isinstance(server, BulkServer) else server
        self.acknowledged = {}  # number -> the event's bytes
        self.next = 0

    def make(self, count, pad=0):
        """Events with the next numbers."""
        made = events.numbered(self.next, count, pad)
        self.next += count
        return made

    def offer(self, made):
        """Once. The status."""
        answer = self.loom.post(events.batch(made))
        assert answer.status in (204, 503), answer
        if answer.status == 204:
            self.acknowledged.update((json.loads(event)["n"], event) for event in made)
        return answer.status

    def send(self, count=10, pad=0):
        """Until it is acknowledged, as a sensor does that was told 503."""
        made = self.make(count, pad)
        wait_for(lambda: self.offer(made) == 204, "204")

    def named(self):
        """What /ready says, whatever its status: with an outbox, an output that is away keeps no sensor away."""
        return self.loom.ready().body.decode()

    def wait_down(self):
        wait_for(lambda: self.loom.metrics().sum("loom_output_up") == 0, "the output to be down")

    def wait_up(self):
        wait_for(lambda: self.loom.metrics().sum("loom_output_up") == 1, "the output to be up")

    def stored(self):
        """Number -> the document's bytes. No number may be there twice."""
        found = {}
        for server in self.servers:
            for document in server.stored().values():
                number = json.loads(document)["n"]
                assert number not in found, f"event {number} is there twice"
                found[number] = document
        return found

    def dead(self):
        """Number -> the dead letter."""
        if not self.dead_letters_path.exists():
            return {}
        found = {}
        whole, _, _ = self.dead_letters_path.read_bytes().rpartition(b"\n")  # the last line may be just being written
        for line in whole.splitlines():
            letter = json.loads(line)
            number = letter["event"]["n"]
            assert number not in found, f"two dead letters of event {number}"
            found[number] = letter
        return found

    def settled(self, seconds=60):
        """Waits until every event that was acknowledged is delivered or dead, checks that none is both, and that what is delivered
        has every byte as it was sent. Gives both."""

        def all_there():
            return set(self.acknowledged) <= set(self.stored()) | set(self.dead())

        wait_for(all_there, "all acknowledged events", seconds)
        stored, dead = self.stored(), self.dead()
        assert not set(stored) & set(dead)
        for number, event in self.acknowledged.items():
            assert number in dead or stored[number] == event
        return stored, dead


@pytest.fixture
def feed(start_loom, server, tmp_path, durable):
    return Feed(start_loom, server, tmp_path, durable)


@pytest.fixture
def patient_feed(start_loom, server, tmp_path, durable):
    return Feed(start_loom, server, tmp_path, durable, output=PATIENT)


def template_name(index):
    for part, word in (("%Y", "yyyy"), ("%m", "mm"), ("%d", "dd"), ("%H", "hh")):
        index = index.replace(part, word)
    return "loom-" + index


# --- deliveries


def test_byte_equal(patient_feed, server):
    """Documents are the bytes that the sensor sent: order, blanks, digits and all."""
    batch = [event for event in events.HOSTILE.values() if b"\n" not in event and b"\r" not in event]
    answer = patient_feed.loom.post(events.batch(batch))
    assert answer.status == 204, answer
    wait_for(lambda: server.count() == len(batch), "all documents")
    assert sorted(server.stored("loom-events").values()) == sorted(event.strip() for event in batch)
    ids = list(server.stored())
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", key) for key in ids)


def test_same_batch_is_the_same_documents(patient_feed, server):
    """A sensor that sends again what it was not told about makes nothing twice."""
    body = events.batch(events.numbered(0, 20))
    for _ in range(3):
        assert patient_feed.loom.post(body).status == 204
    wait_for(lambda: sum(len(bulk.documents) for bulk in server.bulks()) == 60, "all deliveries")
    assert server.count() == 20
    assert server.repeats == 40


def test_requests(feed, server):
    """What every request looks like."""
    feed.send(10)
    feed.settled()
    bulk = server.bulks()[0]
    assert bulk.path == "/loom-events/_bulk"
    assert bulk.query["filter_path"] == [
        "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
    ]
    assert bulk.headers["content-encoding"] == "gzip"
    assert bulk.headers["content-type"] == "application/x-ndjson"
    assert "expect" not in bulk.headers and "authorization" not in bulk.headers
    assert set(json.loads(bulk.body.split(b"\n")[0])["create"]) == {"_id"}


def test_uncompressed(start_loom, server, tmp_path):
    feed = Feed(start_loom, server, tmp_path, output={"elasticsearch_compression": "none"})
    feed.send(10)
    feed.settled()
    assert all("content-encoding" not in bulk.headers for bulk in server.bulks())


def test_tls(start_loom, tmp_path, certificate, durable):
    with BulkServer(tls=certificate) as server:
        feed = Feed(start_loom, server, tmp_path, durable, output={"elasticsearch_ca_file": certificate[0]})
        feed.send(10)
        feed.settled()


def test_client_certificate(start_loom, tmp_path, certificate):
    """The cluster wants to see one."""
    client, key = certs.make(tmp_path, "client")
    with BulkServer(tls=certificate, client_ca=client) as server:
        keys = {"elasticsearch_ca_file": certificate[0]}
        (tmp_path / "without").mkdir()
        without = Feed(start_loom, server, tmp_path / "without", output=keys)
        assert without.offer(without.make(1)) == 503
        without.wait_down()
        assert server.seen == []
        keys.update(elasticsearch_client_cert_file=client, elasticsearch_client_key_file=key)
        feed = Feed(start_loom, server, tmp_path, output=keys)
        feed.send(10)
        feed.settled()


def test_unknown_certificate(start_loom, tmp_path, certificate):
    """Without the CA nothing is sent, and /ready says why; with insecure_skip_verify it goes."""
    with BulkServer(tls=certificate) as server:
        feed = Feed(start_loom, server, tmp_path)
        assert feed.offer(feed.make(5)) == 503
        wait_for(lambda: "certificate" in feed.named(), "/ready to name the certificate")
        assert server.seen == []
        (tmp_path / "other").mkdir()
        careless = Feed(start_loom, server, tmp_path / "other", output={"elasticsearch_insecure_skip_verify": True})
        careless.send(5)
        careless.settled()


def test_data_stream(start_loom, server, tmp_path, durable):
    """Events without @timestamp get their arrival's, and no other byte changes."""
    stream = "logs-loom.spip-default"
    server.data_streams.add(stream)
    feed = Feed(start_loom, server, tmp_path, durable, output={"elasticsearch_data_stream": stream, **PATIENT})
    batch = [b'{"n":0}', b'{}', b'{"@timestamp":"2020-01-01T00:00:00Z","n":1.10}', b'{ "a":{"@timestamp":1} }']
    before = time.time()
    assert feed.loom.post(events.batch(batch)).status == 204
    wait_for(lambda: server.count() == 4, "all documents")
    stored = set(server.stored(stream).values())
    assert batch[2] in stored
    added = re.compile(rb'^\{"@timestamp":"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z)"(,?)')
    rests = set()
    for document in stored - {batch[2]}:
        match = added.match(document)
        assert match, document
        assert abs(time.mktime(time.strptime(match[1][:19].decode(), "%Y-%m-%dT%H:%M:%S")) - time.timezone - before) < 60
        rests.add(document[match.end() :])
    assert rests == {b'"n":0}', b"}", b' "a":{"@timestamp":1} }'}
    assert all(bulk.path == f"/{stream}/_bulk" for bulk in server.bulks())


def test_dated_index(start_loom, server, tmp_path, durable):
    """By the event's own date, in UTC; by its arrival where it has none, and then at each try the same."""
    server.script(Fault(status=503), Fault(close=True), Fault(cut=50))
    feed = Feed(start_loom, server, tmp_path, durable, output={"elasticsearch_index": "spip-%Y.%m.%d"})
    batch = [
        b'{"@timestamp":"2020-01-31T23:30:00Z","n":0}',
        b'{"@timestamp":"2020-01-31T23:30:00-01:00","n":1}',
        b'{"@timestamp":1580515200000,"n":2}',
        b'{"n":3}',
        b'{"@timestamp":"whenever","n":4}',
    ]
    today = time.strftime("spip-%Y.%m.%d", time.gmtime())
    wait_for(lambda: feed.offer(batch) == 204, "204")
    wait_for(lambda: server.count() == 5, "all documents")
    if today != time.strftime("spip-%Y.%m.%d", time.gmtime()):
        pytest.skip("midnight has just been")
    assert set(server.documents) == {"spip-2020.01.31", "spip-2020.02.01", today}
    assert sorted(server.stored("spip-2020.02.01").values()) == sorted(batch[1:3])
    assert sorted(server.stored(today).values()) == sorted(batch[3:5])
    targets = {}
    for bulk in server.bulks():
        assert bulk.path == "/_bulk"
        for index, key, _ in bulk.documents:
            assert targets.setdefault(key, index) == index


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


# --- several nodes


def test_failover(start_loom, tmp_path, durable):
    """One of two nodes goes away and comes back: nothing is held up, nothing is lost."""
    with BulkServer() as one, BulkServer() as two:
        two.documents = one.documents  # one cluster
        feed = Feed(start_loom, [one, two], tmp_path, durable)
        feed.servers = [one]
        feed.send(10)
        feed.settled()
        one.stop()
        for _ in range(10):
            feed.send(5)
        feed.settled()
        wait_for(lambda: feed.loom.ready().status == 200, "/ready 200")
        two.stop()
        feed.offer(feed.make(1))
        feed.wait_down()
        one.start()
        feed.send(5)
        feed.settled()


def test_proxy_error_fails_over(start_loom, tmp_path):
    """A proxy in front of a node says 502: the next node has it, and the sensor sees nothing of it."""
    with BulkServer() as one, BulkServer() as two:
        two.documents = one.documents
        one.always = two.always = None
        feed = Feed(start_loom, [one, two], tmp_path, output=PATIENT)
        feed.servers = [one]
        feed.send(2)
        one.always = Fault(status=502, body=b"<html>", headers={"Content-Type": "text/html"})
        for _ in range(5):
            assert feed.offer(feed.make(5)) == 204
        feed.settled()
        assert len([bulk for bulk in one.bulks() if bulk.status == 502]) <= 2, "set aside after the first"


# --- credentials


def no_secret_in(feed):
    loom = feed.loom
    assert SECRET not in loom.log_text()
    with open(f"/proc/{loom.process.pid}/cmdline", "rb") as file:
        assert SECRET.encode() not in file.read()
    assert SECRET not in loom.get("/metrics").body.decode()
    assert SECRET not in loom.ready().body.decode()
    checked = process.run("check", "-config", loom.config_path, env=process.environment(feed.env))
    assert checked.returncode == 0, checked.err
    assert SECRET not in checked.out + checked.err


def expect_authorization(server, header):
    """Each request has it, to the byte."""
    assert server.seen and {seen.headers.get("authorization") for seen in server.seen} == {header}


def test_wrong_password_then_right(start_loom, tmp_path, durable):
    """401: all is kept; the cluster learns the password, and all goes."""
    with BulkServer(user="loom", password="another") as server:
        env = {"LOOM_ELASTICSEARCH_USER": "loom", "LOOM_ELASTICSEARCH_PASS": SECRET}
        feed = Feed(start_loom, server, tmp_path, durable, env=env)
        made = feed.make(10)
        feed.offer(made)
        wait_for(lambda: "401 security_exception" in feed.named(), "/ready to name it")
        assert server.count() == 0
        no_secret_in(feed)
        server.password = SECRET
        wait_for(lambda: feed.offer(made) == 204, "204")
        feed.settled()
        feed.wait_up()
        expect_authorization(server, "Basic " + base64.b64encode(f"loom:{SECRET}".encode()).decode())
        no_secret_in(feed)


def test_wrong_api_key_then_right(start_loom, tmp_path, durable):
    with BulkServer(api_key="another") as server:
        feed = Feed(start_loom, server, tmp_path, durable, env={"LOOM_ELASTICSEARCH_API_KEY": SECRET})
        made = feed.make(10)
        assert feed.offer(made) == (204 if durable else 503)
        wait_for(lambda: "401 security_exception" in feed.named(), "/ready to name it")
        assert server.count() == 0 and feed.dead() == {}
        no_secret_in(feed)
        server.api_key = SECRET
        wait_for(lambda: feed.offer(made) == 204, "204")
        feed.settled()
        feed.wait_up()
        expect_authorization(server, "ApiKey " + SECRET)
        no_secret_in(feed)


def test_password_file_and_user_in_the_configuration(start_loom, tmp_path):
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    with BulkServer(user="loom", password=SECRET) as server:
        feed = Feed(
            start_loom,
            server,
            tmp_path,
            output={"elasticsearch_user": "loom"},
            env={"LOOM_ELASTICSEARCH_PASS_FILE": str(path)},
        )
        feed.send(10)
        feed.settled()
        no_secret_in(feed)


def test_api_key(start_loom, tmp_path):
    with BulkServer(api_key=SECRET) as server:
        feed = Feed(start_loom, server, tmp_path, env={"LOOM_ELASTICSEARCH_API_KEY": SECRET})
        feed.send(10)
        feed.settled()
        no_secret_in(feed)


@pytest.mark.parametrize(
    "env, output, expected",
    [
        ({"LOOM_ELASTICSEARCH_API_KEY": SECRET, "LOOM_ELASTICSEARCH_PASS": SECRET}, {}, "LOOM_ELASTICSEARCH_API_KEY"),
        ({"LOOM_ELASTICSEARCH_PASS": SECRET}, {}, "LOOM_ELASTICSEARCH_USER"),
        ({"LOOM_ELASTICSEARCH_USER": "u"}, {}, "LOOM_ELASTICSEARCH_PASS"),
        ({"LOOM_ELASTICSEARCH_PASS": SECRET, "LOOM_ELASTICSEARCH_PASS_FILE": "/x"}, {}, "both set"),
        ({"LOOM_ELASTICSEARCH_API_KEY": SECRET + "\n"}, {}, "control character"),
        ({}, {"elasticsearch_index": "Loom"}, "output.elasticsearch_index"),
        ({}, {"elasticsearch_data_stream": "loom"}, "output.elasticsearch_data_stream"),
        ({}, {"elasticsearch_ca_file": "/nonexistent"}, "output.elasticsearch_ca_file"),
    ],
)
def test_refused_configuration(tmp_path, env, output, expected):
    """`loom` and `loom check` say what is wrong, and no secret."""
    config = tmp_path / "loom.toml"
    (tmp_path / "outbox").mkdir()
    keys = {"type": "elasticsearch", "elasticsearch_url": "http://127.0.0.1:1", **output}
    config.write_text(
        process.toml(process.merged({"output": keys, "output.outbox": {"dir": tmp_path / "outbox"}}))
    )
    for arguments in (("check", "-config", config), ("-config", config)):
        result = process.run(*arguments, env=process.environment(env))
        assert result.returncode in (1, 2)
        assert expected in result.err
        assert SECRET not in result.out + result.err


def test_doubtful_configuration(tmp_path):
    """`loom check` warns of what works, but not as well as it could."""
    (tmp_path / "outbox").mkdir()

    def warnings(**output):
        config = tmp_path / "loom.toml"
        keys = {"type": "elasticsearch", **output}
        config.write_text(
            process.toml(process.merged({"output": keys, "output.outbox": {"dir": tmp_path / "outbox"}}))
        )
        env = {"LOOM_ELASTICSEARCH_USER": "u", "LOOM_ELASTICSEARCH_PASS": SECRET}
        result = process.run("check", "-config", config, env=process.environment(env))
        assert result.returncode == 0, result.err
        assert SECRET not in result.out + result.err
        return [line for line in result.err.splitlines() if "elasticsearch" in line]

    assert warnings(elasticsearch_url="http://localhost:9200") == []
    assert warnings(elasticsearch_url="https://elastic.example:9200") == []
    assert "unprotected" in warnings(elasticsearch_url=["https://a.example", "http://b.example"])[0]
    assert "skip_verify" in warnings(elasticsearch_url="https://a", elasticsearch_insecure_skip_verify=True)[0]


# --- the template


def test_template_is_written_once(feed, server):
    feed.send(5)
    feed.settled()
    template = server.templates["loom-loom-events"]
    assert template["index_patterns"] == ["loom-events"]
    assert template["priority"] > 100
    assert template["_meta"]["managed_by"] == "loom"
    assert template["template"]["mappings"]["properties"]["source"]["properties"]["ip"] == {"type": "ip"}
    assert [seen.method for seen in server.seen if "_index_template" in seen.path] == ["GET", "PUT"]
    before = json.dumps(template)
    # An outage: it is looked at again, and found to be well.
    server.stop()
    feed.offer(feed.make(1))
    feed.wait_down()
    server.start()
    feed.send(5)
    feed.settled()
    assert json.dumps(server.templates["loom-loom-events"]) == before
    assert [seen.method for seen in server.seen if "_index_template" in seen.path] == ["GET", "PUT", "GET"]


def test_template_of_opensearch_is_the_printed_one(start_loom, tmp_path):
    """`loom template` prints what the cluster gets."""
    with BulkServer(flavour="opensearch") as server:
        feed = Feed(start_loom, server, tmp_path, output={"type": "opensearch", "elasticsearch_index": "spip-%Y.%m"})
        feed.send(5)
        feed.settled()
        result = process.run("template", "-config", feed.loom.config_path)
        assert result.returncode == 0, result.err
        assert json.loads(result.out) == server.templates[template_name("spip-%Y.%m")]
        assert '"flat_object"' in result.out and '"flattened"' not in result.out
        assert json.loads(result.out)["index_patterns"] == ["spip-*.*"]


def test_template_of_a_data_stream(start_loom, server, tmp_path):
    feed = Feed(start_loom, server, tmp_path, output={"elasticsearch_data_stream": "logs-loom.spip-default"})
    feed.send(5)
    feed.settled()
    assert server.templates["loom-logs-loom.spip-default"]["data_stream"] == {}


def test_template_of_somebody_else_is_left_alone(start_loom, server, tmp_path):
    mine = {"index_patterns": ["loom-events"], "priority": 7, "template": {"mappings": {"properties": {}}}}
    server.templates["loom-loom-events"] = dict(mine)
    feed = Feed(start_loom, server, tmp_path)
    feed.send(5)
    feed.settled()
    assert server.templates["loom-loom-events"] == mine
    feed.loom.wait_log(message=re.compile("left alone"))


def test_changed_template_is_left_alone(start_loom, server, tmp_path):
    first = Feed(start_loom, server, tmp_path)
    first.send(5)
    first.loom.stop()
    server.templates["loom-loom-events"]["template"]["settings"]["index"]["number_of_replicas"] = "2"
    before = json.dumps(server.templates)
    second = Feed(start_loom, server, tmp_path)
    second.next = first.next
    second.send(5)
    second.settled()
    assert json.dumps(server.templates) == before
    assert "left alone" in second.loom.log_text()


def test_template_of_an_older_loom_is_replaced(start_loom, server, tmp_path):
    """As it was written, by its hash, and other than ours."""
    other = Feed(start_loom, server, tmp_path, output={"elasticsearch_index": "spip"})
    other.send(5)
    other.loom.stop()
    server.templates["loom-loom-events"] = server.templates["loom-spip"]
    feed = Feed(start_loom, server, tmp_path)
    feed.next = other.next
    feed.send(5)
    assert server.templates["loom-loom-events"]["index_patterns"] == ["loom-events"]


def test_template_is_forbidden(start_loom, server, tmp_path):
    """A warning, once, and deliveries."""
    server.template_status = server.root_status = 403
    feed = Feed(start_loom, server, tmp_path)
    for _ in range(3):
        feed.send(5)
    feed.settled()
    feed.loom.stop()
    assert [record["level"] for record in feed.loom.log(message=re.compile("template"))] == ["warn"]


@pytest.mark.parametrize("step", ["root", "template", "proxy", "large"])
def test_template_step_that_always_fails(start_loom, server, tmp_path, step):
    """A warning after a while, and deliveries."""
    if step == "root":
        server.root_status = 501
    elif step in ("template", "proxy"):
        server.template_status = 500 if step == "template" else 504
    else:
        server.templates["loom-loom-events"] = {"index_patterns": ["x"], "_meta": {"x": "x" * (33 << 20)}}
    feed = Feed(start_loom, server, tmp_path, durable=True)
    feed.send(5)
    feed.settled()
    feed.loom.wait_log(message=re.compile("template"))
    assert [record["level"] for record in feed.loom.log(message=re.compile("template"))] == ["warn"]
    feed.wait_up()
    # It is tried again after an outage.
    server.root_status = server.template_status = 0
    server.templates.clear()
    server.stop()
    feed.offer(feed.make(1))
    feed.wait_down()
    server.start()
    feed.settled()
    assert "loom-loom-events" in server.templates


@pytest.mark.parametrize("status", [500, 502, 504])
def test_template_comes_first_after_an_outage(start_loom, server, tmp_path, status):
    """500, or a proxy's word for a cluster that is away: while events fail too, it is no trouble with the template."""

    def roots(*answers):
        return sum(seen.path == "/" and seen.status in answers for seen in server.seen)

    server.root_status = server.template_status = status
    server.always = Fault(status=status, body=b"<html>", headers={"Content-Type": "text/html"})
    feed = Feed(start_loom, server, tmp_path, durable=True)
    feed.send(5)
    wait_for(lambda: roots(status) >= 8 or len(server.bulks()) >= 6, "more tries than a template is worth", 30)
    server.root_status = server.template_status = 0
    if roots(status) >= 8:
        wait_for(lambda: roots(200) >= 1, "the template to be looked at", 30)
    server.always = None
    feed.settled()
    taken = [i for i, seen in enumerate(server.seen) if seen.path.endswith("/_bulk") and seen.status == 200]
    assert any(seen.method == "PUT" for seen in server.seen[: taken[0]]), "events went without the template"


def test_template_is_not_ours_to_manage(start_loom, server, tmp_path):
    feed = Feed(start_loom, server, tmp_path, output={"elasticsearch_manage_template": False})
    feed.send(5)
    feed.settled()
    assert {seen.method for seen in server.seen} == {"POST"}


def test_no_template_for_stdout(tmp_path):
    config = tmp_path / "loom.toml"
    config.write_text(process.toml(process.merged({})))
    result = process.run("template", "-config", config)
    assert result.returncode == 2
    assert "stdout" in result.err and result.out == ""


# --- away, hanging, ending


def test_down_at_start(start_loom, tmp_path, durable):
    """An output that is away is no reason not to start."""
    server = BulkServer()
    server.stop()
    feed = Feed(start_loom, server, tmp_path, durable, ready=False)
    try:
        feed.loom.wait_ready(management=False)
        feed.loom.management = process.wire.parse_address(
            next(json.loads(line)["address"] for line in feed.loom.log_lines if "management listening" in line)
        )
        made = feed.make(5)
        assert feed.offer(made) == (204 if durable else 503)
        wait_for(lambda: "Connection refused" in feed.named(), "/ready to name it")
        server.start()
        wait_for(lambda: feed.offer(made) == 204, "204")
        feed.settled()
    finally:
        server.stop()


@pytest.mark.slow
def test_stop_while_it_hangs(start_loom, server, tmp_path, durable):
    """It ends in time, and what was acknowledged is there after the next start."""
    server.always = Fault(hang=True, take=False)
    feed = Feed(start_loom, server, tmp_path, durable)
    made = feed.make(5)
    assert feed.offer(made) == (204 if durable else 503)
    wait_for(server.bulks, "a request")
    feed.loom.stop()  # in time
    server.release()
    if durable:
        server.always = None
        again = Feed(start_loom, server, tmp_path, durable)
        again.acknowledged = feed.acknowledged
        again.settled()


def test_hanging_output_is_named(start_loom, server, tmp_path):
    server.always = Fault(hang=True)
    feed = Feed(start_loom, server, tmp_path, output={"ack_timeout_ms": 300})
    assert feed.offer(feed.make(5)) == 503
    wait_for(lambda: "elasticsearch" in feed.named(), "/ready to name the output")
    server.release()
