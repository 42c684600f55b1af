# SPDX-License-Identifier: Apache-2.0
"""Elasticsearch and OpenSearch: what comes before events: credentials, the configuration, the index template."""

import base64
import json
import re

import pytest

from loomtest import process
from loomtest.bulk import BulkServer, Fault
from loomtest.feed import Feed
from loomtest.process import wait_for

SECRET = "geheim-5d1c7e90-e2e"

# --- credentials


def no_secret_in(feed):
    loom = feed.loom
    assert SECRET not in loom.log_text()
    with open(f"/proc/{loom.process.pid}/cmdline", "rb") as file:
        assert SECRET.encode() not in file.read()
    assert SECRET not in loom.get("/metrics").body.decode()
    assert SECRET not in loom.ready().body.decode()
    checked = process.run("check", "-config", loom.config_path, env=process.environment(feed.env))
    assert checked.returncode == 0, checked.err
    assert SECRET not in checked.out + checked.err


def expect_authorization(server, header):
    """Each request has it, to the byte."""
    assert server.seen and {seen.headers.get("authorization") for seen in server.seen} == {header}


def test_wrong_password_then_right(start_loom, tmp_path, durable):
    """401: all is kept; the cluster learns the password, and all goes."""
    with BulkServer(user="loom", password="another") as server:
        env = {"LOOM_ELASTICSEARCH_USER": "loom", "LOOM_ELASTICSEARCH_PASS": SECRET}
        feed = Feed(start_loom, server, tmp_path, durable, env=env)
        made = feed.make(10)
        feed.offer(made)
        wait_for(lambda: "401 security_exception" in feed.named(), "/ready to name it")
        assert server.count() == 0
        no_secret_in(feed)
        server.password = SECRET
        wait_for(lambda: feed.offer(made) == 204, "204")
        feed.settled()
        feed.wait_up()
        expect_authorization(server, "Basic " + base64.b64encode(f"loom:{SECRET}".encode()).decode())
        no_secret_in(feed)


def test_wrong_api_key_then_right(start_loom, tmp_path, durable):
    with BulkServer(api_key="another") as server:
        feed = Feed(start_loom, server, tmp_path, durable, env={"LOOM_ELASTICSEARCH_API_KEY": SECRET})
        made = feed.make(10)
        assert feed.offer(made) == (204 if durable else 503)
        wait_for(lambda: "401 security_exception" in feed.named(), "/ready to name it")
        assert server.count() == 0 and feed.dead() == {}
        no_secret_in(feed)
        server.api_key = SECRET
        wait_for(lambda: feed.offer(made) == 204, "204")
        feed.settled()
        feed.wait_up()
        expect_authorization(server, "ApiKey " + SECRET)
        no_secret_in(feed)


def test_password_file_and_user_in_the_configuration(start_loom, tmp_path):
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    with BulkServer(user="loom", password=SECRET) as server:
        feed = Feed(
            start_loom,
            server,
            tmp_path,
            output={"elasticsearch_user": "loom"},
            env={"LOOM_ELASTICSEARCH_PASS_FILE": str(path)},
        )
        feed.send(10)
        feed.settled()
        no_secret_in(feed)


def test_api_key(start_loom, tmp_path):
    with BulkServer(api_key=SECRET) as server:
        feed = Feed(start_loom, server, tmp_path, env={"LOOM_ELASTICSEARCH_API_KEY": SECRET})
        feed.send(10)
        feed.settled()
        no_secret_in(feed)


@pytest.mark.parametrize(
    "env, output, expected",
    [
        ({"LOOM_ELASTICSEARCH_API_KEY": SECRET, "LOOM_ELASTICSEARCH_PASS": SECRET}, {}, "LOOM_ELASTICSEARCH_API_KEY"),
        ({"LOOM_ELASTICSEARCH_PASS": SECRET}, {}, "LOOM_ELASTICSEARCH_USER"),
        ({"LOOM_ELASTICSEARCH_USER": "u"}, {}, "LOOM_ELASTICSEARCH_PASS"),
        ({"LOOM_ELASTICSEARCH_PASS": SECRET, "LOOM_ELASTICSEARCH_PASS_FILE": "/x"}, {}, "both set"),
        ({"LOOM_ELASTICSEARCH_API_KEY": SECRET + "\n"}, {}, "control character"),
        ({}, {"elasticsearch_index": "Loom"}, "output.elasticsearch_index"),
        ({}, {"elasticsearch_data_stream": "loom"}, "output.elasticsearch_data_stream"),
        ({}, {"elasticsearch_ca_file": "/nonexistent"}, "output.elasticsearch_ca_file"),
    ],
)
def test_refused_configuration(tmp_path, env, output, expected):
    """`loom` and `loom check` say what is wrong, and no secret."""
    config = tmp_path / "loom.toml"
    (tmp_path / "outbox").mkdir()
    keys = {"type": "elasticsearch", "elasticsearch_url": "http://127.0.0.1:1", **output}
    config.write_text(
        process.toml(process.merged({"output": keys, "output.outbox": {"dir": tmp_path / "outbox"}}))
    )
    for arguments in (("check", "-config", config), ("-config", config)):
        result = process.run(*arguments, env=process.environment(env))
        assert result.returncode in (1, 2)
        assert expected in result.err
        assert SECRET not in result.out + result.err


