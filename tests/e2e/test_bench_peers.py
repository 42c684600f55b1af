# SPDX-License-Identifier: Apache-2.0
"""bench/run's proof that a peer does the job (bench/loombench/peers.py), with Loom itself as the peer."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from loomtest.process import BINARY, REPOSITORY
from loomtest.wire import PATIENCE

sys.path.insert(0, str(REPOSITORY / "bench"))
from loombench import peers  # noqa: E402
from loombench.process import Failure  # noqa: E402

ENRICHMENT = '[enrichment]\ngeoip_db_path = "@CITY@"\nasn_db_path = "@ASN@"\n'
PEER = """name = Peer
binary = {binary}
version = -version
start = {start}
environment = LOOM_SENSOR_bench=@TOKEN@
path = {path}
auth = {auth}
ready = http://@MANAGEMENT@/health
does = the whole job

[config]
[server]
listen_address = "@ADDRESS@"
management_listen_address = "@MANAGEMENT@"
[output]
type = "stdout"
"""


@pytest.fixture
def prove(tmp_path, demo, monkeypatch):
    monkeypatch.setattr(peers, "WRITE_TIMEOUT_S", 2 * PATIENCE)
    cores = sorted(os.sched_getaffinity(0))
    options = SimpleNamespace(geoip=demo / "demo-city.mmdb", asn=demo / "demo-asn.mmdb", cores=cores[:1] * 2)
    data = tmp_path / "data"
    subprocess.run([REPOSITORY / "bench" / "gen", data, "--batches", "1", "--demo"], check=True, capture_output=True)

    def run(start="@BINARY@ -config @CONFIG@", path="/api/v1/ingest", auth="bearer", config=ENRICHMENT):
        file = tmp_path / "peer.conf"
        file.write_text(PEER.format(binary=os.path.abspath(BINARY), start=start, path=path, auth=auth) + config)
        peers.Peer(file).prove(options, tmp_path, data / "batch-00000.json")

    return run


def test_a_peer_that_does_the_job_is_proven(prove):
    prove()


@pytest.mark.parametrize("fault, said", [
    ({"config": ""}, "0 of 50 events have source.geo.country_iso_code"),
    ({"config": ENRICHMENT.replace("asn", "# asn")}, "0 of 50 events have source.as.number"),
    ({"auth": "none"}, "answered: HTTP Error 401"),
    ({"path": "/elsewhere"}, "answered: HTTP Error 404"),
    ({"start": "sh -c 'exec @BINARY@ -config @CONFIG@ >/dev/null'"}, "of 50 events 0 were written"),
    ({"start": "sh -c 'echo no database >&2; exit 3'"}, "ended with 3, and said:\nno database"),
    ({"start": "sh -c '@BINARY@ -config @CONFIG@; true'"}, "a script has to exec it"),
    ({"start": "/nonexistent -config @CONFIG@"}, "failed to execute /nonexistent"),
])
def test_a_peer_that_does_not_is_told(prove, fault, said):
    with pytest.raises(Failure) as failure:
        prove(**fault)
    assert said in str(failure.value)


def test_a_peer_that_is_absent_is_skipped_with_a_word(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nonexistent")
    for name in list(os.environ):
        if name.startswith("LOOM_BENCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOOM_BENCH_VECTOR", "/nonexistent/vector")
    assert peers.rows(SimpleNamespace(asn=True, databases=True)) == []
    said = capsys.readouterr().out
    assert "skipped: Bento is not here (in PATH, or $LOOM_BENCH_BENTO with its path)" in said
    assert "skipped: Vector: $LOOM_BENCH_VECTOR names no program: /nonexistent/vector" in said
