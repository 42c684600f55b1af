# SPDX-License-Identifier: Apache-2.0
"""Other programs that do (part of) the same: bench/peers/*.conf, described in bench/README.md."""

import os
import shlex
import shutil
import time
import urllib.request

from .load import BENCH, TOKEN
from .process import Failure, first_line
from .server import START_TIMEOUT_S, Row

KEYS = {"name", "binary", "version", "start", "environment", "path", "auth", "ready", "does"}


class Peer:
    """One file: lines of `key = value`, then a line `[config]`, then the template of the program's own configuration."""

    def __init__(self, path):
        self.file = path
        head, _, self.template = path.read_text().partition("\n[config]\n")
        values = {"version": "--version", "environment": "", "ready": "connect"}
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
        self._environment = values["environment"]
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
            except OSError:
                time.sleep(0.1)
        raise Failure(f"{self.name} is not ready after {START_TIMEOUT_S} s:\n{server.child.log_text()}")


def rows(options):
    """A row for each peer that is here; a word for each that is not."""
    found = []
    for path in sorted((BENCH / "peers").glob("*.conf")):
        peer = Peer(path)
        if not peer.binary:
            print(f"skipped: {peer.name} is not here (in PATH, or ${peer.variable} with its path)")
        elif not options.asn or not options.databases:
            print(f"skipped: {peer.name} is compared with databases only (--fetch)")
        else:
            print(f"peer: {peer.name}: {peer.version()}")
            found.append(Row(peer.name, server="peer", databases=True, peer=peer))
    return found
