"""The dialogue with the bootstrap: what is written, and what comes out of its output."""

import json
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import storm
from wsrunner import languages
from wsrunner.engines.base import STDERR, STDOUT, Asks, BadReportError, Frame, Plan, Report
from wsrunner.engines.dialogue import bootstrap
from wsrunner.engines.dialogue.bootstrap import (
    HEADER_BYTES,
    INLINE_MAX_BYTES,
    Reports,
)

MARK = b"\x1e" + b"0123456789abcdef" * 2
RUN = Report(stage="run", code=0, signal=None, wall_s=0.75, cpu_s=0.5, peak_bytes=4096, oom_kills=0)
RUN_LINE = b" run 0 exited 750000000 500000000 4096 0\n"
BUILD_LINE = b" build 0 exited 2000 1000 - -\n"


def plan(**fields):
    return Plan(**({"files": {}, "build": (), "run": "true", "wall_s": 1, "cpu_s": 1} | fields))


def feed(reports, *frames):
    return [item for frame in frames for item in reports.feed(frame)]


def output(items, stream):
    return b"".join(i.data for i in items if isinstance(i, Frame) and i.stream == stream)


def found(items):
    return [item for item in items if isinstance(item, Report)]


def test_marks_are_new_each_time_and_begin_with_a_control_character():
    marks = {bootstrap.new_mark() for _ in range(100)}
    assert len(marks) == 100
    assert all(mark[:1] == b"\x1e" and len(mark) == 33 for mark in marks)


# Reports.


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("tty", [False, True])
def test_a_notice_comes_where_it_was_written_however_it_is_cut(step, tty):
    stream = STDOUT if tty else STDERR
    said = b"a? " + MARK + b"!waiting\r\n" + b"b" + MARK + b"!running\nc"
    reports = Reports(MARK, tty=tty)
    frames = [Frame(stream, said[at : at + step]) for at in range(0, len(said), step)]
    items = feed(reports, *frames)
    notices = [at for at, item in enumerate(items) if isinstance(item, Asks)]
    assert [items[at].waiting for at in notices] == [True, False]
    parts = (items[: notices[0]], items[notices[0] : notices[1]], items[notices[1] :])
    assert [output(part, stream) for part in parts] == [b"a? ", b"b", b"c"]


def test_a_notice_without_an_end_is_not_waited_for():
    with pytest.raises(BadReportError):
        feed(Reports(MARK, tty=False), Frame(STDERR, MARK + b"!" + b"x" * 1000))


@pytest.mark.parametrize(
    "figures",
    [
        "256 exited 0 0 0 0",
        "-1 exited 0 0 0 0",
        "128 signaled 0 0 0 0",
        "193 signaled 0 0 0 0",
        f"{'9' * 60} exited 0 0 0 0",
        "0 exited -1 0 0 0",
        "0 exited 0 -1 0 0",
        "0 exited 0 0 -1 0",
        "0 exited 0 0 0 -1",
        "0 exited 0 0 0",
        f"0 exited {10**40} 0 0 0",
    ],
)
def test_a_report_that_no_bootstrap_can_have_written_is_none(figures):
    reports = Reports(MARK, tty=True)
    with pytest.raises(BadReportError):
        feed(reports, Frame(STDOUT, MARK + f" run {figures}\n".encode()))


def test_a_report_counts_when_both_streams_have_shown_the_mark():
    reports = Reports(MARK, tty=False)
    assert feed(reports, Frame(STDERR, b"warn" + MARK + RUN_LINE)) == [Frame(STDERR, b"warn")]
    assert feed(reports, Frame(STDOUT, b"last words")) == [Frame(STDOUT, b"last words")]
    assert feed(reports, Frame(STDOUT, MARK)) == [RUN]


def test_the_streams_may_end_in_the_other_order():
    reports = Reports(MARK, tty=False)
    assert feed(reports, Frame(STDOUT, b"out" + MARK)) == [Frame(STDOUT, b"out")]
    assert feed(reports, Frame(STDERR, MARK + RUN_LINE)) == [RUN]


