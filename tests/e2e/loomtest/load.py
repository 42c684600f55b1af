# SPDX-License-Identifier: Apache-2.0
"""Sensors at work: threads that post numbered events and keep book of what was promised to them."""

import itertools
import threading

from . import events
from .process import TOKEN
from .wire import Closed


class Load:
    """Posts batches from several threads until stopped or the server is gone. Numbers are unique over all threads."""

    def __init__(self, loom, threads=4, batch=20, pad=200, tls=None, first=0):
        self.acknowledged = set()  # numbers of events answered with 204
        self.statuses = {}  # status -> answers
        self._loom, self._batch, self._pad, self._tls = loom, batch, pad, tls
        self._numbers = itertools.count(first, batch)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                with self._loom.connect(tls=self._tls) as connection:
                    while not self._stop.is_set() and self._post(connection):
                        pass
            except ConnectionRefusedError:
                return
            except (Closed, OSError):
                pass  # cut off while waiting: not promised

    def _post(self, connection):
        with self._lock:
            first = next(self._numbers)
        answer = connection.post(events.batch(events.numbered(first, self._batch, self._pad)), token=TOKEN)
        with self._lock:
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.status == 204:
                self.acknowledged.update(range(first, first + self._batch))
        return answer.header("Connection") != "close"

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()


def check_kept(acknowledged, output, whole=True):
    """Every promised event is in the output. Returns the numbers that are there."""
    lines = output.split(b"\n")
    rest = lines.pop()
    assert not whole or rest == b"", f"the output ends within a line: {rest[:100]!r}"
    numbers = set(events.numbers(lines))
    missing = acknowledged - numbers
    assert (
        not missing
    ), f"{len(missing)} of {len(acknowledged)} acknowledged events are missing, such as {sorted(missing)[:5]}"
    return numbers
