"""Who may run, and when: the fair counting semaphore, in memory or in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsrunner.gates.base import Gate
    from wsrunner.settings import Settings


def open_gate(settings: Settings, replica_name: str, engine: str = "local") -> Gate:
    """Return the gate that the settings ask for; ``async with`` opens it.

    Args:
        settings: `redis_url` decides the backend; `slots`, `engine_slots`, `queue_max` and
            `lease_s` its configuration.
        replica_name: This process's name, for operators.
        engine: The name that this process's tickets give their engine; `engine_slots` is its
            capacity. Replicas with engines of their own need different names.

    Raises:
        SetupError: The URL can't be understood.
    """
    engine_slots = {engine: settings.engine_slots} if settings.engine_slots else {}
    if not settings.redis_url:
        from wsrunner.gates.memory import MemoryGate

        return MemoryGate(settings.slots, settings.queue_max, engine_slots)
    from wsrunner.gates.redis import RedisGate

    return RedisGate(
        settings.redis_url,
        settings.slots,
        settings.queue_max,
        engine_slots,
        name=replica_name,
        engine=engine,
        lease_s=settings.lease_s,
    )
