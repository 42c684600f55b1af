# SPDX-License-Identifier: Apache-2.0
"""The command line, the configuration file and everything that must stop a start: what is said, and the exit status."""

import os
import re
import signal
import socket
import subprocess

import pytest

from loomtest import events, process
from loomtest.process import TOKEN, wait_for
from loomtest.wire import Connection

CONFIG_ERROR = 2


def write(tmp_path, text):
    path = tmp_path / "loom.toml"
    path.write_text(text)
    return path


def write_config(tmp_path, config):
    return write(tmp_path, process.toml(process.merged(config)))


def start_fails(path, *arguments, env=None):
    """Runs a start that must fail: nothing on standard output, exit status not 0."""
    result = process.run(*(arguments or ("-config", path)), env=env)
    assert result.returncode != 0, result.err
    assert result.out == ""
    return result


# --- command line


@pytest.mark.parametrize("word", ["-version", "-help", "example", "reference", "check"])
def test_what_cannot_be_printed_is_a_failure(tmp_path, word):
    write_config(tmp_path, {})
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [process.BINARY, word],
            cwd=tmp_path,
            env=process.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60 * process.PATIENCE,
            check=False,
        )
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr


@pytest.mark.parametrize(
    "form", [["-config", "{}"], ["--config", "{}"], ["-config={}"], ["--config={}"]], ids=lambda form: " ".join(form)
)
def test_config_option(start_loom, tmp_path, form):
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    loom = start_loom(directory=directory, arguments=[part.format(directory / "loom.toml") for part in form])
    assert loom.post(b"[]").status == 204


def test_default_is_loom_toml_in_the_working_directory(start_loom, tmp_path):
    directory = tmp_path / "here"
    directory.mkdir()
    loom = start_loom(directory=directory, arguments=[])
    assert loom.post(b"[]").status == 204


def test_no_file(tmp_path):
    for arguments in ([], ["-config", "nowhere.toml"]):
        result = process.run(*arguments, cwd=tmp_path)
        assert result.returncode == CONFIG_ERROR, result.err
        assert ("nowhere.toml" if arguments else "loom.toml") in result.err
        assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["-version", "--version"])
def test_version(option):
    result = process.run(option)
    assert result.returncode == 0
    assert re.search(r"\bloom\b.*\b\d+\.\d+\.\d+\b", result.out, re.IGNORECASE)


@pytest.mark.parametrize("option", ["-help", "--help", "-h"])
def test_help(option):
    result = process.run(option)
    assert result.returncode == 0
    for word in ("-config", "-version", "check"):
        assert word in result.out, result.out


@pytest.mark.parametrize(
    "arguments", [["-nonsense"], ["nonsense"], ["-config"], ["check", "-nonsense"], ["check", "more"]], ids=" ".join
)
def test_bad_command_line(tmp_path, arguments):
    result = process.run(*arguments, cwd=tmp_path)
    assert result.returncode == CONFIG_ERROR
    assert result.out == "" and result.err.strip()


# --- errors of the file


def problems(path):
    """The errors of a configuration as (line, column, rest); the start and the check must say the same."""
    result = start_fails(path)
    assert result.returncode == CONFIG_ERROR, result.err
    check = process.run("check", "-config", path)
    assert check.returncode == CONFIG_ERROR, check.err + check.out
    found = []
    for line in result.err.splitlines():
        match = re.match(r"(?:loom: )?" + re.escape(str(path)) + r":(\d+):(\d+): (.*)", line)
        if match:
            found.append((int(match.group(1)), int(match.group(2)), match.group(3)))
            assert match.group(3) in check.out + check.err
    assert found, result.err
    return found


def test_all_errors_at_once(tmp_path):
    text = """[server]
listen_adress = ":8443"
tls = "yes"
workers = -3

[limits]
max_body_size_bytes = "2MB"
max_events_per_batch = 1.5

[loging]
level = "info"

[logging]
level = "loud"
"""
    found = problems(write(tmp_path, text))
    assert [line for line, _, _ in found] == [2, 3, 4, 7, 8, 10, 14] or [line for line, _, _ in found] == [
        2,
        3,
        4,
        7,
        8,
        10,
        11,
        14,
    ], found
    by_line = {line: rest for line, _, rest in found}
    for line, words in {
        2: ["listen_adress", "listen_address"],
        3: ["tls", "true"],
        4: ["workers"],
        7: ["max_body_size_bytes", "whole number", "string"],
        8: ["max_events_per_batch", "whole number"],
        10: ["loging", "logging"],
        14: ["level", "debug", "info", "warn", "error"],
    }.items():
        for word in words:
            assert word in by_line[line], (line, by_line[line])


