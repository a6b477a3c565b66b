"""A way to servers that breaks off: now, or after so many bytes."""

import asyncio
import contextlib
import random


class Cutter:
    """Forwards TCP connections to one of several servers, and cuts them without a word.

    Args:
        addresses: ``host:port`` of servers; each connection goes to one, chosen at random.
        seed: For the choice.

    Attributes:
        connections: How many have been made.
        cut_after: Called for each connection; returns after how many bytes, of both directions, it
            is cut, or None for never.
    """

    def __init__(self, addresses, seed=0):
        self.addresses = list(addresses)
        self.connections = 0
        self.cut_after = lambda: None
        self._random = random.Random(seed)
        self._live = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def cut(self):
        """Cut every connection now."""
        for writer in list(self._live):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections += 1
        host, port = self._random.choice(self.addresses).rsplit(":", 1)
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._live |= pair
        left = self.cut_after()

        async def pump(source, sink):
            nonlocal left
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    if left is not None:
                        sink.write(data[: max(left, 0)])
                        left -= len(data)
                        if left <= 0:
                            break
                    else:
                        sink.write(data)
                    await sink.drain()
            for each in pair:
                each.transport.abort()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        self._live -= pair
