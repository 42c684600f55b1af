# SPDX-License-Identifier: Apache-2.0
"""What a report says besides the table: the machine, docs/PERFORMANCE.md's measured part, docs/performance.svg."""

import datetime
import math
import os
import platform
import re
from xml.sax.saxutils import escape

from .figures import markdown_table, median
from .process import Failure, first_line
from .setup import REPOSITORY

BEGIN, END = "<!-- measured by bench/run --report -->", "<!-- end of what was measured -->"


def _found(path, pattern):
    try:
        with open(path) as file:
            match = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1) if match else "unknown"


def machine(options):
    """Lines on what is measured, and on what."""
    processor = _found("/proc/cpuinfo", r"^model name\s*:\s*(.*)$")
    memory = int(_found("/proc/meminfo", r"^MemTotal:\s*(\d+)")) / 1048576
    system = _found("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)')
    return [
        f"Date: {datetime.date.today()}",
        f"Loom: {first_line('git', 'describe', '--always', '--dirty', cwd=REPOSITORY)}, {first_line(options.loom, '-version')}",
        f"Processor: {processor}, {os.cpu_count()} cores seen",
        f"Memory: {memory:.0f} GiB",
        f"Kernel: {platform.release()}",
        f"System: {system}",
        f"Compiler: {first_line('gcc', '--version')}; OpenSSL: {first_line('openssl', 'version')}",
        f"Load: {first_line('wrk', '-v').split(' Copyright')[0]}",
        f"Databases: {_sizes(options)}",
        f"Load average before: {', '.join(f'{value:.2f}' for value in os.getloadavg())}",
    ]


def _sizes(options):
    if not options.databases:
        return "none"
    files = [("City", options.geoip)] + ([("ASN", options.asn)] if options.asn else [])
    return ", ".join(f"{name} {path.stat().st_size / 1e6:.0f} MB" for name, path in files)


# --- the chart: microseconds of CPU for an event, on a logarithmic scale, as peers take a hundred times as long

WIDTH, LEFT, RIGHT, BAR, GAP = 760, 200, 80, 18, 8
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .small { font-size: 11px; fill: #59636e } .grid { stroke: #d1d9e0 }
  .discard { fill: #8c959f } .loom { fill: #0969da } .peer { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d }
    .discard { fill: #7d8590 } .loom { fill: #4493f8 } .peer { fill: #f0883e }
  }"""


def chart(measured):
    cost = [(row, 1e6 / median(row, "events_per_cpu_s")) for row in measured]
    low = high = 0.1  # whole decades
    while high < max(value for _, value in cost):
        high *= 10
    while low > min(value for _, value in cost):
        low /= 10
    decades = max(1, round(math.log10(high / low)))

    def x(value):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(value / low) / decades

    bottom = 40 + len(cost) * (BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 26}" role="img" '
        'aria-label="CPU time for an event, by server">',
        f"<style>{STYLE}\n</style>",
        '<text x="0" y="18">Microseconds of CPU time for an event (logarithmic; less is better)</text>',
    ]
    for power in range(decades + 1):
        mark = low * 10**power
        parts.append(f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="30" y2="{bottom}"/>')
        parts.append(f'<text class="small" x="{x(mark):.1f}" y="{bottom + 16}" text-anchor="middle">{mark:g}</text>')
    for number, (row, value) in enumerate(cost):
        top = 36 + number * (BAR + GAP)
        parts.append(f'<text x="{LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(row.name)}</text>')
        parts.append(f'<rect class="{row.server}" x="{LEFT}" y="{top}" width="{x(value) - LEFT:.1f}" height="{BAR}"/>')
        parts.append(f'<text class="small" x="{x(value) + 6:.1f}" y="{top + 13}">{value:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(options, lines, measured, cells, remarks, scan):
    page = REPOSITORY / "docs" / "PERFORMANCE.md"
    head, begin, rest = page.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Failure(f"{page} lacks the lines {BEGIN} and {END}")
    parts = ["\n".join(f"- {line}" for line in lines)]
    if options.note:
        parts.append(options.note)
    parts += ["![CPU time for an event](performance.svg)", markdown_table(cells), "\n".join(f"- {line}" for line in remarks)]
    if scan:
        parts.append("The scanner alone, over the same batches:\n\n```text\n" + scan.rstrip() + "\n```")
    page.write_text(head + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + tail)
    (REPOSITORY / "docs" / "performance.svg").write_text(chart(measured))
    print("written: docs/PERFORMANCE.md, docs/performance.svg")
