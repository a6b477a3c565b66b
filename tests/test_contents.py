"""Which packages images have: read from a root file system, kept as labels, shown to who asks."""

import contextlib
import io
import json
import tarfile

import pytest
from click.testing import CliRunner

from tests.http_talk import connect, refused
from tests.serving import docker
from wsrunner import languages
from wsrunner.commands import main
from wsrunner.commands.images import images_build
from wsrunner.engines.docker.images import LocalImage
from wsrunner.errors import SetupError
from wsrunner.images import contents as packages
from wsrunner.images import supply
from wsrunner.images.contents import Package

STATUS = """\
Package: bash
Essential: yes
Status: install ok installed
Priority: required
Version: 5.2

Package: python3-numpy
Status: install ok installed
Priority: optional
Description: numbers
 Version: 9
Version: 1:1.24.2-1+b1

Package: apt
Status: install ok installed
Priority: important
Version: 2.6

Package: gone
Status: deinstall ok config-files
Priority: optional
Version: 1

Package: g++
Status: install ok installed
Priority: optional
Version: 4:12.2.0-3
"""


@pytest.mark.parametrize("name", ["./var/lib/dpkg/status", "var/lib/dpkg/status"])
def test_a_root_file_system_tells_what_it_has_beside_the_base(tmp_path, name):
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("./bin"))
        info = tarfile.TarInfo(name)
        info.size = len(STATUS.encode())
        tar.addfile(info, io.BytesIO(STATUS.encode()))
    assert packages.installed(tmp_path / "root.tar") == [
        Package("g++", "4:12.2.0-3"),
        Package("python3-numpy", "1:1.24.2-1+b1"),
    ]


def test_one_without_packages_has_none(tmp_path):
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("./bin"))
    assert packages.installed(tmp_path / "root.tar") == []


def labels_of(changes):
    """Return the labels as the engine would take them from a Dockerfile's lines."""
    found = {}
    for line in changes:
        kind, _, rest = line.partition(" ")
        if kind == "LABEL":
            name, _, value = rest.partition("=")
            found[name] = value.strip('"')
    return found


def test_labels_say_what_was_said():
    has = [Package("g++", "4:12.2.0-3"), Package("x", "1~rc=2")]
    labels = labels_of(packages.changes(("g++",), has))
    assert packages.packages_of(labels) == has
    assert packages.added_to(labels) == ("g++",)
    assert packages.packages_of({}) is None
    assert packages.packages_of(labels_of(packages.changes((), []))) == []


def test_plots_go_to_files_where_there_is_matplotlib():
    assert "ENV MPLBACKEND=Agg" in packages.changes((), [Package("python3-matplotlib", "3")])
    assert "ENV MPLBACKEND=Agg" not in packages.changes((), [Package("python3-numpy", "1")])


@pytest.mark.parametrize("name", ["", "-y", "Numpy", "a b", "a;b", "x=1", "../x", "é", "a\n", "a"])
def test_what_is_no_package_is_refused(name):
    with pytest.raises(SetupError, match="no name of a Debian package"):
        packages.extended(languages.load().recipes["python"], [name])


def test_added_packages_count_in_the_recipe_and_stay_up_to_date():
    catalogue = languages.load()
    python = catalogue.find("python")
    plain = supply.in_full(catalogue.recipes["python"])
    more = packages.extended(plain, ["python3-numpy", "python3-numpy", plain.packages[0]])
    assert more.packages == (*plain.packages, "python3-numpy")
    assert supply.recipe_id(more) != supply.recipe_id(plain)
    labels = {
        supply.RECIPE_LABEL: supply.recipe_id(packages.extended(plain, ["python3-numpy"])),
        packages.WITH_LABEL: "python3-numpy",
    }
    present = {python.local_image: LocalImage("1", 1, labels)}
    (status,) = [each for each in supply.statuses(catalogue, present) if each.image]
    assert (status.outdated, list(status.added)) == (False, ["python3-numpy"])
    labels[packages.WITH_LABEL] = ""
    (status,) = [each for each in supply.statuses(catalogue, present) if each.image]
    assert status.outdated


@pytest.mark.parametrize(
    ("arguments", "names", "added"),
    [
        (["python", "--with", "a1", "b1"], ("python",), ("a1", "b1")),
        (["--with", "a1", "--all"], (), ("a1",)),
        (["--all", "python", "c"], ("python", "c"), ()),
        (["python", "--with", "a1", "--with", "b1"], ("python",), ("a1", "b1")),
    ],
)
def test_with_takes_the_words_behind_it(arguments, names, added):
    context = images_build.make_context("build", arguments)
    assert (context.params["names"], context.params["added"]) == (names, added)


def test_what_is_no_package_is_told_before_anything_is_built():
    done = CliRunner().invoke(main.main, ["images", "build", "python", "--with", "Num_py"])
    assert done.exit_code != 0
    assert "Num_py" in str(done.exception) + done.output


def get(server, path):
    with contextlib.closing(connect(server)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_a_language_tells_what_its_image_has(server):
    status, _, body = get(server, "/v1/languages/py")
    assert status == 200
    told = json.loads(body)
    assert (told["id"], told["present"]) == ("python", True)
    listed = docker("inspect", "--format", "{{json .Config.Labels}}", told["image"])
    has = packages.packages_of(json.loads(listed) or {})
    assert told["packages"] == (None if has is None else [each._asdict() for each in has])


def test_a_language_that_is_none_is_not_found(server):
    refused(get(server, "/v1/languages/pyton"), 404, "unknown_language")
