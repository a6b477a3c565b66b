"""Every script against a plain model, with time as one of the operations.

The model keeps lists and counts them; it knows nothing of lanes, heads or feeds. Time is a key that
the test writes: the scripts' one call of TIME is replaced by a read of it.
"""

import uuid
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from planted import BUGS, planter
from turns import Rounds, refusal

from wsrunner.gates.scripts import SCRIPTS, script

LEASE_US = 15_000_000
STEP_US = 2_000_000
SETTLE_US = 1_000_000
QUEUE_MAX = 8
NUMBERS = 2**19


def timed(text):
    """Let the scripts read the time from a key."""
    real = "local time = redis.call('TIME')"
    assert text.count(real) == 1
    return text.replace(real, "local time = redis.call('HMGET', G .. ':time', 's', 'us')")


class Scripts:
    def __init__(self, client, key, change=lambda text: text):
        self.key = key
        self.client = client
        self.scripts = {
            name: client.register_script(timed(change(script(name)))) for name in SCRIPTS
        }

    def __call__(self, name, *args):
        return self.scripts[name](keys=[self.key], args=args)


@dataclass
class Ticket:
    name: str
    replica: str
    engine: str
    tenant: str
    user: str = ""
    seq: int = 0
    fence: int = 0


@dataclass
class Peer:
    link: str
    lease_end: int
    epoch: int
    cursor: int = 0
    gone: int = 0
    told: int = 0
    alive: bool = True
    granted: set = field(default_factory=set)  # what it learnt in beats


