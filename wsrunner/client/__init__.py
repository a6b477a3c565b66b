"""The Python client: many runs and rooms over one socket.

::

    client ── what a caller asks for           connection ── one WebSocket
    board ── the runs and rooms there are      rooms ── a room as its caller holds it
    happenings ── what happens in one
    link ── makes it anew after a loss         keeping ── what it takes to come back to a run
    run ── a run as its caller holds it        course ── a run as the server tells it
    flow ── who waits for whom                 encoding ── arguments to messages
    catalogue ── the languages                 feed ── the operators' view
    files ── what a run has made
    errors ── what a caller may have to catch
"""

from wsrunner.client.client import Client, Collected
from wsrunner.client.errors import ConnectError, ConnectionLostError, RunRefusedError
from wsrunner.client.feed import watch
from wsrunner.client.files import LeftOut, RunFile
from wsrunner.client.flow import Output
from wsrunner.client.happenings import Awareness, Changed, Compact, Document, Typed, Update
from wsrunner.client.rooms import Room, RoomKeys
from wsrunner.client.run import Keys, Run
from wsrunner.protocol import Exit
from wsrunner.words.rooms import Person, RoomRun

__all__ = [
    "Awareness",
    "Changed",
    "Client",
    "Collected",
    "Compact",
    "ConnectError",
    "ConnectionLostError",
    "Document",
    "Exit",
    "Keys",
    "LeftOut",
    "Output",
    "Person",
    "Room",
    "RoomKeys",
    "RoomRun",
    "Run",
    "RunFile",
    "RunRefusedError",
    "Typed",
    "Update",
    "watch",
]