def test_doubtful_configuration(tmp_path):
    """`loom check` warns of what works, but not as well as it could."""
    (tmp_path / "outbox").mkdir()

    def warnings(**output):
        config = tmp_path / "loom.toml"
        keys = {"type": "elasticsearch", **output}
        config.write_text(
            process.toml(process.merged({"output": keys, "output.outbox": {"dir": tmp_path / "outbox"}}))
        )
        env = {"LOOM_ELASTICSEARCH_USER": "u", "LOOM_ELASTICSEARCH_PASS": SECRET}
        result = process.run("check", "-config", config, env=process.environment(env))
        assert result.returncode == 0, result.err
        assert SECRET not in result.out + result.err
        return [line for line in result.err.splitlines() if "elasticsearch" in line]

    assert warnings(elasticsearch_url="http://localhost:9200") == []
    assert warnings(elasticsearch_url="https://elastic.example:9200") == []
    assert "unprotected" in warnings(elasticsearch_url=["https://a.example", "http://b.example"])[0]
    assert "skip_verify" in warnings(elasticsearch_url="https://a", elasticsearch_insecure_skip_verify=True)[0]


# --- the template


def template_name(index):
    for part, word in (("%Y", "yyyy"), ("%m", "mm"), ("%d", "dd"), ("%H", "hh")):
        index = index.replace(part, word)
    return "loom-" + index


def test_template_is_written_once(feed, server):
    feed.send(5)
    feed.settled()
    template = server.templates["loom-loom-events"]
    assert template["index_patterns"] == ["loom-events"]
    assert template["priority"] > 100
    assert template["_meta"]["managed_by"] == "loom"
    assert template["template"]["mappings"]["properties"]["source"]["properties"]["ip"] == {"type": "ip"}
    assert [seen.method for seen in server.seen if "_index_template" in seen.path] == ["GET", "PUT"]
    before = json.dumps(template)
    # An outage: it is looked at again, and found to be well.
    server.stop()
    feed.offer(feed.make(1))
    feed.wait_down()
    server.start()
    feed.send(5)
    feed.settled()
    assert json.dumps(server.templates["loom-loom-events"]) == before
    assert [seen.method for seen in server.seen if "_index_template" in seen.path] == ["GET", "PUT", "GET"]


def test_template_of_opensearch_is_the_printed_one(start_loom, tmp_path):
    """`loom template` prints what the cluster gets."""
    with BulkServer(flavour="opensearch") as server:
        feed = Feed(start_loom, server, tmp_path, output={"type": "opensearch", "elasticsearch_index": "spip-%Y.%m"})
        feed.send(5)
        feed.settled()
        result = process.run("template", "-config", feed.loom.config_path)
        assert result.returncode == 0, result.err
        assert json.loads(result.out) == server.templates[template_name("spip-%Y.%m")]
        assert '"flat_object"' in result.out and '"flattened"' not in result.out
        assert json.loads(result.out)["index_patterns"] == ["spip-*.*"]


def test_template_of_a_data_stream(start_loom, server, tmp_path):
    feed = Feed(start_loom, server, tmp_path, output={"elasticsearch_data_stream": "logs-loom.spip-default"})
    feed.send(5)
    feed.settled()
    assert server.templates["loom-logs-loom.spip-default"]["data_stream"] == {}


