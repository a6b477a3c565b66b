"""Other people's clients: what they send and what they are answered, field by field."""

import json

import pytest
from pyston import File, PystonClient

from tests.http_talk import post
from tests.serving import until

TOKEN = "s3cret-token-for-tests"
NAMES = "import sys, other; print(input(), *sys.argv, other.X)"
LOOP = "while True: pass"
PY = "print(input()); import sys; print(sys.argv[1:], file=sys.stderr)"


def answered(answer, status=200):
    """Return the JSON of an answer of that status."""
    assert answer[0] == status, answer
    assert answer[1]["Content-Type"].startswith("application/json")
    return json.loads(answer[2])


# Piston: docs/api-v2.md of engineer-man/piston.


def execute(server, status=200, **fields):
    request = {"language": "python", "version": "*"} | fields
    given = {name: value for name, value in request.items() if value is not None}
    return answered(post(server, "/api/v2/execute", given), status)


def test_piston_s_runtimes_are_the_languages_that_are_here(server):
    runtimes = json.loads(server.get("/api/v2/runtimes"))
    by_name = {runtime["language"]: runtime for runtime in runtimes}
    assert "py" in by_name["python"]["aliases"]
    for runtime in runtimes:
        assert set(runtime) == {"language", "version", "aliases"}
        assert len(runtime["version"].split(".")) == 3
    present = {entry["id"] for entry in server.languages() if entry["present"]}
    assert set(by_name) == present


def test_piston_s_request_with_all_its_fields(server):
    told = execute(
        server,
        language="py",
        version="3.10.0",
        files=[
            {"name": "my_cool_code.py", "content": NAMES},
            {"name": "other.py", "content": "WCA9IDc=", "encoding": "base64"},
            {"name": "more.py", "content": "58203d2037", "encoding": "hex"},
            {"content": "x", "encoding": "utf8"},
        ],
        stdin="in",
        args=["1", "2"],
        compile_timeout=10000,
        run_timeout=3000,
        compile_memory_limit=-1,
        run_memory_limit=-1,
        a_field_of_a_later_version=True,
    )
    run = told["run"]
    assert told["language"] == "python"
    assert set(told) == {"language", "version", "run"}
    assert run["stdout"] == run["output"] == "in my_cool_code.py 1 2 7\n"
    assert (run["stderr"], run["code"], run["signal"]) == ("", 0, None)
    assert (run["status"], run["message"]) == (None, None)
    assert run["wall_time"] >= 0
    assert run["cpu_time"] > 0
    assert run["memory"] > 0


def test_piston_s_output_is_both_streams_in_order(server):
    code = "import os\nfor fd in (1, 2, 1): os.write(fd, b'%d\\n' % fd)"
    run = execute(server, files=[{"content": code}])["run"]
    assert (run["stdout"], run["stderr"]) == ("1\n1\n", "2\n")
    assert sorted(run["output"].split()) == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("code", "limits", "shown"),
    [
        ("raise SystemExit(3)", {}, {"code": 3, "signal": None, "status": "RE"}),
        (
            "import os; os.kill(os.getpid(), 11)",
            {},
            {"code": None, "signal": "SIGSEGV", "status": "SG"},
        ),
        (
            "import time; time.sleep(60)",
            {"run_timeout": 500},
            {"code": None, "signal": "SIGKILL", "status": "TO"},
        ),
        (
            "while True: pass",
            {"run_cpu_time": 1000},
            {"code": None, "signal": "SIGKILL", "status": "TO"},
        ),
        ("x = 'x' * 10**9", {"run_memory_limit": 64 * 2**20}, {"code": 1, "status": "RE"}),
    ],
)
def test_piston_s_ends(server, code, limits, shown):
    run = execute(server, files=[{"content": code}], **limits)["run"]
    if "memory" in str(limits):
        # The kernel's choice: Python sees it, or is killed.
        assert run["code"] or run["signal"] == "SIGKILL"
        return
    assert {name: run[name] for name in shown} == shown
    assert run["message"]


def test_piston_tells_compile_and_run_apart(server, need):
    need("c")
    good = execute(server, language="c", files=[{"content": "int main(void) { return 4; }"}])
    assert (good["compile"]["code"], good["compile"]["signal"]) == (0, None)
    assert good["run"]["code"] == 4
    bad = execute(server, language="c", files=[{"content": "int main(void) { return x; }"}])
    assert bad["compile"]["code"] != 0
    assert "x" in bad["compile"]["stderr"]
    assert bad["compile"]["output"] == bad["compile"]["stdout"] + bad["compile"]["stderr"]
    assert bad["run"]["output"] == ""
    assert bad["run"]["code"] == bad["compile"]["code"]


