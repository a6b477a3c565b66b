"""Callbacks of runs, from a real server to a real receiver."""

import base64
import hashlib
import hmac
import json
import re
import secrets
import subprocess
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.http_talk import post, refused
from tests.serving import LEASE_S, docker, until
from tests.talk import PATIENCE_S, Talk
from tests.test_http_kept import ask, begin, ended

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
DOCUMENT = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")
QUICK = (
    "import wsrunner.webhooks.dispatch as d, wsrunner.webhooks.message as m",
    "m.PAUSES_S = (0.05,)",
    "d.LEASE_S, d.RENEW_S, d.LOOK_S = 3.0, 0.5, 0.1",
)
"""What takes minutes otherwise."""
EXAMPLES = dict(
    re.findall(r"```(python|js)\n(.*?)```", DOCUMENT.partition("## Callbacks")[2], re.DOTALL)
)
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def start(start_with, receiver):
    """A function that starts a server that may call the receiver."""

    def started(**options):
        options = {"webhook_hosts": receiver.host, "webhook_private": True} | options
        given = {name: value for name, value in options.items() if value is not False}
        return start_with(*QUICK, **given)

    return started


def call(server, code, receiver, secret=None, **fields):
    """Start a run with a callback; return what is answered."""
    callback = {"url": receiver.url} | ({"secret": secret} if secret else {})
    headers = {"Content-Type": "application/json"}
    return begin(server, code, headers, callback=callback, **fields)


async def monitored(server):
    """Return the monitor's state."""
    async with connect(f"{server.url}/v1/monitor") as socket:
        return json.loads(await socket.recv())


def test_a_run_s_end_is_told_and_signed(start, receiver):
    server = start()
    accepted = call(server, "print(input())", receiver, SECRET, stdin="42")
    (request,) = receiver.wait()
    message = request.message
    assert message["type"] == "run.ended"
    assert message["data"] == ended(server, accepted)
    assert message["data"]["stdout"] == "42\n"
    assert request.headers["webhook-id"] == accepted["run"]
    timestamp = request.headers["webhook-timestamp"]
    signed = f"{accepted['run']}.{timestamp}.".encode() + request.body
    digest = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"


def test_what_fails_is_tried_again_each_attempt_with_a_name_of_its_own(start, receiver):
    server = start()
    receiver.answers += [(500, {}), (302, {"Location": "/elsewhere"}), (404, {})]
    accepted = call(server, "print(1)", receiver)
    requests = receiver.wait(4)
    until(lambda: server.metrics()["wsrunner_webhooks_pending"] == 0, "nothing waits")
    assert {request.path for request in requests} == {"/hook"}
    assert {request.headers["webhook-id"] for request in requests} == {accepted["run"]}
    assert len({request.headers["wsrunner-attempt"] for request in requests}) == 4
    assert len({request.body for request in requests}) == 1
    figures = server.metrics()
    assert figures['wsrunner_webhook_attempts_total{outcome="failed"}'] == 3
    assert figures['wsrunner_webhook_attempts_total{outcome="delivered"}'] == 1
    assert len(receiver.received) == 4


async def test_the_monitor_shows_attempts_and_neither_path_nor_secret(start, receiver):
    server = start()
    receiver.answers.append((410, {}))
    accepted = call(server, "print('output')", receiver, SECRET)
    until(lambda: server.metrics()["wsrunner_webhook_attempts_total"] == 1, "it was tried")
    state = await monitored(server)
    (attempt,) = state["webhooks"]
    assert (attempt["run"], attempt["outcome"]) == (accepted["run"], "given_up")
    assert (attempt["host"], attempt["status"], attempt["number"]) == ("127.0.0.1", 410, 1)
    assert attempt["next_s"] is None
    for secret in ("/hook", SECRET, "output"):
        assert secret not in json.dumps(state["webhooks"])
        assert secret not in server.log.read_text()


def test_of_much_output_the_last_is_sent(start, receiver):
    server = start()
    call(server, "print('é' * 100_000, end='x')", receiver)
    (request,) = receiver.wait()
    data = request.message["data"]
    assert data["stdout"] == "é" * 32767 + "x"
    assert data["missed_bytes"] == 200_001 - 65_535


def test_the_same_once_calls_once(start, receiver):
    server = start()
    once = secrets.token_hex(12)
    first = call(server, "print(1)", receiver, once=once)
    assert call(server, "print(1)", receiver, once=once)["run"] == first["run"]
    receiver.wait()
    assert call(server, "print(1)", receiver, once=once)["run"] == first["run"]
    last = call(server, "print(2)", receiver)
    until(
        lambda: any(each.headers["webhook-id"] == last["run"] for each in receiver.received),
        "the last one is told",
    )
    assert [each.headers["webhook-id"] for each in receiver.received].count(first["run"]) == 1


