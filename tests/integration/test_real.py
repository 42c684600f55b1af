# SPDX-License-Identifier: Apache-2.0
"""Loom in front of real OpenSearch and Elasticsearch: what comes out is what went in, whatever happens to the server."""

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from loomtest import events, process
from loomtest.process import SENSOR, TOKEN, TOKEN_2, wait_for

EVENTS = 100_000
OUTAGE_S = float(os.environ.get("LOOM_TEST_OUTAGE_S", "60"))


def spip_events(first, count):
    """Spip's own, most of them numbered. Every tenth is as it is, so that some are the same to the byte: they are events of
    their own all the same."""
    samples = [line for line in events.samples() if len(line) < 2000]
    made = []
    for n in range(first, first + count):
        line = samples[n % len(samples)]
        made.append(line if n % 10 == 0 else line[:-1] + b',"labels":{"n":"%d"}}' % n)
    return made


class Sending:
    """Several sensors, a connection each, that send until all is acknowledged, as Spip does."""

    def __init__(self, loom, first, count, connections=4, batch=250, pause=0.0):
        self.sent = Counter()
        self.longest_s = 0.0
        self.statuses = Counter()
        self._lock = threading.Lock()
        self._batches = iter([spip_events(at, min(batch, first + count - at)) for at in range(first, first + count, batch)])
        self._loom, self._pause = loom, pause
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self, which):
        with self._loom.connect(timeout=60) as connection:
            while True:
                with self._lock:
                    batch = next(self._batches, None)
                if batch is None:
                    return
                body = events.batch(batch)
                status = 0
                while status != 204:
                    began = time.monotonic()
                    status = connection.post(body, token=(TOKEN, TOKEN_2)[which % 2]).status
                    assert status in (204, 503)
                    with self._lock:
                        self.statuses[status] += 1
                        self.longest_s = max(self.longest_s, time.monotonic() - began)
                    time.sleep(self._pause if status == 204 else 0.2)
                with self._lock:
                    self.sent.update(batch)

    def alive(self):
        return any(thread.is_alive() for thread in self._threads)

    def join(self, seconds=300):
        for thread in self._threads:
            thread.join(seconds)
        assert not self.alive()
        return self.sent


def drained(loom, seconds=180):
    wait_for(lambda: loom.metrics().sum("loom_store_events") == 0, "an empty outbox", seconds)


def check_all(service, index, sent):
    """As many documents as events, each with an id of its own, byte for byte."""
    assert service.count(index) == sum(sent.values())
    ids, sources = service.documents(index)
    assert len(ids) == sum(sent.values())
    assert sources == sent


def dead(loom):
    path = Path(loom.dead_letters)
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def names(loom):
    return loom.ready().body.decode()


def test_everything_arrives(service, start, index):
    """100,000 events."""
    loom = start(service, index)
    began = time.monotonic()
    sent = Sending(loom, 0, EVENTS).join()
    drained(loom)
    print(f"{service.kind}: {EVENTS / (time.monotonic() - began):.0f} events/s")
    assert sum(sent.values()) == EVENTS
    check_all(service, index, sent)
    assert dead(loom) == []


def test_repeat_is_harmless(service, start, index):
    """The same batch again and again, also by another connection and after a restart of Loom: once."""
    loom = start(service, index)
    batch = spip_events(0, 100)
    for _ in range(3):
        assert loom.post(events.batch(batch)).status == 204
    drained(loom)
    loom.stop()
    loom = start(service, index)
    assert loom.post(events.batch(batch)).status == 204
    # Another sensor's batch is another one, even if it says the same.
    assert loom.post(events.batch(batch), token=TOKEN_2).status == 204
    drained(loom)
    check_all(service, index, Counter(batch + batch))


def test_one_verdict_each(service, start, index):
    """Events that the server's mapping refuses are dead letters, and their neighbours are stored."""
    loom = start(service, index)
    good = spip_events(0, 50)
    bad = [
        b'{"@timestamp":"2026-11-23T17:02:21Z","destination":7}',
        b'{"@timestamp":"2026-11-23T17:02:21Z","source":{"geo":{"location":{"lat":true,"lon":[]}}},"network":"x"}',
        b'{"@timestamp":"2026-11-23T17:02:21Z","source":"a text where an object belongs"}',
    ]
    mixed = good[:10] + bad[:1] + good[10:30] + bad[1:] + good[30:]
    assert loom.post(events.batch(mixed)).status == 204
    drained(loom)
    check_all(service, index, Counter(good))
    letters = dead(loom)
    assert sorted(json.dumps(letter["event"]) for letter in letters) == sorted(json.dumps(json.loads(one)) for one in bad)
    for letter in letters:
        assert letter["status"] == 400 and letter["kind"] and letter["reason"] and letter["sensor"] == SENSOR
        assert len(letter["id"]) == 22
    assert loom.ready().status == 200


