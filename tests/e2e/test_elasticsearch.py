# SPDX-License-Identifier: Apache-2.0
"""Elasticsearch and OpenSearch: whatever the cluster does, acknowledged = delivered + dead-lettered, each event once. The cluster
is loomtest/bulk.py; tests/integration has real ones. Here: what is delivered and how, to one node or several, away at the start
or at the end."""

import json
import re
import time

import pytest

from loomtest import certs, events, process
from loomtest.bulk import BulkServer, Fault
from loomtest.feed import PATIENT, Feed
from loomtest.process import wait_for

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
