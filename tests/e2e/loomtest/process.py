# SPDX-License-Identifier: Apache-2.0
"""A real Loom process: started with a configuration, watched, and stopped with every promise checked that holds for any
run."""

import contextlib
import fcntl
import itertools
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import metrics, wire
from .wire import PATIENCE

REPOSITORY = Path(__file__).resolve().parents[3]
# Whole, as each Loom runs in a directory of its own.
BINARY = os.path.abspath(os.environ.get("LOOM_BIN", REPOSITORY / "build" / "loom"))

# The sensor of most tests. Tokens are recognisable, so that any test can look for one where none may be.
SENSOR = "vps-frankfurt-01"
TOKEN = "tok-4f1e9c7a2b8d-e2e"
SENSOR_2 = "vps-tokyo-02"
TOKEN_2 = "tok-90ab33cd71ee-e2e"

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|INVARIANT|invariant failed")
RFC3339_UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")


def wait_for(condition, what, seconds=60.0):
    """Calls condition until it gives something true, and returns that. Plenty of time: it costs nothing when all is well."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds * PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.01)


def toml(config):
    """TOML of {"section": {"key": value}}; a section may be dotted."""
    lines = []
    for section, keys in config.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            lines.append(f"{key} = {json.dumps(str(value) if isinstance(value, Path) else value)}")
        lines.append("")
    return "\n".join(lines)


def merged(config):
    """The test's keys over a base that any test wants: ports that the system chooses, no rate limit, plain HTTP."""
    base = {
        "server": {"listen_address": "127.0.0.1:0", "tls": False, "management_listen_address": "127.0.0.1:0"},
        "limits": {"per_sensor_rps": -1},
        "output": {"type": "stdout"},
    }
    for section, keys in (config or {}).items():
        base.setdefault(section, {}).update(keys)
    return base


