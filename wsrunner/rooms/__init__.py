"""Rooms: people with names and roles, and a document that they keep together.

::

    hall ── all rooms of this process     room ── one of them, as those see it who sit here
    seat ── one person's place            home ── decides what is asked of a room, on one replica
    entries, state ── what was decided, and what the room is by that

    link ── this replica's part in the rooms of all
    moves ── whose home is where
    writer, pen ── what goes out          visitors ── seats elsewhere, of the homes here
    store ── Redis

What the document's updates hold nobody here knows. Must not import websockets.
"""
