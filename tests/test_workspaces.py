"""Workspaces: files stay from run to run, processes do not; bounds, expiry, forgetting."""

import contextlib
import json
import re
import subprocess
from dataclasses import replace
from importlib import resources

import pytest
from websockets.asyncio.client import connect

from tests import http_talk
from tests.serving import COMMAND, docker, environment, until
from tests.talk import Talk
from wsrunner import tenants
from wsrunner.client import Client, RunRefusedError
from wsrunner.engines import dialogue
from wsrunner.engines.dialogue.dialogue import TEXT_MAX_BYTES, piece
from wsrunner.errors import NotAllowedError
from wsrunner.runs.job import Allowance, Principal
from wsrunner.runs.workspaces import Workspaces, owner_of


def space_containers(serving):
    """Return the ids of a server's containers; with nothing kept warm those of its workspaces."""
    return serving.containers()


async def run(talk, code, name="w", language="python", **fields):
    return await talk.run(language, code, workspace=name, **fields)


def said(outcome):
    return next(event for event in outcome.events if event["type"] == "started").get("workspace")


# What stays, and what does not.


async def test_files_stay_for_the_next_run_of_the_same_name(spaces, there):
    first = await run(there, "open('kept.txt', 'w').write('here')")
    second = await run(there, "print(open('kept.txt').read())")
    other = await run(there, "import os; print(os.path.exists('kept.txt'))", name="v")
    alone = await there.run("python", "import os; print(os.path.exists('kept.txt'))")
    assert [said(each) for each in (first, second, other, alone)] == ["new", "kept", "new", None]
    assert (second.stdout, other.stdout, alone.stdout) == ("here\n", "False\n", "False\n")
    assert (first.reason, second.code, second.stderr) == ("exited", 0, "")


async def test_a_run_in_a_workspace_is_as_any_other(there):
    code = (
        "import os, signal, sys\n"
        "print(sorted(os.environ.items()), os.getcwd(), os.listdir())\n"
        "print(os.listdir('/proc/self/fd'))\n"
        "print([s for s in signal.Signals if signal.getsignal(s) == signal.SIG_IGN])\n"
        "print(open('/dev/stdin').read(), oct(os.umask(0)), os.getpgid(0) == os.getpid())\n"
        "open('/dev/stdout', 'w').write('out')\n"
        "open('/dev/stderr', 'w').write('err')\n"
        "status = open('/proc/self/status')\n"
        "print([line for line in status if line.startswith(('CapE', 'CapP', 'CapI', 'NoN'))])\n"
        "print(open('/proc/self/limits').read())\n"
        "sys.exit(3)\n"
    )
    fields = {"stdin": "in", "env": {"A": "b"}, "args": ["x"], "limits": {"cpu_s": 3}}
    alone = await there.run("python", code, **fields)
    for _ in range(2):
        kept = await run(there, code, **fields)
        assert kept.stdout == alone.stdout
        assert (kept.stderr, kept.code) == ("err", 3) == (alone.stderr, alone.code)


async def test_builds_outputs_and_live_input_work_in_a_workspace(there):
    code = "#include <stdio.h>\nint main() { int c; while ((c = getchar()) > 0) putchar(c); }"
    await there.say("run", language="c", code=code, workspace="c", outputs=["main.c", "*.out"])
    await there.hear_started()
    await there.say("stdin", data="one\n")
    await there.hear_output("one\n")
    await there.say("stdin", data="two\n")
    await there.say("eof")
    outcome = await there.finish()
    assert outcome.stages == ["build", "run"]
    assert outcome.stdout == "one\ntwo\n"
    names = [event["name"] for event in outcome.events if event["type"] == "file"]
    assert set(names) == {"a.out"}
    again = await run(there, "int main(", name="c", language="c")
    assert (again.stage, again.code) == ("build", 1)
    assert "error" in again.stderr


async def test_outputs_are_what_is_there_when_every_process_has_ended(there):
    code = (
        "import os, time\n"
        "open('out.txt', 'w').write('done')\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while True:\n"
        "        open('out.txt', 'w').write('not yet'); print('late', flush=True)\n"
    )
    for _ in range(2):
        outcome = await run(there, code, outputs=["*.txt"])
        assert outcome.reason == "exited"
        assert [event["name"] for event in outcome.events if event["type"] == "file"] == ["out.txt"]
    assert (await run(there, "print('well')")).stdout == "well\n"


