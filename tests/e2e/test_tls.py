# SPDX-License-Identifier: Apache-2.0
"""HTTPS: versions, ALPN, large bodies, broken clients, and what is wrong with a certificate at start."""

import os
import socket
import ssl
import struct
import subprocess
import warnings

import pytest

from loomtest import certs, events, process
from loomtest.process import TOKEN, wait_for
from loomtest.wire import Closed, Connection, request


def context(certificate, version):
    """A client that speaks just this version. Debian's OpenSSL offers TLS 1.1 only at security level 0."""
    client = ssl.create_default_context(cafile=certificate[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        client.set_ciphers("ALL:@SECLEVEL=0")
    return client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_served(start_loom, tls_config, certificate, version):
    loom = start_loom({"server": tls_config})
    with loom.connect(tls=context(certificate, version)) as connection:
        assert connection.socket.version() == version.name.replace("_", ".")
        for n in range(3):
            assert connection.post(events.batch(events.numbered(n, 1)), token=TOKEN).status == 204
    assert events.numbers(loom.lines(3)) == [0, 1, 2]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_refused(start_loom, tls_config, certificate, version):
    loom = start_loom({"server": tls_config, "observability": {"metrics_enabled": True}})
    with pytest.raises((ssl.SSLError, ConnectionResetError)) as failure:
        loom.connect(tls=context(certificate, version))
    if isinstance(failure.value, ssl.SSLError):
        assert "PROTOCOL_VERSION" in str(failure.value) or "protocol version" in str(
            failure.value
        ), "the alert says why"
    wait_for(lambda: loom.metrics().sum("loom_net_handshake_failures_total") == 1, "the failed handshake to be counted")


def test_aes_128_comes_first(start_loom, tls_config, certificate):
    """A third less work than AES-256, which OpenSSL's own order of TLS 1.2 puts first."""
    loom = start_loom({"server": tls_config})
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with loom.connect(tls=context(certificate, version)) as connection:
            assert "AES" in connection.socket.cipher()[0] and connection.socket.cipher()[2] == 128


def test_the_listening_line_says_which(start_loom, tls_config):
    assert start_loom({"server": tls_config}).log(message="listening")[0]["protocol"] == "https"
    assert start_loom().log(message="listening")[0]["protocol"] == "http"


@pytest.mark.parametrize(
    "offered,chosen",
    [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), (None, None)],
    ids=["http/1.1", "h2-first", "http/1.0", "none"],
)
def test_alpn(start_loom, tls_config, certificate, offered, chosen):
    loom = start_loom({"server": tls_config})
    client = ssl.create_default_context(cafile=certificate[0])
    if offered:
        client.set_alpn_protocols(offered)
    with loom.connect(tls=client) as connection:
        assert connection.socket.selected_alpn_protocol() == chosen
        assert connection.post(b"[]", token=TOKEN).status == 204


def test_large_and_many(start_loom, tls_config, tls_client):
    """Bodies of many TLS records, on one connection: what waits inside OpenSSL must not be forgotten."""
    loom = start_loom({"server": tls_config})
    batch = events.numbered(0, 400, pad=4000)
    with loom.connect(tls=tls_client) as connection:
        for _ in range(3):
            assert connection.post(events.batch(batch), token=TOKEN).status == 204
    assert loom.lines(1200) == batch * 3


def test_one_record_holds_more_than_one_request(start_loom, tls_config, tls_client):
    """Pipelined requests in one TLS record: after the first nothing more arrives on the socket."""
    loom = start_loom({"server": tls_config})
    with loom.connect(tls=tls_client) as connection:
        connection.send(request(token=TOKEN) * 40)
        assert [connection.read().status for _ in range(40)] == [204] * 40


@pytest.mark.parametrize("size", [1, 1000, 16000])
def test_records_of_any_size(start_loom, tls_config, tls_client, size):
    loom = start_loom({"server": tls_config})
    batch = events.numbered(0, 20 if size == 1 else 300, pad=20)
    data = request(token=TOKEN, body=events.batch(batch))
    with loom.connect(tls=tls_client) as connection:
        for i in range(0, len(data), size):
            connection.send(data[i : i + size])
        assert connection.read().status == 204
    assert loom.lines(len(batch)) == batch


def test_refused_while_sending_still_gets_its_answer(start_loom, tls_config, tls_client):
    loom = start_loom({"server": tls_config})
    with loom.connect(tls=tls_client) as connection:
        connection.send(request(token=TOKEN, body=b" " * (5 << 20)))
        assert connection.read().word == "payload_too_large"


def test_session_is_resumed(start_loom, tls_config, certificate):
    """Tickets: sensors that reconnect are spared the full handshake."""
    loom = start_loom({"server": tls_config})
    client = context(certificate, ssl.TLSVersion.TLSv1_2)
    with loom.connect(tls=client) as connection:
        assert connection.post(b"[]", token=TOKEN).status == 204
        session = connection.socket.session
    raw = socket.create_connection(loom.ingest, timeout=60)
    with client.wrap_socket(raw, server_hostname="localhost", session=session) as second:
        assert second.session_reused


def test_curl_over_https(start_loom, tls_config, certificate, tmp_path):
    loom = start_loom({"server": tls_config})
    for option in ("--tlsv1.2", "--tlsv1.3"):
        result = subprocess.run(
            [
                "curl",
                "--noproxy",
                "*",
                "-sS",
                option,
                "--cacert",
                certificate[0],
                "-H",
                "Content-Type: application/json",
                "-H",
                f"Authorization: Bearer {TOKEN}",
                "-d",
                '[{"by":"curl"}]',
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                f"https://localhost:{loom.ingest[1]}/ingest",
                "--resolve",
                f"localhost:{loom.ingest[1]}:127.0.0.1",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert result.stdout == "204", result.stderr
    assert loom.lines(2) == [b'{"by":"curl"}'] * 2


def test_plain_client_on_the_tls_port(start_loom, tls_config, tls_client):
    """It is closed, whatever it may be told; nobody else notices."""
    loom = start_loom({"server": tls_config, "observability": {"metrics_enabled": True}})
    with Connection(loom.ingest) as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        try:
            while True:
                more = connection.socket.recv(4096)
                if not more:
                    break
                data += more
        except ConnectionResetError:
            pass
        assert b"HTTP/1.1 2" not in data
    wait_for(lambda: loom.metrics().sum("loom_net_handshake_failures_total") == 1, "the failed handshake to be counted")
    with loom.connect(tls=tls_client) as connection:
        assert connection.post(b"[]", token=TOKEN).status == 204


def test_tls_client_on_the_plain_port(start_loom, certificate):
    loom = start_loom()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        loom.connect(tls=context(certificate, ssl.TLSVersion.TLSv1_3))
    assert loom.post(b"[]").status == 204


def test_garbage_in_the_handshake(start_loom, tls_config, tls_client):
    loom = start_loom({"server": tls_config})
    for garbage in (
        b"\0" * 100,
        b"\x16\x03\x01\xff\xff" + b"x" * 5000,
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x80\x2e\x01\x03\x01",
    ):
        with Connection(loom.ingest) as connection:
            try:
                connection.send(garbage)
                connection.socket.shutdown(socket.SHUT_WR)
                while connection.socket.recv(4096):
                    pass
            except OSError:  # it may be closed before all is said
                pass
    with loom.connect(tls=tls_client) as connection:
        assert connection.post(b"[]", token=TOKEN).status == 204


def test_clients_that_vanish(start_loom, tls_config, tls_client):
    """Gone in the handshake, in a body, without close_notify, with a reset: the next one is served."""
    loom = start_loom({"server": tls_config})
    for _ in range(10):
        Connection(loom.ingest).close()
        Connection(loom.ingest).reset()
        connection = loom.connect(tls=tls_client)
        connection.send(request(token=TOKEN, body=b" " * 10000)[:5000])
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    with loom.connect(tls=tls_client) as connection:
        assert connection.post(b'[{"n":1}]', token=TOKEN).status == 204
    assert loom.lines(1) == [b'{"n":1}']


def test_close_is_announced(start_loom, tls_config, tls_client):
    """Loom ends a connection with close_notify, so a client can tell an end from a cut: Python raises SSLEOFError
    otherwise."""
    loom = start_loom({"server": tls_config})
    with loom.connect(tls=tls_client) as connection:
        connection.socket.suppress_ragged_eofs = False
        assert connection.post(b"[]", token=TOKEN, headers=[("Connection", "close")]).status == 204
        assert connection.socket.recv(1) == b""


@pytest.fixture
def broken(tmp_path, certificate):
    """name -> (cert_file, key_file, what the message must name)."""
    cert, key = certificate
    other_cert, other_key = certs.make(tmp_path, "other")
    garbage, empty, missing = tmp_path / "garbage.pem", tmp_path / "empty.pem", tmp_path / "missing.pem"
    garbage.write_bytes(b"-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n")
    empty.write_bytes(b"")
    return {
        "cert-missing": (missing, key, str(missing)),
        "key-missing": (cert, missing, str(missing)),
        "cert-garbage": (garbage, key, str(garbage)),
        "key-garbage": (cert, garbage, str(garbage)),
        "cert-empty": (empty, key, str(empty)),
        "key-empty": (cert, empty, str(empty)),
        "key-of-another": (cert, other_key, str(other_key)),
        "cert-of-another": (other_cert, key, str(key)),
        "cert-is-a-directory": (tmp_path, key, str(tmp_path)),
        "swapped": (key, cert, str(key)),
    }


@pytest.mark.parametrize(
    "name",
    [
        "cert-missing",
        "key-missing",
        "cert-garbage",
        "key-garbage",
        "cert-empty",
        "key-empty",
        "key-of-another",
        "cert-of-another",
        "cert-is-a-directory",
        "swapped",
    ],
)
def test_broken_certificate_at_start(tmp_path, broken, name):
    cert, key, named = broken[name]
    path = tmp_path / "loom.toml"
    path.write_text(process.toml(process.merged({"server": {"tls": True, "cert_file": cert, "key_file": key}})))
    for arguments in (["-config", path], ["check", "-config", path]):
        result = process.run(*arguments)
        assert result.returncode not in (0, 2), result.err
        lines = process.complaints(result.err if arguments[0] == "-config" else result.err + result.out)
        if arguments[0] == "-config":
            assert len(lines) == 1, result.err
            assert result.out == ""
        assert any(named in line for line in lines), lines
        assert "PRIVATE KEY" not in result.err + result.out


def test_no_answer_after_a_failed_start(tmp_path, certificate):
    """Nothing listens when the start has failed."""
    # An address of loopback's that no other test uses: there no port is given to anybody meanwhile.
    host = f"127.{os.getpid() >> 16 & 127 | 128}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    path = tmp_path / "loom.toml"
    path.write_text(
        process.toml(
            process.merged(
                {
                    "server": {
                        "tls": True,
                        "listen_address": f"{host}:{port}",
                        "cert_file": certificate[0],
                        "key_file": tmp_path / "missing",
                    }
                }
            )
        )
    )
    assert process.run("-config", path).returncode != 0
    with pytest.raises((ConnectionRefusedError, Closed)):
        Connection((host, port))