class GateMachine(RuleBasedStateMachine):
    client = None
    change = staticmethod(lambda text: text)

    def __init__(self):
        super().__init__()
        self.key = f"{{m{uuid.uuid4().hex[:10]}}}:gate"
        self.call = Scripts(self.client, self.key, self.change)
        self.wall = 1_700_000_000_000_000
        self.clock = self.seen = None
        self.slots, self.caps, self.share, self.shares = 2, {"a": 1}, 0, {}
        self.peers, self.tickets, self.numbers = {}, [], 0
        self.ended = []
        self.fence = 0
        self.rounds = None

    def teardown(self):
        keys = list(self.client.scan_iter(f"{self.key}*", count=1000))
        if keys:
            self.client.delete(*keys)

    # The model

    def held(self):
        return [ticket for ticket in self.tickets if ticket.fence]

    def queue(self):
        return sorted((t for t in self.tickets if not t.fence), key=lambda t: t.seq)

    def share_of(self, tenant):
        return self.shares.get(tenant, (self.share, 0))

    def fits(self, ticket):
        held = self.held()
        share = self.share_of(ticket.tenant)[0]
        return (
            len(held) < self.slots
            and sum(t.engine == ticket.engine for t in held) < self.caps.get(ticket.engine, 99)
            and not (ticket.tenant and 0 < share <= sum(t.tenant == ticket.tenant for t in held))
        )

    def grant(self):
        while ticket := next((t for t in self.queue() if self.fits(t)), None):
            self.rounds.serve(ticket, self.queue())
            if self.peers[ticket.replica].alive:
                self.fence += 1
                ticket.fence = self.fence
            else:  # its replica is dying: taken out, not run
                self.tickets.remove(ticket)

    def tick(self):
        self.clock += min(max(self.wall - self.seen, 0), STEP_US)
        self.seen = self.wall

    def bury(self, name):
        self.peers[name].alive = False

    def set_time(self):
        time = {"s": self.wall // 1_000_000, "us": self.wall % 1_000_000}
        self.client.hset(self.key + ":time", mapping=time)

    # Replicas

    def join(self, name, link, epoch):
        settings = ["slots", 2, "queue_max", QUEUE_MAX, "cap:a", 1, "tenant_slots", self.share]
        return self.call(
            "join", name, link, "run", name, LEASE_US, STEP_US, 0, epoch, 4, *settings, 0
        )

    @initialize(share=st.sampled_from([0, 0, 1]))
    def begin(self, share):
        self.share = share
        self.set_time()
        self.clock = self.seen = self.wall
        self.numbers += 1
        verdict, epoch, moved, _ = self.join("r1", "l1", 0)
        assert verdict == "new"
        self.fence = int(epoch)
        self.rounds = Rounds(self.wall // 125_000)
        self.peers["r1"] = Peer("l1", self.clock + LEASE_US, int(epoch), int(moved))
        self.beat(name="r1")

    @precondition(lambda self: sum(peer.alive for peer in self.peers.values()) < 3)
    @rule()
    def another_joins(self):
        self.numbers += 1
        name = f"r{self.numbers}"
        self.tick()
        verdict, epoch, moved, gone = self.join(name, "l1", 0)
        assert verdict == "new"
        self.peers[name] = Peer("l1", self.clock + LEASE_US, int(epoch), int(moved), int(gone))

    def alive(self, name):
        return self.peers[name].alive

    @rule(pick=st.randoms(use_true_random=False))
    def reconnects(self, pick):
        name = pick.choice(sorted(self.peers))
        peer = self.peers[name]
        link = peer.link + "x"
        self.tick()
        verdict, *_ = self.join(name, link, peer.epoch)
        if not peer.alive or peer.lease_end < self.clock:
            assert verdict == "gone"
            self.bury(name)
            return
        assert verdict == "kept"
        old, peer.link = peer.link, link
        peer.lease_end = self.clock + LEASE_US
        # What the earlier connection left on the way comes to nothing.
        assert self.call("enter", name, old, "zombie", "a", "", "", 0, 0) == ["unlinked"]
        assert self.call("leave", name, old, "zombie", 0, "a", "", "") == ["unlinked"]

    @rule(pick=st.randoms(use_true_random=False))
    def beats(self, pick):
        self.beat(name=pick.choice(sorted(self.peers)))

    def beat(self, name):
        peer = self.peers[name]
        mine = [t for t in self.queue() if t.replica == name]
        asked = [t.name for t in mine]
        fields = (peer.cursor, peer.told, -1, "", *asked)
        reply = self.call("beat", name, peer.link, LEASE_US, STEP_US, *fields)
        if not peer.alive:
            assert reply == ["unlinked"]
            return
        self.tick()
        if peer.lease_end < self.clock:
            assert reply == ["unlinked"]
            self.bury(name)
            return
        assert reply[0] == "beat"
        peer.lease_end = self.clock + LEASE_US
        late = [other for other, p in self.peers.items() if p.alive and p.lease_end < self.clock]
        if late:
            late.sort(key=lambda other: (self.peers[other].lease_end, other))
            self.bury(late[0])
        self.reap_as_redis_did()
        self.grant()
        _, _, waiting, is_open, _, cursor, feed, grants, counted, replicas, _, config = reply
        assert is_open == 1
        assert waiting == len(self.queue())
        assert dict(zip(config[::2], config[1::2], strict=True))["slots"] == str(self.slots)
        assert sorted(replicas) == sorted(n for n, p in self.peers.items() if p.alive)
        assert int(cursor) == peer.cursor + len(feed)
        # The feed is complete and in time: what isn't in it still waits.
        waits = {t.seq for t in self.queue()}
        left = {seq for seq in map(int, feed) if seq > 0}
        assert not waits & left
        assert {-seq for seq in map(int, feed) if seq < 0} <= waits | left
        peer.cursor = int(cursor)
        peer.gone += sum(1 if int(seq) > 0 else -1 for seq in feed)
        for fence, ticket in zip(grants[::2], grants[1::2], strict=True):
            assert int(fence) > peer.told or peer.told == 0
            peer.told = int(fence)
            peer.granted.add(ticket)
        for ticket in self.held():
            # A grant to a waiter is heard in the next beat at the latest, publish or not.
            assert ticket.replica != name or not ticket.seq or ticket.name in peer.granted
        order = [t.name for t in self.queue()]
        for ticket, ahead in zip(counted[::2], counted[1::2], strict=True):
            assert order.index(ticket) == int(ahead)

    def reap_as_redis_did(self):
        """Which dying replica a beat reaps is Redis's choice; all of it fits into one call."""
        for name in [n for n, p in self.peers.items() if not p.alive]:
            if not self.client.exists(f"{self.key}:tickets:{name}"):
                for ticket in [t for t in self.tickets if t.replica == name]:
                    self.tickets.remove(ticket)
                    if not ticket.fence:
                        self.rounds.give_up(ticket, self.queue())

    @rule(pick=st.randoms(use_true_random=False))
    def parts(self, pick):
        name = pick.choice(sorted(self.peers))
        if not self.alive(name):
            return
        left = self.call("part", name, self.peers[name].link)
        self.bury(name)
        while left:
            left = self.call("part", name, self.peers[name].link)
        self.reap_as_redis_did()
        self.grant()

    # Tickets

    @rule(
        pick=st.randoms(use_true_random=False),
        engine=st.sampled_from("ab"),
        tenant=st.sampled_from(["", "", "x", "y"]),
        user=st.sampled_from(["", "u", "v", "w"]),
        times=st.integers(1, 2),
    )
    def enters(self, pick, engine, tenant, user, times):
        self.enter(pick.choice(sorted(self.peers)), engine, tenant, user, times)

    @rule(
        pick=st.randoms(use_true_random=False),
        engine=st.sampled_from("ab"),
        user=st.sampled_from(["", "u"]),
    )
    def a_crowd_enters(self, pick, engine, user):
        """So that often several wait in one lane."""
        for _ in range(4):
            self.enter(pick.choice(sorted(self.peers)), engine, "", user, 1)

    @rule(pick=st.randoms(use_true_random=False), engine=st.sampled_from("ab"))
    def each_user_enters(self, pick, engine):
        """So that often several users' turns are in one round."""
        for user in "uvw":
            self.enter(pick.choice(sorted(self.peers)), engine, "", user, 1)

    @precondition(lambda self: any(ticket.user for ticket in self.ended[-3:]))
    @rule(pick=st.randoms(use_true_random=False))
    def who_had_a_turn_enters_again(self, pick):
        past = pick.choice([ticket for ticket in self.ended[-3:] if ticket.user])
        name = pick.choice(sorted(self.peers))
        self.enter(name, past.engine, past.tenant, past.user, 1)

    def enter(self, name, engine, tenant, user, times):
        self.numbers += 1
        ticket = Ticket(f"t{self.numbers}", name, engine, tenant, user)
        args = ("enter", name, self.peers[name].link, ticket.name, engine, tenant, user, 0, 0)
        replies = [self.call(*args) for _ in range(times)]
        if not self.alive(name):
            assert replies[0] == ["unlinked"]
            return
        waiting = len(self.queue())
        if self.fits(ticket):
            self.fence += 1
            ticket.fence = self.fence
            self.tickets.append(ticket)
            assert all(reply == ["held", ticket.fence] for reply in replies)
        elif whose := refusal(ticket, self.queue(), QUEUE_MAX, self.share_of(tenant)[1]):
            assert (replies[0][:2], replies[0][3]) == (["full", whose], QUEUE_MAX)
        else:
            self.rounds.enter(ticket, self.held(), self.queue())
            turn, number = self.rounds.places[id(ticket)]
            ticket.seq = turn * NUMBERS + number
            ahead = self.rounds.ahead(ticket, self.queue())
            self.tickets.append(ticket)
            assert replies[0][:2] == ["waits", ticket.seq]
            assert replies[0][3:] == [waiting + 1, ahead]
            if replies[0][2] >= 0:
                assert ahead == waiting
                assert replies[0][2] - int(self.client.hget(self.key, "gone")) == waiting
            again = ["waits", ticket.seq, -1, waiting + 1, -1]
            assert all(reply == again for reply in replies[1:])

    @rule(pick=st.randoms(use_true_random=False), how=st.sampled_from(["own", "own", "any", "old"]))
    def leaves(self, pick, how):
        if not self.tickets:
            return
        ticket = pick.choice(self.tickets)
        peer = self.peers[ticket.replica]
        fence = {"own": ticket.fence, "any": 0, "old": 7}[how]
        args = (
            "leave",
            ticket.replica,
            peer.link,
            ticket.name,
            fence,
            ticket.engine,
            ticket.tenant,
            ticket.user,
        )
        first, second = self.call(*args), self.call(*args)
        if not peer.alive:
            assert first == ["unlinked"]
        elif how == "old":
            assert first == ["none"]
        else:
            assert (first, second) == (["left"], ["none"])
            self.tickets.remove(ticket)
            if not ticket.fence:
                self.rounds.give_up(ticket, self.queue())
            self.ended.append(ticket)
            self.grant()

    @precondition(lambda self: self.ended)
    @rule(pick=st.randoms(use_true_random=False))
    def leaves_late(self, pick):
        ticket = pick.choice(self.ended)
        peer = self.peers[ticket.replica]
        names = (ticket.name, ticket.fence, ticket.engine, ticket.tenant, ticket.user)
        reply = self.call("leave", ticket.replica, peer.link, *names)
        assert reply == (["none"] if peer.alive else ["unlinked"])

    @rule(pick=st.randoms(use_true_random=False))
    def somebody_elses_release_does_nothing(self, pick):
        if self.held():
            ticket = pick.choice(self.held())
            other = pick.choice(sorted(self.peers))
            if other != ticket.replica:
                link = self.peers[other].link
                names = (ticket.name, ticket.fence, ticket.engine, ticket.tenant, ticket.user)
                reply = self.call("leave", other, link, *names)
                assert reply in (["none"], ["unlinked"])

    @rule(slots=st.integers(1, 4))
    def slots_change(self, slots):
        self.slots = slots
        self.call("tune", "slots", slots)
        self.grant()

    @rule(engine=st.sampled_from("ab"), capacity=st.sampled_from([0, 1, 2, None]))
    def an_engine_changes(self, engine, capacity):
        self.caps[engine] = 99 if capacity is None else capacity
        self.call("tune", f"cap:{engine}", "" if capacity is None else capacity)
        self.grant()

    @rule(tenant=st.sampled_from("xy"), slots=st.sampled_from([0, 1, 2]), queue=st.integers(0, 3))
    def a_tenants_shares_change(self, tenant, slots, queue):
        self.shares[tenant] = slots, queue
        self.call("tune", f"slots:{tenant}", slots, f"queue:{tenant}", queue)
        self.grant()

    # Time

    @rule(seconds=st.floats(0.01, 1.9))
    def time_passes(self, seconds):
        self.wall += int(seconds * 1e6)
        self.set_time()

    @rule(seconds=st.sampled_from([-3600, -5, 20, 3600]))
    def the_clock_jumps(self, seconds):
        self.wall += seconds * 1_000_000
        self.set_time()

    @rule(spare=st.sampled_from(["r1", "none"]))
    def a_lease_passes(self, spare):
        """Ten seconds twice, in steps; whoever beats in between lives on."""
        for _ in range(11):
            self.wall += 1_900_000
            self.set_time()
            beating = [n for n, p in self.peers.items() if p.alive and n != spare][:1]
            for name in beating:
                self.beat(name)

    # What must hold after every step

    @invariant()
    def redis_has_what_the_model_has(self):
        if not self.peers:
            return
        state = {}
        for name in self.peers:
            packed = self.client.hgetall(f"{self.key}:tickets:{name}")
            for ticket, text in packed.items():
                kind, number, *names = text.split("\n")
                state[ticket] = (name, kind, int(number), *names)
        assert state == {
            t.name: (
                *(t.replica, "h" if t.fence else "w", t.fence or t.seq),
                *(t.engine, t.tenant, t.user),
            )
            for t in self.tickets
        }
        fields = self.client.hgetall(self.key)
        assert int(fields["held"]) == len(self.held())
        assert int(fields["waiting"]) == len(self.queue())
        for letter, attribute in (("e", "engine"), ("t", "tenant")):
            counted = {k[2:]: int(v) for k, v in fields.items() if k.startswith(letter + ":")}
            names = [name for t in self.held() if (name := getattr(t, attribute))]
            assert counted == {name: names.count(name) for name in names}
        users = [f"{'h' if t.fence else 'w'}\n{t.tenant}\n{t.user}" for t in self.tickets if t.user]
        counted = {k: int(v) for k, v in self.client.hgetall(f"{self.key}:users").items()}
        assert counted == {name: users.count(name) for name in users}
        lanes = {f"{t.engine}\n{t.tenant}" for t in self.queue()}
        turns = self.client.scan_iter(f"{self.key}:turns:*", count=1000)
        assert {key.removeprefix(f"{self.key}:turns:") for key in turns} == lanes
        assert float(fields["clock"]) == self.clock

    @invariant()
    def nobody_waits_who_could_run(self):
        assert not any(self.fits(t) and self.alive(t.replica) for t in self.queue())


@pytest.fixture
def client(redis_server):
    with redis.Redis(unix_socket_path=redis_server.socket, decode_responses=True) as client:
        yield client


def drive(client, change=lambda text: text, examples=60, steps=40, **options):
    GateMachine.client = client
    GateMachine.change = staticmethod(change)
    run_state_machine_as_test(
        GateMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
            **options,
        ),
    )


@pytest.mark.redis
@pytest.mark.parametrize("version", ["newer", "6.2"])
def test_the_scripts_decide_as_a_plain_model_does(request, version):
    server = request.getfixturevalue("oldest_redis" if version == "6.2" else "redis_server")
    with redis.Redis(unix_socket_path=server.socket, decode_responses=True) as client:
        drive(client)


# The model has one epoch only; the histories know of restarts.
@pytest.mark.parametrize("bug", sorted(BUGS.keys() - {"nobody waits for claims"}))
def test_the_model_notices(client, bug):
    change = planter(bug)
    for sound in BUGS[bug][::2]:
        assert any(sound in script(name) for name in SCRIPTS), sound
    with pytest.raises((AssertionError, ValueError, redis.ResponseError)) as noticed:
        drive(
            client,
            change,
            examples=2000,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            derandomize=True,  # the same attempts each time: what was noticed once, is again
            database=None,
        )
    assert "Error compiling" not in str(noticed.value)
