"""Runs over HTTP: the forms of an answer, what is refused and how, and who hangs up."""

import base64
import contextlib
import json
import shutil
import socket
import struct
import subprocess

import pytest

from tests.docker_fixtures import absent
from tests.http_talk import connect, head, post, raw, read_all, read_until, refused, run
from tests.serving import until

JSON = "Content-Type: application/json"
HELLO = {"language": "python", "code": "print('hello')"}
SLEEP = "print('up', flush=True)\nimport time\ntime.sleep(600)"
TOKEN = "s3cret-token-for-tests"


def curl(*arguments, data=None):
    """Return what curl prints, and its exit code."""
    path = shutil.which("curl") or absent("curl")
    done = subprocess.run(
        [path, "-sSN", *arguments], input=data, capture_output=True, check=False, timeout=60
    )
    return done.stdout, done.returncode


def live(server):
    """Return how many runs have a slot or wait for one."""
    samples = server.metrics()
    return samples["wsrunner_gate_held"] + samples["wsrunner_gate_waiting"]


# The whole result at once.


def test_a_run_s_answer_is_its_output_and_its_end(server):
    code = "import sys; print(input()); print('oh', file=sys.stderr); sys.exit(3)"
    result = run(server, language="python", code=code, stdin="42\n")
    assert (result["stdout"], result["stderr"]) == ("42\n", "oh\n")
    end = result["exit"]
    assert (end["stage"], end["reason"], end["code"], end["signal"]) == ("run", "exited", 3, None)
    assert end["run"] == result["run"]
    assert (end["output_bytes"], end["truncated"]) == (6, False)


def test_without_stdin_it_is_empty(server):
    assert run(server, language="python", code="import sys; print(len(sys.stdin.read()))")[
        "stdout"
    ] == "0\n"  # fmt: skip


def test_the_fields_are_those_of_a_socket_s_run(server):
    other = base64.b64encode(b"import os; X = os.environ['K']").decode()
    result = run(
        server,
        type="run",
        id="mine",
        language="python",
        files=[
            {"name": "main.py", "content": "import os, sys, other; print(other.X, sys.argv[1:])"},
            {"name": "other.py", "base64": other},
        ],
        args=["a b"],
        env={"K": "v"},
        limits={"wall_s": 5},
        merge=True,
    )
    assert (result["id"], result["stdout"]) == ("mine", "v ['a b']\n")


def test_output_that_is_no_text_comes_as_base64(server):
    result = run(server, language="python", code="import os; os.write(1, bytes([255, 10]))")
    assert "stdout" not in result
    assert base64.b64decode(result["stdout_base64"]) == b"\xff\n"
    assert result["stderr"] == ""


def test_a_program_that_does_not_build_has_ended_in_that_stage(server, need):
    need("c")
    result = run(server, language="c", code="int main(void) { return x; }")
    assert result["exit"]["stage"] == "build"
    assert "x" in result["stderr"]


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("while True: pass", {"wall_s": 0.5}, "timeout"),
        ("while True: print('y' * 1000)", {"output_kb": 4}, "output_limit"),
        ("import os; os.abort()", {}, "signaled"),
    ],
)
def test_every_end_is_told_as_on_a_socket(server, code, limits, reason):
    result = run(server, language="python", code=code, limits=limits)
    assert result["exit"]["reason"] == reason
    assert result["exit"]["truncated"] == (reason == "output_limit")


