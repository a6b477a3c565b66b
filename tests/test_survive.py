"""What programs, clients, the engine and the server itself may do to each other, and who survives.

Each against the real engine. The fixtures check after every test that no slot is held and that no
container is left but warm spares.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.docker_fixtures import REQUIRED, absent, program
from tests.serving import docker, until
from tests.talk import PATIENCE_S, payload

READY_THEN_WAIT = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
# Includes itself 2^40 times.
ENDLESS_BUILD = "#if __INCLUDE_LEVEL__ < 40\n#include __FILE__\n#include __FILE__\n#endif\n"
FREED_S = 30
"""Enough for a busy machine, and long before the run that holds the slot ends at its limit."""


async def next_run_is_unharmed(talk):
    outcome = await talk.run("python", "print('fine')", id="next")
    assert (outcome.stdout, outcome.reason, outcome.code) == ("fine\n", "exited", 0)


# Lines as they come.


@pytest.mark.parametrize("language", REQUIRED)
async def test_a_line_shows_while_the_program_waits_before_the_next(talk, need, language):
    need(language)
    await talk.say("run", language=language, code=program(language, "live"))
    # Buffered, it would come at the end only, which waits for this client.
    assert await talk.hear_output("one\n") == "one\n"
    await talk.say("stdin", data="\n")
    outcome = await talk.finish()
    assert outcome.stdout == "one\ntwo\n"
    assert (outcome.reason, outcome.code) == ("exited", 0)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "print(int(input('number? ')) ** 2)"),
        ("bash", "printf 'number? '; read n; echo $((n * n))"),
        ("ruby", "print 'number? '\nputs gets.to_i ** 2"),
        ("c", ('#include <stdio.h>\nint main(){int n; printf("number? "); scanf("%d", &n); '
         'printf("%d\\n", n*n);}')),
        ("cpp", ('#include <iostream>\nint main(){int n; std::cout << "number? "; std::cin >> n; '
         'std::cout << n*n << "\\n";}')),
        ("javascript", ("process.stdout.write('number? ');\n"
         "process.stdin.once('data', d => { console.log(d * d); process.exit() })")),
    ],
)  # fmt: skip
async def test_a_prompt_without_newline_shows(talk, need, language, code):
    need(language)
    await talk.say("run", language=language, code=code)
    await talk.hear_started()
    assert await talk.hear_output("number? ") == "number? "
    await talk.say("stdin", data="12\n")
    assert (await talk.finish()).stdout == "number? 144\n"


# Much output, odd output.


async def test_20_mb_with_a_slow_reader_come_whole_in_bounded_server_memory(start_server):
    server = start_server(slots=1, warm_max=0)
    line = b"0123456789abcdef" * 6 + b"xyz\n"
    code = (
        "import sys\nfor _ in range(200_000): sys.stdout.write('0123456789abcdef' * 6 + 'xyz\\n')"
    )
    async with server.talk(max_queue=1) as talk:
        await talk.run("python", "print(1)")
        before_kb = server.peak_kb()
        await talk.say("run", language="python", code=code)
        digest, size = hashlib.sha256(), 0
        while (event := json.loads(await talk.connection.recv()))["type"] != "exit":
            if event["type"] == "stdout":
                if size == 0:
                    # Long enough for the program to have printed it all, if it were let.
                    await asyncio.sleep(2)
                data = payload(event)
                digest.update(data)
                size += len(data)
                await asyncio.sleep(0.001)
        assert (event["reason"], event["output_bytes"]) == ("exited", 200_000 * len(line))
        assert size == 200_000 * len(line)
        assert digest.digest() == hashlib.sha256(line * 200_000).digest()
        assert server.peak_kb() - before_kb < 10 * 1024
    server.settle()


async def test_20_mb_of_single_bytes_from_an_unbuffered_writer_end_at_the_limit(talk):
    code = "import os\nwhile True: os.write(1, b'x')"
    outcome = await talk.run("python", code, limits={"output_kb": 64})
    assert (outcome.reason, outcome.output_bytes) == ("output_limit", 64 * 1024)
    await next_run_is_unharmed(talk)


async def test_a_flood_does_not_hold_up_control(talk):
    await talk.say("run", id="flood", language="bash", code="yes", limits={"output_kb": 32 * 1024})
    await talk.hear_output("y\n", id="flood")
    await talk.say("cancel", id="flood")
    assert (await talk.finish("flood")).reason == "cancelled"


async def test_a_flood_of_lines_comes_in_few_messages(talk):
    code = "import sys\nsys.stdout.write(''.join(f'{i}\\n' for i in range(200_000)))"
    outcome = await talk.run("python", code)
    assert outcome.stdout == "".join(f"{i}\n" for i in range(200_000))
    assert len(outcome.events) < 2000


async def test_every_byte_arrives_though_it_is_not_utf_8(talk):
    code = "import sys\nfor _ in range(50): sys.stdout.buffer.write(bytes(range(256)))"
    outcome = await talk.run("python", code)
    assert outcome.stream("stdout") == bytes(range(256)) * 50


async def test_latin_1_lines_between_text_lines(talk):
    outcome = await talk.run(
        "bash", "echo before; sleep 0.2; printf 'caf\\351\\n'; sleep 0.2; echo after"
    )
    assert outcome.stream("stdout") == b"before\ncaf\xe9\nafter\n"
    kinds = [
        ("base64" if "base64" in e else "data") for e in outcome.events if e["type"] == "stdout"
    ]
    assert kinds == ["data", "base64", "data"]


async def test_a_10_mb_line_arrives_whole(talk):
    outcome = await talk.run("python", "print('0123456789' * 10**6)")
    assert outcome.stdout == "0123456789" * 10**6 + "\n"


async def test_a_10_mb_line_of_wide_characters_is_never_cut_inside_one(talk):
    outcome = await talk.run("python", "print('x' + '€😀' * 10**6)")
    assert all("data" in event for event in outcome.events if event["type"] == "stdout")
    assert outcome.stdout == "x" + "€😀" * 10**6 + "\n"


async def test_nul_bytes_arrive(talk):
    outcome = await talk.run("python", "import sys\nsys.stdout.write('a\\0b\\0\\0\\n')")
    assert outcome.stdout == "a\0b\0\0\n"


async def test_a_character_cut_in_half_by_the_program_s_writes_arrives_as_text(talk):
    code = (
        "import os, time\n"
        "for piece in (b'a\\xe2', b'\\x82', b'\\xac', b'b\\n'): os.write(1, piece); time.sleep(0.2)"
    )
    outcome = await talk.run("python", code)
    assert outcome.stdout == "a€b\n"
    assert all("data" in event for event in outcome.events if event["type"] == "stdout")


async def test_half_a_character_at_the_end_arrives(talk):
    outcome = await talk.run("python", "import os; os.write(1, b'a\\xe2\\x82')")
    assert outcome.stream("stdout") == b"a\xe2\x82"


async def test_output_that_looks_like_a_report_is_output(talk):
    text = "'\\x1e' + '0' * 32 + ' run 0 exited 1 2 3\\n'"
    code = f"import sys\nfor s in (sys.stdout, sys.stderr): s.write({text})\nsys.exit(9)"
    outcome = await talk.run("python", code)
    assert outcome.stdout == outcome.stderr == "\x1e" + "0" * 32 + " run 0 exited 1 2 3\n"
    assert outcome.code == 9


# Programs that mean no good. The shared server's runs have 256 MiB and a disk of 128.


async def test_a_fork_bomb_ends_at_its_limit(talk):
    code = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    outcome = await talk.run("python", code, limits={"wall_s": 2, "pids": 64})
    assert outcome.reason in {"timeout", "cpu_limit"}
    await next_run_is_unharmed(talk)


async def test_a_shell_s_fork_bomb_ends_too(talk):
    outcome = await talk.run(
        "bash", "b() { b | b & }; b; sleep 600", limits={"wall_s": 2, "pids": 64}
    )
    assert outcome.reason in {"timeout", "exited", "signaled"}
    await next_run_is_unharmed(talk)


async def test_a_memory_hog_is_out_of_memory(talk):
    outcome = await talk.run("python", "x = []\nwhile True: x.append(bytearray(10**6))")
    assert outcome.reason == "out_of_memory"
    assert outcome.memory_kb > 100_000
    await next_run_is_unharmed(talk)


async def test_a_hog_among_the_children_does_not_end_a_parent_that_goes_on(talk):
    code = (
        "import subprocess, sys\n"
        "hog = 'x = []\\nwhile True: x.append(bytearray(10**6))'\n"
        "print(subprocess.run([sys.executable, '-c', hog]).returncode)"
    )
    outcome = await talk.run("python", code)
    assert (outcome.stdout, outcome.reason, outcome.code) == ("-9\n", "exited", 0)


@pytest.mark.parametrize("folder", [".", "/tmp"])
async def test_a_disk_filler_finds_the_disk_full(talk, folder):
    code = (
        f"f = open('{folder}/big', 'wb')\n"
        "try:\n    while True: f.write(bytes(2**20)); f.flush()\n"
        "except OSError as e: print(e.errno); import os; os._exit(4)"
    )
    outcome = await talk.run("python", code)
    assert (outcome.stdout, outcome.code) in {("28\n", 4), ("27\n", 4)}
    await next_run_is_unharmed(talk)


async def test_a_disk_filler_beyond_its_memory_is_out_of_memory(talk):
    code = "f = open('big', 'wb')\nwhile True: f.write(bytes(2**20)); f.flush()"
    outcome = await talk.run("python", code, limits={"memory_mb": 64})
    assert outcome.reason == "out_of_memory"
    await next_run_is_unharmed(talk)


IGNORE_ALL = (
    "import signal, time\n"
    "for n in signal.valid_signals() - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\n"
    "print('ready', flush=True)\nwhile True: time.sleep(600)"
)


async def test_a_program_that_ignores_sigterm_is_ended_by_cancel(talk):
    await talk.say("run", language="python", code=IGNORE_ALL)
    await talk.hear_output("ready")
    await talk.say("signal", signal="SIGTERM")
    await talk.say("signal", signal="SIGINT")
    await talk.say("cancel")
    assert (await talk.finish()).reason == "cancelled"
    await next_run_is_unharmed(talk)


async def test_a_program_that_ignores_sigterm_ends_at_its_limit(talk):
    outcome = await talk.run("python", IGNORE_ALL, limits={"wall_s": 1})
    assert (outcome.reason, outcome.stdout) == ("timeout", "ready\n")


async def test_a_program_that_closes_its_output_and_lives_on_still_has_its_exit(talk):
    code = "import os, time\nprint('last', flush=True)\nos.close(1); os.close(2)\n"
    outcome = await talk.run("python", code + "time.sleep(0.5); os._exit(6)")
    assert (outcome.stdout, outcome.reason, outcome.code) == ("last\n", "exited", 6)
    outcome = await talk.run("python", code + "time.sleep(600)", limits={"wall_s": 1})
    assert (outcome.stdout, outcome.reason) == ("last\n", "timeout")


async def test_a_program_that_closes_its_stdin_is_unharmed_by_more_of_it(talk):
    await talk.say("run", language="bash", code="exec 0<&-; echo ready; sleep 0.5; exit 3")
    await talk.hear_output("ready")
    await talk.say("stdin", data="x\n")
    assert (await talk.finish()).code == 3


@pytest.mark.parametrize(
    "code",
    [
        "sleep 600 &\nexit 3",
        "setsid sleep 600 &\nexit 3",
        "nohup sleep 600 >/dev/null 2>&1 &\nexit 3",
        "(while :; do echo x; done) &\nexit 3",
        "(trap '' TERM HUP INT; while :; do sleep 1; done) &\nexit 3",
    ],
)
async def test_children_left_behind_do_not_hold_up_the_exit(talk, code):
    outcome = await talk.run("bash", code)
    assert (outcome.reason, outcome.code) == ("exited", 3)
    await next_run_is_unharmed(talk)


@pytest.mark.parametrize(
    "act",
    [
        "os.kill(-1, 9)",
        "os.kill(1, 9)",
        "os.kill(1, 19)",
        "[os.kill(1, n) for n in signal.valid_signals() - {9, 19, 32, 33} if n != 0]",
        "[os.close(fd) for fd in range(10)]",
        "open('/proc/1/oom_score_adj', 'w').write('1000')",
        "open('/proc/1/fd/5', 'w').write('x'); open('/proc/1/fd/6', 'w').write('x')",
    ],
)
async def test_a_program_that_turns_on_its_keeper_ends_all_the_same(talk, act):
    code = f"import os, signal, time\ntry: {act}\nexcept OSError: pass\ntime.sleep(600)"
    outcome = await talk.run("python", code, limits={"wall_s": 2})
    assert outcome.reason in {"timeout", "signaled", "exited", "engine_lost"}
    await next_run_is_unharmed(talk)


# Clients that vanish: the slot is free again, long before what runs in it ends by itself.


async def vanish(talk):
    talk.connection.transport.abort()
    await talk.connection.wait_closed()


@contextlib.asynccontextmanager
async def a_waiting_run(server):
    """A run of another client that starts as soon as the slot is free."""
    async with server.talk() as other:
        await other.say("run", language="python", code="print('next')")
        await other.hear_kind("queued")
        yield
        async with asyncio.timeout(FREED_S):
            await other.hear_started()
        assert (await other.finish()).stdout == "next\n"


@pytest.mark.parametrize(
    "code", [READY_THEN_WAIT, IGNORE_ALL], ids=["sleeping", "ignoring signals"]
)
@pytest.mark.parametrize("tty", [None, {}], ids=["pipes", "tty"])
async def test_a_client_that_vanishes_while_running_frees_its_slot(one_slot, code, tty):
    async with one_slot.talk() as talk:
        await talk.say("run", language="python", code=code, tty=tty)
        await talk.hear_output("ready")
        async with a_waiting_run(one_slot):
            await vanish(talk)


async def test_a_client_that_vanishes_amid_a_flood_frees_its_slot(one_slot):
    async with one_slot.talk(max_queue=1) as talk:
        await talk.say("run", language="bash", code="yes")
        await talk.hear_output("y\n")
        async with a_waiting_run(one_slot):
            await vanish(talk)


async def test_a_client_that_vanishes_while_building_frees_its_slot(one_slot, need):
    need("c")
    async with one_slot.talk() as talk:
        await talk.say("run", language="c", code=ENDLESS_BUILD)
        await talk.hear_started("build")
        async with a_waiting_run(one_slot):
            await vanish(talk)


async def test_a_client_that_vanishes_while_queued_leaves_the_queue(one_slot):
    async with one_slot.talk() as first, one_slot.talk() as second:
        await first.say("run", language="python", code=READY_THEN_WAIT)
        await first.hear_output("ready")
        await second.say("run", language="python", code=READY_THEN_WAIT)
        await second.hear_kind("queued")
        async with one_slot.talk() as third:
            await third.say("run", language="python", code="print(3)")
            assert (await third.hear_kind("queued"))["position"] == 2
            await vanish(second)
            while (await third.hear())["position"] != 1:
                pass
            await first.say("cancel")
            assert (await first.finish()).reason == "cancelled"
            assert (await third.finish()).stdout == "3\n"


async def test_a_client_that_vanishes_right_after_its_request_leaves_nothing(one_slot):
    for _ in range(5):
        async with one_slot.talk() as talk:
            # With a limit of its own, so that no warm container fits and one must be started.
            await talk.say("run", language="python", code=READY_THEN_WAIT, limits={"pids": 50})
            await vanish(talk)
    async with one_slot.talk() as talk:
        await next_run_is_unharmed(talk)


async def test_a_client_that_vanishes_between_runs_leaves_nothing(one_slot):
    async with one_slot.talk() as talk:
        await next_run_is_unharmed(talk)
        await vanish(talk)
    one_slot.free()


async def test_a_client_that_closes_in_order_ends_all_its_runs(server):
    async with server.talk() as talk:
        for name in "abcdef":
            await talk.say("run", id=name, language="python", code=READY_THEN_WAIT)
        await talk.hear_started(id="a")
    server.settle()


async def test_a_plain_client_that_vanishes_frees_its_slot(one_slot):
    async with one_slot.plain("python") as socket:
        await socket.send(READY_THEN_WAIT)
        assert await socket.recv() == "ready\n"
        async with a_waiting_run(one_slot):
            socket.transport.abort()


# Clients that read too slowly.


async def test_a_client_that_takes_nothing_is_dropped_with_4408(start_server):
    server = start_server(slots=1, slow_client_s=1, warm_max=0, output_kb=10**6)
    async with server.talk(max_queue=1) as talk:
        await talk.say("run", language="bash", code="yes")
        await talk.hear_started()
        await asyncio.to_thread(until, lambda: "4408" in server.log.read_text(), "dropped")
        assert await talk.hear_close() == 4408
    server.settle()


async def test_a_client_that_never_reads_again_frees_its_slot_too(start_server):
    server = start_server(slots=1, slow_client_s=0.5, warm_max=0, output_kb=10**6)
    async with server.talk(max_queue=1) as talk, server.talk() as other:
        await talk.say("run", language="bash", code="yes")
        await talk.hear_started()
        assert (await other.run("bash", "echo free")).stdout == "free\n"
        talk.connection.transport.abort()
    server.settle()


# Inputs that are wrong.

BAD = [
    ("", "bad_message", "$"),
    ("{", "bad_message", "$"),
    ("[]", "bad_message", "$"),
    (b"\xff\x00", "bad_message", "$"),
    ({"type": "walk"}, "bad_message", "$.type"),
    ({"type": "run", "language": "python"}, "bad_message", "$.code"),
    ({"type": "run", "language": "python", "code": "", "x": 1}, "bad_message", "$"),
    ({"type": "run", "language": 5, "code": ""}, "bad_message", "$.language"),
    *(
        (
            {"type": "run", "language": "python", "files": [{"name": name, "content": ""}]},
            "bad_message",
            "$.files[0].name",
        )
        for name in ("../x", "/x", "a//b", "a\0b", "x" * 300, "", ".")
    ),
    (
        {"type": "run", "language": "python", "files": [{"name": "a", "content": ""}] * 2},
        "bad_message",
        "$.files[1].name",
    ),
    (
        {
            "type": "run",
            "language": "python",
            "files": [{"name": f"f{i}", "content": ""} for i in range(65)],
        },
        "too_large",
        "$.files",
    ),
    ({"type": "run", "language": "python", "code": "#" * 2 * 2**20}, "too_large", None),
    (
        {"type": "run", "language": "python", "code": "", "limits": {"memory_mb": 10**6}},
        "limit_out_of_range",
        "$.limits.memory_mb",
    ),
    ({"type": "run", "language": "python", "files": []}, "bad_message", "$.files"),
    (
        {"type": "run", "language": "python", "files": [{"name": "a", "base64": "?"}]},
        "bad_message",
        "$.files[0].base64",
    ),
]  # fmt: skip


async def test_each_bad_input_has_a_clear_error_and_the_socket_stays_open(talk):
    for message, code, path in BAD:
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        await talk.say_raw(raw)
        error = await talk.hear_error()
        assert (error["code"], error.get("path")) == (code, path), raw[:100]
        assert len(error["message"]) < 400
    await next_run_is_unharmed(talk)


async def test_bad_inputs_do_not_disturb_a_live_run(talk):
    await talk.say("run", id="live", language="bash", code="read x; echo got $x")
    await talk.hear_started(id="live")
    for message, code, _ in BAD:
        await talk.say_raw(message if isinstance(message, str | bytes) else json.dumps(message))
        assert (await talk.hear_error())["code"] == code
    await talk.say("stdin", id="live", data="it\n")
    assert (await talk.finish("live")).stdout == "got it\n"


async def test_lone_surrogates_are_an_error_and_not_an_end(talk):
    for field in (
        '"code":"\\ud800"',
        '"code":"","stdin":"\\udc00"',
        '"code":"","args":["\\ud800"]',
        '"code":"","env":{"A":"\\ud800"}',
        '"code":"","command":"echo \\ud800"',
        '"files":[{"name":"\\ud800","content":""}]',
        '"files":[{"name":"a","content":"\\ud800"}]',
    ):
        await talk.say_raw('{"type":"run","id":"s","language":"python",' + field + "}")
        assert (await talk.hear_error())["code"] == "bad_message", field
    await next_run_is_unharmed(talk)


async def test_a_message_far_beyond_the_limit_closes_with_1009_and_ends_the_runs(server):
    async with server.talk() as talk:
        await talk.say("run", language="python", code=READY_THEN_WAIT)
        await talk.hear_output("ready")
        with contextlib.suppress(ConnectionClosed):
            await talk.say_raw("x" * (9 * 2**20))
        assert await talk.hear_close() == 1009
    server.settle()


# The server's own end.


async def test_sigterm_lets_a_run_finish_and_ends_the_queue(start_server):
    server = start_server(slots=1, drain_s=60)
    async with server.talk() as talk:
        await talk.say("run", id="1", language="bash", code="echo ready; read x; echo got $x")
        await talk.hear_output("ready", id="1")
        await talk.say("run", id="2", language="bash", code="echo 2")
        await talk.hear_kind("queued", id="2")
        server.signal(signal.SIGTERM)
        queued = await talk.finish("2")
        assert (queued.reason, queued.stage) == ("draining", "queue")
        refused = await talk.run("bash", "echo 3", id="3")
        assert refused.error["code"] == "draining"
        assert refused.error["retry_after_s"] > 0
        await talk.say("stdin", id="1", data="it\n")
        finished = await talk.finish("1")
        assert (finished.reason, finished.stdout) == ("exited", "ready\ngot it\n")
        assert await talk.hear_close() == 1001
    assert await asyncio.to_thread(server.wait) == 0


async def test_sigterm_ends_a_run_that_takes_longer_than_the_grace(start_server):
    server = start_server(slots=1, drain_s=0.5)
    async with server.talk() as talk:
        await talk.say("run", language="python", code=IGNORE_ALL)
        await talk.hear_output("ready")
        server.signal(signal.SIGTERM)
        outcome = await talk.finish()
        assert (outcome.reason, outcome.stage) == ("draining", "run")
        assert await talk.hear_close() == 1001
    assert await asyncio.to_thread(server.wait) == 0


async def test_sigint_stops_an_idle_server_at_once(start_server):
    server = start_server(drain_s=600)
    async with server.talk() as talk:
        server.signal(signal.SIGINT)
        assert await talk.hear_close() == 1001
    assert await asyncio.to_thread(server.wait) == 0


async def test_after_sigkill_and_restart_no_container_of_the_old_server_is_left(start_server):
    server = start_server(slots=2, warm="python=1,bash=1")
    until(lambda: len(server.containers()) == 2, "two warm containers")
    async with server.talk() as talk:
        for name in "ab":
            await talk.say("run", id=name, language="python", code=IGNORE_ALL)
            await talk.hear_output("ready", id=name)
        old = server.containers()
        server.kill()
    assert old & server.containers(), "the runs outlive their server, or this test shows nothing"
    server.start()
    await asyncio.to_thread(until, lambda: not old & server.containers(), "the old ones removed")
    async with server.talk() as talk:
        await next_run_is_unharmed(talk)
    server.settle()


async def test_without_a_restart_the_containers_end_at_their_limits(start_server):
    server = start_server(slots=1, warm="python=1", warm_max=1, wall_s=5)
    async with server.talk() as talk:
        await talk.say("run", language="python", code=IGNORE_ALL)
        await talk.hear_output("ready")
        # One that is created and not started when its server dies is left to others' sweeps.
        until(lambda: server.metrics().get("wsrunner_pool_containers") == 1, "a warm container")
        server.kill()
    assert server.containers()
    await asyncio.to_thread(until, lambda: not server.containers(), "all containers gone")


async def test_a_server_leaves_another_instance_s_containers_alone(start_server):
    first = start_server(slots=1, warm_max=0)
    async with first.talk() as talk:
        await talk.say("run", language="bash", code="echo ready; read x; echo got $x")
        await talk.hear_output("ready")
        second = start_server(slots=1, warm_max=0)
        async with second.talk() as other:
            assert (await other.run("bash", "echo 2")).stdout == "2\n"
        second.stop()
        await talk.say("stdin", data="it\n")
        assert (await talk.finish()).stdout == "ready\ngot it\n"


# Images without bash.


@pytest.fixture(scope="module")
def bashless(request, tmp_path_factory, need):
    """A server with a language whose image has sh alone."""
    from tests.conftest import _start

    source = need("bash")
    name = "wsrunner-test/bashless:latest"
    container = docker(
        "create", "--network=none", "--user=0", source,
        "rm", "-f", "/bin/bash", "/usr/bin/bash",
    ).strip()  # fmt: skip
    try:
        docker("start", "-a", container)
        docker("commit", container, name)
    finally:
        docker("rm", "-f", container)
    folder = tmp_path_factory.mktemp("bashless")
    languages = folder / "languages.toml"
    languages.write_text(
        f'[language.posix]\nname = "POSIX shell"\nimage = "{name}"\nfile = "main.sh"\n'
        'run = "sh {file}"\n'
        f'[language.posix-built]\nname = "Built"\nimage = "{name}"\nfile = "main.sh"\n'
        'build = ["cp {file} out"]\nrun = "sh out"\n'
    )
    yield _start(request, folder, {"languages": languages, "warm_max": 0})
    docker("rmi", "-f", name)


async def test_an_image_without_bash_runs_programs(bashless):
    async with bashless.talk() as talk:
        outcome = await talk.run("posix", "test -e /bin/bash || echo none; echo err >&2; exit 3")
        assert (outcome.stdout, outcome.stderr, outcome.code) == ("none\n", "err\n", 3)
        outcome = await talk.run(
            "posix", "cat; echo $1 $K", stdin="in\n", args=["a b"], env={"K": "v"}
        )
        assert outcome.stdout == "in\na b v\n"
        outcome = await talk.run("posix-built", "echo built")
        assert (outcome.stages, outcome.stdout) == (["build", "run"], "built\n")
        data = bytes(range(256)) * 300
        files = [
            {"name": "main.sh", "content": "sha256sum <d/x; cat"},
            {"name": "d/x", "base64": base64.b64encode(data).decode()},
        ]
        outcome = await talk.run("posix", files=files, stdin="rest")
        assert outcome.stdout == f"{hashlib.sha256(data).hexdigest()}  -\nrest"
    bashless.settle()


async def test_an_image_without_bash_takes_signals_and_limits(bashless):
    async with bashless.talk() as talk:
        for name in ("INT", "TERM", "USR1"):
            code = f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.1; done"
            await talk.say("run", language="posix", code=code)
            await talk.hear_output("ready")
            await talk.say("signal", signal=f"SIG{name}")
            outcome = await talk.finish()
            assert (outcome.stdout, outcome.code) == ("ready\ngot\n", 7), name
        outcome = await talk.run("posix", "sleep 600", limits={"wall_s": 0.5})
        assert outcome.reason == "timeout"
        outcome = await talk.run("posix", "kill -KILL $$")
        assert (outcome.reason, outcome.signal) == ("signaled", "SIGKILL")
        await talk.say("run", language="posix", code="echo ready; sleep 600 & sleep 600")
        await talk.hear_output("ready")
        await talk.say("cancel")
        assert (await talk.finish()).reason == "cancelled"
    bashless.settle()


async def test_an_image_without_bash_has_terminals(bashless):
    async with bashless.talk() as talk:
        outcome = await talk.run("posix", "stty size", tty={"columns": 91, "rows": 37})
        assert outcome.stdout == "37 91\r\n"
        await talk.say("run", language="posix", code="echo ready; read x", tty={})
        await talk.hear_output("ready")
        await talk.say("stdin", data="\x03")
        outcome = await talk.finish()
        assert (outcome.reason, outcome.signal) == ("signaled", "SIGINT")
    bashless.settle()


# The engine's end. The one that everybody uses is left alone: this one is the tests' own.


class PrivateEngine:
    """A dockerd of its own, with a copy of the Python image."""

    def __init__(self, folder):
        # The address of a Unix socket has at most 107 bytes (unix(7)).
        self.run = Path(tempfile.mkdtemp(prefix="wsr-"))
        self.host = f"unix://{self.run}/docker.sock"
        self.folder = folder

    def start(self):
        with (self.folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    # In a network of its own: `--bridge=none` removes the bridge docker0, and the
                    # one it would find here is the other engine's.
                    "unshare", "--net",
                    "dockerd", f"--host={self.host}", f"--data-root={self.folder}/data",
                    f"--exec-root={self.run}/exec", f"--pidfile={self.run}/docker.pid",
                    "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false",
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        until(self.answers, "the private engine answers")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "dockerd.log").read_text()[-2000:]
        return docker("info", "--format", "{{.ID}}", host=self.host, check=False).strip()

    def load(self, image):
        archive = self.folder / "image.tar"
        docker("save", "-o", str(archive), image)
        docker("load", "-i", str(archive), host=self.host)
        archive.unlink()

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def private_engine(need, tmp_path_factory):
    image = need("python")
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        absent("dockerd, or root to start one")
    engine = PrivateEngine(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.load(image)
        yield engine
    finally:
        if engine.process.poll() is None:
            engine.stop()
        shutil.rmtree(engine.run, ignore_errors=True)
        shutil.rmtree(engine.folder / "data", ignore_errors=True)


def ready(server):
    with contextlib.suppress(urllib.error.HTTPError):
        return json.loads(server.get("/readyz"))["status"] == "ready"
    return False


async def test_the_engine_stops_and_comes_back_while_the_server_runs(private_engine, start_server):
    server = start_server(slots=1, warm="python=1", docker_host=private_engine.host)
    async with server.talk() as talk:
        await next_run_is_unharmed(talk)
        await talk.say("run", id="live", language="python", code=READY_THEN_WAIT)
        await talk.hear_output("ready", id="live")
        await talk.say("run", id="waits", language="python", code="print(1)")
        await talk.hear_kind("queued", id="waits")
        private_engine.stop()
        assert (await talk.finish("live")).reason == "engine_lost"
        # It had been told to wait, so it has an exit and no error.
        assert (await talk.finish("waits")).reason == "engine_lost"
        await asyncio.to_thread(until, lambda: not ready(server), "not ready without an engine")
        refused = await talk.run("python", "print(2)", id="refused")
        assert refused.error["code"] == "engine_unavailable"
        assert refused.error["retry_after_s"] > 0
        async with server.plain("python") as plain:
            await plain.send("print(3)")
            await plain.wait_closed()
            assert plain.close_code == 1013
        private_engine.start()
        await asyncio.to_thread(until, lambda: ready(server), "ready again")
        await next_run_is_unharmed(talk)
    server.settle()


async def test_a_server_that_starts_before_its_engine_waits_for_it(private_engine, start_server):
    private_engine.stop()
    server = start_server(slots=1, warm="python=1", docker_host=private_engine.host)
    assert not ready(server)
    private_engine.start()
    await asyncio.to_thread(until, lambda: ready(server), "ready")
    until(lambda: len(server.containers()) == 1, "the pool fills")
    async with server.talk() as talk:
        await next_run_is_unharmed(talk)
    server.settle()
