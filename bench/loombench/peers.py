# SPDX-License-Identifier: Apache-2.0
"""Other programs that do (part of) the same: bench/peers/*.conf, described in bench/README.md."""

import http.client
import json
import os
import shlex
import shutil
import time
import urllib.request

from .load import BENCH, TOKEN
from .process import Failure, first_line
from .server import START_TIMEOUT_S, Row, Server

WRITE_TIMEOUT_S = 20  # from a request to its events on standard output

KEYS = {"name", "binary", "version", "start", "environment", "path", "auth", "ready", "does", "writes"}


class Peer:
    """One file: lines of `key = value`, then a line `[config]`, then the template of the program's own configuration."""

    def __init__(self, path):
        self.file = path
        head, _, self.template = path.read_text().partition("\n[config]\n")
        values = {"version": "--version", "environment": "", "ready": "connect",
                  "writes": "source.geo.country_iso_code source.as.number"}
        for line in head.splitlines():
            if line.strip() and not line.startswith("#"):
                key, found, value = (part.strip() for part in line.partition("="))
                if not found or key not in KEYS:
                    raise Failure(f"{path}: no such key: {line}")
                values[key] = value
        if missing := KEYS - values.keys():
            raise Failure(f"{path}: lacks {', '.join(sorted(missing))}")
        self.name, self.path, self.auth, self.does = values["name"], values["path"], values["auth"], values["does"]
        self._start, self._ready, self._version = values["start"], values["ready"], values["version"]
        self._environment, self._writes = values["environment"], values["writes"].split()
        self.variable = "LOOM_BENCH_" + path.stem.upper().replace("-", "_")
        self.binary = os.environ.get(self.variable) or shutil.which(values["binary"])

    def version(self):
        """The first line that the program says about itself; `version = -`: it says nothing."""
        if self._version == "-":
            return "version unknown"
        return first_line(self.binary, *shlex.split(self._version), unknown="version unknown")

    def _fill(self, text, server):
        host, port = server.address.rsplit(":", 1)
        values = {
            "ADDRESS": server.address, "HOST": host, "PORT": port, "MANAGEMENT": server.management, "TOKEN": TOKEN,
            "CITY": server.options.geoip, "ASN": server.options.asn, "DIRECTORY": server.directory,
            "CONFIG": server.directory / self.file.name, "BINARY": self.binary,
        }
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def command(self, server):
        (server.directory / self.file.name).write_text(self._fill(self.template, server))
        environment = dict(pair.split("=", 1) for pair in shlex.split(self._fill(self._environment, server)))
        return shlex.split(self._fill(self._start, server)), environment

    def wait_until_ready(self, server):
        """After the port takes connections: `ready = connect` is content with that, else a URL has to answer 2xx."""
        if self._ready == "connect":
            return
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            server.child.must_live()
            try:
                with urllib.request.urlopen(self._fill(self._ready, server), timeout=5):
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        raise Failure(f"not ready after {START_TIMEOUT_S} s:\n{server.child.log_text()}")

    def prove(self, options, directory, batch):
        """Posts one batch and reads standard output: each event has to be a line, and both databases have to show."""
        ids = [event["event"]["id"] for event in json.loads(batch.read_bytes())]
        row = Row(self.name, server="peer", databases=True, stdout="file", peer=self)
        with Server(row, options, directory, options.cores[:1], options.cores[1:]) as server:
            head = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {TOKEN}"} if self.auth == "bearer" else {})
            request = urllib.request.Request(server.url(), batch.read_bytes(), head)
            try:
                urllib.request.urlopen(request, timeout=WRITE_TIMEOUT_S).close()
            except (OSError, http.client.HTTPException) as error:
                server.child.must_live()
                raise Failure(f"{server.url()} answered: {error}\n{server.child.log_text()}") from None
            deadline = time.monotonic() + WRITE_TIMEOUT_S
            while server.stdout_path.read_bytes().count(b"}\n") < len(ids) and time.monotonic() < deadline:
                server.child.must_live()
                time.sleep(0.1)
            self._judge(ids, server.stdout_path.read_text(errors="replace").split("\n"), server.child.log_text())

    def _judge(self, ids, lines, log):
        try:
            events = [json.loads(line) for line in lines if line.startswith("{")]  # Logstash says other things there, too
            written = [event["event"]["id"] for event in events]
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"a line is no event ({error!r}):\n{log}") from None
        if sorted(written) != sorted(ids):
            raise Failure(f"of {len(ids)} events {len(set(ids) & set(written))} were written, in {len(events)} objects:\n{log}")
        for path in self._writes:  # some addresses are in no database
            if (found := sum(value_at(event, path) not in (None, "") for event in events)) < len(ids) / 2:
                raise Failure(f"{found} of {len(ids)} events have {path}:\n{log}")


def value_at(event, path):
    """By a path with dots, over objects in one another or as one name."""
    if path in event:
        return event[path]
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def rows(options):
    """A row for each peer that is here; a word for each that is not."""
    found = []
    for path in sorted((BENCH / "peers").glob("*.conf")):
        peer = Peer(path)
        if not peer.binary:
            print(f"skipped: {peer.name} is not here (in PATH, or ${peer.variable} with its path)")
        elif not os.access(peer.binary, os.X_OK):
            print(f"skipped: {peer.name}: ${peer.variable} names no program: {peer.binary}")
        elif not options.asn or not options.databases:
            print(f"skipped: {peer.name} is compared with databases only (--fetch)")
        else:
            print(f"peer: {peer.name}: {peer.version()}")
            found.append(Row(peer.name, server="peer", databases=True, peer=peer))
    return found
