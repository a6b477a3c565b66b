"""Which Debian packages an image has: read when it is built, and kept as a label on it.

Owns the label's form and what is added to a recipe. Pure but for reading a tar file.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from wsrunner.errors import SetupError
from wsrunner.languages import Recipe

PACKAGES_LABEL = "wsrunner.packages"
"""``name=version …``: what is there beside the base system."""
WITH_LABEL = "wsrunner.with"
"""What was added to the recipe, by name."""
_STATUS = "var/lib/dpkg/status"
_BASE = frozenset({"required", "important"})
# Debian policy 5.6.1; a version has no space (5.6.12).
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")


class Package(NamedTuple):
    """One Debian package that an image has."""

    name: str
    version: str


def check(packages: Sequence[str]) -> None:
    """Check that these can be Debian packages.

    Raises:
        SetupError: One of them is no name of one.
    """
    for name in packages:
        if not _NAME.match(name):
            raise SetupError(
                f"{name!r} is no name of a Debian package: small letters, digits, +, . and -"
            )


def extended(recipe: Recipe, packages: Sequence[str]) -> Recipe:
    """Return a recipe with further packages.

    Raises:
        SetupError: See `check`.
    """
    check(packages)
    further = dict.fromkeys(packages)
    return msgspec.structs.replace(
        recipe,
        packages=(*recipe.packages, *(name for name in further if name not in recipe.packages)),
    )


def changes(added: Sequence[str], packages: Sequence[Package]) -> tuple[str, ...]:
    """Return the image's labels, and the environment that what is in it needs."""
    listed = " ".join(f"{name}={version}" for name, version in packages)
    found = [f'LABEL {PACKAGES_LABEL}="{listed}"']
    if added:
        found.append(f'LABEL {WITH_LABEL}="{" ".join(added)}"')
    if any(name == "python3-matplotlib" for name, _ in packages):
        # Without a display: plots go to files.
        found.append("ENV MPLBACKEND=Agg")
    return tuple(found)


def packages_of(labels: Mapping[str, str]) -> list[Package] | None:
    """Return what an image has beside the base system; None if it does not say."""
    listed = labels.get(PACKAGES_LABEL)
    if listed is None:
        return None
    return [Package(*entry.split("=", 1)) for entry in listed.split() if "=" in entry]


def added_to(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return what was added to the recipe of an image."""
    return tuple(labels.get(WITH_LABEL, "").split())


def installed(root: Path) -> list[Package]:
    """Return what a root file system's tar has beside the base system, by name."""
    with tarfile.open(root) as tar:
        for member in tar:
            if member.name.removeprefix("./") == _STATUS:
                status = tar.extractfile(member)
                assert status is not None
                return _packages(status.read().decode(errors="replace"))
    return []


def os_release(text: str) -> dict[str, str]:
    """Return what os-release(5) says of a system, by its names."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            values[key] = value.strip("\"'")
    return values


def stanzas(status: str) -> Iterator[dict[str, str]]:
    """Yield what dpkg's status says of each package that is installed, fields of one line alone."""
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^(\S+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield fields


def _packages(status: str) -> list[Package]:
    return sorted(
        Package(fields["Package"], fields["Version"])
        for fields in stanzas(status)
        if fields.get("Essential") != "yes" and fields.get("Priority") not in _BASE
    )