def test_template_of_somebody_else_is_left_alone(start_loom, server, tmp_path):
    mine = {"index_patterns": ["loom-events"], "priority": 7, "template": {"mappings": {"properties": {}}}}
    server.templates["loom-loom-events"] = dict(mine)
    feed = Feed(start_loom, server, tmp_path)
    feed.send(5)
    feed.settled()
    assert server.templates["loom-loom-events"] == mine
    feed.loom.wait_log(message=re.compile("left alone"))


def test_changed_template_is_left_alone(start_loom, server, tmp_path):
    first = Feed(start_loom, server, tmp_path)
    first.send(5)
    first.loom.stop()
    server.templates["loom-loom-events"]["template"]["settings"]["index"]["number_of_replicas"] = "2"
    before = json.dumps(server.templates)
    second = Feed(start_loom, server, tmp_path)
    second.next = first.next
    second.send(5)
    second.settled()
    assert json.dumps(server.templates) == before
    assert "left alone" in second.loom.log_text()


def test_template_of_an_older_loom_is_replaced(start_loom, server, tmp_path):
    """As it was written, by its hash, and other than ours."""
    other = Feed(start_loom, server, tmp_path, output={"elasticsearch_index": "spip"})
    other.send(5)
    other.loom.stop()
    server.templates["loom-loom-events"] = server.templates["loom-spip"]
    feed = Feed(start_loom, server, tmp_path)
    feed.next = other.next
    feed.send(5)
    assert server.templates["loom-loom-events"]["index_patterns"] == ["loom-events"]


def test_template_is_forbidden(start_loom, server, tmp_path):
    """A warning, once, and deliveries."""
    server.template_status = server.root_status = 403
    feed = Feed(start_loom, server, tmp_path)
    for _ in range(3):
        feed.send(5)
    feed.settled()
    feed.loom.stop()
    assert [record["level"] for record in feed.loom.log(message=re.compile("template"))] == ["warn"]


@pytest.mark.parametrize("step", ["root", "template", "proxy", "large"])
def test_template_step_that_always_fails(start_loom, server, tmp_path, step):
    """A warning after a while, and deliveries."""
    if step == "root":
        server.root_status = 501
    elif step in ("template", "proxy"):
        server.template_status = 500 if step == "template" else 504
    else:
        server.templates["loom-loom-events"] = {"index_patterns": ["x"], "_meta": {"x": "x" * (33 << 20)}}
    feed = Feed(start_loom, server, tmp_path, durable=True)
    feed.send(5)
    feed.settled()
    feed.loom.wait_log(message=re.compile("template"))
    assert [record["level"] for record in feed.loom.log(message=re.compile("template"))] == ["warn"]
    feed.wait_up()
    # It is tried again after an outage.
    server.root_status = server.template_status = 0
    server.templates.clear()
    server.stop()
    feed.offer(feed.make(1))
    feed.wait_down()
    server.start()
    feed.settled()
    assert "loom-loom-events" in server.templates


@pytest.mark.parametrize("status", [500, 502, 504])
def test_template_comes_first_after_an_outage(start_loom, server, tmp_path, status):
    """500, or a proxy's word for a cluster that is away: while events fail too, it is no trouble with the template."""

    def roots(*answers):
        return sum(seen.path == "/" and seen.status in answers for seen in server.seen)

    server.root_status = server.template_status = status
    server.always = Fault(status=status, body=b"<html>", headers={"Content-Type": "text/html"})
    feed = Feed(start_loom, server, tmp_path, durable=True)
    feed.send(5)
    wait_for(lambda: roots(status) >= 8 or len(server.bulks()) >= 6, "more tries than a template is worth", 30)
    server.root_status = server.template_status = 0
    if roots(status) >= 8:
        wait_for(lambda: roots(200) >= 1, "the template to be looked at", 30)
    server.always = None
    feed.settled()
    taken = [i for i, seen in enumerate(server.seen) if seen.path.endswith("/_bulk") and seen.status == 200]
    assert any(seen.method == "PUT" for seen in server.seen[: taken[0]]), "events went without the template"


def test_template_is_not_ours_to_manage(start_loom, server, tmp_path):
    feed = Feed(start_loom, server, tmp_path, output={"elasticsearch_manage_template": False})
    feed.send(5)
    feed.settled()
    assert {seen.method for seen in server.seen} == {"POST"}


def test_no_template_for_stdout(tmp_path):
    config = tmp_path / "loom.toml"
    config.write_text(process.toml(process.merged({})))
    result = process.run("template", "-config", config)
    assert result.returncode == 2
    assert "stdout" in result.err and result.out == ""
