"""Between the wire's words and what runs know: a request becomes a job, an event a message.

Owns the translation, both ways. Pure; text becomes bytes here and bytes text or base64, seconds
milliseconds.
"""

from __future__ import annotations

import base64

from msgspec import UNSET, UnsetType

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import WsrunnerError
from wsrunner.live.journal import Entry, Gap
from wsrunner.live.show import Item
from wsrunner.runs.events import (
    Drained,
    Event,
    Exit,
    File,
    LeftOut,
    Output,
    Queued,
    Refused,
    Started,
    Waiting,
)
from wsrunner.runs.job import Job, Limits
from wsrunner.units import KIB


def job_of(request: protocol.RunRequest) -> Job:
    """Return what a request asks for.

    Raises:
        BadMessageError: A file's base64 is not valid; `protocol.decode` lets none pass.
    """
    return Job(
        language=request.language,
        code=None if request.code is UNSET else request.code.encode(),
        files=None if request.files is UNSET else _files(request.files),
        stdin=None if request.stdin is UNSET else request.stdin.encode(),
        args=request.args,
        env=request.env,
        command=None if request.command is UNSET else request.command,
        limits=_limits(request.limits),
        window=None if request.tty is UNSET else (request.tty.columns, request.tty.rows),
        merge=request.merge,
        outputs=request.outputs,
        workspace=None if request.workspace is UNSET else request.workspace,
        waiting=request.waiting,
    )


def _files(files: list[protocol.File]) -> dict[str, bytes]:
    return {
        file.name: protocol.content_bytes(file.content, file.base64, f"$.files[{index}]")
        for index, file in enumerate(files)
    }


def _limits(limits: protocol.Limits) -> Limits:
    given = {name: getattr(limits, name) for name in limits.__struct_fields__}
    return Limits(**{name: value for name, value in given.items() if value is not UNSET})


def output_message(event: Output, id: str | UnsetType, number: int) -> protocol.Stdout:  # noqa: A002
    """Return output as a message.

    Args:
        event: The output.
        id: The client's name for the run.
        number: Which of the run's output messages it is, from 1.
    """
    kind = protocol.Stderr if event.stream == STDERR else protocol.Stdout
    return kind(id=id, seq=number, **protocol.output_payload(event.data))


def named_payload(name: str, data: bytes) -> dict[str, str]:
    """Return ``{name: text}``, or ``{name_base64: …}`` where the bytes are not UTF-8."""
    payload = protocol.output_payload(data)
    return {name if kind == "data" else f"{name}_base64": text for kind, text in payload.items()}


def exit_message(
    event: Exit,
    id: str | UnsetType,  # noqa: A002
    run_id: str,
    seq: int | UnsetType = UNSET,
) -> protocol.Exit:
    """Return an exit as a message; `seq` for a kept run."""
    return protocol.Exit(
        id=id,
        seq=seq,
        run=run_id,
        stage=event.stage,
        reason=event.reason,
        code=event.code,
        signal=event.signal,
        queued_ms=milliseconds(event.queued_s),
        wall_ms=milliseconds(event.wall_s),
        cpu_ms=None if event.cpu_s is None else milliseconds(event.cpu_s),
        memory_kb=event.memory_bytes // KIB if event.memory_bytes else None,
        output_bytes=event.output_bytes,
        truncated=event.truncated,
    )


def file_message(
    event: File | LeftOut,
    id: str | UnsetType,  # noqa: A002
    seq: int | UnsetType = UNSET,
) -> protocol.OutputFile | protocol.LeftOut:
    """Return a piece of a file, or what is told of one, as a message; `seq` for a kept run."""
    if isinstance(event, LeftOut):
        name = UNSET if event.name is None else event.name
        return protocol.LeftOut(
            id=id, name=name, reason=event.reason, message=event.message, seq=seq
        )
    return protocol.OutputFile(
        id=id,
        name=event.name,
        media_type=event.media_type,
        size=event.size,
        offset=event.offset,
        base64=base64.b64encode(event.data).decode("ascii"),
        seq=seq,
    )


def started_message(
    event: Started,
    id: str | UnsetType,  # noqa: A002
    run_id: str,
    seq: int | UnsetType = UNSET,
) -> protocol.Started:
    """Return a stage's beginning as a message; `seq` for a kept run."""
    return protocol.Started(
        id=id, run=run_id, stage=event.stage, seq=seq, workspace=event.workspace or UNSET
    )


class Wording:
    """Puts one run's events into a client's words.

    Args:
        id: The client's name for the run.
    """

    __slots__ = ("_outputs", "id")

    def __init__(self, id: str | UnsetType = UNSET) -> None:  # noqa: A002
        self.id = id
        self._outputs = 0

    def message(  # noqa: PLR0911 - one for each kind of event
        self, event: Event, run_id: str
    ) -> protocol.ServerMessage:
        """Return the message that tells of an event; to be called once for each, in order."""
        match event:
            case Output():
                self._outputs += 1
                return output_message(event, self.id, self._outputs)
            case File() | LeftOut():
                return file_message(event, self.id)
            case Queued():
                return queued_message(event, self.id, run_id)
            case Started():
                return started_message(event, self.id, run_id)
            case Waiting():
                return protocol.Waiting(id=self.id, run=run_id)
            case Drained(taken_bytes):
                return protocol.Drained(id=self.id, bytes=taken_bytes)
            case Exit():
                return exit_message(event, self.id, run_id)
            case Refused(error):
                return protocol.error_event(error, self.id)


def kept_message(item: Item, id: str | UnsetType, run_id: str) -> protocol.ServerMessage:  # noqa: A002
    """Return what a seat at a kept run hears as a message."""
    message: protocol.ServerMessage
    match item:
        case Entry(seq, Output() as output):
            message = output_message(output, id, seq)
        case Entry(seq, (File() | LeftOut()) as told):
            message = file_message(told, id, seq)
        case Entry(seq, Started() as started):
            message = started_message(started, id, run_id, seq)
        case Entry(seq, Waiting()):
            message = protocol.Waiting(id=id, run=run_id, seq=seq)
        case Entry(seq, Exit() as ended):
            message = exit_message(ended, id, run_id, seq)
        case Entry(_, Refused(error)) | (WsrunnerError() as error):
            message = protocol.error_event(error, id)
        case Gap(following, before, missed):
            message = protocol.Gap(
                id=id, run=run_id, next=following, before_bytes=before, missed_bytes=missed
            )
        case Queued():
            message = queued_message(item, id, run_id)
        case Drained(taken_bytes):
            message = protocol.Drained(id=id, bytes=taken_bytes)
    return message


def queued_message(event: Queued, id: str | UnsetType, run_id: str) -> protocol.Queued:  # noqa: A002
    """Return the message that tells of a place in the queue."""
    return protocol.Queued(
        id=id,
        run=run_id,
        position=event.position,
        waiting=event.waiting,
        eta_s=UNSET if event.eta_s is None else round(event.eta_s, 1),
        overtaken=event.overtaken or UNSET,
    )


def milliseconds(seconds: float) -> float:
    """Return seconds as the wire has them."""
    return round(seconds * 1e3, 1)
