"""What one call of a script may do: Redis serves nobody else meanwhile.

Counted in commands, for time depends on the machine: at 2 to 6 µs each, 300 take up to 2 ms.
"""

import pytest
import redis

from wsrunner.gates.scripts import SCRIPTS, script

COMMANDS_MAX = 300
TICKETS = 400
LEASE_US = 60_000_000
STEP_US = 2_000_000


class Costs:
    """Calls scripts for two replicas, and counts the commands that each call runs."""

    def __init__(self, client, key):
        self.client = client
        self.key = key
        self.most = {}
        self.cursors = {}
        run_id = client.info("server")["run_id"]
        self.scripts = {name: client.register_script(script(name)) for name in SCRIPTS}
        for replica in ("one", "two"):
            declared = (2, "slots", 1, "queue_max", 10**6)
            seat = (replica, replica, run_id, replica, LEASE_US, STEP_US, 0, 0)
            self("join", *seat, *declared, 0)

    def __call__(self, name, *args):
        before = self._commands()
        reply = self.scripts[name](keys=[self.key], args=args)
        self.most[name] = max(self.most.get(name, 0), self._commands() - before)
        return reply

    def _commands(self):
        stats = self.client.info("commandstats")
        own = ("cmdstat_info", "cmdstat_evalsha", "cmdstat_script|load")
        return sum(entry["calls"] for name, entry in stats.items() if name not in own)

    def beat(self, replica, fence, *asked):
        cursor = self.cursors.get(replica, 0)
        fields = (LEASE_US, STEP_US, cursor, fence, 0, "settled", *asked)
        reply = self("beat", replica, replica, *fields)
        self.cursors[replica] = reply[5]
        return reply


@pytest.fixture
def costs(own_redis):
    with redis.Redis(unix_socket_path=own_redis.socket, decode_responses=True) as client:
        yield Costs(client, "{costs}:gate")


def until_quiet(costs, replica):
    """Beat until nothing is left to do; return how often that took."""
    fence = beats = 0
    while True:
        beats += 1
        reply = costs.beat(replica, fence)
        fence = max([fence, *map(int, reply[7][::2])])
        if not reply[1]:
            return beats


def test_no_call_does_much_however_much_there_is_to_do(costs):
    for number in range(TICKETS):
        costs("enter", "one", "one", f"one-{number}", "local", "t", f"u{number % 7}", 0, 0)
        costs("enter", "two", "two", f"two-{number}", "local", "t", f"v{number}", 0, 0)
    # All that one replica has, counted place by place.
    assert costs.beat("one", 0, *(f"one-{number}" for number in range(TICKETS)))[8]
    costs("tune", "slots", TICKETS)
    assert until_quiet(costs, "one") > 1
    # Half of all hold a permit now; the other half waits. One replica goes, with both.
    while costs("part", "one", "one"):
        pass
    until_quiet(costs, "two")
    state = costs.client.hgetall(costs.key)
    assert (state["held"], state["waiting"]) == (str(TICKETS), "0")
    costs("tune", "slots", 1)
    assert max(costs.most.values()) <= COMMANDS_MAX, costs.most
