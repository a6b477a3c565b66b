"""Runs from request to exit, over the JSON protocol, in real containers."""

import asyncio
import base64
import hashlib
import json

import pytest

from wsrunner import languages
from wsrunner.settings import UIDS

READY_THEN_WAIT = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
ECHO = "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)\nprint('end')"
# Includes itself 2^40 times.
ENDLESS_BUILD = "#if __INCLUDE_LEVEL__ < 40\n#include __FILE__\n#include __FILE__\n#endif\n"
SIGNALS = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]


async def test_output_comes_as_it_is_printed_and_exit_says_the_rest(talk):
    outcome = await talk.run("python", "import sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")
    assert (outcome.reason, outcome.code, outcome.stages) == ("exited", 0, ["run"])
    assert outcome.output_bytes == 8
    assert outcome.cpu_ms > 0
    assert outcome.memory_kb > 1000
    assert outcome.wall_ms > 0
    assert outcome.queued_ms == 0
    assert "id" not in outcome.exit


async def test_the_client_s_id_is_on_every_message(talk):
    outcome = await talk.run("python", "print(1)", id="my.run_1-A")
    assert {event.get("id") for event in outcome.events} == {"my.run_1-A"}


async def test_binary_messages_with_the_same_json_are_taken(talk):
    await talk.say_raw(
        json.dumps({"type": "run", "language": "python", "code": "print(2)"}).encode()
    )
    assert (await talk.finish()).stdout == "2\n"


@pytest.mark.parametrize("alias", ["py", "python3", "Python"])
async def test_aliases_name_the_language_in_any_case(talk, alias):
    assert (await talk.run(alias, "print(3)")).stdout == "3\n"


@pytest.mark.parametrize("code", [0, 1, 3, 127, 128, 130, 137, 139, 255])
async def test_exit_codes_are_told_even_those_that_look_like_signals(talk, code):
    outcome = await talk.run("python", f"import os; os._exit({code})")
    assert (outcome.reason, outcome.code, outcome.signal) == ("exited", code, None)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL", "SIGTERM", "SIGINT", "SIGPIPE"])
async def test_a_program_that_dies_of_a_signal_is_signaled(talk, name):
    code = (
        "import os, signal\n"
        f"number = signal.{name}\n"
        "if number != signal.SIGKILL: signal.signal(number, signal.SIG_DFL)\n"
        "os.kill(os.getpid(), number)"
    )
    outcome = await talk.run("python", code)
    assert (outcome.reason, outcome.signal, outcome.code) == ("signaled", name, None)


HANDLES_TERM = (
    "import signal, sys, time\n"
    "def f(*_): print('term', flush=True); sys.exit(4)\n"
    "signal.signal(signal.SIGTERM, f)\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(0.05)"
)
WAYS = {
    "as it is": {},
    "a file name with a space": {"name": "a b.py"},
    "a file name beyond ASCII": {"name": "é.py"},
    "a file name with quotes": {"name": "a'b\"c$d.py"},
    "a command": {"command": "python main.py"},
    "a command with quotes": {"command": """A=1 'python' "main.py" x"""},
    "a command with a redirection": {"command": "python main.py 2>&1 </dev/null"},
    "a list that ends with it": {"command": "cd . && python main.py"},
    "a command with variables": {
        "command": "python main.py $HOME",
        "env": {"B": "2"},
        "args": ["y"],
    },
}


async def run_in_a_way(talk, way, code):
    fields = dict(WAYS[way])
    files = [{"name": fields.pop("name", "main.py"), "content": code}]
    await talk.say("run", language="python", files=files, **fields)


@pytest.mark.parametrize("way", WAYS)
async def test_a_program_that_handles_a_signal_ends_as_its_handler_says(talk, way):
    await run_in_a_way(talk, way, HANDLES_TERM)
    await talk.hear_output("ready\n")
    await talk.say("signal", signal="SIGTERM")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.code, outcome.stdout) == ("exited", 4, "ready\nterm\n")


@pytest.mark.parametrize("way", WAYS)
async def test_a_program_that_crashes_is_signaled_and_nobody_else_speaks_of_it(talk, way):
    await run_in_a_way(talk, way, "import os; os.kill(os.getpid(), 11)")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.signal, outcome.stderr) == ("signaled", "SIGSEGV", "")