FILES = [{"content": ""}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"language": None}, "language is required as a string"),
        ({"language": 1}, "language is required as a string"),
        ({"version": None}, "version is required as a string"),
        ({"files": None}, "files is required as an array"),
        ({"files": {}}, "files is required as an array"),
        ({"files": [{}]}, "files[0].content is required as a string"),
        ({"files": [*FILES, {"content": 1}]}, "files[1].content is required as a string"),
        (
            {"files": [{"content": "", "encoding": "hex"}]},
            "files must include at least one utf8 encoded file",
        ),
        ({"language": "brainfuck"}, "brainfuck-* runtime is unknown"),
        ({"run_timeout": "3"}, "If specified, run_timeout must be a number"),
        ({"run_timeout": -5}, "run_timeout must be non-negative"),
        ({"run_timeout": 10**9}, "run_timeout cannot exceed the configured limit of 60000"),
        ({"compile_timeout": 10**9}, "compile_timeout cannot exceed the configured limit of 60000"),
        (
            {"run_memory_limit": 2**50},
            f"run_memory_limit cannot exceed the configured limit of {256 * 2**20}",
        ),
    ],
)
def test_piston_s_errors_are_word_for_word(server, fields, message):
    fields = {"files": FILES} | fields
    assert execute(server, 400, **fields)["message"] == message


def test_piston_wants_json(server):
    answer = post(server, "/api/v2/execute", b"{}", **{"Content-Type": "text/plain"})
    message = "requests must be of type application/json"
    assert answered(answer, 415)["message"] == message
    json_kind = {"Content-Type": "application/json; charset=utf-8"}
    for body in (b"", b"{", b"[]", b"\xff"):
        assert answered(post(server, "/api/v2/execute", body, **json_kind), 400)["message"]
    for name in ("../x", "/etc/passwd", "a/../b"):
        assert execute(server, 400, files=[{"name": name, "content": ""}])["message"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_published_client_of_piston_runs_unchanged(server):
    client = PystonClient(base_url=f"http://{server.address}/api/v2/")
    try:
        assert "python" in await client.languages()
        assert (await client.get_runtimes("py"))[0].language == "python"
        code = "import sys; print(input(), sys.argv[1:]); sys.exit(2)"
        output = await client.execute("python", [File(code)], stdin="in", args=["a"])
        assert str(output) == "in ['a']\n"
        assert (output.run_stage.code, output.run_stage.signal) == (2, None)
        with pytest.raises(Exception, match="runtime is unknown"):
            await client.execute("brainfuck", [File("")])
    finally:
        await client.close_session()


# glot's docker-run: api_docs/run.md of glotcode/docker-run.


def docker_run(server, status=200, headers=None, image="glot/python:latest", **payload):
    body = {"image": image, "payload": payload}
    return answered(post(server, "/run", body, **(headers or {})), status)


def test_docker_run_s_examples(server):
    files = [{"name": "main.py", "content": "print(42)"}]
    assert docker_run(server, language="python", files=files) == {
        "stdout": "42\n",
        "stderr": "",
        "error": "",
    }
    files = [{"name": "main.py", "content": "print(input('Number from stdin: '))"}]
    told = docker_run(server, language="python", files=files, stdin="42")
    assert told["stdout"] == "Number from stdin: 42\n"
    files = [{"name": "main.sh", "content": "echo Number from arg: $1"}]
    told = docker_run(server, language="bash", files=files, command="bash main.sh 42")
    assert told["stdout"] == "Number from arg: 42\n"


def test_docker_run_s_image_says_the_language_if_the_payload_does_not(server):
    files = [{"name": "main.py", "content": "print(42)"}]
    assert docker_run(server, files=files)["stdout"] == "42\n"
    told = docker_run(server, 404, image="glot/none:latest", files=files)
    assert set(told) == {"error", "message"}
    assert told["error"] == "unknown_language"


def test_docker_run_tells_failures_as_its_runner_does(server, need):
    need("c")
    files = [
        {"name": "main.py", "content": "import sys; print('oh', file=sys.stderr); sys.exit(3)"}
    ]
    assert docker_run(server, language="python", files=files) == {
        "stdout": "",
        "stderr": "oh\n",
        "error": "Exit code: 3",
    }
    files = [{"name": "main.c", "content": "int main(void) { return x; }"}]
    told = docker_run(server, language="c", files=files)
    assert told["error"].startswith("Exit code: ")
    assert "x" in told["stderr"]


@pytest.mark.parametrize(
    ("code", "limits", "error"),
    [
        (LOOP, {"maxExecutionTime": 1, "maxOutputSize": 1000}, "limits.execution_time"),
        (
            "while True: print('y' * 99)",
            {"maxExecutionTime": 9, "maxOutputSize": 1000},
            "limits.read.size",
        ),
    ],
)
def test_docker_run_tells_its_limits_as_errors(server, code, limits, error):
    files = [{"name": "main.py", "content": code}]
    payload = {"language": "python", "files": files}
    body = {"image": "glot/python:latest", "payload": payload, "limits": limits}
    told = answered(post(server, "/run", body), 400)
    assert told["error"] == error
    assert told["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"image":"x"}', b'{"image":1,"payload":{"files":[]}}']
)
def test_docker_run_tells_what_it_can_t_parse(server, body):
    assert answered(post(server, "/run", body), 400)["error"] == "request.parse"


def test_docker_run_and_the_rest_service_want_the_token(start_server):
    server = start_server(token=TOKEN, warm_max=0)
    files = [{"name": "main.py", "content": "print(42)"}]
    told = docker_run(server, 401, language="python", files=files)
    assert told["error"] == "unauthorized"
    headers = {"X-Access-Token": TOKEN}
    assert docker_run(server, headers=headers, language="python", files=files)["stdout"] == "42\n"
    body = {"language": "python", "code": "print(42)"}
    assert answered(post(server, "/api_v1/run", body), 401)["code"] == "unauthorized"
    assert answered(post(server, "/api_v1/run", body, **headers))["stdout"] == "42\n"
    assert answered(post(server, "/api/v2/execute", {}), 401)["message"]


# The REST service.


def test_the_rest_service_s_request_is_answered_with_its_result(server):
    body = {"language": "python", "code": PY, "stdin": "in", "args": ["a"], "driver": "x"}
    told = answered(post(server, "/api_v1/run", body))
    assert (told["stdout"], told["stderr"], told["error"]) == ("in\n", "['a']\n", "")
    assert told["exit"]["code"] == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_message"),
        ({"language": "python"}, 400, "bad_message"),
        ({"language": "pyton", "code": ""}, 404, "unknown_language"),
    ],
)
def test_the_rest_service_s_errors(server, body, status, code):
    answer = post(server, "/api_v1/run", body, **{"Content-Type": "application/json"})
    assert answered(answer, status)["code"] == code


