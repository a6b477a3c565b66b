"""``docs/reliability.md``: what `fuzz` and `soak` found, from their results."""

from __future__ import annotations

import json
from pathlib import Path

from bench import kit

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
HEAD = """# Reliability

<!-- made by `python -m bench fuzz` and `python -m bench soak`; a test holds it to their results -->

What was tried to break it, and what was found. A share of both runs with the tests.
"""
WHAT = {
    "fuzz": """Messages, WebSocket frames, HTTP requests, frames of the engine's attach stream,
reports of the bootstrap, journals and archives, most of them spoilt by chance. A crash, a hang, a
lost byte or another exception than the documented ones counts.""",
    "soak": """Runs of many kinds over three replicas that share a Redis, while replicas are
killed or stand still for longer than their lease, Redis loses all it has, and containers are killed
or paused. Clients cancel and hang up. Lost is a run whose client was told nothing for 90 s on a
connection that lived.""",
}


def markdown(results: Path) -> str:
    """Return the document from a folder of results."""
    parts = [HEAD]
    for name, what in WHAT.items():
        file = results / f"{name}.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text())
        machine = found["machine"]
        table = kit.markdown(found["figures"])
        parts.append(f"## `python -m bench {name}`\n\n{what}\n\n{table}\n")
        parts.append(
            f"{found['at']}, {found['took_s']} s: {machine['cores']} cores ({machine['cpu']}), "
            f"Linux {machine['kernel']}, Docker {machine['engine'].get('Engine', '?')}, "
            f"Python {machine['python']}, load {machine['load_1min']} at the end.\n"
        )
        if "ends" in found:
            ends = ", ".join(f"{end} {count}" for end, count in sorted(found["ends"].items()))
            parts.append(f"How the runs ended: {ends}.\n")
    return "\n".join(parts)
