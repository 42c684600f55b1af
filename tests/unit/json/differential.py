#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Loom's JSON against Python's, on documents from a generator with a fixed seed.

    differential.py [--count N] COMMAND...      where COMMAND runs json_cli

For every document: is it valid, where are its events, which address is found or why none, and what does the line hold
after the additions? The answers are computed here from Python's own parse and from the rules as ARCHITECTURE.md and
json/splice.h tell them, without a look at the C code.
"""

import argparse
import json
import random
import subprocess
import sys

DEPTH_MAX = 128
ADDITIONS = {"as": {"number": "64500", "organization": {"name": '"Example"'}},
             "geo": {"city_name": '"Delft"', "location": [("lat", "52.01"), ("lon", "4.36")]}}
LEAVES = ["as.number", "as.organization.name"] + ["geo." + name for name in (
    "continent_code", "continent_name", "country_iso_code", "country_name", "region_iso_code", "region_name",
    "city_name", "postal_code", "timezone", "location")]
INNER = ["as", "as.organization", "geo"]


# --- The generator -------------------------------------------------------------------------------------------------

KEYS = ["a", "", "source", "source", "ip", "source.ip", "as", "geo", "number", "organization", "name", "city_name", "location",
        "source.as", "source.as.number", "source.geo.city_name", "source.geo.location", "source.port", "domain",
        "as.number", "as.x", "as.organization", "geo.x", "location.lat", "é\u4e1c\U0001f600", "sources", "x" * 70, 'q"\\/\n']
NESTED = ["@timestamp", "source", "destination", "event"]
DOTTED = ["@timestamp", "source.ip", "source.as.number", "source.as.organization.name", "source.geo.location", "source.port",
          "source.geo.city_name", "source.geo.name", "source.domain"]
BESIDE = ["source", "source.as", "source.geo", "source.geo.x", "source.as.x", "source.domain", "source.as.organization",
          "source.geo.location.lat"]
# What is in an object that is as it should be.
EXPECTED = {"source": ["ip", "port", "as", "geo", "bytes", "domain"], "as": ["number", "organization", "x"],
            "organization": ["name", "id"], "geo": ["location", "city_name", "name", "timezone"]}
ADDRESSES = ["192.0.2.1", "2001:db8::1", "", "no address", "1" * 70, "\u0661"]
SCALARS = ["0", "-0", "65535", "1.0", "-12.5e-3", "1E+2", "12345678901234567890123", "true", "false", "null"]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one_in(self, n):
        return self.random.randrange(n) == 0

    def blanks(self):
        return "".join(self.random.choice(" \n\r\t") for _ in range(self.random.randrange(4))) if self.one_in(8) else ""

    def string(self, text):
        """A string literal: most characters as they are, some with an escape that they do not need."""
        out = []
        for c in text:
            if c in '"\\' or c < " " or self.one_in(20):
                units = c.encode("utf-16-be")
                out += ["\\u%02x%02x" % (units[i], units[i + 1]) for i in range(0, len(units), 2)]
            else:
                out.append(c)
        if self.one_in(30):
            out.append(self.random.choice(["\\ud800", "\\n", "\\/", "\\\\", "\\\"", "\\u0000"]))
        return '"' + "".join(out) + '"'

    def value(self, depth):
        kind = self.random.randrange(10)
        if kind < 3:
            return self.string(self.random.choice(ADDRESSES + KEYS))
        if kind < 6 or depth > 6:
            return self.random.choice(SCALARS)
        if kind < 9:
            return self.object(depth)
        return self.list("[", "]", [self.value(depth + 1) for _ in range(self.random.randrange(4))])

    def list(self, begin, end, items):
        return begin + self.blanks() + ",".join(self.blanks() + i + self.blanks() for i in items) + end

    def member(self, key, depth):
        if key.endswith("ip") and not self.one_in(6):
            value = self.string(self.random.choice(ADDRESSES))
        elif key.split(".")[-1] in EXPECTED and not self.one_in(6):
            value = self.distinct(EXPECTED[key.split(".")[-1]], depth + 1)
        else:
            value = self.value(depth + 1)
        return self.string(key) + self.blanks() + ":" + self.blanks() + value

    def object(self, depth):
        count = self.random.randrange(1, 6) if depth < 4 else self.random.randrange(3)
        return self.list("{", "}", [self.member(self.random.choice(KEYS), depth) for _ in range(count)])

    def distinct(self, keys, depth):
        keys = self.random.sample(keys, self.random.randrange(1, len(keys) + 1))
        if self.one_in(10):
            keys.append(self.random.choice(keys))
        return self.list("{", "}", [self.member(key, depth) for key in keys])

    def event(self):
        """Mostly something like an event of a sensor, so that there is an address to find."""
        kind = self.random.randrange(4)
        if kind == 0:
            return self.object(2)
        beside = [self.random.choice(BESIDE)] if self.one_in(4) else []
        return self.distinct((NESTED if kind < 3 else DOTTED) + beside, 2)

    def document(self):
        items = [self.event() for _ in range(self.random.randrange(4))]
        if self.one_in(40):
            depth = self.random.choice([126, 127, 128])
            items.append('{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}")
        text = self.blanks() + self.list("[", "]", items) + self.blanks()
        return text.encode("utf-8", "surrogatepass")

    def broken(self, document):
        data = bytearray(document)
        for _ in range(self.random.randrange(1, 3)):
            at = self.random.randrange(len(data) + 1)
            kind = self.random.randrange(4)
            if kind == 0:
                del data[at:at + 1]
            elif kind == 1:
                data[at:at] = self.random.choice([b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"0", b"-", b".", b"e",
                                                  b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                                                  b"\xc0\xaf", b"NaN", b"Infinity", b"\xef\xbb\xbf", b"\xc2\xa0", b"\x0c", b"//"])
            elif kind == 2 and at < len(data):
                data[at] = self.random.randrange(256)
            else:
                del data[at:]
        return bytes(data)


# --- What is expected ----------------------------------------------------------------------------------------------

class Object(list):
    """Members as (key, value) in order, so that keys may repeat."""


def refuse_constant(name):
    raise ValueError(name)


def depth_of(value):
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = []
        for v in level:
            inner += [x for _, x in v] if isinstance(v, Object) else v if isinstance(v, list) else []
        level = [v for v in inner if isinstance(v, list)]
    return depth


class Scalar(str):
    """A number or literal, as it is written."""


def parse(data):
    """Python's parse, with all that it is lenient about refused."""
    value = json.loads(data.decode("utf-8"), object_pairs_hook=Object, parse_constant=refuse_constant,
                       parse_int=Scalar, parse_float=Scalar)
    if not isinstance(value, list) or isinstance(value, Object) or not all(isinstance(v, Object) for v in value):
        raise ValueError("not an array of objects")
    if depth_of(value) > DEPTH_MAX:
        raise ValueError("too deep")
    return value


