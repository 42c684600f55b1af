# SPDX-License-Identifier: Apache-2.0
"""Tokens from the environment and from a file, and what a request must show."""

import os
import stat

import pytest

from loomtest import process
from loomtest.process import SENSOR, SENSOR_2, TOKEN, TOKEN_2


def start_with(start_loom, tmp_path, file=None, env=None, mode=0o600):
    config = {"observability": {"metrics_enabled": True}}
    if file is not None:
        path = tmp_path / "tokens.txt"
        path.write_bytes(file)
        path.chmod(mode)
        config["auth"] = {"token_file": path}
    return start_loom(config, env=env, sensors=False)


def sensor_of(loom, token):
    """The sensor that a token speaks for, as the metrics tell; None when it is refused."""
    name = "loom_ingest_requests_total"

    def counts():
        counted = loom.metrics()
        return {
            labels["sensor_id"]: counted.sum(name, sensor_id=labels["sensor_id"], status="204")
            for labels in counted.labels(name)
        }

    before = counts()
    if loom.post(b"[]", token=token).status != 204:
        return None
    after = counts()
    grown = [sensor for sensor, count in after.items() if count > before.get(sensor, 0)]
    assert len(grown) == 1
    return grown[0]


def failed_start(tmp_path, file=None, env=None):
    config = {}
    if file is not None:
        (tmp_path / "tokens.txt").write_bytes(file)
        (tmp_path / "tokens.txt").chmod(0o600)
        config["auth"] = {"token_file": tmp_path / "tokens.txt"}
    path = tmp_path / "loom.toml"
    path.write_text(process.toml(process.merged(config)))
    result = process.run("-config", path, env=process.environment(env, sensors=False))
    assert result.returncode != 0, result.err
    assert result.out == ""
    check = process.run("check", "-config", path, env=process.environment(env, sensors=False))
    assert check.returncode != 0
    return result.err + check.out + check.err, process.complaints(result.err)


@pytest.mark.parametrize(
    "variable,sensor",
    [
        ("LOOM_SENSOR_vps_frankfurt_01", "vps-frankfurt-01"),
        ("LOOM_SENSOR_vps-frankfurt-01", "vps-frankfurt-01"),
        ("LOOM_SENSOR_vps-frankfurt_01", "vps-frankfurt-01"),
        ("LOOM_SENSOR_a", "a"),
        ("LOOM_SENSOR_SPIP", "SPIP"),
        ("LOOM_SENSOR_a.b", "a.b"),
    ],
)
def test_environment_names(start_loom, tmp_path, variable, sensor):
    loom = start_with(start_loom, tmp_path, env={variable: "one-token"})
    assert sensor_of(loom, "one-token") == sensor
    assert loom.post(b"[]", token="one-token", headers=[("X-Spip-ID", sensor)]).status == 204


@pytest.mark.parametrize(
    "file,tokens",
    [
        (b"t1,s1\nt2,s2\n", {"t1": "s1", "t2": "s2"}),
        (b"t1,s1\r\nt2,s2\r\n", {"t1": "s1", "t2": "s2"}),
        (b"t1,s1\nt2,s2", {"t1": "s1", "t2": "s2"}),
        (b"# first\n\n   \n  # second\nt1,s1\n#t2,s2\n", {"t1": "s1", "t2": None}),
        (b"  t1 , s1  \n\tt2\t,\ts2\t\r\n", {"t1": "s1", "t2": "s2"}),
        (b"t1,under_score\n", {"t1": "under_score"}),
    ],
    ids=["lf", "crlf", "no-last-newline", "comments", "blanks", "underscore"],
)
def test_token_file(start_loom, tmp_path, file, tokens):
    loom = start_with(start_loom, tmp_path, file)
    for token, sensor in tokens.items():
        assert sensor_of(loom, token) == sensor


def test_both_sources(start_loom, tmp_path):
    loom = start_with(start_loom, tmp_path, b"t1,s1\nt2,s2\n", env={"LOOM_SENSOR_s3": "t3", "LOOM_SENSOR_s2": "t2"})
    assert [sensor_of(loom, token) for token in ("t1", "t2", "t3", "t4")] == ["s1", "s2", "s3", None]


