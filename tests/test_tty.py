"""Terminal runs: a pseudo-terminal in a real container, seen over the JSON protocol."""

import base64
import hashlib

import pytest

from tests.serving import until

READY_THEN_WAIT = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
TTY = {"columns": 91, "rows": 37}


async def test_the_program_reads_its_window_size(talk):
    outcome = await talk.run("bash", "stty size; tty >/dev/null && echo terminal", tty=TTY)
    assert outcome.stdout == "37 91\r\nterminal\r\n"
    assert (outcome.reason, outcome.code) == ("exited", 0)


async def test_the_window_is_80_by_24_unless_told(talk):
    assert (await talk.run("bash", "stty size", tty={})).stdout == "24 80\r\n"


async def test_stdin_and_both_outputs_are_terminals_and_come_as_one_stream(talk):
    code = (
        "import os, sys\nprint([os.isatty(fd) for fd in range(3)])\n"
        "print('err', file=sys.stderr)\nprint('out')"
    )
    outcome = await talk.run("python", code, tty=TTY)
    assert outcome.stdout == "[True, True, True]\r\nerr\r\nout\r\n"
    assert outcome.stderr == ""


async def test_resize_changes_the_window_and_tells_the_program(talk):
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print(os.get_terminal_size(), flush=True))\n"
        "print('ready', flush=True)\n"
        "import time\nwhile True: time.sleep(0.05)"
    )
    await talk.say("run", language="python", code=code, tty=TTY)
    await talk.hear_output("ready")
    for columns, rows in [(100, 30), (1, 1), (1000, 1000)]:
        await talk.say("resize", columns=columns, rows=rows)
        await talk.hear_output(f"columns={columns}, lines={rows}")
    await talk.say("cancel")
    assert (await talk.finish()).reason == "cancelled"


@pytest.mark.parametrize("after_start", [False, True])
async def test_a_resize_before_the_program_runs_is_kept_for_it(talk, after_start):
    code = "import os, time\nwhile os.get_terminal_size() != (101, 31): time.sleep(0.05)"
    await talk.say("run", language="python", code=code, tty=TTY)
    if after_start:
        await talk.hear_started()
    await talk.say("resize", columns=99, rows=33)
    await talk.say("resize", columns=101, rows=31)
    assert (await talk.finish()).code == 0


async def test_resize_of_a_run_without_terminal_is_refused(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT)
    await talk.hear_output("ready")
    await talk.say("resize", columns=80, rows=24)
    error = await talk.hear_error()
    assert error["code"] == "no_such_run"
    assert "terminal" in error["message"]
    await talk.say("cancel")
    assert (await talk.finish()).reason == "cancelled"


async def test_the_terminal_echoes_and_hands_over_lines(talk):
    await talk.say("run", language="bash", code="read x; echo got $x", tty=TTY)
    await talk.hear_started()
    await talk.say("stdin", data="hello\r")
    outcome = await talk.finish()
    assert outcome.stdout == "hello\r\ngot hello\r\n"


async def test_what_is_typed_before_the_start_is_kept(talk):
    await talk.say("run", language="bash", code="read x; echo got $x; read y; echo got $y", tty=TTY)
    await talk.say("stdin", data="one\ntwo\n")
    outcome = await talk.finish()
    assert "got one\r\n" in outcome.stdout
    assert "got two\r\n" in outcome.stdout


async def test_stdin_given_with_the_run_is_typed_and_ended(talk):
    outcome = await talk.run("bash", "cat; echo end", stdin="a\nb\n", tty=TTY)
    assert outcome.stdout.endswith("end\r\n")
    assert "a\r\nb\r\n" in outcome.stdout


async def test_a_prompt_without_newline_shows(talk):
    await talk.say("run", language="python", code="print('<' + input('name? ') + '>')", tty=TTY)
    await talk.hear_output("name? ")
    await talk.say("stdin", data="Ada\n")
    assert (await talk.finish()).stdout == "name? Ada\r\n<Ada>\r\n"


async def test_ctrl_c_as_a_byte_interrupts(talk):
    code = (
        "import time\n"
        "try:\n  print('ready', flush=True)\n  while True: time.sleep(0.05)\n"
        "except KeyboardInterrupt: print('interrupted'); raise SystemExit(5)"
    )
    await talk.say("run", language="python", code=code, tty=TTY)
    await talk.hear_output("ready")
    await talk.say("stdin", data="\x03")
    outcome = await talk.finish()
    assert "interrupted\r\n" in outcome.stdout
    assert (outcome.reason, outcome.code) == ("exited", 5)


async def test_no_ctrl_c_is_lost_when_many_end_at_once(talk):
    """The bootstrap gets the key's signal too, in the instant in which the program ends by it."""
    names = [f"t{number}" for number in range(16)]
    for name in names:
        await talk.say("run", id=name, language="bash", code="echo ready; sleep 60", tty=TTY)
    for name in names:
        await talk.hear_output("ready", id=name)
        await talk.say("stdin", id=name, data="\x03")
    for name in names:
        outcome = await talk.finish(id=name)
        assert (outcome.reason, outcome.signal) == ("signaled", "SIGINT")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
async def test_a_signal_message_reaches_the_program(talk, name):
    code = (
        f"import signal, sys\ndef f(*_): print('got {name}', flush=True); sys.exit(7)\n"
        f"signal.signal(signal.{name}, f)\nprint('ready', flush=True)\n"
        "import time\nwhile True: time.sleep(0.05)"
    )
    await talk.say("run", language="python", code=code, tty=TTY)
    await talk.hear_output("ready")
    await talk.say("signal", signal=name)
    outcome = await talk.finish()
    assert f"got {name}\r\n" in outcome.stdout
    assert (outcome.reason, outcome.code) == ("exited", 7)


