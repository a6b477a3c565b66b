"""Set-up: what it installs, starts and leaves alone. The distribution's tools are stand-ins."""

import asyncio
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.docker_fixtures import engine_images, image_of
from wsrunner import languages
from wsrunner.commands import main, provision
from wsrunner.errors import SetupError
from wsrunner.images import progress


class Screen:
    """A stream that is no terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return False


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture
def no_engine(monkeypatch):
    """No engine answers until the returned list is given an item."""
    running = []

    async def answers():
        return bool(running)

    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(provision, "answers", answers)
    return running


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """A PATH with stand-ins of our own alone; returns a function that adds one."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    known = {}
    monkeypatch.setattr(provision.shutil, "which", known.get)

    def add(name, script):
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        known[name] = str(path)
        return path

    return add


def prepare(screen, *names, with_deps=True):
    catalogue = languages.load()
    chosen = [catalogue.find(name) for name in names]
    lines = progress.Lines(screen)
    return asyncio.run(provision.prepare(catalogue, chosen, lines, with_deps=with_deps))


@pytest.mark.docker
def test_where_everything_is_there_it_does_nothing_and_says_nothing(screen):
    image_of("python")
    assert prepare(screen, "python") is False
    assert screen.text == ""


def test_without_deps_a_missing_engine_is_only_told(no_engine, tools, screen):
    with pytest.raises(SetupError, match=r"apt-get install docker.io.*setup --with-deps"):
        prepare(screen, "python", with_deps=False)
    tools("dockerd", "exit 1")
    with pytest.raises(SetupError, match=r"start it, or `wsrunner setup --with-deps`"):
        prepare(screen, "python", with_deps=False)
    assert screen.text == ""


@pytest.mark.docker
def test_without_deps_a_missing_image_is_only_told(screen):
    if "glot/swift:latest" in engine_images():
        pytest.skip("the image is present")
    with pytest.raises(SetupError, match=r"no image for swift; `wsrunner setup --with-deps swift`"):
        prepare(screen, "swift", with_deps=False)


def test_a_docker_host_that_does_not_answer_is_left_alone(no_engine, tools, monkeypatch, screen):
    tools("dockerd", "exit 1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(SetupError, match=r"DOCKER_HOST is tcp://192.0.2.1:2375, and no engine"):
        prepare(screen, "python")
    assert screen.text == ""


def test_who_is_not_root_is_told_so(no_engine, tools, monkeypatch, screen):
    monkeypatch.setattr(provision.os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="installing the engine needs root: put `sudo`"):
        prepare(screen, "python")


@pytest.mark.docker
def test_dockerd_is_installed_and_started_and_its_log_kept(
    no_engine, tools, monkeypatch, screen, tmp_path
):
    image_of("python")
    log = tmp_path / "dockerd.log"
    calls = tmp_path / "calls"
    monkeypatch.setattr(provision, "ENGINE_LOG", log)
    monkeypatch.setattr(provision, "_systemd", lambda: False)
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0)
    monkeypatch.setattr(provision, "_has_lists", lambda: False)
    tools("apt-get", f'echo "$RUNLEVEL $*" >>{calls}')
    tools("dockerd", "echo started; exec sleep 30")
    monkeypatch.setattr(
        provision.shutil, "which", lambda name: None if name == "dockerd" else f"/usr/bin/{name}"
    )
    started = []
    popen = subprocess.Popen

    def spawn(command, **options):
        process = popen(command, **options)
        if command == ["dockerd"]:
            started.append(process)
            no_engine.append("up")
        return process

    monkeypatch.setattr(provision.subprocess, "Popen", spawn)
    try:
        assert prepare(screen, "python") is True
    finally:
        for process in started:
            os.killpg(process.pid, 9)
            os.waitpid(process.pid, 0)
    options = "-q -o DPkg::Lock::Timeout=120"
    assert calls.read_text().splitlines() == [
        f"1 {options} update",
        f"1 {options} install --yes --no-install-recommends docker.io ca-certificates",
    ]
    assert "packages: installed docker.io ca-certificates" in screen.text
    assert f"starting the engine: dockerd, log in {log}" in screen.text


