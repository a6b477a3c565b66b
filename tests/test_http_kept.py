"""Kept runs over HTTP: begun at once, asked for, read on, driven, cancelled."""

import json

import pytest

from tests.http_talk import connect, head, post, raw, read_until, refused
from tests.serving import until
from tests.test_http_runs import events
from wsrunner.runs.events import File
from wsrunner.serving.results import GatheredFiles

ECHO = "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)\nprint('over')"
SLEEP = "print('up', flush=True)\nimport time; time.sleep(600)"
ASYNC = {"Prefer": "respond-async", "Content-Type": "application/json"}


def begin(server, code, headers=ASYNC, **fields):
    """Start a run; return what is answered."""
    body = json.dumps({"language": "python", "code": code} | fields).encode()
    status, headers, answer = post(server, "/v1/run", body, **headers)
    assert status == 202, answer
    accepted = json.loads(answer)
    assert accepted["type"] == "accepted"
    assert headers["Location"] == f"/v1/runs/{accepted['run']}"
    return accepted


def ask(server, method, accepted, path="", body=None, *, key="drive", **headers):
    """Return (status, headers, body) of a request about a run."""
    connection = connect(server)
    given = {"Run-Key": accepted[key]} | headers
    connection.request(method, f"/v1/runs/{accepted['run']}{path}", body, given)
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


def state(server, accepted, key="view"):
    status, _, body = ask(server, "GET", accepted, key=key)
    assert status == 200, body
    return json.loads(body)


def ended(server, accepted):
    """Wait for a run's end; return its state."""
    return until(lambda: (now := state(server, accepted)).get("exit") and now, "it has ended")


def test_a_run_goes_on_by_itself_and_its_result_is_asked_for_later(server):
    accepted = begin(server, "print(input())", stdin="42\n", id="mine")
    assert accepted["id"] == "mine"
    told = ended(server, accepted)
    assert told["stdout"] == "42\n"
    assert (told["exit"]["reason"], told["exit"]["code"]) == ("exited", 0)
    assert (told["stage"], told["missed_bytes"]) == ("run", 0)
    assert state(server, accepted, key="drive") == told


def test_its_state_has_the_files_that_it_made(server):
    code = "import os\nopen('a.txt', 'w').write('a'); os.symlink('a.txt', 'b.txt')"
    told = ended(server, begin(server, code, outputs=["*.txt"]))
    assert [(each["name"], each["size"], each["base64"]) for each in told["files"]] == [
        ("a.txt", 1, "YQ==")
    ]
    assert [(each["name"], each["reason"]) for each in told["left_out"]] == [("b.txt", "no_file")]


def test_of_a_file_whose_beginning_is_in_no_journal_any_more_nothing_is_shown():
    files = GatheredFiles()
    for name, offset, data in (("a", 0, b"12"), ("b", 3, b"45"), ("b", 5, b"6"), ("c", 0, b"7")):
        files.take(File(1, name, "text/plain", {"a": 4, "b": 6, "c": 1}[name], offset, data))
    assert [each.name for each in files.fields()["files"]] == ["c"]


def test_its_state_shows_what_there_is_so_far(server):
    accepted = begin(server, SLEEP)
    now = until(
        lambda: (now := state(server, accepted)).get("stdout") == "up\n" and now, "it has printed"
    )
    assert (now["stdout"], now["stage"]) == ("up\n", "run")
    assert "exit" not in now
    assert ask(server, "DELETE", accepted)[0] == 204
    assert ended(server, accepted)["exit"]["reason"] == "cancelled"


def test_it_is_driven_by_requests(server):
    accepted = begin(server, ECHO)
    for text in (b"one\n", b"two\n"):
        assert ask(server, "POST", accepted, "/stdin", text)[0] == 204
    # Sent again, as after an answer that was lost.
    assert ask(server, "POST", accepted, "/stdin?at=4", b"two\n")[0] == 204
    assert ask(server, "POST", accepted, "/eof")[0] == 204
    assert ended(server, accepted)["stdout"] == "got one\ngot two\nover\n"
    accepted = begin(server, SLEEP)
    until(lambda: state(server, accepted)["stdout"], "it has printed")
    body = json.dumps({"signal": "SIGTERM"})
    assert ask(server, "POST", accepted, "/signal", body)[0] == 204
    assert ended(server, accepted)["exit"]["signal"] == "SIGTERM"


def test_a_body_that_is_long_in_coming_holds_nothing_up(start_server):
    server = start_server(slow_client_s=600, wall_s=600, warm_max=0)
    accepted = begin(server, "print('up', flush=True)\ninput()\nprint('x' * 2**20, end='')")
    until(lambda: state(server, accepted)["stdout"], "it has printed")
    path = f"/v1/runs/{accepted['run']}/stdin"
    with raw(server) as slow:
        lines = (f"Run-Key: {accepted['drive']}", "Expect: 100-continue")
        slow.sendall(head(path, *lines, size=2))
        read_until(slow, b"100 Continue")
        slow.sendall(b"x")
        assert ask(server, "POST", accepted, "/stdin", b"\n")[0] == 204
        assert ended(server, accepted)["exit"]["reason"] == "exited"


