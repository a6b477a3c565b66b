"""The pages' files: found, compressed, cached."""

import gzip
import os

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from wsrunner.serving.doors.pages import Pages

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


@pytest.fixture
async def get(folder):
    """A function that asks for a file, and says what came: status, headers, body as it was sent."""
    application = web.Application()
    application.add_routes(Pages(folder).routes())
    async with TestClient(TestServer(application), auto_decompress=False) as client:

        async def ask(name, **headers):
            async with client.get(f"/static/{name}", headers=headers) as response:
                return response.status, response.headers, await response.read()

        yield ask


@pytest.mark.parametrize(
    ("accepted", "coding", "body"),
    [
        ("gzip, deflate, br", "br", b"brotli"),
        ("gzip", "gzip", b"gzipped"),
        ("identity", None, TEXT.encode()),
    ],
)
async def test_the_best_compressed_form_that_is_accepted_is_sent(get, accepted, coding, body):
    status, headers, sent = await get(
        "dist/chunks/editor-ABCD2345.js", **{"Accept-Encoding": accepted}
    )
    assert (status, headers.get("Content-Encoding"), sent) == (200, coding, body)
    assert headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert "Accept-Encoding" in headers["Vary"]


async def test_what_has_no_compressed_form_is_compressed_here_if_it_is_worth_it(get):
    _, _, sent = await get("page.js", **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(sent) == TEXT.encode()
    _, headers, sent = await get("small.css", **{"Accept-Encoding": "gzip"})
    assert (headers.get("Content-Encoding"), sent) == (None, b"p{}")


async def test_only_names_with_a_hash_are_kept_for_good(get):
    assert "immutable" in (await get("dist/chunks/editor-ABCD2345.js"))[1]["Cache-Control"]
    assert (await get("page.js"))[1]["Cache-Control"] == "no-cache"


async def test_what_a_browser_has_is_not_sent_again_until_it_changes(get, folder):
    tag = (await get("page.js"))[1]["ETag"]
    status, _, body = await get("page.js", **{"If-None-Match": tag})
    assert (status, body) == (304, b"")
    (folder / "page.js").write_text("changed")
    os.utime(folder / "page.js", (1, 1))
    status, headers, body = await get("page.js", **{"If-None-Match": tag})
    assert (status, body) == (200, b"changed")
    assert headers["ETag"] != tag


async def test_a_part_is_sent_to_who_asks_for_one(get):
    status, headers, body = await get("page.js", **{"Range": "bytes=1-4", "Accept-Encoding": "br"})
    assert (status, body) == (206, TEXT[1:5].encode())
    assert headers["Content-Range"] == f"bytes 1-4/{len(TEXT)}"


@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "none.js", ".npmrc", "node_modules/a.js", "", "a\0b", "dist", "x" * 5000],
)
def test_nothing_else_is_served(folder, name):
    assert Pages(folder).find(name) is None
