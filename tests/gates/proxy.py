"""A TCP proxy before Redis that cuts, stalls, delays, or drops replies on demand."""

import asyncio
from contextlib import suppress


class Proxy:
    def __init__(self, port):
        self.port = port
        self.url = None
        self.mode = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers = set()
        self._server = None

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *exc):
        self.fault("cut")
        self._server.close()
        await asyncio.sleep(0)

    def fault(self, mode):
        """Set a fault, or none: cut (once), stall both ways, delay or drop replies."""
        self.mode = mode
        if mode == "stall":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "cut":
            for writer in list(self._writers):
                writer.transport.abort()
            self.mode = None

    async def _serve(self, reader, writer):
        with suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers |= {writer, forth}
            try:
                await asyncio.gather(self._pass(reader, forth), self._pass(back, writer, back=True))
            finally:
                self._writers -= {writer, forth}
                writer.transport.abort()
                forth.transport.abort()

    async def _pass(self, reader, writer, *, back=False):
        try:
            while chunk := await reader.read(1 << 16):
                await self._passing.wait()
                if back and self.mode == "delay":
                    await asyncio.sleep(0.1)
                if back and self.mode == "drop":
                    continue
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.transport.abort()
