"""The documents say what the code does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from wsrunner import settings

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