def occurrences(value, path=(), around="nested"):
    """All members at and below source, as (dotted path, form, value); only the objects that Loom names are opened."""
    for key, inner in value:
        whole = ".".join(path + (key,))
        if not whole.startswith("source"):
            continue
        form = "mixed" if around != "nested" else "nested" if "." not in key else "mixed" if path else "dotted"
        yield whole, form, inner
        if isinstance(inner, Object) and whole in ["source"] + ["source." + i for i in INNER]:
            yield from occurrences(inner, path + (key,), form)


def locate(event):
    """(reason, form, address) by the rules of json/splice.h."""
    found = list(occurrences(event))
    paths = [path for path, _, _ in found]
    leaves, inner = ["source." + p for p in LEAVES], ["source." + p for p in INNER]
    if any(paths.count(p) > 1 for p in ["source", "source.ip"] + inner + leaves):
        return "duplicate_key", None, None
    sources = [v for p, _, v in found if p == "source"]
    if sources and not isinstance(sources[0], Object):
        return "source_type", None, None
    addresses = [(form, value) for path, form, value in found if path == "source.ip"]
    if not addresses:
        return ("no_ip" if sources else "no_source"), None, None
    form, address = addresses[0]
    if any(p in leaves and f != form or p.startswith("source.geo.location.") for p, f, _ in found):
        return "duplicate_key", None, None
    if not isinstance(address, str) or isinstance(address, Scalar):
        return "ip_type", None, None
    if any(p in inner and not isinstance(v, Object) for p, _, v in found):
        return "target_type", None, None
    return "ok", form, address


