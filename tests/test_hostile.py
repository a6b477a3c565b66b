"""Programs and clients that attack: the outcome stays honest, the server small."""

import asyncio
from pathlib import Path

from tests.docker_fixtures import absent
from tests.serving import until

FIND_MARK = r"""
import os, re, sys, time
mark = None
for line in open(f"/proc/{os.getppid()}/maps"):
    span, rights = line.split()[:2]
    if "r" not in rights or line.split()[-1].startswith("[v"):
        continue
    start, end = (int(part, 16) for part in span.split("-"))
    try:
        with open(f"/proc/{os.getppid()}/mem", "rb", 0) as memory:
            memory.seek(start)
            found = re.search(rb"\x1e[0-9a-f]{32}", memory.read(end - start))
    except OSError:
        continue
    if found:
        mark = found[0]
        break
print("found" if mark else "not found", flush=True)
if not mark:
    sys.exit()
"""
"""Looks for the run's mark in the bootstrap's memory; a kernel may forbid that."""


async def forge(talk, code):
    """Run a program that knows the mark; return its outcome, and that of a run after it."""
    outcome = await talk.run("python", FIND_MARK + code, limits={"output_kb": 64, "wall_s": 20})
    assert (await talk.run("python", "print('well')")).stdout == "well\n"
    return outcome


def holds(outcome, reason):
    if "not found" in outcome.stdout:
        absent("access to the memory of the first processes")
    assert outcome.reason == reason, outcome


async def test_a_flood_behind_a_forged_mark_is_bounded_and_ended(server, talk):
    code = "os.write(1, mark)\nwhile True: os.write(1, b'x' * 65536)"
    before_kb = server.resident_kb()
    holds(await forge(talk, code), "signaled")
    assert server.resident_kb() - before_kb < 64 * 1024


async def test_a_forged_report_that_is_none_still_ends_with_one_exit(talk):
    code = "os.write(1, mark)\nos.write(2, mark + b' run zero exited - - -\\n')\ntime.sleep(60)"
    holds(await forge(talk, code), "signaled")


async def test_a_forged_report_of_another_stage_ends_the_run(talk):
    code = "os.write(1, mark)\nos.write(2, mark + b' build 0 exited - - -\\n')\ntime.sleep(60)"
    holds(await forge(talk, code), "signaled")


async def test_a_program_that_ignores_the_cpu_limit_is_killed_for_it(talk):
    code = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert (await talk.run("python", code, limits={"cpu_s": 1})).reason == "cpu_limit"


FORK_CHAIN = """
import os, time
for link in range(40):
    while time.process_time() < 0.25: pass
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)
    os.setsid()
"""
"""Uses ten seconds of CPU time, a quarter of one in each process."""


async def test_a_chain_of_processes_has_one_limit_of_cpu_time(talk):
    outcome = await talk.run("python", FORK_CHAIN, limits={"cpu_s": 1})
    assert outcome.reason == "cpu_limit"
    # Far from what it would have used, though the machine be busy with other things.
    assert outcome.cpu_ms < 5000


async def test_a_program_can_not_raise_its_cpu_limit(talk):
    code = (
        "import resource\n"
        "try: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\n"
        "except ValueError: print('refused')\n"
    )
    assert (await talk.run("python", code, limits={"cpu_s": 1})).stdout == "refused\n"


async def test_a_program_that_stops_itself_and_goes_on_ends_as_it_ends(talk, need):
    need("bash")
    code = "(sleep 0.3; kill -CONT $$) & kill -STOP $$; echo continued; exit 3"
    outcome = await talk.run("bash", code)
    assert (outcome.stdout, outcome.reason, outcome.code) == ("continued\n", "exited", 3)


