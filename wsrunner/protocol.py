"""The vocabulary on the wire, v1: every message as a Struct, decoded and encoded here only.

Owns the JSON shapes of ``docs/protocol.md``. Pure: no I/O, no clock. Imports only `errors`,
`names` and `words`, which has the words of rooms.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wsrunner import names
from wsrunner.errors import BadMessageError, TooLargeError, WsrunnerError
from wsrunner.units import KIB
from wsrunner.words.base import Columns, Count, Key, Once, RunId, ServerRunId
from wsrunner.words.base import Event as _Event
from wsrunner.words.base import Request as _Request
from wsrunner.words.rooms import RoomMessage, RoomTold

T = TypeVar("T")

SUBPROTOCOL = "wsrunner.v1"
TOKEN_SUBPROTOCOL_PREFIX = "wsrunner.token."  # noqa: S105 - a prefix, not a token

FILES_MAX = 64
FILE_NAME_MAX_BYTES = names.NAME_MAX_BYTES
ARGS_MAX = 256
ENV_MAX = 64
ARGUMENT_MAX_BYTES = 128 * KIB - KIB
"""Linux takes no longer argument or variable (MAX_ARG_STRLEN); some room is ours."""
ARGUMENTS_MAX_BYTES = 1536 * KIB
"""Of all arguments and variables: Linux takes 2 MiB with a stack of 8 MiB (execve(2))."""
QUOTED_MAX = 200
"""Characters of a client's own text that an error repeats."""

CLOSE_SLOW_CLIENT = 4408
"""Close code for a client that takes no output (4000-4999: RFC 6455 section 7.4.2)."""

Signal = Literal["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"]
Stage = Literal["queue", "build", "run"]
Reason = Literal[
    "exited",
    "signaled",
    "timeout",
    "cpu_limit",
    "out_of_memory",
    "output_limit",
    "cancelled",
    "lease_lost",
    "engine_lost",
    "replica_lost",
    "draining",
]
SPACE_NAME = r"^[A-Za-z0-9._-]{1,64}\Z"
SpaceName = Annotated[str, Meta(pattern=SPACE_NAME)]
_SpaceName = re.compile(SPACE_NAME)
_EnvName = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class File(_Request, kw_only=True, frozen=True):
    """One source file: text in `content` or any bytes in `base64`, exactly one of them.

    Attributes:
        name: Relative path with ``/``; no empty part, ``.``, ``..`` or NUL; at most 255 bytes.
    """

    name: str
    content: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class Limits(_Request, kw_only=True, frozen=True):
    """Limits of one run; each may only lower the server's own."""

    wall_s: float | UnsetType = UNSET
    cpu_s: float | UnsetType = UNSET
    memory_mb: int | UnsetType = UNSET
    output_kb: int | UnsetType = UNSET
    pids: int | UnsetType = UNSET


class Tty(_Request, kw_only=True, frozen=True):
    """Window size of a terminal run, in character cells."""

    columns: Columns = 80
    rows: Columns = 24


class RunRequest(_Request, tag="run", kw_only=True, frozen=True):
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

    @property
    def is_kept(self) -> bool:
        """Whether it is to outlive its socket, or to be shared."""
        return self.keep_s is not UNSET or self.once is not UNSET


class Callback(_Request, kw_only=True, frozen=True):
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


class Attach(_Request, tag="attach", kw_only=True, frozen=True):
    """Attach to a run that is kept.

    Attributes:
        id: The client's own name for it on this socket.
        run: Which.
        key: One of its keys; says whether to drive or to view.
        after: `seq` of the last message that the client has.
        once: The client's own random name for its driving: under the same name, on whatever
            socket, its stdin goes on where it was. That of a `run` is its `once`.
    """

    id: RunId | UnsetType = UNSET
    run: ServerRunId
    key: Key
    after: Count = 0
    once: Once | UnsetType = UNSET


class Detach(_Request, tag="detach", kw_only=True, frozen=True):
    """Hear no more of a kept run, which goes on."""

    id: RunId | UnsetType = UNSET


class Stdin(_Request, tag="stdin", kw_only=True, frozen=True):
    """Bytes for the program's stdin: text in `data` or any bytes in `base64`.

    `at` is where they begin in all that this driver sends: what was taken already is dropped.
    """

    id: RunId | UnsetType = UNSET
    data: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET
    at: Count | UnsetType = UNSET


