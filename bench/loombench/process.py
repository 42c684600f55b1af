# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive this one, and what the kernel says of them.

Each child leads a process group of its own, so that Ctrl-C reaches only this process, which then stops the children in
order; setpriv has the kernel kill them when this process is killed itself.
"""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """What a person should read, without a trace of calls."""


def exit_on_sigterm():
    """SIGTERM ends this process like Ctrl-C does: through the `with` blocks that stop the children."""

    def end(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


class Child:
    """A process that is stopped at the end of its `with` block. What it says on standard error goes to `log`."""

    def __init__(self, command, log, cores, env=None, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        self.log = Path(log)
        pin = ["taskset", "-c", ",".join(map(str, cores))]
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*pin, "setpriv", "--pdeathsig", "KILL", *map(str, command)],
                stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | (env or {}),
            )
        self.pid = self.process.pid
        self.name = Path(command[0]).name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def signal_group(self, number):
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # all of it has ended

    def stop(self, patience_s=20):
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also on a second Ctrl-C while waiting
            self.signal_group(signal.SIGKILL)
            self.process.wait(patience_s)

    def wait(self, timeout_s):
        """The exit status; a process that takes too long is killed, and a Failure."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop(1)
            raise Failure(f"{self.name} has not ended within {timeout_s} s") from None

    def log_text(self):
        return self.log.read_text(errors="replace")[-4000:].strip()

    def must_live(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with {self.process.returncode}, and said:\n{self.log_text() or '(nothing)'}")


def first_line(*command, cwd=None, unknown="unknown"):
    """What a program says first about itself; `unknown` when it is not here or says nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)
    except (OSError, subprocess.TimeoutExpired):
        return unknown
    return ((done.stdout or done.stderr).strip().splitlines() or [unknown])[0]


# --- what is measured of a process


def _stat_cpu(path):
    fields = Path(path).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_seconds(pid):
    return _stat_cpu(f"/proc/{pid}/stat")


def children(pid):
    return [child for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()]


def thread_cpu_seconds(pid):
    """Thread id -> (name, CPU seconds), of the threads alive."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[task.name] = ((task / "comm").read_text().strip(), _stat_cpu(task / "stat"))
        except FileNotFoundError:
            pass  # it ended just now
    return found


def status_kib(pid, field):
    return int(re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE).group(1))


def anonymous_kib(pid):
    return status_kib(pid, "RssAnon")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Watch:
    """Samples figures of a process while a load runs: with Watch({"kib": function}) as watch: ...; watch.peak("kib")."""

    def __init__(self, figures, every_s=0.2):
        self.samples = []  # (seconds since the start, {name: value})
        self._figures, self._every_s = figures, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join(10)

    def _run(self):
        while not self._done.wait(self._every_s):
            try:
                values = {name: figure() for name, figure in self._figures.items()}
            except (OSError, AttributeError):
                return  # the process has ended; whoever waits for its answers will say so
            self.samples.append((time.monotonic() - self._began, values))

    def peak(self, name):
        return max((values[name] for _, values in self.samples), default=0)
