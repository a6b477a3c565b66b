"""The pages' files: which there are, in which compression, and how long a browser may keep them.

Owns the folder `static/`. Knows nothing of access, routes or sockets.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from importlib import resources
from pathlib import Path

import msgspec

from wsrunner.units import KIB

_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Not left to `mimetypes`: it asks the machine, and browsers refuse modules of another type."""
_HASHED = re.compile(r"dist/chunks/.+-[A-Z0-9]{8}\.\w+")
_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_COMPRESS_MIN_BYTES = KIB
_CODINGS = (("br", ".br"), ("gzip", ".gz"))
"""Best first (RFC 9110 section 8.4.1, RFC 7932), with the name of the compressed form."""


def static_dir() -> Path:
    """Return the folder of the pages: in the wheel, or beside the package in a checkout."""
    packed = Path(str(resources.files("wsrunner"))) / "static"
    return packed if packed.is_dir() else packed.parents[1] / "static"


class StaticFile(msgspec.Struct, frozen=True):
    """One file as it is sent.

    Attributes:
        body: Its bytes, compressed with `coding` if that is not None.
        kind: The media type.
        tag: Entity tag of the body: a hash of it, so it holds across servers and restarts.
        cache_control: For good where the name holds a hash of the content, else ask each time.
    """

    body: bytes
    kind: str
    coding: str | None
    tag: str
    cache_control: str


class StaticFiles:
    """The files below one folder, kept in memory once asked for.

    Args:
        folder: Where they are. Names with a part that begins with a dot, and `node_modules`, are
            not served.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._known: dict[tuple[str, str | None], tuple[tuple[int, int], StaticFile]] = {}

    def find(self, name: str, accepted: str = "") -> StaticFile | None:
        """Return a file in the best coding that the client takes; None if there is none.

        Args:
            name: Relative path with ``/``.
            accepted: The request's Accept-Encoding.
        """
        parts = name.split("/")
        if "node_modules" in parts or any(part[:1] in {"", "."} for part in parts):
            return None
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
        except (ValueError, OSError):
            # A name that no file can have: with NUL, or too long.
            return None
        codings = _taken(accepted)
        for coding, suffix in _CODINGS:
            compressed = path.with_name(path.name + suffix)
            if coding in codings and compressed.is_file():
                return self._load(name, compressed, path, coding)
        if "gzip" in codings and path.stat().st_size >= _COMPRESS_MIN_BYTES:
            return self._load(name, path, path, "gzip")
        return self._load(name, path, path, None)

    def _load(self, name: str, source: Path, path: Path, coding: str | None) -> StaticFile:
        """Return `source`, the form of `path` in `coding`, or `path` itself, compressed here."""
        stat = source.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._known.get((name, coding))
        if known is not None and known[0] == stamp:
            return known[1]
        body = source.read_bytes()
        if coding is not None and source == path:
            body = gzip.compress(body, mtime=0)
        kind = _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        kind = kind or "application/octet-stream"
        if kind.startswith("text/") or kind.endswith("json"):
            kind += "; charset=utf-8"
        file = StaticFile(
            body=body,
            kind=kind,
            coding=coding,
            tag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
            cache_control=_FOREVER if _HASHED.fullmatch(name) else _REVALIDATE,
        )
        self._known[name, coding] = (stamp, file)
        return file


def _taken(accepted: str) -> frozenset[str]:
    """Return the codings of an Accept-Encoding, without those of weight 0."""
    codings = set()
    for entry in accepted.lower().split(","):
        coding, _, weight = entry.replace(" ", "").partition(";q=")
        if weight not in {"0", "0.0", "0.00", "0.000"}:
            codings.add(coding)
    return frozenset(codings)
