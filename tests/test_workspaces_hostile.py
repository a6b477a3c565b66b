"""Programs that try to reach the next run in their workspace: nothing but their files does."""

import signal

import pytest

from tests.serving import docker, until

PROCESSES = """
import os
me, here = os.getuid(), []
for pid in filter(str.isdecimal, os.listdir('/proc')):
    try:
        if os.stat(f'/proc/{pid}').st_uid == me:
            here.append(open(f'/proc/{pid}/comm').read().strip())
    except OSError:
        pass
print(sorted(here))
"""
"""Prints the processes of its own user: of a run that is the first one, bootstrap and program."""

ESCAPE = """
import os, signal, sys, time
def flee(mark):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        try:
            os.write(1, mark); os.write(2, mark)
        except OSError:
            pass
        open('/tmp/alive', 'a').write(mark.decode())
        time.sleep(0.001)
"""

CHAIN = """
import os, signal
print('go', flush=True)
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:
            # Each is gone before it can be named, and takes with it whoever may be signalled.
            if os.fork():
                os._exit(0)
            if os.getpid() % 7 == 0:
                for pid in range(2, 40):
                    try:
                        os.kill(pid, signal.SIGKILL if pid % 2 else signal.SIGSTOP)
                    except OSError:
                        pass
while True: os.fork()
"""

SHARED = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
made = [libc.shmget(77, 4096, 0o1600), libc.msgget(77, 0o1600), libc.semget(77, 1, 0o1600)]
made.append(libc.mq_open(b'/left', os.O_CREAT | os.O_RDWR, 0o600, None))
os.makedirs('/dev/shm/.hidden/a b'); open('/dev/shm/.hidden/a b/c', 'w').write('x')
os.symlink('nowhere', '/dev/shm/..link')
print([each >= 0 for each in made])
"""

LEFT = """
import ctypes, os
libc = ctypes.CDLL(None)
print([libc.shmget(77, 0, 0), libc.msgget(77, 0), libc.semget(77, 0, 0)],
      libc.mq_open(b'/left', os.O_RDWR), os.listdir('/dev/shm'), os.listdir('/dev/mqueue'))
"""

BOOTSTRAP = """
import os, signal
def parents():
    pid = os.getppid()
    while pid > 1:
        yield pid
        pid = int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1])
"""


async def run(talk, code, **fields):
    return await talk.run("python", code, workspace="w", **fields)


def said(outcome):
    return next(event for event in outcome.events if event["type"] == "started")["workspace"]


async def check_nothing_left(talk, first):
    """Check that a run finds what the very first one did, and its workspace kept."""
    outcome = await run(talk, PROCESSES)
    assert (outcome.stdout, outcome.stderr, outcome.code) == (first, "", 0)
    assert said(outcome) == "kept"


@pytest.fixture
async def first(there):
    """What a program finds in a new workspace."""
    return (await run(there, PROCESSES)).stdout


@pytest.mark.parametrize(
    "code",
    [
        ESCAPE + "for mark in b'abc': flee(bytes([mark]))",
        ESCAPE + "flee(b'a'); os.kill(os.getpid(), signal.SIGKILL)",
        "import os; os.system('nohup sh -c \"trap : 1 2 3 15; while :; do sleep 1; done\" &')",
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: break",
        "import os, signal\nif not os.fork(): os.setsid(); os.kill(0, signal.SIGSTOP)",
    ],
    ids=["double fork, setsid, deaf", "killed", "nohup", "fork bomb", "stopped"],
)
async def test_no_process_reaches_the_next_run(there, first, code):
    assert (await run(there, code)).reason in {"exited", "signaled"}
    await check_nothing_left(there, first)


async def test_a_chain_of_forks_that_kills_whom_it_can_does_not_outrun_the_end(there, first):
    for limits in ({"wall_s": 1.5}, {"wall_s": 20}):
        await there.say("run", language="python", code=CHAIN, workspace="w", limits=limits)
        await there.hear_started()
        if limits["wall_s"] > 5:
            await there.hear_output("go")
            await there.say("cancel")
        assert (await there.finish()).reason in {"timeout", "cancelled", "signaled", "exited"}
        await check_nothing_left(there, first)


async def test_shared_memory_semaphores_and_queues_do_not_reach_the_next_run(there):
    before = (await run(there, LEFT)).stdout
    assert (await run(there, SHARED)).stdout == "[True, True, True, True]\n"
    after = await run(there, LEFT)
    assert (after.stdout, said(after)) == (before, "kept")
    assert before == "[-1, -1, -1] -1 [] []\n"


@pytest.mark.parametrize("act", ["SIGKILL", "SIGSTOP"])
async def test_who_kills_or_stops_the_bootstrap_ends_only_its_own_run(there, first, act):
    code = BOOTSTRAP + f"for pid in parents(): os.kill(pid, signal.{act})\nprint('x')"
    outcome = await run(there, code, limits={"wall_s": 2})
    assert outcome.reason in {"signaled", "timeout"}
    await check_nothing_left(there, first)


async def test_the_first_process_can_neither_be_signalled_nor_traced_nor_read(there):
    code = """
