"""What it takes to come back to a kept run: its keys, how far it was heard, what was sent to it.

Owns the stdin that may have to be sent again. Pure.
"""

from __future__ import annotations

import secrets
from collections import deque

from msgspec import UNSET

from wsrunner import protocol
from wsrunner.client import encoding

PATIENCE_S = 30.0
"""For how long a run is worth coming back to at least: its output stays when it is over."""


class Keeping:
    """One client's hold on one kept run.

    Args:
        request: What began it; None for one that was attached to.
        keep_s: How long it goes on without a driver.

    Attributes:
        once: This client's own name for it, on whatever socket.
        run: The server's name; None until it has been accepted.
        drive, view: Its keys, as far as they are known.
        key: The one to attach with.
        room: The server's id of the room that says in its place what this client may do.
        seq: Number of the last event heard.
        tty: Whether the program has a terminal.
        is_open: Whether the run hears what is sent to it now.
        is_away: Whether what begins it, or goes on with it, is yet to be said on this connection.
        greetings: How often this client has come, or tried to.
        missed_bytes: Output bytes that nobody has any more.
    """

    def __init__(self, request: protocol.RunRequest | None = None, keep_s: float = 0.0) -> None:
        self.once = request.once if request and request.once is not UNSET else new_once()
        self.patience_s = max(keep_s, PATIENCE_S)
        self.run: str | None = None
        self.drive: str | None = None
        self.view: str | None = None
        self.key = ""
        self.room = request.room if request and request.room is not UNSET else None
        self.seq = 0
        self.tty = request is not None and request.tty is not UNSET
        self.is_open = False
        self.is_away = False
        self.greetings = 0
        self.missed_bytes = 0
        # Output bytes heard, those that were missed included; None where they are not known.
        self._seen_bytes: int | None = 0
        self._request = request
        # Stdin that was not drained: where it begins, and each piece; None is an end of file.
        self._begin = 0
        self._log: deque[bytes | None] = deque()
        self._sent = 0  # entries of the log that are on their way
        self._next = 0  # where the first one begins that is not
        self._eofs = 0  # those that are in the log or were before

    @classmethod
    def of(cls, run: str, key: str, after: int, room: str | None = None) -> Keeping:
        """Return what a client has that attaches to a run."""
        keeping = cls()
        keeping.run, keeping.key, keeping.room, keeping.seq = run, key, room, after
        keeping._seen_bytes = 0 if after == 0 else None
        return keeping

    @property
    def is_attached(self) -> bool:
        """Whether this client came to a run that somebody else began."""
        return self._request is None

    def greeting(self, run_id: str) -> protocol.ClientMessage:
        """Return what to say on a new socket: the request again, or that it is to go on."""
        self.is_open = self.is_away = False
        self.greetings += 1
        if self.run is None:
            assert self._request is not None
            return self._request
        return protocol.Attach(
            id=run_id,
            run=self.run,
            key=self.key if self.room is None else UNSET,
            room=UNSET if self.room is None else self.room,
            after=self.seq,
            once=self.once,
        )

    def accepted(self, event: protocol.Accepted) -> None:
        """Learn the run's name and keys."""
        self.run, self.drive, self.view = event.run, event.drive, event.view
        self.key = event.drive
        self.is_open = True

    def attached(self, event: protocol.Attached) -> None:
        """Learn what of the stdin has come: what comes after it is to be sent."""
        self.is_open, self.tty = True, event.tty
        at, eofs, self._sent = self._begin, self._eofs - self._log.count(None), 0
        if not self._log and at < event.stdin_bytes:
            at = self._begin = event.stdin_bytes  # another process of this name has sent it
        if not self._log:
            self._eofs = max(self._eofs, event.eofs)
        for piece in self._log:
            if piece is None:
                if eofs >= event.eofs:
                    break
                eofs += 1
            else:
                if at + len(piece) > event.stdin_bytes:
                    break
                at += len(piece)
            self._sent += 1
        self._next = at

    def new(self, event: protocol.ServerMessage) -> bool:
        """Tell whether an event has not been heard yet, and note that it has."""
        seq = getattr(event, "seq", UNSET)
        if seq is UNSET:
            return True
        if seq <= self.seq:
            return False
        self.seq = seq
        return True

    def saw(self, size_bytes: int) -> None:
        """Note output."""
        if self._seen_bytes is not None:
            self._seen_bytes += size_bytes

    def gap(self, event: protocol.Gap) -> int:
        """Note a gap; return the bytes that this client missed."""
        seen = self._seen_bytes
        missed = event.before_bytes - seen if seen is not None else event.missed_bytes or 0
        self.seq = event.next - 1
        self._seen_bytes = event.before_bytes
        self.missed_bytes += missed
        return missed

    def write(self, piece: bytes | None) -> None:
        """Put stdin into the log, or its end."""
        self._log.append(piece)
        self._eofs += piece is None

    def unsent(self, run_id: str) -> protocol.ClientMessage | None:
        """Return the next message that carries stdin, and count it as sent, if there is one."""
        if self._sent >= len(self._log) or not self.is_open:
            return None
        piece = self._log[self._sent]
        self._sent += 1
        if piece is None:
            return protocol.Eof(id=run_id)
        at = self._next
        self._next += len(piece)
        return encoding.stdin_message(run_id, piece, at)

    def drained(self, total_bytes: int) -> None:
        """Forget stdin that the program's side has taken."""
        while self._log and self._sent:
            piece = self._log[0]
            size = 0 if piece is None else len(piece)
            # An end of file has been taken once something behind it has.
            if self._begin + max(size, 1) > total_bytes:
                break
            self._begin += size
            self._log.popleft()
            self._sent -= 1


def new_once() -> str:
    """Return a random name for a request, which nobody guesses."""
    return secrets.token_hex(16)
