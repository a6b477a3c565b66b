"""What a run may ask for, as far as types can't say it."""

from __future__ import annotations

import re

from msgspec import UNSET

from wsrunner import names
from wsrunner.errors import BadMessageError, TooLargeError
from wsrunner.units import KIB
from wsrunner.words.base import SPACE_NAME
from wsrunner.words.content import content_bytes, quoted
from wsrunner.words.requests import File, RunRequest

FILES_MAX = 64
FILE_NAME_MAX_BYTES = names.NAME_MAX_BYTES
ARGS_MAX = 256
ENV_MAX = 64
ARGUMENT_MAX_BYTES = 128 * KIB - KIB
"""Linux takes no longer argument or variable (MAX_ARG_STRLEN); some room is ours."""
ARGUMENTS_MAX_BYTES = 1536 * KIB
"""Of all arguments and variables: Linux takes 2 MiB with a stack of 8 MiB (execve(2))."""

_SpaceName = re.compile(SPACE_NAME)
_EnvName = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


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
        _check_argument(f"{name}={value}", f"$.env.{quoted(name)}")
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
