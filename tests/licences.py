"""The licences of all that wsrunner is made of: ``python -m tests.licences`` lists them."""

import json
import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
WELL_KNOWN = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""Classifiers of PyPI that say the same as an SPDX expression."""


def locked():
    """Return the Python packages of requirements.lock that are installed, with versions."""
    text = (ROOT / "requirements.lock").read_text()
    found = {}
    for name in re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE):
        try:
            found[name] = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # for another system or Python
    return found


def of_python():
    """Return package → licence, as its metadata tell (PEP 639, else its classifiers)."""
    licences = {}
    for name, facts in locked().items():
        classifiers = [
            line.rpartition(" :: ")[2]
            for line in facts.get_all("Classifier") or ()
            if line.startswith("License :: ")
        ]
        # Not by []: importlib_metadata, where something imports it, raises for what is not there.
        told = facts.get("License-Expression") or next(iter(classifiers), None)
        told = told or facts.get("License")
        licences[name] = WELL_KNOWN.get(told, (told or "").splitlines()[0] if told else "unknown")
    return licences


def of_the_browser():
    """Return package → licence by the lock file of npm, those for development left out."""
    packages = json.loads((ROOT / "static" / "package-lock.json").read_text())["packages"]
    return {
        name.rpartition("node_modules/")[2]: facts.get("license", "unknown")
        for name, facts in packages.items()
        if name and not facts.get("dev")
    }


def main():
    for where, licences in (("Python", of_python()), ("browser", of_the_browser())):
        print(f"{where}:")  # noqa: T201
        for name, licence in sorted(licences.items()):
            print(f"  {name:32}{licence}")  # noqa: T201


if __name__ == "__main__":
    main()
