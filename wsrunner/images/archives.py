"""Toolchains that Debian has not: packages of PyPI and npm, pinned by hash, for local images.

Owns the calls of ``pip`` and ``npm``, whose own configuration says which index is asked, and how:
variables such as PIP_INDEX_URL and npm_config_registry, their files, proxies, certificates.
Must not know about engines or languages' commands.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from wsrunner.errors import SetupError
from wsrunner.images import processes
from wsrunner.languages import Archive

_TOLD_LINES = 12
_TITLES = {"pypi": "PyPI", "npm": "npm"}
_CLIENTS = {"pypi": ("pip", "python3-pip"), "npm": ("npm", "npm")}
"""A registry's client, and the Debian package that has it."""


def missing_packages(archives: Iterable[Archive]) -> tuple[str, ...]:
    """Return the Debian packages to install before these archives can be downloaded."""
    registries = dict.fromkeys(archive.registry for archive in archives)
    return tuple(_CLIENTS[registry][1] for registry in registries if not _client(registry))


def _client(registry: str) -> list[str]:
    """Return the command that downloads from it; empty if there is none here."""
    # Of this interpreter, wherever it has pip: one on the PATH need not be of this environment.
    if registry == "pypi" and importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3" if registry == "pypi" else "npm")
    return [found] if found else []


async def fetch(archive: Archive, cache: Path, on_stage: Callable[[str], None]) -> Path:
    """Return the archive's file: the one that is kept, or else downloaded now.

    Args:
        archive: Which.
        cache: The directory in which downloads are kept, by hash.
        on_stage: Called with what is being done.

    Raises:
        SetupError: The registry's client is missing or failed, or what it got has another hash.

    Cancelling is safe: nothing half done is kept.
    """
    for digest in archive.sha256:
        kept = cache / digest
        if kept.exists() and await asyncio.to_thread(_digest, kept) == digest:
            return kept
    on_stage(f"downloading {archive.name} {archive.version} from {_TITLES[archive.registry]}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=cache) as folder:
            got = await _download(archive, Path(folder))
            digest = await asyncio.to_thread(_digest, got)
            if digest not in archive.sha256:
                raise SetupError(
                    f"{got.name} from {_TITLES[archive.registry]} has SHA-256 {digest} where the "
                    f"recipe has {' or '.join(archive.sha256)}: it is not used"
                )
            return got.rename(cache / digest)
    except OSError as exc:
        raise SetupError(f"can't keep downloads in {cache}: {exc.strerror}") from exc


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _download(archive: Archive, folder: Path) -> Path:
    """Let the registry's client put its file into an empty folder; return it."""
    client = _client(archive.registry)
    title = f"{archive.name} {archive.version} from {_TITLES[archive.registry]}"
    if not client:
        tool, package = _CLIENTS[archive.registry]
        raise SetupError(
            f"{title} needs {tool}: `wsrunner setup --with-deps` or `apt-get install {package}` "
            "installs it"
        )
    if archive.registry == "pypi":
        arguments = ["download", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
        arguments += ["--no-deps", "--only-binary=:all:", f"--dest={folder}"]
        arguments += [f"{archive.name}=={archive.version}"]
    else:
        arguments = ["pack", "--ignore-scripts", "--loglevel=error"]
        arguments += [f"--pack-destination={folder}", f"{archive.name}@{archive.version}"]
    said: deque[str] = deque(maxlen=_TOLD_LINES)
    async with processes.running(*client, *arguments, env=os.environ) as process:
        assert process.stderr is not None
        async for raw in process.stderr:
            said.append(raw.decode(errors="replace").rstrip()[: processes.LINE_MAX])
        code = await process.wait()
    files = list(folder.iterdir())
    if code != 0 or len(files) != 1:
        raise SetupError(f"can't download {title}:\n  " + "\n  ".join(said))
    return files[0]


def unpacking(archive: Archive, file: Path) -> str:
    """Return a shell line that unpacks the file into ``/opt/<name>`` of the root that is ``$1``.

    A wheel is unpacked as it is; its files lose their modes. An npm package stands in one folder,
    ``package``, which is left out.
    """
    source, target = shlex.quote(str(file)), f'"$1"/opt/{shlex.quote(archive.name)}'
    if archive.registry == "pypi":
        unpack = f"{shlex.quote(sys.executable)} -m zipfile -e {source} {target}"
    else:
        unpack = f"tar -C {target} --no-same-owner --strip-components=1 -xzf {source}"
    return f"mkdir -p {target}; {unpack}"
