# SPDX-License-Identifier: Apache-2.0
"""An independent reader of MaxMind's file format (MaxMind DB spec 2.0) and the members that Loom should make of a
record: the expectation that enriched events are compared with. Small and slow; it shares nothing with Loom or
libmaxminddb."""

import ipaddress
import struct

MARK = b"\xab\xcd\xefMaxMind.com"


class Reader:
    def __init__(self, path):
        self._data = path.read_bytes()
        start = self._data.rindex(MARK) + len(MARK)
        self._base = start
        self.metadata, _ = self._decode(start)
        self._size = self.metadata["record_size"]
        self._nodes = self.metadata["node_count"]
        self._tree_bytes = self._nodes * self._size // 4
        self._base = self._tree_bytes + 16

    def _record(self, node, bit):
        if self._size == 24:
            return int.from_bytes(self._data[node * 6 + bit * 3 : node * 6 + bit * 3 + 3], "big")
        if self._size == 32:
            return int.from_bytes(self._data[node * 8 + bit * 4 : node * 8 + bit * 4 + 4], "big")
        seven = self._data[node * 7 : node * 7 + 7]
        if bit == 0:
            return (seven[3] >> 4) << 24 | int.from_bytes(seven[:3], "big")
        return (seven[3] & 15) << 24 | int.from_bytes(seven[4:], "big")

    def lookup(self, text):
        """The record of an address, or None."""
        address = ipaddress.ip_address(text)
        if address.version == 6 and address.ipv4_mapped:
            address = address.ipv4_mapped
        if address.version == 6 and (self.metadata["ip_version"] == 4 or int(address) < 1 << 32):
            return None  # IPv6, and in an IPv6 file the tree below ::/96 is IPv4's
        width = 128 if self.metadata["ip_version"] == 6 else 32
        bits, node = int(address), 0
        for i in range(width - 1, -1, -1):
            node = self._record(node, bits >> i & 1)
            if node >= self._nodes:
                break
        if node <= self._nodes:
            return None
        value, _ = self._decode(node - self._nodes + self._tree_bytes)
        return value

    def _decode(self, at):
        control = self._data[at]
        at += 1
        kind = control >> 5
        if kind == 1:
            size = control >> 3 & 3
            value = int.from_bytes(self._data[at : at + size + 1], "big")
            value += (control & 7) << 8 * (size + 1) if size < 3 else 0
            value += (0, 2048, 526336, 0)[size]
            return self._decode(self._base + value)[0], at + size + 1
        if kind == 0:
            kind = 7 + self._data[at]
            at += 1
        size = control & 31
        if size >= 29:
            extra = size - 28
            size = (29, 285, 65821)[extra - 1] + int.from_bytes(self._data[at : at + extra], "big")
            at += extra
        if kind == 7:
            value = {}
            for _ in range(size):
                key, at = self._decode(at)
                value[key], at = self._decode(at)
            return value, at
        if kind == 11:
            value = []
            for _ in range(size):
                item, at = self._decode(at)
                value.append(item)
            return value, at
        if kind == 14:
            return bool(size), at
        raw = self._data[at : at + size]
        at += size
        if kind == 2:
            return raw.decode(), at
        if kind == 3:
            return struct.unpack(">d", raw)[0], at
        if kind == 15:
            return struct.unpack(">f", raw)[0], at
        if kind == 8:
            return int.from_bytes(raw, "big", signed=True) if size == 4 else int.from_bytes(raw, "big"), at
        return int.from_bytes(raw, "big") if kind in (5, 6, 9, 10) else raw, at


def autonomous_system(record):
    """source.as of an ASN record; {} when it has nothing."""
    members = {}
    if record and "autonomous_system_number" in record:
        members["number"] = record["autonomous_system_number"]
    if record and "autonomous_system_organization" in record:
        members["organization"] = {"name": record["autonomous_system_organization"]}
    return members


def geography(record, language="en"):
    """source.geo of a City or Country record; {} when it has nothing."""
    record = record or {}

    def name(part):
        names = part.get("names", {})
        return names.get(language, names.get("en"))

    continent, country = record.get("continent", {}), record.get("country", {})
    region = (record.get("subdivisions") or [{}])[-1]
    location = record.get("location", {})
    members = {
        "continent_code": continent.get("code"),
        "continent_name": name(continent),
        "country_iso_code": country.get("iso_code"),
        "country_name": name(country),
        "region_iso_code": (
            f"{country['iso_code']}-{region['iso_code']}" if "iso_code" in region and "iso_code" in country else None
        ),
        "region_name": name(region),
        "city_name": name(record.get("city", {})),
        "postal_code": record.get("postal", {}).get("code"),
        "timezone": location.get("time_zone"),
    }
    if "latitude" in location and "longitude" in location:
        members["location"] = {"lat": location["latitude"], "lon": location["longitude"]}
    return {key: value for key, value in members.items() if value is not None}


class Databases:
    """What source should gain for an address."""

    def __init__(self, city, asn):
        self.city, self.asn = Reader(city), Reader(asn)

    def additions(self, address, language="en"):
        found = {
            "as": autonomous_system(self.asn.lookup(address)),
            "geo": geography(self.city.lookup(address), language),
        }
        return {key: value for key, value in found.items() if value}
