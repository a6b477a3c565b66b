"""Files that come out of runs: which, how many, and what a hostile program can make of it."""

import asyncio
import base64
import os
import shutil
import tarfile

import pytest

from tests.engines.processes import ProcessEngine
from tests.http_talk import run as http_run
from tests.talk import PATIENCE_S
from wsrunner.engines.base import Box, Frame, Plan, Report
from wsrunner.live.journal import Journal
from wsrunner.live.letters import pack_entry, unpack_event
from wsrunner.runs.archive import Archive, BadArchiveError, Entry
from wsrunner.runs.events import File, LeftOut

FILES_MAX = 64


def files_of(outcome):
    """Return name → content, and hold the pieces against what is promised of them."""
    found = {}
    for event in outcome.events:
        if event["type"] != "file":
            continue
        data = base64.b64decode(event["base64"], validate=True)
        content = found.setdefault(event["name"], bytearray())
        assert event["offset"] == len(content)
        content += data
        assert len(content) <= event["size"]
        assert len(event["base64"]) <= 128 * 1024
    for event in outcome.events:
        if event["type"] == "file":
            assert len(found[event["name"]]) == event["size"]
    return {name: bytes(content) for name, content in found.items()}


def left_out_of(outcome):
    """Return (name, reason) of what did not come."""
    return [
        (event.get("name"), event["reason"])
        for event in outcome.events
        if event["type"] == "left_out"
    ]


async def run(talk, code, *outputs, language="bash", **fields):
    return await talk.run(language, code, outputs=list(outputs), **fields)


async def test_files_that_match_come_whole_before_the_exit(talk):
    code = "printf a >a.txt; printf b >b.log; mkdir -p out/deep; printf c >out/deep/c; echo said"
    outcome = await run(talk, code, "*.txt", "out/")
    assert files_of(outcome) == {"a.txt": b"a", "out/deep/c": b"c"}
    assert outcome.stdout == "said\n"
    assert (outcome.reason, outcome.code) == ("exited", 0)
    assert [event["type"] for event in outcome.events][-3:] == ["file", "file", "exit"]
    kinds = {event["name"]: event["media_type"] for event in outcome.events if "name" in event}
    assert kinds == {"a.txt": "text/plain", "out/deep/c": "application/octet-stream"}


async def test_large_files_come_in_pieces_and_empty_ones_too(talk):
    code = "import os\nopen('big.bin','wb').write(bytes(range(256))*20000)\nopen('no.bin','wb')"
    outcome = await run(talk, code, "*.bin", language="python")
    assert files_of(outcome) == {"big.bin": bytes(range(256)) * 20000, "no.bin": b""}


async def test_wildcards_stop_at_slashes_and_brackets_mean_themselves(talk):
    code = "mkdir -p d/e; for f in a.x d/b.x d/e/c.x '[1].y' 1.y; do echo >\"$f\"; done"
    assert set(files_of(await run(talk, code, "*.x"))) == {"a.x"}
    assert set(files_of(await run(talk, code, "*/*.x"))) == {"d/b.x"}
    assert set(files_of(await run(talk, code, "d/"))) == {"d/b.x", "d/e/c.x"}
    assert set(files_of(await run(talk, code, "?/"))) == {"d/b.x", "d/e/c.x"}
    assert set(files_of(await run(talk, code, "[1].y"))) == {"[1].y"}
    assert set(files_of(await run(talk, code, "nothing.*"))) == set()


async def test_what_a_pattern_of_a_folder_does_not_mean_is_not_read(talk):
    code = (
        "mkdir -p ax lib/bx/cx ay/dx; for f in ax lib/bx ay/dx; do truncate -s 60M $f/big; done\n"
        "rm ax/big; mkdir ax/in; touch ax/in/1 lib/bx/2 lib/bx/cx/3 ay/dx/4 ay/5 6"
    )
    outcome = await run(talk, code, "*x/")
    assert (set(files_of(outcome)), left_out_of(outcome)) == ({"ax/in/1"}, [])
    outcome = await run(talk, code, "*x/", "lib/?x/*x/", "*/5", "?")
    assert set(files_of(outcome)) == {"ax/in/1", "lib/bx/cx/3", "ay/5", "6"}
    assert left_out_of(outcome) == []


