"""The pages' files: found, compressed, cached."""

import gzip

import pytest

from wsrunner.serving.static_files import StaticFiles

TEXT = "console.log('a line that compresses well');\n" * 100


@pytest.fixture
def folder(tmp_path):
    static = tmp_path / "static"
    (static / "dist" / "chunks").mkdir(parents=True)
    (static / "node_modules").mkdir()
    (static / "page.js").write_text(TEXT)
    (static / "small.css").write_text("p{}")
    (static / ".npmrc").write_text("secret")
    (static / "node_modules" / "a.js").write_text("")
    chunk = static / "dist" / "chunks" / "editor-ABCD2345.js"
    chunk.write_text(TEXT)
    chunk.with_name(chunk.name + ".br").write_bytes(b"brotli")
    chunk.with_name(chunk.name + ".gz").write_bytes(b"gzipped")
    (tmp_path / "outside.txt").write_text("")
    return static


@pytest.mark.parametrize(
    ("accepted", "coding", "body"),
    [
        ("gzip, deflate, br", "br", b"brotli"),
        ("gzip", "gzip", b"gzipped"),
        ("br;q=0, gzip;q=0.5", "gzip", b"gzipped"),
        ("", None, TEXT.encode()),
    ],
)
def test_the_best_compressed_form_that_is_accepted_is_sent(folder, accepted, coding, body):
    file = StaticFiles(folder).find("dist/chunks/editor-ABCD2345.js", accepted)
    assert (file.coding, file.body) == (coding, body)
    assert file.kind == "text/javascript; charset=utf-8"


def test_what_has_no_compressed_form_is_compressed_here_if_it_is_worth_it(folder):
    files = StaticFiles(folder)
    assert gzip.decompress(files.find("page.js", "gzip").body) == TEXT.encode()
    assert files.find("small.css", "gzip").coding is None


def test_only_names_with_a_hash_are_kept_for_good(folder):
    files = StaticFiles(folder)
    assert "immutable" in files.find("dist/chunks/editor-ABCD2345.js").cache_control
    assert files.find("page.js").cache_control == "no-cache"


def test_the_tag_follows_the_content(folder):
    files = StaticFiles(folder)
    before = files.find("page.js").tag
    assert before == StaticFiles(folder).find("page.js").tag
    (folder / "page.js").write_text("changed")
    assert files.find("page.js").tag != before


@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "none.js", ".npmrc", "node_modules/a.js", "", "a\0b", "dist", "x" * 5000],
)
def test_nothing_else_is_served(folder, name):
    assert StaticFiles(folder).find(name, "gzip") is None
