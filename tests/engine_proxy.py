"""A proxy before the engine's socket that hangs, is slow, resets, answers rubbish, or spoils attach
streams."""

import asyncio

SOCKET = "/run/docker.sock"
HEAD_END = b"\r\n\r\n"
PIECE_BYTES = 1 << 16


class EngineProxy:
    """Passes all on, but for the faults that are set.

    Attributes:
        host: Its address, for DOCKER_HOST.
        answers: Part of a request's first line → what is answered in the engine's place.
        reset: Part of the first line of requests whose connections break without an answer.
        slow_s: Seconds that each piece of what the engine says is held back.
        spoil: Called with the number of an attach stream, from 0; returns a function from the
            stream's bytes so far and the next ones to what is passed on; if that is less, no more.
    """

    def __init__(self, folder):
        self._path = f"{folder}/engine.sock"
        self.host = f"unix://{self._path}"
        self.answers = {}
        self.reset = None
        self.slow_s = 0.0
        self.spoil = lambda number: lambda so_far, piece: piece
        self._attached = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections = set()

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def hang(self):
        """Pass nothing on, either way, until `go_on`."""
        self._passing.clear()

    def go_on(self):
        self._passing.set()

    async def _serve(self, reader, writer):
        self._connections.add(asyncio.current_task())
        try:
            back, forth = await asyncio.open_unix_connection(SOCKET)
            try:
                async with asyncio.TaskGroup() as group:
                    spoils = []
                    group.create_task(self._ask(reader, writer, forth, spoils))
                    group.create_task(self._answer(back, writer, forth, spoils))
            finally:
                writer.transport.abort()
                forth.transport.abort()
        except* (OSError, asyncio.CancelledError):
            pass
        self._connections.discard(asyncio.current_task())

    async def _ask(self, reader, writer, forth, spoils):
        # A client sends the next request of a connection when it has the answer to the last.
        while piece := await reader.read(PIECE_BYTES):
            await self._passing.wait()
            request = piece.partition(b"\r\n")[0].decode(errors="replace")
            answer = next((text for path, text in self.answers.items() if path in request), None)
            if self.reset is not None and self.reset in request:
                writer.transport.abort()
                break
            if answer is not None:
                writer.write(answer)
                continue
            if "/attach?" in request:
                spoils.append(self.spoil(self._attached))
                self._attached += 1
            forth.write(piece)
            await forth.drain()
        if forth.can_write_eof():
            forth.write_eof()

    async def _answer(self, back, writer, forth, spoils):
        """Pass on what the engine says; of an attach stream, spoil what comes after the head."""
        so_far = None
        while piece := await back.read(PIECE_BYTES):
            await self._passing.wait()
            await asyncio.sleep(self.slow_s)
            if spoils and so_far is None:
                head, end, piece = piece.partition(HEAD_END)
                writer.write(head + end)
                so_far = 0
            passed = piece if so_far is None else spoils[0](so_far, piece)
            writer.write(passed)
            await writer.drain()
            if len(passed) < len(piece):
                break
            if so_far is not None:
                so_far += len(piece)
        writer.transport.abort()
        forth.transport.abort()