async def test_sigkill_ends_it_and_is_told(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT, tty=TTY)
    await talk.hear_output("ready")
    await talk.say("signal", signal="SIGKILL")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.signal) == ("signaled", "SIGKILL")


async def test_eof_ends_a_read_and_may_be_sent_again(talk):
    code = (
        "import sys\nfor _ in range(2):\n"
        "    print('read', repr(sys.stdin.readline()), flush=True)\nprint('done')"
    )
    await talk.say("run", language="python", code=code, tty=TTY)
    await talk.hear_started()
    await talk.say("eof")
    await talk.hear_output("read ''")
    await talk.say("eof")
    assert "done\r\n" in (await talk.finish()).stdout


@pytest.mark.parametrize("code", [0, 3, 130, 137, 139, 255])
async def test_exit_codes_are_told_from_signals(talk, code):
    outcome = await talk.run("python", f"import os; os._exit({code})", tty=TTY)
    assert (outcome.reason, outcome.code) == ("exited", code)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGTERM"])
async def test_a_program_that_dies_of_a_signal_is_signaled(talk, name):
    code = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    outcome = await talk.run("python", code, tty=TTY)
    assert (outcome.reason, outcome.signal) == ("signaled", name)


async def test_an_interactive_shell_with_job_control(talk):
    # Keys wait for something that reads them: what comes between two commands of a shell, or while
    # it takes the terminal back, ends neither or gets lost.
    prompt = {"PS1": "<$?> "}
    await talk.say("run", language="bash", code="", command="bash --norc -i", env=prompt, tty=TTY)
    await talk.hear_output("<0> ")
    await talk.say("stdin", data="sed -u s/m/w/\n")
    await talk.say("stdin", data="meow\n")
    await talk.hear_output("weow\r\n")
    await talk.say("stdin", data="\x03")
    await talk.hear_output("<130> ")
    await talk.say("stdin", data="sed -u s/m/p/\n")
    await talk.say("stdin", data="moor\n")
    await talk.hear_output("poor\r\n")
    await talk.say("stdin", data="\x1a")
    await talk.hear_output("Stopped")
    await talk.hear_output("<148> ")
    await talk.say("stdin", data="kill %1; exit 4\n")
    # The shell warns once of stopped jobs.
    await talk.say("stdin", data="exit 4\n")
    outcome = await talk.finish()
    assert (outcome.reason, outcome.code) == ("exited", 4)
    assert "wsrunner" not in outcome.stdout.replace("@wsrunner", "")


async def test_builds_and_runs_on_a_terminal(talk, need):
    need("c")
    code = '#include <stdio.h>\n#include <unistd.h>\nint main(){printf("%d", isatty(1)); return 3;}'
    outcome = await talk.run("c", code, tty=TTY)
    assert (outcome.stages, outcome.stdout, outcome.code) == (["build", "run"], "1", 3)


async def test_limits_hold_on_a_terminal_too(talk):
    outcome = await talk.run("python", READY_THEN_WAIT, tty=TTY, limits={"wall_s": 0.5})
    assert outcome.reason == "timeout"
    outcome = await talk.run("bash", "yes", tty=TTY, limits={"output_kb": 4})
    assert (outcome.reason, outcome.output_bytes) == ("output_limit", 4096)


async def test_files_with_every_byte_arrive_on_a_terminal_too(talk):
    data = bytes(range(256)) * 300
    files = [
        {"name": "main.sh", "content": "sha256sum <x.bin"},
        {"name": "x.bin", "base64": base64.b64encode(data).decode()},
    ]
    outcome = await talk.run("bash", files=files, tty=TTY)
    assert outcome.stdout == hashlib.sha256(data).hexdigest() + "  -\r\n"


async def test_terminal_and_piped_runs_share_a_socket(talk):
    await talk.say("run", id="t", language="bash", code="read x; stty size", tty=TTY)
    await talk.say("run", id="p", language="bash", code="read x; echo piped $x")
    await talk.say("stdin", id="p", data="in\n")
    await talk.say("stdin", id="t", data="in\n")
    assert (await talk.finish("p")).stdout == "piped in\n"
    assert "37 91\r\n" in (await talk.finish("t")).stdout


async def test_every_key_reaches_a_program_in_raw_mode(talk):
    code = (
        "import os, tty\ntty.setraw(0)\nos.write(1, b'ready')\ndata = b''\n"
        "while len(data) < 1024: data += os.read(0, 1024)\n"
        "os.write(1, b' same' if data == bytes(range(256)) * 4 else repr(data).encode())"
    )
    await talk.say("run", language="python", code=code, tty=TTY)
    await talk.hear_output("ready")
    data = bytes(range(256))
    await talk.say("stdin", base64=base64.b64encode(data * 2).decode())
    for byte in data * 2:
        await talk.say("stdin", base64=base64.b64encode(bytes([byte])).decode())
    assert (await talk.finish()).stdout == "ready same"


async def test_a_language_with_spare_containers_has_one_with_a_terminal_too(start_server):
    server = start_server(warm="bash=2,python=0", warm_terminals=1)

    def spares():
        found = server.metrics()
        return {key: int(value) for key, value in found.items() if "pool_containers{" in key}

    until(lambda: sorted(spares().values()) == [1, 2], "two spares, and one with a terminal")
    async with server.talk() as talk:
        outcome = await talk.run("bash", "tty >/dev/null && stty size", tty=TTY)
    assert outcome.stdout == "37 91\r\n"
    assert server.metrics()['wsrunner_pool_leases_total{outcome="hit"}'] == 1
    until(lambda: sorted(spares().values()) == [1, 2], "as many again")
