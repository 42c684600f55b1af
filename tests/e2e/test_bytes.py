# SPDX-License-Identifier: Apache-2.0
"""What the sensor sent leaves as it came, byte for byte, with and without databases."""

import json
import random

import pytest

from loomtest import events, splice


def send_all(loom, batch):
    answer = loom.post(events.batch(batch))
    assert answer.status == 204, answer
    return loom.lines(len(batch))


def check_additions(added, begin, event):
    """One insertion, of members for `source` (or dotted ones), and nothing else."""
    assert added.startswith(b",") or event[begin - 1 : begin] == b"{", added
    members = json.loads(b"{" + added.strip(b",") + b"}")
    assert members and set(members) <= {"as", "geo"}, added


def test_samples_without_databases(start_loom):
    loom = start_loom()
    sent = events.samples()
    assert send_all(loom, sent) == sent


def test_samples_with_databases(start_loom, enrichment):
    """Taking out what was added gives the input back, and each sample gains something."""
    loom = start_loom({"enrichment": enrichment})
    sent = events.samples()
    for event, line in zip(sent, send_all(loom, sent)):
        splice.check_line(line)
        added, begin = splice.inserted(event, line)
        check_additions(added, begin, event)


@pytest.mark.parametrize("name", events.HOSTILE)
@pytest.mark.parametrize("with_databases", [False, True], ids=["plain", "enriched"])
def test_hostile_events(request, start_loom, name, with_databases):
    """None of these has an address to look up in a place that counts, so they pass as they are, but for line breaks."""
    config = {"enrichment": request.getfixturevalue("enrichment")} if with_databases else {}
    loom = start_loom({**config, "limits": {"per_sensor_rps": -1}})
    event = events.HOSTILE[name]
    lines = send_all(loom, [b'{"before":1}', event, b'{"after":1}'])
    assert lines[0] == b'{"before":1}' and lines[2] == b'{"after":1}'
    splice.check_line(lines[1])
    assert lines[1].strip() == splice.one_line(event).strip()


def test_all_hostile_events_in_one_batch(start_loom, enrichment):
    loom = start_loom({"enrichment": enrichment})
    sent = list(events.HOSTILE.values())
    body = b" \r\n[\n\t" + b" \n,\r\n ".join(sent) + b"\n]\n\n"
    assert loom.post(body).status == 204
    for event, line in zip(sent, loom.lines(len(sent))):
        assert line.strip() == splice.one_line(event).strip()


# With an address that the demo databases know: hostile things around it must survive an insertion in their midst.
AROUND = {
    "numbers": b'{"n":12345678901234567890,"source":{"port":1.0,"ip":"%s","x":1e400},"m":1.10}',
    "escapes": b'{"a":"\\u0000\\ud800","source":{"ip":"%s","a":"\\u2028\\/<script>"},"b":"\\udc00"}',
    "duplicates": b'{"a":1,"a":2,"source":{"x":1,"ip":"%s","x":2},"a":3}',
    "blanks": b'{ "source" : { "ip" : "%s" } , "a" : [ ] }',
    "line-breaks": b'{\r\n  "source": {\n    "ip": "%s"\n  },\n  "a": 1\n}',
    "order": b'{"zz":1,"source":{"port":1,"ip":"%s","address":"x"},"aa":{"source":{"ip":"192.0.2.1"}}}',
    "emoji": '{"a":"\U0001f980","source":{"\U0001f511":"\u6f22","ip":"%s"},"b":"\U0010ffff"}'.encode(),
    "deep": b'{"a":'
    + b"[" * 120
    + b"]" * 120
    + b',"source":{"ip":"%s","d":'
    + b'{"a":' * 100
    + b"1"
    + b"}" * 100
    + b"}}",
    "ip-last": b'{"a":1,"source":{"x":[{"ip":"192.0.2.1"}],"ip":"%s"}}',
    "brackets-in-text": b'{"a":"}],{[\\"","source":{"a":"}}","ip":"%s","b":"{\\\\"}}',
    "alone": b'{"source":{"ip":"%s"}}',
}


@pytest.fixture
def known(databases):
    """An address of the samples that both demo databases know."""
    for line in events.samples():
        address = json.loads(line)["source"]["ip"]
        if {"as", "geo"} <= set(databases.additions(address)):
            return address.encode()
    raise AssertionError("no sample address is in both demo databases")


@pytest.mark.parametrize("name", AROUND)
def test_insertion_leaves_the_rest(start_loom, enrichment, known, name):
    loom = start_loom({"enrichment": enrichment})
    event = AROUND[name].replace(b"%s", known)
    (line,) = send_all(loom, [event])
    splice.check_line(line)
    added, begin = splice.inserted(event, line)
    check_additions(added, begin, splice.one_line(event))


def test_random_events(start_loom, enrichment, known):
    """Documents of all shapes, generated; the seed is printed with a failure by the event itself."""
    loom = start_loom({"enrichment": enrichment})
    generator = random.Random(20261123)

    def blank():
        return generator.choice(["", "", "", " ", "\t", "\n", "\r\n", "  "])

    def text():
        parts = [
            "a",
            "\\n",
            "\\u0041",
            "\\ud83d",
            "\u00e9",
            "\U0001f980",
            "\\\\",
            '\\"',
            "{",
            "]",
            ",",
            ":",
            "source",
            " ",
            "\x7f",
        ]
        return '"' + "".join(generator.choice(parts) for _ in range(generator.randrange(12))) + '"'

    def value(depth):
        kind = generator.randrange(8 if depth < 6 else 5)
        if kind == 0:
            return generator.choice(["0", "-0", "1.0", "1e400", "12345678901234567890", "-1.5E-7", "0.10"])
        if kind in (1, 2):
            return text()
        if kind == 3:
            return generator.choice(["true", "false", "null"])
        if kind == 4:
            return generator.choice(["{}", "[]", "[ ]", "{\n}"])
        if kind == 5:
            return "[" + ",".join(blank() + value(depth + 1) + blank() for _ in range(generator.randrange(1, 5))) + "]"
        return thing(depth + 1)

    def thing(depth, extra=()):
        members = [
            f"{blank()}{text()}{blank()}:{blank()}{value(depth)}{blank()}" for _ in range(generator.randrange(6))
        ] + list(extra)
        generator.shuffle(members)
        return "{" + ",".join(members) + "}"

    sent = []
    for _ in range(400):
        # Keys made by text() can't be `ip`, and only by a rare chance `source`: those events are left out.
        event = thing(
            0, [f'"source":{thing(1, [chr(34) + "ip" + chr(34) + ":" + chr(34) + known.decode() + chr(34)])}']
        )
        if sum(key == "source" for key, _ in splice.tree(event)) == 1:
            sent.append(event.encode())
    for event, line in zip(sent, send_all(loom, sent)):
        splice.check_line(line)
        added, begin = splice.inserted(event, line)
        check_additions(added, begin, splice.one_line(event))
