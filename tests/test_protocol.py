"""What the wire takes and what it refuses, naming the place."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.errors import BadMessageError, RateLimitedError, TooLargeError, WsrunnerError
from wsrunner.protocol import (
    Cancel,
    Drained,
    Eof,
    Error,
    Exit,
    File,
    Limits,
    Queued,
    Resize,
    RunRequest,
    SendSignal,
    Started,
    Stderr,
    Stdin,
    Stdout,
    Tty,
)

MAX_BYTES = 2**20


def decode(message, max_bytes=MAX_BYTES):
    if not isinstance(message, str | bytes):
        message = json.dumps(message)
    return protocol.decode(message, max_bytes=max_bytes)


def run(**fields):
    return {"type": "run", "language": "python"} | fields


def files(*names, content="x"):
    return run(files=[{"name": name, "content": content} for name in names])


def refusal(message, max_bytes=MAX_BYTES):
    with pytest.raises(WsrunnerError) as caught:
        decode(message, max_bytes)
    return caught.value


# What is taken.

TAKEN = [
    (run(code="print(1)"), RunRequest(language="python", code="print(1)")),
    (run(code=""), RunRequest(language="python", code="")),
    (
        run(
            id="a1",
            files=[{"name": "main.c", "content": "…"}, {"name": "data/x.bin", "base64": "AAE="}],
            stdin="42\n",
            args=["-v"],
            env={"K": "V"},
            command="./a.out fast",
            limits={"wall_s": 5, "cpu_s": 5, "memory_mb": 128, "output_kb": 256, "pids": 32},
            tty={"columns": 80, "rows": 24},
        ),
        RunRequest(
            id="a1",
            language="python",
            files=[File(name="main.c", content="…"), File(name="data/x.bin", base64="AAE=")],
            stdin="42\n",
            args=["-v"],
            env={"K": "V"},
            command="./a.out fast",
            limits=Limits(wall_s=5, cpu_s=5, memory_mb=128, output_kb=256, pids=32),
            tty=Tty(columns=80, rows=24),
        ),
    ),
    (run(code="", tty={}), RunRequest(language="python", code="", tty=Tty(columns=80, rows=24))),
    ({"type": "stdin", "id": "a1", "data": "hello\n"}, Stdin(id="a1", data="hello\n")),
    ({"type": "stdin", "data": ""}, Stdin(data="")),
    ({"type": "stdin", "base64": "AAE="}, Stdin(base64="AAE=")),
    ({"type": "eof", "id": "a1"}, Eof(id="a1")),
    ({"type": "eof"}, Eof()),
    ({"type": "signal", "signal": "SIGINT"}, SendSignal(signal="SIGINT")),
    ({"type": "resize", "columns": 100, "rows": 30}, Resize(columns=100, rows=30)),
    ({"type": "cancel", "id": "a1"}, Cancel(id="a1")),
]


@pytest.mark.parametrize(("message", "expected"), TAKEN, ids=lambda m: str(m)[:60])
def test_takes(message, expected):
    text = json.dumps(message)
    assert decode(text) == expected
    assert decode(text.encode()) == expected
    assert decode(json.dumps(message, ensure_ascii=False)) == expected


@pytest.mark.parametrize("expected", [expected for _, expected in TAKEN], ids=repr)
def test_what_the_client_encodes_is_what_the_server_decodes(expected):
    assert decode(protocol.encode_request(expected)) == expected


@pytest.mark.parametrize(
    "name",
    ["x", "main.py", "a/b/c.txt", "...", "..x", "x..", ".hidden", "a b", "-x", "é😀", "a'b\"c",
     "\\", "x" * 255, "é" * 127, "*", "~", "$HOME", "a/.x"],
)  # fmt: skip
def test_takes_file_names_that_stay_in_the_work_directory(name):
    assert decode(files(name)).files[0].name == name


def test_takes_64_files_and_empty_ones():
    assert len(decode(files(*(f"f{i}" for i in range(64)), content="")).files) == 64


@pytest.mark.parametrize("run_id", ["a", "A.b_c-9", "x" * 64, "0", "-", "."])
def test_takes_ids(run_id):
    assert decode(run(id=run_id, code="")).id == run_id


# What is refused.


@pytest.mark.parametrize(
    "message",
    ["", " ", "{", "nonsense", '{"type":"run"', "\x00", b"\xff\xfe", '{"type":"eof"} x', "{'a':1}"],
)
def test_refuses_what_is_no_json(message):
    error = refusal(message)
    assert (error.code, error.path) == ("bad_message", "$")
    assert "JSON" in error.message or "UTF-8" in error.message


@pytest.mark.parametrize(
    "message", [b'{"type":"stdin","data":"\xff"}', b'{"type":"eof","id":"\xc3"}']
)
def test_refuses_strings_that_are_not_utf_8(message):
    assert refusal(message).code == "bad_message"


def test_refuses_a_message_nested_too_deeply():
    assert refusal("[" * 100_000).code == "bad_message"
    assert refusal('{"type":"run","files":' + "[" * 100_000).code == "bad_message"


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("null", "$"),
        ("[]", "$"),
        ("3", "$"),
        ({}, "$"),
        ({"type": "walk"}, "$.type"),
        ({"type": 1}, "$.type"),
        ({"type": "run"}, "$"),
        (run(code=1), "$.code"),
        (run(code="", colour="red"), "$"),
        (run(code="", id=""), "$.id"),
        (run(code="", id="a b"), "$.id"),
        (run(code="", id="a\n"), "$.id"),
        (run(code="", id="x" * 65), "$.id"),
        (run(code="", id="é"), "$.id"),
        (run(code="", id=7), "$.id"),
        (run(code="", id=None), "$.id"),
        (run(code="", args="x"), "$.args"),
        (run(code="", args=["a", 1]), "$.args[1]"),
        (run(code="", args=["a\0b"]), "$.args[0]"),
        (run(code="", env={"A": 1}), "$.env[...]"),
        (run(code="", env={"A": "\0"}), "$.env.A"),
        (run(code="", env={"": "x"}), "$.env"),
        (run(code="", env={"1A": "x"}), "$.env"),
        (run(code="", env={"A=B": "x"}), "$.env"),
        (run(code="", env={"A\n": "x"}), "$.env"),
        (run(code="", command="a\0"), "$.command"),
        (run(code="", command="  "), "$.command"),
        (run(code="", stdin=5), "$.stdin"),
        (run(code="", limits={"wall_s": "5"}), "$.limits.wall_s"),
        (run(code="", limits={"memory_mb": 1.5}), "$.limits.memory_mb"),
        (run(code="", limits={"time": 5}), "$.limits"),
        (run(code="", tty=True), "$.tty"),
        (run(code="", tty={"columns": 0}), "$.tty.columns"),
        (run(code="", tty={"rows": 1001}), "$.tty.rows"),
        (run(), "$.code"),
        (run(code="", files=[{"name": "x", "content": ""}]), "$.code"),
        (run(files=[]), "$.files"),
        (run(files={}), "$.files"),
        (run(files=[{"content": "x"}]), "$.files[0]"),
        (run(files=[{"name": "x"}]), "$.files[0]"),
        (run(files=[{"name": "x", "content": "", "base64": ""}]), "$.files[0]"),
        (run(files=[{"name": "x", "content": "", "mode": 1}]), "$.files[0]"),
        (run(files=[{"name": "x", "base64": "%%%"}]), "$.files[0].base64"),
        (run(files=[{"name": "x", "base64": "AAE"}]), "$.files[0].base64"),
        (run(files=[{"name": "x", "base64": "é"}]), "$.files[0].base64"),
        ({"type": "stdin"}, "$.data"),
        ({"type": "stdin", "data": "", "base64": ""}, "$.data"),
        ({"type": "stdin", "data": 1}, "$.data"),
        ({"type": "eof", "data": "x"}, "$"),
        ({"type": "signal"}, "$"),
        ({"type": "signal", "signal": "SIGSTOP"}, "$.signal"),
        ({"type": "signal", "signal": 9}, "$.signal"),
        ({"type": "resize", "columns": 80}, "$"),
        ({"type": "resize", "columns": 80, "rows": -1}, "$.rows"),
        ({"type": "resize", "columns": 1e9, "rows": 1}, "$.columns"),
        ({"type": "cancel", "id": "x", "force": True}, "$"),
    ],
    ids=lambda value: str(value)[:70],
)  # fmt: skip
def test_refuses_and_names_the_place(message, path):
    error = refusal(message)
    assert (error.code, error.path) == ("bad_message", path)
    assert error.message
    assert error.message[0] == error.message[0].lower() or error.message.startswith("JSON")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../x", "part . or .."),
        ("a/../b", "part . or .."),
        ("..", "part . or .."),
        ("./x", "part . or .."),
        ("a/.", "part . or .."),
        ("/x", "absolute"),
        ("/", "absolute"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("", "is empty"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("\x7f", "control character"),
        ("x" * 300, "300 bytes; the limit is 255 bytes"),
        ("é" * 128, "256 bytes; the limit is 255 bytes"),
    ],
)
def test_refuses_file_names_that_no_work_directory_takes(name, why):
    error = refusal(files("fine", name))
    assert (error.code, error.path) == ("bad_message", "$.files[1].name")
    assert why in error.message


def test_refuses_two_files_of_one_name():
    error = refusal(files("a", "b", "a"))
    assert (error.code, error.path) == ("bad_message", "$.files[2].name")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a")])
def test_refuses_a_file_that_is_another_s_folder(names):
    assert refusal(files(*names)).code == "bad_message"


def test_refuses_65_files():
    error = refusal(files(*(f"f{i}" for i in range(65))))
    assert (error.code, error.path) == ("too_large", "$.files")
    assert "65 files; the limit is 64 files" in error.message


def test_the_size_limit_counts_bytes_of_utf_8():
    message = json.dumps(run(code="é" * 100), ensure_ascii=False)
    size = len(message.encode())
    assert decode(message, size).code == "é" * 100
    error = refusal(message, size - 1)
    assert isinstance(error, TooLargeError)
    assert f"{size} bytes; the limit is {size - 1} bytes" in error.message


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"args": ["x"] * 257}, "$.args"),
        ({"args": ["x" * 127 * 1024] * 13}, "$.args"),
        ({"args": ["ok", "x" * 2**17]}, "$.args[1]"),
        ({"env": {f"V{i}": "" for i in range(65)}}, "$.env"),
        ({"env": {"A" * 70_000: "b" * 70_000}}, f"$.env.{'A' * 200}…"),
        ({"env": {f"V{i}": "x" * 126 * 1024 for i in range(13)}}, "$.args"),
        ({"command": "x" * 2**17}, "$.command"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_process_can_be_given_is_too_large(fields, path):
    error = refusal(json.dumps(run(code="", **fields)), 2**24)
    assert isinstance(error, TooLargeError)
    assert error.path == path
    assert "the limit is" in error.message


def test_an_error_quotes_little():
    error = refusal(json.dumps(run(code="", **{"z" * 10**6: 1})), 2**24)
    assert len(error.message) < 300
    assert "zzz" in error.message


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "\\ud800x", "\\udc00\\ud800"])
@pytest.mark.parametrize("field", ["code", "command", "args", "env", "name"])
def test_a_lone_surrogate_is_refused_or_taken_but_never_breaks(escape, field):
    filled = {
        "code": f'"code":"{escape}"',
        "command": f'"code":"","command":"{escape}"',
        "args": f'"code":"","args":["{escape}"]',
        "env": f'"code":"","env":{{"A":"{escape}"}}',
        "name": f'"files":[{{"name":"{escape}","content":""}}]',
    }[field]
    message = '{"type":"run","language":"python",' + filled + "}"
    try:
        request = decode(message)
    except BadMessageError:
        return
    protocol.encode_request(request)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_message_is_decoded_or_refused(message):
    with contextlib.suppress(BadMessageError, TooLargeError):
        decode(message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    ["id", "language", "code", "files", "stdin", "args", "env", "command", "limits", "tty", "data",
     "base64", "signal", "columns", "rows"]
)  # fmt: skip


@given(
    st.sampled_from(["run", "stdin", "eof", "signal", "resize", "cancel"]),
    st.dictionaries(fields, json_values | st.just("python"), max_size=5),
)
def test_any_fields_are_decoded_or_refused_with_a_place(kind, given_fields):
    error = None
    try:
        decode({"type": kind} | given_fields)
    except WsrunnerError as exc:
        error = exc
    if error is not None:
        assert error.path.startswith("$")
        assert json.loads(protocol.encode(protocol.error_event(error)))["path"] == error.path


# Ids of refused messages.


@pytest.mark.parametrize(
    ("message", "run_id"),
    [
        ({"type": "run", "id": "a1", "nonsense": 1}, "a1"),
        ({"type": "walk", "id": "a1"}, "a1"),
        ({"type": "run", "id": "bad id"}, UNSET),
        ({"type": "run", "id": 5}, UNSET),
        ({"type": "run"}, UNSET),
        ([], UNSET),
    ],
)
def test_the_error_names_the_run_where_its_id_can_be_made_out(message, run_id):
    assert protocol.salvage_id(json.dumps(message)) == run_id


@pytest.mark.parametrize("message", ["{", b"\xff", "[" * 100_000])
def test_no_id_is_made_out_of_what_is_no_json(message):
    assert protocol.salvage_id(message) is UNSET


# What the server says.

SAID = [
    (
        Queued(id="a1", run="r", position=3, waiting=7),
        {"type": "queued", "id": "a1", "run": "r", "position": 3, "waiting": 7},
    ),
    (Started(run="r", stage="build"), {"type": "started", "run": "r", "stage": "build"}),
    (Stdout(id="a1", seq=2, data="é\n"), {"type": "stdout", "id": "a1", "seq": 2, "data": "é\n"}),
    (Stderr(seq=1, base64="/w=="), {"type": "stderr", "seq": 1, "base64": "/w=="}),
    (Drained(id="a1", bytes=131072), {"type": "drained", "id": "a1", "bytes": 131072}),
    (
        Exit(id="a1", run="r", stage="run", reason="exited", code=0, cpu_ms=9.8, memory_kb=14176,
             wall_ms=14.2, output_bytes=6),
        {"type": "exit", "id": "a1", "run": "r", "stage": "run", "reason": "exited", "code": 0,
         "signal": None, "queued_ms": 0.0, "wall_ms": 14.2, "cpu_ms": 9.8, "memory_kb": 14176,
         "output_bytes": 6, "truncated": False},
    ),
    (
        Error(code="busy", message="m", path="$.id", retry_after_s=1.5),
        {"type": "error", "code": "busy", "message": "m", "path": "$.id", "retry_after_s": 1.5},
    ),
    (Error(code="internal", message="m"), {"type": "error", "code": "internal", "message": "m"}),
]  # fmt: skip


@pytest.mark.parametrize(("event", "expected"), SAID, ids=lambda value: type(value).__name__)
def test_says(event, expected):
    assert json.loads(protocol.encode(event)) == expected
    assert protocol.decode_server(protocol.encode(event)) == event


def test_a_client_ignores_messages_and_fields_it_does_not_know():
    assert protocol.decode_server('{"type":"viewers","count":2}') is None
    known = '{"type":"started","run":"r","stage":"run","mood":"good"}'
    assert protocol.decode_server(known) == Started(run="r", stage="run")


@pytest.mark.parametrize("message", ["", "[]", '{"type":"exit"}', b"\xff", '{"type":7}'])
def test_a_client_refuses_what_is_no_server_message(message):
    with pytest.raises(BadMessageError):
        protocol.decode_server(message)


def test_an_error_becomes_its_message():
    event = protocol.error_event(RateLimitedError("slow down", retry_after_s=1.23456), "a1")
    assert event == Error(id="a1", code="rate_limited", message="slow down", retry_after_s=1.235)


@pytest.mark.parametrize(("left_s", "told_s"), [(1.2341, 1.235), (0.0001, 0.001), (2.0, 2.0)])
def test_who_waits_for_as_long_as_told_has_waited_long_enough(left_s, told_s):
    event = protocol.error_event(RateLimitedError("slow down", retry_after_s=left_s))
    assert event.retry_after_s == told_s


@given(st.binary(max_size=100))
def test_output_survives_the_wire(data):
    given_fields = protocol.output_payload(data)
    event = Stdout(seq=1, **given_fields)
    back = protocol.decode_server(protocol.encode(event))
    assert protocol.content_bytes(back.data, back.base64, "$") == data
    assert ("data" in given_fields) == _is_text(data)


def _is_text(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_every_error_has_a_wire_code_of_the_contract():
    codes = {"internal"}
    pending = [WsrunnerError]
    while pending:
        error = pending.pop()
        codes.add(error.code)
        pending += error.__subclasses__()
    assert codes >= {
        "bad_message", "too_large", "unknown_language", "limit_out_of_range", "image_missing",
        "busy", "no_such_run", "queue_full", "rate_limited", "gate_unavailable",
        "engine_unavailable", "draining", "internal",
    }  # fmt: skip


def test_requests_are_strict_and_server_messages_are_not():
    for kind in msgspec.inspect.type_info(protocol.ClientMessage).types:
        assert kind.forbid_unknown_fields
    for kind in msgspec.inspect.type_info(protocol.ServerMessage).types:
        assert not kind.forbid_unknown_fields
