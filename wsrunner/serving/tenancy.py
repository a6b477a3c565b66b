"""The file of tenants while the server runs: read again when it changes, or on SIGHUP.

Owns which tenants count now, and that the gate knows their shares. A file that is broken changes
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

from wsrunner import tenants
from wsrunner.errors import SetupError, WsrunnerError
from wsrunner.gates.base import Gate, Shares
from wsrunner.languages import Catalogue
from wsrunner.tenants import Tenants

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""How often it is looked whether the file has changed."""


class Tenancy:
    """The tenants as the file has them.

    Args:
        path: The file; empty for none.
        catalogue: Knows the languages that it names.
        again: When it is set, the file is read again, whether it has changed or not.

    Attributes:
        now: The tenants that count now; none without a file.

    Raises:
        SetupError: The file is wrong.
    """

    def __init__(self, path: str, catalogue: Catalogue, again: asyncio.Event) -> None:
        self._path = Path(path) if path else None
        self._catalogue = catalogue
        self._mark = self._look()
        self.now = tenants.load(path, catalogue) if path else Tenants()
        self._again = again
        self._told: dict[str, Shares] = {}

    async def follow(self, gate: Gate) -> None:
        """Tell the gate the tenants' shares, and keep up with the file, for ever."""
        while True:
            await self._tell(gate)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._again.wait()
            mark = self._look()
            if self._again.is_set() or mark != self._mark:
                self._again.clear()
                self._mark = mark
                self._read()

    def language_ids(self, names: Iterable[str]) -> frozenset[str]:
        """Return the ids of languages by ids or aliases.

        Raises:
            UnknownLanguageError: There is none of that name.
        """
        return frozenset(self._catalogue.find(name).id for name in names)

    def _look(self) -> tuple[int, int, int] | None:
        """Return what is another one when the file is; None if it is not there."""
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            self.now = tenants.load(self._path, self._catalogue)
        except SetupError as exc:
            # The message says it all.
            log.error("the tenants stay as they are: %s", exc)  # noqa: TRY400
        else:
            log.info("read %d tenants from %s", len(self.now), self._path)

    async def _tell(self, gate: Gate) -> None:
        wanted = {tenant.name: Shares(tenant.slots, tenant.queue) for tenant in self.now}
        # Who is not in the file any more has nobody who could use a share.
        for name in self._told.keys() - wanted.keys():
            wanted[name] = Shares()
        for name, shares in wanted.items():
            if self._told.get(name) == shares:
                continue
            try:
                await gate.share(name, shares)
            except WsrunnerError as exc:
                log.warning("could not tell the gate the share of tenant %s: %s", name, exc)
                return
            self._told[name] = shares
