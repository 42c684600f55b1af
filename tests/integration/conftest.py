# SPDX-License-Identifier: Apache-2.0
"""Real servers, each started once, and Looms in front of them. See README.md."""

import itertools
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from loomtest import process  # pylint: disable=wrong-import-position
from loomtest.process import Loom  # pylint: disable=wrong-import-position
from service import Service  # pylint: disable=wrong-import-position


def pytest_configure():
    if not os.access(process.BINARY, os.X_OK):
        raise pytest.UsageError(f"no Loom at {process.BINARY}: build it with scripts/build or set LOOM_BIN")


# Small limits: a request of more than 100 kB is 413, and few bytes may be indexed at a time, else 429.
TIGHT = ("http.max_content_length: 100kb", "indexing_pressure.memory.limit: 200kb")
KINDS = {
    "opensearch": ("opensearch", False, ()),
    "opensearch-tls": ("opensearch", True, ()),
    "elasticsearch": ("elasticsearch", False, ()),
    "tight": ("opensearch", False, TIGHT),
}


@pytest.fixture(scope="session")
def services(tmp_path_factory):
    """name -> a service that answers."""
    started = {}

    def get(name):
        if name not in started:
            kind, secure, settings = KINDS[name]
            started[name] = Service(kind, tmp_path_factory.mktemp(name), secure, settings)
            started[name].wait()
        return started[name]

    yield get
    for service in started.values():
        service.stop()


@pytest.fixture(params=["opensearch", "opensearch-tls", "elasticsearch"])
def service(request, services):
    return services(request.param)


@pytest.fixture
def opensearch(services):
    return services("opensearch")


numbers = itertools.count(1)


@pytest.fixture
def index():
    """A name that no other test uses."""
    return f"loom-test-{os.getpid()}-{next(numbers)}"


@pytest.fixture
def start(tmp_path):
    """start(service, index, ...) -> a Loom in front of it. Stopped at the end, with the checks of Loom.stop."""
    started = []

    def start_loom(service, index=None, output=None, outbox=None, env=None, **sections):
        keys, secrets = service.output()
        if index is not None:
            keys["elasticsearch_index"] = index
        config = {
            "output": {**keys, **(output or {})},
            "output.outbox": {
                "dir": tmp_path / "outbox",
                "flush_interval_ms": 100,
                "retry_backoff_ms": 100,
                "retry_max_backoff_ms": 1000,
                **(outbox or {}),
            },
            "limits": {"per_sensor_rps": -1},
            "observability": {"metrics_enabled": True},
            **sections,
        }
        directory = tmp_path / f"loom{len(started)}"
        directory.mkdir()
        loom = Loom(directory, config, env={**secrets, **(env or {})})
        loom.dead_letters = tmp_path / "outbox" / "dead-letters.ndjson"
        started.append(loom)
        return loom.wait_ready()

    yield start_loom
    try:
        for loom in started:
            loom.stop()
    finally:
        for loom in started:
            loom.kill()
