"""How soon a keystroke is with the others of a room: ten rooms of thirty people who all write.

All on one server; then on two that share a Redis, half of each room's people on either.

Each update holds the time at which it was sent, by the clock of this process, which reads and
writes for all 300 people: that is part of what is told.
"""

from __future__ import annotations

import contextlib
import json
import random
import selectors
import struct
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import kit
from bench.gate import redis_server
from bench.kit import Figure

NAME = "rooms"
HELP = "a keystroke to the others, in ten rooms of thirty people, on one server and on two"
MS = 1e3
PEOPLE = 30
KEYS_PER_S = 2
"""Of each person: 60 a room, which thirty people hardly reach."""
_SENT = struct.Struct(">d")


def run(out: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    length_s = 3.0 if quick else 10.0
    figures: list[Figure] = []
    lags: dict[str, dict[str, float]] = {}

    def measure(where: str, ports: Sequence[int]) -> None:
        for rooms in (1, 10):
            said = lags[f"{rooms}{where}"] = kit.summary(_lags(ports, rooms, length_s))
            figures.append(
                Figure(
                    f"{rooms} of {PEOPLE} people{where}, keystroke to the others, p99 "
                    f"(median {kit.number(said['median'])})",
                    "ms",
                    said["p99"],
                    most=50,
                )
            )

    options = {"warm": "", "warm_max": 0, "sockets_per_address": 1000, "rooms_per_client": 0}
    with kit.Server(**options) as server:
        measure("", [server.port])
    with redis_server() as port:
        shared = options | {"redis_url": f"redis://127.0.0.1:{port}/0"}
        with kit.Server(**shared) as one, kit.Server(**shared) as two:
            measure(" on two servers", [one.port, two.port])
    return kit.result(figures, lags=lags)


def _lags(ports: Sequence[int], rooms: int, length_s: float) -> list[float]:
    """Return how long each update took to each of the others, in ms."""
    lags: list[float] = []
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        people = [each for _ in range(rooms) for each in _room(stack, ports)]
        for each in people:
            selector.register(each, selectors.EVENT_READ)
        begun_s = time.monotonic()
        # At times of their own, as people do.
        gaps_s = 1 / (KEYS_PER_S * len(people))
        due_s, end_s = begun_s, begun_s + length_s
        while (now_s := time.monotonic()) < end_s:
            while due_s <= now_s:
                sent = b64encode(_SENT.pack(time.monotonic())).decode()
                random.choice(people).send(type="update", base64=sent)
                due_s += random.expovariate(1 / gaps_s)
            for key, _ in selector.select(max(0.0, due_s - time.monotonic())):
                client: kit.Socket = key.fileobj  # type: ignore[assignment]
                client.pump()
                _read(client, lags)
    return lags


def _read(client: kit.Socket, lags: list[float]) -> None:
    while (message := client.pop()) is not None:
        if not message.startswith(b'{"type":"update"'):
            continue
        event = json.loads(message)
        if "base64" in event:
            (sent_s,) = _SENT.unpack(b64decode(event["base64"])[: _SENT.size])
            lags.append((time.monotonic() - sent_s) * MS)


def _room(stack: contextlib.ExitStack, ports: Sequence[int]) -> list[kit.Socket]:
    """Return the sockets of people in a room of their own, on these servers in turn."""
    owner = stack.enter_context(kit.Socket(ports[0]))
    owner.send(type="open", name="Ada")
    opened = json.loads(owner.receive())
    people = [owner]
    for number in range(1, PEOPLE):
        each = stack.enter_context(kit.Socket(ports[number % len(ports)]))
        each.send(type="join", room=opened["room"], key=opened["work"])
        assert json.loads(each.receive())["type"] == "joined"
        people.append(each)
    return people