import ctypes, os, signal
def tried(what, *arguments):
    try:
        what(*arguments)
        return 'done'
    except OSError as exc:
        return type(exc).__name__
libc = ctypes.CDLL(None, use_errno=True)
roots = [int(pid) for pid in os.listdir('/proc')
         if pid.isdecimal() and os.stat(f'/proc/{pid}').st_uid == 0]
for pid in sorted(roots):
    print(pid == 1, tried(os.kill, pid, signal.SIGKILL), tried(open, f'/proc/{pid}/mem'),
          tried(os.listdir, f'/proc/{pid}/fd'), tried(open, f'/proc/{pid}/environ'),
          libc.ptrace(16, pid, 0, 0))
"""
    outcome = await run(there, code)
    lines = outcome.stdout.splitlines()
    assert len(lines) >= 3, "the first process, the feeder, the watchdog"
    for line in lines:
        assert line.split()[1:] == [*["PermissionError"] * 4, "-1"]


async def test_no_memory_of_a_run_holds_what_ends_it(there):
    """Its processes know one mark, that of their own report, and no token of the workspace."""
    code = (
        BOOTSTRAP
        + """
import re
marks = set()
for pid in [os.getpid(), *parents()]:
    for line in open(f'/proc/{pid}/maps'):
        span, rights = line.split()[:2]
        start, end = (int(part, 16) for part in span.split('-'))
        if 'r' not in rights or '[v' in line:
            continue
        with open(f'/proc/{pid}/mem', 'rb', 0) as memory:
            try:
                memory.seek(start)
                marks |= set(re.findall(rb'\\x1e([0-9a-f]{32})', memory.read(end - start)))
            except OSError:
                pass
print(len(marks))
"""
    )
    for _ in range(2):
        outcome = await run(there, code)
        if "PermissionError" in outcome.stderr:
            pytest.skip("this kernel lets nobody read the memory of another process")
        assert outcome.stdout == "1\n"


async def test_what_is_done_to_the_pipes_does_not_reach_the_next_run(there):
    code = """
import fcntl, os
for fd in (0, 1, 2):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    os.chmod(f'/proc/self/fd/{fd}', 0)
os.write(1, b'x' * 65536)
"""
    await run(there, code)
    outcome = await run(there, "import os; print([os.get_blocking(fd) for fd in range(3)])")
    assert (outcome.stdout, said(outcome)) == ("[True, True, True]\n", "kept")
    outcome = await run(there, "print(len(input()))", stdin="y" * 300_000 + "\n")
    assert outcome.stdout == "300000\n"


async def test_a_forged_report_is_the_last_word_of_its_own_run_only(there):
    code = (
        BOOTSTRAP
        + """
import re, time
for line in open(f'/proc/{os.getppid()}/maps'):
    span, rights = line.split()[:2]
    start, end = (int(part, 16) for part in span.split('-'))
    if 'r' in rights and '[v' not in line:
        with open(f'/proc/{os.getppid()}/mem', 'rb', 0) as memory:
            memory.seek(start)
            found = re.search(rb'\\x1e[0-9a-f]{32}', memory.read(end - start))
        if found:
            break