def test_its_messages_are_read_on_from_where_they_were_left(server):
    accepted = begin(server, "print(1)\nprint(2)")
    ended(server, accepted)
    sse = {"Accept": "text/event-stream"}
    status, headers, body = ask(server, "GET", accepted, **sse)
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    whole = events(body.decode())
    assert [data["seq"] for _, _, data in whole] == list(range(1, len(whole) + 1))
    assert all(number == str(data["seq"]) for _, number, data in whole)
    assert whole[-1][0] == "exit"
    rest = ask(server, "GET", accepted, **sse, **{"Last-Event-ID": "1"})[2]
    assert events(rest.decode()) == whole[1:]
    lines = ask(server, "GET", accepted, "?after=1", Accept="application/x-ndjson")[2]
    assert [json.loads(line) for line in lines.splitlines()] == [data for _, _, data in whole[1:]]


def test_who_reads_along_and_hangs_up_leaves_it_as_it_is(server):
    accepted = begin(server, SLEEP)
    path = f"/v1/runs/{accepted['run']}"
    request = head(path, f"Run-Key: {accepted['view']}", "Accept: text/event-stream")
    with raw(server) as connection:
        connection.sendall(request.replace(b"POST", b"GET"))
        read_until(connection, b'"up\\n"')
    assert "exit" not in state(server, accepted)
    ask(server, "DELETE", accepted)
    ended(server, accepted)


def test_the_same_once_runs_once(server):
    once = "kQ3xvT9mWc0aLr5B"
    json_only = {"Content-Type": "application/json"}
    first = begin(server, "print(1)", headers=json_only, once=once)
    assert begin(server, "print(1)", headers=json_only, once=once) == first
    ended(server, first)


def test_nobody_drives_it_and_its_time_is_over(server):
    accepted = begin(server, SLEEP, keep_s=0)
    assert ended(server, accepted)["exit"]["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"language": "pyton"}, 404, "unknown_language"),
        ({"keep_s": 1e6}, 400, "limit_out_of_range"),
        ({"once": "short"}, 400, "bad_message"),
        ({"limits": {"wall_s": 1e6}}, 400, "limit_out_of_range"),
    ],
)
def test_what_is_refused_is_kept_nowhere(server, fields, status, code):
    body = json.dumps({"language": "python", "code": ""} | fields).encode()
    refused(post(server, "/v1/run", body, **ASYNC), status, code)


def test_only_its_keys_open_it_and_a_viewer_only_views(server):
    accepted = begin(server, SLEEP)
    wrong = accepted | {"drive": "x", "view": "", "bytes": "\xff"}
    for key in ("drive", "view", "bytes"):
        refused(ask(server, "GET", wrong, key=key), 404, "no_such_run")
    refused(ask(server, "GET", accepted | {"run": "x"}), 404, "no_such_run")
    for method, path, body in (
        ("DELETE", "", None),
        ("POST", "/stdin", b"x"),
        ("POST", "/eof", None),
        ("POST", "/signal", b'{"signal":"SIGINT"}'),
    ):
        refused(ask(server, method, accepted, path, body, key="view"), 403, "not_allowed")
    assert "exit" not in state(server, accepted)
    assert ask(server, "DELETE", accepted)[0] == 204
    ended(server, accepted)
    log = server.log.read_text()
    assert accepted["drive"] not in log
    assert accepted["view"] not in log


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/signal", b'{"signal":"SIGSTOP"}', {}, 400),
        ("POST", "/signal", b"{", {}, 400),
        ("POST", "/signal", b"x" * 2000, {}, 413),
        ("POST", "/stdin?at=x", b"", {}, 400),
        ("POST", "/stdin?at=99", b"x", {}, 400),
        ("POST", "/stdin?x=1", b"", {}, 400),
        ("POST", "/stdin", b"x", {"Content-Encoding": "gzip"}, 415),
        ("GET", "", None, {"Last-Event-ID": "x", "Accept": "text/event-stream"}, 400),
        ("DELETE", "", None, {"Origin": "https://evil.example"}, 403),
        ("POST", "/stdin", b"x", {"Origin": "https://evil.example"}, 403),
        ("PUT", "", None, {}, 405),
    ],
)
def test_what_makes_no_sense_is_refused(server, method, path, body, headers, status):  # noqa: PLR0917
    accepted = begin(server, SLEEP)
    answer = ask(server, method, accepted, path, body, **headers)
    assert answer[0] == status, answer
    assert json.loads(answer[2])["type"] == "error"
    ask(server, "DELETE", accepted)
    ended(server, accepted)


def test_the_token_is_needed_too(start_server):
    server = start_server(token="s3cret", warm_max=0)
    refused(ask(server, "GET", {"run": "x", "drive": "y"}), 401, "unauthorized")
