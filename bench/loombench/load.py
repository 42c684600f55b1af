# SPDX-License-Identifier: Apache-2.0
"""The load: wrk with post.lua, over the batches of bench/gen."""

import json
import resource
import subprocess
from pathlib import Path

from .process import Child, Failure

BENCH = Path(__file__).resolve().parent.parent
TOKEN = "bench-token"
EVENTS_PER_BATCH = 50


def make_batches(directory, batches, events=EVENTS_PER_BATCH):
    """Makes the batches; returns their mean size in bytes."""
    subprocess.run(
        [BENCH / "gen", directory, "--batches", str(batches), "--events", str(events)],
        check=True, timeout=600, stdout=subprocess.DEVNULL,
    )
    sizes = [path.stat().st_size for path in directory.iterdir()]
    return sum(sizes) / len(sizes)


def raise_descriptor_limit(needed):
    """Both sides need a descriptor for each connection. Raises the soft limit, which children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise Failure(f"{needed} file descriptors are needed, and `ulimit -Hn` is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def token_of(sensor, sensors):
    """As post.lua has them."""
    return TOKEN if sensors == 1 else f"{TOKEN}-{sensor}"


def wrk(url, directory, data, cores, seconds, connections, sensors=1, delay_ms=0, auth="bearer"):
    """Runs wrk and returns what post.lua tells of it. A request that was refused or broken is a Failure."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", BENCH / "post.lua", url]
    environment = {
        "LOOM_BENCH_TOKEN": TOKEN if auth == "bearer" else "",
        "LOOM_BENCH_DATA": str(data),
        "LOOM_BENCH_DELAY_MS": str(delay_ms),
        "LOOM_BENCH_SENSORS": str(sensors),
    }
    with Child(command, directory / "wrk.log", cores, environment) as child:
        status = child.wait(seconds + 120)
    lines = child.log_text().splitlines()
    if status != 0 or not lines or not lines[-1].startswith("{"):
        raise Failure(f"wrk ended with {status}, and said:\n{child.log_text()}")
    summary = json.loads(lines[-1])
    if summary["refused"] or summary["broken"]:
        raise Failure(f"not everything was taken, so there is nothing to compare: {summary}")
    if not summary["requests"]:
        raise Failure("wrk had no answer at all")
    return summary
