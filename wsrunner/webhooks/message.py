"""One message to a receiver: what is in it, how it is signed, when it is tried again.

Owns the words of the Standard Webhooks specification 1.0 (github.com/standard-webhooks), whose
libraries verify these messages. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec

from wsrunner.errors import BadMessageError

SECRET_PREFIX = "whsec_"  # noqa: S105 - no secret, but what each begins with
SECRET_MIN_BYTES = 24
SECRET_MAX_BYTES = 64
ATTEMPT_HEADER = "Wsrunner-Attempt"
GIVEN_UP_S = 3600.0
"""How long after its run's end a message is tried again."""
PAUSES_S = (5.0, 15.0, 45.0, 120.0, 300.0, 600.0)
"""How long after an attempt the next one is made; the last one holds for all that follow."""
PAUSE_MAX_S = 900.0
"""The longest that a receiver can ask for with Retry-After."""


class Message(msgspec.Struct, kw_only=True):
    """A message, of a run that goes on or has ended.

    Attributes:
        id: Its run's. The receiver tells by it what it has had already.
        url: Where it goes. A secret, as its path may hold one.
        secret: What it is signed with; empty for not at all.
        body: JSON; empty while the run goes on.
        attempts: How many there have been.
        until: Unix time after which no further one is made.
        owner: The tenant that it counts for; empty for nobody's.
    """

    id: str
    url: str
    secret: str = ""
    body: bytes = b""
    attempts: int = 0
    until: float = 0.0
    owner: str = ""


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for.

    Raises:
        BadMessageError: It is no base64, or not of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error) as exc:
        raise BadMessageError(
            f"the secret must be base64, with or without {SECRET_PREFIX} before it",
            path="$.callback.secret",
        ) from exc
    if not SECRET_MIN_BYTES <= len(key) <= SECRET_MAX_BYTES:
        raise BadMessageError(
            f"the secret stands for {len(key)} bytes; it may be {SECRET_MIN_BYTES} to "
            f"{SECRET_MAX_BYTES} bytes",
            path="$.callback.secret",
        )
    return key


def body_of(kind: str, now: float, data: Any) -> bytes:
    """Return a message's body.

    Args:
        kind: What has happened, such as ``run.ended``.
        now: Unix time when it did.
        data: What there is to say of it.
    """
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    told = {"type": kind, "timestamp": moment.replace("+00:00", "Z"), "data": data}
    return msgspec.json.encode(told)


def lost_body(run_id: str, now: float) -> bytes:
    """Return what is told of a run whose server has vanished, and with it what it printed."""
    return body_of("run.lost", now, {"run": run_id})


def headers_of(message: Message, attempt: str, now: float) -> dict[str, str]:
    """Return the headers of one attempt.

    Args:
        message: What is sent.
        attempt: The attempt's own id.
        now: Unix time.
    """
    timestamp = str(int(now))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "wsrunner",
        "Webhook-Id": message.id,
        "Webhook-Timestamp": timestamp,
        ATTEMPT_HEADER: attempt,
    }
    if message.secret:
        signed = f"{message.id}.{timestamp}.".encode() + message.body
        digest = hmac.digest(key_of(message.secret), signed, hashlib.sha256)
        headers["Webhook-Signature"] = "v1," + base64.b64encode(digest).decode()
    return headers


def pause_s(attempts: int, asked: str | None = None) -> float:
    """Return how long after an attempt the next one is made.

    Args:
        attempts: How many there have been, this one included.
        asked: What its answer said in Retry-After, if anything.
    """
    usual_s = PAUSES_S[min(attempts, len(PAUSES_S)) - 1]
    if asked is not None and asked.isdecimal():
        return min(max(usual_s, float(asked[:9])), PAUSE_MAX_S)
    return usual_s


def pack(message: Message) -> bytes:
    """Return a message as it is kept."""
    return msgspec.msgpack.encode(message)


def unpack(content: bytes) -> Message:
    """Return a message that was kept.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return msgspec.msgpack.decode(content, type=Message)
