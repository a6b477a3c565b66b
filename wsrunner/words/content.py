"""Bytes as messages have them: text, or base64 where they are none."""

from __future__ import annotations

import base64
import binascii

from msgspec import UNSET, UnsetType

from wsrunner.errors import BadMessageError

QUOTED_MAX = 200
"""Characters of a client's own text that an error repeats."""


def output_payload(data: bytes) -> dict[str, str]:
    """Return ``{"data": text}``, or ``{"base64": …}`` where the bytes are not UTF-8."""
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def content_bytes(text: str | UnsetType, encoded: str | UnsetType, path: str) -> bytes:
    """Return the bytes of a text-or-base64 pair of fields, of which exactly one is set.

    Raises:
        BadMessageError: The base64 is not valid.
    """
    if encoded is not UNSET:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise BadMessageError(f"not base64: {exc}", path=f"{path}.base64") from exc
    assert text is not UNSET
    return text.encode()


def quoted(text: str) -> str:
    """Cut what may be a megabyte of the client's own."""
    return text if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]}…"
