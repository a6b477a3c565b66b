"""The documents say what the code does."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from bench import reliability
from wsrunner import settings
from wsrunner.errors import IdBusyError
from wsrunner.gates.base import GateState
from wsrunner.runs.events import Exit
from wsrunner.runs.job import Principal
from wsrunner.serving import monitor_words as monitor
from wsrunner.serving.metrics import Metrics

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wsrunner"

LAYERS = [
    {"commands.main"},
    {"commands", "serving.server"},
    {"commands.sources", "commands.mcp_tools", "images.supply"},
    {"client", "images"},
    {"serving.port"},
    {"serving.doors.app"},
    {"serving.doors.rest"},
    {"serving.doors.docker_run", "serving.doors.mcp", "serving.doors.piston"},
    {"serving.doors.mcp_ground"},
    {"serving.doors.runs"},
    {"serving.doors"},
    {"serving.entrance"},
    {"serving.connection"},
    {"serving.desk"},
    {
        "serving.json_session",
        "serving.piston_session",
        "serving.plain_session",
        "serving.seats",
        "serving.monitor",
    },
    {"serving.handshake", "serving.opening"},
    {"serving"},
    {"serving.answers"},
    {"webhooks.dispatch"},
    {"webhooks.sender", "webhooks.store"},
    {"webhooks.backlog"},
    {"webhooks"},
    {"rooms.hall"},
    {"rooms.link"},
    {"rooms.moves"},
    {"rooms.visitors", "rooms.writer"},
    {"rooms.pen"},
    {"rooms.store"},
    {"rooms.room", "rooms.seat"},
    {"rooms.home"},
    {"rooms.state"},
    {"rooms.runs"},
    {"rooms.entries"},
    {"live.house"},
    {"live.exchange"},
    {"live.visitors", "live.news"},
    {"live.kept", "live.followed"},
    {"live.letters", "live.store"},
    {"spaces.ledger"},
    {"spaces"},
    {"live.show"},
    {"live"},
    {"runs.registry"},
    {"runs.run"},
    {"runs.host"},
    {
        "runs.order",
        "runs.pool",
        "runs.input",
        "runs.output",
        "runs.announcer",
        "runs.files",
        "runs.workspaces",
    },
    {"runs.tasks", "runs.observers", "runs.verdict", "runs.stock"},
    {"runs.delivery", "runs.lines", "runs.memory"},
    {"runs"},
    {"engines.docker"},
    {"engines.dialogue.dialogue"},
    {"engines.dialogue", "engines.late", "gates.asked", "gates.outbox"},
    {"gates"},
    {"engines.base", "gates.lanes", "gates.positions", "gates.replica"},
    {"gates.base", "gates.turns", "gates.estimate", "images.contents"},
    {"tenants"},
    {"tools"},
    {"languages", "java", "starters", "settings", "protocol", "address", "late"},
    {"words.checks"},
    {"words.events", "words.requests", "words.rooms", "words.content"},
    {"words"},
    {"errors", "units", "names", "bucket"},
]
"""From the top down: a module imports only from its own layer and those below. A module that is not
named stands where its package does."""

ADAPTERS = {
    "aiohttp": {
        "engines.docker.asked",
        "engines.docker.engine",
        "engines.docker.images",
        "engines.docker.session",
        "serving.doors.app",
        "serving.doors.asgi",
        "serving.doors.asking",
        "serving.doors.body",
        "serving.doors.docker_run",
        "serving.doors.exchange",
        "serving.doors.forms",
        "serving.doors.hangup",
        "serving.doors.kept",
        "serving.doors.lists",
        "serving.doors.mcp",
        "serving.doors.pages",
        "serving.doors.piston",
        "serving.doors.readers",
        "serving.doors.rest",
        "serving.doors.runs",
        "serving.doors.tickets",
        "serving.doors.workspaces",
        "webhooks.sender",
    },
    "aiodocker": {
        "engines.docker.asked",
        "engines.docker.engine",
        "engines.docker.images",
        "engines.docker.session",
        "engines.docker.space",
    },
    "mcp": {"commands.mcp_tools", "serving.doors.mcp", "serving.doors.mcp_ground", "tools"},
    "jwt": {"serving.signed"},
    "redis": {
        "gates.asked",
        "gates.operator",
        "gates.redis",
        "gates.wire",
    },
    "websockets": {
        "serving.port",
        "serving.entrance",
        "serving.handshake",
        "serving.json_session",
        "serving.piston_session",
        "serving.plain_session",
        "serving.outlet",
        "serving.connection",
        "serving.monitor",
        "client.connection",
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
    exited = Exit(
        seq=1, stage="run", reason="exited", code=0, signal=None, queued_s=0, wall_s=0,
        cpu_s=None, memory_bytes=None, output_bytes=0, truncated=False,
    )  # fmt: skip
    metrics.ended(SimpleNamespace(language="python", principal=Principal("", "school")), exited)
    metrics.refused(IdBusyError(""))
    gate = GateState(slots=1, held=0, waiting=0, queue_max=1)
    shown = metrics.render(
        gate=gate, warm={("image", False): 1}, pool_hits=0, pool_misses=0, workspaces=0
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
    types += [monitor.ForgetWorkspace, monitor.DiscardRun, monitor.CloseRoom]
    for text, kind in zip(texts, types, strict=True):
        assert list(json.loads(text)) == ["type", *kind.__struct_fields__]
        message = msgspec.json.decode(text, type=kind)
        assert msgspec.to_builtins(message) == json.loads(text)


def test_the_readme_gives_the_measured_latency():
    figures = json.loads(read("bench/results/ahead.json"))["figures"]
    ratios = {
        figure["what"]: f"{figure['ratio']:.2f}".rstrip("0")
        for figure in figures
        if figure.get("baseline") == "bare"
    }
    text = " ".join(read("README.md").split())
    assert (
        f"takes {ratios['python, first line']} times as long to arrive as from a bare "
        f"`python3` process on the same machine, and its exit {ratios['python, exit']} "
        "times as long"
    ) in text


def dotted(module: Path) -> str:
    """A module's path below the package, as it is imported."""
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    dotted(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or path.name != "__init__.py"
}


def imports(module: Path) -> set[str]:
    """The dotted names a module imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(module: Path) -> set[str]:
    """The modules of the package that a module imports from."""
    found = set()
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "wsrunner":
            known = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
            found |= {next((path for path in known if path in MODULES), "")} - {""}
    return found


def rank(module: str) -> int:
    """Where a module stands, by its own name or the nearest package that is named."""
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    rows = {name: row for row, layer in enumerate(LAYERS) for name in layer}
    named = next((name for name in names if name in rows), None)
    assert named, f"give {module} a place in LAYERS"
    return rows[named]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str):
    for name in imported_modules(MODULES[module]):
        assert rank(name) >= rank(module), f"{module} imports {name}, which is above it"


def test_every_layer_is_of_modules_that_are_there():
    assert {name for layer in LAYERS for name in layer} <= set(MODULES)


@pytest.mark.parametrize("package", sorted(ADAPTERS))
def test_only_adapters_know_a_foreign_package(package: str):
    knowing = {
        name
        for name, module in MODULES.items()
        if any(imported.split(".")[0] == package for imported in imports(module))
    }
    assert knowing == ADAPTERS[package]


def test_every_test_that_security_md_names_is_there():
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", read("docs/security.md"))
    assert named
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", read(f"tests/{file}"), re.MULTILINE), test


def test_reliability_md_is_made_from_the_results():
    expected = reliability.markdown(ROOT / "bench" / "results")
    assert read("docs/reliability.md") == expected, "run `python -m bench fuzz` (or soak)"
