"""Which files are sent under which names, and in which language they are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from wsrunner.commands import sources
from wsrunner.commands.sources import (
    SourceError,
    SourceTooLargeError,
    guess,
    read,
    read_all,
    read_from,
)

CATALOGUE = [
    {"id": "bash", "aliases": ["sh"], "file": "main.sh", "run": "bash main.sh"},
    {"id": "cpp", "aliases": ["c++", "cc"], "file": "main.cpp", "run": "./a.out"},
    {"id": "haskell", "aliases": ["hs"], "file": "main.hs", "run": "runghc main.hs"},
    {"id": "javascript", "aliases": ["js", "node"], "file": "main.js", "run": "node main.js"},
    {"id": "mercury", "aliases": [], "file": "main.m", "run": "./a.out"},
    {"id": "objc", "aliases": [], "file": "start.m", "run": "./a.out"},
    {"id": "python", "aliases": ["py", "python3"], "file": "main.py", "run": "python main.py"},
]


@pytest.mark.parametrize(
    ("name", "content", "language"),
    [
        ("hello.py", b"", "python"),
        ("HELLO.PY", b"", "python"),
        ("a.cc", b"", "cpp"),
        ("main.m", b"", "mercury"),
        ("hello.py", b"#!/bin/sh\n", "python"),
        ("script", b"#!/bin/sh\n", "bash"),
        ("script", b"#! /usr/bin/python3.11 -u\n", "python"),
        ("script", b"#!/usr/bin/env -S node --x\n", "javascript"),
        (None, b"#!/usr/bin/env runghc", "haskell"),
        ("x.txt", b"#!/bin/bash", "bash"),
    ],
)
def test_a_language_is_guessed(name, content, language):
    assert guess(name, content, CATALOGUE) == language


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("other.m", b"", "may be mercury or objc"),
        ("x.txt", b"", "--language"),
        (None, b"#!/usr/bin/awk -f\n", "no language for 'awk'"),
        (None, b"#!", "the source"),
    ],
)
def test_a_language_is_not_guessed(name, content, said):
    with pytest.raises(SourceError, match=said):
        guess(name, content, CATALOGUE)


@pytest.fixture
def tree(tmp_path):
    for name in ("src/main.py", "src/lib/a.py", "data/b/1.txt", "data/2.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_files_keep_their_place_below_the_main_file_or_here(tree, monkeypatch):
    monkeypatch.chdir(tree)
    found = read_all(Path("src/main.py"), [Path("src/lib"), Path("data/2.txt")], tree)
    assert found == {"lib/a.py": b"src/lib/a.py", "data/2.txt": b"data/2.txt"}


def test_a_directory_stands_for_all_its_files(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert list(read_all(None, [Path("data")], tree)) == ["data/2.txt", "data/b/1.txt"]


def test_a_file_outside_is_refused(tree, monkeypatch):
    monkeypatch.chdir(tree / "src")
    with pytest.raises(SourceError, match=r"\.\./data/2\.txt is outside of"):
        read_all(Path("main.py"), [Path("../data/2.txt")], tree / "src")


def test_two_files_of_one_name_are_refused(tree, monkeypatch):
    monkeypatch.chdir(tree)
    with pytest.raises(SourceError, match=r"'lib/a\.py'"):
        read_all(Path("src/main.py"), [Path("src/lib/a.py"), Path("src/lib")], tree)


def test_a_missing_file_is_named(tree, monkeypatch):
    monkeypatch.chdir(tree)
    with pytest.raises(SourceError, match=r"nope\.txt: No such file"):
        read_all(None, [Path("nope.txt")], tree)


def test_a_file_name_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "b\udcff").write_text("")
    with pytest.raises(SourceError, match="valid UTF-8"):
        read_all(None, [tmp_path], tmp_path)


def test_what_no_server_takes_is_refused_and_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FILE_MAX_BYTES", 2**20)
    file = tmp_path / "big.py"
    file.write_bytes(b"#" * 2**20)
    assert len(read(file)) == len(read_from(io.BytesIO(b"#" * 2**20), "stdin")) == 2**20
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SourceTooLargeError, match=r"big\.py has more than 1 MiB"):
        read(file)
    with pytest.raises(SourceTooLargeError, match="stdin has more than 1 MiB"):
        read_from(io.BytesIO(b"#" * (2**20 + 1)), "stdin")
