"""What one replica writes of rooms, before what stands for a Redis."""

import asyncio
import json

from tests.talk import PATIENCE_S
from wsrunner.gates import asked
from wsrunner.gates.outbox import WRITE_BYTES, WRITE_LETTERS
from wsrunner.gates.replica import unavailable
from wsrunner.rooms import entries
from wsrunner.rooms.hall import Hall
from wsrunner.rooms.room import Deed, Keys, Room
from wsrunner.rooms.state import State, text
from wsrunner.rooms.store import Found
from wsrunner.rooms.visitors import Visitors
from wsrunner.rooms.writer import Writer
from wsrunner.runs.job import Principal
from wsrunner.serving.occupant import Occupant
from wsrunner.settings import Settings
from wsrunner.units import KIB

ROOM, KEYS, NOBODY = "5e1c0a9d27f4b683", Keys("own", "work", "watch"), Principal("", "")
SIT = entries.Sit("work", "Bob", watches_only=False, again=False)
LONG = bytes(64 * KIB)


class AwayStore:
    """A Redis that has one room, whose home is elsewhere, and then is away for a while."""

    def __init__(self):
        self.is_away = False
        self.beats = 0
        self.beaten = asyncio.Event()
        self.letters = []
        self.mail = []
        self.wrote = asyncio.Event()

    def _ask(self):
        if self.is_away:
            raise unavailable("away")

    async def find(self, room_id):
        self._ask()
        return Found(Deed(room_id, KEYS, NOBODY), "home")

    async def entries(self, room_id, after):
        self._ask()
        return [(1, entries.pack(State().whole("home")))]

    async def write(self, letters, publications, **lives):
        self._ask()
        self.letters += [entries.unpack_letter(content) for _, content in letters]
        self.wrote.set()
        return ["there" for _ in publications]

    async def read(self, replica, letters_after, entries_after):
        self._ask()
        await asyncio.sleep(0.01)
        return [each for each in self.mail if each[0] > letters_after], {}

    async def look(self, replicas):
        self._ask()
        return set(replicas)

    async def give_up_letters(self, replica, before):
        self.beats += 1
        if self.beats > 50:
            self.beaten.set()
        self._ask()

    async def close(self):
        pass


class Ground:
    """A process with a hall."""

    settings = Settings(redis_url="redis://none")
    replica = "me"
    draining = starting = False

    def __init__(self):
        self.orders = []

    def happened(self, room, entry):
        """Hear of what a room's home has decided."""

    def ordered(self, room, seat, order):
        """Hear what is asked of a home elsewhere."""
        self.orders.append(order)


async def test_while_redis_is_away_no_letters_pile_up(monkeypatch):
    monkeypatch.setattr(asked, "AGAIN_S", 0.001)
    store = AwayStore()
    monkeypatch.setattr("wsrunner.rooms.store.RoomStore", lambda url: store)
    async with asyncio.timeout(PATIENCE_S), Hall(Ground(), "me") as hall:
        joining = asyncio.create_task(hall.join(NOBODY, ROOM, "work", "Bob", "b" * 16))
        await store.wrote.wait()
        store.is_away, store.letters = True, []
        await store.beaten.wait()
        store.wrote.clear()
        store.is_away = False
        await store.wrote.wait()
        assert len(store.letters) < 10
        joining.cancel()


async def test_a_letter_that_makes_no_sense_is_passed_over(monkeypatch):
    store = AwayStore()
    store.mail = [("1-0", b"?"), ("2-0", entries.pack(entries.Asks(ROOM, "two", "s", "p", 1, SIT)))]
    monkeypatch.setattr("wsrunner.rooms.store.RoomStore", lambda url: store)
    async with asyncio.timeout(PATIENCE_S), Hall(Ground(), "me"):
        while entries.Unknown(ROOM) not in store.letters:
            store.wrote.clear()
            await store.wrote.wait()