def test_one_connection_carries_one_run_after_the_other(server):
    with contextlib.closing(connect(server)) as connection:
        for number in range(3):
            connection.request(
                "POST",
                "/v1/run",
                json.dumps({"language": "python", "code": f"print({number})"}),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            assert json.loads(response.read())["stdout"] == f"{number}\n"
            assert connection.sock is not None


def test_http_1_0_gets_the_result_and_the_end_of_the_connection(server):
    body = json.dumps(HELLO).encode()
    for accept in ("application/json", "text/event-stream"):
        request = head("/v1/run", JSON, f"Accept: {accept}", size=len(body)) + body
        with raw(server) as connection:
            connection.sendall(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.0 200 ")
        assert b"chunked" not in answer
        assert b"hello\\n" in answer


def test_http_1_0_is_shown_the_end_of_a_stream_though_it_would_keep_the_connection(server):
    request = head("/v1/run/python", "Connection: keep-alive", size=9) + b"print(42)"
    with raw(server) as connection:
        connection.sendall(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = read_all(connection)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n42\n")


def test_a_client_that_waits_for_100_continue_gets_it_only_where_its_body_is_wanted(server):
    body = json.dumps(HELLO).encode()
    with raw(server) as connection:
        connection.sendall(
            head("/v1/run", JSON, "Expect: 100-continue", "Connection: close", size=len(body))
        )
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b"hello\\n" in read_all(connection)
    for lines, status in (
        ([JSON, "Expect: 100-continue"], b"413"),
        (["Content-Type: text/plain", "Expect: 100-continue"], b"415"),
        ([JSON, "Expect: a-miracle"], b"417"),
    ):
        with raw(server) as connection:
            connection.sendall(head("/v1/run", *lines, "Connection: close", size=10_000_000))
            answer = read_until(connection, b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 " + status), answer


# A form with files.


def form(*parts, end=b"--x--\r\n"):
    """Return a form of (name, file name or None, content)."""
    body = b""
    for name, filename, content in parts:
        named = f'; filename="{filename}"' if filename is not None else ""
        disposition = f'Content-Disposition: form-data; name="{name}"{named}'
        body += b"--x\r\n" + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + end


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
NESTED = b"Content-Type: multipart/mixed; boundary=y"
LANGUAGE = ("language", None, b"python")


def test_a_form_carries_files_of_any_bytes(server):
    data = bytes(range(256)) + b"\r\n--y\r\n"
    code = b"import sys; print(list(open('lib/data.bin', 'rb').read()), sys.argv[1:], input())"
    body = form(
        LANGUAGE,
        ("file", "main.py", code),
        ("file", "lib/data.bin", data),
        ("arg", None, b"a b"),
        ("arg", None, b""),
        ("stdin", None, "é".encode()),
    )
    result = json.loads(post(server, "/v1/run", body, **MULTIPART)[2])
    assert result["stdout"] == f"{list(data)} ['a b', ''] é\n"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_message"),
        (b"no form", 400, "bad_message"),
        (form(LANGUAGE), 400, "bad_message"),
        (form(("code", None, b"")), 400, "bad_message"),
        (form(LANGUAGE, LANGUAGE, ("code", None, b"")), 400, "bad_message"),
        (form(LANGUAGE, ("cod", None, b"")), 400, "bad_message"),
        (form(LANGUAGE, ("code", None, b"\xff")), 400, "bad_message"),
        (form(LANGUAGE, ("file", None, b"")), 400, "bad_message"),
        (form(LANGUAGE, ("file", "../x", b"")), 400, "bad_message"),
        (form(LANGUAGE, ("file", "a", b""), ("file", "a", b"")), 400, "bad_message"),
        (form(LANGUAGE, ("code", None, b""), ("file", "a", b"")), 400, "bad_message"),
        (form(("language", None, b"pyton"), ("code", None, b"")), 404, "unknown_language"),
        (form(LANGUAGE, *[("file", f"f{n}", b"") for n in range(70)]), 413, "too_large"),
        (form(LANGUAGE, *[("arg", None, b"")] * 1000), 413, "too_large"),
        (form(LANGUAGE, ("code", None, b"x" * 2_000_000)), 413, "too_large"),
        (form(LANGUAGE, ("code", None, b""), end=b""), 400, "bad_message"),
        (b"--x\r\n" + b"A: b\r\n" * 1000 + b"\r\n--x--", 400, "bad_message"),
        (b"--x\r\n" + NESTED + b"\r\n\r\n--y--\r\n--x--", 400, "bad_message"),
        (b"--x\r\nContent-Transfer-Encoding: x\r\n\r\na\r\n--x--", 400, "bad_message"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_form_that_makes_no_sense_is_refused(server, body, status, code):
    refused(post(server, "/v1/run", body, **MULTIPART), status, code)


def test_a_form_without_its_boundary_is_refused(server):
    headers = {"Content-Type": "multipart/form-data"}
    refused(post(server, "/v1/run", form(LANGUAGE), **headers), 400, "bad_message")


# As it comes.


def events(text):
    """Return server-sent events as (event, id, data)."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


def test_server_sent_events_are_the_socket_s_messages(server):
    status, headers, body = post(server, "/v1/run", HELLO, Accept="text/event-stream")
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    assert headers["Cache-Control"] == "no-store"
    found = events(body.decode())
    assert [event for event, _, _ in found] == ["started", "stdout", "exit"]
    assert [number for _, number, _ in found] == ["1", "2", "3"]
    assert all(data["type"] == event for event, _, data in found)
    assert found[1][2]["data"] == "hello\n"
    assert headers["Wsrunner-Run"] == found[2][2]["run"]


def test_ndjson_is_one_message_a_line(server):
    status, headers, body = post(
        server, "/v1/run", HELLO | {"id": "x"}, Accept="application/x-ndjson"
    )
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    messages = [json.loads(line) for line in body.splitlines()]
    assert [message["type"] for message in messages] == ["started", "stdout", "exit"]
    assert {message["id"] for message in messages} == {"x"}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/html, application/xhtml+xml", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        ("text/html;q=0.9, Text/Event-Stream;q=0.8, */*;q=0.1", "text/event-stream"),
    ],
)
def test_accept_chooses_the_form(server, accept, kind):
    assert post(server, "/v1/run", HELLO, Accept=accept)[1]["Content-Type"] == kind


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_output_comes_while_the_program_runs(server, accept):
    body = json.dumps({"language": "python", "code": SLEEP}).encode()
    with raw(server) as connection:
        connection.sendall(head("/v1/run", JSON, f"Accept: {accept}", size=len(body)) + body)
        assert read_until(connection, b'"up')
    server.settle()


def test_who_waits_in_the_queue_hears_its_position(one_slot):
    with raw(one_slot) as first, raw(one_slot) as second:
        body = json.dumps({"language": "python", "code": SLEEP}).encode()
        request = head("/v1/run", JSON, "Accept: text/event-stream", size=len(body)) + body
        first.sendall(request)
        read_until(first, b'"up')
        second.sendall(request)
        assert b'"position":1' in read_until(second, b"}\n\n")


def test_a_stream_is_kept_alive_while_nothing_happens(start_with):
    server = start_with("import wsrunner.serving.doors.runs as r", "r.KEEP_ALIVE_S = 0.2")
    body = json.dumps({"language": "python", "code": SLEEP}).encode()
    with raw(server) as connection:
        connection.sendall(
            head("/v1/run", JSON, "Accept: text/event-stream", size=len(body)) + body
        )
        read_until(connection, b'"up')
        assert read_until(connection, b"\n:\n\n")


# Plain source.


def test_curl_sends_a_source_and_prints_its_output(server, tmp_path):
    source = tmp_path / "hello.py"
    source.write_text("import sys\nprint('hello', *sys.argv[1:], input())\n")
    url = f"http://{server.address}/v1/run/python?arg=a&arg=b%20c&stdin=42"
    assert curl("--data-binary", f"@{source}", url) == (b"hello a b c 42\n", 0)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print(1); raise SystemExit(3)", b"1\nexit 3\n"),
        ("print(1, end='')", b"1\nexit 0\n"),
        ("import os; os.kill(os.getpid(), 11)", b"signal SIGSEGV\n"),
        ("", b"exit 0\n"),
    ],
)
def test_the_outcome_is_a_last_line_if_that_is_asked_for(server, code, output):
    assert post(server, "/v1/run/py?status=line", code.encode())[2] == output


def test_raw_output_is_as_the_program_writes_it(server):
    code = b"import os; os.write(1, bytes(range(256)))"
    _, headers, body = post(server, "/v1/run/python", code)
    assert body == bytes(range(256))
    assert headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/run/nolanguage", 404, "unknown_language"),
        ("/v1/run/", 404, "unknown_language"),
        ("/v1/run/a/b", 404, "unknown_language"),
        ("/v1/run/python?x=1", 400, "bad_message"),
        ("/v1/run/python?status=json", 400, "bad_message"),
        ("/v1/run/python?arg=%00", 400, "bad_message"),
        ("/v1/run/python?" + "&".join(["arg=x"] * 300), 413, "too_large"),
    ],
)
def test_a_plain_run_that_makes_no_sense_is_refused(server, path, status, code):
    refused(post(server, path, b"print(1)"), status, code)


# Refusals.


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        (b"", 400, "bad_message", "$"),
        (b"{", 400, "bad_message", "$"),
        (b"[]", 400, "bad_message", "$"),
        (b'"x"', 400, "bad_message", "$"),
        (b"\xff", 400, "bad_message", "$"),
        (b"[" * 100_000, 400, "bad_message", "$"),
        ({"type": "stdin", "data": "x"}, 400, "bad_message", "$.type"),
        ({"language": "python"}, 400, "bad_message", "$.code"),
        ({"code": "x"}, 400, "bad_message", "$"),
        (HELLO | {"cod": 1}, 400, "bad_message", "$"),
        (HELLO | {"stdin": 1}, 400, "bad_message", "$.stdin"),
        (HELLO | {"args": "x"}, 400, "bad_message", "$.args"),
        (HELLO | {"limits": {"wall_s": "5"}}, 400, "bad_message", "$.limits.wall_s"),
        (HELLO | {"limits": {"wall_s": 1e9}}, 400, "limit_out_of_range", "$.limits.wall_s"),
        (HELLO | {"language": "pyton"}, 404, "unknown_language", "$.language"),
        (HELLO | {"args": ["x"] * 300}, 413, "too_large", "$.args"),
        (HELLO | {"code": "x" * 2_000_000}, 413, "too_large", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_makes_no_sense_is_refused(server, body, status, code, path):
    for accept in ("application/json", "text/event-stream"):
        headers = {"Content-Type": "application/json", "Accept": accept}
        error = refused(post(server, "/v1/run", body, **headers), status, code)
        assert error.get("path") == path
        assert len(error["message"]) < 1000


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_json_must_be_said_to_be_json(server, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = post(server, "/v1/run", json.dumps(HELLO).encode(), **headers)
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip", "x"])
@pytest.mark.parametrize("path", ["/v1/run", "/v1/run/python"])
def test_a_compressed_body_is_refused_and_never_unpacked(server, coding, path):
    bomb = b"\x1f\x8b" + b"\0" * 1000
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    answer = post(server, path, bomb, **headers)
    refused(answer, 415, "unsupported_content_coding")
    assert answer[1]["Accept-Encoding"] == "identity"


def test_a_chunked_body_is_bounded_too(server):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for path, kind in (("/v1/run", JSON), ("/v1/run/python", "Content-Type: x/y")):
        with raw(server) as connection:
            connection.sendall(head(path, kind, "Transfer-Encoding: chunked", "Connection: close"))
            connection.sendall(chunk * 20 + b"0\r\n\r\n")
            assert read_all(connection).startswith(b"HTTP/1.1 413 ")
    good = json.dumps(HELLO).encode()
    with raw(server) as connection:
        connection.sendall(
            head("/v1/run", JSON, "Transfer-Encoding: chunked", "Connection: close")
            + b"%x\r\n%s\r\n0\r\n\r\n" % (len(good), good)
        )
        assert b"hello\\n" in read_all(connection)


def test_a_body_of_crumbs_is_refused_and_a_short_one_is_not(server):
    """To read a chunk of one byte takes as long as to read thousands of bytes."""
    crumbs = b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps(HELLO).encode())
    kinds = (JSON, "Transfer-Encoding: chunked", "Connection: close")
    with raw(server) as connection:
        connection.sendall(head("/v1/run", *kinds) + crumbs + b"0\r\n\r\n")
        assert b"hello\\n" in read_all(connection)
    with raw(server) as connection:
        connection.sendall(head("/v1/run", *kinds))
        connection.sendall(b"1\r\n \r\n" * 30_000)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"chunks are too small" in answer


@pytest.mark.parametrize("chunk", [b"zz\r\nabc\r\n", b"-1\r\n\r\n", b"5\r\nabc", b"5"])
def test_chunks_that_make_no_sense_are_400(server, chunk):
    with raw(server) as connection:
        connection.sendall(head("/v1/run", JSON, "Transfer-Encoding: chunked") + chunk)
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in read_all(connection).partition(b"\r\n")[0]


def test_a_body_that_ends_early_is_told_how_much_came(server):
    with raw(server) as connection:
        connection.sendall(head("/v1/run", JSON, size=100) + b'{"language"')
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"after 11 of 100 bytes" in answer


def test_a_body_that_takes_too_long_is_408_and_the_connection_ends(start_with):
    server = start_with("import wsrunner.serving.doors.body as b", "b.BODY_S = 0.3")
    with raw(server) as connection:
        connection.sendall(head("/v1/run", JSON, size=100) + b"{")
        answer = read_until(connection, b"}")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_takes_too_long_is_408(start_with):
    server = start_with("import wsrunner.serving.entrance as e", "e.OPEN_S = 0.3")
    with raw(server) as connection:
        connection.sendall(b"POST /v1/run HTTP/1.1\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    with raw(server) as connection:
        assert read_all(connection) == b""


def test_all_bodies_together_are_bounded_as_messages_are(start_server):
    server = start_server(inbox_mb=5, warm_max=0)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(raw(server)) for _ in range(8)]
        for connection in crowd:
            connection.sendall(head("/v1/run", JSON, size=1_000_000) + b"x" * 900_000)
        answers = []
        for connection in crowd:
            connection.settimeout(2)
            with contextlib.suppress(TimeoutError):
                answers.append(connection.recv(65536))
        assert answers
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in answers), answers
        assert all(b"5242880 bytes" in answer for answer in answers)
        assert all(b"Retry-After: 5" in answer for answer in answers)
        # Those who had room still have it.
        assert len(answers) <= 4
    assert run(server, **HELLO)["stdout"] == "hello\n"


def test_a_full_queue_is_503_with_the_time_to_try_again(one_slot):
    with contextlib.ExitStack() as stack:
        body = json.dumps({"language": "python", "code": SLEEP}).encode()
        # One runs and one waits; a third place is kept for others, and this is one client.
        for number in range(2):
            connection = stack.enter_context(raw(one_slot))
            connection.sendall(head("/v1/run", JSON, size=len(body)) + body)
            until(lambda number=number: live(one_slot) == number + 1, "it waits, or runs")
        for headers in ({}, {"Accept": "text/event-stream"}):
            answer = post(one_slot, "/v1/run", HELLO, **headers)
            error = refused(answer, 503, "queue_full")
            assert int(answer[1]["Retry-After"]) >= error["retry_after_s"] > 0


def test_too_many_runs_a_minute_are_429(start_server):
    server = start_server(runs_per_minute=1, warm_max=0)
    run(server, language="python", code="")
    answer = post(server, "/v1/run", HELLO)
    refused(answer, 429, "rate_limited")
    assert int(answer[1]["Retry-After"]) > 0
    refused(post(server, "/v1/run/python", b""), 429, "rate_limited")


def test_the_token_is_needed(start_server):
    server = start_server(token=TOKEN, warm_max=0)
    for path in ("/v1/run", "/v1/run/python"):
        answer = post(server, path, HELLO)
        refused(answer, 401, "unauthorized")
        assert answer[1]["WWW-Authenticate"] == "Bearer"
    for headers in ({"X-Access-Token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}):
        assert post(server, "/v1/run", HELLO, **headers)[0] == 200
    assert TOKEN not in server.log.read_text()


# Pages of other origins.


def test_a_foreign_page_can_start_nothing(server):
    for kind in ("text/plain", "application/json"):
        headers = {"Origin": "https://evil.example", "Content-Type": kind}
        answer = post(server, "/v1/run", json.dumps(HELLO).encode(), **headers)
        refused(answer, 403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in answer[1]
        refused(post(server, "/v1/run/python", b"", **headers), 403, "origin_not_allowed")
    refused(post(server, "/v1/run", HELLO, Host="evil.example"), 421, "host_not_allowed")


def ask_first(server, origin):
    """Ask as a browser does before a page's request; return (status, headers)."""
    with contextlib.closing(connect(server)) as connection:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-access-token",
        }
        connection.request("OPTIONS", "/v1/run", headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers


def test_a_page_of_an_allowed_origin_may_run_and_read(start_server):
    origin = "https://ide.example"
    server = start_server(origin=origin, warm_max=0)
    status, headers = ask_first(server, origin)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "X-Access-Token" in headers["Access-Control-Allow-Headers"]
    for accept in ("application/json", "text/event-stream"):
        status, headers, _ = post(server, "/v1/run", HELLO, Origin=origin, Accept=accept)
        assert status == 200
        assert headers["Access-Control-Allow-Origin"] == origin
        assert headers["Vary"] == "Origin"
    error = post(server, "/v1/run", {}, Origin=origin)
    assert error[1]["Access-Control-Allow-Origin"] == origin
    status, headers = ask_first(server, "https://evil.example")
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers


# Who hangs up.


def leave_by_reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave_by_closing(connection):
    connection.close()


def leave_by_half(connection):
    connection.shutdown(socket.SHUT_WR)


def waiting_bytes(connection):
    """Return how much has come that nobody has read, 64 KiB at most."""
    with contextlib.suppress(BlockingIOError):
        return len(connection.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return 0


WAYS = [leave_by_reset, leave_by_closing, leave_by_half]


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_who_hangs_up_while_it_runs_has_cancelled(server, leave, accept):
    body = json.dumps({"language": "python", "code": SLEEP}).encode()
    with raw(server) as connection:
        connection.sendall(head("/v1/run", JSON, f"Accept: {accept}", size=len(body)) + body)
        until(lambda: live(server) == 1, "it runs")
        leave(connection)
        server.settle()


def test_who_closes_its_half_and_takes_nothing_has_cancelled(start_server):
    server = start_server(slow_client_s=1000, output_kb=1_000_000, warm_max=0)
    code = "while True: print('y' * 1000)"
    body = json.dumps({"language": "python", "code": code}).encode()
    with raw(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            head("/v1/run", JSON, "Accept: application/x-ndjson", size=len(body)) + body
        )
        seen = [0]

        def is_stuck():
            seen.append(waiting_bytes(connection))
            return seen[-1] > 0 and seen[-20:] == [seen[-1]] * 20

        until(is_stuck, "no more output fits in between")
        leave_by_half(connection)
        # Well before `Port.watch`, which cuts what has stood still for 20 s.
        until(lambda: live(server) == 0, "its slot is free", patience_s=15)


@pytest.mark.parametrize("first", [True, False], ids=["with it", "later"])
@pytest.mark.parametrize(
    "more",
    [head("/v1/run", JSON, size=900_000) + b"x" * 800_000, head("/v1/run", JSON, size=0) * 100],
    ids=["a body", "requests"],
)
def test_who_sends_so_much_behind_a_run_that_it_is_not_heard_is_cut(server, more, first):
    body = json.dumps({"language": "python", "code": SLEEP}).encode()
    request = head("/v1/run", JSON, size=len(body)) + body
    with raw(server) as connection, contextlib.suppress(ConnectionError):
        if first:
            connection.sendall(request + more)
        else:
            connection.sendall(request)
            until(lambda: live(server) == 1, "it runs")
            connection.sendall(more)
        assert b" 200 " not in read_all(connection)
    server.settle()


@pytest.mark.parametrize("leave", WAYS)
def test_who_hangs_up_in_the_queue_leaves_it(one_slot, leave):
    body = json.dumps({"language": "python", "code": SLEEP}).encode()
    request = head("/v1/run", JSON, size=len(body)) + body
    with raw(one_slot) as first, raw(one_slot) as second:
        first.sendall(request)
        until(lambda: live(one_slot) == 1, "it runs")
        second.sendall(request)
        until(lambda: live(one_slot) == 2, "it waits")
        leave(second)
        until(lambda: live(one_slot) == 1, "it waits no more")


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("sent", [b"PO", b"POST /v1/run HTTP/1.1\r\nHost: x", None])
def test_who_hangs_up_before_its_request_is_whole_leaves_nothing(server, leave, sent):
    with raw(server) as connection:
        connection.sendall(sent or head("/v1/run", JSON, size=1000) + b'{"lang')
        leave(connection)
        read = b"" if connection.fileno() < 0 else read_all(connection)
    assert b" 200 " not in read
    assert run(server, **HELLO)["stdout"] == "hello\n"


def test_who_takes_nothing_is_dropped_and_its_run_ended(start_server):
    server = start_server(slots=1, slow_client_s=0.5, output_kb=1_000_000, warm_max=0)
    code = "while True: print('y' * 1000)"
    body = json.dumps({"language": "python", "code": code}).encode()
    with raw(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            head("/v1/run", JSON, "Accept: application/x-ndjson", size=len(body)) + body
        )
        until(lambda: live(server) == 1, "it runs")
        server.settle()


def test_a_run_is_answered_though_the_server_stops(start_server):
    server = start_server(drain_s=30, warm_max=0)
    code = "import time; print('up', flush=True); time.sleep(1); print('done')"
    body = json.dumps({"language": "python", "code": code}).encode()
    with raw(server) as connection:
        connection.sendall(
            head("/v1/run", JSON, "Accept: application/x-ndjson", size=len(body)) + body
        )
        read_until(connection, b'"up')
        server.signal(15)
        until(lambda: server.status("/readyz") == 503, "draining")
        refused(post(server, "/v1/run", HELLO), 503, "draining")
        assert b"done\\n" in read_all(connection)
    assert server.wait() == 0
