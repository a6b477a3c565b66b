"""Files that a run has made, written below a directory, and nowhere else."""

import json
import subprocess

import pytest

from tests.test_cli_run import WSRUNNER, environment
from wsrunner.client import Client, RunFile
from wsrunner.client.files import Incoming
from wsrunner.commands.saving import SavingError, save
from wsrunner.errors import BadMessageError
from wsrunner.protocol import OutputFile

PATIENCE_S = 60


def file(name, content=b"new"):
    return RunFile(name, "text/plain", content)


def everything(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_files_are_put_below_a_directory_that_is_made(tmp_path):
    out = tmp_path / "a" / "b"
    saved = save([file("x"), file("deep/er/y", b"")], out)
    assert saved == [str(out / "x"), str(out / "deep/er/y")]
    assert everything(out) == ["deep", "deep/er", "deep/er/y", "x"]
    assert (out / "x").read_bytes() == b"new"


def test_a_file_of_that_name_is_replaced(tmp_path):
    (tmp_path / "x").write_text("old")
    save([file("x")], tmp_path)
    assert (tmp_path / "x").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/../../x", "", ".", "a//b", "a\nb", "\x1b[2J", "a\\b", "\u202ex"]
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(tmp_path, name):
    out = tmp_path / "out"
    with pytest.raises(SavingError) as caught:
        save([file("fine"), file(name)], out)
    assert str(caught.value).isprintable()
    assert everything(tmp_path) == []


def test_links_in_the_directory_are_not_followed(tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (outside / "x").write_text("old")
    (out / "folder").symlink_to(outside)
    (out / "x").symlink_to(outside / "x")
    save([file("x")], out)
    assert not (out / "x").is_symlink()
    with pytest.raises(SavingError, match="folder/x"):
        save([file("folder/x")], out)
    assert (outside / "x").read_text() == "old"
    assert everything(outside) == ["x"]


def test_a_folder_where_a_file_is_to_be_is_told_and_leaves_nothing_half(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(SavingError, match="x: Is a directory"):
        save([file("x")], tmp_path)
    assert everything(tmp_path) == ["x"]


def test_a_directory_that_can_t_be_made_is_told(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(SavingError, match="x/y"):
        save([file("z")], tmp_path / "x" / "y")


# The pieces.


def piece(offset, data="YWI=", size=4, name="x"):
    return OutputFile(name=name, media_type="t/t", size=size, offset=offset, base64=data)


def test_pieces_make_files():
    incoming = Incoming()
    for event in (piece(0), piece(2), piece(0, "", 0, "empty")):
        incoming.take(event)
    assert {each.name: each.content for each in incoming.files} == {"x": b"abab", "empty": b""}


@pytest.mark.parametrize(
    "events",
    [
        [piece(2)],
        [piece(0), piece(0)],
        [piece(0), piece(2, name="y")],
        [piece(0), piece(2, size=5)],
        [piece(0, size=1)],
        [piece(0, data="?")],
    ],
)
def test_pieces_out_of_place_are_refused(events):
    *before, last = events
    incoming = Incoming()
    for event in before:
        incoming.take(event)
    with pytest.raises(BadMessageError):
        incoming.take(last)


# The client and the command, with a real server.


async def test_the_client_has_a_run_s_files_after_its_exit(server):
    code = "import os\nopen('a.bin','wb').write(b'\\0' * 200000)\nos.symlink('/', 'b.bin')"
    async with Client(server.url) as client:
        run = await client.run("python", code=code, outputs=["*.bin"])
        await run.exit()
        done = await client.collect("python", code=code, outputs=["*.bin"])
    for has in (run, done):
        assert [(each.name, each.content) for each in has.files] == [("a.bin", bytes(200000))]
        assert [(each.name, each.reason) for each in has.left_out] == [("b.bin", "no_file")]


def command(server, *arguments):
    return subprocess.run(
        [*WSRUNNER, "run", "-l", "bash", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(server.url),
    )


def test_out_writes_what_the_program_makes_and_keeps_its_exit_code(server, tmp_path):
    out = tmp_path / "out"
    code = "echo said; echo 1 >x; mkdir d; echo 2 >d/y; ln -s / $'l\\e[2J'; exit 3"
    done = command(server, "-c", code, "--out", out, "--outputs", "*", "--outputs", "d/")
    assert (done.returncode, done.stdout) == (3, b"said\n")
    assert everything(out) == ["d", "d/y", "x"]
    assert f"wsrunner: wrote {out}/d/y" in done.stderr.decode()
    assert b"left out l\\x1b[2J: " in done.stderr
    assert b"\x1b" not in done.stderr


def test_out_alone_means_all_in_the_work_directory(server, tmp_path):
    done = command(server, "-c", "echo 1 >x; mkdir d; echo 2 >d/y", "--out", tmp_path)
    assert done.returncode == 0, done
    assert everything(tmp_path) == ["x"]


def test_outputs_without_out_is_a_mistake(server):
    done = command(server, "-c", "echo", "--outputs", "*")
    assert done.returncode == 2
    assert b"--out" in done.stderr


def test_a_directory_that_can_t_be_written_is_told_after_the_run(server, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "x").mkdir()
    done = command(server, "-c", "echo said; echo 1 >x", "--out", out)
    assert (done.returncode, done.stdout) == (74, b"said\n")
    assert f"can't write {out}/x: Is a directory" in done.stderr.decode()


def test_json_prints_files_as_they_come(server, tmp_path):
    done = command(server, "-c", "echo 1 >x", "--out", tmp_path, "--json")
    kinds = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert kinds == ["started", "file", "exit"]
    assert everything(tmp_path) == ["x"]