async def test_what_waited_for_redis_goes_out_in_pieces_that_it_takes_in_time():
    store = PatientStore()
    writer = Writer(store, "me", life_s=60, letters_life_s=60, on_lost=print, on_absent=print)
    short, long = entries.Awareness(b"here"), entries.Update(LONG, None)
    orders = [short] * (3 * WRITE_LETTERS) + [long] * 50
    for turn, order in enumerate(orders):
        writer.post("other", entries.Asks(ROOM, "me", "s", "p", turn, order))
    rooms = [Room(Deed(f"{number:016}", KEYS, NOBODY), Ground()) for number in range(50)]
    for room in rooms:
        room.state.apply(entries.Added("p", 4 * LONG))
        writer.begin(room)
    writing = asyncio.create_task(writer.write())
    async with asyncio.timeout(PATIENCE_S):
        await writer.flush()
    writing.cancel()
    letters = [content for letters, _ in store.writes for _, content in letters]
    assert [entries.unpack_letter(content).turn for content in letters] == list(range(len(orders)))
    published = [each.room_id for _, publications in store.writes for each in publications]
    assert published == [room.id for room in rooms]
    for letters, publications in store.writes:
        assert len(letters) <= WRITE_LETTERS
        assert sum(len(content) for _, content in letters) < WRITE_BYTES + 2 * len(LONG)
        parts = [content for each in publications for _, content in each.entries]
        assert sum(len(content) for content in parts) < WRITE_BYTES + 5 * len(LONG)


async def test_who_leaves_a_seat_after_coming_elsewhere_troubles_nobody():
    room = Room(Deed(ROOM, KEYS, NOBODY), Ground())
    room.settle()
    posted = []
    visitors = Visitors(
        {ROOM: room}.get, lambda _, letter: posted.append(letter), asyncio.get_running_loop().time
    )
    visitors.ask(entries.Asks(ROOM, "two", "first", "bob", 1, SIT))
    visitors.ask(entries.Asks(ROOM, "three", "second", "bob", 1, SIT))
    visitors.ask(entries.Asks(ROOM, "two", "first", "bob", 2, entries.Leave()))
    assert [each.seat for each in room.state.people.values()] == ["second"]
    assert posted == []
    visitors.ask(entries.Asks(ROOM, "two", "first", "bob", 1, entries.Hand(up=True)))
    assert posted == [entries.Unknown(ROOM)]


async def test_a_change_that_has_the_number_of_one_that_was_none_is_told_as_it_is():
    room = Room(Deed(ROOM, KEYS, NOBODY), Ground())
    outlet = PatientOutlet()
    occupant = Occupant(outlet, "r", on_over=lambda _: None)
    occupant.seat = room.sit("work", "Bob", "b" * 16)
    room.hear(entries.Came(entries.Sitting(occupant.seat.person, occupant.seat.id, "me")))
    task = asyncio.create_task(occupant._tell(None))
    empty = State().whole("home")
    for data in (b"lost", b"there"):
        room.replay([empty])
        room.hear(entries.Came(entries.Sitting(occupant.seat.person, occupant.seat.id, "me")))
        await outlet.hears("joined")
        room.hear(entries.Added("ada", data))
        told = await outlet.hears("update")
        assert (told["seq"], told["base64"]) == (1, text(data))
    task.cancel()


class PatientOutlet:
    """A client that reads what it is told."""

    def __init__(self):
        self._told = asyncio.Queue()

    async def send(self, message, *, text):
        self._told.put_nowait(json.loads(message))

    async def hears(self, kind):
        """Return the next message of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            while (told := await self._told.get())["type"] != kind:
                pass
        return told


async def test_who_sat_elsewhere_before_is_not_sent_away_by_what_a_redis_has_from_then():
    ground = Ground()
    room = Room(Deed(ROOM, KEYS, NOBODY), ground)
    seat = room.sit("work", "Bob", "b" * 16)
    sitting = entries.Sitting(seat.person, seat.id, "me")
    room.position = 7
    room.hear(entries.Came(sitting))
    before = State()
    before.apply(entries.Came(entries.Sitting(seat.person, "another", "two")))
    room.position = 5
    room.replay([before.whole("home")])
    assert not seat.is_over
    room.sit_anew()
    assert not seat.sits.is_set()
    assert ground.orders[-1] == entries.Sit("work", "Bob", watches_only=False, again=True)
    room.position = 8
    room.hear(entries.Came(entries.Sitting(seat.person, "a third", "three")))
    assert seat.is_over
    assert [event.reason for event in await seat.next()] == ["elsewhere"]


class PatientStore:
    """A Redis that takes whatever comes."""

    def __init__(self):
        self.writes = []

    async def write(self, letters, publications, **lives):
        self.writes.append((letters, publications))
        return ["there" for _ in publications]