def environment(extra=None, sensors=True):
    """A small environment: nothing of the caller's LOOM_SENSOR_* leaks in."""
    keep = ("PATH", "HOME", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS", "LD_LIBRARY_PATH")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    if sensors:
        env["LOOM_SENSOR_" + SENSOR] = TOKEN
        env["LOOM_SENSOR_" + SENSOR_2] = TOKEN_2
    env.update(extra or {})
    return env


def run(*arguments, cwd=None, env=None, seconds=60, stdin=subprocess.DEVNULL):
    """Loom as a command that is expected to end by itself. Text of both streams and the exit status."""
    result = subprocess.run(
        [BINARY, *map(str, arguments)],
        cwd=cwd,
        env=environment() if env is None else env,
        stdin=stdin,
        capture_output=True,
        timeout=seconds * PATIENCE,
        check=False,
    )
    result.out = result.stdout.decode()
    result.err = result.stderr.decode()
    assert not SANITIZER.search(result.err), result.err
    return result


def complaints(text):
    """The lines of standard error that say why: plain ones, and log lines that are no mere information or warning."""
    lines = []
    for line in text.splitlines():
        try:
            level = json.loads(line)["level"]
        except (ValueError, KeyError, TypeError):
            level = "plain"
        if line.strip() and level not in ("debug", "info", "warn"):
            lines.append(line)
    return lines


class Loom:
    """A running Loom. `stdout` is "collect" (lines gather in .output), or a descriptor that the test owns."""

    def __init__(
        self,
        directory,
        config=None,
        env=None,
        sensors=True,
        stdout="collect",
        log_format="json",
        arguments=None,
        binary=None,
    ):
        self.directory = Path(directory)
        self.config_path = self.directory / "loom.toml"
        self.config_path.write_text(toml(merged(config)))
        self.log_format = log_format
        self.output = b""  # all of standard output so far, when it is collected
        self.ingest = None  # (host, port) or a path
        self.management = None
        self.signalled = False  # asked to end
        self.expected_status = 0
        self._log = tempfile.TemporaryFile()
        self._changed = threading.Condition()
        self._markers = itertools.count()
        self._threads = []
        self._collect = stdout == "collect"
        self.process = subprocess.Popen(
            [binary or BINARY, *(["-config", str(self.config_path)] if arguments is None else arguments)],
            cwd=self.directory,
            env=environment(env, sensors),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._collect else stdout,
            stderr=self._log,
        )
        if self._collect:
            self._read(self.process.stdout, self._on_output)

    # --- what it writes

    def _read(self, stream, on_data):
        def loop():
            while True:
                data = os.read(stream.fileno(), 1 << 16)
                with self._changed:
                    on_data(data)
                    self._changed.notify_all()
                if not data:
                    return

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _on_output(self, data):
        self.output += data

    @property
    def log_lines(self):
        """Of standard error, as text. It is a file, not a pipe: what Loom has written is here at once."""
        ended = self.process.poll() is not None  # asked first: then it has written all
        data = os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0)
        if not ended:
            data = data[: data.rfind(b"\n") + 1]
        return data.decode().removesuffix("\n").split("\n") if data else []

    def until(self, condition, what, seconds=60.0):
        """Waits for something that shows in the output or the log. condition() is called under the lock."""
        deadline = time.monotonic() + seconds * PATIENCE
        with self._changed:
            while True:
                result = condition()
                if result:
                    return result
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise AssertionError(
                        f"waited {seconds * PATIENCE:.0f} s in vain for {what}; log:\n" + self.log_text()
                    )
                self._changed.wait(min(remaining, 0.02))
                # It has ended, and all that it wrote has been read.
                if self.process.poll() is not None and not any(thread.is_alive() for thread in self._threads):
                    if not condition():
                        raise AssertionError(
                            f"Loom ended ({self.process.returncode}) before {what}; log:\n" + self.log_text()
                        )

    def lines(self, count=None):
        """Output lines without their newline; waits for at least `count` when given. A 204 says that Loom has written an
        event, not that it has been read here: on a Loom that tests share, use written() and events that are unique."""
        if count is not None:
            self.until(lambda: self.output.count(b"\n") >= count, f"{count} output lines")
        whole = self.output
        assert whole == b"" or whole.endswith(b"\n") or self.process.poll() is None, "the output ends within a line"
        return whole.split(b"\n")[:-1]

    def written(self):
        """All output lines up to now: those of every answer that the test has are read for certain."""
        marker = b'{"written":%d}' % next(self._markers)
        assert self.post(b"[" + marker + b"]").status == 204
        self.until(lambda: marker + b"\n" in self.output, "the marker")
        return self.lines()

    def log_text(self):
        return "\n".join(self.log_lines)

    def log(self, **fields):
        """The log records that have all these fields; a value may be a compiled pattern."""

        def match(record, key, wanted):
            value = record.get(key)
            return bool(wanted.search(str(value))) if isinstance(wanted, re.Pattern) else value == wanted

        records = [json.loads(line) for line in self.log_lines]
        return [record for record in records if all(match(record, key, wanted) for key, wanted in fields.items())]

    def wait_log(self, seconds=60.0, **fields):
        return self.until(lambda: self.log(**fields), f"a log line with {fields}", seconds)

    # --- start and end

    def wait_ready(self, management=True):
        def address(message):
            def parse():
                if self.log_format == "json":
                    return [record["address"] for record in self.log(message=message)]
                return [
                    match.group(1)
                    for line in self.log_lines
                    for match in [re.search(rf"INFO +{message} .*\baddress=\"?([^\s\"]+)", line)]
                    if match
                ]

            return self.until(parse, f'"{message}"')[0]

        self.ingest = wire.parse_address(address("listening"))
        if management:
            self.management = wire.parse_address(address("management listening"))
            wait_for(lambda: self.ready().status == 200, "/ready 200")
        return self

    def send_signal(self, number):
        self.signalled = True
        self.process.send_signal(number)

    def wait(self, seconds=40.0):
        status = self.process.wait(seconds * PATIENCE)
        for thread in self._threads:
            thread.join(60 * PATIENCE)
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def stop(self, number=signal.SIGTERM, seconds=40.0):
        """Asks it to end, if nobody has yet (a second signal would end it at once), and checks what holds for every
        run: it ends in time, with the expected status, without a sanitizer report, with a log that is one."""
        if self.process.poll() is None:
            if not self.signalled:
                self.send_signal(number)
            try:
                self.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"still there {seconds * PATIENCE:.0f} s after the signal; log:\n" + self.log_text()
                )
        self.wait()
        self.check_log()
        assert (
            self.process.returncode == self.expected_status
        ), f"exit status {self.process.returncode}; log:\n{self.log_text()}"

    def check_log(self):
        text = self.log_text()
        assert not SANITIZER.search(text), text
        for secret in (TOKEN, TOKEN_2):
            assert secret not in text, "a token in the log"
        if self.log_format == "json":
            for line in self.log_lines:
                record = json.loads(line)
                assert isinstance(record, dict) and isinstance(record.get("message"), str), line
                assert record.get("level") in ("debug", "info", "warn", "error"), line
                assert RFC3339_UTC.match(record.get("time", "")), line

    # --- talking to it

    def connect(self, **options):
        return wire.Connection(self.ingest, **options)

    def post(self, body, token=TOKEN, **options):
        """One batch on a connection of its own."""
        with self.connect() as connection:
            return connection.post(body, token=token, **options)

    def get(self, path):
        """From the management listener."""
        with wire.Connection(self.management) as connection:
            return connection.request("GET", path)

    def ready(self):
        return self.get("/ready")

    def reasons(self):
        """What /ready says stands in the way, as text; "" when it is ready."""
        answer = self.ready()
        if answer.status == 200:
            return ""
        assert answer.status == 503, answer
        reasons = answer.json()
        assert isinstance(reasons, list) and reasons, f"/ready 503 without a list of reasons: {answer.body!r}"
        return json.dumps(reasons)

    def metrics(self):
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        return metrics.Metrics(answer.body.decode())


