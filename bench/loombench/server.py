# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured, started and stopped: `with Server(...) as server`."""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request

from .load import TOKEN, token_of, wrk
from .process import Child, Failure, anonymous_kib, children, cpu_seconds

START_TIMEOUT_S = 120  # Logstash takes a minute
SETTLE_TIMEOUT_S = 60


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


def wait_until_it_serves(address, child, tls=False):
    host, port = address.rsplit(":", 1)
    context = ssl._create_unverified_context() if tls else None
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        child.must_live()
        try:
            with socket.create_connection((host, int(port)), 1) as connection:
                connection.settimeout(5)
                if context:
                    context.wrap_socket(connection).close()
                return
        except OSError:
            time.sleep(0.02)
    raise Failure(f"{child.name} serves nothing at {address} after {START_TIMEOUT_S} s:\n{child.log_text()}")


class Row:
    """One line of the table: a server, how it is reached, where its events go.

    stdout: "null", "pipe" (with a reader on wrk's core), or "file": Server.stdout_path.
    bulk: to a bulk server that throws documents away, instead of standard output. outbox: through the outbox on disk.
    """

    def __init__(self, name, server="loom", tls=False, databases=False, stdout="null", bulk=False, outbox=False,
                 workers=1, connections=None, sensors=1, peer=None):
        self.name, self.server, self.tls, self.databases, self.stdout = name, server, tls, databases, stdout
        self.bulk, self.outbox, self.workers, self.connections = bulk, outbox, workers, connections
        self.sensors, self.peer = sensors, peer
        self.samples = []


class Server:
    """A running server of a row, on `cores`; what belongs to it but is not measured runs on `others`."""

    def __init__(self, row, options, directory, cores, others):
        self.row, self.options, self.directory, self.cores, self.others = row, options, directory, cores, others
        self.address, self.management, self.bulk_address = free_address(), free_address(), free_address()
        self.stdout_path = directory / "stdout"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start(self, stack):
        row, options = self.row, self.options
        if row.bulk:
            bulk = stack.enter_context(
                Child([options.discard, "--bulk", self.bulk_address], self.directory / "bulk.log", self.others)
            )
            wait_until_it_serves(self.bulk_address, bulk)
        if row.outbox:
            shutil.rmtree(options.outbox, ignore_errors=True)
            options.outbox.parent.mkdir(parents=True, exist_ok=True)
        command, environment = self._command()
        stdout = {"null": subprocess.DEVNULL, "pipe": subprocess.PIPE}.get(row.stdout)
        if row.stdout == "file":
            stdout = stack.enter_context(self.stdout_path.open("wb"))
        # Entered first, stopped last: the reader of a pipe has to outlive what writes into it.
        readers = stack.enter_context(contextlib.ExitStack())
        self.child = stack.enter_context(
            Child(command, self.directory / "server.log", self.cores, environment, stdout=stdout)
        )
        if row.stdout == "pipe":
            with self.child.process.stdout as pipe:
                reader = ["dd", "of=/dev/null", "bs=64k", "status=none"]
                readers.enter_context(Child(reader, self.directory / "reader.log", self.others, stdin=pipe))
        wait_until_it_serves(self.address, self.child, row.tls)
        if row.peer:
            row.peer.wait_until_ready(self)
        time.sleep(0.3)
        self.child.must_live()
        self.pid = self.child.pid
        if row.peer and children(self.pid):
            raise Failure("the program runs as the child of another, which alone would be measured: a script has to exec it")
        self.idle_kib = anonymous_kib(self.pid)

    def _command(self):
        row, options = self.row, self.options
        if row.peer:
            return row.peer.command(self)
        if row.server == "discard":
            tls = ["--tls", options.cert, options.key] if row.tls else []
            return [options.discard, "--workers", row.workers, *tls, self.address], {}
        path = self.directory / "loom.toml"
        path.write_text("\n".join(self._config()) + "\n")
        return [options.loom, "-config", path], ({"LOOM_SENSOR_bench": TOKEN} if row.sensors == 1 else {})

    def _config(self):
        row, options = self.row, self.options
        yield from (
            "[server]", f'listen_address = "{self.address}"', f'management_listen_address = "{self.management}"',
            f"workers = {row.workers}", f"tls = {str(row.tls).lower()}",
        )
        if row.tls:
            yield from (f'cert_file = "{options.cert}"', f'key_file = "{options.key}"')
        if row.sensors > 1:
            tokens = self.directory / "tokens"
            tokens.write_text("".join(f"{token_of(i, row.sensors)},sensor-{i}\n" for i in range(row.sensors)))
            tokens.chmod(0o600)
            yield from ("[auth]", f'token_file = "{tokens}"')
        yield from (
            "[observability]", "metrics_enabled = true",
            "[limits]", "per_sensor_rps = -1", "per_sensor_events_rps = -1", "max_connections = 15000",
        )
        if (row.connections or 0) > 1000:
            yield "max_inflight_bytes = 2147483648"  # as many bodies at once are more than the default takes
        yield "[output]"
        if row.bulk:
            yield from (
                'type = "elasticsearch"', f'elasticsearch_url = "http://{self.bulk_address}"',
                'elasticsearch_compression = "none"', "elasticsearch_manage_template = false",
            )
        else:
            yield 'type = "stdout"'
        if row.bulk or row.outbox:
            yield from ("[output.outbox]", f"enabled = {str(row.outbox).lower()}", f'dir = "{options.outbox}"',
                        "max_bytes = 4294967296")
        if row.databases:
            yield from ("[enrichment]", f'geoip_db_path = "{options.geoip}"')
            if options.asn:
                yield f'asn_db_path = "{options.asn}"'

    def metrics_text(self):
        with urllib.request.urlopen(f"http://{self.management}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        """The metrics without labels, and those of one output, by name."""
        found = re.findall(r"^(\w+)(?:{output=[^}]*})? (\S+)$", self.metrics_text(), re.MULTILINE)
        return {name: float(value) for name, value in found}

    def answers(self):
        """Status -> answers to sensors so far, over all sensors."""
        found = {}
        pattern = r'^loom_ingest_requests_total{.*status="(\w+)".*} (\S+)$'
        for status, value in re.findall(pattern, self.metrics_text(), re.MULTILINE):
            found[status] = found.get(status, 0) + int(float(value))
        return found

    def url(self):
        path = self.row.peer.path if self.row.peer else "/api/v1/ingest"
        return f"{'https' if self.row.tls else 'http'}://{self.address}{path}"

    def settle(self):
        """Waits until the server does nothing: some answer first, and work later, by a timer of up to a second."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            before = cpu_seconds(self.pid)
            time.sleep(1.2)
            self.child.must_live()
            if cpu_seconds(self.pid) - before < 0.06:
                return
        raise Failure(f"still at work {SETTLE_TIMEOUT_S} s after the load")

    def load(self, data, seconds, cores=None, delay_ms=0):
        row, peer = self.row, self.row.peer
        try:
            return wrk(self.url(), self.directory, data, cores or self.others, seconds,
                       row.connections or self.options.connections, row.sensors, delay_ms,
                       peer.auth if peer else "bearer")
        except Failure as failure:
            self.child.must_live()
            raise Failure(f"{row.name}: {failure}\n{self.child.log_text()}") from None