@pytest.mark.parametrize(
    "text,line,words",
    [
        ("[server]\nworkers = 100000000\n", 2, ["workers"]),
        ("[limits]\nmax_body_size_bytes = -1\n", 2, ["max_body_size_bytes"]),
        ("[limits]\nper_sensor_rps = -2\n", 2, ["per_sensor_rps"]),
        ("[limits]\nmax_connections = -1\n", 2, ["max_connections"]),
        ("[limits]\nmax_inflight_bytes = 9223372036854775808\n", 2, []),
        ('[output]\ntype = "carrier-pigeon"\n', 2, ["type", "stdout"]),
        ('[output]\nelasticsearch_url = "localhost:9200"\n', 2, ["elasticsearch_url", "https://"]),
        ('[output]\ntype = "elasticsearch"\n', 2, ["elasticsearch_url"]),
        ("[output]\nkafka_brokers = [1]\n", 2, ["kafka_brokers"]),
        ('[logging]\nformat = "xml"\n', 2, ["format", "json", "console"]),
        ("[observability]\nmetrics_enabled = 1\n", 2, ["metrics_enabled"]),
        ("[enrichment.dns]\nenable = true\n", 2, ["enable", "enabled"]),
        ("[output.outbox]\nmax_byte = 1\n", 2, ["max_byte", "max_bytes"]),
        ('listen_address = ":1"\n', 1, ["listen_address"]),
        ("server = 1\n", 1, ["server"]),
        ("[server.listen_address]\nx = 1\n", 1, ["listen_address"]),
        (
            "\n\n  [limits]\n\n    max_event_per_batch = 1 # comment\n",
            5,
            ["max_event_per_batch", "max_events_per_batch"],
        ),
        ('[server]\ntls = false\ncert_file = "/etc/loom/tls.crt"\n', 3, ["cert_file", "tls"]),
        ('[server]\ntls = true\ncert_file = "/etc/loom/tls.crt"\n', 2, ["key_file"]),
    ],
    ids=lambda value: None if not isinstance(value, str) else value.replace("\n", " ").strip()[:40],
)
def test_one_error(tmp_path, text, line, words):
    found = problems(write(tmp_path, text))
    assert len(found) == 1, found
    assert line is None or found[0][0] == line, found
    assert found[0][1] >= 1
    for word in words:
        assert word in found[0][2], found


@pytest.mark.parametrize(
    "text,line",
    [
        ("[server\nlisten_address = 1\nfoo = 2\n", 1),
        ("[server]\nlisten_address = \n", 2),
        ("[server]\ntls = yes\n", 2),
        ("a = 1\na = 2\n", 2),
        ("[server]\n[server]\n", 2),
        ("[limits]\nx = 01\n", 2),
        ('[server]\nlisten_address = "\\q"\n', 2),
        ("\x00", 1),
    ],
)
def test_a_syntax_error_stands_alone(tmp_path, text, line):
    found = problems(write(tmp_path, text))
    assert len(found) == 1 and found[0][0] == line, found


def test_not_utf8(tmp_path):
    path = tmp_path / "loom.toml"
    path.write_bytes(b'[server]\nlisten_address = "\xff"\n')
    assert len(problems(path)) == 1


@pytest.mark.parametrize(
    "text,line,names",
    [
        ('[auth.tokens]\nvps-1 = "canary"\n', 1, ["LOOM_SENSOR_", "token_file"]),
        ('[output]\nelasticsearch_pass = "canary"\n', 2, ["LOOM_ELASTICSEARCH_PASS"]),
        ('[output]\nclickhouse_password = "canary"\n', 2, ["LOOM_CLICKHOUSE_PASSWORD"]),
    ],
    ids=["tokens", "elasticsearch", "clickhouse"],
)
def test_secrets_in_the_file_are_refused(tmp_path, text, line, names):
    found = problems(write(tmp_path, text))
    assert any(at in (line, line + 1) and any(name in rest for name in names) for at, _, rest in found), found
    result = process.run("-config", tmp_path / "loom.toml")
    assert "canary" not in result.err


