"""What a room is: its people, its document and its runs, after all entries so far.

The same on every replica that has heard the same entries. Pure: no tasks, no clock.
"""

from __future__ import annotations

from base64 import b64encode

import msgspec

from wsrunner.rooms import entries
from wsrunner.rooms.entries import Entry, Sitting
from wsrunner.rooms.runs import RoomRuns
from wsrunner.words import rooms as words

UPDATE_COST_BYTES = 64
"""What an update takes beside its bytes, so that a million empty ones count too."""
GONE_MAX = 200
"""People who have left and are known still, if they come back."""


class State:
    """What one room is.

    Attributes:
        people: Who is there, by person.
        gone: Who was, likewise.
        newcomers: What a key to work makes of who comes.
        runs: What they run.
        seq: The number of the last update of the document.
        log: The document: (seq, update).
        held_bytes: What it takes.
        carets: Where each person is.
        asked: Who is asked to replace the document, and up to which `seq`.
    """

    def __init__(self) -> None:
        self.people: dict[str, Sitting] = {}
        self.gone: dict[str, words.Person] = {}
        self.newcomers: words.Granted = "work"
        self.runs = RoomRuns()
        self.seq = 0
        self.log: list[tuple[int, bytes]] = []
        self.held_bytes = 0
        self.carets: dict[str, bytes] = {}
        self.asked: tuple[str, int] | None = None

    def whole(self, home: str) -> entries.Whole:
        """Return all of it."""
        return entries.Whole(
            home=home,
            people=list(self.people.values()),
            gone=list(self.gone.values()),
            newcomers=self.newcomers,
            runs=self.runs.there,
            seq=self.seq,
            log=list(self.log),
            carets=dict(self.carets),
            asked=self.asked,
        )

    def now(self, room_id: str) -> words.RoomNow:
        """Return what is told of it."""
        people = sorted((each.person for each in self.people.values()), key=lambda who: who.number)
        return words.RoomNow(
            room=room_id, people=people, newcomers=self.newcomers, runs=self.runs.now
        )

    def joined(self, room_id: str, person: str) -> words.Joined:
        """Return all there is, for somebody who is there."""
        return words.Joined(
            room=room_id,
            you=person,
            now=self.now(room_id),
            seq=self.seq,
            updates=[text(data) for _, data in self.log],
            awareness={whose: text(data) for whose, data in self.carets.items()},
        )

    def apply(self, entry: Entry) -> None:  # noqa: C901 - one for each kind of entry
        """Take one entry in."""
        match entry:
            case entries.Came(sitting):
                self.people[sitting.person.person] = sitting
                self.gone.pop(sitting.person.person, None)
            case entries.Went(person, seat):
                self._went(person, seat)
            case entries.Changed(person):
                found = self.people.get(person.person)
                if found is not None:
                    self.people[person.person] = msgspec.structs.replace(found, person=person)
            case entries.Newcomers(role):
                self._grant_all(role)
            case entries.Began(run):
                self.runs.add(run)
            case entries.Ended(run, readable):
                (self.runs.over if readable else self.runs.forget)(run)
            case entries.Added(_, data):
                self.seq += 1
                self.log.append((self.seq, data))
                self.held_bytes += len(data) + UPDATE_COST_BYTES
            case entries.Compacted(replaces, data):
                self.asked = None
                self._set_log([(replaces, data), *self.log_after(replaces)])
            case entries.Asked(person, seq):
                self.asked = (person, seq) if person else None
            case entries.Caret(person, data):
                self.carets[person] = data
            case entries.Whole():
                self._replace(entry)

    def log_after(self, seq: int) -> list[tuple[int, bytes]]:
        """Return the document's updates behind one."""
        return [each for each in self.log if each[0] > seq]

    def _went(self, person: str, seat: str) -> None:
        found = self.people.get(person)
        if found is None or found.seat != seat:
            return
        del self.people[person]
        self.gone[person] = found.person
        if len(self.gone) > GONE_MAX:
            del self.gone[next(iter(self.gone))]
        self.carets.pop(person, None)

    def _grant_all(self, role: words.Granted) -> None:
        self.newcomers = role
        for id_, sitting in self.people.items():
            self.people[id_] = msgspec.structs.replace(
                sitting, person=_with_role(sitting.person, role)
            )
        self.gone = {id_: _with_role(person, role) for id_, person in self.gone.items()}

    def _replace(self, whole: entries.Whole) -> None:
        self.people = {each.person.person: each for each in whole.people}
        self.gone = {each.person: each for each in whole.gone}
        self.newcomers = whole.newcomers
        self.runs = RoomRuns(whole.runs)
        self.seq = whole.seq
        self._set_log(whole.log)
        self.carets = dict(whole.carets)
        self.asked = whole.asked

    def _set_log(self, log: list[tuple[int, bytes]]) -> None:
        self.log = list(log)
        self.held_bytes = sum(len(data) + UPDATE_COST_BYTES for _, data in self.log)


def _with_role(person: words.Person, role: words.Granted) -> words.Person:
    """Return somebody with a role that was given to all; owners stay what they are."""
    return person if person.role == "own" else msgspec.structs.replace(person, role=role)


def text(data: bytes) -> str:
    """Return bytes as messages have them."""
    return b64encode(data).decode("ascii")