async def test_a_ruby_program_that_handles_a_signal_ends_as_its_handler_says(talk, need):
    need("ruby")
    code = "trap('TERM') { puts 'term'; exit 4 }\nputs 'ready'\nsleep"
    await talk.say("run", language="ruby", code=code)
    await talk.hear_output("ready\n")
    await talk.say("signal", signal="SIGTERM")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.code, outcome.stdout) == ("exited", 4, "ready\nterm\n")


# figures


OWN_MS = 1.0
"""What the bootstrap may use on another core while the program begins; 0.2 ms were seen."""


async def test_the_wall_clock_never_runs_behind_the_cpu_clock_of_one_thread(talk):
    for number in range(30):
        code = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); done" if number % 2 else "exit 3"
        outcome = await talk.run("bash", code)
        assert 0 < outcome.cpu_ms <= outcome.wall_ms + OWN_MS


async def test_the_memory_of_a_compiler_is_not_told_as_its_program_s(talk, need):
    need("c")
    small = "int main(void) { return 0; }"
    assert (await talk.run("c", small)).memory_kb is None
    large = (
        "#include <stdlib.h>\n#include <string.h>\n"
        "int main(void) {\n"
        "char *p = malloc(200 << 20); memset(p, 1, 200 << 20); return p[1 << 20] - 1; }"
    )
    outcome = await talk.run("c", large)
    assert outcome.code == 0
    assert outcome.memory_kb > 200 * 1024


async def test_the_memory_of_a_build_that_failed_is_told(talk, need):
    need("c")
    outcome = await talk.run("c", "int main(void) { return nothing; }")
    assert (outcome.stage, outcome.memory_kb > 1024) == ("build", True)


# merge


ALTERNATING = (
    "import os\nfor i in range(200): os.write(1 + i % 2, b'%d\\n' % i)\nos.write(2, b'end\\n')"
)


async def test_merged_output_is_in_the_order_in_which_it_was_written(talk):
    outcome = await talk.run("python", ALTERNATING, merge=True)
    assert outcome.stdout == "".join(f"{number}\n" for number in range(200)) + "end\n"
    assert outcome.stderr == ""


async def test_a_merged_build_s_warnings_are_stdout_too(talk, need):
    need("c")
    code = '#warning careful\n#include <stdio.h>\nint main(){fputs("x", stderr);}'
    outcome = await talk.run("c", code, merge=True)
    assert "careful" in outcome.stdout
    assert outcome.stdout.endswith("x")
    assert outcome.stderr == ""


# stdin


async def test_stdin_given_with_the_run_is_read_to_its_end(talk):
    outcome = await talk.run("python", ECHO, stdin="a\nb\n")
    assert outcome.stdout == "got a\ngot b\nend\n"


async def test_empty_stdin_is_end_of_file_at_once(talk):
    assert (await talk.run("python", ECHO, stdin="")).stdout == "end\n"


async def test_stdin_stays_open_for_lines_and_ends_with_eof(talk):
    await talk.say("run", language="python", code=ECHO)
    await talk.hear_started()
    await talk.say("stdin", data="one\n")
    await talk.hear_output("got one\n")
    await talk.say("stdin", base64=base64.b64encode(b"two\n").decode())
    await talk.hear_output("got two\n")
    await talk.say("eof")
    assert (await talk.finish()).stdout == "got one\ngot two\nend\n"


async def test_stdin_and_eof_sent_before_the_start_are_kept(talk):
    await talk.say("run", language="python", code=ECHO)
    await talk.say("stdin", data="early\n")
    await talk.say("eof")
    assert (await talk.finish()).stdout == "got early\nend\n"


async def test_stdin_after_its_end_is_refused_and_the_run_goes_on(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT, stdin="")
    await talk.hear_output("ready")
    await talk.say("stdin", data="more")
    error = await talk.hear()
    assert (error["type"], error["code"]) == ("error", "no_such_run")
    talk.heard[None].remove(error)
    await talk.say("cancel")
    assert (await talk.finish()).reason == "cancelled"


