"""Makes a machine ready: engine, tools, images; says what it does, or what a person should do.

Owns installing from the distribution and starting ``dockerd``. An engine that answers is never
touched, nor is an image that is present. Must not import click.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsrunner.engines.docker import images as docker_images
from wsrunner.errors import EngineUnavailableError, SetupError
from wsrunner.images import archives, supply
from wsrunner.images import services as service_images

if TYPE_CHECKING:
    from wsrunner.images.progress import Progress
    from wsrunner.languages import Catalogue, Language

DEFAULT_LANGUAGES = ("python", "javascript", "c", "cpp", "bash")
ENGINE_PACKAGES = ("docker.io", "ca-certificates")
BUILD_PACKAGES = ("mmdebstrap",)
ENGINE_LOG = Path("/var/log/wsrunner-dockerd.log")
ENGINE_START_S = 60.0
_TAIL_LINES = 15


async def prepare(
    catalogue: Catalogue,
    languages: Sequence[Language],
    progress: Progress,
    *,
    with_deps: bool,
) -> bool:
    """Make engine and images ready; does nothing where they are.

    Args:
        catalogue: Has the recipes.
        languages: Those that need an image.
        progress: Where it says what it does.
        with_deps: Install what is missing and start the engine; if False, only say what is missing.

    Returns:
        Whether anything had to be done.

    Raises:
        SetupError: Something is missing and was not, or could not be, made ready.
    """
    changed = await _engine(progress, with_deps=with_deps)
    async with supply.engine() as docker:
        present = await docker_images.images(docker)
        missing = [language for language in languages if language.choose(present) is None]
        if not missing:
            return changed
        if not with_deps:
            names = " ".join(language.id for language in missing)
            raise SetupError(
                f"no image for {names}; `wsrunner setup --with-deps {names}` pulls or builds them"
            )

        async def tools(languages: Sequence[Language]) -> None:
            recipes = filter(None, map(catalogue.recipe, languages))
            needed = (archive for recipe in recipes for archive in recipe.archives)
            await _build_tools(progress, archives.missing_packages(needed))

        await supply.prepare(docker, catalogue, missing, progress, before_build=tools)
    return True


async def services(
    progress: Progress, *, local: bool, rebuild: bool, with_deps: bool
) -> dict[str, str]:
    """Choose the images of compose.yml; build local ones where no registry answers.

    Args:
        progress: Where it says what it does.
        local: Choose local images without asking a registry.
        rebuild: Build present local images again.
        with_deps: Install what is missing and start the engine; if False, only say what is missing.

    Returns:
        The image by compose.yml's variable for it.

    Raises:
        SetupError: Something is missing and was not, or could not be, made ready.
    """
    await _engine(progress, with_deps=with_deps)
    known = service_images.load()
    async with supply.engine() as docker:
        if not local:
            if await docker_images.registry_answers(docker, known[0].image):
                return {one.variable: one.image for one in known}
            progress.say(f"no registry answers for {known[0].image}: using local images")
        present = await docker_images.images(docker)
        todo = list(known) if rebuild else supply.missing_services(known, present)
        if todo:
            if with_deps:
                await _build_tools(progress)
            await supply.build_services(docker, todo, progress)
    return {one.variable: one.local_image for one in known}


async def _build_tools(progress: Progress, further: Sequence[str] = ()) -> None:
    """Install what builds need, and these packages."""
    missing = (*(() if shutil.which("mmdebstrap") else BUILD_PACKAGES), *further)
    if missing:
        await asyncio.to_thread(install, missing, progress)


async def _engine(progress: Progress, *, with_deps: bool) -> bool:
    """See that an engine answers; return whether one was started."""
    if await answers():
        return False
    given = os.environ.get("DOCKER_HOST")
    if given:
        raise SetupError(f"DOCKER_HOST is {given}, and no engine answers there")
    installed = shutil.which("dockerd") is not None
    if not with_deps:
        todo = "start it" if installed else f"install it (apt-get install {ENGINE_PACKAGES[0]})"
        raise SetupError(
            f"no container engine answers: {todo}, or `wsrunner setup --with-deps` does it"
        )
    _need_root("starting the engine" if installed else "installing the engine")
    if not installed:
        await asyncio.to_thread(install, ENGINE_PACKAGES, progress)
    await _start_engine(progress)
    return True


async def answers() -> bool:
    """Whether a container engine answers."""
    try:
        async with docker_images.connect():
            return True
    except EngineUnavailableError:
        return False


async def _start_engine(progress: Progress) -> None:
    """Start dockerd, by systemd where it runs, and wait until it answers."""
    if _systemd():
        await _start_service(progress)
    else:
        await _start_dockerd(progress)


async def _start_service(progress: Progress) -> None:
    progress.say("starting the engine: systemctl start docker")
    done = await asyncio.to_thread(
        subprocess.run,
        ["systemctl", "start", "docker"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"systemctl start docker failed: {done.stderr.strip()}")
    try:
        await _answers_or_ends(None)
    except TimeoutError as exc:
        raise SetupError(f"{exc}; `journalctl -u docker` has its log") from exc


async def _start_dockerd(progress: Progress) -> None:
    progress.say(f"starting the engine: dockerd, log in {ENGINE_LOG}")
    begun = ENGINE_LOG.stat().st_size if ENGINE_LOG.exists() else 0
    with ENGINE_LOG.open("ab") as log:
        # A session of its own: it outlives this command and takes no Ctrl-C meant for it.
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    try:
        await _answers_or_ends(process)
    except BaseException as exc:
        process.terminate()
        process.wait()
        if not isinstance(exc, TimeoutError | ChildProcessError):
            raise
        raise SetupError(f"{exc}; its log is {ENGINE_LOG}:\n{_tail(begun)}") from exc
    # It outlives this command, so that nobody waits for it: said to Popen, which else warns.
    process.returncode = 0


async def _answers_or_ends(process: subprocess.Popen[bytes] | None) -> None:
    """Wait until the engine answers.

    Raises:
        ChildProcessError: `process` ended before.
        TimeoutError: It does not answer in `ENGINE_START_S`.
    """
    try:
        async with asyncio.timeout(ENGINE_START_S):
            while not await answers():
                code = None if process is None else process.poll()
                if code is not None:
                    raise ChildProcessError(f"dockerd ended with code {code}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"the engine does not answer after {ENGINE_START_S:g} s") from None


def _tail(begun: int) -> str:
    """Return the last lines that dockerd logged since the file had `begun` bytes."""
    with ENGINE_LOG.open("rb") as log:
        log.seek(begun)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise SetupError(f"{what} needs root: put `sudo` before the command")


def install(packages: Sequence[str], progress: Progress) -> None:
    """Install packages of the distribution.

    Raises:
        SetupError: Not root, no apt-get, or apt-get failed; the message ends with its last words.
    """
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise SetupError(f"this system has no apt-get: install {names} with its own tool")
    _need_root(f"installing {names}")
    task = progress.task("packages", f"installing {names}")
    result = "failed"
    try:
        # The lists may be absent, or name versions that the mirror no longer has.
        command = ["install", "--yes", "--no-install-recommends", *packages]
        if not _has_lists() or _apt_get(*command) is not None:
            task.stage("reading package lists")
            error = _apt_get("update")
            if error is None:
                task.stage(f"installing {names}")
                error = _apt_get(*command)
            if error is not None:
                raise SetupError(f"apt-get could not install {names}:\n{error}")
        result = f"installed {names}"
    finally:
        task.end(result)


def _systemd() -> bool:
    """Whether systemd is the running service manager, by the rule of sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def _has_lists() -> bool:
    return any(Path("/var/lib/apt/lists").glob("*_Packages*"))


def _apt_get(*arguments: str) -> str | None:
    """Run apt-get without questions; return its last words if it failed."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    if not _systemd():
        # invoke-rc.d starts nothing in runlevel 1: dockerd is started, and watched, by `setup`.
        env["RUNLEVEL"] = "1"
    done = subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        check=False,
    )
    if done.returncode == 0:
        return None
    return "\n".join(f"  {line}" for line in done.stdout.splitlines()[-_TAIL_LINES:])
