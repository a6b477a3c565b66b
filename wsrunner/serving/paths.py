"""Paths that more than one module goes by. Pure."""

from __future__ import annotations

RUN_PATH = "/v1/run"
MONITOR_PATH = "/v1/monitor"
PISTON_PATH = "/api/v2/connect"
SOCKET_PATHS = (RUN_PATH, MONITOR_PATH, PISTON_PATH)