async def test_large_and_binary_input_comes_whole_and_what_is_not_read_is_gone(there):
    code = "import sys; data = sys.stdin.buffer.read(); print(len(data), data[-2:])"
    text = "\n0\n\x00é" * 40_000
    assert (await run(there, code, stdin=text + "x\n")).stdout.split()[0] == str(
        len(text.encode()) + 2
    )
    assert (await run(there, "pass", stdin="print(1)\n" * 60_000)).stdout == ""
    await there.say("run", language="python", code="input(); print('x')", workspace="w")
    await there.say("stdin", data="print(2)\n" * 60_000)
    assert (await there.finish()).stdout == "x\n"
    assert (await run(there, "print(repr(input()))", stdin="mine\n")).stdout == "'mine'\n"


async def test_stdin_comes_whole_whatever_its_bytes_and_its_size(there):
    code = "import sys; print(ascii(sys.stdin.buffer.read().decode()))"
    for text in ("\u00fc\n", " x \\n\t", "\n\n", "a\0b", "\0", "-n", "%s\x01\x7f"):
        outcome = await run(there, code, stdin=text)
        assert outcome.stdout == ascii(text) + "\n", outcome
    count = "import sys; print(len(sys.stdin.buffer.read()))"
    for size in (1, TEXT_MAX_BYTES - 1, TEXT_MAX_BYTES, TEXT_MAX_BYTES + 1):
        assert (await run(there, count, stdin="x" * size)).stdout == f"{size}\n"


def test_only_what_a_shell_can_hold_is_a_text_for_it():
    sent = [piece(data) for data in (b"", b"x", b"\xff\n", b"a\0b", b"x" * (TEXT_MAX_BYTES + 1))]
    heads = [each.split(b"\n", 1)[0] for each in sent]
    assert heads == [b"0", b"t1", b"t2", b"3", b"%d" % (TEXT_MAX_BYTES + 1)]


async def test_limits_hold_for_each_run_and_the_workspace_goes_on(there):
    spin = "while True: pass"
    outcomes = [
        await run(there, spin, limits={"wall_s": 0.5}),
        await run(there, spin, limits={"cpu_s": 1}),
        await run(there, "while True: print('x' * 1000)", limits={"output_kb": 8}),
        await run(there, "x = bytearray(2 * 10**9)"),
        await run(there, "import time; print('a'); time.sleep(0.1)", limits={"cpu_s": 1}),
    ]
    reasons = [outcome.reason for outcome in outcomes]
    assert reasons == ["timeout", "cpu_limit", "output_limit", "out_of_memory", "exited"]
    assert [said(outcome) for outcome in outcomes] == ["new", *["kept"] * 4]


async def test_the_cpu_limit_is_over_all_processes_of_one_run(there):
    chain = "while :; do sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done'; done"
    used = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
    outcomes = [
        await run(there, code, language="bash", limits={"cpu_s": cpu_s, "wall_s": 60})
        for code, cpu_s in ((used, 20), (chain, 2), ("echo still", 1))
    ]
    assert [outcome.reason for outcome in outcomes] == ["exited", "cpu_limit", "exited"]
    assert [said(outcome) for outcome in outcomes] == ["new", *["kept"] * 2]


async def test_signals_and_cancel_reach_only_the_run_they_are_for(there):
    code = "import signal; print('up', flush=True); signal.pause()"
    for name in ("SIGINT", "SIGTERM", "SIGKILL"):
        await there.say("run", language="python", code=code, workspace="w")
        await there.hear_output("up")
        await there.say("signal", signal=name)
        ended = await there.finish()
        assert (ended.signal, ended.code) in {(name, None), (None, 1)}
    await there.say("run", language="python", code=code, workspace="w")
    await there.hear_output("up")
    await there.say("cancel")
    assert (await there.finish()).reason == "cancelled"
    last = await run(there, "import time; time.sleep(0.3); print('well')")
    assert (last.stdout, said(last)) == ("well\n", "kept")


def test_a_bootstrap_is_heard_though_its_word_comes_in_parts():
    """Else no signal could be sent: on a loaded machine the second ends in the middle of it."""
    space = resources.files(dialogue).joinpath("space.sh").read_text()
    wait_up = re.search(r"^wait_up\(\).*?^\}$", space, re.DOTALL | re.MULTILINE)[0]
    says = "printf %s ${BASHPID%?}; sleep 1.5; printf '%s\\n' ${BASHPID: -1}; sleep 5"
    script = f"{wait_up}\nexec 8<> <(:)\n{{ {says}; }} >&8 &\nrun=$!; wait_up; echo $?; kill $run"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n"


