"""Pictures of what the benches measured, as SVG files beside their tables.

Owns their drawing, by pygal. `write` reads the results and draws what there is something of.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

WAYS = {"ahead": "#1b7f3b", "warm": "#2f6fb5", "bare": "#8a8a8a"}
"""Colours; the ways are those of `ahead`."""
LEGEND = (
    "green: started ahead; blue: warm, nothing started; grey: the bare process, whose median is 1"
)
RANGE_MAX = 2.0
MOMENTS = {"first_line": "First line", "exit": "Exit"}


def write(out: Path) -> list[Path]:
    """Draw the results in a folder; return the files written."""
    source = out / "ahead.json"
    if not source.is_file():
        return []
    found = json.loads(source.read_text())
    written = []
    for moment, name in MOMENTS.items():
        file = out / f"ahead-{moment.replace('_', '-')}.svg"
        chart = _chart(found, moment, f"{name}, in multiples of the bare process's median")
        file.write_bytes(chart.render())
        written.append(file)
    return written


def shares(found: dict[str, Any], moment: str) -> dict[str, dict[str, list[float]]]:
    """Return language → way → every run by the bare median, at most `RANGE_MAX`."""
    result = {}
    for language, measured in found.items():
        series = measured.get("milliseconds") if isinstance(measured, dict) else None
        if series and "bare" in series:
            base = statistics.median(series["bare"][moment])
            result[language] = {
                way: [min(ms / base, RANGE_MAX) for ms in series[way][moment]] for way in WAYS
            }
    return result


def _chart(found: dict[str, Any], moment: str, title: str) -> Any:
    """Return a chart of boxes: quartiles and median, and whiskers to what is no outlier."""
    languages = shares(found, moment)
    chart = pygal.Box(
        box_mode="tukey",
        js=(),
        title=title,
        x_title=LEGEND,
        x_labels=[label for language in languages for label in ("", language, "")],
        style=CleanStyle(colors=tuple(WAYS.values()) * len(languages), font_family="sans-serif"),
        width=1100,
        height=520,
        range=(0, RANGE_MAX),
        show_legend=False,
        truncate_label=-1,
    )
    for ways in languages.values():
        for way, values in ways.items():
            chart.add(way, values)
    return chart