def test_a_dockerd_that_ends_shows_the_tail_of_its_log(
    no_engine, tools, monkeypatch, screen, tmp_path
):
    log = tmp_path / "dockerd.log"
    log.write_text("yesterday's trouble\n")
    monkeypatch.setattr(provision, "ENGINE_LOG", log)
    monkeypatch.setattr(provision, "_systemd", lambda: False)
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0)
    tools("dockerd", "echo no iptables; exit 7")
    with pytest.raises(SetupError) as caught:
        prepare(screen, "python")
    assert str(caught.value) == f"dockerd ended with code 7; its log is {log}:\n  no iptables"


def test_a_dockerd_that_never_answers_is_given_up(no_engine, tools, monkeypatch, screen, tmp_path):
    log = tmp_path / "dockerd.log"
    monkeypatch.setattr(provision, "ENGINE_LOG", log)
    monkeypatch.setattr(provision, "ENGINE_START_S", 0.5)
    monkeypatch.setattr(provision, "_systemd", lambda: False)
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0)
    tools("dockerd", "echo waiting; exec sleep 3")
    with pytest.raises(SetupError, match=r"does not answer after 0\.5 s") as caught:
        prepare(screen, "python")
    assert str(log) in str(caught.value)


def test_systemd_starts_the_engine_where_it_runs(no_engine, tools, monkeypatch, screen):
    monkeypatch.setattr(provision, "_systemd", lambda: True)
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0)
    tools("dockerd", "exit 1")
    tools("systemctl", "echo 'Unit docker is masked.' >&2; exit 1")
    with pytest.raises(SetupError, match=r"systemctl start docker failed: Unit docker is masked"):
        prepare(screen, "python")


def test_apt_get_that_fails_shows_its_last_words(tools, monkeypatch, screen):
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0)
    tools("apt-get", "echo 'E: no network'; exit 100")
    with pytest.raises(SetupError, match="could not install mmdebstrap:\n  E: no network"):
        provision.install(["mmdebstrap"], progress.Lines(screen))


def test_package_lists_are_read_anew_only_if_the_first_try_fails(
    tools, monkeypatch, screen, tmp_path
):
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0)
    monkeypatch.setattr(provision, "_has_lists", lambda: True)
    calls = tmp_path / "calls"
    tools("apt-get", f'echo "$4" >>{calls}; [ "$4" = update ] || [ -e {calls}.2 ] || exit 100')
    (tmp_path / "calls.2").touch()
    provision.install(["x"], progress.Lines(screen))
    assert calls.read_text().split() == ["install"]
    (tmp_path / "calls.2").unlink()
    with pytest.raises(SetupError):
        provision.install(["x"], progress.Lines(screen))
    assert calls.read_text().split() == ["install", "install", "update", "install"]


@pytest.mark.docker
def test_the_command_says_ready_and_ends_with_0():
    image_of("python")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from wsrunner.commands.main import main; main()",
            "setup",
            "python",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "ready: python\n")


@pytest.mark.parametrize("command", [["setup"], ["images", "build"], ["images", "pull"]])
def test_an_unknown_language_is_one_line_and_exit_code_2(command):
    done = CliRunner().invoke(main.main, [*command, "rubby"])
    assert done.exit_code == 2
    assert "no language 'rubby'; did you mean 'ruby'?; `wsrunner languages`" in done.output


@pytest.mark.docker
def test_languages_are_listed_as_table_and_as_json():
    import msgspec

    engine_images()
    table = CliRunner().invoke(main.main, ["languages"]).output.splitlines()
    assert len(table) == 45
    assert table[0].split() == ["language", "name", "aliases", "image", "present"]
    facts = msgspec.json.decode(CliRunner().invoke(main.main, ["languages", "--json"]).stdout)
    assert len(facts) == 44
    assert set(facts[0]) == {
        "id", "name", "aliases", "file", "build", "run", "live", "image", "present",
    }  # fmt: skip


def test_languages_are_listed_without_an_engine(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    done = CliRunner().invoke(main.main, ["languages"])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].endswith("?")
    assert "no container engine answers" in done.stderr