def as_parsed(addition):
    if isinstance(addition, dict):
        return Object((k, as_parsed(v)) for k, v in addition.items())
    if isinstance(addition, list):
        return Object((k, Scalar(v)) for k, v in addition)
    return addition[1:-1] if addition.startswith('"') else Scalar(addition)


def merge(target, additions):
    out, left = Object(), dict(additions)
    for key, value in target:
        if key in left:
            new = left.pop(key)
            value = merge(value, new) if isinstance(new, dict) and isinstance(value, Object) else as_parsed(new)
        out.append((key, value))
    out += [(k, as_parsed(v)) for k, v in left.items()]
    return out


def flatten(additions, prefix):
    for key, value in additions.items():
        if isinstance(value, dict):
            yield from flatten(value, prefix + key + ".")
        else:
            yield prefix + key, value


def enriched(event, form):
    if form == "dotted":
        return merge(event, dict(flatten(ADDITIONS, "source.")))
    return Object((k, merge(v, ADDITIONS) if k == "source" else v) for k, v in event)


# --- The comparison ------------------------------------------------------------------------------------------------

def expect(condition, what, document, *details):
    if not condition:
        print(what, document, *details, sep="\n  ")
        sys.exit(1)


def check_event(document, event, line, where):
    begin, end, reason, address, text = line.split()
    text = bytes.fromhex(text)
    expect(parse(b"[" + document[int(begin):int(end)] + b"]") == [event], "offsets", document, where)
    expected, form, ip = locate(event)
    expect(reason == expected, "reason", document, where, reason, expected)
    expect(text.endswith(b"\n") and not set(text[:-1]) & set(b"\r\n"), "one line", document, where)
    after = event if reason != "ok" else enriched(event, form)
    expect(parse(b"[" + text + b"]") == [after], "line", document, where, text)
    if reason == "ok" and len(ip.encode("utf-8", "surrogatepass")) <= 60 and not any("\ud800" <= c <= "\udfff" for c in ip):
        expect(address == (ip.encode().hex() or "-"), "address", document, where, address)


def check(document, lines):
    verdict = next(lines).split(maxsplit=3)
    try:
        expected = parse(document)
    except ValueError:
        expected = None
    expect((verdict[0] == "valid") == (expected is not None), "validity", document, verdict)
    if expected is None:
        expect(0 <= int(verdict[1]) <= len(document), "offset of the error", document, verdict)
        return False
    expect(int(verdict[1]) == len(expected), "count", document, verdict)
    for i, event in enumerate(expected):
        check_event(document, event, next(lines), i)
    return True


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--count", type=int, default=1500)
    arguments.add_argument("command", nargs="+")
    options = arguments.parse_args()
    sys.setrecursionlimit(10000)

    generator = Generator(20261123)
    documents = []
    for _ in range(options.count):
        document = generator.document()
        documents += [document] + [generator.broken(document) for _ in range(3)]
    framed = b"".join(b"%d\n%s" % (len(d), d) for d in documents)
    run = subprocess.run(options.command, input=framed, capture_output=True)
    sys.stderr.write(run.stderr.decode("utf-8", "replace"))
    if run.returncode != 0:
        sys.exit("the command failed with status %d" % run.returncode)
    lines = iter(run.stdout.decode("ascii").splitlines())
    valid = sum(check(d, lines) for d in documents)
    if next(lines, None) is not None or not len(documents) // 5 < valid < len(documents):
        sys.exit("the documents were not what they should be: %d of %d valid" % (valid, len(documents)))
    print("%d documents, %d of them valid: same as Python" % (len(documents), valid))


if __name__ == "__main__":
    main()
