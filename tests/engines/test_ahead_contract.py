"""What every engine promises of a program that it has started before the plan came."""

import pytest

from tests.engines.test_engine_contract import hear, hear_end, hear_text, text
from wsrunner.engines.base import STDERR, Ahead, Plan, Report
from wsrunner.engines.dialogue.bootstrap import AHEAD_MAX_BYTES

SHELL = Ahead(file="main", stage="run", line="sh main", live_env=(("LIVE", "1"),), cpu_s=60)
# A shell keeps its script open: it was a FIFO, which is gone, or it is the file.
WHICH = (
    "case $(ls -l /proc/$$/fd 2>/dev/null) in "
    "*'main (deleted)'*) echo ahead ;; *) echo anew ;; esac\n"
)


def plan(source, *, run="sh main", cpu_s=60, ahead=True, file="main", build=(), **fields):
    files = {file: source.encode() if isinstance(source, str) else source}
    defaults = {"live_env": {"LIVE": "1"}, "files": files} | fields
    return Plan(build=build, run=run, wall_s=60, cpu_s=cpu_s, ahead=ahead, **defaults)


async def outcome(container, plan):
    container.begin(plan)
    container.write_eof()
    return await hear_end(container)


async def test_a_plan_that_begins_with_it_has_it_go_on(start):
    container = await start(ahead=SHELL)
    heard = await outcome(container, plan(WHICH + 'echo "$0 $# $LIVE"; cat main; exit 7'))
    assert text(heard) == f'ahead\nmain 0 1\n{WHICH}echo "$0 $# $LIVE"; cat main; exit 7'
    assert [(item.stage, item.code) for item in heard if isinstance(item, Report)] == [("run", 7)]