class Eof(_Request, tag="eof", kw_only=True, frozen=True):
    """End of file on the program's stdin."""

    id: RunId | UnsetType = UNSET


class SendSignal(_Request, tag="signal", kw_only=True, frozen=True):
    """A signal for the program's process group."""

    id: RunId | UnsetType = UNSET
    signal: Signal


class Resize(_Request, tag="resize", kw_only=True, frozen=True):
    """New window size of a terminal run, in character cells."""

    id: RunId | UnsetType = UNSET
    columns: Columns
    rows: Columns


class Cancel(_Request, tag="cancel", kw_only=True, frozen=True):
    """End the run wherever it is."""

    id: RunId | UnsetType = UNSET


class Forget(_Request, tag="forget", kw_only=True, frozen=True):
    """End a workspace, and its files: at once, or with the run that goes on in it."""

    id: RunId | UnsetType = UNSET
    workspace: SpaceName


ClientMessage = (
    RunRequest | Attach | Detach | Stdin | Eof | SendSignal | Resize | Cancel | Forget | RoomMessage
)


class Accepted(_Event, tag="accepted", kw_only=True, frozen=True):
    """A run is kept: `drive` lets anybody drive it, `view` watch it. Both are secrets."""

    run: str
    drive: str
    view: str


class Attached(_Event, tag="attached", kw_only=True, frozen=True):
    """A kept run is heard from here on.

    Attributes:
        stage: Where it is, or ended.
        tty: Whether the program has a terminal.
        stdin_bytes: Bytes of this driver's stdin that have come.
        eofs: Its ends of file that have come.
    """

    run: str
    role: Literal["drive", "view"]
    stage: Stage
    tty: bool = False
    stdin_bytes: int = 0
    eofs: int = 0


class Detached(_Event, tag="detached", kw_only=True, frozen=True):
    """Nothing more of this run is told here: the client asked for it, or has all of it."""

    run: str


class Gap(_Event, tag="gap", kw_only=True, frozen=True):
    """Output of a kept run that is not there any more.

    Attributes:
        next: The `seq` from which it goes on.
        before_bytes: All output before that.
        missed_bytes: What of it this client did not get; null where the server can't know.
    """

    run: str
    next: int
    before_bytes: int
    missed_bytes: int | None = None


class Queued(_Event, tag="queued", kw_only=True, frozen=True):
    """The run waits; `position` 1 is next, `waiting` counts all that wait.

    `eta_s`: seconds until its turn, roughly; left out while the server has nothing to go by.
    `overtaken`: by how many places it went back since the message before, because runs of other
    clients, whose turn comes earlier, were put before it; left out if it did not.
    """

    run: str
    position: int
    waiting: int
    eta_s: float | UnsetType = UNSET
    overtaken: int | UnsetType = UNSET


class Started(_Event, tag="started", kw_only=True, frozen=True):
    """A stage began: ``build`` or ``run``. `seq` is that of a kept run's events.

    `workspace` comes with the first one of a run in a workspace: ``new``, or ``kept`` where files
    of earlier runs are there.
    """

    run: str
    stage: Stage
    seq: int | UnsetType = UNSET
    workspace: str | UnsetType = UNSET


class Stdout(_Event, tag="stdout", kw_only=True, frozen=True):
    """Output: whole lines where they come whole.

    `seq` counts the run's output messages from 1; of a kept run it is that of its events.
    """

    seq: int
    data: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class Stderr(Stdout, tag="stderr", kw_only=True, frozen=True):
    """The same for standard error."""


class OutputFile(_Event, tag="file", kw_only=True, frozen=True):
    """A piece of a file that the run has made; the last one ends at `size`.

    Attributes:
        name: Relative to the work directory, with ``/``.
        media_type: By its name's ending, such as ``image/png``.
        size: Of the whole file, in bytes.
        offset: Where the piece begins.
        base64: Its bytes.
        seq: Of a kept run's events.
    """

    name: str
    media_type: str
    size: int
    offset: int
    base64: str
    seq: int | UnsetType = UNSET


class LeftOut(_Event, tag="left_out", kw_only=True, frozen=True):
    """Something that `outputs` asks for and that does not come.

    Attributes:
        name: What it is called, cut and escaped so that it can be shown; left out where this
            speaks of all that there is besides.
        reason: ``no_file`` (a link, a device, a pipe), ``too_large``, ``too_many``, ``bad_name``
            or ``unreadable``.
        message: The same in words.
        seq: Of a kept run's events.
    """

    name: str | UnsetType = UNSET
    reason: str
    message: str
    seq: int | UnsetType = UNSET


