"""Archives of local images: real pip and npm, told by their own variables where to look."""

import asyncio
import base64
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import tarfile
import threading
import zipfile
from functools import partial

import pytest

from tests.docker_fixtures import absent
from wsrunner.errors import SetupError
from wsrunner.images import archives, supply
from wsrunner.languages import Archive, Recipe


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(archive, cache, stages=None):
    said = [] if stages is None else stages
    return asyncio.run(archives.fetch(archive, cache, said.append))


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip finds without any index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    made = folder / "tool-1.0-py3-none-any.whl"
    files = {
        "tool/run": "hi\n",
        "tool-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
        "tool-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
        "tool-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return made


def test_pip_s_own_variables_say_where_a_wheel_comes_from(tmp_path, wheel):
    stages = []
    archive = Archive("pypi", "tool", "1.0", ("0" * 64, sha256(wheel)))
    found = fetch(archive, tmp_path / "cache", stages)
    assert found.read_bytes() == wheel.read_bytes()
    assert stages == ["downloading tool 1.0 from PyPI"]


def test_what_is_kept_is_not_downloaded_again_unless_it_changed(tmp_path, wheel):
    archive = Archive("pypi", "tool", "1.0", (sha256(wheel),))
    found = fetch(archive, tmp_path / "cache")
    content = wheel.read_bytes()
    wheel.unlink()
    stages = []
    assert fetch(archive, tmp_path / "cache", stages) == found
    assert stages == []
    found.write_bytes(b"broken")
    wheel.write_bytes(content)
    assert fetch(archive, tmp_path / "cache").read_bytes() == content


def test_a_file_with_another_hash_is_not_used(tmp_path, wheel):
    archive = Archive("pypi", "tool", "1.0", ("0" * 64,))
    with pytest.raises(SetupError, match=f"tool-1.0-.* has SHA-256 {sha256(wheel)} .* 0000"):
        fetch(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_failed_download_ends_with_what_the_client_said(tmp_path, wheel):
    archive = Archive("pypi", "tool", "2.0", (sha256(wheel),))
    with pytest.raises(SetupError, match=r"(?s)can't download tool 2.0 from PyPI:.*tool==2.0"):
        fetch(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_client_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "which", lambda name: None)
    archive = Archive("npm", "tool", "1.0.0", ("0" * 64,))
    assert archives.missing_packages([archive, archive]) == ("npm",)
    with pytest.raises(SetupError, match=r"needs npm: .*apt-get install npm"):
        fetch(archive, tmp_path / "cache")


def npm_package():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, text in (("package.json", '{"name": "tool", "version": "1.0.0"}'), ("run", "hi")):
            member = tarfile.TarInfo(f"package/{name}")
            member.size, member.mode = len(text), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


@pytest.fixture
def registry(tmp_path):
    """An npm registry on this machine that has one package."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "tool.tgz").write_bytes(npm_package())
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        digest = base64.b64encode(hashlib.sha512(npm_package()).digest()).decode()
        dist = {"tarball": f"{url}/tool.tgz", "integrity": f"sha512-{digest}"}
        version = {"name": "tool", "version": "1.0.0", "dist": dist}
        about = {"name": "tool", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        (folder / "tool").write_text(json.dumps(about))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield url
        server.shutdown()
        thread.join()


def test_npm_s_own_variables_say_which_registry_is_asked(tmp_path, registry, monkeypatch):
    shutil.which("npm") or absent("npm")
    monkeypatch.setenv("npm_config_registry", registry)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    digest = hashlib.sha256(npm_package()).hexdigest()
    archive = Archive("npm", "tool", "1.0.0", (digest,))
    found = fetch(archive, tmp_path / "cache")
    root = tmp_path / "a root"
    root.mkdir()
    subprocess.run(["sh", "-ec", archives.unpacking(archive, found), "sh", root], check=True)
    assert (root / "opt/tool/run").read_text() == "hi"
    assert (root / "opt/tool/run").stat().st_mode & 0o111


def test_a_wheel_is_unpacked_into_the_root(tmp_path, wheel):
    root = tmp_path / "a root"
    root.mkdir()
    archive = Archive("pypi", "tool", "1.0", (sha256(wheel),))
    subprocess.run(["sh", "-ec", archives.unpacking(archive, wheel), "sh", root], check=True)
    assert (root / "opt/tool/tool/run").read_text() == "hi\n"


def test_another_archive_makes_another_recipe():
    choices = [(), *((Archive("npm", "a", "1", (digit * 64,)),) for digit in "01")]
    assert len({supply.recipe_id(Recipe((), archives=choice)) for choice in choices}) == 3