def trouble(service, start, index, begin, named, end):
    """Something is wrong with the index: nothing is lost, /ready names it, and when it is over everything arrives."""
    loom = start(service, index)
    first = Sending(loom, 0, 500).join()
    drained(loom)
    begin()
    second = Sending(loom, 500, 1000).join()
    wait_for(lambda: any(word in names(loom) for word in named), f"/ready to say {named}")
    assert service.count(index) in (0, 500)
    end()
    drained(loom)
    check_all(service, index, first + second)
    assert dead(loom) == []
    wait_for(lambda: loom.metrics().sum("loom_output_up") == 1, "the output to be up")


@pytest.mark.parametrize("block", ["write", "read_only_allow_delete"])
def test_write_block(service, start, index, block):
    def set_block(value):
        service.ask("PUT", f"/{index}/_settings", {f"index.blocks.{block}": value})

    trouble(service, start, index, lambda: set_block(True), ("block", "429"), lambda: set_block(None))


def test_closed_index(service, start, index):
    def close():
        service.ask("POST", f"/{index}/_close")

    def count_nothing():
        service.ask("POST", f"/{index}/_open")
        service.ask("GET", f"/_cluster/health/{index}?wait_for_status=yellow&timeout=30s")

    loom = start(service, index)
    first = Sending(loom, 0, 500).join()
    drained(loom)
    close()
    second = Sending(loom, 500, 1000).join()
    wait_for(lambda: "index_closed_exception" in names(loom), "/ready to name the closed index")
    count_nothing()
    drained(loom)
    check_all(service, index, first + second)
    assert dead(loom) == []


def test_wrong_password(services, start, index):
    """The server refuses Loom until its password is what Loom has. It is nowhere in the log."""
    service = services("opensearch-tls")
    secret = "Wrong-until-later-7c1e"

    def set_password(password):
        user = {"password": password, "opendistro_security_roles": ["all_access"], "backend_roles": ["admin"]}
        service.ask("PUT", "/_plugins/_security/api/internalusers/loom", user)

    set_password("Another-5a0f-entirely")
    output = {"elasticsearch_user": "loom"}
    loom = start(service, index, output=output, env={"LOOM_ELASTICSEARCH_PASS": secret})
    sent = Sending(loom, 0, 1000).join()
    wait_for(lambda: "401" in names(loom), "/ready to say 401")
    assert loom.metrics().sum("loom_output_up") == 0
    set_password(secret)
    drained(loom)
    check_all(service, index, sent)
    assert secret not in loom.log_text()


def test_unknown_authority(services, start, index):
    """Without the CA nothing goes out; /ready says why."""
    service = services("opensearch-tls")
    loom = start(service, index, output={"elasticsearch_ca_file": ""})
    assert loom.post(events.batch(spip_events(0, 10))).status == 204
    wait_for(lambda: "certificate" in names(loom), "/ready to name the certificate")
    assert service.count(index) == 0


def test_restart_in_the_middle(services, start, index):
    """The server ends under load and comes back on the same port with the same data."""
    service = services("elasticsearch")
    loom = start(service, index)
    sending = Sending(loom, 0, 30000, pause=0.3)
    wait_for(lambda: service.count(index) > 2000, "some deliveries")
    service.stop()
    more = Sending(loom, 30000, 250)  # so that something is under way, however long the end of the server took
    wait_for(lambda: loom.metrics().sum("loom_output_up") == 0, "the output to be down")
    service.start()
    service.wait()
    sent = sending.join() + more.join()
    assert sending.statuses[503] + more.statuses[503] == 0, "the outbox takes everything meanwhile"
    drained(loom)
    check_all(service, index, sent)
    assert dead(loom) == []


def test_intake_stands(opensearch, start, index):
    """The server hangs for a minute. Sensors do not notice, and everything arrives when it is back."""
    loom = start(opensearch, index)
    first = Sending(loom, 0, 2000).join()
    drained(loom)
    opensearch.pause()
    try:
        until = time.monotonic() + OUTAGE_S
        sending = Sending(loom, 2000, 20000, connections=4, batch=100, pause=OUTAGE_S / 60)
        second = sending.join()
        assert sending.statuses[503] == 0
        assert sending.longest_s < 9 * process.PATIENCE, "not ack_timeout_ms"
        time.sleep(max(0, until - time.monotonic()))
        assert loom.metrics().sum("loom_store_events") >= 20000
        assert loom.ready().status == 200
    finally:
        opensearch.resume()
    drained(loom)
    check_all(opensearch, index, first + second)


