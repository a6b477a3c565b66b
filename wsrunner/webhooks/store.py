"""Messages that wait in Redis, for whichever replica has time for them.

Owns the keys and the commands. No tasks.

::

    {prefix}:hooks:due       zset    ids of messages → Unix time in ms, Redis' own, when each is due
    {prefix}:hooks:item:ID   string  the message
    {prefix}:hooks:owner     hash    id of a message → the tenant that it counts for, if any
"""

from __future__ import annotations

from pathlib import Path

from wsrunner.gates.asked import Asked, milliseconds
from wsrunner.webhooks.backlog import Backlog
from wsrunner.webhooks.message import GIVEN_UP_S, Message, pack, unpack

LIFE_S = 2 * GIVEN_UP_S
"""How long a message outlives its last state, whoever should have seen to it."""


class RedisBacklog(Asked, Backlog):
    """Redis, as messages use it.

    Args:
        url: As for `gates.redis.RedisGate`.
        prefix: Begins every key.
    """

    def __init__(self, url: str, prefix: str = "wsrunner") -> None:
        super().__init__(url, f"{{{prefix}}}:hooks", Path(__file__).parent, ("put", "take"))
        self._due = f"{self._prefix}:due"
        self._owner = f"{self._prefix}:owner"

    async def put(self, message: Message, due_s: float) -> None:
        """See `Backlog.put`."""
        given = [message.id, pack(message), milliseconds(due_s), milliseconds(LIFE_S)]
        given.append(message.owner)
        async with self._asked():
            await self._scripts["put"](
                [self._due, self._key("item", message.id), self._owner], given
            )

    async def take(self, count: int, lease_s: float) -> list[Message]:
        """See `Backlog.take`."""
        given = [self._key("item", ""), count, milliseconds(lease_s)]
        async with self._asked():
            taken = await self._scripts["take"]([self._due, self._owner], given)
        return [unpack(content) for content in taken]

    async def drop(self, message_id: str) -> None:
        """See `Backlog.drop`."""
        async with self._asked():
            pipe = self._redis.pipeline(transaction=True)
            pipe.zrem(self._due, message_id)
            pipe.hdel(self._owner, message_id)
            pipe.delete(self._key("item", message_id))
            await pipe.execute()

    async def count(self, owner: str = "") -> int:
        """See `Backlog.count`."""
        async with self._asked():
            if owner:
                owners: list[bytes] = await self._redis.hvals(self._owner)
                return owners.count(owner.encode())
            kept: int = await self._redis.zcard(self._due)
        return kept