async def test_only_what_the_run_has_made_or_changed_comes(talk):
    files = [
        {"name": "main.sh", "content": "printf BB >b.txt; printf c >c.txt; printf d >>d.txt"},
        {"name": "a.txt", "content": "aa"},
        {"name": "b.txt", "content": "bb"},
        {"name": "d.txt", "content": "d"},
    ]
    outcome = await talk.run("bash", files=files, outputs=["*"])
    assert files_of(outcome) == {"b.txt": b"BB", "c.txt": b"c", "d.txt": b"dd"}


async def test_a_terminal_run_gives_files_byte_for_byte(talk):
    code = "printf 'a\\nb\\r\\n\\004\\003' >x; echo hi;head -c 300000 /dev/zero | tr '\\0' '\\n' >y"
    outcome = await run(talk, code, "x", "y", tty={})
    assert files_of(outcome) == {"x": b"a\nb\r\n\x04\x03", "y": b"\n" * 300000}
    assert outcome.stdout == "hi\r\n"


async def test_what_is_typed_when_a_terminal_program_has_ended_is_not_among_its_files(
    tmp_path, monkeypatch
):
    # Slow, so that there is time to type wherever the terminal's mode changes.
    slow = tmp_path / "stty"
    slow.write_text(f'#!/bin/sh\nsleep 0.3\nexec {shutil.which("stty")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    plan = Plan(
        files={}, build=(), run="sh -c 'echo hi >x'", wall_s=60, cpu_s=60, outputs=("x",),
        window=(80, 24),
    )  # fmt: skip
    archive = Archive()
    async with ProcessEngine() as engine:
        container = await engine.start(Box("any", True, 0, 0, 0, 0))
        container.begin(plan)
        items = []
        while not any(isinstance(item, Report) for item in items):
            items = await container.read(PATIENCE_S)
            assert items
        container.write(b"typed\n")
        begun = []
        while items:
            frames = [item.data for item in items if isinstance(item, Frame)]
            begun += archive.feed(b"".join(frames))
            items = await container.read(PATIENCE_S)
        await container.destroy()
    archive.finish()
    assert [item.name for item in begun if isinstance(item, Entry)] == ["x"]
    assert archive.status == 0


async def test_a_program_that_fails_gives_its_files_too(talk):
    outcome = await run(talk, "echo 1 >x; kill -SEGV $$", "x")
    assert files_of(outcome) == {"x": b"1\n"}
    assert outcome.signal == "SIGSEGV"


async def test_a_build_that_fails_or_a_run_that_is_ended_gives_none(talk):
    outcome = await run(talk, "int main(void) { return x; }", "*", language="c")
    assert (outcome.stage, files_of(outcome), left_out_of(outcome)) == ("build", {}, [])
    outcome = await run(talk, "echo 1 >x; sleep 600", "x", limits={"wall_s": 0.5})
    assert (outcome.reason, files_of(outcome)) == ("timeout", {})


async def test_files_of_built_programs_come(talk):
    code = '#include <stdio.h>\nint main(void) { FILE *x = fopen("x", "w"); fputs("1", x); }'
    outcome = await run(talk, code, "x", language="c")
    assert (outcome.stages, files_of(outcome)) == (["build", "run"], {"x": b"1"})


async def test_links_devices_and_pipes_are_told_and_not_followed(talk):
    code = (
        "ln -s /etc/passwd s.o; ln -s /etc d.o; mkfifo p.o; echo 1 >a.o; ln a.o b.o;"
        "ln -s /proc/1/environ e.o; ln -s . deep; echo end"
    )
    outcome = await run(talk, code, "*.o", "deep/")
    # Of two names of one file the second that is found is a link.
    (name,) = files_of(outcome)
    assert name in {"a.o", "b.o"}
    told = dict(left_out_of(outcome))
    assert set(told) == {"s.o", "d.o", "p.o", "e.o", ({"a.o", "b.o"} - {name}).pop()}
    assert set(told.values()) == {"no_file"}


async def test_names_that_could_do_harm_are_told_escaped(talk):
    code = (
        "import os\n"
        "for name in [b'a\\nb.t', b'\\x1b[31mred.t', b'\\xff.t', 'r\\u202egpj.t'.encode(),"
        " b'back\\\\slash.t', b'fine \\xc3\\xa9.t', b'-rf.t']: open(name, 'w').write('1')"
    )
    outcome = await run(talk, code, "*.t", language="python")
    assert set(files_of(outcome)) == {"fine é.t", "-rf.t"}
    told = left_out_of(outcome)
    assert {reason for _, reason in told} == {"bad_name"}
    assert {name for name, _ in told} == {
        "a\\nb.t", "\\x1b[31mred.t", "\\udcff.t", "r\\u202egpj.t", "back\\slash.t",
    }  # fmt: skip


