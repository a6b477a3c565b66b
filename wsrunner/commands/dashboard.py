"""``wsrunner monitor``: the operators' feed in a terminal.

Owns its picture. Where the numbers come from is `monitor`'s business.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wsrunner.client import ConnectError, ConnectionLostError, watch

RUNS_SHOWN = 15
MINUTES_SHOWN = 40
BARS = " ▁▂▃▄▅▆▇█"


def show(url: str, token: str | None, *, as_json: bool) -> None:
    """Show the feed until Ctrl-C; exits with 69 if there is no server, or the connection ends.

    Raises:
        ValueError: The URL is none.
    """
    try:
        asyncio.run(_print(url, token) if as_json else _draw(url, token))
    except KeyboardInterrupt:
        return
    except (ConnectError, ConnectionLostError) as exc:
        print(f"wsrunner: {exc}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        sys.exit(69)


async def _print(url: str, token: str | None) -> None:
    async with aclosing(watch(url, token)) as feed:
        async for message in feed:
            print(json.dumps(message), flush=True)  # noqa: T201 - asked for


async def _draw(url: str, token: str | None) -> None:
    ended: deque[Mapping[str, Any]] = deque(maxlen=RUNS_SHOWN)
    state: Mapping[str, Any] | None = None
    with Live(console=Console(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
        async with aclosing(watch(url, token)) as feed:
            async for message in feed:
                if message["type"] == "run":
                    ended.append(message)
                elif message["type"] == "state":
                    state = message
                    ended.extend(message.get("recent", ()))
                if state is not None:
                    live.update(picture(url, state, list(ended)), refresh=True)


def picture(url: str, state: Mapping[str, Any], ended: list[Mapping[str, Any]]) -> RenderableType:
    """Return the whole picture.

    Args:
        url: The server, for the title.
        state: The feed's last ``state``.
        ended: The last runs that ended, oldest first.
    """
    parts: list[RenderableType] = [_slots(state), _hour(state)]
    if state["error"]:
        parts.insert(0, Text(state["error"], style="bold red"))
    if state["draining"]:
        parts.insert(0, Text("draining: no new runs", style="bold yellow"))
    parts += [_live(state), _ended(ended)]
    return Panel(Group(*parts), title=f"wsrunner {url}", subtitle="Ctrl-C to quit")


def _slots(state: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    if state["slots"] is not None:
        bar = ProgressBar(total=state["slots"], completed=state["held"], width=30)
        table.add_row("slots", bar, f"{state['held']} of {state['slots']} in use")
        bar = ProgressBar(total=max(1, state["queue_max"]), completed=state["waiting"], width=30)
        table.add_row("queue", bar, f"{state['waiting']} of {state['queue_max']} waiting")
        table.add_row("replicas", str(state["replicas"]), "")
    warm = ", ".join(
        f"{each['image']}{' tty' * each['tty']} {each['count']}" for each in state["warm"]
    )
    hits, misses = state["pool_hits"], state["pool_misses"]
    table.add_row("warm", f"{hits} hits, {misses} misses", warm or "none")
    spaces = state.get("workspaces", ())
    if spaces:
        busy = sum(each["busy"] for each in spaces)
        table.add_row("workspaces", f"{len(spaces)}, {busy} busy", "")
    kept, rooms = state.get("kept", ()), state.get("rooms", ())
    if kept:
        over = sum(each["left_s"] is not None for each in kept)
        table.add_row("kept runs", f"{len(kept)}, {over} over", "")
    if rooms:
        people = sum(each["people"] for each in rooms)
        table.add_row("rooms", f"{len(rooms)}, {people} people", "")
    return table


def _hour(state: Mapping[str, Any]) -> Table:
    """Runs a minute and time to the first output over the last minutes, a column each."""
    table = Table.grid(padding=(0, 2))
    rows = (
        ("runs a minute", "runs", ""),
        ("first output p50", "first_output_ms_p50", " ms"),
        ("queued p95", "queued_ms_p95", " ms"),
    )
    for title, key, unit in rows:
        values = [minute[key] or 0 for minute in state["minutes"][-MINUTES_SHOWN:]]
        table.add_row(title, Text(sparkline(values), style="cyan"), f"{values[-1]:g}{unit}")
    return table


def sparkline(values: list[float]) -> str:
    """Return one block character a value, scaled to the largest."""
    most = max(values, default=0) or 1
    return "".join(BARS[round(value / most * (len(BARS) - 1))] for value in values)


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", expand=True, box=SIMPLE)


def _live(state: Mapping[str, Any]) -> Table:
    table = _table("live", "run", "language", "stage", "age")
    for run in state["live"][:RUNS_SHOWN]:
        table.add_row(run["run"], run["language"], run["stage"], f"{run['age_s']:.1f} s")
    return table


def _ended(ended: list[Mapping[str, Any]]) -> Table:
    table = _table("ended", "at", "run", "language", "outcome", "queued", "first output", "wall")
    for run in reversed(ended):
        what = {"exited": f"exit {run['code']}", "signaled": run["signal"]}
        outcome = what.get(run["reason"], run["reason"])
        first = run["first_output_ms"]
        table.add_row(
            datetime.fromtimestamp(run["at"]).astimezone().strftime("%H:%M:%S"),
            run["run"],
            run["language"],
            Text(outcome, style="green" if outcome == "exit 0" else "yellow"),
            f"{run['queued_ms']:.0f} ms",
            "" if first is None else f"{first:.0f} ms",
            f"{run['wall_ms']:.0f} ms",
        )
    return table