class Forgotten(_Event, tag="forgotten", kw_only=True, frozen=True):
    """A workspace has ended, or ends with the run that goes on in it; its name is free."""

    workspace: str


class Waiting(_Event, tag="waiting", kw_only=True, frozen=True):
    """The program wants input, and none is on its way to it; told once until some is sent.

    Attributes:
        run: The server's id.
        seq: Its number among the messages of a kept run.
    """

    run: str
    seq: int | UnsetType = UNSET


class Drained(_Event, tag="drained", kw_only=True, frozen=True):
    """Flow control for much stdin: the program's side has taken `bytes` of it so far."""

    bytes: int


class Exit(_Event, tag="exit", kw_only=True, frozen=True):
    """The one end of an accepted run; all of its output came before.

    Attributes:
        stage: Where it ended: ``queue`` (never started), ``build`` or ``run``.
        reason: Why; `code` is set for ``exited``, `signal` for ``signaled``.
        wall_ms: Time of that stage, by the container's clock.
        cpu_ms: CPU time of the container in that stage; null where the runtime does not tell.
        memory_kb: Peak memory of the container until its end in KiB, its files included; null
            likewise, and where the build before it needed more than the program.
        output_bytes: Bytes delivered.
        truncated: Whether output was left out because of ``output_kb``.
        seq: That of a kept run's events.
    """

    run: str
    stage: Stage
    reason: Reason
    code: int | None = None
    signal: str | None = None
    queued_ms: float = 0.0
    wall_ms: float = 0.0
    cpu_ms: float | None = None
    memory_kb: int | None = None
    output_bytes: int = 0
    truncated: bool = False
    seq: int | UnsetType = UNSET


class Error(_Event, tag="error", kw_only=True, frozen=True):
    """A message that was not accepted; for a ``run`` it is the only answer."""

    code: str
    message: str
    path: str | UnsetType = UNSET
    retry_after_s: float | UnsetType = UNSET


class ResultFile(msgspec.Struct, kw_only=True, frozen=True):
    """A file that a run has made, in one piece."""

    name: str
    media_type: str
    size: int
    base64: str


class ResultLeftOut(msgspec.Struct, kw_only=True, frozen=True):
    """See `LeftOut`."""

    name: str | UnsetType = UNSET
    reason: str
    message: str


class Result(_Event, kw_only=True, frozen=True):
    """A whole run in one answer, as HTTP gives it.

    Attributes:
        stdout: All of it, build and run; `stdout_base64` in its place where it is not UTF-8.
        stderr: Likewise.
        exit: How it ended.
        workspace: Of a run in one, ``new`` or ``kept``, see `Started`.
        files: What it has made, if `outputs` asked for files.
        left_out: Of that, what did not come.
    """

    run: str
    stdout: str | UnsetType = UNSET
    stdout_base64: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET
    stderr_base64: str | UnsetType = UNSET
    exit: Exit
    workspace: str | UnsetType = UNSET
    files: list[ResultFile] | UnsetType = UNSET
    left_out: list[ResultLeftOut] | UnsetType = UNSET


class _OnlyId(msgspec.Struct):
    """Reads the id and skips the rest, however much it is."""

    id: RunId | UnsetType = UNSET


ServerMessage = (
    Accepted
    | Attached
    | Detached
    | Gap
    | Queued
    | Started
    | Stdout
    | Stderr
    | Waiting
    | OutputFile
    | LeftOut
    | Forgotten
    | Drained
    | Exit
    | Error
    | RoomTold
)

_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_run_decoder = msgspec.json.Decoder(PostedRun)
_id_decoder = msgspec.json.Decoder(_OnlyId)
_encoder = msgspec.json.Encoder()
_server_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
SOCKET_EXAMPLE = '{"type":"run","language":"python","code":"…"}'
POST_EXAMPLE = '{"language":"python","code":"…"}'


def decode(message: str | bytes, *, max_bytes: int) -> ClientMessage:
    """Decode and check one client message.

    Args:
        message: Text, or binary that holds the same JSON in UTF-8.
        max_bytes: Largest size taken, in bytes of UTF-8.

    Raises:
        TooLargeError: More than `max_bytes`, or too many files, or an argument, variable or command
            that is too long.
        BadMessageError: Anything else that is wrong with it; `path` names the place.
    """
    decoded = decode_as(message, _decoder, max_bytes)
    if isinstance(decoded, RunRequest):
        check_run(decoded)
    elif isinstance(decoded, Stdin) and (decoded.data is UNSET) == (decoded.base64 is UNSET):
        raise BadMessageError("give exactly one of data and base64", path="$.data")
    return decoded