async def test_a_megabyte_of_stdin_arrives_whole(talk):
    text = "0123456789abcde\n" * 40_000
    code = (
        "import sys, hashlib\nd = sys.stdin.buffer.read()\n"
        "print(len(d), hashlib.md5(d).hexdigest())"
    )
    outcome = await talk.run("python", code, stdin=text)
    assert outcome.stdout == f"{len(text)} {hashlib.md5(text.encode()).hexdigest()}\n"


async def test_much_stdin_by_message_flows_with_drained(talk):
    piece, count = "x" * 64_000, 60
    code = "import sys, time\ntime.sleep(0.3)\nprint(len(sys.stdin.read()))"
    await talk.say("run", language="python", code=code)
    await talk.hear_started()
    sent = taken = 0
    for _ in range(count):
        await talk.say("stdin", data=piece)
        sent += len(piece)
        while sent - taken > 256 * 1024:
            event = await talk.hear()
            assert event["type"] == "drained", event
            taken = event["bytes"]
    await talk.say("eof")
    assert (await talk.finish()).stdout == f"{len(piece) * count}\n"


async def test_stdin_that_nobody_reads_is_too_large_and_nothing_of_it_is_taken(talk):
    code = (
        "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\nprint(len(sys.stdin.read()))"
    )
    await talk.say("run", language="python", code="import time\ntime.sleep(1)\n" + code)
    await talk.hear_started()
    await talk.say("stdin", data="\n" + "y" * 900_000)
    for _ in range(5):
        await talk.say("stdin", data="z" * 900_000)
    refused = 0
    while True:
        event = await talk.hear()
        if event["type"] == "error":
            talk.heard[None].remove(event)
            assert (event["code"], event["path"]) == ("too_large", "$.data")
            assert "1048576 bytes" in event["message"]
            refused += 1
        if refused and event["type"] == "stdout":
            break
    await talk.say("eof")
    outcome = await talk.finish()
    assert outcome.stdout == f"ready\n{900_000 * (6 - refused)}\n"


# signal, cancel


@pytest.mark.parametrize("name", SIGNALS)
async def test_a_signal_reaches_the_program(talk, name):
    code = (
        "import signal, sys\n"
        f"def f(*_): print('got {name}', flush=True); sys.exit(7)\n"
        f"signal.signal(signal.{name}, f)\n"
        "print('ready', flush=True)\n"
        "import time\nwhile True: time.sleep(0.05)"
    )
    await talk.say("run", language="python", code=code)
    await talk.hear_output("ready\n")
    await talk.say("signal", signal=name)
    outcome = await talk.finish()
    assert outcome.stdout == f"ready\ngot {name}\n"
    assert (outcome.reason, outcome.code) == ("exited", 7)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGQUIT"])
async def test_a_signal_that_the_program_does_not_handle_ends_it(talk, name):
    await talk.say("run", language="python", code=READY_THEN_WAIT)
    await talk.hear_output("ready\n")
    await talk.say("signal", signal=name)
    outcome = await talk.finish()
    assert (outcome.reason, outcome.signal) == ("signaled", name)


async def test_a_program_that_has_stopped_costs_no_cpu(talk):
    code = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    time.sleep(1)\n"
        "    os.kill(os.getppid(), signal.SIGCONT)\n"
        "    os._exit(0)\n"
        "print('stopping', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
        "os.wait()\nos._exit(5)"
    )
    outcome = await talk.run("python", code)
    assert (outcome.reason, outcome.code) == ("exited", 5)
    assert outcome.cpu_ms < 500
    code = "(sleep 1; kill -s CONT $$) & echo stopping; kill -s STOP $$; wait; exit 5"
    outcome = await talk.run("bash", code)
    assert (outcome.reason, outcome.code) == ("exited", 5)
    assert outcome.cpu_ms < 500


async def test_a_signal_reaches_the_whole_process_group(talk):
    code = "sleep 600 & a=$!\nsleep 600 & b=$!\necho ready\nwait $a; wait $b\necho over"
    await talk.say("run", language="bash", code="trap 'echo trapped' USR1\n" + code)
    await talk.hear_output("ready\n")
    await talk.say("signal", signal="SIGUSR1")
    outcome = await talk.finish()
    assert outcome.stdout == "ready\ntrapped\nover\n"


