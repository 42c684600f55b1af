# SPDX-License-Identifier: Apache-2.0
"""Runs the stages of .ci/stages: two at a time, each with its output in a log that is shown when it fails.

A stage is a script. It leaves what it counted in the directory $LOOM_CI_RESULTS: Meson's testlog*.json, JUnit's *.xml and
`checks`, lines of "pass NAME" and "fail NAME". One that fails without having counted a failure, or that counted nothing
at all, is a failure itself. Stages don't depend on each other, and one that fails stops no other.
"""

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = ROOT / ".ci" / "stages"
LOGS = ROOT / "build-ci" / "logs"

# name -> (minutes at most, what it does). `test` has the machine for itself, since its time is promised; of the others the
# long ones begin, so that the short ones fill up the end.
LISTED = {
    "test": (15, "scripts/test: release build, unit, corpus and end-to-end tests"),
    "tsan": (30, "unit, corpus and end-to-end tests under ThreadSanitizer"),
    "asan": (30, "the same under AddressSanitizer and UndefinedBehaviorSanitizer"),
    "services": (20, "real OpenSearch (plain, and with TLS and passwords) and Elasticsearch"),
    "crash": (20, "kill -9, power cuts, failing and full disks, damaged files"),
    "debian12": (30, "a new Debian 12: the quick start as root and by sudo, twice, and scripts/test"),
    "debian13": (20, "a new Debian 13: build with llhttp, unit and corpus tests"),
    "fuzz": (20, "every fuzz target over its corpus and for a while beyond (libFuzzer)"),
    "tidy": (20, "clang-tidy over src/"),
    "neon": (15, "the NEON code on an emulated aarch64"),
    "clang": (15, "build by clang with -Werror, unit and corpus tests"),
    "gcc": (15, "build by gcc with -Werror, unit and corpus tests"),
    "budget": (5, "instructions of an event under callgrind, against bench/budget.toml"),
    "layers": (10, "layers, self-contained headers, formatting, shell scripts"),
}
AT_ONCE = 2

Count = collections.namedtuple("Count", "passed failed skipped")


def count_meson(path):
    """Meson's testlog.json: an object a line, one a test."""
    results = [json.loads(line)["result"] for line in path.read_text().splitlines() if line]
    passed = sum(result in ("OK", "EXPECTEDFAIL") for result in results)
    skipped = results.count("SKIP")
    return Count(passed, len(results) - passed - skipped, skipped)


def count_junit(path):
    cases = xml.etree.ElementTree.parse(path).getroot().findall(".//testcase")
    skipped = sum(case.find("skipped") is not None for case in cases)
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    return Count(len(cases) - skipped - failed, failed, skipped)


def count_checks(path):
    words = [line.split(" ", 1)[0] for line in path.read_text().splitlines()]
    passed = words.count("pass")
    return Count(passed, len(words) - passed, 0)


def count_results(directory):
    counts = [count_meson(path) for path in directory.glob("**/testlog*.json")]
    counts += [count_junit(path) for path in directory.glob("**/*.xml")]
    counts += [count_checks(path) for path in directory.glob("**/checks")]
    return Count(*(sum(column) for column in zip(*counts))) if counts else Count(0, 0, 0)


class Stage:
    """A stage that runs, in a process group of its own."""

    def __init__(self, name, work, live):
        self.name = name
        self.log = LOGS / f"{name}.log"
        self.results = work / name / "results"
        self.results.mkdir(parents=True)
        self.live = live
        self.overdue = False
        self.started = time.monotonic()
        self.deadline = self.started + LISTED[name][0] * 60
        environment = dict(os.environ, LOOM_CI_RESULTS=str(self.results), LOOM_CI_WORK=str(work / name))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([STAGES / name], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=None if live else log, stderr=None if live else subprocess.STDOUT,
                                            start_new_session=True)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def ended(self):
        if self.process.poll() is None and time.monotonic() > self.deadline:
            self.overdue = True
            self.kill()
            self.process.wait()
        return self.process.poll() is not None

    def finish(self):
        """Prints how it went; returns what it counted."""
        self.kill()  # whatever it left behind
        status = self.process.returncode
        try:
            count = count_results(self.results)
        except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:  # a log that was cut off
            print(f"{self.name}: results can't be read: {error}")
            count = Count(0, 1, 0)
        reason = ""
        if self.overdue:
            reason = f", ended after {LISTED[self.name][0]} minutes"
        elif status != 0 and count.failed == 0:
            reason = f", exit status {status}"
        elif status == 0 and count.passed + count.failed == 0:
            reason = ", counted nothing"
        if reason:
            count = count._replace(failed=count.failed + 1)
        failed = count.failed > 0
        if failed and not self.live:
            print(f"----- {self.name}: log", flush=True)
            sys.stdout.buffer.write(self.log.read_bytes())
            print(f"----- {self.name}: end of log")
        skipped = f", {count.skipped} skipped" if count.skipped else ""
        print(f"[{'FAILED' if failed else 'ok'}] {self.name}: {count.passed} passed, {count.failed} failed{skipped}"
              f" in {time.monotonic() - self.started:.0f} s{reason}", flush=True)
        return count


def make_work_directory():
    """A directory for root directories and results, named after this process; those of processes that were killed go."""
    # Not /tmp, which may be a small tmpfs or refuse the device nodes of a root directory.
    parent = Path("/var/tmp")
    for left in parent.glob("loom-ci-*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"loom-ci-{os.getpid()}-", dir=parent))


def run_stages(names, work):
    waiting, running, counts = list(names), [], []
    try:
        while waiting or running:
            alone = any(stage.name == "test" for stage in running)
            while waiting and len(running) < AT_ONCE and not alone and not (waiting[0] == "test" and running):
                name = waiting.pop(0)
                print(f"[start] {name}: {LISTED[name][1]}", flush=True)
                running.append(Stage(name, work, live=name == "test" or len(names) == 1))
                alone = name == "test"
            time.sleep(0.2)
            for stage in [stage for stage in running if stage.ended()]:
                running.remove(stage)
                counts.append(stage.finish())
    finally:
        for stage in running:
            stage.kill()
    return counts


def main(arguments):
    if arguments == ["--list"]:
        for name, (_, what) in LISTED.items():
            print(f"{name:10}{what}")
        return 0
    unknown = [name for name in arguments if name not in LISTED]
    if unknown:
        print(f"no stage {', '.join(unknown)}; there are {', '.join(LISTED)}", file=sys.stderr)
        return 2

    names = [name for name in LISTED if not arguments or name in arguments]
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    work = make_work_directory()
    try:
        counts = run_stages(names, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    passed, failed = sum(count.passed for count in counts), sum(count.failed for count in counts)
    print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes; logs are in {LOGS.relative_to(ROOT)}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
