# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut, made of what shim.c wrote down.

The rules, as strict as POSIX lets a file system be:

- The bytes and the size of a file are safe when a sync of that file, begun after they were written, has succeeded.
- A name (a file made, renamed, removed) is safe when a sync of the directory has succeeded. A sync of the file alone does
  not make its name safe.
- Of what is not safe anything may be there: nothing, all, or some of it, the writes torn at sectors. Names come in the
  order of the calls, as every journaling file system keeps them.
- After a sync that failed, the bytes it was to make safe are safe by no later sync. They have to be written once more. The
  size is: it is the file system's own, and the next sync of anything in that file writes it down.
"""

import dataclasses
import random
import shutil
import struct

HEAD = struct.Struct("=IIQQ")
CREATE, WRITE, TRUNCATE, SYNC, SYNC_FAILED, RENAME, UNLINK, SYNC_DIR, FAULT = range(1, 10)
SECTOR = 512


@dataclasses.dataclass
class Entry:
    kind: int
    file: int
    at: int
    data: bytes
    end: int  # of the journal, with this entry in it


def read_journal(path):
    """The entries of a journal; the last one of a process that was killed may be cut."""
    data = path.read_bytes() if path.exists() else b""
    entries, at = [], 0
    while at + HEAD.size <= len(data):
        kind, length, file, where = HEAD.unpack_from(data, at)
        end = at + HEAD.size + length
        if end > len(data):
            break
        entries.append(Entry(kind, file, where, data[at + HEAD.size : end], end))
        at = end
    return entries


def sectors(entry):
    """A write, cut where a disk may tear it."""
    at, end = entry.at, entry.at + len(entry.data)
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        yield dataclasses.replace(entry, at=at, data=entry.data[at - entry.at : stop - entry.at])
        at = stop


class File:
    def __init__(self, safe=b""):
        self.safe = bytearray(safe)
        self.pending = []  # entries since the last sync
        self.doomed = []  # of failed syncs, in sectors: may be there, and will be safe only when written once more

    def apply(self, content, entry):
        if entry.kind == TRUNCATE:
            if entry.at < len(content):
                del content[entry.at :]
            else:
                content.extend(bytes(entry.at - len(content)))
            return
        if entry.at > len(content):
            content.extend(bytes(entry.at - len(content)))
        content[entry.at : entry.at + len(entry.data)] = entry.data

    def sync(self):
        if not self.pending:
            return
        sizes = [entry for entry in self.doomed if entry.kind == TRUNCATE]
        for entry in sorted(sizes + self.pending, key=lambda entry: entry.end):
            self.apply(self.safe, entry)
            stop = entry.at + len(entry.data) if entry.kind == WRITE else float("inf")
            self.doomed = [
                old
                for old in self.doomed
                if old.kind == WRITE and (old.end > entry.end or old.at >= stop or old.at + len(old.data) <= entry.at)
            ]
        self.pending = []

    def sync_failed(self):
        for entry in self.pending:
            self.doomed += sectors(entry) if entry.kind == WRITE else [entry]
        self.pending = []

    def after_cut(self, how, choose):
        """`how`: "none", "all" or "some" of what is not safe is there."""
        content = bytearray(self.safe)
        if how == "none":
            return content
        for entry in sorted(self.doomed + self.pending, key=lambda entry: entry.end):
            fate = "whole" if how == "all" else choose.choice(("whole", "lost", "torn"))
            if fate == "whole" or (fate == "torn" and entry.kind == TRUNCATE):
                self.apply(content, entry)
            elif fate == "torn":
                for sector in sectors(entry):
                    if choose.random() < 0.5:
                        self.apply(content, sector)
        return content


class Disk:
    """The files of a directory while a journal is replayed, entry by entry."""

    def __init__(self, directory):
        """The directory as it is when the run begins: all of that is safe."""
        self.files = {}  # inode -> File
        self.names = {}  # name -> File: after a cut for certain
        self.pending_names = []
        self.position = 0  # in the journal
        for path in directory.iterdir():
            if path.is_file():
                self.names[path.name] = self.files[path.stat().st_ino] = File(path.read_bytes())

    def replay(self, entries, until):
        """Everything up to this position of the journal. Returns what it did not take."""
        taken = 0
        for entry in entries:
            if entry.end > until:
                break
            self._step(entry)
            self.position = entry.end
            taken += 1
        return entries[taken:]

    def _step(self, entry):
        if entry.kind == CREATE:
            file = File()
            self.files[entry.file] = file
            self.pending_names.append((CREATE, entry.data.decode(), file))
        elif entry.kind in (WRITE, TRUNCATE):
            self.files[entry.file].pending.append(entry)
        elif entry.kind == SYNC:
            self.files[entry.file].sync()
        elif entry.kind == SYNC_FAILED:
            self.files[entry.file].sync_failed()
        elif entry.kind == RENAME:
            self.pending_names.append((RENAME, *entry.data.decode().split("/")))
        elif entry.kind == UNLINK:
            self.pending_names.append((UNLINK, entry.data.decode()))
        elif entry.kind == SYNC_DIR:
            self._names_after(len(self.pending_names), self.names)
            self.pending_names = []

    def _names_after(self, count, names):
        for kind, name, *more in self.pending_names[:count]:
            if kind == CREATE:
                names[name] = more[0]
            elif kind == UNLINK:
                names.pop(name, None)
            elif name in names:
                names[more[0]] = names.pop(name)

    def cut(self, directory, how, seed=0):
        """Makes the directory as it may be found after a power cut now."""
        choose = random.Random(seed)
        names = dict(self.names)
        count = {"none": 0, "all": len(self.pending_names)}.get(how)
        self._names_after(choose.randint(0, len(self.pending_names)) if count is None else count, names)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name, file in names.items():
            if name.endswith("-shm"):  # a mapping: whatever stands there
                content = choose.randbytes(choose.choice((0, 100, 32768)))
            else:
                content = file.after_cut(how, choose)
            (directory / name).write_bytes(content)
