"""Images: each required language's local one builds and runs its programs, with the real limits."""

import asyncio
import contextlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.docker_fixtures import REQUIRED, engine_images, image_of, program, start
from tests.serving import docker
from wsrunner import languages
from wsrunner.commands import provision
from wsrunner.engines.docker import images as docker_images
from wsrunner.engines.docker.images import LocalImage, PullProgress
from wsrunner.errors import EngineUnavailableError, SetupError
from wsrunner.images import debian, services, supply
from wsrunner.settings import UIDS


class Log:
    """A Progress that keeps its lines."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def task(self, name, text):
        log = self

        class Task:
            def stage(self, text):
                log.lines.append(f"{name}: {text}")

            end = stage

            def advance(self, done_bytes, total_bytes):
                pass

        task = Task()
        task.stage(text)
        return task


def run(language, name, stdin=b""):
    process = start(language, {languages.load().find(language).file: program(language, name)})
    out, err = process.communicate(stdin, timeout=120)
    return out.decode(), err.decode(), process.returncode


def hears(process, text):
    """Read stdout until it has brought this text; nothing else may come."""
    heard = b""
    while heard != text:
        piece = os.read(process.stdout.fileno(), 65536)
        assert piece, heard
        heard += piece
        assert text.startswith(heard)


@pytest.mark.docker
@pytest.mark.parametrize("language", REQUIRED)
def test_hello(language):
    assert run(language, "hello")[::2] == ("hello\n", 0)


@pytest.mark.docker
@pytest.mark.parametrize("language", REQUIRED)
def test_lines_arrive_while_the_program_still_runs(language):
    file = languages.load().find(language).file
    with start(language, {file: program(language, "live")}) as process:
        # Buffered, it would come at the end only, which waits for this test.
        hears(process, b"one\n")
        out, err = process.communicate(b"\n", timeout=120)
    assert (out, process.returncode) == (b"two\n", 0), err


@pytest.mark.docker
def test_a_prompt_without_newline_shows_before_the_program_reads():
    with start("c", {"main.c": program("c", "prompt")}) as process:
        hears(process, b"number? ")
        out, err = process.communicate(b"12\n", timeout=120)
    assert (out, process.returncode) == (b"144\n", 0), err


@pytest.mark.docker
def test_several_files_build_together():
    files = {
        "main.c": 'int twice(int);\n#include <stdio.h>\nint main(){printf("%d\\n",twice(21));}',
        "sub dir/it's.c": "int twice(int n){return 2*n;}",
    }
    with start("c", files) as process:
        out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"42\n", 0), err


@pytest.mark.docker
def test_a_failed_build_says_why_on_stderr():
    with start("c", {"main.c": "int main(void) { return x; }"}) as process:
        out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"", 99)
    assert b"main.c:1" in err


@pytest.mark.docker
def test_ruby_keeps_its_own_name_and_data():
    source = "puts __FILE__ == $0, ARGV.inspect, DATA.read\n__END__\nrest\n"
    with start("ruby", {"main.rb": source}) as process:
        out, _ = process.communicate(timeout=60)
    assert out == b"true\n[]\nrest\n"


@pytest.mark.docker
def test_perl_keeps_its_line_numbers_and_data():
    source = "use strict;\nprint __LINE__, ' ', <DATA>;\n__DATA__\nrest\n"
    with start("perl", {"main.pl": source}) as process:
        out, _ = process.communicate(timeout=60)
    assert out == b"2 rest\n"


@pytest.mark.docker
@pytest.mark.parametrize("language", ["python", "ruby", "perl", "java"])
def test_text_is_utf_8(language):
    file = languages.load().find(language).file
    sources = {
        "python": "print(input())",
        "ruby": "s = gets\nputs s.valid_encoding? && s.chomp.length == 3 ? s : 'wrong'",
        "perl": "print <STDIN>;",
        "java": "class Main { public static void main(String[] a) "
        '{ System.out.println("h\\u00e9\\u4e16"); } }',
    }
    with start(language, {file: sources[language]}) as process:
        out, err = process.communicate("hé世\n".encode(), timeout=120)
    assert out.decode() == "hé世\n", err


@pytest.mark.docker
@pytest.mark.parametrize("language", REQUIRED)
def test_the_toolchain_tells_its_version(language):
    found = languages.load().find(language)
    image = found.choose(engine_images())
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", image, "sh", "-c", found.version],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert any(character.isdigit() for character in done.stdout.decode())


@pytest.mark.docker
def test_a_local_image_is_the_glot_users_and_holds_no_apt_configuration():
    engine_images()
    done = subprocess.run(
        [
            "docker", "run", "--rm", "--network=none", "wsrunner/bash:debian", "bash", "-c",
            "id -un; id -u; pwd; echo $HOME; find /etc/apt -type f; command -v stty stdbuf timeout",
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [
        "glot", "1000", "/home/glot", "/home/glot", "/usr/bin/stty", "/usr/bin/stdbuf",
        "/usr/bin/timeout",
    ]  # fmt: skip


WHO_PYTHON_SAYS = """
import getpass, grp, os, pwd
print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name)
print(os.path.expanduser("~glot"))
del os.environ["HOME"]
print(os.path.expanduser("~"))
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    ("language", "command"),
    [
        ("bash", ["bash", "-c", "id -un; id -gn; whoami; echo ~glot; echo ~"]),
        ("python", ["python3", "-c", WHO_PYTHON_SAYS]),
    ],
)
@pytest.mark.parametrize("uid", [1000, UIDS[0], UIDS[-1]])
def test_whichever_user_a_run_gets_its_name_is_glot(language, command, uid):
    # In the image as it is, built today or before users had names: the lines change only this run.
    lines = "; ".join(("set -e", *supply.NAME_USERS))
    become = 'exec setpriv --reuid="$0" --regid="$0" --clear-groups "$@"'
    said = docker(
        "run", "--rm", "--network=none", "--user=0", image_of(language),
        "sh", "-c", f"{lines}; {become}", str(uid), *command,
    )  # fmt: skip
    assert said.split() == ["glot"] * 3 + ["/home/glot"] * 2