def test_what_a_stream_brings_after_its_mark_waits_for_the_report():
    reports = Reports(MARK, tty=False)
    assert feed(reports, Frame(STDOUT, b"a" + MARK + b"b" + MARK)) == [Frame(STDOUT, b"a")]
    items = feed(reports, Frame(STDERR, MARK + BUILD_LINE + b"e" + MARK + RUN_LINE))
    assert [item.stage for item in found(items)] == ["build", "run"]
    assert output(items, STDOUT) == b"b"
    assert output(items, STDERR) == b"e"
    # Output of the second stage comes after the first one's report.
    assert items[0].stage == "build"
    assert items[-1].stage == "run"


def test_a_terminal_has_one_stream_and_one_mark():
    reports = Reports(MARK, tty=True)
    items = feed(reports, Frame(STDOUT, b"\x1b[1mhi\r\n" + MARK + b" ready 0 exited - - - -\r\n"))
    assert items[0] == Frame(STDOUT, b"\x1b[1mhi\r\n")
    assert found(items)[0].stage == "ready"
    assert found(feed(reports, Frame(STDOUT, MARK + RUN_LINE))) == [RUN]


def test_codes_and_signals_are_told_apart():
    cases = {
        b" run 139 exited 1 2 3 4\n": (139, None),
        b" run 139 signaled 1 2 3 4\n": (None, 11),
        b" run 0 exited - - - -\n": (0, None),
    }
    for line, expected in cases.items():
        (report,) = found(feed(Reports(MARK, tty=True), Frame(STDOUT, MARK + line)))
        assert (report.code, report.signal) == expected


def test_figures_that_the_runtime_does_not_give_are_none():
    (report,) = found(
        feed(Reports(MARK, tty=True), Frame(STDOUT, MARK + b" run 0 exited - - - -\n"))
    )
    assert (report.wall_s, report.cpu_s, report.peak_bytes) == (None, None, None)
    assert report.oom_kills == 0


def test_rest_hands_out_what_was_held_back_when_the_end_came_without_a_report():
    reports = Reports(MARK, tty=False)
    items = feed(reports, Frame(STDOUT, b"a" + MARK[:10]), Frame(STDERR, b"b\x1e"))
    assert (output(items, STDOUT), output(items, STDERR)) == (b"a", b"b")
    assert reports.rest() == [Frame(STDOUT, MARK[:10]), Frame(STDERR, b"\x1e")]


texts = st.lists(
    st.sampled_from([b"a", b"\n", b"\x1e", MARK[:5], MARK[:-1], MARK[1:], b"\x1e\x1e", b"\0\xff"])
    | st.binary(max_size=8),
    max_size=8,
).map(b"".join).filter(lambda data: MARK not in data and MARK not in data + MARK[:-1])  # fmt: skip


@example(b"", b"", b"", b"", [], [])
@given(texts, texts, texts, texts, st.lists(st.integers(1, 40)), st.lists(st.booleans()))
def test_cut_anywhere_the_output_is_the_same_and_the_stages_are_in_order(  # noqa: PLR0917
    build_out, build_err, run_out, run_err, cuts, turns
):
    streams = {
        STDOUT: build_out + MARK + run_out + MARK,
        STDERR: build_err + MARK + BUILD_LINE + run_err + MARK + RUN_LINE,
    }
    reports = Reports(MARK, tty=False)
    items, cuts, turns = [], iter(cuts), iter(turns)
    while any(streams.values()):
        stream = STDOUT if next(turns, True) else STDERR
        if not streams[stream]:
            stream = STDERR if stream == STDOUT else STDOUT
        size = next(cuts, 1000)
        items += reports.feed(Frame(stream, streams[stream][:size]))
        streams[stream] = streams[stream][size:]
    # A mark right behind a prefix of itself still counts as the first whole one.
    assert [report.stage for report in found(items)] == ["build", "run"]
    assert output(items, STDOUT) == build_out + run_out
    assert output(items, STDERR) == build_err + run_err
    between = items.index(found(items)[0])
    assert output(items[:between], STDOUT) == build_out
    assert output(items[:between], STDERR) == build_err
    assert items[-1] == RUN
    assert reports.rest() == []


@given(st.binary(max_size=100), st.lists(st.integers(1, 7)))
def test_output_without_a_mark_is_handed_on_whole(data, cuts):
    reports = Reports(MARK, tty=False)
    items, cuts, rest = [], iter(cuts), data
    while rest:
        size = next(cuts, 3)
        items += reports.feed(Frame(STDOUT, rest[:size]))
        rest = rest[size:]
    assert output(items + reports.rest(), STDOUT) == data


# The request, as a real shell takes it.