async def test_several_signals_are_all_delivered(talk):
    code = (
        "import signal\n"
        "def f(n, _): print('got', n, flush=True)\n"
        "signal.signal(signal.SIGUSR1, f)\nsignal.signal(signal.SIGINT, f)\n"
        "print('ready', flush=True)\n"
        "import time\nwhile True: time.sleep(0.05)"
    )
    await talk.say("run", language="python", code=code)
    await talk.hear_output("ready\n")
    for name, number in [("SIGUSR1", 10), ("SIGINT", 2)] * 2:
        before = (await talk.hear_output("ready")).count(f"got {number}\n")
        await talk.say("signal", signal=name)
        while (await talk.hear_output(f"got {number}\n")).count(f"got {number}\n") == before:
            await talk.hear()
    await talk.say("signal", signal="SIGKILL")
    assert (await talk.finish()).signal == "SIGKILL"


async def test_cancel_while_running(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT)
    await talk.hear_output("ready\n")
    await talk.say("cancel")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.stage, outcome.code) == ("cancelled", "run", None)
    assert outcome.stdout == "ready\n"


async def test_cancel_right_after_the_request(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT)
    await talk.say("cancel")
    assert (await talk.finish()).reason == "cancelled"


async def test_cancel_that_comes_in_one_read_with_the_request(talk):
    run = {"type": "run", "language": "python", "code": READY_THEN_WAIT}
    await talk.say_together(run, {"type": "cancel"})
    assert (await talk.finish()).reason == "cancelled"


async def test_cancel_while_building(talk, need):
    need("c")
    await talk.say("run", language="c", code=ENDLESS_BUILD)
    await talk.hear_started("build")
    await talk.say("cancel")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.stage, outcome.stages) == ("cancelled", "build", ["build"])


async def test_cancel_while_queued(one_slot):
    async with one_slot.talk() as talk:
        await talk.say("run", id="first", language="python", code=READY_THEN_WAIT)
        await talk.hear_output("ready\n", id="first")
        await talk.say("run", id="second", language="python", code="print(2)")
        queued = await talk.hear_kind("queued", id="second")
        assert (queued["position"], queued["waiting"]) == (1, 1)
        await talk.say("cancel", id="second")
        outcome = await talk.finish("second")
        assert (outcome.reason, outcome.stage, outcome.stages) == ("cancelled", "queue", [])
        await talk.say("cancel", id="first")
        assert (await talk.finish("first")).reason == "cancelled"


async def test_cancelling_twice_gives_one_exit(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT)
    await talk.hear_output("ready\n")
    await talk.say("cancel")
    await talk.say("cancel")
    assert (await talk.finish()).reason == "cancelled"
    # The second may have come too late.
    assert (await talk.run("python", "print(1)", id="next")).stdout == "1\n"


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "stdin", "data": "x"},
        {"kind": "eof"},
        {"kind": "signal", "signal": "SIGINT"},
        {"kind": "resize", "columns": 80, "rows": 24},
        {"kind": "cancel"},
    ],
    ids=lambda message: message["kind"],
)
async def test_a_message_for_a_run_that_is_not_live_is_no_such_run(talk, message):
    for run_id in (None, "ghost"):
        await talk.say(
            message["kind"], **{k: v for k, v in message.items() if k != "kind"}, id=run_id
        )
        error = await talk.hear_error()
        assert (error["code"], error["path"]) == ("no_such_run", "$.id")
        assert error.get("id") == run_id


# several runs on one socket


async def test_several_runs_on_one_socket_do_not_mix(talk):
    names = ["a", "b", "c", "d"]
    for name in names:
        await talk.say("run", id=name, language="python", code=ECHO)
    for turn in range(3):
        for name in names:
            await talk.say("stdin", id=name, data=f"{name}{turn}\n")
    for name in reversed(names):
        await talk.say("eof", id=name)
    for name in names:
        outcome = await talk.finish(name)
        assert outcome.stdout == f"got {name}0\ngot {name}1\ngot {name}2\nend\n"


async def test_a_live_id_is_busy_and_the_run_it_names_is_unharmed(talk):
    for run_id in (None, "twice"):
        await talk.say("run", id=run_id, language="python", code=ECHO)
        await talk.hear_started(id=run_id)
        await talk.say("run", id=run_id, language="python", code="print('other')")
        error = await talk.hear_error()
        assert (error["code"], error["path"], error.get("id")) == ("busy", "$.id", run_id)
        await talk.say("eof", id=run_id)
        assert (await talk.finish(run_id)).stdout == "end\n"


