"""``python -m bench``: list the benches; run one, or all, and write tables.

A bench is a module of this package with NAME, HELP and ``run(out)``, which returns a dictionary for
``results/NAME.json``; its ``figures`` (see `kit.Figure`) become rows of the table. `run` may also
take ``quick`` (a fraction of the time, for a look) and ``runs`` (how often to measure). One that is
APART is none of all: it looks for faults, and takes as long as it is told to.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import bench
from bench import kit, picture, reliability

FACTS = frozenset({"bench", "help", "at", "took_s", "quick", "machine"})
"""What is added to what a bench returns."""


def find() -> dict[str, ModuleType]:
    """Return the benches by name."""
    found = {}
    for entry in pkgutil.iter_modules(bench.__path__):
        if entry.name != "__main__":
            module = importlib.import_module(f"bench.{entry.name}")
            if hasattr(module, "NAME") and hasattr(module, "HELP"):
                found[module.NAME] = module
    return found


def measure(module: ModuleType, out: Path, options: Mapping[str, Any]) -> None:
    """Run one bench, write its JSON and print its table."""
    print(f"{module.NAME}: {module.HELP}", flush=True)
    taken = inspect.signature(module.run).parameters
    begun_s = time.monotonic()
    measured = module.run(out, **{name: options[name] for name in options if name in taken})
    facts = {
        "bench": module.NAME,
        "help": module.HELP,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "took_s": round(time.monotonic() - begun_s, 1),
        "quick": options["quick"],
        "machine": kit.machine(),
    }
    file = out / f"{module.NAME}.json"
    file.write_text(json.dumps(facts | measured, indent=1, default=str) + "\n")
    print(f"\n{_table(measured)}\n\n{file} after {facts['took_s']} s\n", flush=True)


def _table(measured: Mapping[str, Any]) -> str:
    """Return the figures as a table; of a bench without figures, all its numbers."""
    if "figures" in measured:
        return kit.markdown(measured["figures"])
    own = {name: value for name, value in measured.items() if name not in FACTS}
    return kit.markdown([{"what": what, "value": value, "unit": ""} for what, value in _flat(own)])


def _flat(values: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number with its place: ``queues, 10, ping_us, p50``."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}, ")
        elif isinstance(value, (int, float)):
            yield f"{above}{name}", value


def write_tables(out: Path) -> None:
    """Write ``README.md`` beside the JSON files: every bench's table and where it was taken."""
    parts = [
        "# Results\n\nWritten by `python -m bench`; `bench/README.md` says what the rows mean.\n"
    ]
    for file in sorted(out.glob("*.json")):
        found = json.loads(file.read_text())
        if "bench" not in found:
            continue
        machine = found["machine"]
        engine = machine["engine"]
        place = (
            f"{machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, "
            f"Docker {engine.get('Engine', '?')}, runc {engine.get('runc', '?')}, "
            f"Python {machine['python']}, load {machine['load_1min']} after the bench"
        )
        quick = "; a quick run" if found["quick"] else ""
        parts.append(f"## {found['bench']}\n\n{found['help']}\n\n{_table(found)}\n")
        parts.append(f"{found['at']}, {found['took_s']} s{quick}: {place}.\n")
    (out / "README.md").write_text("\n".join(parts))


def main() -> None:
    """Run the command line."""
    benches = find()
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure wsrunner.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a bench, or all")
    parser.add_argument("--quick", action="store_true", help="a fraction of the time, for a look")
    parser.add_argument(
        "--runs", "--count", type=int, help="how often to measure, or to try (fuzz, soak)"
    )
    parser.add_argument("--out", type=Path, default=kit.RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    if not arguments.names:
        for name, module in benches.items():
            print(f"{name:12}{module.HELP}")
        print("\npython -m bench NAME [--quick] [--runs N], or all")
        return
    every = [name for name, module in benches.items() if not getattr(module, "APART", False)]
    names = every if arguments.names == ["all"] else arguments.names
    if unknown := set(names) - set(benches):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(benches)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        options = {"quick": arguments.quick, "runs": arguments.runs}
        try:
            measure(benches[name], arguments.out, options)
        except Exception as exc:
            if len(names) == 1:
                raise
            failed.append(name)
            print(f"{name} failed: {exc!r}", file=sys.stderr)
    write_tables(arguments.out)
    picture.write(arguments.out)
    if arguments.out == kit.RESULTS:
        reliability.DOCUMENT.write_text(reliability.markdown(kit.RESULTS))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
