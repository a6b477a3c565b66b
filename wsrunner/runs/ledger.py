"""Which server has which workspace, where several may go on with one.

Owns the contract. A server that shares none has `Alone`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from wsrunner.engines.base import Box, Left
from wsrunner.errors import SpaceElsewhereError, SpaceUnfitError

RETRY_AFTER_S = 5.0

Whose = Literal["any", "own", "had"]
"""Which workspaces are forgotten: whoever had it last, only if it was this server, only if this one
has it and has not left it."""


class Taken(NamedTuple):
    """What is there of a workspace that this server has from now on.

    Attributes:
        left: What it takes to go on with what some server has left; None if there is nothing, or
            nobody but this server knows.
        age_s: How old that is.
        had: Whether this server had it already.
    """

    left: Left | None
    age_s: float
    had: bool


class Ledger(Protocol):
    """Says who has which workspace. A server must have one to run something in it.

    Every method raises GateUnavailableError if what servers share can't be reached.
    """

    @property
    def shares(self) -> bool:
        """Whether there may be other servers."""
        ...

    async def take(self, label: str, box: Box) -> Taken | None:
        """Have a workspace, unless another server has it; then None.

        Args:
            label: Which.
            box: What it must be made of.

        Raises:
            SpaceUnfitError: It is made of something else.
        """
        ...

    async def leave(self, label: str, box: Box, left: Left, life_s: float, age_s: float) -> bool:
        """Let any server have a workspace for `life_s`; may be said again.

        Returns:
            Whether this server had it.
        """
        ...

    async def drop(self, label: str, whose: Whose) -> Left | None:
        """Forget a workspace that this server has, or nobody; return what had been left of it.

        Args:
            label: Which.
            whose: Only then.

        Raises:
            SpaceElsewhereError: Another server has it.
        """
        ...

    async def gone(self, labels: list[str]) -> set[str]:
        """Return those that other servers had last, or nobody knows any more."""
        ...


def unfit(has: Box, asked: Box) -> SpaceUnfitError:
    """Return the refusal of a run that asks for another container than a workspace has."""
    return SpaceUnfitError(
        f"the workspace of that name is {_described(has)}; this run asks for one "
        f"{_described(asked)}: forget it first, or use another name",
        path="$.workspace",
    )


def _described(box: Box) -> str:
    return f"of {box.image} with {box.memory_bytes >> 20} MiB of memory and {box.pids} processes"


def elsewhere(why: str) -> SpaceElsewhereError:
    """Return the refusal of who asks for a workspace that another server has."""
    return SpaceElsewhereError(
        f"another server has the workspace of that name: {why}",
        path="$.workspace",
        retry_after_s=RETRY_AFTER_S,
    )


class Alone:
    """Of a server that shares no workspaces: it has all that it knows."""

    shares = False

    async def take(self, label: str, box: Box) -> Taken:
        """See `Ledger.take`."""
        del label, box
        return Taken(None, 0.0, had=True)

    async def leave(self, label: str, box: Box, left: Left, life_s: float, age_s: float) -> bool:
        """See `Ledger.leave`; never asked for."""
        raise NotImplementedError

    async def drop(self, label: str, whose: Whose) -> Left | None:
        """See `Ledger.drop`."""
        del label, whose
        return None

    async def gone(self, labels: list[str]) -> set[str]:
        """See `Ledger.gone`."""
        del labels
        return set()