async def test_runs_of_one_workspace_take_turns_without_a_slot(start_server):
    server = start_server(warm_max=0, slots=2)
    code = "print(open('n').read()); open('n', 'a').write('x'); input()"
    async with server.talk() as talk:
        await run(talk, "open('n', 'w').write('0')")
        for name in "abc":
            await talk.say("run", id=name, language="python", code=code, workspace="w")
        await talk.hear_output("0", id="a")
        # Two more wait for it, and leave the other slot to this one.
        assert (await talk.run("python", "print('by')")).stdout == "by\n"
        printed = []
        for name in "abc":
            await talk.hear_output("0", id=name)
            await talk.say("stdin", id=name, data="\n")
            printed.append((await talk.finish(name)).stdout)
    assert printed == ["0\n", "0x\n", "0xx\n"]


async def test_too_many_runs_that_wait_for_one_workspace_are_refused(there):
    await there.say("run", id="first", language="python", code="input()", workspace="w")
    await there.hear_started(id="first")
    for at in range(16):
        await there.say("run", id=f"w{at}", language="python", code="pass", workspace="w")
    refused = await there.run("python", "pass", id="more", workspace="w")
    assert refused.error["code"] == "workspace_busy"
    assert "16 runs" in refused.error["message"]
    await there.say("cancel", id="w3")
    assert (await there.finish("w3")).reason == "cancelled"
    await there.say("eof", id="first")
    for name in ("first", "w0", "w15"):
        assert (await there.finish(name)).reason == "exited"


# Bounds, expiry, forgetting.


async def test_bounds_are_told_and_forgetting_makes_room(start_server):
    server = start_server(warm_max=0, workspaces=2)
    async with server.talk() as talk:
        await run(talk, "pass", name="a")
        await run(talk, "open('f', 'w')", name="b")
        refused = await run(talk, "pass", name="c")
        assert refused.error["code"] == "workspaces_full"
        assert "the limit is 2 workspaces" in refused.error["message"]
        assert refused.error["path"] == "$.workspace"
        await talk.say("forget", workspace="a", id="f")
        assert await talk.hear() == {"type": "forgotten", "id": "f", "workspace": "a"}
        assert (await run(talk, "pass", name="c")).reason == "exited"
        await talk.say("forget", workspace="a")
        assert (await talk.hear_error())["code"] == "no_such_workspace"
    until(lambda: len(space_containers(server)) == 2, "the forgotten one is removed")


async def test_no_workspaces_where_the_bound_is_none(start_server):
    async with start_server(warm_max=0, workspaces=0).talk() as talk:
        assert (await run(talk, "pass")).error["code"] == "workspaces_full"


async def test_an_idle_workspace_ends_after_its_time(start_server):
    server = start_server(warm_max=0, workspace_s=0.5)
    async with server.talk() as talk:
        assert (await run(talk, "open('f', 'w')")).reason == "exited"
        until(lambda: not space_containers(server), "it has ended")
        again = await run(talk, "import os; print(os.listdir())")
        assert (again.stdout, said(again)) == ("['main.py']\n", "new")


async def test_a_workspace_that_is_forgotten_in_a_run_ends_with_that(spaces, there):
    await there.say("run", id="a", language="python", code="print(input())", workspace="w")
    await there.hear_started(id="a")
    await there.say("forget", workspace="w")
    assert (await there.hear())["type"] == "forgotten"
    other = await run(there, "import os; print(os.listdir())")
    assert (other.stdout, said(other)) == ("['main.py']\n", "new")
    await there.say("stdin", id="a", data="still\n")
    assert (await there.finish("a")).stdout == "still\n"
    until(lambda: len(space_containers(spaces)) == 1, "the forgotten one is removed")


async def test_a_run_that_asks_for_another_container_is_refused(there):
    await run(there, "pass")
    for fields in ({"limits": {"memory_mb": 64}}, {"limits": {"pids": 9}}, {"language": "bash"}):
        refused = await run(there, "pass", **fields)
        assert refused.error["code"] == "workspace_unfit"
        assert "forget it first" in refused.error["message"]
    refused = await run(there, "pass", tty={})
    assert (refused.error["code"], refused.error["path"]) == ("workspace_unfit", "$.tty")


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", 1])
async def test_bad_names_are_refused(there, name):
    assert (await run(there, "pass", name=name)).error["path"] == "$.workspace"


LOST = {"signaled", "engine_lost"}


async def new_in_the_next_run(there):
    """Run until the server has heard from the engine that the container is gone."""
    while said(outcome := await run(there, "pass")) != "new":
        assert outcome.reason in LOST
    assert outcome.reason == "exited"


