"""What all messages on the wire have in common: their bases, and the kinds of names in them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

RunId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
ServerRunId = Annotated[str, Meta(min_length=1, max_length=64)]
Key = Annotated[str, Meta(min_length=1, max_length=128)]
Once = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{16,64}\Z")]
"""A client's own random name, which must not be guessed."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Columns = Annotated[int, Meta(ge=1, le=1000)]
SPACE_NAME = r"^[A-Za-z0-9._-]{1,64}\Z"
SpaceName = Annotated[str, Meta(pattern=SPACE_NAME)]
Signal = Literal["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"]
Stage = Literal["queue", "build", "run"]
Reason = Literal[
    "exited",
    "signaled",
    "timeout",
    "cpu_limit",
    "out_of_memory",
    "output_limit",
    "cancelled",
    "lease_lost",
    "engine_lost",
    "replica_lost",
    "draining",
]


class Request(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, omit_defaults=True
):
    """Base of what clients send: strict, so that a typo is an error and not a surprise."""


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """Base of what the server sends. `id` is the client's own name for what it is about."""

    id: str | UnsetType = UNSET
