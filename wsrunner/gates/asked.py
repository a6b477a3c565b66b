"""A Redis that is asked for one thing after the other, by whoever has scripts of his own there.

Owns how long a reply may take and what becomes of an error. The gate itself does not ask this way:
see `redis`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from redis.exceptions import MovedError, NoScriptError, RedisError

from wsrunner.errors import GateUnavailableError
from wsrunner.gates.replica import unavailable
from wsrunner.gates.wire import Server

log = logging.getLogger(__name__)

REPLY_S = 2.0
AGAIN_S = 0.25
"""How long after an error something is tried again."""


class Asked:
    """Redis, as one part of the server uses it; base of its commands.

    Args:
        url: As for `gates.redis.RedisGate`.
        prefix: Begins every key. All keys are on one node of a Cluster.
        folder: Where the scripts are.
        scripts: Their names.
    """

    def __init__(self, url: str, prefix: str, folder: Path, scripts: Sequence[str]) -> None:
        self._server = Server(url, REPLY_S)
        self._prefix = prefix
        self._texts = {name: script(folder, name) for name in scripts}
        # Its annotations are of all that any protocol version may answer.
        self._redis: Any = self._server.client()
        self._scripts = self._registered()

    def _registered(self) -> dict[str, Any]:
        return {name: self._redis.register_script(text) for name, text in self._texts.items()}

    async def close(self) -> None:
        """Give the connections up."""
        await self._redis.aclose()
        await self._server.close()

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}:{kind}:{name}"

    @asynccontextmanager
    async def _asked(self, longer_s: float = 0.0) -> AsyncIterator[None]:
        """Bound what is asked in time, and say what went wrong as this server's error."""
        try:
            async with asyncio.timeout(REPLY_S + longer_s):
                yield
        except MovedError as exc:
            self._move(exc.host, exc.port)
            raise unavailable(str(exc)) from exc
        except (RedisError, OSError, TimeoutError) as exc:
            raise unavailable(str(exc) or f"no reply in {REPLY_S + longer_s:g} s") from exc

    async def _sent(
        self,
        letters: Sequence[tuple[str, bytes]],
        letters_life_s: float,
        name: str,
        calls: Sequence[tuple[Sequence[str], Sequence[Any]]],
    ) -> list[str]:
        """Send letters, and then call a script, all in one go; within `_asked`.

        Args:
            letters: Key of the stream, and content of each.
            letters_life_s: How long they stay: whoever they are for may be gone.
            name: The script's.
            calls: Keys and arguments of each call.

        Returns:
            What the script answers to each.
        """
        pipe = self._redis.pipeline(transaction=False)
        boxes = {key for key, _ in letters}
        for key, content in letters:
            pipe.xadd(key, {"l": content})
        for key in boxes:
            pipe.pexpire(key, milliseconds(letters_life_s))
        self._call(pipe, name, calls)
        answers = await pipe.execute(raise_on_error=False)
        sent = len(letters) + len(boxes)
        _raise_first(answers[:sent])
        answers = answers[sent:]
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Not all of it once more: a letter that comes twice may do something twice.
            await self._redis.script_load(self._texts[name])
            self._call(pipe, name, calls)
            answers = await pipe.execute()
        _raise_first(answers)
        return [answer.decode() for answer in answers]

    def _call(
        self, pipe: Any, name: str, calls: Iterable[tuple[Sequence[str], Sequence[Any]]]
    ) -> None:
        for keys, given in calls:
            pipe.evalsha(self._scripts[name].sha, len(keys), *keys, *given)

    def _move(self, host: str, port: int) -> None:
        """Ask another node of a Cluster from now on: all keys are on one."""
        self._redis = self._server.client((host, port))
        self._scripts = self._registered()


async def for_ever(
    part: Callable[[], Awaitable[None]],
    what: str,
    *,
    on_away: Callable[[], None],
    is_starting: Callable[[], bool],
) -> None:
    """Carry on whatever Redis does.

    Args:
        part: What is done, from its beginning again after every error.
        what: What it shares, for the log.
        on_away: Called when Redis does not answer.
        is_starting: Whether this server still waits for its engine and gate: a Redis that it can't
            even start with is whoever opens the gate's to tell.
    """
    reachable = True
    while True:
        try:
            await part()
        except GateUnavailableError as exc:
            on_away()
            if reachable and not is_starting():
                log.warning("%s can't be shared: %s", what, exc.message)
                reachable = False
        except Exception:
            log.exception("sharing %s failed", what)
        await asyncio.sleep(AGAIN_S)


def _raise_first(answers: Iterable[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


@cache
def script(folder: Path, name: str) -> str:
    """Return a script's text."""
    return (folder / f"{name}.lua").read_text("utf-8")


def milliseconds(seconds: float) -> int:
    """Return a duration as Redis takes it."""
    return int(seconds * 1000)