@contextlib.contextmanager
def running(directory, config):
    """A ready Loom that several tests share: one that leaves it in a bad state makes a later one fail."""
    loom = Loom(directory, config).wait_ready()
    try:
        yield loom
        loom.stop()
    finally:
        loom.kill()


class Pipe:
    """A pipe for Loom's standard output whose reading end the test holds. The writing end stays open here too, so that
    the flags of the shared description can be looked at; close_writer gives a reader its end of file."""

    def __init__(self, size=4096):
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.reader, 1031, size)  # F_SETPIPE_SZ: small, so that it is full soon

    def close_reader(self):
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def close_writer(self):
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def is_nonblocking(self):
        return bool(fcntl.fcntl(self.writer, fcntl.F_GETFL) & os.O_NONBLOCK)

    def read_available(self, wait=0.0):
        """What is there now, at most one read."""
        ready, _, _ = select.select([self.reader], [], [], wait)
        return os.read(self.reader, 1 << 16) if ready else None

    def close(self):
        self.close_reader()
        self.close_writer()


class Drain:
    """Reads a pipe to its end in a thread, as a healthy consumer does."""

    def __init__(self, pipe):
        self.data = bytearray()
        self._pipe = pipe
        self._pause = threading.Event()
        self._finish = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._pause.is_set():
            data = self._pipe.read_available(0.05)
            if data:
                self.data += data
            elif data == b"" or self._finish.is_set():
                return

    def pause(self):
        """Stops reading, whatever there still is, and gives what came so far."""
        self._pause.set()
        return self.finish()

    def finish(self):
        """Reads what is left and gives all of it; for when nothing more is written."""
        self._finish.set()
        self._thread.join(60 * PATIENCE)
        assert not self._thread.is_alive(), "more and more is written"
        return bytes(self.data)
