# SPDX-License-Identifier: Apache-2.0
"""Events to send: Spip's own, small made-up ones, and hostile ones."""

import json
from pathlib import Path

from .process import REPOSITORY


def samples():
    """The sample events of the repository, a line each as Spip sends them."""
    path = REPOSITORY / "demo" / "events.ndjson"
    if not path.exists():
        path = Path("/work/shared/events/spip.ndjson")
    lines = path.read_bytes().splitlines()
    assert len(lines) >= 50, f"{path} holds {len(lines)} events"
    return lines


def batch(events):
    return b"[" + b",".join(events) + b"]"


def event(**members):
    """A small event; number=7 makes it recognisable on the way out."""
    return json.dumps({"@timestamp": "2026-11-23T17:02:21Z", **members}, separators=(",", ":")).encode()


def numbered(first, count, pad=0):
    """Events that carry a serial number, each about `pad` bytes larger than its number needs."""
    return [event(n=n, pad="x" * pad) for n in range(first, first + count)]


def numbers(lines):
    """The serial numbers of output lines; every line must be whole."""
    return [json.loads(line)["n"] for line in lines]


def sized(size, number=0):
    """An event of exactly `size` raw bytes."""
    frame = b'{"n":%d,"pad":""}' % number
    assert size >= len(frame)
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]


def nested(depth):
    """An event whose own nesting is `depth` (itself included); in a batch the array adds one."""
    return b'{"a":' * (depth - 1) + b'{"ip":1}' + b"}" * (depth - 1)


# Each must come out as it went in. Names are test ids.
HOSTILE = {
    "long-integer": b'{"n":12345678901234567890,"m":-98765432109876543210}',
    "trailing-zero": b'{"a":1.0,"b":1.10,"c":-0.0,"d":0e0,"e":1E+2,"f":1e-07,"g":-0}',
    "beyond-double": b'{"a":1e400,"b":-1e400,"c":1e-400,"d":0.1000000000000000055511151231257827021181583404541015625}',
    "nul-escape": b'{"summary":"a\\u0000b"}',
    "lone-surrogates": b'{"a":"\\ud800","b":"\\udc00\\ud800","c":"\\uD83D x"}',
    "escaped-emoji": b'{"a":"\\ud83d\\ude00"}',
    "emoji": '{"a":"\U0001f980 crab","\U0001f511":"\u6f22\u5b57"}'.encode(),
    "other-unicode": '{"b":"\u00e9\u0301\u202e\ufeff\U0010ffff\ufffd"}'.encode(),
    "html": b'{"a":"<script>alert(1)</script>&amp;<!--","b":"\\u003cscript\\u003e","c":"\\/"}',
    "all-escapes": b'{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u001f\\u001F"}',
    "line-separators": '{"a":"\u2028\u2029\u0085"}'.encode(),
    "delete-character": b'{"a":"\x7f"}',
    "duplicate-keys": b'{"a":1,"a":2,"b":{"c":1,"c":1}}',
    "key-order": b'{"zz":1,"aa":2,"mm":{"z":1,"a":2},"@timestamp":"x"}',
    "empty-keys": b'{"":{"":[]}}',
    "empty-object": b"{}",
    "blanks": b'{ "a" :\t1 ,  "b":[ 1 , 2\t] , "c" : { } }  ',
    "line-breaks": b'{\n  "a": 1,\r\n  "b": [\n    1,\n    2\n  ],\r  "c": "x\\ny"\n}',
    "deep-object": nested(126),
    "deep-array": b'{"a":' + b"[" * 126 + b"]" * 126 + b"}",
    "control-looking-text": b'{"a":"\\u001b[31mred\\u001b[0m ${jndi:ldap://x} %s%n %00 ../../etc/passwd"}',
    "json-in-string": b'{"a":"{\\"source\\":{\\"ip\\":\\"203.0.113.5\\"}}"}',
    "brackets-in-strings": b'{"a":"]}[{\\\\","b":"\\\\\\"]"}',
    "scalars": b'{"a":true,"b":false,"c":null,"d":[],"e":{},"f":[null,[true],{"x":[]}]}',
    "source-is-text": b'{"source":"203.0.113.5"}',
    "source-is-array": b'{"source":[{"ip":"203.0.113.5"}]}',
    "source-is-null": b'{"source":null}',
    "ip-is-number": b'{"source":{"ip":3405803781}}',
    "ip-is-array": b'{"source":{"ip":["203.0.113.5"]}}',
    "ip-is-no-address": b'{"source":{"ip":"203.0.113.5.example"}}',
    "ip-with-port": b'{"source":{"ip":"203.0.113.5:80"}}',
    "ip-with-zero-byte": b'{"source":{"ip":"203.0.113.5\\u0000"}}',
    "ip-with-zone": b'{"source":{"ip":"fe80::1%eth0"}}',
    "ip-empty": b'{"source":{"ip":""}}',
    "ip-very-long": b'{"source":{"ip":"' + b"1" * 5000 + b'"}}',
    "source-twice": b'{"source":{"ip":"203.0.113.5"},"source":{"ip":"203.0.113.77"}}',
    "ip-twice": b'{"source":{"ip":"203.0.113.5","ip":"203.0.113.77"}}',
    "ip-in-both-forms": b'{"source":{"ip":"203.0.113.5"},"source.ip":"203.0.113.77"}',
    "as-is-text": b'{"source":{"ip":"203.0.113.5","as":"AS64500"}}',
    "geo-is-null": b'{"source":{"ip":"203.0.113.5","geo":null}}',
    "organization-is-text": b'{"source":{"ip":"203.0.113.5","as":{"organization":"x"}}}',
    "source-ip-elsewhere": b'{"event":{"source":{"ip":"203.0.113.5"}},"destination":{"ip":"203.0.113.5"}}',
}
