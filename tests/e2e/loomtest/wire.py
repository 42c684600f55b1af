# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 by raw socket. Requests are the bytes that the test wrote, lawful or not; answers are read strictly (RFC
9112)."""

import json
import os
import re
import socket

# Sanitizers and slow machines: every waiting time is multiplied by this.
PATIENCE = float(os.environ.get("LOOM_TEST_PATIENCE", "1"))
JSON = "application/json"


class Closed(Exception):
    """The server closed the connection where an answer was expected."""


def parse_address(text):
    """ "127.0.0.1:43210", "[::1]:43210" or "unix:/path", as Loom logs them."""
    if text.startswith("unix:"):
        return text[len("unix:") :]
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Response:
    def __init__(self, version, status, reason, headers, body):
        self.version, self.status, self.reason = version, status, reason
        self.headers = headers  # [(name, value)], as they came
        self.body = body

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        """The one value of a header, or None. Twice is a fault of the server."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    def json(self):
        assert self.header("Content-Type") == JSON, self
        return json.loads(self.body)

    @property
    def word(self):
        return self.json()["error"]

    @property
    def detail(self):
        return self.json().get("detail")

    @property
    def retry_after(self):
        value = self.header("Retry-After")
        assert value is not None and re.fullmatch(r"\d+", value), f"Retry-After: {value!r}"
        return int(value)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


def request(
    method="POST",
    path="/api/v1/ingest",
    body=b"[]",
    token=None,
    content_type=JSON,
    headers=(),
    length=None,
    chunks=None,
    version="HTTP/1.1",
    host="loom.test",
):
    """The bytes of a request. `chunks` sends the body chunked; `length` lies about it; None leaves a header out."""
    lines = [f"{method} {path} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines.extend(f"{name}: {value}" for name, value in headers)
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + b"0\r\n\r\n"
    elif body is not None or length is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Connection:
    """One client connection; with `tls` (an SSLContext) the handshake is done here."""

    def __init__(self, address, tls=None, timeout=60.0, receive_buffer=None):
        family = (
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout * PATIENCE)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(address)
            if family != socket.AF_UNIX:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Goes away rudely: RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    @property
    def local_port(self):
        return self.socket.getsockname()[1]

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise Closed(self._buffer)
        self._buffer += data

    def _until(self, mark):
        while mark not in self._buffer:
            self._more()
        head, self._buffer = self._buffer.split(mark, 1)
        return head

    def _exactly(self, count):
        while len(self._buffer) < count:
            self._more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read(self, method="POST"):
        """The next answer, interim ones (100) too. Anything that is not HTTP/1.1 as it should be fails here."""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        match = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) ([\t -~]*)", head[0])
        assert match, f"status line {head[0]!r}"
        headers = []
        for line in head[1:]:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~]*?)[ \t]*", line)
            assert field, f"header line {line!r}"
            headers.append((field.group(1), field.group(2)))
        response = Response(match.group(1), int(match.group(2)), match.group(3), headers, b"")
        if response.status >= 200 and response.status != 204 and method != "HEAD":
            if response.header("Transfer-Encoding") == "chunked":
                response.body = self._read_chunks()
            else:
                length = response.header("Content-Length")
                assert length is not None and length.isdigit(), f"no Content-Length: {response}"
                response.body = self._exactly(int(length))
        elif response.status == 204:
            assert response.header("Content-Length") is None and response.header("Transfer-Encoding") is None, response
        return response

    def _read_chunks(self):
        body = b""
        while True:
            size = int(self._until(b"\r\n"), 16)
            body += self._exactly(size)
            assert self._exactly(2) == b"\r\n"
            if size == 0:
                return body

    def request(self, method="POST", path="/api/v1/ingest", **options):
        if method in ("GET", "HEAD"):
            options.setdefault("body", None)
            options.setdefault("content_type", None)
        self.send(request(method, path, **options))
        return self.read(method)

    def post(self, body, **options):
        return self.request("POST", body=body, **options)

    def at_end(self):
        """Waits for the server to close. True for an orderly end without further bytes; a reset is False."""
        if self._buffer:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return False

    def is_open(self, seconds=0.2):
        """Whether the connection stays open and silent for a while."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds * PATIENCE)
        try:
            self._buffer += self.socket.recv(1)
            return False
        except TimeoutError:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(before)


def closed_at_once(address, timeout=30.0):
    """Whether a new connection is closed by the server without a word."""
    try:
        with Connection(address, timeout=timeout) as connection:
            return connection.socket.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True
    except TimeoutError:
        return False