def test_too_large(services, start, index):
    """413: requests are halved until they fit; an event that no request can carry is a dead letter."""
    service = services("tight")
    loom = start(service, index, output={"elasticsearch_compression": "none"})
    giant = b'{"@timestamp":"2026-11-23T17:02:21Z","summary":"%s"}' % (b"x" * 110_000)
    sent = Sending(loom, 0, 3000).join()
    assert loom.post(events.batch([giant])).status == 204
    drained(loom)
    check_all(service, index, sent)
    letters = dead(loom)
    assert [letter["status"] for letter in letters] == [413]


def test_too_much(services, start, index):
    """429: the server takes less at a time than comes. Everything arrives, a little later."""
    service = services("tight")
    loom = start(service, index, outbox={"max_batch_size": 120, "flush_interval_ms": 1})
    sent = Sending(loom, 0, 20000, connections=6).join()
    drained(loom)
    check_all(service, index, sent)
    assert dead(loom) == []
    assert loom.metrics().sum("loom_output_retried_total") > 0, "the server never said 429"


def test_data_stream(service, start, index):
    """By the template, which Loom has written. An event without a time gets that of its arrival."""
    stream = f"logs-{index.replace('-', '.')}-default"
    loom = start(service, output={"elasticsearch_data_stream": stream})
    batch = spip_events(0, 200)
    assert loom.post(events.batch(batch + [b'{"event":{"kind":"event"}}'])).status == 204
    drained(loom)
    assert service.count(stream) == 201
    _, sources = service.documents(stream)
    (timed,) = sources - Counter(batch)
    added = json.loads(timed)
    assert added.pop("@timestamp")[:4] >= "2026" and added == {"event": {"kind": "event"}}
    backing = service.ask("GET", f"/{stream}/_settings")
    assert all(name.startswith(".ds-") for name in backing), backing
    assert dead(loom) == []


def test_dated_index(service, start, index):
    """By the day of the event."""
    loom = start(service, output={"elasticsearch_index": index + "-%Y.%m.%d"})
    days = ("2026.01.31", "2026.02.01")
    for day in days:
        time_of_day = day.replace(".", "-") + "T23:59:59Z"
        batch = [b'{"@timestamp":"%s","labels":{"n":"%d"}}' % (time_of_day.encode(), n) for n in range(50)]
        assert loom.post(events.batch(batch)).status == 204
    drained(loom)
    for day in days:
        assert service.count(f"{index}-{day}") == 50
    assert service.count(index + "-*") == 100


@pytest.fixture
def enrichment():
    directory = Path(os.environ.get("LOOM_DEMO_DIR", Path(process.BINARY).parent / "demo"))
    assert (directory / "demo-city.mmdb").exists(), f"no demo databases in {directory}: build them, or set LOOM_DEMO_DIR"
    return {"geoip_db_path": directory / "demo-city.mmdb", "asn_db_path": directory / "demo-asn.mmdb"}


def test_types(service, start, index, enrichment):
    """What dashboards ask: a network, a distance, a range of times, an exact word."""
    loom = start(service, index, enrichment=enrichment)
    batch = [b'{"@timestamp":"2026-11-23T17:02:%02dZ","source":{"ip":"203.0.113.%d"},"event":{"kind":"event"}}' % (n, n) for n in range(50)]
    batch += [b'{"@timestamp":"2026-11-24T00:00:00Z","source":{"ip":"2001:db8::%x"}}' % n for n in range(1, 11)]
    assert loom.post(events.batch(batch)).status == 204
    drained(loom)
    assert dead(loom) == []
    assert service.count(index) == 60
    assert service.search(index, {"term": {"source.ip": "203.0.113.0/28"}}) == 16
    assert service.search(index, {"term": {"source.ip": "2001:db8::/32"}}) == 10
    assert service.search(index, {"range": {"@timestamp": {"lt": "2026-11-24"}}}) == 50
    assert service.search(index, {"term": {"event.kind": "event"}}) == 50
    _, sources = service.documents(index)
    places = [json.loads(source)["source"]["geo"]["location"] for source in sources if b'"location"' in source]
    assert places, "the demo database knows some of these addresses"
    place = places[0]
    near = {"geo_distance": {"distance": "10km", "source.geo.location": place}}
    assert service.search(index, near) == sum(other == place for other in places)
    mapping = next(iter(service.ask("GET", f"/{index}/_mapping").values()))["mappings"]["properties"]
    assert mapping["source"]["properties"]["ip"]["type"] == "ip"
    assert mapping["source"]["properties"]["geo"]["properties"]["location"]["type"] == "geo_point"
    assert mapping["source"]["properties"]["as"]["properties"]["number"]["type"] == "long"
    assert mapping["@timestamp"]["type"].startswith("date")