SHELLS = [shell for shell in ("bash", "sh") if shutil.which(shell)]


def script_of(encoded):
    """Check the header and return (script, what follows)."""
    header = encoded[:HEADER_BYTES]
    assert header.endswith(b"\n")
    mark, size = header.split()
    assert mark == MARK
    body = encoded[HEADER_BYTES:]
    return body[: int(size)], body[int(size) :]


def carried_out(request, folder, shell="sh"):
    """Carry a request's files and stages out with a real shell that knows `put` and `stage`."""
    script, raw = script_of(bootstrap.encode(request, MARK))
    words = (
        'limits() { :; }\nput() { head -c "$2" >"$1" <&3; }\nstage() { ( "$2" ); }\nreset= shell='
        + shell
        + "\n"
    )
    (folder / ".raw").write_bytes(raw)
    return subprocess.run(
        [shell, "-c", f"exec 3<.raw\n{words}" + script.decode()],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=60,
    )


odd_text = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30
)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=10, deadline=None)
@given(args=st.lists(odd_text, max_size=5), value=odd_text)
@example(args=["'", '"', "$x", "`y`", "\\", "\n", "*", "", "-n", "%s"], value="\n\n")
def test_args_and_env_pass_any_shell_unchanged(shell, args, value, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    program = "import sys,os,json; print(json.dumps([sys.argv[1:], os.environ['K']]))"
    request = plan(run=f'python3 -c "{program}"', args=args, env={"K": value})
    done = carried_out(request, folder, shell)
    assert json.loads(done.stdout) == [args, value], done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_files_pass_any_shell_unchanged(shell, tmp_path):
    files = {
        "a": b"",
        "b c": b"\n\n",
        "d/e/f'g\"h": b"%s\\n\\",
        "-n": b"x" * INLINE_MAX_BYTES,
        "long": b"y" * (INLINE_MAX_BYTES + 1),
        "nul": b"\0" * 10,
        "bytes": bytes(range(256)),
        "é": "é".encode(),
        "d/2": b"same folder",
    }
    done = carried_out(plan(files=files), tmp_path, shell)
    assert done.returncode == 0, done.stderr
    for name, content in files.items():
        assert (tmp_path / name).read_bytes() == content


def test_only_files_that_a_shell_can_t_hold_follow_the_script():
    files = {"text": b"small", "nul": b"\0", "big": b"b" * (INLINE_MAX_BYTES + 1)}
    script, raw = script_of(bootstrap.encode(plan(files=files), MARK))
    assert raw == b"\0" + files["big"]
    assert b"small" in script


@pytest.mark.parametrize(
    "run", ["echo one two", "exit 7", "cd / && pwd", "x=1; echo $x", "true | cat"]
)
def test_a_command_may_be_any_shell_line(run, tmp_path):
    expected = subprocess.run(["sh", "-c", run], cwd=tmp_path, capture_output=True, check=False)
    done = carried_out(plan(run=run), tmp_path)
    assert (done.returncode, done.stdout) == (expected.returncode, expected.stdout)


def test_a_build_stops_at_its_first_failure_and_the_run_does_not_follow(tmp_path):
    request = plan(build=["echo 1", "false", "echo 2"], run="echo ran")
    done = carried_out(request, tmp_path)
    assert (done.returncode, done.stdout) == (1, b"1\n")


def test_live_variables_do_not_override_the_client_s(tmp_path):
    request = plan(run="printenv A B", live_env={"A": "live", "B": "live"}, env={"A": "own"})
    assert carried_out(request, tmp_path).stdout == b"own\nlive\n"


def test_limits_are_whole_seconds_and_never_none():
    script, _ = script_of(bootstrap.encode(plan(wall_s=0.1, cpu_s=0.1), MARK))
    assert b"limits 1 3\n" in script


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_no_end_is_told_wrong_in_a_storm_of_signals(shell, need):
    image = need("python")
    done = storm.begin(150, shell, image=image)
    assert (done.returncode, done.stdout) == (0, "150 runs, 0 told wrong\n"), done.stderr


def test_every_line_of_the_catalogue_is_exec_ed_without_a_shell():
    for language in languages.load():
        line = language.commands(["a b'c é." + language.file.rpartition(".")[2]]).run
        script, _ = script_of(bootstrap.encode(plan(run=line), MARK))
        assert b"exec $reset $shell" not in script, language.id
