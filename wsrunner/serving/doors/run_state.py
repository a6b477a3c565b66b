"""A kept run at one moment, as HTTP tells of it.

Pure.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import WsrunnerError
from wsrunner.live.journal import Cursor, Entry, Gap
from wsrunner.live.show import Item, Show
from wsrunner.runs.events import Exit, File, LeftOut, Output, Refused
from wsrunner.serving import wire
from wsrunner.serving.results import GatheredFiles
from wsrunner.units import KIB
from wsrunner.webhooks.message import body_of

CALLBACK_OUTPUT_BYTES = 64 * KIB
"""Output that a callback carries: the last of it. As JSON it may be six times as much."""


class RunState(msgspec.Struct, kw_only=True, frozen=True):
    """A kept run at one moment.

    Attributes:
        stage: Where it is, or ended.
        stdout: What is there of it; `stdout_base64` in its place where it is not UTF-8.
        stderr: Likewise.
        missed_bytes: Output that is not there any more.
        files: What it has made, if `outputs` asked for files; those of which all is there.
        left_out: Of that, what did not come.
        position: Its place in the queue; left out where it does not wait.
        exit: How it ended; left out while it goes on.
    """

    run: str
    stage: protocol.Stage
    stdout: str | UnsetType = UNSET
    stdout_base64: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET
    stderr_base64: str | UnsetType = UNSET
    missed_bytes: int = 0
    files: list[protocol.ResultFile] | UnsetType = UNSET
    left_out: list[protocol.ResultLeftOut] | UnsetType = UNSET
    position: int | UnsetType = UNSET
    exit: protocol.Exit | UnsetType = UNSET


def state_of(show: Show, last_bytes: int | None = None) -> RunState:
    """Return how a run is.

    Args:
        show: The run.
        last_bytes: Of its output no more than the last of it, in bytes, is in there, and no file;
            None for all.

    Raises:
        WsrunnerError: It was refused.
    """
    items = Cursor(show.journal, 0).take(sys.maxsize)
    refuse(list(items))
    streams: dict[bool, list[bytes]] = {False: [], True: []}
    files = GatheredFiles()
    missed = excess = 0
    if last_bytes is not None:
        excess = sum(item.output_bytes for item in items if isinstance(item, Entry)) - last_bytes
    ended: protocol.Exit | UnsetType = UNSET
    run_id = show.record.run_id
    for item in items:
        if isinstance(item, Gap):
            missed += item.missed_bytes or 0
        elif isinstance(item.event, Output):
            data = _without(item.event.data, excess)
            streams[item.event.stream == STDERR].append(data)
            missed += len(item.event.data) - len(data)
            excess -= len(item.event.data)
        elif isinstance(item.event, File | LeftOut) and last_bytes is None:
            files.take(item.event)
        elif isinstance(item.event, Exit):
            ended = wire.exit_message(item.event, UNSET, run_id, item.seq)
    given: dict[str, Any] = files.fields()
    given |= wire.named_payload("stdout", b"".join(streams[False]))
    given |= wire.named_payload("stderr", b"".join(streams[True]))
    return RunState(
        run=run_id,
        stage=show.stage,
        **given,
        missed_bytes=missed,
        position=UNSET if show.queued is None else show.queued.position,
        exit=ended,
    )


def _without(data: bytes, first: int) -> bytes:
    """Return data without its first bytes, and without what that leaves of a character."""
    if first <= 0:
        return data
    rest = data[first:]
    torn = next((at for at, byte in enumerate(rest[:4]) if byte & 0xC0 != 0x80), 0)  # noqa: PLR2004 - UTF-8's
    return rest[torn:]


def told_end(show: Show) -> bytes:
    """Return what a callback says of a run that has ended."""
    try:
        state = state_of(show, CALLBACK_OUTPUT_BYTES)
    except WsrunnerError as exc:
        refused = {"run": show.record.run_id, "error": protocol.error_event(exc)}
        return body_of("run.refused", time.time(), refused)
    return body_of("run.ended", time.time(), state)


def refuse(items: list[Item]) -> None:
    """Raise what a run was refused for, if it was."""
    for item in items:
        if isinstance(item, Entry) and isinstance(item.event, Refused):
            raise item.event.error
