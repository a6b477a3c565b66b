"""Coming into rooms over sockets, for tests."""

import base64


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