def test_what_can_t_be_called_is_refused(start, receiver):
    server = start(webhook_pending=1)

    def answer(url=receiver.url, language="python", **callback):
        fields = {"language": language, "code": SLEEP, "callback": {"url": url} | callback}
        return post(server, "/v1/run", fields)

    assert refused(answer("http://other.example/"), 403, "not_allowed")["path"] == "$.callback.url"
    assert refused(answer("file:///etc/passwd"), 400, "bad_message")["path"] == "$.callback.url"
    assert refused(answer(secret="x"), 400, "bad_message")["path"] == "$.callback.secret"
    assert refused(answer(extra=1), 400, "bad_message")
    assert refused(answer(language="pyton"), 404, "unknown_language")
    accepted = call(server, SLEEP, receiver)
    until(lambda: server.metrics()["wsrunner_webhooks_pending"] == 1, "it waits")
    assert "limit is 1" in refused(answer(), 503, "kept_full")["message"]
    assert ask(server, "DELETE", accepted)[0] == 204
    (request,) = receiver.wait()
    assert request.message["data"]["exit"]["reason"] == "cancelled"


def test_a_server_without_hosts_says_what_to_set(server):
    fields = {"language": "python", "code": "", "callback": {"url": "https://ci.example/"}}
    error = refused(post(server, "/v1/run", fields), 403, "not_allowed")
    assert "--webhook-hosts" in error["message"]


async def test_a_socket_has_no_callbacks(talk: Talk):
    await talk.say("run", language="python", code="", callback={"url": "https://ci.example/"})
    assert "callback" in (await talk.hear_kind("error"))["message"]


def test_private_addresses_are_refused_unless_the_operator_allows_them(start, receiver):
    server = start(webhook_private=False)
    call(server, "print(1)", receiver)
    until(lambda: server.metrics()["wsrunner_webhook_attempts_total"] > 1, "it was tried")
    assert receiver.received == []
    assert "127.0.0.1 is not a public address" in server.log.read_text()


def test_a_server_that_stops_tells_of_the_runs_it_ends(start, receiver):
    server = start(drain_s=0)
    call(server, SLEEP, receiver)
    until(lambda: server.metrics()["wsrunner_webhooks_pending"] == 1, "it waits")
    server.stop()
    (request,) = receiver.wait()
    assert request.message["data"]["exit"]["reason"] == "draining"


def shared(redis, **options):
    return {"redis_url": redis.tcp_url, "lease_s": LEASE_S, "warm_max": 0} | options


def test_what_waits_survives_a_restart(start, receiver, redis):
    server = start(**shared(redis))
    receiver.answers.append((503, {"Retry-After": "4"}))
    accepted = call(server, "print('kept')", receiver, SECRET)
    receiver.wait()
    server.stop()
    assert len(receiver.received) == 1
    start(**shared(redis))
    first, second = receiver.wait(2)
    assert second.headers["webhook-id"] == accepted["run"]
    assert second.body == first.body


def test_another_replica_goes_on_with_what_one_that_crashed_has_begun(start, receiver, redis):
    server, _ = start(**shared(redis)), start(**shared(redis))
    receiver.hold.clear()
    call(server, "print('kept')", receiver)
    receiver.wait()
    # Whichever replica makes the attempt, what they know of it goes with them.
    server.kill()
    receiver.hold.set()
    until(lambda: redis.command("ZCARD", "{wsrunner}:hooks:due").strip() == ":0", "it is done")
    assert {each.message["data"]["stdout"] for each in receiver.received} == {"kept\n"}


def test_a_run_that_is_lost_with_its_server_is_told_by_another(start, receiver, redis):
    server, _ = start(**shared(redis)), start(**shared(redis))
    accepted = call(server, SLEEP, receiver, SECRET)
    until(lambda: server.metrics()["wsrunner_webhooks_pending"] == 1, "it waits")
    server.kill()
    (request,) = receiver.wait()
    assert request.message["type"] == "run.lost"
    assert request.message["data"] == {"run": accepted["run"]}
    assert request.headers["webhook-signature"].startswith("v1,")
    for container in server.containers():
        docker("rm", "-f", container)


def test_the_documents_verify_in_python(start, receiver):
    call(start(), "print(1)", receiver, SECRET)
    (request,) = receiver.wait()
    names = {}
    exec(EXAMPLES["python"], names)
    assert names["verify"](SECRET, request.headers, request.body)
    assert not names["verify"](SECRET, request.headers, request.body + b" ")
    assert not names["verify"](OTHER, request.headers, request.body)
    old = request.headers | {"webhook-timestamp": "1614265330"}
    assert not names["verify"](SECRET, old, request.body)


def test_the_documents_verify_in_javascript(start, receiver, node, tmp_path):
    call(start(), "print(1)", receiver, SECRET)
    (request,) = receiver.wait()
    given = [
        [SECRET, request.headers, request.body],
        [SECRET, request.headers, request.body + b" "],
        [OTHER, request.headers, request.body],
        [SECRET, request.headers | {"webhook-timestamp": "1614265330"}, request.body],
    ]
    shown = [[secret, headers, body.decode()] for secret, headers, body in given]
    script = tmp_path / "verify.mjs"
    told = "given.map(([secret, headers, body]) => verify(secret, headers, Buffer.from(body)))"
    lines = [EXAMPLES["js"], f"const given = {json.dumps(shown)};"]
    script.write_text("\n".join([*lines, f"console.log(JSON.stringify({told}));"]))
    done = subprocess.run(
        [*node, script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert json.loads(done.stdout) == [True, False, False, False]
