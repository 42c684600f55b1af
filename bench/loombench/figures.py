# SPDX-License-Identifier: Apache-2.0
"""Measures a row, and says what its samples amount to."""

import os
import statistics
import time

from .process import Watch, anonymous_kib, cpu_seconds
from .server import Server


def measure(row, options, directory, data, batch_bytes):
    """One sample of a row: its server on the first core, wrk on the second."""
    with Server(row, options, directory, options.cores[:1], options.cores[1:]) as server:
        server.load(data, 1)  # caches, connections' memory, the processor's frequency
        if row.peer:
            server.settle()
        before = cpu_seconds(server.pid)
        with Watch({"kib": lambda: anonymous_kib(server.pid)}) as memory:
            summary = server.load(data, options.seconds)
            if row.peer:
                server.settle()  # so that what it took and left for later counts
        cpu = cpu_seconds(server.pid) - before
        events = summary["requests"] * options.events
        sample = {
            "events_per_s": events / summary["seconds"],
            "events_per_cpu_s": events / cpu,
            "busy": cpu / summary["seconds"],
            "p99_us": summary["p99_us"],
            "idle_kib": server.idle_kib,
            "load_kib": memory.peak("kib"),
        }
        if row.outbox:
            sample |= disk_figures(server, options, data, summary, batch_bytes)
        row.samples.append(sample)


# --- the outbox on disk: what the disk itself takes, and how long a sensor waits


def sync_seconds(directory, size, count):
    """Median of write+fdatasync of `size` bytes, appended to a file beside the outbox."""
    block, times = os.urandom(size), []
    path = directory / "sync-probe"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(count):
                began = time.monotonic()
                file.write(block)
                os.fdatasync(file.fileno())
                times.append(time.monotonic() - began)
    finally:
        path.unlink(missing_ok=True)
    return statistics.median(times)


def disk_figures(server, options, data, full, batch_bytes):
    """After a run at full load: the share of the disk's synced bandwidth, and waiting times at half of that load."""
    metrics = server.metrics()
    batches = metrics["loom_store_commit_batches_sum"] / metrics["loom_store_commit_duration_seconds_count"]
    commit_bytes = max(1, int(batches * batch_bytes))
    sync = sync_seconds(options.outbox, commit_bytes, 60)
    full_rate = full["requests"] / full["seconds"]
    half = half_load(server, options, data, full_rate)
    return {
        "batches_per_commit": batches,
        "commit_bytes": commit_bytes,
        "disk_bytes_per_s": commit_bytes / sync,
        "of_disk": full_rate * batch_bytes / (commit_bytes / sync),
        "of_full": half["requests"] / half["seconds"] / full_rate,
        "half_p50_us": half["p50_us"],
        "half_p99_us": half["p99_us"],
        "sync_us": sync * 1e6,
    }


def half_load(server, options, data, full_rate):
    """Each connection pauses after an answer, so that all together do half of `full_rate`.

    How long an answer takes at that load is not known before: a first guess, over a second, tells.
    """
    turn_ms = 1000 * 2 * options.connections / full_rate  # of a connection: an answer and a pause
    guess = server.load(data, 1, delay_ms=turn_ms / 2)
    answer_ms = 1000 * options.connections / (guess["requests"] / guess["seconds"]) - turn_ms / 2
    return server.load(data, options.seconds, delay_ms=max(0.1, turn_ms - answer_ms))


# --- what samples amount to


def median(row, key):
    return statistics.median(sample[key] for sample in row.samples)


def spread(row):
    rates = [sample["events_per_cpu_s"] for sample in row.samples]
    return max(rates) / min(rates)


COLUMNS = [  # heading, text of a row; `base` is the discarding server's rate over the same transport
    ("events/CPU-s", lambda row, base: f"{median(row, 'events_per_cpu_s'):,.0f}"),
    ("us/event", lambda row, base: f"{1e6 / median(row, 'events_per_cpu_s'):.3f}"),
    ("of discard", lambda row, base: f"{median(row, 'events_per_cpu_s') / base[row.tls]:.3f}" if row.tls in base else ""),
    ("events/s", lambda row, base: f"{median(row, 'events_per_s'):,.0f}"),
    ("busy", lambda row, base: f"{median(row, 'busy'):.2f}"),
    ("p99 ms", lambda row, base: f"{median(row, 'p99_us') / 1000:.2f}"),
    ("RssAnon idle", lambda row, base: f"{median(row, 'idle_kib') / 1024:.1f} MiB"),
    ("under load", lambda row, base: f"{median(row, 'load_kib') / 1024:.1f} MiB"),
]


def table(measured):
    """Lines of cells, the heading first."""
    base = {row.tls: median(row, "events_per_cpu_s") for row in measured if row.server == "discard"}
    return [["", *(heading for heading, _ in COLUMNS)]] + [
        [row.name, *(text(row, base) for _, text in COLUMNS)] for row in measured
    ]


def text_table(lines):
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        line[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:]))
        for line in lines
    )


def markdown_table(lines):
    rule = "|---|" + "---:|" * (len(lines[0]) - 1)
    return "\n".join(["| " + " | ".join(lines[0]) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines[1:])])


def remarks(measured):
    """What the table's figures mean for the aims, a sentence or two for each row that has an aim."""
    found = [f"Medians of {len(measured[0].samples)} rounds; within a row they differ by a factor of up to "
             f"{max(map(spread, measured)):.2f}."]
    by_name = {row.name: row for row in measured}
    stdout = by_name.get("loom, plain")
    for row in measured:
        if (row.bulk or row.outbox) and stdout:
            per_cpu = median(row, "events_per_cpu_s") / median(stdout, "events_per_cpu_s")
            rate = median(row, "events_per_s") / median(stdout, "events_per_s")
            found.append(f"`{row.name}` does {per_cpu:.2f} of standard output's events per CPU-second (`loom, plain`),"
                         f" and {rate:.2f} of its events/s.")
        if row.outbox:
            found.append(
                f"`{row.name}`: {median(row, 'batches_per_commit'):.1f} batches a commit, "
                f"{median(row, 'commit_bytes') / 1024:,.0f} KiB of input. The disk takes "
                f"{median(row, 'disk_bytes_per_s') / 1e6:,.0f} MB/s in writes of that size, each synced "
                f"({median(row, 'sync_us') / 1000:.2f} ms): Loom takes {median(row, 'of_disk'):.2f} of it. "
                f"At {median(row, 'of_full'):.2f} of full load a sensor waits {median(row, 'half_p50_us') / 1000:.2f} ms "
                f"(p50, {median(row, 'half_p50_us') / median(row, 'sync_us'):.1f} syncs) and "
                f"{median(row, 'half_p99_us') / 1000:.2f} ms (p99, {median(row, 'half_p99_us') / median(row, 'sync_us'):.1f} syncs).")
    whole = by_name.get("loom, plain, databases")
    for row in measured:
        if row.peer and whole:
            ratio = median(whole, "events_per_cpu_s") / median(row, "events_per_cpu_s")
            found.append(f"Loom does {ratio:.1f} times the events per CPU-second of {row.name} "
                         f"(`loom, plain, databases`; {row.peer.does}).")
    return found
