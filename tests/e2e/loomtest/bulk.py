# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Elasticsearch and OpenSearch that keeps documents by id, as `create` does, and fails on demand.

    with BulkServer() as server:
        server.script(Fault(status=503, headers={"Retry-After": "1"}), Fault(cut=40))
        server.rule = lambda document, index: (400, "mapper_parsing_exception", "no") if b"bad" in document else None

What it does by itself: bulk with gzip, GET /, index templates, basic authentication and API keys, TLS. A Fault is for one
bulk request; `always` is for each while it stands."""

import base64
import dataclasses
import email.utils
import gzip
import json
import os
import socket
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Fault:
    """How one bulk request goes wrong. Without `status` its documents are taken first, unless `take` is False."""

    status: int = 0  # answer with it, and take nothing
    body: object = None  # bytes instead of the reply's own body
    headers: dict = dataclasses.field(default_factory=dict)
    take: bool = True
    close: bool = False  # no answer at all
    reset: bool = False  # the same, rudely (RST)
    unread: bool = False  # close or answer before the body is read
    cut: object = None  # close after so many bytes of the answer, head included
    drip: int = 0  # so many bytes at a time, with a pause after each
    delay: float = 0.0  # before the answer
    hang: bool = False  # never answer, until the server is stopped or `release` is called
    edit: object = None  # function from the reply (a dict) to another one


@dataclasses.dataclass
class Seen:
    """One request, as it came."""

    method: str
    path: str
    query: dict
    headers: dict  # lower-case names
    body: bytes  # unpacked
    status: int = 0  # of the answer; 0: none
    at: float = 0.0  # time.monotonic()
    documents: list = dataclasses.field(default_factory=list)  # (index, id, bytes) of a bulk request


ERRORS = {
    401: "security_exception",
    403: "security_exception",
    404: "index_not_found_exception",
    429: "es_rejected_execution_exception",
    503: "cluster_block_exception",
}


def error_body(status, kind=None, reason="as the test wants it"):
    kind = kind or ERRORS.get(status, "illegal_argument_exception")
    return json.dumps({"error": {"type": kind, "reason": reason}, "status": status}).encode()


class BulkServer:
    def __init__(self, flavour="elasticsearch", tls=None, user=None, password=None, api_key=None, client_ca=None):
        self.flavour, self.user, self.password, self.api_key = flavour, user, password, api_key
        self.documents = {}  # index -> {id: bytes of the document}
        self.repeats = 0  # documents that were there already
        self.templates = {}  # name -> dict
        self.template_status = 0  # of every request for a template, instead of what it asks
        self.root_status = 0  # of GET /
        self.rule = None  # (document, index) -> None, or (status, type, reason) of its item
        self.always = None  # Fault
        self.poison = None  # document -> whether a request with it fails as a whole, with 500
        self.max_body = None  # 413 above; of the body as it is sent
        self.data_streams = set()
        self.seen = []
        self._script = []
        self._lock = threading.Lock()
        self._connections = set()
        self._away = False
        self._released = threading.Event()
        self._tls = tls is not None
        self._context = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*map(str, tls))
            if client_ca is not None:
                self._context.verify_mode = ssl.CERT_REQUIRED
                self._context.load_verify_locations(str(client_ca))
        self._http = None
        # Bound and never listening, so that nobody else gets the port while the server is away.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port = self._holder.getsockname()[1]
        self.start()

    # --- its life

    def start(self):
        """Begins to listen; after stop, on the same port."""
        outer = self

        class Bound(Handler):
            server_of_test = outer

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64
            allow_reuse_port = True

            def handle_error(self, request, client_address):
                pass  # a client that goes away is part of the game

            def finish_request(self, request, client_address):
                if outer._context is not None:  # in the connection's own thread
                    request.settimeout(10)
                    request = outer._context.wrap_socket(request, server_side=True)
                super().finish_request(request, client_address)

        self._released.clear()
        self._away = False
        self._http = Server(("127.0.0.1", self.port), Bound)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        """Away: nobody listens, and every connection ends."""
        if self._http is None:
            return
        self._http.shutdown()
        self._http.server_close()
        self._http = None
        self._released.set()
        with self._lock:
            self._away = True
            connections = list(self._connections)
        for connection in connections:
            hang_up(connection)  # wakes its thread, which closes it

    def release(self):
        """Ends every hang."""
        self._released.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    # --- what a test asks for and looks at

    def script(self, *faults):
        """For the next bulk requests, one each."""
        with self._lock:
            self._script.extend(faults)

    def script_left(self):
        with self._lock:
            return len(self._script)

    def bulks(self):
        with self._lock:
            return [seen for seen in self.seen if seen.path.endswith("/_bulk")]

    def stored(self, index=None):
        """Documents by id, of one index or of all."""
        with self._lock:
            if index is not None:
                return dict(self.documents.get(index, {}))
            return {key: value for documents in self.documents.values() for key, value in documents.items()}

    def count(self):
        return len(self.stored())

    # --- for the handler

    def next_fault(self):
        with self._lock:
            if self._script:
                return self._script.pop(0)
        return self.always

    def allows(self, authorization):
        if self.user is None and self.api_key is None:
            return True
        if self.user is not None:
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            if authorization == "Basic " + pair:
                return True
        return self.api_key is not None and authorization == "ApiKey " + self.api_key

    def take(self, documents):
        """One item each, as `create` answers."""
        items = []
        for index, key, document in documents:
            items.append({"create": {"_index": index, "_id": key, **self._take_one(index, key, document)}})
        return {"took": 1, "errors": any("error" in item["create"] for item in items), "items": items}

    def _take_one(self, index, key, document):
        with self._lock:
            if key in self.documents.get(index, {}):
                self.repeats += 1
                return {
                    "status": 409,
                    "error": {
                        "type": "version_conflict_engine_exception",
                        "reason": f"[{key}]: version conflict, document already exists (current version [1])",
                    },
                }
        wrong = self.rule(document, index) if self.rule is not None else None
        if wrong is None and index in self.data_streams and b'"@timestamp"' not in document:
            wrong = (400, "document_parsing_exception", "data stream timestamp field [@timestamp] is missing")
        if wrong is not None:
            return {"status": wrong[0], "error": {"type": wrong[1], "reason": wrong[2]}}
        with self._lock:
            self.documents.setdefault(index, {})[key] = document
        return {"result": "created", "status": 201}


def hang_up(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def reset(connection):
    """RST, at once: the file objects on a socket would keep it open."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        os.close(connection.detach())
    except OSError:
        pass