def decode_run(message: bytes, *, max_bytes: int) -> PostedRun:
    """Decode and check a request by HTTP to run something, whose ``type`` need not be given.

    Raises:
        TooLargeError, BadMessageError: See `decode`.
    """
    request = decode_as(message, _run_decoder, max_bytes, POST_EXAMPLE)
    check_run(request)
    return request


def decode_as(
    message: str | bytes,
    decoder: msgspec.json.Decoder[T],
    max_bytes: int,
    example: str = SOCKET_EXAMPLE,
) -> T:
    """Decode what a decoder takes.

    Args:
        message: See `decode`.
        decoder: The decoder.
        max_bytes: See `decode`.
        example: What might have been sent, for whoever sends no JSON.

    Raises:
        TooLargeError, BadMessageError: See `decode`.
    """
    data = message.encode() if isinstance(message, str) else message
    if len(data) > max_bytes:
        raise TooLargeError(f"the message has {len(data)} bytes; the limit is {max_bytes} bytes")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as exc:
        reason, _, path = str(exc).partition(" - at ")
        raise BadMessageError(
            _quoted(_readable(reason)), path=_quoted(path.strip("`")) or "$"
        ) from exc
    except msgspec.DecodeError as exc:
        raise BadMessageError(
            f"not JSON: {exc}; expected one JSON object such as {example}", path="$"
        ) from exc
    except UnicodeDecodeError as exc:
        raise BadMessageError(f"not UTF-8: byte {exc.start} of a string", path="$") from exc
    except RecursionError as exc:
        raise BadMessageError("nested too deeply", path="$") from exc


def salvage_id(message: str | bytes) -> str | UnsetType:
    """Return the ``id`` of a message that `decode` refused, if one can be made out.

    So that the error names the run it is about.
    """
    try:
        return _id_decoder.decode(message).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return UNSET


def encode(event: _Event) -> bytes:
    """Encode one server message as JSON in UTF-8; optional fields that are unset do not appear."""
    return _encoder.encode(event)


def decode_server(message: str | bytes) -> ServerMessage | None:
    """Decode one server message for a client; None for a type this version doesn't know.

    Raises:
        BadMessageError: Not a message of this protocol.
    """
    try:
        return _server_decoder.decode(message)
    except msgspec.ValidationError as exc:
        if str(exc).startswith("Invalid value '") and str(exc).endswith("`$.type`"):
            return None
        raise BadMessageError(f"not a message of wsrunner: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadMessageError(f"not a message of wsrunner: {exc}") from exc


def encode_request(request: ClientMessage) -> str:
    """Encode one client message as JSON text."""
    return _encoder.encode(request).decode()


def error_event(error: WsrunnerError, id: str | UnsetType = UNSET) -> Error:  # noqa: A002
    """Turn an error into the message that tells the client."""
    return Error(
        id=id,
        code=error.code,
        message=error.message,
        path=UNSET if error.path is None else error.path,
        retry_after_s=UNSET if error.retry_after_s is None else round(error.retry_after_s, 3),
    )


def output_payload(data: bytes) -> dict[str, str]:
    """Return ``{"data": text}``, or ``{"base64": …}`` where the bytes are not UTF-8."""
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def content_bytes(text: str | UnsetType, encoded: str | UnsetType, path: str) -> bytes:
    """Return the bytes of a text-or-base64 pair of fields, of which exactly one is set.

    Raises:
        BadMessageError: The base64 is not valid.
    """
    if encoded is not UNSET:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise BadMessageError(f"not base64: {exc}", path=f"{path}.base64") from exc
    assert text is not UNSET
    return text.encode()


def _readable(reason: str) -> str:
    """Lower the first letter, as these are parts of sentences elsewhere."""
    return reason[:1].lower() + reason[1:]


def _quoted(text: str) -> str:
    """Cut what may be a megabyte of the client's own."""
    return text if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]}…"