def test_zero_and_empty_mean_the_default(start_loom):
    """As in the Go implementation, whose files must go on working."""
    loom = start_loom(
        {
            "server": {"cert_file": "", "key_file": "", "workers": 0},
            "auth": {"token_file": ""},
            "limits": {
                "max_body_size_bytes": 0,
                "max_events_per_batch": 0,
                "max_event_size_bytes": 0,
                "per_sensor_events_rps": 0,
                "max_connections": 0,
                "max_inflight_bytes": 0,
            },
            "enrichment": {"geoip_db_path": "", "asn_db_path": "", "language": ""},
            "enrichment.dns": {"enabled": False, "resolver_addr": "", "cache_ttl_seconds": 0, "max_qps": 0},
            "output": {"type": "", "elasticsearch_url": "", "elasticsearch_index": "", "kafka_topic": ""},
            "output.outbox": {"enabled": False, "dir": "", "max_bytes": 0, "retry_backoff_ms": 0},
            "logging": {"level": "", "format": ""},
        }
    )
    assert loom.post(events.batch([b"{}"] * 500)).status == 204
    assert loom.post(events.batch([b"{}"] * 501)).word == "batch_too_large"


def test_the_go_example_without_tls_starts(start_loom, enrichment):
    """The keys of a Go installation's file, as its example has them."""
    loom = start_loom(
        {
            "limits": {
                "max_body_size_bytes": 2097152,
                "max_events_per_batch": 500,
                "max_event_size_bytes": 131072,
                "per_sensor_rps": 50,
            },
            "enrichment": enrichment,
            "enrichment.dns": {
                "enabled": False,
                "resolver_addr": "127.0.0.1:53",
                "cache_ttl_seconds": 300,
                "max_qps": 10,
            },
            "logging": {"level": "info", "format": "json"},
            "observability": {"metrics_enabled": True},
        }
    )
    assert loom.post(b"[]").status == 204


# --- what is configured and not built yet


@pytest.mark.parametrize(
    "config,word",
    [
        ({"output": {"type": "clickhouse", "clickhouse_url": "http://127.0.0.1:8123"}}, "clickhouse"),
        ({"output": {"type": "kafka", "kafka_brokers": ["127.0.0.1:9092"], "kafka_topic": "loom"}}, "kafka"),
        ({"enrichment.dns": {"enabled": True}}, "dns"),
    ],
    ids=["clickhouse", "kafka", "dns"],
)
def test_not_built_yet(tmp_path, config, word):
    path = write_config(tmp_path, config)
    lines = process.complaints(start_fails(path).err)
    assert len(lines) == 1 and word in lines[0].lower(), lines
    assert process.run("check", "-config", path).returncode != 0


# --- what the system says no to


def test_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        for key in ("listen_address", "management_listen_address"):
            path = write_config(tmp_path, {"server": {key: address}})
            result = start_fails(path)
            lines = process.complaints(result.err)
            assert len(lines) == 1 and address in lines[0], result.err
            assert "in use" in lines[0]


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:99999",
        "127.0.0.1:http:x",
        "[::1:80",
        "no-such-host.invalid:1",
        "unix:",
        "unix:/nonexistent/dir/in.sock",
        "192.0.2.1:0",
        "127.0.0.1:-1",
    ],
)
def test_bad_listen_address(tmp_path, address):
    """By its form it is a fault of the file; what it stands for may be one of the system."""
    form = address not in ("no-such-host.invalid:1", "unix:/nonexistent/dir/in.sock", "192.0.2.1:0")
    path = write_config(tmp_path, {"server": {"listen_address": address}})
    result = start_fails(path)
    lines = process.complaints(result.err)
    assert len(lines) == 1, result.err
    assert address in lines[0], lines
    assert not form or (result.returncode == 2 and re.search(r"loom.toml:\d+:\d+: server.listen_address", lines[0]))


