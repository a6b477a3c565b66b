"""TLS on the port: the certificate, which is read again when its files change, and on SIGHUP.

Owns the context that new connections are accepted with; those that are open keep what they have.
TLS has no half-close in asyncio, so also how a server says that it has said its last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path

from wsrunner.errors import SetupError
from wsrunner.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""How often the files are looked at."""

Stamps = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate with its key, and the context made of them.

    Args:
        certificate: File in PEM, the server's own first, then those up to its issuer.
        key: File in PEM; empty if the key is in `certificate`, too.
        again: When it is set, the files are read again, whether they have changed or not.

    Attributes:
        context: For the listening port.

    Raises:
        SetupError: They can't be used.
    """

    def __init__(self, certificate: str, key: str, again: asyncio.Event | None = None) -> None:
        self._files = [Path(file) for file in (certificate, key or certificate)]
        self._again = again or asyncio.Event()
        self._seen = self._stamps()
        try:
            self.context = self._load()
        except OSError as exc:  # ssl's own errors are such, too
            raise SetupError(f"{self._named()} can't be used: {_reason(exc)}") from exc

    async def follow(self) -> None:
        """Use what the files become, for ever; what can't be used changes nothing."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._again.wait()
            stamps = self._stamps()
            if stamps == self._seen and not self._again.is_set():
                continue
            self._again.clear()
            self._seen = stamps
            try:
                # On one of its own first: half a change would break the one in use.
                self._load()
                self._load_into(self.context)
            except OSError as exc:
                log.warning("%s was read again and can't be used: %s", self._named(), _reason(exc))
            else:
                log.info("%s was read again and is in use", self._named())

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load_into(context)
        return context

    def _load_into(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        # A key with a password would have its person asked, on a terminal that nobody watches.
        context.load_cert_chain(certificate, key, password=lambda: "")

    def _stamps(self) -> Stamps | None:
        """Return what changes with the files; None while one is missing."""
        try:
            stats = [file.stat() for file in self._files]
        except OSError:
            return None
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)

    def _named(self) -> str:
        return f"the certificate {self._files[0]} (--tls-cert) with its key {self._files[1]}"


def _reason(exc: OSError) -> str:
    return exc.strerror or str(exc)


def certificate_of(settings: Settings, again: asyncio.Event | None = None) -> Certificate | None:
    """Return the certificate that is set, if one is; setting `again` has it read again.

    Raises:
        SetupError: There is a key without one, or it can't be used.
    """
    if settings.tls_cert:
        return Certificate(settings.tls_cert, settings.tls_key, again)
    if settings.tls_key:
        raise SetupError("--tls-key is given without --tls-cert")
    return None


def end_sending(transport: asyncio.Transport) -> None:
    """Say that nothing more comes; over TLS, close when all has been sent."""
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()
