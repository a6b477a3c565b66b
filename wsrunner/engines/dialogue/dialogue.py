"""One container's dialogue: its plan goes in as a request, its output comes out with the reports.

Owns what an engine needs beside its streams. Pure: no I/O. The words of it are `bootstrap`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from wsrunner.engines.base import Ahead, BadReportError, Frame, Item, Plan, Ready, Report
from wsrunner.engines.dialogue import bootstrap
from wsrunner.units import KIB

_LAUNCH = 'for s in bash sh; do command -v "$s" >/dev/null 2>&1 && exec "$s" -c "$@"; done'


def _script(name: str) -> str:
    """Return a script without its lines of comment, as shells read it again and again."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#"))


_BOOTSTRAP = _script("bootstrap.sh")
_PEEK = _script("peek.sh")
READY = b"\x1eR"
"""What comes from a container that can take its request only now."""
_SPACE = _script("space.sh")
TEXT_MAX_BYTES = 8 * KIB
"""What a workspace's shell copies itself at most; beyond, a process is the faster way."""
END_ALL = "SIGURG"
"""What ends a workspace's run with all its processes."""
_STAND_INS = {"SIGKILL": "SIGPWR", "SIGINT": "SIGVTALRM", "SIGQUIT": "SIGPROF"}
"""What the bootstrap takes for signals that it can't trap, or that the terminal's keys send."""


def first_process(*, tty: bool, ahead: Ahead | None = None) -> list[str]:
    """Return the words of a container's first process: the bootstrap in bash, else in sh.

    Args:
        tty: Whether the container has a terminal.
        ahead: What to start before the request comes. What the container prints first is then
            `READY`, as it is with a terminal.
    """
    words = ["sh", "-c", _LAUNCH, "wsrunner", _BOOTSTRAP, "wsrunner", "tty" if tty else "pipes"]
    return [*words, "" if ahead is None else bootstrap.start_ahead(ahead), _PEEK]


def space_process(uid: int, lasts_s: float | None) -> list[str]:
    """Return the words of a workspace's first process; what it prints first is `READY`.

    Args:
        uid: The user of its runs.
        lasts_s: See `Engine.open_space`.
    """
    words = ["sh", "-c", 'exec bash -c "$@"', "wsrunner"]
    lasts = [] if lasts_s is None else [f"{lasts_s:.3f}"]
    return [*words, _SPACE, "wsrunner", str(uid), _BOOTSTRAP, _PEEK, *lasts]


def piece(data: bytes) -> bytes:
    """Return bytes for a run's stdin as they go to a workspace; none for its end."""
    is_text = 0 < len(data) <= TEXT_MAX_BYTES and b"\0" not in data
    return b"%s%d\n%s" % (b"t" * is_text, len(data), data)


def stand_in(signal: str) -> str:
    """Return the signal to send to the first process so that the program gets `signal`."""
    return _STAND_INS.get(signal, signal)


class Dialogue:
    """What is said with one container about its one plan.

    Args:
        plan: What it is to do.
        ahead: What `first_process` was told to start; taken where the plan begins with just that.

    Attributes:
        request: What goes to the first process's stdin; the program's input follows it.
    """

    def __init__(self, plan: Plan, ahead: Ahead | None = None) -> None:
        mark = bootstrap.new_mark()
        self.request = bootstrap.encode(plan, mark, ahead)
        self._reports = bootstrap.Reports(mark, tty=plan.window is not None)
        self._stages = ["build", "run"] if plan.build else ["run"]
        self._ready = plan.window is None

    @classmethod
    def collection(cls, plan: Plan) -> bytes:
        """Return the request to bring a plan's outputs, where its program has been ended."""
        return bootstrap.encode_collection(plan, bootstrap.new_mark())

    def take(self, frames: Iterable[Frame]) -> list[Item]:
        """Return what the frames bring, reports among the output; nothing if that is not clear yet.

        Raises:
            BadReportError: Not what the bootstrap can have said.
        """
        return [
            self._checked(item) if isinstance(item, Report) else item
            for frame in frames
            for item in self._reports.feed(frame)
        ]

    def rest(self) -> list[Frame]:
        """Return output that was held back, when the streams have ended; once."""
        return self._reports.rest()

    def _checked(self, report: Report) -> Ready | Report:
        """Let a report pass if it is the next that can come.

        Raises:
            BadReportError: It is not.
        """
        if report.stage == "ready" and not self._ready:
            self._ready = True
            return Ready()
        if not self._stages or report.stage != self._stages[0]:
            awaited = self._stages[0] if self._stages else "nothing"
            raise BadReportError(f"a report of {report.stage!r} where {awaited!r} was to come")
        del self._stages[0]
        return report
