"""Paths that more than one module goes by. Pure."""

from __future__ import annotations

RUN_PATH = "/v1/run"
MONITOR_PATH = "/v1/monitor"
SOCKET_PATHS = (RUN_PATH, MONITOR_PATH)
