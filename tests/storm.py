# ruff: noqa: T201, PTH123, C901 - a script, run in a container
"""A storm of signals over the bootstrap: is any end of a program told wrong?

Runs inside a container, as ``python3 -c STORM SHELL RUNS SEED``, with bootstrap.sh on its stdin:
so many runs, each with signals from the program's first word to its report. All programs are such
that what they wrote says how they must have ended. `python -m tests.storm RUNS [SHELL [PATH]]`
starts it, PATH being a shell of this machine that takes the image's place.

Prints one line per run that was told wrong, then a summary.
"""

import contextlib
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from importlib import resources

MARK = b"\x1e" + b"0123456789abcdef" * 2
HEADER_BYTES = 45
PATIENCE_S = 60
SENT = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGVTALRM)
REPORT = re.compile(MARK + rb" run (\d+) (\w+) \S+ \S+ \S+ \S+\n")
URG = 1 << (signal.SIGURG - 1)


def programs(chance):
    """Return (shell line, signals to send, what to wait for, expected end by output)."""
    code = chance.choice([0, 1, 3, 127, 129, 130, 137, 139, 143, 255])
    spin = f"i=0; while [ $i -lt {chance.randrange(300)} ]; do i=$((i+1)); done"
    deaf = "trap '' TERM HUP USR1 USR2 INT; echo ready"
    return chance.choice(
        [
            # Deaf to all of them: ends as it likes.
            (f"{deaf}; {spin}; exit {code}", SENT, b"ready", lambda _: (code, "exited")),
            (f"{deaf}; {spin}; kill -s SEGV $$", SENT, b"ready", lambda _: (139, "signaled")),
            (f"{deaf}; {spin}; kill -s KILL $$", SENT, b"ready", lambda _: (137, "signaled")),
            # Ends by a handler.
            (
                f"trap 'exit {code}' TERM; echo ready; while :; do :; done",
                (signal.SIGTERM,),
                b"ready",
                lambda _: (code, "exited"),
            ),
            # Killed, unless it came to its end before.
            (
                f"echo ready; {spin}; exit {code}",
                (signal.SIGPWR,),
                b"ready",
                lambda _: [(code, "exited"), (137, "signaled")],
            ),
            # Sent before it starts, and no more often than once: not lost.
            ("while :; do :; done", (signal.SIGTERM,), b"", lambda _: (143, "signaled")),
        ]
    )


def request(line):
    """Return a request as `bootstrap.encode` makes it, of one shell line."""
    script = (
        f"limits 30 50\nrun() {{ exec $reset sh -c '{line_quoted(line)}'; }}\nstage run run\n"
    ).encode()
    return b"%s%*d\n%s" % (MARK, HEADER_BYTES - 1 - len(MARK), len(script), script)


def line_quoted(line):
    return line.replace("'", "'\\''")


def ready_to_trap(pid):
    """Wait until the bootstrap has set its last trap: before, a signal would end it."""
    while True:
        with open(f"/proc/{pid}/status") as status:
            caught = next(row for row in status if row.startswith("SigCgt"))
        if int(caught.split()[1], 16) & URG:
            return
        time.sleep(0.001)


def one(shell, bootstrap, chance):
    """Run one program under fire; return what is wrong with its report, or None."""
    line, signals, wanted, expected = programs(chance)
    process = subprocess.Popen(
        [*shell, "-c", bootstrap, "wsrunner", "pipes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    ready_to_trap(process.pid)
    early = not wanted
    if early and chance.random() < 0.5:
        process.send_signal(signals[0])
        signals = ()
    os.write(process.stdin.fileno(), request(line))
    if early and signals:
        time.sleep(chance.random() * 0.01)
        process.send_signal(signals[0])
        signals = ()
    heard = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    open_fds = set(heard)
    deadline_s = time.monotonic() + PATIENCE_S
    # The engine takes 10 ms over one.
    pause_s = chance.choice([0, 0.0001, 0.0003, 0.001, 0.003])
    report = None
    while report is None:
        out, err = heard.values()
        firing = signals and wanted in out
        for fd in select.select(list(open_fds), [], [], pause_s if firing else 1)[0]:
            data = os.read(fd, 65536)
            heard[fd] += data
            if not data:
                open_fds.remove(fd)
        report = REPORT.search(heard[process.stderr.fileno()])
        if report is None and not open_fds:
            return f"{line!r}: ended without a report, {out!r} {err!r}"
        if time.monotonic() > deadline_s:
            process.kill()
            return f"{line!r}: no report in {PATIENCE_S} s, {out!r} {err!r}"
        if firing and report is None:
            process.send_signal(chance.choice(signals))
    process.stdin.close()
    process.wait(PATIENCE_S)
    for pipe in (process.stdout, process.stderr):
        pipe.close()
    # As the end of a container does to a watchdog that is left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    told = int(report[1]), report[2].decode()
    right = expected(heard)
    if told not in (right if isinstance(right, list) else [right]):
        return f"{line!r}: told {told}, but must be {right}"
    if report.start() != 0:
        return f"{line!r}: on its stderr was {err[: report.start()]!r}"
    return None


def storm(shell, runs, seed):
    """Run them all; return how many were told wrong."""
    bootstrap = sys.stdin.read()
    chance = random.Random(seed)
    wrong = 0
    for number in range(runs):
        if problem := one(shell.split(), bootstrap, chance):
            wrong += 1
            print(f"run {number}: {problem}", flush=True)
    print(f"{runs} runs, {wrong} told wrong")
    return wrong


def begin(runs, shell="bash", path=None, *, image="wsrunner/python:debian", seed=1):
    """Start it in a container; return the finished process, its stdout as text."""
    from tests.docker_fixtures import LIMITS

    bootstrap = resources.files("wsrunner.engines.dialogue").joinpath("bootstrap.sh").read_text()
    with open(__file__) as file:
        code = file.read()
    mount = [f"--volume={path}:{path}:ro"] if path else []
    inside = ["python3", "-c", code, shell, str(runs), str(seed)]
    return subprocess.run(
        ["docker", "run", "--init", *LIMITS, *mount, image, *inside],
        input=bootstrap,
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    if __package__ or "/" in sys.argv[0]:
        done = begin(int(sys.argv[1]), *sys.argv[2:])
        print(done.stdout, done.stderr, sep="")
        sys.exit(done.returncode)
    sys.exit(storm(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])) != 0)
