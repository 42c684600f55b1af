# SPDX-License-Identifier: Apache-2.0
"""What Loom may have done to an event, checked on its bytes rather than on a parsed tree."""

import json


def one_line(event):
    """An event as it leaves when nothing is added: line breaks between tokens go, everything else stays. (Inside
    strings JSON allows no raw line break, so every one there is stands between tokens.)"""
    return event.replace(b"\r", b"").replace(b"\n", b"")


def inserted(event, line):
    """The bytes that were added, when `line` is `event` with exactly one insertion; fails otherwise. Where there are
    several readings ("aXa" in "aXaXa") the insertion that begins last is taken, so it starts with its comma."""
    event = one_line(event)
    line = line.replace(b"\r", b"")
    assert len(line) >= len(event), f"bytes are missing:\n{event!r}\n{line!r}"
    begin = 0
    while begin < len(event) and event[begin] == line[begin]:
        begin += 1
    tail = len(event) - begin
    assert tail == 0 or line.endswith(event[begin:]), f"more than one place was changed:\n{event!r}\n{line!r}"
    return line[begin : len(line) - tail], begin


class Members(list):
    """The members of an object as they stand: order and repetition kept."""


def tree(text):
    """A parse that loses nothing: members in order, with repetitions; numbers as they are spelt."""
    return json.loads(
        text,
        object_pairs_hook=Members,
        parse_int=lambda digits: ("number", digits),
        parse_float=lambda digits: ("number", digits),
        parse_constant=_no_constant,
    )


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


def check_line(line):
    """An output line as a tree; fails unless it is one valid JSON object (RFC 8259) in UTF-8."""
    text = line.decode("utf-8")
    value = tree(text)
    assert isinstance(value, Members), line
    return value
