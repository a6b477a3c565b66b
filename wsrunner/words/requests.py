"""The words of runs that clients send."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from wsrunner.words.base import (
    Columns,
    Count,
    Key,
    Once,
    Request,
    RunId,
    ServerRunId,
    Signal,
    SpaceName,
)


class File(Request, kw_only=True, frozen=True):
    """One source file: text in `content` or any bytes in `base64`, exactly one of them.

    Attributes:
        name: Relative path with ``/``; no empty part, ``.``, ``..`` or NUL; at most 255 bytes.
    """

    name: str
    content: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class Limits(Request, kw_only=True, frozen=True):
    """Limits of one run; each may only lower the server's own."""

    wall_s: float | UnsetType = UNSET
    cpu_s: float | UnsetType = UNSET
    memory_mb: int | UnsetType = UNSET
    output_kb: int | UnsetType = UNSET
    pids: int | UnsetType = UNSET


class Tty(Request, kw_only=True, frozen=True):
    """Window size of a terminal run, in character cells."""

    columns: Columns = 80
    rows: Columns = 24


class RunRequest(Request, tag="run", kw_only=True, frozen=True):
    """Start a run. Exactly one of `code` and `files`.

    Attributes:
        stdin: All of stdin; left out, stdin stays open for `Stdin` and `Eof`.
        args: Appended to the run command, each one argument.
        command: Shell line in place of the language's run command.
        merge: Whether stderr is sent as stdout, in the order in which the program wrote both.
        keep_s: Seconds that it goes on while nobody drives it; given, it can be attached to.
        once: The client's own random name for this request: sent again, it starts no second run.
        outputs: Patterns of the files that come back: ``*`` and ``?`` stand for anything but a
            slash, ``out/`` for all in a folder.
        workspace: Name of a container that is kept between runs: files stay, processes don't.
        waiting: Whether to tell, by `Waiting`, when the program wants input.
        room: The server's id of a room that this socket is in: all who are there may attach.
    """

    language: str
    id: RunId | UnsetType = UNSET
    code: str | UnsetType = UNSET
    files: list[File] | UnsetType = UNSET
    stdin: str | UnsetType = UNSET
    args: list[str] = []  # noqa: RUF012
    env: dict[str, str] = {}  # noqa: RUF012
    command: str | UnsetType = UNSET
    limits: Limits = Limits()
    tty: Tty | UnsetType = UNSET
    merge: bool = False
    outputs: list[str] = []  # noqa: RUF012
    keep_s: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    once: Once | UnsetType = UNSET
    workspace: SpaceName | UnsetType = UNSET
    waiting: bool = False
    room: ServerRunId | UnsetType = UNSET

    @property
    def is_kept(self) -> bool:
        """Whether it is to outlive its socket, or to be shared."""
        return any(field is not UNSET for field in (self.keep_s, self.once, self.room))


class Callback(Request, kw_only=True, frozen=True):
    """Whom to tell of a run's end.

    Attributes:
        url: Where to, by POST.
        secret: Base64 of 24 to 64 random bytes, which the message is signed with.
    """

    url: str
    secret: Annotated[str, Meta(max_length=100)] = ""


class PostedRun(RunRequest, tag="run", kw_only=True, frozen=True):
    """A run that is asked for by HTTP.

    Attributes:
        callback: Whom to tell of its end; it is kept then.
    """

    callback: Callback | UnsetType = UNSET

    @property
    def is_kept(self) -> bool:
        """Whether it goes on without its client."""
        return self.callback is not UNSET or super().is_kept


class Attach(Request, tag="attach", kw_only=True, frozen=True):
    """Attach to a run that is kept.

    Attributes:
        id: The client's own name for it on this socket.
        run: Which.
        key: One of its keys; says whether to drive or to view.
        room: In its place, the server's id of a room that this socket is in and that the run was
            started in: what its client may do there says whether to drive or to view.
        after: `seq` of the last message that the client has.
        once: The client's own random name for its driving: under the same name, on whatever
            socket, its stdin goes on where it was. That of a `run` is its `once`.
    """

    id: RunId | UnsetType = UNSET
    run: ServerRunId
    key: Key | UnsetType = UNSET
    room: ServerRunId | UnsetType = UNSET
    after: Count = 0
    once: Once | UnsetType = UNSET


class Detach(Request, tag="detach", kw_only=True, frozen=True):
    """Hear no more of a kept run, which goes on."""

    id: RunId | UnsetType = UNSET


class Stdin(Request, tag="stdin", kw_only=True, frozen=True):
    """Bytes for the program's stdin: text in `data` or any bytes in `base64`.

    `at` is where they begin in all that this driver sends: what was taken already is dropped.
    """

    id: RunId | UnsetType = UNSET
    data: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET
    at: Count | UnsetType = UNSET


class Eof(Request, tag="eof", kw_only=True, frozen=True):
    """End of file on the program's stdin."""

    id: RunId | UnsetType = UNSET


class SendSignal(Request, tag="signal", kw_only=True, frozen=True):
    """A signal for the program's process group."""

    id: RunId | UnsetType = UNSET
    signal: Signal


class Resize(Request, tag="resize", kw_only=True, frozen=True):
    """New window size of a terminal run, in character cells."""

    id: RunId | UnsetType = UNSET
    columns: Columns
    rows: Columns


class Cancel(Request, tag="cancel", kw_only=True, frozen=True):
    """End the run wherever it is."""

    id: RunId | UnsetType = UNSET


class Forget(Request, tag="forget", kw_only=True, frozen=True):
    """End a workspace, and its files: at once, or with the run that goes on in it."""

    id: RunId | UnsetType = UNSET
    workspace: SpaceName


RunMessage = RunRequest | Attach | Detach | Stdin | Eof | SendSignal | Resize | Cancel | Forget