async def test_names_longer_than_may_come_are_cut(talk):
    code = "d=$(printf 'x%.0s' {1..200}); mkdir -p $d/$d; echo >$d/$d/f; echo >$d/ok"
    outcome = await run(talk, code, "x*/")
    assert list(files_of(outcome)) == ["x" * 200 + "/ok"]
    ((name, reason),) = left_out_of(outcome)
    assert (len(name), reason) == (256, "bad_name")


async def test_more_files_than_may_come_are_told(talk):
    outcome = await run(talk, "for i in {1..66}; do echo >f$i; done", "f*")
    assert len(files_of(outcome)) == FILES_MAX
    assert [reason for _, reason in left_out_of(outcome)] == ["too_many"] * 2


async def test_of_very_many_files_the_rest_is_not_read(talk):
    outcome = await run(talk, "for i in {1..3000}; do : >f$i; done", "f*")
    assert len(files_of(outcome)) == FILES_MAX
    told = left_out_of(outcome)
    assert len(told) == 65
    assert told[-1] == (None, "too_many")
    assert outcome.reason == "exited"


async def test_huge_and_sparse_files_are_told_and_others_come(talk):
    outcome = await run(talk, "truncate -s 17M big; echo 1 >small", "big", "small")
    assert files_of(outcome) == {"small": b"1\n"}
    assert left_out_of(outcome) == [("big", "too_large")]


async def test_more_sparse_files_than_are_looked_through_end_the_reading(talk):
    outcome = await run(talk, "for i in {1..40}; do truncate -s 100M $i; done", "*")
    assert (None, "too_large") in left_out_of(outcome)
    assert outcome.reason == "exited"


async def test_processes_that_stay_are_gone_before_files_are_read(talk):
    code = (
        "(trap '' TERM HUP; while :; do echo grows >>x; done) & disown\n"
        "setsid sh -c 'while :; do echo noise; echo more >>x; done' &\n"
        "while ! [ -s x ]; do :; done\n"
    )
    outcome = await run(talk, code, "x")
    assert set(files_of(outcome)["x"].split()) <= {b"grows", b"more", b"mor", b"gro"}
    assert left_out_of(outcome) == []
    assert (outcome.reason, outcome.code) == ("exited", 0)


async def test_a_fork_bomb_left_behind_does_not_keep_files_back(talk):
    code = "echo 1 >x; f() { f | f & }; f 2>/dev/null; exit 3"
    outcome = await run(talk, code, "x")
    assert outcome.code == 3
    assert files_of(outcome) == {"x": b"1\n"}


@pytest.mark.parametrize("target", ["x", "."])
async def test_what_can_t_be_read_is_told(talk, target):
    outcome = await run(talk, f"echo 1 >x; echo 2 >y; chmod 0 {target}", "*")
    assert (None, "unreadable") in left_out_of(outcome)
    assert set(files_of(outcome)) == ({"y"} if target == "x" else set())


async def test_outputs_that_make_no_sense_are_refused(talk):
    for outputs, code, path in [
        (["x"] * 17, "too_large", "$.outputs"),
        (["x" * 256], "too_large", "$.outputs[0]"),
        (["ok", ""], "bad_message", "$.outputs[1]"),
        (["/etc/*"], "bad_message", "$.outputs[0]"),
        (["../x"], "bad_message", "$.outputs[0]"),
        (["a//b"], "bad_message", "$.outputs[0]"),
        (["/"], "bad_message", "$.outputs[0]"),
        (["a/**"], "bad_message", "$.outputs[0]"),
        (["a\nb"], "bad_message", "$.outputs[0]"),
        (["a\0"], "bad_message", "$.outputs[0]"),
        ("*.png", "bad_message", "$.outputs"),
        ([1], "bad_message", "$.outputs[0]"),
    ]:
        outcome = await talk.run("bash", "echo", outputs=outputs)
        assert (outcome.error["code"], outcome.error["path"]) == (code, path), outputs


async def test_patterns_of_many_wildcards_cost_nothing_special(talk):
    pattern = "*a" * 100
    async with asyncio.timeout(PATIENCE_S):
        outcome = await run(talk, "n=$(printf 'a%.0s' {1..200}); echo >${n}b", pattern)
    assert files_of(outcome) == {}