def test_a_language_s_build_names_its_users_and_is_then_up_to_date(monkeypatch, tmp_path):
    built, present = {}, {}

    class Builder:
        def __init__(self, on_wait):
            pass

        async def __aenter__(self):
            return self

        async def __aexit__(self, *exc):
            pass

        async def root(self, name, packages, commands, on_stage, unpacking):
            built[name] = commands
            tar = tmp_path / name
            tarfile.open(tar, "w").close()
            return tar

    async def import_tar(docker, tar, image, changes, *, on_bytes):
        label = changes[-1].removeprefix("LABEL ")
        present[image] = LocalImage("x", 1, dict([label.split("=")]))

    monkeypatch.setattr(supply, "Debian", Builder)
    monkeypatch.setattr(docker_images, "import_tar", import_tar)
    catalogue = languages.load()
    chosen = [catalogue.find(name) for name in ("bash", "coffeescript")]
    asyncio.run(supply.build(None, catalogue, chosen, Log()))
    asyncio.run(supply.build_services(None, services.load(), Log()))
    named = {name for name, commands in built.items() if commands[-2:] == supply.NAME_USERS}
    assert named == {"bash", "coffeescript"} < set(built)
    found = {status.language.id: status for status in supply.statuses(catalogue, present)}
    assert [found[one.id].outdated for one in chosen] == [False, False]
    assert supply.missing_services(services.load(), present) == []


def test_status_tells_missing_present_and_outdated():
    catalogue = languages.load()
    current = supply.recipe_id(supply.in_full(catalogue.recipes["python"]))
    present = {
        "wsrunner/python:debian": LocalImage("a", 5, {supply.RECIPE_LABEL: current}),
        "wsrunner/lua:debian": LocalImage("b", 6, {supply.RECIPE_LABEL: "old"}),
        "glot/go:latest": LocalImage("c", 7, {}),
    }
    found = {status.language.id: status[1:] for status in supply.statuses(catalogue, present)}
    assert found["python"] == ("wsrunner/python:debian", 5, False, ())
    assert found["lua"] == ("wsrunner/lua:debian", 6, True, ())
    assert found["ruby"] == (None, 0, False, ())


def test_a_language_without_recipe_is_pointed_to_the_registry():
    catalogue = languages.load()
    with pytest.raises(SetupError, match=r"no recipe .* swift; .*images pull swift"):
        asyncio.run(supply.build(None, catalogue, [catalogue.find("swift")], Log()))


def test_pull_without_a_registry_names_the_way_out(monkeypatch):
    async def no_answer(docker, image):
        return False

    monkeypatch.setattr(docker_images, "registry_answers", no_answer)
    catalogue = languages.load()
    with pytest.raises(SetupError, match=r"no registry answers .*images build ruby"):
        asyncio.run(supply.pull(None, [catalogue.find("ruby")], Log()))


def test_prepare_pulls_where_a_registry_answers(monkeypatch):
    present = {}
    log = Log()

    async def answers(docker, image):
        return True

    async def listed(docker):
        return present

    async def pull(docker, image):
        yield PullProgress("l1", "Downloading", 5, 10)
        yield PullProgress("l1", "Extracting", 1, 10)
        present[image] = LocalImage("x", 1, {})

    async def build(languages):
        pytest.fail("nothing to build")

    monkeypatch.setattr(docker_images, "registry_answers", answers)
    monkeypatch.setattr(docker_images, "images", listed)
    monkeypatch.setattr(docker_images, "pull", pull)
    catalogue = languages.load()
    chosen = supply.select(catalogue, ["c", "c++", "gcc"])
    asyncio.run(supply.prepare(None, catalogue, chosen, log, before_build=build))
    assert list(present) == ["glot/clang:latest"]
    assert log.lines == [f"glot/clang:latest: {t}" for t in ("pulling", "unpacking", "pulled")]


