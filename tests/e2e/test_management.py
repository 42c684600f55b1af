# SPDX-License-Identifier: Apache-2.0
"""Health, readiness and metrics."""

import shutil
import subprocess

import pytest

from loomtest import events, process
from loomtest.process import SENSOR, SENSOR_2, TOKEN, TOKEN_2
from loomtest.wire import Connection, request


@pytest.mark.parametrize("path", ["/health", "/live"])
def test_alive(start_loom, path):
    answer = start_loom().get(path)
    assert (answer.status, answer.body) == (200, b"ok")


def test_ready(start_loom):
    assert start_loom().ready().status == 200


def test_metrics_are_off_by_default(start_loom):
    assert start_loom().get("/metrics").status == 404


@pytest.mark.parametrize("path", ["/", "/ingest", "/nowhere", "/metrics/", "/healthz"])
def test_other_paths(loom, path):
    assert loom.get(path).status == 404


def test_ingest_is_not_served_here(loom):
    with Connection(loom.management) as connection:
        assert connection.post(b"[]", token=TOKEN).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get_and_head(loom, method):
    with Connection(loom.management) as connection:
        answer = connection.request(method, "/health", token=TOKEN)
        assert answer.status == 405 and "GET" in answer.header("Allow")
        assert connection.request("HEAD", "/health").status == 200


def test_off_without_an_address(start_loom):
    loom = start_loom({"server": {"management_listen_address": ""}})
    assert loom.post(b"[]").status == 204
    assert not loom.log(message="management listening")


def test_management_is_plain_when_ingest_is_tls(start_loom, tls_config):
    loom = start_loom({"server": tls_config})
    assert loom.get("/health").status == 200


def some_traffic(loom):
    for body, token in (
        (b"[{},{},{}]", TOKEN),
        (b"[{}]", TOKEN_2),
        (b"nonsense", TOKEN),
        (b"[]", "wrong"),
        (b"[]", None),
    ):
        loom.post(body, token=token)
    loom.post(events.batch(events.samples()[:20]))


def test_the_names_of_the_go_implementation(loom):
    some_traffic(loom)
    counted = loom.metrics()
    assert counted.types["loom_ingest_requests_total"] == counted.types["loom_ingest_events_total"] == "counter"
    assert all(set(labels) == {"sensor_id", "status"} for labels in counted.labels("loom_ingest_requests_total"))
    assert all(set(labels) == {"sensor_id"} for labels in counted.labels("loom_ingest_events_total"))
    assert counted.sum("loom_ingest_events_total", sensor_id=SENSOR) == 23
    assert counted.sum("loom_ingest_events_total", sensor_id=SENSOR_2) == 1
    assert counted.sum("loom_ingest_requests_total", sensor_id="unknown", status="401") == 2


def test_a_broken_body_counts_for_its_sensor(start_loom):
    """The HTTP layer refuses it, but by then the token has told whose it is."""
    loom = start_loom({"observability": {"metrics_enabled": True}})
    with loom.connect() as connection:
        connection.send(request(token=TOKEN, chunks=[b"[]"]).replace(b"2\r\n[]", b"nonsense\r\n[]"))
        assert connection.read().status == 400
    assert loom.metrics().sum("loom_ingest_requests_total", sensor_id=SENSOR, status="400") == 1
    assert loom.metrics().sum("loom_ingest_requests_total", sensor_id="unknown") == 0


def test_promtool_is_content(start_loom, enrichment, tls_config):
    """After traffic of all kinds, so that every family is there."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    loom = start_loom({"enrichment": enrichment, "observability": {"metrics_enabled": True}})
    some_traffic(loom)
    answer = loom.get("/metrics")
    assert answer.header("Content-Type").startswith("text/plain; version=0.0.4")
    result = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr).decode()
    assert (result.stdout + result.stderr).strip() == b"", "promtool has remarks"


def test_what_is_measured(start_loom, enrichment):
    loom = start_loom({"enrichment": enrichment, "observability": {"metrics_enabled": True}})
    some_traffic(loom)
    counted = loom.metrics()
    kinds = {name: kind for name, kind in counted.types.items()}
    assert "histogram" in kinds.values()
    for words in (
        ["duration"],
        ["bytes"],
        ["refused"],
        ["lookup"],
        ["cache"],
        ["build"],
        ["connections"],
        ["handshake"],
        ["inflight"],
        ["output", "writes"],
        ["output", "errors"],
        ["build_info"],
        ["process_cpu"],
        ["process_resident"],
        ["process_open_fds"],
    ):
        assert any(all(word in name for word in words) for name in kinds), words
    for name in [name for name, kind in kinds.items() if kind == "histogram"]:
        count = counted.sum(name + "_count")
        assert counted.sum(name + "_bucket", le="+Inf") == count
        bounds = sorted(
            (float(labels["le"]), value) for sample, labels, value in counted.samples if sample == name + "_bucket"
        )
        assert [value for _, value in bounds] == sorted(value for _, value in bounds), f"{name} is not cumulative"
    assert counted.sum("loom_output_events_total") == 24
    assert counted.sum("loom_build_info") == 1


def test_labels_come_from_the_configuration_only(loom):
    """Nothing that a client says becomes a series."""
    canary = "canary5150"
    for path, headers in (
        (f"/{canary}", []),
        ("/ingest", [("X-Spip-ID", canary)]),
        (f"/ingest?{canary}", [("User-Agent", canary)]),
    ):
        loom.post(b"[]", path=path, headers=headers)
        loom.post(b"[]", path=path, headers=headers, token=canary)
    with loom.connect() as connection:
        connection.request(canary.upper(), token=TOKEN)
    loom.post(b'[{"%s":1,"source":{"ip":"%s"}}]' % (canary.encode(), canary.encode()))
    assert canary not in loom.metrics().text.lower()
    sensors = {labels["sensor_id"] for labels in loom.metrics().labels("loom_ingest_requests_total")}
    assert sensors <= {SENSOR, SENSOR_2, "unknown"}


def test_metrics_of_many_sensors(start_loom):
    """The answer is larger than one socket buffer."""
    env = {f"LOOM_SENSOR_sensor-with-a-rather-long-name-{n:04}": f"token-{n:04}" for n in range(1500)}
    loom = start_loom({"observability": {"metrics_enabled": True}}, env=env)
    for n in (0, 777, 1499):
        assert loom.post(b"[{}]", token=f"token-{n:04}").status == 204
    counted = loom.metrics()
    assert counted.sum("loom_ingest_requests_total", status="204") == 3
    assert len(counted.text) > 100000


def test_counted_over_all_workers(start_loom):
    loom = start_loom({"server": {"workers": 4}, "observability": {"metrics_enabled": True}})
    connections = [loom.connect() for _ in range(12)]
    for _ in range(5):
        for connection in connections:
            assert connection.post(b"[{}]", token=TOKEN).status == 204
    assert loom.metrics().sum("loom_ingest_requests_total", sensor_id=SENSOR, status="204") == 60
    assert loom.metrics().sum("loom_net_connections") >= 12
    for connection in connections:
        connection.close()
    process.wait_for(lambda: loom.metrics().sum("loom_net_connections") <= 1, "the connections to be gone")
