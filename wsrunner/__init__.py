"""Run code in throw-away containers and stream its output over a WebSocket.

``wsrunner.Client`` and what belongs to it are the public Python interface; they are imported on
first use so that ``wsrunner serve`` does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsrunner.client import (
        Client,
        Collected,
        ConnectError,
        ConnectionLostError,
        Exit,
        LeftOut,
        Output,
        Run,
        RunFile,
        RunRefusedError,
    )

__all__ = [
    "Client",
    "Collected",
    "ConnectError",
    "ConnectionLostError",
    "Exit",
    "LeftOut",
    "Output",
    "Run",
    "RunFile",
    "RunRefusedError",
    "__version__",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from wsrunner import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
