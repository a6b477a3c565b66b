"""The error tree: whose fault it is, and which wire code says so.

Owns every error a client can be told about. Imports nothing of wsrunner, so that everything may
import it. Foreign exceptions are wrapped into one of these where they come in (``raise … from``).
"""

from __future__ import annotations

from typing import ClassVar


class WsrunnerError(Exception):
    """Base of all errors that reach a client as ``{"type":"error"}``.

    Args:
        message: What is wrong, naming the value, the limit and the unit.
        path: The place in the client's message, such as ``$.files[0].name``; None if no one place.
        retry_after_s: Seconds after which the same request may succeed; None if waiting won't help.
    """

    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, path: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.retry_after_s = retry_after_s


class ClientError(WsrunnerError):
    """The request itself is wrong: sending it again changes nothing."""

    code = "bad_message"


class BadMessageError(ClientError):
    """Not JSON, an unknown field, a wrong type, a value that makes no sense."""


class TooLargeError(ClientError):
    """A message, a file or buffered stdin beyond its size limit."""

    code = "too_large"


class UnknownLanguageError(ClientError):
    """Neither a catalogue id nor an alias."""

    code = "unknown_language"


class LimitOutOfRangeError(ClientError):
    """A run limit above what the server allows, or not positive."""

    code = "limit_out_of_range"


class ImageMissingError(ClientError):
    """The language is known but its image is not on this engine."""

    code = "image_missing"


class IdBusyError(ClientError):
    """The run id is still live on this socket."""

    code = "busy"


class NoSuchRunError(ClientError):
    """A stdin, eof, signal, resize or cancel for a run that is not live."""

    code = "no_such_run"


class NoSuchRoomError(ClientError):
    """A room that is not there, or that the key does not open."""

    code = "no_such_room"


class NotAllowedError(ClientError):
    """A command that this client may not give: a viewer's, or the monitor's on an open server."""

    code = "not_allowed"


class SpaceUnfitError(ClientError):
    """A workspace can't be had so: with a terminal, in that image, or beside what it has."""

    code = "workspace_unfit"


class NoSuchSpaceError(ClientError):
    """This client has no workspace of that name."""

    code = "no_such_workspace"


class BusyError(WsrunnerError):
    """The request is fine, now is not the time: try again after `retry_after_s`."""


class QueueFullError(BusyError):
    """The bounded queue holds no further waiter."""

    code = "queue_full"


class KeptFullError(BusyError):
    """No further run can be kept, or no further client attached to it."""

    code = "kept_full"


class SpacesFullError(BusyError):
    """No further workspace can be had."""

    code = "workspaces_full"


class SpaceBusyError(BusyError):
    """Too many runs wait for their turn in one workspace."""

    code = "workspace_busy"


class SpaceElsewhereError(BusyError):
    """Another server has the workspace of that name."""

    code = "workspace_elsewhere"


class RoomsFullError(BusyError):
    """No further room, or no further person in this one."""

    code = "rooms_full"


class RateLimitedError(BusyError):
    """This client starts runs faster than it may."""

    code = "rate_limited"


class NoSeatError(BusyError):
    """This client has as many sockets and requests open as it may."""

    code = "busy"


class GateUnavailableError(BusyError):
    """The gate's backend can't be reached, so nothing new may start."""

    code = "gate_unavailable"


class EngineUnavailableError(BusyError):
    """The container engine does not answer."""

    code = "engine_unavailable"


class StartingError(BusyError):
    """The server listens, but has not yet reached its engine or its gate."""

    code = "starting"


class DrainingError(BusyError):
    """The server is about to stop and takes no new runs."""

    code = "draining"


class SetupError(Exception):
    """A setting or the machine is not as it must be; the message says what to do.

    For the operator at the command line only; never sent to a client.
    """
