"""The port, where its parts fail."""

import asyncio
from types import SimpleNamespace

from wsrunner.serving.doors.app import App
from wsrunner.serving.port import Port
from wsrunner.settings import Settings


async def test_doors_that_can_t_be_opened_are_logged(monkeypatch, caplog):
    async def fail(*_):
        raise OSError("no room left")

    monkeypatch.setattr(App, "open", fail)
    desk = SimpleNamespace(settings=Settings())
    opened = asyncio.Event()
    port = Port(desk, None, SimpleNamespace(open=lambda _: opened.set()))
    await port.open_doors(desk)
    assert "HTTP can't be served" in caplog.text
    assert "no room left" in caplog.text
    assert not opened.is_set()