mark = found[0]
os.write(1, mark); os.write(2, mark + b' run 7 exited - - - -\\n')
while True:
    os.write(1, mark + b'print(1)\\n'); os.write(2, mark + b' over 0 exited - - - -\\n')
"""
    )
    outcome = await run(there, code, limits={"wall_s": 20})
    if "PermissionError" in outcome.stderr:
        pytest.skip("this kernel lets nobody read the memory of another process")
    # What follows may show that it was none.
    assert (outcome.code, outcome.signal) in {(7, None), (None, "SIGKILL")}
    for _ in range(3):
        after = await run(there, "print('well')")
        assert (after.stdout, after.stderr, said(after)) == ("well\n", "", "kept")


async def test_what_is_written_into_the_bootstraps_notes_does_not_reach_the_next_run(there):
    code = (
        BOOTSTRAP
        + """
written, text = set(), b'child 1 run\\n' + b'x' * 100_000
for pid in parents():
    for fd in range(3, 20):
        try:
            note = os.open(f'/proc/{pid}/fd/{fd}', os.O_RDWR)
            if os.fstat(note).st_nlink == 0:
                written.add(os.pwrite(note, text, 1000) and os.fstat(note).st_ino)
                os.fchmod(note, 0)
        except OSError:
            pass
print(len(written))
"""
    )
    for _ in range(2):
        outcome = await run(there, code)
        assert (outcome.stdout, outcome.stderr, outcome.code) == ("2\n", "", 0)
    size = BOOTSTRAP + "print({os.stat(f'/proc/{pid}/fd/8').st_size < 99 for pid in parents()})"
    outcome = await run(there, size)
    assert (outcome.stdout, outcome.stderr, said(outcome)) == ("{True}\n", "", "kept")
    await there.say("run", language="python", code="print('up'); input()", workspace="w")
    await there.hear_output("up")
    await there.say("signal", signal="SIGTERM")
    assert (await there.finish()).signal == "SIGTERM"


async def test_what_runs_leave_in_place_of_files_is_told_and_hurts_nobody_else(there):
    code = "import os; os.remove('main.py'); os.makedirs('main.py/x'); os.makedirs('/tmp/.child')"
    await run(there, code)
    outcome = await run(there, "print(1)")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "cannot write ./main.py" in outcome.stderr
    files = [{"name": "b.py", "content": "import shutil; shutil.rmtree('main.py'); print(2)"}]
    outcome = await there.run("python", files=files, workspace="w")
    assert outcome.stdout == "2\n"
    fill = """
for place in ('.', '/tmp'):
    try:
        with open(f'{place}/full', 'wb') as f:
            while True: f.write(bytes(2**20))
    except OSError:
        pass
"""
    await run(there, fill)
    assert (
        "cannot write ./more.py"
        in (
            await there.run(
                "python", files=[{"name": "more.py", "content": "0\n" * 9000}], workspace="w"
            )
        ).stderr
    )
    outcome = await run(there, "import signal; print('up', flush=True); signal.raise_signal(15)")
    assert outcome.signal == "SIGTERM"


async def test_a_run_ends_at_its_limit_though_the_server_stands_still(spaces, there, first):
    # Not before the server stands still: that would have the next bootstrap started.
    code = "import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\n"
    code += ESCAPE + BOOTSTRAP + "for pid in parents(): os.kill(pid, signal.SIGSTOP)\nflee(b'a')\n"
    (container,) = spaces.containers()
    await there.say("run", language="python", code=code, workspace="w", limits={"wall_s": 5})
    await there.hear_started()
    spaces.signal(signal.SIGSTOP)
    try:
        # May be ended with the others once it has done so.
        docker("exec", "--user", "0", container, "touch", "/tmp/go", check=False)
        # Beside the first process, which is root's, nobody is left.
        until(
            lambda: set(docker("top", container, "-eo", "pid,uid").split()[3::2]) == {"0"},
            "its processes have been ended",
        )
    finally:
        spaces.signal(signal.SIGCONT)
    assert (await there.finish()).reason in {"timeout", "signaled"}
    await check_nothing_left(there, first)
