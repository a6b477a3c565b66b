"""Statistics, figures with targets, and tables."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.kit.timing import Timing


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles, p99, extremes and count."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median": statistics.median(ordered),
        "p25": quantile(ordered, 0.25),
        "p75": quantile(ordered, 0.75),
        "p99": quantile(ordered, 0.99),
        "min": ordered[0],
        "max": ordered[-1],
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the ordered values do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def ratio(measured: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(measured, baseline, strict=True))


def interleave(rounds: int, *takers: Callable[[], None], say: str = "") -> None:
    """Call each of `takers` once a round, beginning with another one each round."""
    for number in range(rounds):
        progress(f"{say} {number + 1}/{rounds}")
        first = number % len(takers)
        for take in (*takers[first:], *takers[:first]):
            take()
    progress("")


def take_in_turns(
    rounds: int, ways: Mapping[str, Callable[[], Timing]], *, say: str = ""
) -> dict[str, list[Timing]]:
    """Return what each way took in each of `rounds`; a first one, for caches, is not counted."""
    for take in ways.values():
        take()
    series: dict[str, list[Timing]] = {name: [] for name in ways}

    def taker(name: str) -> Callable[[], None]:
        return lambda: series[name].append(ways[name]())

    interleave(rounds, *(taker(name) for name in ways), say=say)
    return series


def progress(text: str) -> None:
    """Show on a terminal what is being done; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of a bench's table.

    Attributes:
        what: What was measured.
        unit: Its unit, and that of the baseline.
        value: The median, or a count.
        spread: (p25, p75), or (min, max) where there are few.
        baseline: What it is held against.
        baseline_value: The baseline's median.
        ratio: Measured by baseline, the median pair by pair.
        most, least: The target for the ratio, or for the value where there is no ratio.
        note: What the reader must know.
    """

    what: str
    unit: str
    value: float
    spread: tuple[float, float] | None = None
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        judged = self.value if self.ratio is None else self.ratio
        if self.most is not None:
            return judged <= self.most
        return None if self.least is None else judged >= self.least

    def as_json(self) -> dict[str, Any]:
        """Return the fields that say something."""
        fields = dataclasses.asdict(self) | {"reached": self.reached}
        return {key: value for key, value in fields.items() if value not in (None, "")}


def compare(
    what: str,
    unit: str,
    measured: Sequence[float],
    baseline: str = "",
    against: Sequence[float] = (),
    **rest: Any,
) -> Figure:
    """Return the figure of a series, and of the series that was taken in turns with it."""
    facts = summary(measured)
    return Figure(
        what,
        unit,
        facts["median"],
        (facts["p25"], facts["p75"]),
        baseline,
        statistics.median(against) if against else None,
        ratio(measured, against) if against else None,
        **rest,
    )


def result(figures: Sequence[Figure], **raw: Any) -> dict[str, Any]:
    """Return what a bench's `run` returns: rows for the table, and the raw series."""
    return {"figures": [figure.as_json() for figure in figures], **raw}


def number(value: float | None) -> str:
    """Return a number as a table shows it: three digits that count."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures of one bench as a Markdown table."""
    head = ("what", "measured", "p25 to p75", "against", "ratio", "target", "")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        spread = row.get("spread")
        base = row.get("baseline", "")
        if row.get("baseline_value") is not None:
            base += f" {number(row['baseline_value'])}"
        target = f"≤ {number(row['most'])}" if "most" in row else ""
        target = f"≥ {number(row['least'])}" if "least" in row else target
        verdict = {True: "reached", False: "**missed**", None: ""}[row.get("reached")]
        note = row.get("note", "")
        cells = (
            row["what"] + (f" ({note})" if note else ""),
            f"{number(row['value'])} {row['unit']}".strip(),
            f"{number(spread[0])} to {number(spread[1])}" if spread else "",
            base,
            number(row.get("ratio")),
            target,
            verdict,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
