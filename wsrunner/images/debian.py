"""The Debian side of local images: package sources, a base system, and root file systems from it.

Owns the calls of ``mmdebstrap`` and the cache directory. Must not know about engines or languages.

A base system of the essential packages is made once (15 s) and kept for a day with its package
lists; each image is that base, unpacked, plus its packages (4 to 25 s). Downloaded packages are
kept and shared by hard links. Everything runs as root, in mmdebstrap's own mount namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from wsrunner.errors import SetupError
from wsrunner.images import contents, processes

BASE_MAX_AGE_S = 24 * 3600.0
"""Older package lists may name packages that the mirror no longer has."""

# Documentation is a third of a base system, and nothing in a container reads it. Licences stay.
_DPKG_OPTIONS = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
"""
_APT_OPTIONS = """\
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
"""
# How this machine reaches its mirror: proxies, certificates, addresses, a clock that is off.
_APT_NETWORK = re.compile(
    r"^Acquire::(?:(?:https?|ftp)::|Retries |ForceIPv|Check-Date |Check-Valid-Until )"
)
# As in the glot images: the user's number and name, and where programs run. man1, for Java's
# packages put a link into it and fail if dpkg was told to leave it out.
_ADD_USER = """\
echo glot:x:1000: >>"$1/etc/group"
echo glot:x:1000:1000::/home/glot:/bin/bash >>"$1/etc/passwd"
echo 'glot:*:19000:0:99999:7:::' >>"$1/etc/shadow"
mkdir -p "$1/home/glot" "$1/usr/share/man/man1"
chown 1000:1000 "$1/home/glot"
"""
# Nothing is ever installed into a finished image, and a proxy's password must not be in it.
# mmdebstrap removes 00mmdebstrap itself and fails if it is gone.
_STRIP = """\
find "$1/etc/apt" -type f ! -name 00mmdebstrap -delete
rm -rf "$1"/var/lib/apt "$1"/var/cache/apt "$1"/var/cache/debconf "$1"/var/log/*
rm -rf "$1"/usr/share/man "$1"/usr/share/info "$1"/var/lib/dpkg/*-old
rm -f "$1"/etc/resolv.conf "$1"/etc/hostname
"""


# What mmdebstrap says it begins, and what is shown for it.
_STAGES = {
    "running apt-get update": "reading package lists",
    "downloading packages": "downloading packages",
    "extracting archives": "unpacking",
    "installing essential": "configuring",
    "creating tarball": "packing",
}


def cache_directory() -> Path:
    """Return where base systems and packages are kept."""
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home) / "wsrunner" if home else Path("/var/cache/wsrunner")


def check() -> None:
    """Check that images can be built here.

    Raises:
        SetupError: They can't; the message says what to do.
    """
    if not shutil.which("apt-get"):
        raise SetupError(
            "local images are built from Debian packages, and there is no apt-get here"
        )
    if not shutil.which("mmdebstrap"):
        raise SetupError(
            "mmdebstrap is missing: `wsrunner setup --with-deps` or "
            "`apt-get install mmdebstrap` installs it"
        )
    if os.geteuid() != 0:
        raise SetupError("building images needs root: put `sudo` before the command")


def sources(etc: Path = Path("/etc")) -> str:
    """Return this machine's Debian sources, one line each as in ``sources.list``.

    Only the main component of Debian's own archives counts, not what others offer beside it.

    Raises:
        SetupError: This is no Debian, or its sources name no archive of its release.
    """
    release: dict[str, str] = {}
    with contextlib.suppress(OSError):
        release = contents.os_release((etc / "os-release").read_text(encoding="utf-8"))
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not codename:
        raise SetupError(
            "local images can only be built on Debian, from its packages; this system is not Debian"
        )
    suites = {codename, f"{codename}-updates", f"{codename}-security", f"{codename}/updates"}
    found: list[str] = []
    files = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix == ".sources":
            entries = _deb822(text)
        elif file.suffix == ".list":
            entries = _one_line(text)
        else:
            continue
        for options, uri, suite, components in entries:
            path = urlsplit(uri).path.split("/")
            official = "debian" in path or "debian-security" in path
            if suite in suites and official and "main" in components:
                line = f"deb {options + ' ' if options else ''}{uri} {suite} main"
                if line not in found:
                    found.append(line)
    if not any(f" {codename} main" in line for line in found):
        raise SetupError(
            f"the package sources in {etc}/apt name no archive of Debian {codename}: local images "
            "can't be built without one"
        )
    return "".join(line + "\n" for line in found)