# Each with the words that the message must hold; the tokens all carry "canary" and must not show.
@pytest.mark.parametrize(
    "file,env,named",
    [
        (b"canary1,twice\ncanary2,twice\n", None, ["twice"]),
        (b"canary1,first\ncanary1,second\n", None, ["first", "second"]),
        (None, {"LOOM_SENSOR_a_b": "canary1", "LOOM_SENSOR_a-b": "canary2"}, ["a-b"]),
        (None, {"LOOM_SENSOR_first": "canary1", "LOOM_SENSOR_second": "canary1"}, ["first", "second"]),
        (b"canary1,both\n", {"LOOM_SENSOR_both": "canary2"}, ["both"]),
        (b"canary1,first\n", {"LOOM_SENSOR_second": "canary1"}, ["first", "second"]),
        (b"# x\ncanary1,good\ncanary2\n", None, [":3"]),
        (b"canary1,good\n,canary-sensor\n", None, [":2"]),
        (b"canary1,good\ncanary2,\n", None, [":2"]),
        (b"canary1,s1\ncanary 2,s2\n", None, [":2"]),
        (b"canary1,s1\ncanary2,s,canary3\n", None, [":2"]),
        (b"canary1,s1\ncanary2,s\x01x\n", None, [":2"]),
        (b"", None, ["token"]),
        (None, None, ["LOOM_SENSOR_", "token_file"]),
        (None, {"LOOM_SENSOR_x": ""}, ["LOOM_SENSOR_"]),
    ],
    ids=[
        "sensor-twice",
        "token-twice",
        "variables-collide",
        "token-in-two-variables",
        "sensor-in-both",
        "token-in-both",
        "no-comma",
        "no-token",
        "no-sensor",
        "blank-in-token",
        "two-commas",
        "control-in-sensor",
        "empty-file",
        "nothing",
        "empty-variable-only",
    ],
)
def test_bad_tokens_fail_the_start(tmp_path, file, env, named):
    text, lines = failed_start(tmp_path, file, env)
    assert lines, text
    for name in named:
        assert any(name in line for line in lines), text
    assert "canary" not in text


def test_all_bad_lines_are_named_at_once(tmp_path):
    text, lines = failed_start(tmp_path, b"canary1\ncanary2,good\ncanary3\n,x\n")
    for number in (1, 3, 4):
        assert any(f"tokens.txt:{number}" in line for line in lines), text


def test_missing_token_file(tmp_path):
    path = tmp_path / "loom.toml"
    path.write_text(process.toml(process.merged({"auth": {"token_file": tmp_path / "nowhere.txt"}})))
    result = process.run("-config", path)
    assert result.returncode != 0
    assert any("nowhere.txt" in line for line in process.complaints(result.err))


def test_an_empty_variable_is_a_warning(start_loom, tmp_path):
    loom = start_with(start_loom, tmp_path, env={"LOOM_SENSOR_a": "t1", "LOOM_SENSOR_b": ""})
    warnings = loom.log(level="warn")
    assert any("LOOM_SENSOR_b" in str(record) for record in warnings), loom.log_text()
    assert sensor_of(loom, "t1") == "a"


def test_a_readable_token_file_is_a_warning(start_loom, tmp_path):
    loom = start_with(start_loom, tmp_path, b"t1,s1\n", mode=0o644)
    assert any("tokens.txt" in str(record) for record in loom.log(level="warn")), loom.log_text()
    assert stat.S_IMODE(os.stat(tmp_path / "tokens.txt").st_mode) == 0o644, "it is left as it was"
    loom = start_with(start_loom, tmp_path, b"t1,s1\n", mode=0o600)
    assert not loom.log(level="warn"), loom.log_text()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_scheme_in_any_case(loom, scheme):
    assert loom.post(b"[]", headers=[("Authorization", f"{scheme} {TOKEN}")], token=None).status == 204


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer{TOKEN}",
        TOKEN,
        f"Bearer {TOKEN} x",
        f"Bearer {TOKEN},x",
        f"Bearer x {TOKEN}",
        f'Bearer "{TOKEN}"',
        f"Token {TOKEN}",
        f"Bearer: {TOKEN}",
        "Bearer " + "x" * 10000,
    ],
)
def test_other_authorizations_are_refused(loom, value):
    answer = loom.post(b"[]", headers=[("Authorization", value)], token=None)
    assert (answer.status, answer.word) == (401, "unauthorized")
    assert answer.header("WWW-Authenticate") == "Bearer"


@pytest.mark.parametrize(
    "token,sensor_id,status",
    [
        (TOKEN, SENSOR, 204),
        (TOKEN_2, SENSOR_2, 204),
        (TOKEN, SENSOR_2, 401),
        (TOKEN_2, SENSOR, 401),
        (TOKEN, SENSOR.upper(), 401),
        (TOKEN, SENSOR + "x", 401),
        (TOKEN, SENSOR[:-1], 401),
        (TOKEN, f"{SENSOR}, {SENSOR_2}", 401),
        (TOKEN, "", 401),
    ],
)
def test_sensor_id_must_be_the_tokens(loom, token, sensor_id, status):
    sensor = SENSOR if token == TOKEN else SENSOR_2

    def refused():
        return loom.metrics().sum("loom_ingest_requests_total", sensor_id=sensor, status="401")

    before = refused()
    assert loom.post(b"[]", token=token, headers=[("X-Spip-ID", sensor_id)]).status == status
    assert refused() - before == (status == 401), "counted for the sensor of the token"


def test_no_secret_on_the_command_line(tmp_path):
    path = tmp_path / "loom.toml"
    path.write_text(process.toml(process.merged({})))
    for arguments in (["-token", "canary"], ["--token=canary"], ["-config", path, "canary"]):
        result = process.run(*arguments, env=process.environment(sensors=False))
        assert result.returncode != 0
        assert "canary" not in result.out
