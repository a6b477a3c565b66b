"""A real Chromium before real servers, and a page that only listens to what goes wrong."""

import asyncio
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from tests.conftest import _start, absent
from tests.talk import PATIENCE_S
from wsrunner.serving.doors.pages import static_dir

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
BROWSER_PATIENCE_MS = PATIENCE_S * 500
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def bundle():
    """The bundle of editor and terminal is built."""
    if not (static_dir() / "dist" / "bundle.js").exists():
        absent("static/dist (make web)")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium():
    """The system's Chromium."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or absent("chromium")
    expect.set_options(timeout=BROWSER_PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


class _ForeignSite(http.server.BaseHTTPRequestHandler):
    server_url = ""

    def do_GET(self):
        name = "classroom.html" if self.path.startswith("/classroom.html") else "embed.html"
        page = (EXAMPLES / name).read_text(encoding="utf-8")
        body = page.replace("http://127.0.0.1:8001", type(self).server_url).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def foreign_site():
    """A site on another port with the examples' pages; `server_url` is to be set."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _ForeignSite) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def site(request, tmp_path_factory, need, foreign_site):
    """A server with room for several runs, which the foreign site may use."""
    need("python")
    origin = f"http://127.0.0.1:{foreign_site.server_port}"
    options = {"slots": 3, "warm": "python=1,bash=1", "origin": origin}
    serving = _start(request, tmp_path_factory.mktemp("site"), options)
    _ForeignSite.server_url = f"http://{serving.address}"
    return serving


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium, request):
    """A function that opens a page; any error in its console fails the test.

    Errors that a test provokes are named to it: ``open_page(serving, expected="401")``.
    """
    contexts, wrong = [], []

    async def opened(serving, path="/", *, expected=None, **options):
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = await chromium.new_context(**options)
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(BROWSER_PATIENCE_MS)

        def heard(text):
            if expected is None or not re.search(expected, text):
                wrong.append(text)

        page.on("console", lambda m: heard(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: heard(str(error)))
        url = path if path.startswith("http") else f"http://{serving.address}{path}"
        await page.goto(url)
        return page

    yield opened
    if getattr(request.node, "failed", False):
        for context in contexts:
            for page in context.pages:
                await shoot(page, f"failed-{request.node.name}")
    for context in contexts:
        await context.close()
    assert not wrong, wrong


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


async def held_back(page, pattern):
    """Hold back what matches; return the event that, once set, lets it come."""
    come = asyncio.Event()

    async def late(route):
        await come.wait()
        await route.continue_()

    await page.route(pattern, late)
    return come


async def shoot(page, name):
    """Keep a screenshot among the artefacts."""
    ARTIFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTIFACTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png")
