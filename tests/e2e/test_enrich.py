# SPDX-License-Identifier: Apache-2.0
"""What events gain: compared with an independent reader of the same database files (loomtest/mmdb.py)."""

import json
import os

import pytest

from loomtest import events
from loomtest.mmdb import Reader, geography


@pytest.fixture
def known(databases):
    """An IPv4 address of the samples that both databases know, and what it should gain."""
    for line in events.samples():
        address = json.loads(line)["source"]["ip"]
        additions = databases.additions(address)
        if ":" not in address and {"as", "geo"} <= set(additions) and len(additions["geo"]) > 3:
            return address, additions
    raise AssertionError("no sample address is in both demo databases")


@pytest.fixture
def enriched(start_loom, enrichment):
    """Sends events and gives them back as parsed."""
    loom = start_loom({"enrichment": enrichment, "observability": {"metrics_enabled": True}})

    def send(*sent):
        before = len(loom.lines())
        body = events.batch([event if isinstance(event, bytes) else json.dumps(event).encode() for event in sent])
        assert loom.post(body).status == 204
        lines = [json.loads(line) for line in loom.lines(before + len(sent))[before:]]
        return lines[0] if len(lines) == 1 else lines

    send.loom = loom
    return send


def test_every_sample_gains_what_the_databases_know(enriched, databases):
    sent = [json.loads(line) for line in events.samples()]
    got = enriched(*events.samples())
    gained = 0
    for event, line in zip(sent, got):
        additions = databases.additions(event["source"]["ip"])
        event["source"].update(additions)
        assert line == event
        gained += bool(additions)
    assert gained == len(sent), "the demo databases are made to know every sample address"


def test_the_demo_shows_every_field(databases):
    """Or the test above would prove less than it seems to."""
    seen = set()
    for line in events.samples():
        for group, members in databases.additions(json.loads(line)["source"]["ip"]).items():
            seen |= {f"{group}.{key}" for key in members}
    assert seen == {
        "as.number",
        "as.organization",
        "geo.continent_code",
        "geo.continent_name",
        "geo.country_iso_code",
        "geo.country_name",
        "geo.region_iso_code",
        "geo.region_name",
        "geo.city_name",
        "geo.postal_code",
        "geo.timezone",
        "geo.location",
    }


def spelt(template, address):
    return template.replace("IP", address).encode()


@pytest.mark.parametrize(
    "template",
    [
        '{"source":{"ip":"IP"}}',
        '{"so\\u0075rce":{"ip":"IP"}}',
        '{"source":{"\\u0069p":"IP"}}',
        '{"\\u0073\\u006F\\u0075\\u0072\\u0063\\u0065":{"i\\u0070":"IP"}}',
        '{"a":{"source":1},"source":{"x":{"ip":"y"},"ip":"IP"},"b":[{"source":2}]}',
        '{"sources":1,"source":{"ip2":1,"ip":"IP","i":2}}',
    ],
)
def test_nested_in_any_spelling(enriched, known, template):
    address, additions = known
    event = spelt(template, address)
    expected = json.loads(event)
    expected["source"].update(additions)
    assert enriched(event) == expected


@pytest.mark.parametrize(
    "template",
    [
        '{"source.ip":"IP"}',
        '{"source\\u002eip":"IP","x":1}',
        '{"source.port":1,"source.ip":"IP","destination.ip":"192.0.2.1"}',
        '{"source":{"port":1},"source.ip":"IP"}',
    ],
)
def test_dotted_takes_dotted(enriched, known, template):
    """What is added takes the form of the key that the address came by."""
    address, additions = known
    event = spelt(template, address)
    expected = json.loads(event)
    expected["source.as.number"] = additions["as"]["number"]
    expected["source.as.organization.name"] = additions["as"]["organization"]["name"]
    expected.update({f"source.geo.{key}": value for key, value in additions["geo"].items()})
    assert enriched(event) == expected


def escaped(text):
    return "".join(f"\\u{ord(character):04x}" for character in text)


def test_escaped_address(enriched, known):
    """It is decoded for the look-up and leaves as it was written."""
    address, additions = known
    for spelling in (
        escaped(address),
        address[:-1] + escaped(address[-1]),
        escaped(address).replace("\\u002e", "\\u002E"),
    ):
        event = b'{"source":{"ip":"%s"}}' % spelling.encode()
        loom = enriched.loom
        got = enriched(event)
        assert got["source"] == {"ip": address, **additions}
        assert spelling.encode() in loom.lines()[-1]


def test_mapped_addresses_are_looked_up_as_ipv4(enriched, known):
    address, additions = known
    as_hex = "".join(f"{int(part):02x}" for part in address.split("."))
    for text in (
        f"::ffff:{address}",
        f"::FFFF:{address}",
        f"::ffff:{as_hex[:4]}:{as_hex[4:]}",
        f"0:0:0:0:0:ffff:{address}",
    ):
        assert enriched({"source": {"ip": text}}) == {"source": {"ip": text, **additions}}


