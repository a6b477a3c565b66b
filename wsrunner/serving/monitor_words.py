"""The messages of the feed for operators: what it tells, and what it may be told to do.

None has a field for code, input, output or keys.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wsrunner.webhooks.dispatch import Attempt


class LiveRun(msgspec.Struct, kw_only=True, frozen=True):
    """A run that has not ended. `age_s` is since it came."""

    run: str
    language: str
    stage: str
    age_s: float


class EndedRun(msgspec.Struct, kw_only=True, frozen=True, tag="run"):
    """A run that has ended; `at` is Unix time in seconds."""

    run: str
    language: str
    at: float
    stage: str
    reason: str
    code: int | None
    signal: str | None
    queued_ms: float
    wall_ms: float
    first_output_ms: float | None


class Minute(msgspec.Struct, kw_only=True, frozen=True):
    """One minute of the last hour; `at` is its beginning in Unix time, the rest null if no run."""

    at: int
    runs: int
    queued_ms_p95: float | None
    first_output_ms_p50: float | None
    first_output_ms_p95: float | None


class Warm(msgspec.Struct, kw_only=True, frozen=True):
    """Spare containers of one kind."""

    image: str
    tty: bool
    count: int


class EngineUse(msgspec.Struct, kw_only=True, frozen=True):
    """One engine's slots; `slots` is null where only the gate's bound it."""

    name: str
    held: int
    slots: int | None


class TenantUse(msgspec.Struct, kw_only=True, frozen=True):
    """What runs and waits of one tenant on this replica."""

    name: str
    live: int
    waiting: int


class Workspace(msgspec.Struct, kw_only=True, frozen=True):
    """A workspace of this replica, by the server's name for it: its owner's is not told."""

    workspace: str
    tenant: str
    image: str
    busy: bool
    idle_s: float


class KeptRun(msgspec.Struct, kw_only=True, frozen=True):
    """A kept run of this replica; `bytes` is what its journal holds.

    `left_s` is for how many seconds it can be read yet; null while it goes on.
    """

    run: str
    tenant: str
    language: str
    clients: int
    bytes: int
    left_s: float | None


class RoomUse(msgspec.Struct, kw_only=True, frozen=True):
    """A room of this replica; `bytes` is what its document takes."""

    room: str
    tenant: str
    people: int
    runs: int
    bytes: int


class State(msgspec.Struct, kw_only=True, frozen=True, tag="state"):
    """Everything at one moment. `error` says what can't be reached, if anything.

    `recent` holds the last runs that ended, oldest first; in a socket's first state only, as later
    ones come as ``run``.
    """

    at: float
    slots: int | None
    held: int | None
    waiting: int | None
    queue_max: int | None
    replicas: int | None
    engines: list[EngineUse]
    warm: list[Warm]
    pool_hits: int
    pool_misses: int
    draining: bool
    live: list[LiveRun]
    tenants: list[TenantUse]
    workspaces: list[Workspace]
    kept: list[KeptRun]
    rooms: list[RoomUse]
    minutes: list[Minute]
    error: str | None
    webhooks_pending: int
    webhooks: list[Attempt]
    recent: list[EndedRun] | UnsetType = UNSET


class CancelRun(msgspec.Struct, tag="cancel", forbid_unknown_fields=True, frozen=True):
    """End a run of this replica; it exits as ``cancelled``."""

    run: str


class SetSlots(msgspec.Struct, tag="slots", forbid_unknown_fields=True, frozen=True):
    """Change N for all replicas."""

    slots: Annotated[int, Meta(ge=1, le=100_000)]


class ForgetWorkspace(msgspec.Struct, tag="forget", forbid_unknown_fields=True, frozen=True):
    """End a workspace of this replica: now, or with the run that goes on in it."""

    workspace: str


class DiscardRun(msgspec.Struct, tag="discard", forbid_unknown_fields=True, frozen=True):
    """Cancel a kept run of this replica; forget it, if it is over."""

    run: str


class CloseRoom(msgspec.Struct, tag="close", forbid_unknown_fields=True, frozen=True):
    """End a room of this replica for everybody in it."""

    room: str


Command = CancelRun | SetSlots | ForgetWorkspace | DiscardRun | CloseRoom
