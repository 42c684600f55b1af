# SPDX-License-Identifier: Apache-2.0
"""What stands on which page of an SQLite file (https://www.sqlite.org/fileformat.html), so that a test can damage each kind
and knows what must survive. Small, and independent of both SQLite and Loom."""

import dataclasses
import struct


def varint(data, at):
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    raise AssertionError


@dataclasses.dataclass
class Row:
    seq: int
    pages: set  # of its cell and of what flows over


class Database:
    def __init__(self, data):
        self.data = data
        self.page_size = struct.unpack_from(">H", data, 16)[0]
        if self.page_size == 1:
            self.page_size = 65536
        self.kinds = {1: "schema"}  # page -> kind
        self.rows = []
        for number in range(2, len(data) // self.page_size + 1):
            if self._is_map(number):
                self.kinds[number] = "map"
        self._free()
        for name, root in self._schema():
            self._table(root, name)

    def page(self, number):
        return self.data[(number - 1) * self.page_size : number * self.page_size]

    def of_kind(self, kind):
        return sorted(number for number, have in self.kinds.items() if have == kind)

    def _is_map(self, number):
        """With auto_vacuum every so many pages tell who owns those that follow."""
        return (number - 2) % (self.page_size // 5 + 1) == 0

    def _free(self):
        trunk = struct.unpack_from(">I", self.data, 32)[0]
        while trunk:
            self.kinds[trunk] = "free-trunk"
            following, count = struct.unpack_from(">II", self.page(trunk))
            for (leaf,) in struct.iter_unpack(">I", self.page(trunk)[8 : 8 + 4 * count]):
                self.kinds[leaf] = "free-leaf"
            trunk = following

    def _cells(self, number):
        page, start = self.page(number), 100 if number == 1 else 0
        kind, _, count = struct.unpack_from(">BHH", page, start)
        head = start + (12 if kind in (2, 5) else 8)
        offsets = struct.unpack_from(f">{count}H", page, head)
        right = struct.unpack_from(">I", page, start + 8)[0] if kind in (2, 5) else None
        return kind, page, offsets, right

    def _schema(self):
        _, page, offsets, _ = self._cells(1)
        for offset in offsets:
            _, at = varint(page, offset)
            _, at = varint(page, at)
            columns, types = at, []
            size, at = varint(page, at)
            while at < columns + size:
                serial, at = varint(page, at)
                types.append(serial)
            texts, lengths = [], [(serial - 13) // 2 if serial >= 13 else {0: 0, 8: 0, 9: 0}.get(serial, serial) for serial in types]
            for length in lengths:
                texts.append(page[at : at + length])
                at += length
            root = int.from_bytes(texts[3], "big") if lengths[3] else types[3] - 8
            yield texts[1].decode(), root

    def _table(self, number, name):
        kind, page, offsets, right = self._cells(number)
        if kind == 5:
            self.kinds[number] = f"{name}-interior"
            for offset in offsets:
                self._table(struct.unpack_from(">I", page, offset)[0], name)
            self._table(right, name)
            return
        self.kinds[number] = f"{name}-leaf"
        if kind != 13:
            return  # a tree without row numbers, of one page here
        for offset in offsets:
            self._cell(number, page, offset, name)

    def _cell(self, number, page, offset, name):
        size, at = varint(page, offset)
        seq, at = varint(page, at)
        row = Row(seq, {number})
        usable = self.page_size
        most, least = usable - 35, (usable - 12) * 32 // 255 - 23
        if size > most:
            local = least + (size - least) % (usable - 4)
            local = local if local <= most else least
            following = struct.unpack_from(">I", page, at + local)[0]
            while following:
                self.kinds[following] = f"{name}-overflow"
                row.pages.add(following)
                following = struct.unpack_from(">I", self.page(following))[0]
        if name == "rows":
            self.rows.append(row)
