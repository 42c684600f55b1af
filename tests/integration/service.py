# SPDX-License-Identifier: Apache-2.0
"""A real OpenSearch or Elasticsearch, run by scripts/services, and what the tests ask it for. Standard library only."""

import base64
import json
import os
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections import Counter

from loomtest.process import REPOSITORY

SCRIPTS = REPOSITORY / "scripts" / "services"


class Service:
    def __init__(self, kind, directory, secure=False, settings=()):
        self.kind, self.directory, self.secure = kind, directory, secure
        self._arguments = ["--run", str(directory), *(["--secure"] if secure else [])]
        self._settings = [word for setting in settings for word in ("--set", setting)]
        self._script("start", *self._settings)

    def _script(self, command, *more):
        # What kills the tests with their process group is to end the server, too.
        env = {**os.environ, "LOOM_SERVICES_STAY": "no"}
        subprocess.run([SCRIPTS / self.kind, command, *self._arguments, *more], check=True, timeout=400, env=env)

    def wait(self):
        self._script("wait")
        return self

    def stop(self):
        self._script("stop")

    def start(self):
        """After stop: the same data, on the same port."""
        self._script("start", *self._settings)

    def _signal(self, number):
        os.kill(int((self.directory / "pid").read_text().split()[0]), number)

    def pause(self):
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    # --- its address

    @property
    def url(self):
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{(self.directory / 'port').read_text().strip()}"

    @property
    def ca_file(self):
        return self.directory / "conf" / "ca.pem"

    @property
    def password(self):
        """Of admin."""
        return (self.directory / "password").read_text().strip()

    def output(self):
        """[output] keys for Loom, and its environment."""
        keys = {"type": self.kind, "elasticsearch_url": self.url}
        if not self.secure:
            return keys, {}
        keys.update(elasticsearch_user="admin", elasticsearch_ca_file=self.ca_file)
        return keys, {"LOOM_ELASTICSEARCH_PASS": self.password}

    # --- asking it

    def raw(self, method, path, body=None, status=(200, 201)):
        request = urllib.request.Request(self.url + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        context = None
        if self.secure:
            context = ssl.create_default_context(cafile=self.ca_file)
            pair = base64.b64encode(f"admin:{self.password}".encode()).decode()
            request.add_header("Authorization", "Basic " + pair)
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                assert answer.status in status, answer.status
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read()
            assert error.code in status, f"{method} {path}: {error.code} {text[:500]!r}"
            return text

    def ask(self, method, path, body=None):
        return json.loads(self.raw(method, path, body))

    def count(self, index):
        """Documents that a search finds now; 0 when there is no such index, or none of its shards has started yet."""
        self.raw("POST", f"/{index}/_refresh?ignore_unavailable=true")
        answer = json.loads(self.raw("GET", f"/{index}/_count?ignore_unavailable=true", status=(200, 503)))
        assert "count" in answer or "no_shard_available_action_exception" in str(answer), answer
        return answer.get("count", 0)

    def search(self, index, query):
        """How many documents match."""
        self.raw("POST", f"/{index}/_refresh")
        found = self.ask("POST", f"/{index}/_search", {"query": query, "track_total_hits": True, "size": 0})
        return found["hits"]["total"]["value"]

    def documents(self, index):
        """All of an index: the set of ids, and how often there are which bytes as _source."""
        self.raw("POST", f"/{index}/_refresh")
        answer = self.raw("POST", f"/{index}/_search?scroll=2m", {"size": 5000, "sort": ["_doc"]})
        ids, sources = set(), Counter()
        while True:
            hits = list(sources_of(answer))
            if not hits:
                return ids, sources
            for key, source in hits:
                assert key not in ids
                ids.add(key)
                sources[source] += 1
            scroll = json.loads(answer)["_scroll_id"]
            answer = self.raw("POST", "/_search/scroll", {"scroll": "2m", "scroll_id": scroll})


def sources_of(answer):
    """(id, bytes of _source) of each hit. Parsed and written again they would be other bytes."""
    text = answer.decode()
    decoder = json.JSONDecoder()
    mark = '"_source":'
    for hit in json.loads(answer)["hits"]["hits"]:
        at = text.index('"_id":' + json.dumps(hit["_id"]))
        begin = text.index(mark, at) + len(mark)
        _, end = decoder.raw_decode(text, begin)
        yield hit["_id"], text[begin:end].encode()
        text = text[end:]
