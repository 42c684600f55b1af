# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests. See loomtest/__init__.py for the helpers and README.md for how to run."""

import os
import shutil
import ssl
import tempfile
from pathlib import Path

import pytest

from loomtest import certs, process
from loomtest.bulk import BulkServer
from loomtest.feed import PATIENT, Feed
from loomtest.mmdb import Databases
from loomtest.process import REPOSITORY, Loom, Pipe


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "slow: waits for a real time-out; such tests start first, so that they run beside the others"
    )
    if not os.access(process.BINARY, os.X_OK):
        raise pytest.UsageError(f"no Loom at {process.BINARY}: build it with scripts/build or set LOOM_BIN")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def start_loom(tmp_path):
    """start_loom(config, ...) -> a ready Loom. All are stopped at the end, with the checks of Loom.stop."""
    started = []

    def start(config=None, ready=True, directory=None, **options):
        if directory is None:
            directory = tmp_path / f"loom{len(started)}"
            directory.mkdir()
        loom = Loom(directory, config, **options)
        started.append(loom)
        if ready:
            management = (config or {}).get("server", {}).get("management_listen_address") != ""
            loom.wait_ready(management)
        return loom

    yield start
    try:
        for loom in started:
            loom.stop()
    finally:
        for loom in started:
            loom.kill()


@pytest.fixture
def loom(start_loom):
    """A Loom with metrics and nothing special."""
    return start_loom({"observability": {"metrics_enabled": True}})


@pytest.fixture
def pipe():
    """A small pipe for standard output."""
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture(params=["memory", "durable"])
def durable(request):
    """Whether the outbox is on disk: the test runs with both."""
    return request.param == "durable"


@pytest.fixture
def server():
    """A cluster of one node."""
    with BulkServer() as server:
        yield server


@pytest.fixture
def feed(start_loom, server, tmp_path, durable):
    """A Loom in front of that cluster."""
    return Feed(start_loom, server, tmp_path, durable)


@pytest.fixture
def patient_feed(start_loom, server, tmp_path, durable):
    """One that waits longer for the cluster than any test."""
    return Feed(start_loom, server, tmp_path, durable, output=PATIENT)


@pytest.fixture
def short_path():
    """A directory with a short name: the path of a unix socket has room for 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="loom-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Paths of a certificate for localhost and its key."""
    return certs.make(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="session")
def tls_config(certificate):
    """[server] keys for TLS."""
    return {"tls": True, "cert_file": certificate[0], "key_file": certificate[1]}


@pytest.fixture(scope="session")
def tls_client(certificate):
    """A client context that trusts that certificate, and nothing else."""
    return ssl.create_default_context(cafile=certificate[0])


@pytest.fixture(scope="session")
def demo():
    """Directory of the demo databases, which the build makes."""
    default = Path(process.BINARY).parent / "demo"
    directory = Path(os.environ.get("LOOM_DEMO_DIR", default if default.is_dir() else REPOSITORY / "build" / "demo")).resolve()
    for name in ("demo-city.mmdb", "demo-asn.mmdb"):
        assert (directory / name).exists(), f"no {name} in {directory}: build it, or set LOOM_DEMO_DIR"
    return directory


@pytest.fixture(scope="session")
def enrichment(demo):
    """[enrichment] keys for the demo databases."""
    return {"geoip_db_path": demo / "demo-city.mmdb", "asn_db_path": demo / "demo-asn.mmdb"}


@pytest.fixture(scope="session")
def databases(demo):
    """An independent view of the demo databases."""
    return Databases(demo / "demo-city.mmdb", demo / "demo-asn.mmdb")
