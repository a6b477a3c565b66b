"""Writes what a run has made below a directory, and nowhere else.

Owns the safety of that: names are a stranger's, and so may be what the directory holds. No link in
it is followed, also not one that is put there meanwhile: each folder is opened from the one above
(openat(2) with O_NOFOLLOW), and a file takes its place whole, by rename(2).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from wsrunner import names
from wsrunner.client import RunFile

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SavingError(Exception):
    """A file can't be written; the message says which and why."""


def save(files: Iterable[RunFile], directory: Path) -> list[str]:
    """Write files below a directory, which is made if need be; return what each is called there.

    A file of the same name is replaced.

    Raises:
        SavingError: One can't be written, or its name is none that a server may send.
    """
    files = list(files)
    for file in files:
        if problem := names.problem_outside(file.name):
            raise SavingError(f"{names.shown(file.name)}: {problem}")
    saved = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # The user's own word: it may be a link.
        top = os.open(directory, _FOLDER & ~os.O_NOFOLLOW)
    except OSError as exc:
        raise SavingError(f"{directory}: {exc.strerror}") from exc
    try:
        for file in files:
            path = str(directory / file.name)
            try:
                _write(top, file)
            except OSError as exc:
                raise SavingError(f"{path}: {exc.strerror}") from exc
            saved.append(path)
    finally:
        os.close(top)
    return saved


def _write(top: int, file: RunFile) -> None:
    *folders, name = file.name.split("/")
    with _opened(top, folders) as folder:
        # Nobody finds half a file under its name.
        passing = f".wsrunner-{secrets.token_hex(8)}"
        descriptor = os.open(passing, _NEW, 0o666, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(file.content)
            os.rename(passing, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(passing, dir_fd=folder)
            raise


@contextlib.contextmanager
def _opened(top: int, folders: list[str]) -> Iterator[int]:
    """Open a folder below another one, making what is not there."""
    folder = os.dup(top)
    try:
        for name in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
            below = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)
