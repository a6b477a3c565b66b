"""The Python client: many runs over one socket.

::

    client ── the runs over one connection     connection ── one WebSocket
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
from wsrunner.client.run import Keys, Run
from wsrunner.protocol import Exit

__all__ = [
    "Client",
    "Collected",
    "ConnectError",
    "ConnectionLostError",
    "Exit",
    "Keys",
    "LeftOut",
    "Output",
    "Run",
    "RunFile",
    "RunRefusedError",
    "watch",
]
