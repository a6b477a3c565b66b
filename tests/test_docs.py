"""The documents say what the code does."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import msgspec
import pytest

from wsrunner import monitor, protocol, settings
from wsrunner.gates.base import GateState
from wsrunner.metrics import Metrics

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wsrunner"

LAYERS = [
    {"cli"},
    {"server", "console", "dashboard", "setup"},
    {"images"},
    {"client", "services"},
    {"http", "session", "monitor"},
    {"outlet", "static_files"},
    {"run"},
    {"order", "pool", "metrics"},
    {"stock", "engines", "gates", "asyncapi", "rate", "debian", "progress"},
    {"settings", "languages", "protocol", "lines", "sources", "address"},
    {"errors"},
]
"""From the top down: a module imports only from its own layer and those below."""

ADAPTERS = {
    "aiodocker": {"engines/docker.py", "engines/docker_images.py"},
    "redis": {"gates/redis.py"},
    "websockets": {
        "server.py",
        "http.py",
        "session.py",
        "outlet.py",
        "monitor.py",
        "client.py",
    },
}
"""Foreign packages, and the only modules that know them."""


def test_settings_md_is_made_from_the_declarations():
    expected = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings.markdown() == expected, "run `python -m wsrunner.settings > docs/settings.md`"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_metrics_md_lists_what_metrics_show():
    metrics = Metrics()
    exited = protocol.Exit(
        run="r", stage="run", reason="exited", code=0, signal=None, queued_ms=0, wall_ms=0,
        cpu_ms=None, memory_kb=None, output_bytes=0, truncated=False,
    )  # fmt: skip
    metrics.count_exit("python", exited)
    metrics.count_refused("busy")
    gate = GateState(slots=1, held=0, waiting=0, queue_max=1)
    shown = metrics.render(
        gate=gate, warm={("image", False): 1}, pool_hits=0, pool_misses=0
    ).decode()
    expected = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", shown, re.MULTILINE):
        labels = re.search(rf"^{name}(?:_bucket)?\{{(.*)\}}", shown, re.MULTILINE)
        names = re.findall(r'(\w+)="', labels[1]) if labels else []
        expected[name] = (kind, [label for label in names if label != "le"])
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?)\| ", read("docs/metrics.md"), re.MULTILINE)
    listed = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    assert listed == expected


def test_protocol_md_shows_the_monitor_s_messages_whole():
    section = read("docs/protocol.md").partition("\n## Monitor")[2]
    blocks = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    texts = [*blocks[:2], *blocks[2].splitlines()]
    types = [monitor.State, monitor.EndedRun, monitor.CancelRun, monitor.SetSlots]
    for text, kind in zip(texts, types, strict=True):
        assert list(json.loads(text)) == ["type", *kind.__struct_fields__]
        message = msgspec.json.decode(text, type=kind)
        assert msgspec.to_builtins(message) == json.loads(text)


def test_the_readme_gives_the_measured_latency():
    figures = json.loads(read("bench/results/latency.json"))["figures"]
    ratios = {
        figure["what"]: f"{figure['ratio']:.2f}".rstrip("0")
        for figure in figures
        if figure.get("baseline") == "bare"
    }
    text = " ".join(read("README.md").split())
    assert (
        f"takes {ratios['python warm, first line']} times as long to arrive as from a bare "
        f"`python3` process on the same machine, and its exit {ratios['python warm, exit']} "
        "times as long"
    ) in text


def imports(module: Path) -> set[str]:
    """The names a module imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(module: Path):
    rank = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    own = module.relative_to(PACKAGE).with_suffix("").parts[0]
    assert own in rank, f"give {own} a place in LAYERS"
    for name in imports(module):
        parts = name.split(".")
        if parts[0] != "wsrunner" or parts[1] not in rank:
            continue
        assert rank[parts[1]] >= rank[own], f"{own} imports {parts[1]}, which is above it"


@pytest.mark.parametrize("package", sorted(ADAPTERS))
def test_only_adapters_know_a_foreign_package(package: str):
    knowing = {
        str(module.relative_to(PACKAGE))
        for module in MODULES
        if any(name.split(".")[0] == package for name in imports(module))
    }
    assert knowing == ADAPTERS[package]
