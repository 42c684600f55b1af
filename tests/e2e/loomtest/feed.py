# SPDX-License-Identifier: Apache-2.0
"""A sensor, a Loom, and a cluster that fails on demand, with the books of who has which event."""

import json

from loomtest import events
from loomtest.bulk import BulkServer
from loomtest.process import wait_for

# For tests that want 204 at the first go, however slow the machine is; a second go would be another request to count.
PATIENT = {"ack_timeout_ms": 30000}
# Short waits, so that a failure is over soon.
OUTBOX = {"retry_backoff_ms": 20, "retry_max_backoff_ms": 100, "flush_interval_ms": 10}


def stored_by_number(servers):
    """Number -> the document's bytes. No number may be there twice."""
    found = {}
    for server in servers:
        for document in server.stored().values():
            number = json.loads(document)["n"]
            assert number not in found, f"event {number} is there twice"
            found[number] = document
    return found


class Feed:
    """A Loom in front of a server, and a sensor that sends a batch again until it is acknowledged."""

    def __init__(self, start_loom, server, tmp_path, durable=False, output=None, outbox=None, ready=True, env=None):
        self.dead_letters_path = tmp_path / "outbox" / "dead-letters.ndjson"
        url = server.url if isinstance(server, BulkServer) else [one.url for one in server]
        self.config = {
            "output": {"type": "elasticsearch", "elasticsearch_url": url, "ack_timeout_ms": 2000, **(output or {})},
            "output.outbox": {**OUTBOX, "enabled": durable, "dir": tmp_path / "outbox", **(outbox or {})},
            "observability": {"metrics_enabled": True},
        }
        self.env = env
        self.loom = start_loom(self.config, ready=ready, env=env)
        self.servers = [server] if isinstance(server, BulkServer) else server
        self.acknowledged = {}  # number -> the event's bytes
        self.next = 0

    def make(self, count, pad=0):
        """Events with the next numbers."""
        made = events.numbered(self.next, count, pad)
        self.next += count
        return made

    def offer(self, made):
        """Once. The status."""
        answer = self.loom.post(events.batch(made))
        assert answer.status in (204, 503), answer
        if answer.status == 204:
            self.acknowledged.update((json.loads(event)["n"], event) for event in made)
        return answer.status

    def send(self, count=10, pad=0):
        """Until it is acknowledged, as a sensor does that was told 503."""
        made = self.make(count, pad)
        wait_for(lambda: self.offer(made) == 204, "204")

    def named(self):
        """What /ready says, whatever its status: with an outbox, an output that is away keeps no sensor away."""
        return self.loom.ready().body.decode()

    def wait_down(self):
        wait_for(lambda: self.loom.metrics().sum("loom_output_up") == 0, "the output to be down")

    def wait_up(self):
        wait_for(lambda: self.loom.metrics().sum("loom_output_up") == 1, "the output to be up")

    def stored(self):
        return stored_by_number(self.servers)

    def dead(self):
        """Number -> the dead letter."""
        if not self.dead_letters_path.exists():
            return {}
        found = {}
        whole, _, _ = self.dead_letters_path.read_bytes().rpartition(b"\n")  # the last line may be just being written
        for line in whole.splitlines():
            letter = json.loads(line)
            number = letter["event"]["n"]
            assert number not in found, f"two dead letters of event {number}"
            found[number] = letter
        return found

    def settled(self, seconds=60):
        """Waits until every event that was acknowledged is delivered or dead, checks that none is both, and that what is delivered
        has every byte as it was sent. Gives both."""

        def all_there():
            return set(self.acknowledged) <= set(self.stored()) | set(self.dead())

        wait_for(all_there, "all acknowledged events", seconds)
        stored, dead = self.stored(), self.dead()
        assert not set(stored) & set(dead)
        for number, event in self.acknowledged.items():
            assert number in dead or stored[number] == event
        return stored, dead