async def test_a_flood_of_signals_opens_no_flood_of_connections(server, talk):
    code = (
        "import os, signal\n"
        "count = 0\n"
        "def hangup(number, frame):\n"
        "    global count\n"
        "    count += 1\n"
        # The next signal may come in the middle of this, which print() does not bear.
        "    os.write(1, b'%d\\n' % count)\n"
        "signal.signal(signal.SIGHUP, hangup)\n"
        "print('ready', flush=True)\n"
        "input()"
    )
    await talk.say("run", language="python", code=code)
    await talk.hear_output("ready\n")
    descriptors = Path(f"/proc/{server.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for number in range(500):
        await talk.say("signal", signal="SIGHUP")
        # The server answers in order: once it refuses this, it has taken the signal.
        await talk.say("signal", id=f"none{number}", signal="SIGHUP")
        assert (await talk.hear_kind("error", f"none{number}"))["code"] == "no_such_run"
        assert len(list(descriptors.iterdir())) < before + 20
    await talk.say("eof")
    outcome = await talk.finish()
    assert outcome.reason == "exited"
    # Signals that come while one is on its way are one, as for any process.
    assert int(outcome.stdout.split()[-1]) > 1


# What the kernel counts by user: each takes one more and returns whether that was refused.
COUNTED_BY_USER = """
import ctypes, itertools, os
libc = ctypes.CDLL(None, use_errno=True)
numbers = itertools.count()
timer = ctypes.c_void_p()
resources = {
    "pending signals": lambda: libc.timer_create(0, None, ctypes.byref(timer)) < 0,
    "inotify instances": lambda: libc.inotify_init() < 0,
    "POSIX queues": lambda: libc.mq_open(b"/%d" % next(numbers), os.O_CREAT, 0o600, None) < 0,
}
"""
TAKE_ALL = f"""{COUNTED_BY_USER}
for take in resources.values():
    while not take(): pass
print("all taken", flush=True)
input()
"""
TAKE_ONE = f"""{COUNTED_BY_USER}
for take in resources.values():
    print("refused" if take() else "granted")
"""


async def beside_a_run_that_takes_all(server):
    """Return what is granted to a run whose neighbour has all that its user may have."""
    async with server.talk() as talk:
        await talk.say("run", id="greedy", language="python", code=TAKE_ALL)
        await talk.hear_output("all taken\n", id="greedy")
        neighbour = await talk.run("python", TAKE_ONE, id="neighbour")
        await talk.say("eof", id="greedy")
        await talk.finish("greedy")
    return neighbour.stdout.split()


async def test_a_run_that_takes_all_its_user_may_have_takes_nothing_from_others(server):
    assert await beside_a_run_that_takes_all(server) == ["granted"] * 3


async def test_runs_that_share_a_user_share_what_it_may_have(start_server):
    server = start_server(slots=2, uids="4242")
    assert await beside_a_run_that_takes_all(server) == ["refused"] * 3
    server.settle()


async def test_live_containers_never_have_the_same_user(start_server):
    # Each finds the one number that is left.
    server = start_server(slots=3, warm_max=0, uids="50000-50002")
    async with server.talk() as talk:
        for name in "abc":
            await talk.say("run", id=name, language="bash", code="id -u; read x")
        seen = {(await talk.hear_output("\n", id=name)).strip() for name in "abc"}
        assert seen == {"50000", "50001", "50002"}


async def test_where_no_user_is_left_the_run_is_refused_with_the_setting_s_name(start_server):
    first = start_server(slots=2, warm_max=0, uids="50010-50011")
    second = start_server(slots=2, warm_max=0, uids="50010-50011")
    async with first.talk() as talk, second.talk() as other:
        for name in "ab":
            await talk.say("run", id=name, language="bash", code="echo ready; read x")
            await talk.hear_output("ready\n", id=name)
        refused = await other.run("bash", "echo")
        assert refused.error["code"] == "engine_unavailable"
        assert "50010-50011 (--uids)" in refused.error["message"]
        await talk.say("eof", id="a")
        await talk.finish("a")
        await asyncio.to_thread(until, lambda: len(first.containers()) == 1, "a user is free")
        assert (await other.run("bash", "echo free")).stdout == "free\n"


async def test_stdin_of_a_terminal_ends_without_a_last_newline(talk, need):
    need("bash")
    outcome = await talk.run("bash", "cat; echo; echo end", stdin="abc", tty={})
    assert outcome.reason == "exited"
    assert "end" in outcome.stdout


async def test_a_long_argument_is_refused_by_name_limit_and_unit(talk):
    outcome = await talk.run("python", "", args=["x" * 140_000])
    assert outcome.error["code"] == "too_large"
    assert outcome.error["path"] == "$.args[0]"
    assert "140000 bytes" in outcome.error["message"]