async def test_an_id_may_be_used_again_right_after_its_exit(talk):
    for turn in range(8):
        outcome = await talk.run("bash", f"echo {turn}", id="same")
        assert outcome.stdout == f"{turn}\n"


async def test_a_run_beyond_the_slots_waits_its_turn_and_tells_how_long(one_slot):
    async with one_slot.talk() as talk, one_slot.talk() as other:
        await other.say("run", id="1", language="python", code=ECHO)
        await other.hear_started(id="1")
        await talk.say("run", id="2", language="python", code="print(2)")
        await talk.hear_kind("queued", id="2")
        await other.say("run", id="3", language="python", code="print(3)")
        assert (await other.hear_kind("queued", id="3"))["position"] == 2
        await talk.say("run", id="4", language="python", code="print(4)")
        refused = await talk.finish("4")
        assert refused.error["code"] == "queue_full"
        assert refused.error["retry_after_s"] > 0
        await other.say("eof", id="1")
        first, third = [await other.finish(name) for name in "13"]
        second = await talk.finish("2")
        assert (first.positions, second.positions) == ([], [1])
        assert third.positions[0] == 2
        assert (second.stdout, third.stdout) == ("2\n", "3\n")
        assert second.queued_ms > 0


# stages


async def test_a_compiled_language_builds_then_runs(talk, need):
    need("c")
    code = '#include <stdio.h>\nint main(void){char s[9]; scanf("%8s", s); printf("<%s>\\n", s);}'
    outcome = await talk.run("c", code, stdin="in\n")
    assert (outcome.stages, outcome.stdout) == (["build", "run"], "<in>\n")
    assert (outcome.stage, outcome.reason, outcome.code) == ("run", "exited", 0)


async def test_a_build_s_warnings_come_before_the_run(talk, need):
    need("c")
    outcome = await talk.run("c", '#warning careful\n#include <stdio.h>\nint main(){puts("x");}')
    kinds = [event["type"] for event in outcome.events]
    assert "careful" in outcome.stderr
    assert kinds[0] == "started"
    assert kinds.index("stderr") < len(kinds) - 1 - kinds[::-1].index("started")
    assert outcome.stdout == "x\n"


async def test_a_failing_build_ends_the_run(talk, need):
    need("c")
    outcome = await talk.run("c", "int main(void) { return nothing; }")
    assert (outcome.stage, outcome.stages) == ("build", ["build"])
    assert outcome.reason == "exited"
    assert outcome.code not in (0, None)
    assert "nothing" in outcome.stderr


async def test_a_build_takes_no_stdin_from_the_program(talk, need):
    need("c")
    files = [
        {"name": "main.c", "content": "#include <stdio.h>\nint main(){putchar(getchar());}"},
    ]
    outcome = await talk.run("c", files=files, stdin="Z")
    assert outcome.stdout == "Z"


async def test_several_sources_are_built_together(talk, need):
    need("c")
    files = [
        {
            "name": "main.c",
            "content": '#include <stdio.h>\n#include "lib/two.h"\n'
            'int main(){printf("%d\\n", two());}',
        },
        {"name": "lib/two.h", "content": "int two(void);"},
        {"name": "lib/two.c", "content": '#include "two.h"\nint two(void){return 2;}'},
    ]
    assert (await talk.run("c", files=files)).stdout == "2\n"


# args, env, command


async def test_args_arrive_as_they_are(talk):
    args = [
        "",
        " ",
        "a b",
        "'",
        '"',
        "\\",
        "$HOME",
        "`id`",
        "*",
        "-v",
        "--",
        "\n",
        "é😀",
        "a;b",
        "&",
        "\t",
        "!!",
    ]
    outcome = await talk.run(
        "python", "import sys, json; print(json.dumps(sys.argv[1:]))", args=args
    )
    assert json.loads(outcome.stdout) == args


async def test_args_reach_a_command_of_one_s_own(talk):
    code = "import sys; print(sys.argv[1:])"
    outcome = await talk.run("python", code, command="python main.py first", args=["a b", "$x"])
    assert outcome.stdout == "['first', 'a b', '$x']\n"