_Entry = tuple[str, str, str, Sequence[str]]
"""Options in brackets or nothing, URI, suite, components."""


def _one_line(text: str) -> list[_Entry]:
    entries: list[_Entry] = []
    for line in text.splitlines():
        match = re.match(r"deb\s+(\[[^]]*\])?\s*(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if match:
            entries.append((match[1] or "", match[2], match[3], match[4].split()))
    return entries


def _deb822(text: str) -> list[_Entry]:
    """Read the format of sources.list(5), "DEB822-STYLE FORMAT"."""
    entries: list[_Entry] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in {" ", "\t"} and key:
                fields[key] += "\n" + line.strip()
            else:
                name, _, value = line.partition(":")
                key = name.strip().lower()
                fields[key] = value.strip()
        if fields.get("enabled", "yes") == "no" or "deb" not in fields.get("types", "").split():
            continue
        signed = fields.get("signed-by", "")
        options = f"[signed-by={signed}]" if signed.startswith("/") and " " not in signed else ""
        entries += [
            (options, uri, suite, fields.get("components", "").split())
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return entries


class _DownloadError(SetupError):
    """Packages could not be had."""


class Debian:
    """Makes root file systems, one process at a time on this machine.

    ``async with Debian() as debian`` waits for the cache's lock and makes it this process's.

    Args:
        on_wait: Called if another process has the cache.
    """

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self._on_wait = on_wait
        self._cache = cache_directory()
        self._lock = -1
        self._base: Path | None = None
        self._base_fresh = False
        self._base_lock = asyncio.Lock()
        self._work = Path()

    async def __aenter__(self) -> Self:
        check()
        try:
            (self._cache / "packages").mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as exc:
            raise SetupError(f"can't use {self._cache}: {exc.strerror}") from exc
        waited = False
        while True:
            # Polled, for a blocking flock in a thread could not be cancelled.
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    self._on_wait()
                waited = True
                await asyncio.sleep(0.2)
            else:
                break
        for left in self._cache.glob("work-*"):
            shutil.rmtree(left, ignore_errors=True)
        # Beside the packages, so that these can be hard links; /tmp may be small or noexec.
        self._work = Path(tempfile.mkdtemp(prefix="work-", dir=self._cache))
        # apt drops to the user _apt for its downloads.
        self._work.chmod(0o755)
        return self

    @property
    def downloads(self) -> Path:
        """Where what does not come from Debian is kept."""
        return self._cache / "downloads"

    async def __aexit__(self, *exc: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        os.close(self._lock)

    async def root(
        self,
        name: str,
        packages: Sequence[str],
        commands: Sequence[str],
        on_stage: Callable[[str], None],
        unpacking: Sequence[str] = (),
    ) -> Path:
        """Make a tar file of a root file system; it lasts until the context is left.

        Args:
            name: For the file's name.
            packages: Debian packages to install.
            commands: Shell lines to run in it as root afterwards.
            on_stage: Called with what is being done.
            unpacking: Shell lines to run on this machine before those, with the root as ``$1``.

        Raises:
            SetupError: It failed; the message ends with mmdebstrap's last words.

        Cancelling is safe: the work is undone.
        """
        hooks = [
            *map(_customize, unpacking),
            *(f'--customize-hook=chroot "$1" sh -ec {shlex.quote(line)}' for line in commands),
        ]
        base, fresh = await self._base_system(None, on_stage)
        try:
            return await self._from_base(base, name, packages, hooks, on_stage)
        except _DownloadError:
            if fresh:
                raise
        # The kept lists may name packages that the mirror has replaced: once more with new ones.
        base, _ = await self._base_system(base, on_stage)
        return await self._from_base(base, name, packages, hooks, on_stage)

    async def _base_system(
        self, stale: Path | None, on_stage: Callable[[str], None]
    ) -> tuple[Path, bool]:
        """Return the base system's tar file, and whether it was made in this context.

        Args:
            stale: One that did not do; None at first.
            on_stage: Called with what is being done.
        """
        async with self._base_lock:
            if self._base is None or (stale is not None and not self._base_fresh):
                self._base, self._base_fresh = await self._make_base(stale, on_stage)
            return self._base, self._base_fresh

    async def _make_base(
        self, stale: Path | None, on_stage: Callable[[str], None]
    ) -> tuple[Path, bool]:
        """Find one that is kept, or make it; return it and whether it was made."""
        source_list = sources()
        apt_options = _APT_OPTIONS + await asyncio.to_thread(_apt_network)
        recipe = source_list + apt_options + _DPKG_OPTIONS + _ADD_USER
        key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        base = self._cache / f"base-{key}.tar"
        kept = base.exists() and time.time() - base.stat().st_mtime < BASE_MAX_AGE_S
        if kept and stale is None:
            return base, False
        for old in self._cache.glob("base-*.tar"):
            old.unlink()
        on_stage("base system")
        for file, text in (
            ("sources.list", source_list),
            ("apt.conf", apt_options),
            ("dpkg.cfg", _DPKG_OPTIONS),
        ):
            (self._work / file).write_text(text, encoding="utf-8")
        made = self._work / "base.tar"
        await self._mmdebstrap(
            "--variant=essential",
            # Left with its lists, for the images to install from.
            "--skip=cleanup/apt/lists",
            # Else usrmerge comes to do it, and all of Perl with it (46 MB).
            "--include=usr-is-merged",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            f"--aptopt={self._work / 'apt.conf'}",
            f"--dpkgopt={self._work / 'dpkg.cfg'}",
            _customize(_ADD_USER),
            "",
            str(made),
            str(self._work / "sources.list"),
            on_stage=lambda text: on_stage(f"base system: {text}"),
        )
        made.replace(base)
        return base, True

    async def _from_base(
        self,
        base: Path,
        name: str,
        packages: Sequence[str],
        customize: Sequence[str],
        on_stage: Callable[[str], None],
    ) -> Path:
        target = self._work / f"{name}.tar"
        kept = shlex.quote(str(self._cache / "packages"))
        archives = '"$1/var/cache/apt/archives/"'
        hooks = [
            f'--setup-hook=tar -C "$1" --anchored --exclude=./dev -xf {shlex.quote(str(base))}',
            # mmdebstrap's own, empty of sources because none are given here.
            '--setup-hook=rm -f "$1/etc/apt/sources.list"',
            f"--setup-hook=mkdir -p {archives}partial",
            f"--setup-hook=find {kept} -name '*.deb' -exec cp -lt {archives} {{}} +",
            f"--customize-hook=find {archives} -name '*.deb' -exec cp -lnt {kept} {{}} +",
            *customize,
            _customize(_STRIP),
        ]
        await self._mmdebstrap(
            "--variant=custom",
            "--skip=update,essential/unlink,cleanup/apt",
            *((f"--include={','.join(packages)}",) if packages else ()),
            *hooks,
            "",
            str(target),
            on_stage=on_stage,
        )
        return target

    async def _mmdebstrap(self, *arguments: str, on_stage: Callable[[str], None]) -> None:
        last: deque[str] = deque(maxlen=12)
        stage = ""
        async with processes.running(
            "mmdebstrap", "--mode=root", *arguments, env={**os.environ, "TMPDIR": str(self._work)}
        ) as process:
            assert process.stderr is not None
            async for raw in process.stderr:
                line = raw.decode(errors="replace").rstrip()
                last.append(line[: processes.LINE_MAX])
                for words, shown in _STAGES.items():
                    if line.startswith(f"I: {words}"):
                        stage = shown
                        on_stage(stage)
            code = await process.wait()
        if code != 0:
            kind = _DownloadError if stage.startswith("downloading") else SetupError
            raise kind("mmdebstrap failed:\n  " + "\n  ".join(last))


def _customize(script: str) -> str:
    """Make a hook of a script; on one line, for mmdebstrap looks whether it is a file's name."""
    return "--customize-hook=" + "; ".join(["set -e", *script.splitlines()])


def _apt_network() -> str:
    """Return this machine's apt options that a download needs."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    lines = [line for line in dump.stdout.splitlines() if _APT_NETWORK.match(line)]
    return "".join(line + "\n" for line in lines if not line.endswith('"";'))
