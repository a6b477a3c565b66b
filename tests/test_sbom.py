"""An image's bill of materials: what its Debian packages are, as CycloneDX."""

import json

import pytest
from click.testing import CliRunner

from tests.serving import docker
from wsrunner.commands import main
from wsrunner.engines.docker.images import READING_LABEL
from wsrunner.images import sbom

STATUS = """\
Package: libstdc++6
Status: install ok installed
Maintainer: GCC <gcc@lists.example>
Architecture: amd64
Version: 12.2.0-14+deb12u1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bsdutils
Essential: yes
Status: install ok installed
Architecture: all
Description: one
 Version: 9
Version: 1:2.38~rc1-5
"""
RELEASE = 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n# a comment\n'


def bill(status=STATUS, release=RELEASE):
    return json.loads(sbom.bill("wsrunner/c:debian", "sha256:00ff", status, release))


def test_every_installed_package_is_told_by_its_package_url():
    document = bill()
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"] == {
        "type": "container",
        "name": "wsrunner/c:debian",
        "version": "sha256:00ff",
    }
    first, second = document["components"]
    assert first["purl"] == "pkg:deb/debian/bsdutils@1:2.38~rc1-5?arch=all&distro=debian-12"
    assert "supplier" not in first
    assert second == {
        "bom-ref": second["purl"],
        "type": "library",
        "name": "libstdc++6",
        "version": "12.2.0-14+deb12u1",
        "purl": "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
        "supplier": {"name": "GCC <gcc@lists.example>"},
    }


@pytest.mark.parametrize(
    "release", ["", "ID=debian\n", "PRETTY_NAME=what is this\n", 'ID="debian\n']
)
def test_a_system_that_does_not_tell_its_version_is_named_without(release):
    first, _ = bill(release=release)["components"]
    assert first["purl"] == "pkg:deb/debian/bsdutils@1:2.38~rc1-5?arch=all"


def written(*arguments):
    return CliRunner().invoke(main.main, ["images", "sbom", *arguments])


def test_an_image_s_bill_has_what_dpkg_lists_there(need, tmp_path):
    image = need("bash")
    result = written("bash", "--output", str(tmp_path / "bom.json"))
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "bom.json").read_text())
    form = "${Package} ${Version} ${db:Status-Status}\n"
    listed = docker("run", "--rm", image, "dpkg-query", "-W", "-f", form).splitlines()
    assert {(each["name"], each["version"]) for each in document["components"]} == {
        tuple(line.split()[:2]) for line in listed if line.endswith(" installed")
    }
    assert document["metadata"]["component"]["name"] == image
    assert json.loads(written("bash").stdout) == document
    assert docker("ps", "-aq", "--filter", f"label={READING_LABEL}") == ""


def test_what_can_not_be_told_or_written_is_said(need, tmp_path):
    need("bash")
    result = written("bassh")
    assert result.exit_code == 2
    assert "no language 'bassh'; did you mean 'bash'?" in result.output
    result = written("bash", "-o", str(tmp_path / "none" / "bom.json"))
    assert result.exit_code != 0
    assert "bom.json" in result.output
