"""Coming into rooms over sockets, for tests."""

import base64

ECHO = "import sys\nprint('up')\nfor line in sys.stdin: print('got', line, end='')\nprint('over')"


async def enter(talk, opened, role, name="", once=None, **fields):
    """Join a room with one of its keys; return its `joined`."""
    await talk.say("join", room=opened["room"], key=opened[role], name=name, once=once, **fields)
    while (heard := await talk.hear()).get("id") != fields.get("id"):
        pass  # another room's, or a run's
    assert heard["type"] == "joined", heard
    return heard


async def opened_by(talk, name="Ada", **fields):
    """Open a room; return its `opened` and `joined`."""
    await talk.say("open", name=name, **fields)
    opened = await talk.hear()
    assert opened["type"] == "opened", opened
    joined = await talk.hear()
    assert joined["type"] == "joined", joined
    return opened, joined


def names(room):
    """Return the names of those who are in a room, as a message tells."""
    return [person["name"] for person in room["people"]]


def packed(data):
    """Return bytes as a message has them."""
    return base64.b64encode(data).decode()


async def hear_kind(talk, kind, matches=lambda _: True):
    """Hear until a message of this type has come that matches; return it."""
    while True:
        event = await talk.hear()
        if event["type"] == kind and matches(event):
            return event


async def has_heard(talk, kind, matches=lambda _: True):
    """Return a message of this type that matches: one that came already, or else comes."""
    while True:
        for events in talk.heard.values():
            for event in events:
                if event["type"] == kind and matches(event):
                    return event
        await talk.hear()


async def run_in(talk, room, id="x", code=ECHO, **fields):  # noqa: A002
    """Start a run of a room; return its `accepted`."""
    await talk.say("run", id=id, room=room, language="python", code=code, **fields)
    accepted = await hear_kind(talk, "accepted", lambda event: event["id"] == id)
    await talk.hear_output("up\n", id)
    return accepted


async def attach_in(talk, room, run, id="x", **fields):  # noqa: A002
    """Attach to a run through the room; return its `attached`."""
    await talk.say("attach", id=id, room=room, run=run, **fields)
    return await hear_kind(talk, "attached", lambda event: event["id"] == id)


async def refused(talk, id="x"):  # noqa: A002
    """Hear until something about a run was refused; return that error."""
    return await hear_kind(talk, "error", lambda event: event.get("id") == id)


async def ended(talk, id="x"):  # noqa: A002
    """Hear a run to its end; return its exit and what it printed to stdout."""
    while (events := talk.heard.get(id, [{"type": ""}]))[-1]["type"] not in {"exit", "error"}:
        await talk.hear()
    del talk.heard[id]
    return events[-1], "".join(e["data"] for e in events if e["type"] == "stdout")


async def has_run(talk, run, *, over):
    """Hear until the room tells of a run that it is over, or is not."""
    wanted = run, over
    await has_heard(
        talk,
        "room",
        lambda event: wanted in [(each["run"], each["over"]) for each in event["runs"]],
    )