def test_no_engine_says_what_to_do(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    async def connect():
        async with docker_images.connect():
            pytest.fail("connected")

    with pytest.raises(EngineUnavailableError, match="wsrunner setup --with-deps"):
        asyncio.run(connect())


@pytest.mark.docker
def test_a_tar_becomes_an_image_and_goes_again(tmp_path):
    engine_images()
    root = tmp_path / "root"
    root.mkdir()
    (root / "hi").write_text("x")
    tar = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", root, "-cf", tar, "."], check=True)
    name = f"wsrunner-test/import-{os.getpid()}:debian"
    sent = []

    async def make():
        async with docker_images.connect() as docker:
            changes = ("USER 1000", "LABEL a=b")
            await docker_images.import_tar(docker, tar, name, changes, on_bytes=sent.append)
            found = (await docker_images.images(docker))[name]
            await docker.images.delete(name)
            return found

    found = asyncio.run(make())
    assert found.labels == {"a": "b"}
    assert sent[-1] == tar.stat().st_size


def etc(tmp_path, files, release="ID=debian\nVERSION_CODENAME=bookworm\n"):
    for name, text in {"os-release": release, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_only_debians_own_main_sources_are_used(tmp_path):
    found = debian.sources(
        etc(
            tmp_path,
            {
                "apt/sources.list": "# old\n"
                "deb [arch=amd64] http://m/debian bookworm main contrib\n"
                "deb-src http://m/debian bookworm main\n",
                "apt/sources.list.d/docker.list": "deb https://download.docker.com/linux/debian "
                "bookworm stable\n",
                "apt/sources.list.d/node.sources": "Types: deb\n"
                "URIs: https://n/x\nSuites: nodistro\nComponents: main\n",
                "apt/sources.list.d/debian.sources": "Types: deb deb-src\n"
                "URIs: http://s/debian-security\nSuites: bookworm-security\nComponents: main\n"
                "Signed-By: /k.gpg\n\nTypes: deb\nURIs: http://off/debian\nSuites: bookworm\n"
                "Components: main\nEnabled: no\n",
                "apt/sources.list.d/debian.sources.save": "deb http://bak/debian bookworm main\n",
            },
        )
    )
    assert found == (
        "deb [arch=amd64] http://m/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://s/debian-security bookworm-security main\n"
    )


def test_elsewhere_than_on_debian_local_images_are_refused(tmp_path):
    ubuntu = "ID=ubuntu\nVERSION_CODENAME=noble\n"
    with pytest.raises(SetupError, match="built on Debian"):
        debian.sources(etc(tmp_path, {}, ubuntu))


def test_a_debian_without_sources_says_what_is_missing(tmp_path):
    with pytest.raises(SetupError, match="no archive of Debian"):
        debian.sources(etc(tmp_path, {}))


def test_building_needs_mmdebstrap_and_root(monkeypatch):
    monkeypatch.setattr(debian.shutil, "which", lambda name: None if name == "mmdebstrap" else name)
    with pytest.raises(SetupError, match="mmdebstrap is missing"):
        debian.check()
    monkeypatch.setattr(debian.shutil, "which", lambda name: name)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="sudo"):
        debian.check()


def test_what_mmdebstrap_said_last_is_in_the_error(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "check", lambda: None)
    fake = tmp_path / "bin" / "mmdebstrap"
    fake.parent.mkdir()
    fake.write_text(
        "#!/bin/sh\necho 'I: running apt-get update...' >&2; echo 'E: broken' >&2; exit 25\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    stages = []

    async def make():
        async with debian.Debian() as here:
            await here.root("x", (), (), stages.append)

    with pytest.raises(SetupError, match="E: broken"):
        asyncio.run(make())
    assert stages == ["base system", "base system: reading package lists"]
    assert not list(Path(tmp_path, "wsrunner").glob("work-*"))


def test_set_up_gets_the_client_of_a_registry_that_a_recipe_needs(monkeypatch):
    asked = []

    async def prepare(docker, catalogue, missing, progress, *, before_build):
        await before_build(missing)

    @contextlib.asynccontextmanager
    async def engine():
        yield None

    async def nothing(*_, **__):
        return {}

    monkeypatch.setattr(supply, "prepare", prepare)
    monkeypatch.setattr(supply, "engine", engine)
    monkeypatch.setattr(docker_images, "images", nothing)
    monkeypatch.setattr(provision, "_engine", nothing)
    monkeypatch.setattr(provision, "install", lambda packages, progress: asked.append(packages))
    monkeypatch.setattr(provision.shutil, "which", lambda name: None)
    catalogue = languages.load()
    chosen = supply.select(catalogue, ["kotlin"])
    asyncio.run(provision.prepare(catalogue, chosen, Log(), with_deps=True))
    assert asked == [("mmdebstrap", "npm")]
