"""What ``wsrunner run`` sends: which files, under which names, in which language.

Owns reading and naming source files and guessing a language from them. Imports nothing of wsrunner
and knows no network: the catalogue is passed in as the server gave it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from wsrunner.units import MIB

Catalogue = Sequence[Mapping[str, Any]]
"""Entries of ``GET /v1/languages``; ``id``, ``aliases``, ``file`` and ``name`` are looked at."""

FILE_MAX_BYTES = 64 * MIB
"""The most a server can be set to take in one message; its own limit is usually far lower."""


class SourceError(Exception):
    """A source can't be read, named or recognised; the message says what to do."""


class SourceTooLargeError(SourceError):
    """A source is larger than any server takes."""


def read(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        SourceError: It can't be read.
        SourceTooLargeError: It is larger than any server takes.
    """
    try:
        with path.open("rb") as file:
            return read_from(file, str(path))
    except OSError as exc:
        raise SourceError(f"{path}: {exc.strerror or exc}") from exc


def read_from(file: BinaryIO, name: str) -> bytes:
    """Return what an open file holds, to its end.

    Args:
        file: Such as this process's stdin.
        name: For the message.

    Raises:
        SourceError: It can't be read.
        SourceTooLargeError: It is larger than any server takes.
    """
    try:
        content = file.read(FILE_MAX_BYTES + 1)
    except OSError as exc:
        raise SourceError(f"{name}: {exc.strerror or exc}") from exc
    if len(content) > FILE_MAX_BYTES:
        raise SourceTooLargeError(
            f"{name} has more than {FILE_MAX_BYTES // 2**20} MiB, which no server takes"
        )
    return content


def check_readable(path: Path) -> None:
    """Check that a file can be opened, before anything runs.

    Raises:
        SourceError: It can't.
    """
    try:
        with path.open("rb"):
            pass
    except OSError as exc:
        raise SourceError(f"{path}: {exc.strerror or exc}") from exc


def read_all(main: Path | None, extra: Iterable[Path], cwd: Path) -> dict[str, bytes]:
    """Read files and the content of directories, and name them for the work directory of the run.

    A file keeps its place below the main file's directory or else below `cwd`.

    Args:
        main: The main file, which is not read here; None if it has no path.
        extra: Further files; a directory stands for all files in it, at any depth.
        cwd: Absolute path of the working directory.

    Returns:
        Name → content, in the order given.

    Raises:
        SourceError: One can't be read, has no place below either directory, or two get one name.
    """
    bases = [_absolute(main, cwd).parent, cwd] if main is not None else [cwd]
    found: dict[str, bytes] = {}
    for given in extra:
        for path in _walk(given):
            name = _name(path, bases, cwd)
            if not is_text(name):
                raise SourceError(f"{name!r}: a file name must be valid UTF-8")
            if name in found:
                raise SourceError(f"{path}: two files would be named {name!r}")
            found[name] = read(path)
    return found


def entry(catalogue: Catalogue, language: str) -> Mapping[str, Any] | None:
    """Return the catalogue's entry with this id or alias; None if there is none."""
    for candidate in catalogue:
        if language == candidate.get("id") or language in candidate.get("aliases", ()):
            return candidate
    return None


def guess(name: str | None, content: bytes, catalogue: Catalogue) -> str:
    """Return the id of the language that a source is in.

    The file name decides first, as it is what its author chose: the name of a language's main file,
    then its extension, then an extension that is an id or alias. Then the ``#!`` line decides.

    Args:
        name: File name without directories; None if it has none.
        content: The file's content.
        catalogue: What the server knows.

    Raises:
        SourceError: No language fits, or more than one.
    """
    by_name = _by_name(name, catalogue) if name else []
    if len(by_name) == 1:
        return by_name[0]
    interpreter = _interpreter(content)
    by_line = _by_interpreter(interpreter, catalogue) if interpreter else None
    if by_line is not None:
        return by_line
    shown = name or "the source"
    if by_name:
        raise SourceError(f"{shown} may be {' or '.join(by_name)}: say which with --language")
    if interpreter:
        raise SourceError(
            f"{shown}: the server has no language for {interpreter!r}: name one with --language"
        )
    raise SourceError(
        f"can't tell the language of {shown}: name it with --language (the server has "
        f"{', '.join(ids(catalogue))})"
    )


def ids(catalogue: Catalogue) -> list[str]:
    """Return the ids of all languages, sorted."""
    return sorted(str(candidate["id"]) for candidate in catalogue if "id" in candidate)


def is_text(name: str) -> bool:
    """Whether a name or argument is UTF-8; Python keeps other bytes as surrogates (PEP 383)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _absolute(path: Path, cwd: Path) -> Path:
    # Without following links: a linked file belongs where the link is.
    return Path(os.path.normpath(cwd / path))


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(files):
            yield Path(folder, file)


def _name(path: Path, bases: Sequence[Path], cwd: Path) -> str:
    absolute = _absolute(path, cwd)
    for base in bases:
        if absolute.is_relative_to(base):
            return absolute.relative_to(base).as_posix()
    raise SourceError(
        f"{path} is outside of {' and '.join(map(str, dict.fromkeys(bases)))}: a file keeps its "
        "place below the main file's directory or the working directory, so '..' can't be kept"
    )


def _by_name(name: str, catalogue: Catalogue) -> list[str]:
    suffix = PurePosixPath(name).suffix.lower()
    exact = [str(each["id"]) for each in catalogue if each.get("file") == name]
    if len(exact) == 1 or not suffix:
        return exact
    same = [
        str(each["id"])
        for each in catalogue
        if PurePosixPath(str(each.get("file", ""))).suffix.lower() == suffix
    ]
    named = entry(catalogue, suffix[1:])
    if named is not None and (not same or named["id"] in same):
        # "m" may be the main file's extension of two, but the alias of one.
        return [str(named["id"])]
    return same


_SHEBANG = re.compile(rb"#![ \t]*(\S+)(?:[ \t]+([^\r\n]*))?")


def _interpreter(content: bytes) -> str | None:
    """Return the program's name in a ``#!`` line, through ``env`` and its options."""
    found = _SHEBANG.match(content[:256])
    if found is None:
        return None
    words = [found[1], *(found[2] or b"").split()]
    names = [PurePosixPath(word.decode(errors="replace")).name for word in words]
    if names[0] == "env":
        names = [name for name in names[1:] if not name.startswith("-") and "=" not in name]
    return names[0] if names else None


def _by_interpreter(interpreter: str, catalogue: Catalogue) -> str | None:
    bare = re.sub(r"[\d.]+$", "", interpreter)
    usual = {"node": "javascript", "sh": "bash", "dash": "bash", "ts-node": "typescript"}
    for name in (interpreter, bare, usual.get(bare, bare)):
        found = entry(catalogue, name)
        if found is not None:
            return str(found["id"])
    # Such as runghc: the run command's first word.
    for candidate in catalogue:
        run = candidate.get("run")
        if isinstance(run, str) and run.split()[:1] and run.split()[0] in {interpreter, bare}:
            return str(candidate["id"])
    return None