def test_ipv4_compatible_addresses_are_ipv6(enriched, known):
    """::a.b.c.d is not the mapped form: nothing is known of it, although an IPv6 database keeps IPv4 in ::/96."""
    address, _ = known
    as_hex = "".join(f"{int(part):02x}" for part in address.split("."))
    for text in (f"::{address}", f"::{as_hex[:4]}:{as_hex[4:]}", f"0:0:0:0:0:0:{address}"):
        assert enriched({"source": {"ip": text}}) == {"source": {"ip": text}}
    assert enriched.loom.metrics().sum("loom_enrich_lookups_total", result="hit") == 0


def test_ipv6(enriched, databases):
    sent = [json.loads(line) for line in events.samples()]
    address = next(event["source"]["ip"] for event in sent if ":" in event["source"]["ip"])
    assert enriched({"source": {"ip": address}})["source"] == {"ip": address, **databases.additions(address)}
    upper = address.upper()
    assert enriched({"source": {"ip": upper}})["source"] == {"ip": upper, **databases.additions(address)}


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", "8.8.8.8", "::", "::1", "fe80::1", "2606:4700::1111"],
)
def test_a_miss_writes_nothing(enriched, databases, address):
    assert databases.additions(address) == {}, "the demo databases hold documentation ranges only"
    event = {"source": {"ip": address, "port": 1}}
    assert enriched(event) == event


def test_existing_members_stay_but_for_those_known(enriched, known):
    address, additions = known
    event = {
        "source": {
            "as": {"note": "mine", "number": 1},
            "ip": address,
            "geo": {
                "name": "mine",
                "country_iso_code": "??",
                "location": {"lat": 0, "lon": 0, "alt": 3},
                "timezone": None,
            },
        }
    }
    got = enriched(event)
    expected_geo = {**event["source"]["geo"], **additions["geo"]}
    assert got["source"]["as"] == {"note": "mine", **additions["as"]}
    assert got["source"]["geo"] == expected_geo
    assert list(got["source"])[:3] == ["as", "ip", "geo"], "they stay in their place"


def test_existing_organization_is_merged(enriched, known):
    address, additions = known
    got = enriched({"source": {"ip": address, "as": {"organization": {"id": 7, "name": "old"}}}})
    assert got["source"]["as"] == {
        "organization": {"id": 7, **additions["as"]["organization"]},
        "number": additions["as"]["number"],
    }


def test_existing_empty_objects(enriched, known):
    address, additions = known
    assert enriched({"source": {"ip": address, "as": {}, "geo": {}}})["source"] == {"ip": address, **additions}


def test_existing_geo_of_a_miss_stays(enriched):
    event = {"source": {"ip": "10.1.2.3", "geo": {"name": "office"}, "as": {"number": 64512}}}
    assert enriched(event) == event


def test_existing_dotted_members(enriched, known):
    address, additions = known
    got = enriched(b'{"source.as.number":1,"source.ip":"%s","source.geo.name":"mine"}' % address.encode())
    assert got["source.as.number"] == additions["as"]["number"] and got["source.geo.name"] == "mine"
    assert got["source.geo.country_iso_code"] == additions["geo"]["country_iso_code"]


@pytest.mark.parametrize(
    "template",
    [
        '{"source":{"domain":"a","ip":"IP","domain":"b"},"source.domain":"c"}',
        '{"source":{"ip":"IP"},"source.geo.my_own":1,"source.as.my_own":{"number":2}}',
        '{"source":{"ip":"IP","geo.my_own":1,"as.organization.id":2}}',
        '{"source.geo":{"my_own":1},"source":{"ip":"IP"}}',
    ],
)
def test_foreign_members_in_any_form_do_not_matter(enriched, known, template):
    """Additions go to the end of source (these events have nothing to merge), and the rest is as it was."""
    address, additions = known
    event = spelt(template, address)
    expected = json.loads(event)
    expected["source"].update(additions)
    assert enriched(event) == expected
    for part in event.split(b"}"):
        assert part in enriched.loom.lines()[-1]


def test_foreign_nested_members_beside_a_dotted_address(enriched, known):
    address, additions = known
    got = enriched({"source.ip": address, "source": {"geo": {"my_own": 1}, "domain": "a"}, "source.geo.my_own": 2})
    assert got["source"] == {"geo": {"my_own": 1}, "domain": "a"} and got["source.geo.my_own"] == 2
    assert got["source.as.number"] == additions["as"]["number"]
    assert {f"source.geo.{key}" for key in additions["geo"]} <= set(got)