async def test_a_workspace_whose_container_was_killed_is_new_in_the_next_run(spaces, there):
    await run(there, "pass")
    docker("rm", "-f", *space_containers(spaces))
    await new_in_the_next_run(there)
    await there.say("run", language="python", code="input()", workspace="w")
    await there.hear_started()
    docker("rm", "-f", *space_containers(spaces))
    assert (await there.finish()).reason in LOST
    await new_in_the_next_run(there)


async def test_a_closed_socket_ends_the_run_and_leaves_the_workspace(spaces):
    async with spaces.talk() as talk:
        await run(talk, "open('f', 'w')")
        await talk.say("run", language="python", code="input()", workspace="w")
        await talk.hear_started()
    async with spaces.talk() as talk:
        again = await run(talk, "import os; print(sorted(os.listdir()))")
        assert (again.stdout, said(again)) == ("['f', 'main.py']\n", "kept")


async def test_a_killed_server_leaves_no_workspace(spaces, there):
    await run(there, "pass")
    await there.say("run", language="python", code="input()", workspace="w")
    await there.hear_started()
    assert space_containers(spaces)
    spaces.kill()
    until(lambda: not space_containers(spaces), "its containers have ended")


# The other doors.


def test_over_http_they_are_used_listed_and_forgotten(spaces):
    def listed():
        return json.loads(spaces.get("/v1/workspaces"))

    first = http_talk.run(spaces, language="bash", code="echo hi >f", workspace="h")
    form = (
        b'--x\r\nContent-Disposition: form-data; name="language"\r\n\r\nbash\r\n'
        b'--x\r\nContent-Disposition: form-data; name="code"\r\n\r\ncat f\r\n'
        b'--x\r\nContent-Disposition: form-data; name="workspace"\r\n\r\nNAME\r\n--x--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = http_talk.post(spaces, "/v1/run", form.replace(b"NAME", b"h"), **kind)
    second = json.loads(answer[2])
    assert (first["workspace"], second["workspace"], second["stdout"]) == ("new", "kept", "hi\n")
    bad = http_talk.post(spaces, "/v1/run", form.replace(b"NAME", b"a b"), **kind)
    assert http_talk.refused(bad, 400, "bad_message")["path"] == "$.workspace"
    until(lambda: not listed()[0]["busy"], "nothing is left of its run")
    [only] = listed()
    assert (only["workspace"], only["image"].startswith("wsrunner/bash")) == ("h", True)
    assert only["age_s"] >= only["idle_s"] >= 0
    refused = http_talk.post(spaces, "/v1/run", {"language": "c", "code": "", "workspace": "h"})
    assert http_talk.refused(refused, 409, "workspace_unfit")
    for status, headers in ((403, {"Origin": "https://evil.example"}), (204, {}), (404, {})):
        with contextlib.closing(http_talk.connect(spaces)) as connection:
            connection.request("DELETE", "/v1/workspaces/h", headers=headers)
            assert connection.getresponse().status == status
    assert listed() == []


def test_they_take_the_access_token(start_server):
    server = start_server(warm_max=0, token="secret")
    with contextlib.closing(http_talk.connect(server)) as connection:
        for method, path in (("GET", ""), ("DELETE", "/x")):
            connection.request(method, "/v1/workspaces" + path)
            response = connection.getresponse()
            response.read()
            assert response.status == 401


async def test_a_kept_run_in_a_workspace_tells_it_too(spaces):
    async with spaces.talk() as talk:
        fields = {"language": "python", "code": "print(1)", "workspace": "w", "keep_s": 5}
        await talk.say("run", **fields)
        started = await talk.hear_started()
        assert started["workspace"] == "new"


async def test_the_python_client_uses_lists_and_forgets_them(spaces):
    async with Client(spaces.url) as client:
        await client.collect("python", code="open('f', 'w').write('x')", workspace="p")
        run = await client.run("python", code="print(open('f').read())", workspace="p", stdin="")
        assert [output.data async for output in run] == [b"x\n"]
        assert run.workspace == "kept"
        assert [each["workspace"] for each in await client.workspaces()] == ["p"]
        await client.forget("p")
        with pytest.raises(RunRefusedError, match="there is no workspace 'p'") as caught:
            await client.forget("p")
        assert caught.value.code == "no_such_workspace"
        assert (await client.collect("python", code="", workspace="p")).workspace == "new"


def test_the_command_uses_lists_and_forgets_them(spaces, tmp_path):
    def wsrunner(*arguments):
        done = subprocess.run(
            [COMMAND, *arguments, "--url", spaces.url],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout, done.stderr

    run = ("run", "-l", "bash", "--workspace", "cli", "-c")
    assert wsrunner(*run, "echo kept >f") == (0, "", "")
    assert wsrunner(*run, "cat f") == (0, "kept\n", "")
    code, listed, _ = wsrunner("workspaces")
    assert (code, listed.split()[0], "idle for" in listed) == (0, "cli", True)
    assert wsrunner("forget", "cli") == (0, "", "")
    assert wsrunner("forget", "cli") == (64, "", "wsrunner: there is no workspace 'cli'\n")
    assert wsrunner(*run, "cat f")[0] == 1
    assert wsrunner("forget", "a/b?c")[0] == 64


async def test_servers_that_are_no_replicas_have_names_of_their_own(spaces, start_server):
    async with spaces.talk() as talk, start_server(warm_max=0).talk() as there:
        assert [said(await run(each, "pass")) for each in (talk, there, talk)] == [
            "new",
            "new",
            "kept",
        ]


TENANTS = f"""
[[tenant]]
name = "school"
tokens = ["{tenants.hash_of("wsr_school")}"]
workspaces = 1

[[tenant]]
name = "shop"
tokens = ["{tenants.hash_of("wsr_shop")}"]
"""


async def test_a_name_is_the_tenants_own_and_so_is_its_bound(start_server, tmp_path):
    (tmp_path / "tenants.toml").write_text(TENANTS)
    server = start_server(warm_max=0, tenants=tmp_path / "tenants.toml")
    school, shop = (
        server.talk(additional_headers={"X-Access-Token": token})
        for token in ("wsr_school", "wsr_shop")
    )
    async with school as one, shop as other:
        assert [said(await run(each, "pass")) for each in (one, other, one)] == [
            "new",
            "new",
            "kept",
        ]
        refused = await run(one, "pass", name="v")
        assert refused.error["code"] == "workspaces_full"
        assert "the limit is 1 workspaces" in refused.error["message"]
        await other.say("forget", workspace="v")
        assert (await other.hear_error())["code"] == "no_such_workspace"
        assert said(await run(other, "pass", name="v")) == "new"


def test_each_user_of_a_tenant_has_names_of_their_own():
    principals = [
        Principal("1.2.3.4", tenant=tenant, subject=subject)
        for tenant, subject in (("a", ""), ("a", "x"), ("a", "y"), ("b", "x"), ("", ""))
    ]
    assert len({owner_of(principal) for principal in principals}) == 5
    # Wherever it comes from, and whatever its tenant may have since.
    again = replace(principals[1], client="5.6.7.8", may=Allowance(workspaces=3))
    assert owner_of(principals[1]) == owner_of(again)


def test_workspaces_are_under_operators_and_their_tenant():
    owner = owner_of(Principal("", tenant="a", subject="x"))
    for principal, may in (
        (Principal("", operator=True), True),
        (Principal("", tenant="a"), True),
        (Principal("", tenant="a", subject="x"), True),
        (Principal("", tenant="a", subject="y"), False),
        (Principal("", tenant="b"), False),
        (Principal(""), False),
    ):
        assert owner.is_under(principal) == may
    assert not owner_of(Principal("")).is_under(Principal(""))


async def test_who_may_only_watch_forgets_none():
    workspaces = Workspaces(None, most=1, most_each=1, idle_s=1, scope="")
    with pytest.raises(NotAllowedError):
        await workspaces.forget(Principal("1.2.3.4", drives=False), "w")


async def test_the_monitor_shows_them_without_their_names_and_ends_one(spaces):
    async with spaces.talk() as talk, monitor(spaces) as feed:
        await run(talk, "pass", name="secret-name")
        while not (state := await feed.hear())["workspaces"]:
            pass
        (seen,) = state["workspaces"]
        assert "secret-name" not in json.dumps(state)
        assert seen["image"].startswith("wsrunner/python")
        assert spaces.metrics()["wsrunner_workspaces"] == 1
        await feed.say("forget", workspace="0" * 32)
        while (told := await feed.hear())["type"] != "error":
            pass
        assert (told["code"], told["path"]) == ("no_such_workspace", "$.workspace")
        await feed.say("forget", workspace=seen["workspace"])
        while (await feed.hear()).get("workspaces") != []:
            pass
        until(lambda: not space_containers(spaces), "it is removed")
        assert spaces.metrics()["wsrunner_workspaces"] == 0


@contextlib.asynccontextmanager
async def monitor(serving):
    async with connect(f"{serving.url}/v1/monitor") as connection:
        yield Talk(connection)