def check_run(request: RunRequest) -> None:
    """Check what types can't say.

    Raises:
        BadMessageError: See the messages.
        TooLargeError: More, or longer, than the limits at the top.
    """
    if (request.code is UNSET) == (request.files is UNSET):
        raise BadMessageError("give exactly one of code and files", path="$.code")
    if request.files is not UNSET:
        _check_files(request.files)
    _check_args_and_env(request.args, request.env)
    _check_outputs(request.outputs)
    if request.workspace is not UNSET and not _SpaceName.match(request.workspace):
        raise BadMessageError(f"not a workspace's name: {SPACE_NAME}", path="$.workspace")
    if request.command is not UNSET:
        _check_argument(request.command, "$.command")
        if not request.command.strip():
            raise BadMessageError("the command is empty", path="$.command")


def _check_args_and_env(args: list[str], env: dict[str, str]) -> None:
    """Refuse what the kernel would not pass to a process."""
    if len(args) > ARGS_MAX:
        raise TooLargeError(f"{len(args)} args; the limit is {ARGS_MAX} args", path="$.args")
    if len(env) > ENV_MAX:
        raise TooLargeError(f"{len(env)} variables; the limit is {ENV_MAX} variables", path="$.env")
    for index, arg in enumerate(args):
        _check_argument(arg, f"$.args[{index}]")
    for name, value in env.items():
        if not _EnvName.match(name):
            raise BadMessageError(
                f"{name[:80]!r} is not a variable name: use letters, digits and _, not beginning "
                "with a digit",
                path="$.env",
            )
        _check_argument(f"{name}={value}", f"$.env.{_quoted(name)}")
    size = sum(map(_size, (*args, *env, *env.values())))
    if size > ARGUMENTS_MAX_BYTES:
        raise TooLargeError(
            f"args and env have {size} bytes; the limit is {ARGUMENTS_MAX_BYTES} bytes",
            path="$.args",
        )


def _check_outputs(patterns: list[str]) -> None:
    if len(patterns) > names.PATTERNS_MAX:
        raise TooLargeError(
            f"{len(patterns)} outputs; the limit is {names.PATTERNS_MAX} patterns",
            path="$.outputs",
        )
    for index, pattern in enumerate(patterns):
        path = f"$.outputs[{index}]"
        size = _size(pattern)
        if size > FILE_NAME_MAX_BYTES:
            raise TooLargeError(
                f"a pattern of {size} bytes; the limit is {FILE_NAME_MAX_BYTES} bytes", path=path
            )
        if problem := names.pattern_problem(pattern):
            raise BadMessageError(f"the pattern {pattern[:80]!r} {problem}", path=path)


def _check_files(files: list[File]) -> None:
    if not files:
        raise BadMessageError("files is empty; give at least the main file", path="$.files")
    if len(files) > FILES_MAX:
        raise TooLargeError(f"{len(files)} files; the limit is {FILES_MAX} files", path="$.files")
    seen: set[str] = set()
    for index, file in enumerate(files):
        path = f"$.files[{index}]"
        _check_name(file.name, f"{path}.name")
        if file.name in seen:
            raise BadMessageError(f"two files are named {file.name!r}", path=f"{path}.name")
        seen.add(file.name)
        if (file.content is UNSET) == (file.base64 is UNSET):
            raise BadMessageError("give exactly one of content and base64", path=path)
        if file.base64 is not UNSET:
            content_bytes(UNSET, file.base64, path)
    for index, file in enumerate(files):
        parent = file.name
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in seen:
                raise BadMessageError(
                    f"{parent!r} is a file, so {file.name!r} can't be in it",
                    path=f"$.files[{index}].name",
                )


def _check_name(name: str, path: str) -> None:
    """Refuse names that could leave the work directory or that no file system takes."""
    size = _size(name)
    shown = name if len(name) <= 80 else name[:77] + "…"  # noqa: PLR2004 - a readable line
    if size > FILE_NAME_MAX_BYTES:
        raise BadMessageError(
            f"the file name {shown!r} has {size} bytes; the limit is {FILE_NAME_MAX_BYTES} bytes",
            path=path,
        )
    if problem := names.problem(name):
        raise BadMessageError(f"the file name {shown!r} {problem}", path=path)


def _check_argument(text: str, path: str) -> None:
    """Refuse what can't be an argument or a variable of a process."""
    if "\0" in text:
        raise BadMessageError("holds a NUL character", path=path)
    size = _size(text)
    if size > ARGUMENT_MAX_BYTES:
        raise TooLargeError(f"{size} bytes; the limit is {ARGUMENT_MAX_BYTES} bytes", path=path)


def _size(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text.encode())
