"""The dialogue with ``bootstrap.sh``: what is written to it, and what its reports say.

Owns the format that the head of ``bootstrap.sh`` describes. Pure: no I/O.
"""

from __future__ import annotations

import math
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence

from wsrunner.engines.base import (
    STDERR,
    STDOUT,
    Ahead,
    Asks,
    BadReportError,
    Frame,
    Plan,
    Report,
)
from wsrunner.units import KIB, MIB

INLINE_MAX_BYTES = 64 * KIB
"""Files up to this size travel inside the script; larger ones and those with NUL cost a `head`."""
AHEAD_MAX_BYTES = 60 * KIB
"""The largest source of a program that was started ahead: a pipe takes 64 KiB at once (pipe(7))."""
SIGNAL_BASE = 128
SIGNAL_MAX = 64
CODE_MAX = 255
FIGURE_MAX = 2**63
HEADER_BYTES = 45
HELD_MAX_BYTES = MIB
"""Output held back behind one stream's mark until the other stream shows its own."""
REPORT_MAX_BYTES = 256
NOTICE = b"!"
"""What follows the mark where it is no report."""

# Shell lines, as far as they can be understood without a shell (POSIX 2.2, 2.9.1).
_WORD = r"""(?:[A-Za-z0-9_./:,+@%^=-]|'[^'\0]*'|"[^"$`\\!\0]*")+"""
_WORDS = re.compile(rf"[ \t]*{_WORD}(?:[ \t]+{_WORD})*[ \t]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_FIRST_WORD = re.compile(r"[ \t]*([A-Za-z0-9_./+][A-Za-z0-9_./+-]*)(?=[ \t]|\Z)")
_DUPLICATION = re.compile(r"[0-9]*[<>]&[0-9-]")
_BEYOND_ONE_COMMAND = frozenset(";&|(){}`!#\n")
_OF_THE_SHELL = frozenset("""
    . : alias bg bind break builtin caller case cd chdir command compgen complete compopt continue
    coproc declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg
    fi for function getopts hash help history if in jobs kill let local logout mapfile popd printf
    pushd pwd read readarray readonly return select set shift shopt source suspend test then time
    times trap true type typeset ulimit umask unalias unset until wait while
    """.split())  # fmt: skip  # noqa: SIM905 - a list of words
"""Builtins and reserved words of bash and dash."""


def new_mark() -> bytes:
    """Return a mark for one run: a control character, so that text rarely begins like it."""
    return b"\x1e" + secrets.token_hex(16).encode("ascii")


def encode(plan: Plan, mark: bytes, ahead: Ahead | None = None) -> bytes:
    """Return the request as it goes to the bootstrap's stdin.

    Args:
        plan: What to do.
        mark: From `new_mark`; the same as is given to `Reports`.
        ahead: What the bootstrap was told to start, as by `start_ahead`.
    """
    script = [_limits(plan)]
    if plan.build:
        script.append("first=build")
    taken = ahead is not None and _takes(plan, ahead)
    if ahead is not None and not taken:
        script.append("drop same" if _begins_with(plan, ahead) else "drop")
    lines, raw = _files(plan.files, ahead.file if taken and ahead else "")
    script += lines
    if plan.window is not None:
        columns, rows = plan.window
        script.append(f"terminal {columns} {rows}")
    if plan.notices:
        script.append("notice")
    if plan.merge:
        script.append("merge=1")

    def define(stage: str, line: str, args: Sequence[str] = ()) -> None:
        script.append(_function(stage, _command(line, plan.env, args), plan.live_env))

    if len(plan.build) == 1 and _words(plan.build[0]):
        define("build", plan.build[0])
    elif plan.build:
        define("build", "\n".join(["set -e", *plan.build]))
    define("run", plan.run, plan.args)
    run = "stage run run"
    if plan.outputs:
        script.append("last=run")
        run = f"{{ stage run run; {_collect(plan)}; }}"
    script.append(f"stage build build && {run}" if plan.build else run)
    return _request(mark, script) + raw


def encode_collection(plan: Plan, mark: bytes) -> bytes:
    """Return the request to bring a plan's outputs and nothing else."""
    return _request(mark, [_limits(plan), _collect(plan)])


def _request(mark: bytes, script: Sequence[str]) -> bytes:
    encoded = "\n".join(script).encode() + b"\n"
    return b"%s%*d\n%s" % (mark, HEADER_BYTES - 1 - len(mark), len(encoded), encoded)


def _limits(plan: Plan) -> str:
    return f"limits {_cpu_s(plan.cpu_s)} {math.ceil(plan.wall_s) + 2}"


def _collect(plan: Plan) -> str:
    return f"files {shlex.join(find_tests(plan.outputs))}"


def _files(files: Mapping[str, bytes], given: str) -> tuple[list[str], bytes]:
    """Return the shell that writes the files, and what `put` takes of stdin for that.

    Args:
        files: By name.
        given: The one that goes to the program that was started ahead as well.
    """
    quote = shlex.quote
    script: list[str] = []
    raw: list[bytes] = []
    made: set[str] = set()
    for name, content in files.items():
        folder = name.rpartition("/")[0]
        if folder and folder not in made:
            made.add(folder)
            script.append(f"mkdir -p -- {quote(folder)} || unwritten {quote(folder)}")
        target = quote("./" + name)
        if name == given:
            script.append(f'give {quote(content.decode())}; printf %s "$text" >{target}')
        elif len(content) <= INLINE_MAX_BYTES and (text := _as_text(content)) is not None:
            script.append(f"printf %s {quote(text)} >{target} || unwritten {target}")
        else:
            script.append(f"put {target} {len(content)}")
            raw.append(content)
    return script, b"".join(raw)


def start_ahead(ahead: Ahead) -> str:
    """Return the shell that tells the bootstrap what to start before its request."""
    begin = _function("begin", _command(ahead.start or ahead.line, {}, ()), dict(ahead.live_env))
    cpu_s = _cpu_s(ahead.cpu_s) + ahead.start_cpu_s
    return f"{begin}; ahead {ahead.stage} {shlex.quote('./' + ahead.file)} {cpu_s}"


def _takes(plan: Plan, ahead: Ahead) -> bool:
    """Whether what was started is what the plan begins with, in all that the program can see."""
    source = plan.files.get(ahead.file)
    return (
        plan.ahead
        and _begins_with(plan, ahead)
        and not (plan.env or plan.merge or plan.window)
        and not (plan.args and ahead.stage == "run")
        and tuple(plan.live_env.items()) == ahead.live_env
        and plan.cpu_s == ahead.cpu_s
        and source is not None
        and len(source) <= AHEAD_MAX_BYTES
        and _as_text(source) is not None
    )


def _begins_with(plan: Plan, ahead: Ahead) -> bool:
    if ahead.stage == "run":
        return not plan.build and plan.run == ahead.line
    # Another line is run by a shell, which is no program to come up.
    return list(plan.build) == [ahead.line] and _words(ahead.line) is not None


def _cpu_s(limit_s: float) -> int:
    return max(1, math.ceil(limit_s))


def _function(name: str, command: str, live_env: Mapping[str, str]) -> str:
    exports = "".join(f"export {key}={shlex.quote(value)}; " for key, value in live_env.items())
    return f"{name}() {{ {exports}exec $reset{command}; }}"


def find_tests(patterns: Sequence[str]) -> list[str]:
    """Return the expression by which `find` finds, in the work directory, what matches a pattern.

    Its own wildcards match a slash, too (POSIX, find): what has more of them than the pattern is
    left out again. Folders that can't have what is meant are not looked into: nothing of `lib/ax/`
    is found for `*x/`, be it much.
    """
    folders: list[list[str]] = [["-path", "."]]
    files: list[list[str]] = []
    for pattern in patterns:
        parts = pattern.replace("\\", r"\\").replace("[", r"\[").split("/")
        above = ["/".join([".", *parts[: depth + 1]]) for depth in range(len(parts) - 1)]
        folders += [_just(path) for path in above]
        if parts[-1]:
            files.append(_just("/".join([".", *parts])))
        else:
            folders.append(["-path", f"{above[-1]}/*"])
            files.append(["-path", f"{above[-1]}/*"])
    return [
        *("-type", "d", "!", "(", *_either(folders), ")", "-prune", "-o"),
        *("!", "-type", "d", "(", *_either(files), ")"),
    ]


def _just(path: str) -> list[str]:
    return ["-path", path, "!", "-path", "*" + "/*" * (path.count("/") + 1)]


def _either(tests: Sequence[Sequence[str]]) -> list[str]:
    return [word for number, test in enumerate(tests) for word in (*["-o"] * bool(number), *test)]


def _command(line: str, env: Mapping[str, str], args: Sequence[str]) -> str:
    """Return what is to be exec'ed for a shell line: the program itself wherever that can be.

    A shell in between would end by signals that the program handles, tell a signal that ended the
    program as an exit code, and write "Segmentation fault" to its stderr.
    """
    # Through env, as some names (UID, PPID, …) are read-only in bash.
    variables = [f"{name}={value}" for name, value in env.items()]
    shell = ""
    words = _words(line)
    if words is not None:
        while _ASSIGNMENT.match(words[0]):
            variables.append(words.pop(0))
    else:
        first = _FIRST_WORD.match(line)
        rest = _DUPLICATION.sub("", line)
        if first and first[1] not in _OF_THE_SHELL and _BEYOND_ONE_COMMAND.isdisjoint(rest):
            line = f"exec {line}"
        # bash becomes the last command of a list by itself (5.1).
        shell = "$shell -c "
        words = [f'{line.rstrip()} "$@"' if args else line, "sh"]
    if variables:
        shell = f"env {shlex.join(variables)} {shell}"
    return f" {shell}{shlex.join([*words, *args])}"


def _words(line: str) -> list[str] | None:
    """Return the words of a line that starts one program and needs no shell for it, else None."""
    if not _WORDS.fullmatch(line):
        return None
    words = shlex.split(line)
    program = next((word for word in words if not _ASSIGNMENT.match(word)), None)
    return None if program is None or program in _OF_THE_SHELL else words


def _as_text(content: bytes) -> str | None:
    """Return content as text if a shell can hold it: UTF-8 without NUL."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


class Reports:
    """Takes the reports out of the output.

    Args:
        mark: The run's mark.
        tty: Whether there is one stream, with the terminal's line ends.

    stdout and stderr are copied independently, so the report on stderr may overtake the stage's
    last output on stdout: a report counts when both streams have shown the mark, and what a stream
    brings after its mark waits until then.
    """

    def __init__(self, mark: bytes, *, tty: bool) -> None:
        self._mark = mark
        self._streams = (STDOUT,) if tty else (STDOUT, STDERR)
        self._held = dict.fromkeys(self._streams, b"")
        self._passed: set[int] = set()
        self._report: Report | None = None

    def feed(self, frame: Frame) -> list[Frame | Asks | Report]:
        """Return the output in the frame, and reports and notices complete with it, in order.

        Bytes that may be the beginning of a mark are held back until more comes.

        Raises:
            BadReportError: What follows a mark is no report, or the other stream's mark does not
                come: nothing that this container says can be believed any more.
        """
        items: list[Frame | Asks | Report] = []
        self._held[frame.stream] += frame.data
        self._scan(frame.stream, items)
        if any(len(self._held[stream]) > HELD_MAX_BYTES for stream in self._passed):
            raise BadReportError("no report beside a mark")
        while len(self._passed) == len(self._streams) and self._report is not None:
            items.append(self._report)
            self._report = None
            self._passed.clear()
            for stream in self._streams:
                self._scan(stream, items)
        return items

    def rest(self) -> list[Frame]:
        """Return what was held back, when the streams have ended without a report; once."""
        held, self._held = self._held, dict.fromkeys(self._streams, b"")
        return [Frame(stream, data) for stream, data in held.items() if data]

    def _scan(self, stream: int, items: list[Frame | Asks | Report]) -> None:
        data = self._held[stream]
        if stream in self._passed or not data:
            return
        # The first byte is rare, and looked for ten times as fast as the whole.
        at = data.find(self._mark) if self._mark[:1] in data else -1
        keep = at if at >= 0 else self._possible_mark(data)
        if keep:
            items.append(Frame(stream, data[:keep]))
        self._held[stream] = data[keep:]
        if at < 0:
            return
        after = at + len(self._mark)
        if stream == self._streams[-1]:
            end = data.find(b"\n", after)
            if end < 0:
                if len(data) - after > REPORT_MAX_BYTES:
                    raise BadReportError("a report without end")
                return
            if data[after : after + 1] == NOTICE:
                # Of this stream alone, and in the middle of it.
                items.append(Asks(data[after + 1 : end].strip() == b"waiting"))
                self._held[stream] = data[end + 1 :]
                self._scan(stream, items)
                return
            self._report = _parse(data[after:end])
            after = end + 1
        self._held[stream] = data[after:]
        self._passed.add(stream)

    def _possible_mark(self, data: bytes) -> int:
        """Return where a mark may begin that the end of `data` cuts off."""
        at = data.find(self._mark[:1], max(0, len(data) - len(self._mark) + 1))
        while at >= 0:
            if self._mark.startswith(data[at:]):
                return at
            at = data.find(self._mark[:1], at + 1)
        return len(data)


def _parse(line: bytes) -> Report:
    try:
        stage, status, ended, *figures = line.decode("ascii").split()
        code = int(status)
        wall_ns, cpu_ns, peak, kills = (
            None if figure == "-" else int(figure) for figure in figures
        )
    except ValueError as exc:
        raise BadReportError("not a report's fields") from exc
    signal = code - SIGNAL_BASE if ended == "signaled" else None
    possible = 0 <= code <= CODE_MAX if signal is None else 1 <= signal <= SIGNAL_MAX
    figured = [figure for figure in (wall_ns, cpu_ns, peak, kills) if figure is not None]
    if not possible or not all(0 <= figure < FIGURE_MAX for figure in figured):
        raise BadReportError("a report with impossible figures")
    return Report(
        stage=stage,
        code=code if signal is None else None,
        signal=signal,
        wall_s=None if wall_ns is None else wall_ns / 1e9,
        cpu_s=None if cpu_ns is None else cpu_ns / 1e9,
        peak_bytes=peak,
        oom_kills=kills or 0,
    )