# Reason in /metrics -> events that pass unchanged for it.
UNCHANGED = {
    "no_source": [b"{}", b'{"a":1}', b'{"event":{"source":{"ip":"IP"}}}'],
    "source_type": [b'{"source":"IP"}', b'{"source":[{"ip":"IP"}]}', b'{"source":null}', b'{"source":1}'],
    "no_ip": [b'{"source":{}}', b'{"source":{"port":1}}'],
    "ip_type": [b'{"source":{"ip":1}}', b'{"source":{"ip":["IP"]}}', b'{"source":{"ip":null}}'],
    "not_an_address": [
        b'{"source":{"ip":""}}',
        b'{"source":{"ip":"x"}}',
        b'{"source":{"ip":"IP:80"}}',
        b'{"source":{"ip":" IP"}}',
        b'{"source":{"ip":"IP\\u0000"}}',
        b'{"source":{"ip":"01.2.3.4"}}',
        b'{"source":{"ip":"1.2.3"}}',
        b'{"source":{"ip":"fe80::1%eth0"}}',
    ],
    "duplicate_key": [
        b'{"source":{"ip":"IP"},"source":{}}',
        b'{"source":{"ip":"IP","ip":"IP"}}',
        b'{"source":{"ip":"IP","\\u0069p":1}}',
        b'{"source":{"ip":"IP"},"source.ip":"IP"}',
        b'{"source":{"ip":"IP","as":{},"as":{}}}',
        b'{"source":{"ip":"IP","geo":{"city_name":1,"city_name":2}}}',
        b'{"source":{"ip":"IP"},"source.geo.city_name":1}',
        b'{"source":{"ip":"IP","as.number":1}}',
        b'{"source":{"ip":"IP"},"source.as":{"organization":{"name":1}}}',
        b'{"source.ip":"IP","source":{"geo":{"location":1}}}',
        b'{"source":{"ip":"IP"},"source.geo.location.lat":1}',
    ],
    "target_type": [
        b'{"source":{"ip":"IP","as":1}}',
        b'{"source":{"ip":"IP","geo":[]}}',
        b'{"source":{"ip":"IP","as":{"organization":"x"}}}',
        b'{"source":{"ip":"IP","geo":null}}',
    ],
}


@pytest.mark.parametrize("reason", UNCHANGED)
def test_unchanged_and_counted_by_reason(enriched, known, reason):
    sent = [event.replace(b"IP", known[0].encode()) for event in UNCHANGED[reason]]
    enriched(*sent)
    assert enriched.loom.lines() == sent
    counted = enriched.loom.metrics()
    assert counted.sum("loom_enrich_unchanged_total", reason=reason) == len(sent), counted.text
    assert counted.sum("loom_enrich_unchanged_total") == len(sent), counted.text


def test_hits_and_misses_are_counted_by_database(enriched, known):
    enriched({"source": {"ip": known[0]}}, {"source": {"ip": "10.0.0.1"}}, {"source": {"ip": "10.0.0.2"}})
    counted = enriched.loom.metrics()
    for database in ("asn", "geo"):
        assert counted.sum("loom_enrich_lookups_total", database=database, result="hit") == 1, counted.text
        assert counted.sum("loom_enrich_lookups_total", database=database, result="miss") == 2, counted.text


def test_one_database_alone(start_loom, enrichment, known):
    address, additions = known
    for key, group in (("geoip_db_path", "geo"), ("asn_db_path", "as")):
        loom = start_loom({"enrichment": {key: enrichment[key]}})
        assert loom.post(events.batch([b'{"source":{"ip":"%s"}}' % address.encode()])).status == 204
        assert json.loads(loom.lines(1)[0])["source"] == {"ip": address, group: additions[group]}


def test_language(start_loom, enrichment, databases):
    """Names in another language where the record has them, in English otherwise."""
    city = Reader(enrichment["geoip_db_path"])
    languages = {
        language
        for line in events.samples()
        for language in ((city.lookup(json.loads(line)["source"]["ip"]) or {}).get("country", {}).get("names", {}))
    } - {"en"}
    assert languages, "the demo database has no second language"
    language = sorted(languages)[0]
    loom = start_loom({"enrichment": {**enrichment, "language": language}})
    assert loom.post(events.batch(events.samples())).status == 204
    differs = False
    for line in loom.lines(len(events.samples())):
        source = json.loads(line)["source"]
        expected = geography(city.lookup(source["ip"]), language)
        assert source.get("geo", {}) == expected
        differs |= expected != databases.additions(source["ip"]).get("geo", {})
    assert differs


def test_overwriting_the_database_does_no_harm(start_loom, enrichment, known, tmp_path):
    """The file is truncated and rewritten in place while Loom serves from it: a mapping of it would be a SIGBUS."""
    address, additions = known
    copies = {}
    for key, path in enrichment.items():
        copies[key] = tmp_path / f"{key}.mmdb"
        copies[key].write_bytes(path.read_bytes())
    loom = start_loom({"enrichment": copies})
    event = b'{"source":{"ip":"%s"}}' % address.encode()
    assert loom.post(events.batch([event])).status == 204
    for path in copies.values():
        os.truncate(path, 0)
    others = [b'{"source":{"ip":"%s"}}' % json.loads(line)["source"]["ip"].encode() for line in events.samples()]
    assert loom.post(events.batch([event, *others])).status == 204
    assert json.loads(loom.lines(2 + len(others))[1])["source"] == {"ip": address, **additions}
    for path in copies.values():
        path.write_bytes(b"\xff" * 100000)
    assert loom.post(events.batch([event, *others])).status == 204