async def test_a_quote_or_a_shell_s_word_in_a_pattern_is_a_character(talk):
    outcome = await run(talk, 'echo 1 >"it\'s \\$(id)"; echo 2 >-o', "it's $(id)", "-o", "(", "!")
    assert files_of(outcome) == {"it's $(id)": b"1\n", "-o": b"2\n"}


async def test_a_server_may_let_no_file_out(start_server):
    started = start_server(files_mb=0)
    result = http_run(started, language="bash", code="echo 1 >x; : >y", outputs=["*"])
    assert [file["name"] for file in result["files"]] == ["y"]
    (told,) = result["left_out"]
    assert (told["name"], told["reason"]) == ("x", "too_large")


# Over HTTP.


def test_an_answer_has_files_whole_and_what_did_not_come(server):
    code = "head -c 200000 /dev/zero >big.bin; : >no.bin; ln -s / l.bin"
    result = http_run(server, language="bash", code=code, outputs=["*.bin"])
    files = {file["name"]: base64.b64decode(file["base64"]) for file in result["files"]}
    assert files == {"big.bin": bytes(200000), "no.bin": b""}
    assert {file["media_type"] for file in result["files"]} == {"application/octet-stream"}
    (told,) = result["left_out"]
    assert (told["name"], told["reason"]) == ("l.bin", "no_file")


def test_an_answer_of_a_run_that_asked_for_no_files_has_no_word_of_them(server):
    assert {"files", "left_out"}.isdisjoint(http_run(server, language="bash", code="echo >x"))


# The archive, without a container.


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("step", [1, 7, 511, 512, 100_000])
def test_an_archive_is_the_same_however_it_is_cut(step):
    long = "n" * 300
    data = header("./a", 600) + b"x" * 600 + bytes(424) + header(long, 0) + bytes(10240)
    data += header("l", 0, tarfile.SYMTYPE) + bytes(1024) + b"end 0\n"
    archive = Archive()
    items = [
        item for at in range(0, len(data), step) for item in archive.feed(data[at : at + step])
    ]
    archive.finish()
    assert archive.status == 0
    entries = [item for item in items if isinstance(item, Entry)]
    assert entries == [Entry("a", "file", 600), Entry(long, "file", 0), Entry("l", "link", 0)]
    assert b"".join(item.data for item in items if not isinstance(item, Entry)) == b"x" * 600


@pytest.mark.parametrize(
    "data",
    [
        b"noise " * 100,
        header("a", 0)[:-20] + b"\xff" * 20 + b"y" * 512,
        header("a", 10_000, tarfile.GNUTYPE_LONGNAME),
        header("a", 0, tarfile.GNUTYPE_LONGNAME),
    ],
)
def test_what_is_no_archive_is_not_believed(data):
    archive = Archive()
    with pytest.raises(BadArchiveError):
        archive.feed(data + bytes(512))


@pytest.mark.parametrize(
    "data", [b"", bytes(512), header("a", 5) + b"xx", b"end 0", b"end 0\nmore", header("a", 1)]
)
def test_an_archive_without_its_end_has_no_status(data):
    archive = Archive()
    archive.feed(data)
    archive.finish()
    assert archive.status is None


# Kept runs.


async def test_files_of_a_kept_run_come_to_who_attaches_later(talk):
    await talk.say(
        "run", language="bash", code="echo hi >a.x; ln -s / b.x", outputs=["*.x"], keep_s=60
    )
    accepted = await talk.hear_kind("accepted")
    first = await talk.finish()
    await talk.say("attach", id="b", run=accepted["run"], key=accepted["view"])
    second = await talk.finish("b")
    for outcome in (first, second):
        assert files_of(outcome) == {"a.x": b"hi\n"}
        assert left_out_of(outcome) == [("b.x", "no_file")]
        numbers = [event["seq"] for event in outcome.events if "seq" in event]
        assert numbers == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "event",
    [File(0, "x", "t/t", 3, 1, b"\xff\0"), LeftOut(0, None, "too_many", "é")],
)
def test_what_is_told_of_files_is_the_same_from_another_replica(event):
    journal = Journal(1000)
    journal.append(1, event._replace(seq=1))
    (entry,) = journal.after(0, 1000)
    assert unpack_event(pack_entry(entry)[1]) == (event, 0)
    assert entry.output_bytes == 0
    assert journal.held_bytes == 256 + (2 if isinstance(event, File) else 0)