async def test_env_arrives_whatever_the_names(talk):
    env = {
        "K": "V",
        "UID": "7",
        "PPID": "8",
        "PATH": "/nowhere:/usr/local/bin:/usr/bin:/bin",
        "IFS": "x",
        "BASH_ENV": "/nonexistent",
        "SHELLOPTS": "",
        "HOME": "/tmp",
        "PYTHONUNBUFFERED": "",
        "ODD": " a'b\"c\\d\n$e`f`é😀 ",
        "mark": "m",
        "child": "c",
        "script": "s",
        "_x1": "",
    }
    code = f"import os, json; print(json.dumps({{k: os.environ.get(k) for k in {list(env)!r}}}))"
    outcome = await talk.run("python", code, env=env)
    assert json.loads(outcome.stdout) == env, outcome.stderr


async def test_the_container_s_own_environment_holds_nothing_of_the_run(talk):
    code = "import os; print(sorted(k for k in os.environ))"
    outcome = await talk.run("python", code)
    names = outcome.stdout
    for name in ("HOME", "PATH", "LANG"):
        assert f"'{name}'" in names
    for name in ("mark", "script", "size", "wall_s", "cpu_s"):
        assert f"'{name}'" not in names


async def test_command_replaces_the_run_command(talk):
    outcome = await talk.run("python", "print('not me')", command="echo a; echo b | tr b c; exit 4")
    assert (outcome.stdout, outcome.code) == ("a\nc\n", 4)


async def test_a_command_that_is_not_there_says_so(talk):
    outcome = await talk.run("python", "1", command="no-such-thing --x")
    assert (outcome.reason, outcome.code) == ("exited", 127)
    assert "no-such-thing" in outcome.stderr


# files


async def test_files_arrive_as_they_are(talk):
    blobs = {
        "text.txt": b"line\nno end",
        "newlines.txt": b"\n\nx\n\n\n",
        "nul.bin": b"a\0b\n\0",
        "latin.bin": bytes(range(256)),
        "big.bin": bytes(i * 7 % 256 for i in range(200_000)),
        "big.txt": b"0123456789abcdef" * 8192,
        "edge.txt": b"e" * 65536,
        "edge+1.txt": b"f" * 65537,
        "sub/folder/x.txt": b"deep",
        'sub/y\'s "file" $HOME.txt': b"quoted",
        "-dash": b"dash",
        " space ": b"space",
        "é😀": b"unicode",
        "percent%s\\n": b"%s\\n%d",
        "empty": b"",
    }
    code = (
        "import json, hashlib, sys, os\n"
        "names = json.load(open('names.json'))\n"
        "digest = lambda n: hashlib.sha256(open('./' + n, 'rb').read()).hexdigest()\n"
        "print(json.dumps({n: digest(n) for n in names}))"
    )
    files = [
        {"name": "main.py", "content": code},
        {"name": "names.json", "content": json.dumps(list(blobs))},
    ]
    for index, (name, data) in enumerate(blobs.items()):
        if index % 2 and b"\0" not in data:
            try:
                files.append({"name": name, "content": data.decode()})
                continue
            except UnicodeDecodeError:
                pass
        files.append({"name": name, "base64": base64.b64encode(data).decode()})
    outcome = await talk.run("python", files=files, stdin="kept\n")
    assert json.loads(outcome.stdout) == {
        name: hashlib.sha256(data).hexdigest() for name, data in blobs.items()
    }, outcome.stderr


async def test_stdin_follows_raw_files_untouched(talk):
    files = [
        {
            "name": "main.py",
            "content": "import sys; print(open('b','rb').read(), sys.stdin.read())",
        },
        {"name": "b", "base64": base64.b64encode(b"\0\n\0").decode()},
    ]
    assert (await talk.run("python", files=files, stdin="in\n")).stdout == "b'\\x00\\n\\x00' in\n\n"


async def test_an_empty_main_file_runs(talk):
    for request in ({"code": ""}, {"files": [{"name": "main.py", "content": ""}]}):
        outcome = await talk.run("python", **request)
        assert (outcome.reason, outcome.code, outcome.stdout) == ("exited", 0, "")