# All of them.


def test_a_server_may_take_none_of_them(start_server):
    server = start_server(no_adapters=True, warm_max=0)
    for path in ("/run", "/api_v1/run", "/api/v2/execute"):
        assert answered(post(server, path, {}), 404)["code"] == "not_found"
    assert server.status("/api/v2/runtimes") == 404
    assert answered(post(server, "/v1/run", {"language": "python", "code": ""}))["run"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v2/execute", {"language": "python", "version": "*", "files": [{"content": LOOP}]}),
        ("/run", {"payload": {"language": "python", "files": [{"name": "a.py", "content": LOOP}]}}),
        ("/api_v1/run", {"language": "python", "code": LOOP}),
    ],
)
def test_a_client_that_hangs_up_has_cancelled(server, path, body):
    from tests.http_talk import head, raw

    data = json.dumps(body).encode()
    with raw(server) as connection:
        connection.sendall(head(path, "Content-Type: application/json", size=len(data)) + data)
        until(lambda: server.metrics()["wsrunner_gate_held"] == 1, "it runs")
    server.settle()


def test_an_answer_that_is_kept_until_the_end_has_a_bound(server):
    code = "import sys\nfor _ in range(9): sys.stdout.write('y' * 2**20)"
    told = answered(post(server, "/v1/run", {"language": "python", "code": code}))
    assert told["exit"]["reason"] == "output_limit"
    assert len(told["stdout"]) == 4 * 2**20
    body = {"language": "python", "code": "", "limits": {"output_kb": 2**40}}
    assert answered(post(server, "/v1/run", body), 400)["code"] == "limit_out_of_range"


@pytest.mark.parametrize(
    ("path", "example"),
    [
        ("/run", '{"image":"glot/python","payload":{"language":"python","files":[…]}}'),
        ("/api_v1/run", '{"language":"python","code":"…"}'),
        ("/v1/run", '{"language":"python","code":"…"}'),
    ],
)
def test_who_sends_no_json_is_shown_what_goes_there(server, path, example):
    status, _, body = post(server, path, b"{", **{"Content-Type": "application/json"})
    assert status == 400
    assert json.loads(body)["message"].endswith(f"expected one JSON object such as {example}")