@pytest.mark.parametrize("key", ["geoip_db_path", "asn_db_path"])
def test_unreadable_database(tmp_path, demo, key):
    whole = (demo / "demo-city.mmdb").read_bytes()
    cases = {
        "missing.mmdb": None,
        "empty.mmdb": b"",
        "garbage.mmdb": os.urandom(5000),
        "text.mmdb": b"hello\n" * 100,
        "cut.mmdb": whole[: len(whole) // 2],
        "directory.mmdb": "directory",
    }
    for name, content in cases.items():
        database = tmp_path / name
        if content == "directory":
            database.mkdir()
        elif content is not None:
            database.write_bytes(content)
        path = write_config(tmp_path, {"enrichment": {key: database}})
        result = start_fails(path)
        lines = process.complaints(result.err)
        assert len(lines) == 1 and str(database) in lines[0], result.err
        assert process.run("check", "-config", path).returncode != 0


def test_no_token(tmp_path):
    path = write_config(tmp_path, {})
    result = start_fails(path, env=process.environment(sensors=False))
    assert len(process.complaints(result.err)) == 1, result.err


# --- loom check


def test_check_of_a_good_configuration(tmp_path, enrichment):
    path = write_config(tmp_path, {"enrichment": enrichment})
    result = process.run("check", "-config", path)
    assert result.returncode == 0, result.out + result.err
    for word in ("sensors: 2", "demo-city.mmdb", "demo-asn.mmdb", "stdout"):
        assert word in result.out, result.out
    assert TOKEN not in result.out + result.err


def test_check_tells_of_a_taken_port(tmp_path):
    """It is told, but it is no failure: most often the Loom that runs here has it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        result = process.run("check", "-config", write_config(tmp_path, {"server": {"listen_address": address}}))
        assert result.returncode == 0
        assert address in result.out and "in use" in result.out


def test_check_default_file(tmp_path):
    write_config(tmp_path, {})
    assert process.run("check", cwd=tmp_path).returncode == 0


def test_check_tells_all_that_is_wrong(tmp_path):
    """Independent faults of the system are reported together, not one after the other."""
    path = write_config(
        tmp_path,
        {"enrichment": {"geoip_db_path": tmp_path / "a.mmdb"}, "auth": {"token_file": tmp_path / "tokens.txt"}},
    )
    result = process.run("check", "-config", path)
    assert result.returncode != 0
    for name in ("a.mmdb", "tokens.txt"):
        assert name in result.out + result.err, result.out + result.err


# --- descriptors


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 2)], ids=str)
def test_closed_standard_descriptors(tmp_path, short_path, closed):
    """A socket or a database must never end up as descriptor 1, or events would be written into it."""
    listen = short_path / "in.sock"
    path = write_config(tmp_path, {"server": {"listen_address": f"unix:{listen}"}})
    child = subprocess.Popen(
        [process.BINARY, "-config", path],
        env=process.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: [os.close(fd) for fd in closed],
    )
    try:

        def serves():
            assert child.poll() is None, "Loom ended"
            try:
                Connection(str(listen)).close()
                return True
            except OSError:
                return False

        wait_for(serves, "the socket")
        for fd in closed:
            assert os.readlink(f"/proc/{child.pid}/fd/{fd}") == "/dev/null"
        with Connection(str(listen)) as connection:
            assert connection.post(b"[{}]", token=TOKEN).status == 204
        child.send_signal(signal.SIGTERM)
        assert child.wait(60 * process.PATIENCE) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


@pytest.mark.parametrize("closed", [(1,), (0, 1), (0, 1, 2)], ids=str)
def test_closed_standard_output(tmp_path, closed):
    """The output is standard output, and there is none: that is told, and nothing is acknowledged into the void."""
    path = write_config(tmp_path, {})
    result = subprocess.run(
        [process.BINARY, "-config", path],
        env=process.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: [os.close(fd) for fd in closed],
        timeout=60 * process.PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    if 2 not in closed:
        lines = process.complaints(result.stderr.decode())
        assert len(lines) == 1 and "stdout" in lines[0], lines