def parse_bulk(body, index):
    """(index, id, document) of each pair of lines; anything that is not as it should be fails."""
    lines = body.split(b"\n")
    assert lines.pop() == b"", "the body does not end with a newline"
    assert len(lines) % 2 == 0, f"{len(lines)} lines"
    documents = []
    for action, document in zip(lines[::2], lines[1::2]):
        create = json.loads(action)
        assert set(create) == {"create"}, action
        target = create["create"].get("_index", index)
        assert target, f"no index: {action}"
        json.loads(document)
        documents.append((target, create["create"]["_id"], document))
    return documents


def filtered(reply):
    """As the output's filter_path leaves it: errors, and status and error of each item."""
    items = [
        {name: {key: value for key, value in item.items() if key in ("status", "error")} for name, item in entry.items()}
        for entry in reply["items"]
    ]
    return {"errors": reply["errors"], "items": items}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test = None

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass

    def setup(self):
        super().setup()
        with self.server_of_test._lock:
            self.server_of_test._connections.add(self.connection)
            if self.server_of_test._away:  # stopped between the accept and here
                hang_up(self.connection)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def finish(self):
        with self.server_of_test._lock:
            self.server_of_test._connections.discard(self.connection)
        super().finish()

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def do_PUT(self):
        self._serve()

    # --- one request

    def _serve(self):
        outer = self.server_of_test
        parts = urllib.parse.urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(
            self.command, urllib.parse.unquote(parts.path), urllib.parse.parse_qs(parts.query), headers, b"", at=time.monotonic()
        )
        is_bulk = seen.path.endswith("/_bulk") and self.command == "POST"
        fault = outer.next_fault() if is_bulk else None
        with outer._lock:
            outer.seen.append(seen)
        if fault is not None and fault.unread:
            self._fail(seen, fault)
            return
        raw = self.rfile.read(int(headers.get("content-length", 0)))
        seen.body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
        if not outer.allows(headers.get("authorization")):
            self._answer(seen, 401, error_body(401))
        elif is_bulk:
            self._bulk(seen, fault, len(raw))
        elif seen.path == "/":
            self._root(seen)
        elif seen.path.startswith("/_index_template/"):
            self._template(seen, seen.path.removeprefix("/_index_template/"))
        else:
            self._answer(seen, 400, error_body(400))

    def _bulk(self, seen, fault, raw_len):
        outer = self.server_of_test
        assert seen.headers["content-type"] in ("application/x-ndjson", "application/json"), seen.headers
        index = seen.path.removesuffix("/_bulk").strip("/")
        seen.documents = parse_bulk(seen.body, index)
        fault = fault or Fault()
        if outer.max_body is not None and raw_len > outer.max_body:
            fault = Fault(status=413, body=b"")
        if outer.poison is not None and any(outer.poison(document) for _, _, document in seen.documents):
            fault = Fault(status=500)
        if fault.status or not fault.take or fault.close or fault.reset:
            self._fail(seen, fault)
            return
        reply = outer.take(seen.documents)
        if "filter_path" in seen.query:
            reply = filtered(reply)
        if fault.edit is not None:
            reply = fault.edit(reply)
        body = json.dumps(reply, separators=(",", ":")).encode() if fault.body is None else fault.body
        self._answer(seen, 200, body, fault)

    def _fail(self, seen, fault):
        if fault.close or fault.reset:
            self.close_connection = True
            if fault.reset:
                reset(self.connection)
            return
        status = fault.status or 200
        body = fault.body if fault.body is not None else error_body(status)
        self._answer(seen, status, body, fault)
        if fault.unread:
            self.close_connection = True

    def _root(self, seen):
        outer = self.server_of_test
        if outer.root_status:
            self._answer(seen, outer.root_status, error_body(outer.root_status))
            return
        version = {"number": "8.18.0", "lucene_version": "9.12.0"}
        if outer.flavour == "opensearch":
            version = {"distribution": "opensearch", "number": "2.19.3"}
        self._answer(seen, 200, json.dumps({"name": "test", "version": version, "tagline": "x"}).encode())

    def _template(self, seen, name):
        outer = self.server_of_test
        if outer.template_status:
            self._answer(seen, outer.template_status, error_body(outer.template_status))
        elif self.command == "PUT":
            outer.templates[name] = json.loads(seen.body)
            self._answer(seen, 200, b'{"acknowledged":true}')
        elif name in outer.templates:
            template = dict(outer.templates[name])
            if "data_stream" in template:  # what a server adds to it
                template["data_stream"] = {"hidden": False, "allow_custom_routing": False}
            template.setdefault("composed_of", [])
            found = {"index_templates": [{"name": name, "index_template": template}]}
            self._answer(seen, 200, json.dumps(found).encode())
        else:
            self._answer(seen, 404, error_body(404, "resource_not_found_exception"))

    # --- the answer

    def _answer(self, seen, status, body, fault=None):
        fault = fault or Fault()
        lines = [
            f"HTTP/1.1 {status} {self.responses.get(status, ('x',))[0]}",
            f"Date: {email.utils.formatdate(usegmt=True)}",
            f"Content-Length: {len(body)}",
        ]
        if "Content-Type" not in fault.headers:
            lines.append("Content-Type: application/json")
        lines.extend(f"{name}: {value}" for name, value in fault.headers.items())
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        released = self.server_of_test._released
        if fault.delay:
            released.wait(fault.delay)
        if fault.hang:
            released.wait(600)
            self.close_connection = True
            return
        seen.status = status
        if fault.cut is not None:
            data = data[: fault.cut]
            self.close_connection = True
        try:
            if fault.drip:
                for i in range(0, len(data), fault.drip):
                    self.wfile.write(data[i : i + fault.drip])
                    self.wfile.flush()
                    time.sleep(0.005)
            else:
                self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