async def test_the_main_file_may_have_any_name(talk):
    files = [{"name": "deep/er/my prog.py", "content": "import sys; print(sys.argv[0])"}]
    assert (await talk.run("python", files=files)).stdout == "deep/er/my prog.py\n"


async def test_each_run_has_a_file_system_of_its_own(talk):
    await talk.run("python", "open('left.txt', 'w').write('x'); open('/tmp/left', 'w').write('x')")
    outcome = await talk.run("python", "import os; print(os.listdir('.'), os.listdir('/tmp'))")
    assert outcome.stdout == "['main.py'] []\n"


# limits and reasons


async def test_wall_limit_is_a_timeout(talk):
    outcome = await talk.run("python", READY_THEN_WAIT, limits={"wall_s": 0.5})
    assert (outcome.reason, outcome.stage, outcome.stdout) == ("timeout", "run", "ready\n")
    assert outcome.wall_ms >= 500


async def test_wall_limit_counts_the_build_too(talk, need):
    need("c")
    outcome = await talk.run("c", ENDLESS_BUILD, limits={"wall_s": 0.5})
    assert (outcome.reason, outcome.stage) == ("timeout", "build")


async def test_cpu_limit(talk):
    outcome = await talk.run("python", "while True: pass", limits={"cpu_s": 1})
    assert outcome.reason == "cpu_limit"
    assert outcome.cpu_ms > 100


async def test_cpu_limit_of_a_program_behind_a_shell(talk):
    outcome = await talk.run(
        "python", "while True: pass", command="python main.py; exit $?", limits={"cpu_s": 1}
    )
    assert outcome.reason == "cpu_limit"


async def test_memory_limit(talk):
    code = "print('start', flush=True)\nx = []\nwhile True: x.append(bytearray(10**6))"
    outcome = await talk.run("python", code, limits={"memory_mb": 32})
    assert (outcome.reason, outcome.stdout) == ("out_of_memory", "start\n")


async def test_output_limit_delivers_up_to_the_limit(talk):
    code = "while True: print('0123456789')"
    outcome = await talk.run("python", code, limits={"output_kb": 5})
    assert (outcome.reason, outcome.truncated) == ("output_limit", True)
    assert outcome.output_bytes == 5 * 1024
    assert outcome.stdout == ("0123456789\n" * 500)[: 5 * 1024]


async def test_output_of_exactly_the_limit_is_no_output_limit(talk):
    outcome = await talk.run("python", "print('x' * 1023)", limits={"output_kb": 1})
    assert (outcome.reason, outcome.truncated, outcome.output_bytes) == ("exited", False, 1024)


async def test_stdout_and_stderr_count_together(talk):
    code = (
        "import sys\n"
        "print('e' * 2000, file=sys.stderr, flush=True)\n"
        "input()\n"
        "print('o' * 5000, flush=True)\n"
        "input()"
    )
    await talk.say("run", language="python", code=code, limits={"output_kb": 4})
    await talk.hear_output("e\n", kind="stderr")
    await talk.say("stdin", data="\n")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.output_bytes) == ("output_limit", 4096)
    assert (outcome.stdout, outcome.stderr) == ("o" * (4096 - 2001), "e" * 2000 + "\n")


async def test_pids_limit(talk):
    code = (
        "import os, threading, time\n"
        "n = 0\n"
        "try:\n"
        "    while True:\n"
        "        threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); n += 1\n"
        "except RuntimeError: print(n < 16, flush=True); os._exit(0)"
    )
    outcome = await talk.run("python", code, limits={"pids": 16})
    assert (outcome.stdout, outcome.reason) == ("True\n", "exited")


@pytest.mark.parametrize(
    ("limits", "place"),
    [
        ({"wall_s": 10**6}, "wall_s"),
        ({"wall_s": 0}, "wall_s"),
        ({"wall_s": -1}, "wall_s"),
        ({"cpu_s": 10**6}, "cpu_s"),
        ({"memory_mb": 10**6}, "memory_mb"),
        ({"memory_mb": 1}, "memory_mb"),
        ({"output_kb": 10**9}, "output_kb"),
        ({"output_kb": 0}, "output_kb"),
        ({"pids": 10**6}, "pids"),
        ({"pids": 0}, "pids"),
    ],
)
async def test_limits_may_only_lower_what_the_server_allows(talk, limits, place):
    outcome = await talk.run("python", "print(1)", limits=limits)
    assert outcome.error["code"] == "limit_out_of_range"
    assert outcome.error["path"] == f"$.limits.{place}"
    (value,) = limits.values()
    assert f"{value} " in outcome.error["message"]