OTHERS = {
    "arguments": plan(WHICH, args=["a"]),
    "a variable": plan(WHICH, env={"A": "b"}),
    "one stream": plan(WHICH, merge=True),
    "another command": plan(WHICH, run="sh ./main"),
    "a shell's command": plan(WHICH, run="sh main; true"),
    "another file": plan(WHICH, run="sh other", file="other"),
    "another limit of CPU time": plan(WHICH, cpu_s=30),
    "other live variables": plan(WHICH, live_env={"LIVE": "2"}),
    "no variables": plan(WHICH, live_env={}),
    "a build": plan(WHICH, build=["true"]),
    "files that do not allow it": plan(WHICH, ahead=False),
    "bytes that no shell holds": plan(WHICH.encode() + b"exit\n\0"),
    "what is no UTF-8": plan(WHICH.encode() + b"exit\n\xff"),
    "more than a pipe takes": plan(WHICH + "#" * AHEAD_MAX_BYTES),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_any_other_plan_starts_its_program_anew(start, name):
    container = await start(ahead=SHELL)
    heard = await outcome(container, OTHERS[name])
    assert (text(heard), text(heard, STDERR)) == ("anew\n", "")
    assert heard[-1].code == 0


async def test_further_files_are_there_before_it_goes_on(start):
    container = await start(ahead=SHELL)
    files = {"main": (WHICH + ". ./lib/more\n").encode(), "lib/more": b"echo more"}
    heard = await outcome(container, plan("", files=files))
    assert text(heard) == "ahead\nmore\n"


@pytest.mark.parametrize("source", ["", "\n", "exit 3", "# " + "x" * (AHEAD_MAX_BYTES - 2)])
async def test_a_source_of_any_size_comes_to_its_end(start, source):
    container = await start(ahead=SHELL)
    heard = await outcome(container, plan(source))
    assert [item.code for item in heard] == [3 if source.startswith("exit") else 0]


async def test_input_is_the_programs(start):
    container = await start(ahead=SHELL)
    container.begin(plan(WHICH + "read -r a; echo $a; cat"))
    container.write(b"one\ntwo\nthree")
    container.write_eof()
    assert text(await hear_end(container)) == "ahead\none\ntwo\nthree"


async def test_a_builds_command_can_wait_too(start):
    build = Ahead(file="main", stage="build", line="cp main out", live_env=(), cpu_s=60)
    container = await start(ahead=build)
    made = plan("echo built; cat", build=["cp main out"], run="sh out", live_env={})
    container.begin(made)
    container.write(b"input")
    container.write_eof()
    heard = await hear_end(container)
    stages = [(item.stage, item.code) for item in heard if isinstance(item, Report)]
    assert (text(heard), stages) == ("built\ninput", [("build", 0), ("run", 0)])


async def test_a_builds_run_may_have_arguments(start):
    build = Ahead(file="main", stage="build", line="cp main out", live_env=(), cpu_s=60)
    container = await start(ahead=build)
    made = plan("echo $1", build=["cp main out"], run="sh out", args=["x y"], live_env={})
    assert text(await outcome(container, made)) == "x y\n"


@pytest.mark.parametrize(
    "line",
    [
        "sh -c 'exec 3<main; test -s main && cat main'",  # opens it, then dies
        "sh -c 'test -s main && cat main'",  # never opens it
        "sh -c 'kill -9 $$; cat main'",
    ],
)
async def test_one_that_dies_before_its_plan_costs_nothing(start, line):
    container = await start(ahead=Ahead("main", "run", line, (), 60))
    heard = await outcome(container, plan("said", run=line, live_env={}))
    killed = "kill" in line
    assert text(heard) == ("" if killed else "said")
    assert [(item.code, item.signal) for item in heard if isinstance(item, Report)] == [
        (None, 9) if killed else (0, None)
    ]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL", "SIGUSR1"])
async def test_a_signal_in_the_instant_of_the_plan_reaches_it(start, name):
    container = await start(ahead=SHELL)
    container.begin(plan("exec sleep 60"))
    await container.signal(name)
    *_, report = await hear(container)
    numbers = {"SIGINT": 2, "SIGKILL": 9, "SIGUSR1": 10, "SIGTERM": 15}
    assert (report.signal, report.code) == (numbers[name], None)


async def test_a_program_that_was_started_ahead_can_handle_signals(start):
    container = await start(ahead=SHELL)
    container.begin(plan("trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.1; done"))
    heard = []
    await hear_text(container, "ready", heard)
    await container.signal("SIGINT")
    heard += await hear(container)
    assert text(heard) == "ready\ngot\n"
    assert heard[-1].code == 5


async def test_the_limit_of_cpu_time_holds(start):
    container = await start(ahead=Ahead("main", "run", "sh main", (), 1))
    heard = await outcome(container, plan("while :; do :; done", cpu_s=1, live_env={}))
    assert heard[-1].signal == 24  # SIGXCPU


async def test_what_it_takes_to_come_up_is_not_the_runs(start):
    line = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sh main'"
    container = await start(ahead=Ahead("main", "run", line, (), 60))
    heard = await outcome(container, plan("cat /proc/$$/stat", run=line, live_env={}))
    ticks = sum(map(int, text(heard).rpartition(")")[2].split()[11:13]))
    report = heard[-1]
    # Of a process of this machine it is the machine's.
    if report.cpu_s is not None and container.__class__.__name__ != "ProcessContainer":
        assert report.cpu_s < ticks / 100 / 2


@pytest.mark.docker
async def test_one_that_is_dropped_leaves_nothing(start, engine):
    line = "sh -c 'echo x >left; echo x >.left; echo x >/tmp/left; sleep 600 & exec sh main'"
    ahead = Ahead("main", "run", line, (), 60)
    container = await start(ahead=ahead)
    if container.__class__.__name__ == "ProcessContainer":
        pytest.skip("only in a container is all that is there from the program")
    run = "sh -c 'ls -A . /tmp; for p in /proc/[0-9]*; do cat $p/comm; done | sort | uniq -c'"
    heard = await outcome(container, plan("", run=run, live_env={}))
    listing, _, processes = text(heard).partition("/tmp:\n")
    assert listing.split() == [".:", "main"]
    assert "left" not in processes
    assert "sleep" not in processes


@pytest.mark.docker
async def test_what_it_says_before_its_plan_is_not_said_twice(start, engine):
    line = "sh -c 'echo early; exec sh main'"
    if engine.__class__.__name__ != "DockerEngine":
        pytest.skip("the test's own engine takes no early output")
    container = await start(ahead=Ahead("main", "run", line, (), 60))
    heard = await outcome(container, plan("echo late", run=line, live_env={}))
    assert text(heard) == "early\nlate\n"