async def test_the_sandbox_holds(talk):
    code = """
import os, socket
open("/tmp/x", "w").write("#!/bin/sh\\n")
os.chmod("/tmp/x", 0o755)
print(os.getuid(), os.getcwd())
for what, act in {
    "root": lambda: open("/etc/x", "w"),
    "exec": lambda: os.execv("/tmp/x", ["x"]),
    "chown": lambda: os.chown("main.py", 0, 0),
    "setuid": lambda: os.setuid(0),
    "net": lambda: socket.create_connection(("1.1.1.1", 53), 3),
    "mount": lambda: open("/proc/sysrq-trigger", "w"),
}.items():
    try:
        act()
        print(what, "worked")
    except OSError as e:
        print(what, "refused")
"""
    outcome = await talk.run("python", code)
    uid = int(outcome.stdout.split()[0])
    assert uid in UIDS
    assert outcome.stdout.splitlines() == [
        f"{uid} /home/glot",
        *(f"{what} refused" for what in ("root", "exec", "chown", "setuid", "net", "mount")),
    ]


# refusals


async def test_an_unknown_language_is_told_with_the_closest(talk):
    outcome = await talk.run("pyton", "print(1)")
    assert outcome.error["code"] == "unknown_language"
    assert outcome.error["path"] == "$.language"
    assert "python" in outcome.error["message"]


async def test_a_missing_image_is_told_with_the_command_that_fetches_it(talk, server):
    # One that nothing builds here, for others may build images meanwhile.
    unbuilt = {language.id for language in languages.load() if not language.local_image}
    missing = [
        entry["id"]
        for entry in server.languages()
        if not entry["present"] and entry["id"] in unbuilt
    ]
    assert missing
    outcome = await talk.run(missing[0], "x", id="m")
    assert outcome.error["code"] == "image_missing"
    assert f"wsrunner images pull {missing[0]}" in outcome.error["message"]


async def test_too_many_runs_a_minute_are_rate_limited(start_server):
    server = start_server(runs_per_minute=2)
    async with server.talk() as talk, server.talk() as other:
        assert (await talk.run("bash", "echo 1")).stdout == "1\n"
        assert (await other.run("bash", "echo 2")).stdout == "2\n"
        refused = await other.run("bash", "echo 3")
        assert refused.error["code"] == "rate_limited"
        assert 0 < refused.error["retry_after_s"] <= 30
    async with server.plain("bash") as plain:
        await plain.send("echo 4")
        await plain.wait_closed()
        assert plain.close_code == 1013
        assert plain.close_reason.startswith("rate_limited")
    refused_runs = 'wsrunner_refused_runs_total{code="rate_limited"}'
    assert server.metrics()[refused_runs] == 2


async def test_more_than_a_hundred_runs_on_one_socket_are_busy(start_server):
    server = start_server(slots=1, queue_max=200)
    async with server.talk() as talk:
        await talk.say("run", id="0", language="bash", code="read x")
        for number in range(1, 101):
            await talk.say("run", id=str(number), language="bash", code="echo")
        outcome = await talk.finish("100")
        assert outcome.error["code"] == "busy"
        assert "100 runs" in outcome.error["message"]
    server.settle()


async def test_engine_slots_bound_the_runs_of_this_server(start_server):
    server = start_server(slots=8, engine_slots=1)
    async with server.talk() as talk:
        await talk.say("run", id="1", language="bash", code="read x; echo $x")
        await talk.hear_started(id="1")
        await talk.say("run", id="2", language="bash", code="echo 2")
        await talk.hear_kind("queued", id="2")
        await talk.say("stdin", id="1", data="1\n")
        assert (await talk.finish("1")).stdout == "1\n"
        assert (await talk.finish("2")).stdout == "2\n"


async def test_sockets_are_served_side_by_side(server):
    async def one(number):
        async with server.talk() as talk:
            return (await talk.run("bash", f"echo {number}")).stdout

    assert await asyncio.gather(*map(one, range(12))) == [f"{number}\n" for number in range(12)]
