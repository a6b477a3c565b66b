"""Plain HTTP on the WebSocket port: routes, access, and what is asked of a handshake."""

import http.client
import json
import re
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.docker_fixtures import engine_images
from tests.talk import PATIENCE_S, open_talk

TOKEN = "s3cret-token-for-tests"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
TOKEN_WAYS = {
    "X-Access-Token": {"X-Access-Token": TOKEN},
    "bearer": {"Authorization": f"Bearer {TOKEN}"},
    "bearer in lower case": {"Authorization": f"bearer {TOKEN}"},
    "subprotocol": {"Sec-WebSocket-Protocol": f"wsrunner.v1, wsrunner.token.{TOKEN}"},
}
WRONG_TOKENS = {
    "none": {},
    "empty": {"X-Access-Token": ""},
    "wrong": {"X-Access-Token": "wrong"},
    "longer": {"X-Access-Token": TOKEN + "x"},
    "shorter": {"X-Access-Token": TOKEN[:-1]},
    "basic": {"Authorization": f"Basic {TOKEN}"},
    "bare": {"Authorization": TOKEN},
    "subprotocol": {"Sec-WebSocket-Protocol": "wsrunner.v1, wsrunner.token.wrong"},
    "not ASCII": {"X-Access-Token": "é".encode()},
    "not UTF-8": {"Authorization": b"Bearer \xff"},
}


def ask(address, path, method="GET", **headers):
    """Return (status, headers, body) of one request."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        # A switch of protocols has no body to wait for.
        body = b"" if response.status == 101 else response.read()
        return response.status, response.headers, body
    finally:
        connection.close()


def shake_hands(address, path="/v1/run", **headers):
    return ask(address, path, **(HANDSHAKE | headers))


def refused(answer, status, code):
    """Check that an answer is the JSON error of that code; return its message."""
    assert answer[0] == status, answer
    assert answer[1]["Content-Type"] == "application/json"
    body = json.loads(answer[2])
    assert body["code"] == code
    return body["message"]


@pytest.fixture(scope="module")
def guarded(request, tmp_path_factory, need):
    """A server that asks for a token."""
    from tests.conftest import _start

    folder = tmp_path_factory.mktemp("guarded")
    options = {"token": TOKEN, "origin": "https://ide.example/", "warm_max": 0}
    need("python")
    return _start(request, folder, options)


# Routes.


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/v1/languages", "application/json"),
        ("/v1/asyncapi.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_get_and_head_answer_alike(server, path, kind):
    status, headers, body = ask(server.address, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert int(headers["Content-Length"]) == len(body) > 0
    assert headers["X-Content-Type-Options"] == "nosniff"
    head_status, head_headers, head_body = ask(server.address, path, "HEAD")
    assert (head_status, head_body) == (200, b"")
    assert head_headers["Content-Type"] == kind
    if path != "/metrics":
        assert head_headers["Content-Length"] == headers["Content-Length"]


def test_healthz_and_readyz_say_so(server):
    assert json.loads(ask(server.address, "/healthz")[2]) == {"status": "ok"}
    assert json.loads(ask(server.address, "/readyz")[2]) == {"status": "ready"}


def test_languages_lists_the_catalogue(server):
    # Others may build or remove images meanwhile.
    before = set(engine_images())
    listed = {entry["id"]: entry for entry in json.loads(ask(server.address, "/v1/languages")[2])}
    assert len(listed) >= 44
    python = listed["python"]
    assert set(python) >= {"id", "name", "aliases", "file", "build", "run", "image", "present"}
    assert (python["name"], python["file"]) == ("Python", "main.py")
    assert "py" in python["aliases"]
    assert python["present"] is True
    after = set(engine_images())
    assert python["image"] in before | after
    present = {entry["image"] for entry in listed.values() if entry["present"]}
    absent = {entry["image"] for entry in listed.values() if not entry["present"]}
    assert present <= before | after
    assert not absent & before & after


@pytest.mark.parametrize("path", ["/v1/run", "/v1/run/python", "/v1/run?x=1", "/v1/run/nolanguage"])
def test_a_plain_get_on_a_socket_path_is_426(server, path):
    answer = ask(server.address, path)
    refused(answer, 426, "upgrade_required")
    assert answer[1]["Upgrade"] == "websocket"


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/v1", "/v1/", "/v1/runs", "/healthz/", "/static/none.js", "/static/",
     "/static/../pyproject.toml", "/static/%2e%2e/pyproject.toml", "/static//etc/passwd",
     "/static/..%2fwsrunner/settings.py",
     "/%00", "/static/%00",
     "//x", "/%c3%a9", "/%ff", "/" + "x" * 4000, "/static/" + "x" * 4000],
    ids=lambda path: path[:30],
)  # fmt: skip
def test_an_unknown_path_is_404(server, path):
    refused(ask(server.address, path), 404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize(
    ("path", "allowed"), [("/healthz", "GET, HEAD"), ("/v1/run", "GET, HEAD, POST")]
)
def test_other_methods_are_405(server, method, path, allowed):
    if method in allowed:
        return
    answer = ask(server.address, path, method)
    assert "GET" in refused(answer, 405, "method_not_allowed")
    assert answer[1]["Allow"] == allowed


def test_a_request_that_is_no_http_harms_nobody(server):
    host, _, port = server.address.rpartition(":")
    for noise in (
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"x" * 100_000 + b"\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    assert ask(server.address, "/healthz")[0] == 200


GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
LAST = GET + b"Connection: close\r\n"
PUT = LAST.replace(b"GET", b"PUT")


def exchange(server, data, *, half_closes):
    """Return all that is answered to what is sent on one connection."""
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        connection.sendall(data)
        if half_closes:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (LAST + b"\r\n", 200),
        (b"\r\n" + LAST + b"\r\n", 200),
        (LAST + b"\r\n\r\n", 200),
        (LAST + b"\r\n" + GET + b"\r\n", 400),
        (LAST + b"Content-Length: 5\r\n\r\nhello", 200),
        (LAST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
        (PUT + b"Content-Length: 5\r\n\r\nhello", 405),
        (PUT + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000, 405),
        (GET, 400),
        (b"GET\r\n\r\n", 400),
        (GET.replace(b"/healthz", b"/" + b"x" * 9000) + b"\r\n", 414),
        (GET + b"X: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (GET + b"X: 1\r\n" * 200 + b"\r\n", 400),
        (GET + b"Host: other\r\n\r\n", 400),
        (LAST.replace(b"1.1", b"1.0") + b"\r\n", 200),
        (GET.replace(b"HTTP/1.1", b"HTTP/2.0") + b"\r\n", 505),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("half_closes", [True, False])
def test_what_is_asked_is_answered_whatever_follows(server, request_bytes, status, half_closes):
    for _ in range(10):
        answer = exchange(server, request_bytes, half_closes=half_closes or status == 400)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/[12]\.[01] %d " % status, head), answer
        assert b"aiohttp" not in head
        assert isinstance(json.loads(body), dict)


def test_pipelined_requests_are_answered_in_order(server):
    paths = [b"/healthz", b"/nothing", b"/v1/run", b"/readyz"]
    requests = [GET.replace(b"/healthz", path) + b"\r\n" for path in paths]
    answer = exchange(server, b"".join([*requests, LAST + b"\r\n"]), half_closes=False)
    found = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
    assert found == [b"200", b"404", b"426", b"200", b"200"]


def test_a_later_request_s_head_is_bounded_too(server):
    lines = b"X: " + b"x" * 1000 + b"\r\n"
    with socket.create_connection(server.address.rsplit(":"), PATIENCE_S) as connection:
        connection.sendall(GET + b"\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(GET + lines * 100)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 431 "), answer
    assert b"32768 bytes" in answer


def test_many_requests_and_large_bodies_are_no_large_head(server):
    put = b"PUT /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
    for requests, status in (((GET + b"\r\n") * 1500, b"200"), (put + b"x" * 200_000, b"405")):
        answer = exchange(server, requests + LAST + b"\r\n", half_closes=False)
        found = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
        assert found == [status] * (len(found) - 1) + [b"200"]
        assert len(found) == 1 + requests.count(b"HTTP/1.1")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5,5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: 1\r\n folded\r\n",
    ],
)
def test_what_two_servers_might_read_differently_is_refused(server, head):
    """Request smuggling (RFC 9112 section 11.2)."""
    request = b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n0\r\n\r\n"
    answer = exchange(server, request + GET + b"\r\n", half_closes=False)
    assert re.findall(rb"HTTP/1\.[01] (\d+) ", answer) == [b"400"], answer


def test_chunks_are_refused_in_http_1_0(server):
    request = b"POST /v1/run HTTP/1.0\r\nConnection: keep-alive\r\nHost: localhost\r\n"
    request += b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = exchange(server, request + GET + b"\r\n", half_closes=False)
    assert re.findall(rb"HTTP/1\.[01] (\d+) ", answer) == [b"400"], answer


def test_a_handshake_with_a_body_is_refused(server):
    upgrade = b"GET /v1/run HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    for head in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        answer = exchange(server, upgrade + head + b"\r\nhello", half_closes=False)
        assert answer.startswith(b"HTTP/1.1 400 "), answer


def test_a_handshake_behind_another_request_is_told_to_use_a_connection_of_its_own(server):
    lines = [f"{name}: {value}" for name, value in HANDSHAKE.items()]
    handshake = "\r\n".join(["GET /v1/run HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()
    with socket.create_connection(server.address.rsplit(":"), PATIENCE_S) as connection:
        connection.sendall(GET + b"\r\n" + handshake)
        answer = b""
        while b"of its own" not in answer:
            answer += connection.recv(65536)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200", b"426"]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT localhost:80 HTTP/1.1", 404),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"TRACE /healthz HTTP/1.1", 405),
        (b"FOO /healthz HTTP/1.1", 400),
        (b"GET http://localhost/healthz HTTP/1.1", 200),
        (b"GET //[ HTTP/1.1", 404),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET /healthz", 505),
        (b"PRI * HTTP/2.0", 400),
    ],
)
def test_an_odd_request_line_is_answered(server, line, status):
    answer = exchange(server, line + b"\r\nHost: localhost\r\n\r\n", half_closes=True)
    assert answer.split(b" ")[1] == b"%d" % status, answer
    assert isinstance(json.loads(answer.partition(b"\r\n\r\n")[2]), dict)


def test_a_connection_stays_for_further_requests(server):
    host, _, port = server.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    for path in ("/healthz", "/nothing", "/v1/languages", "/static/wsrunner.js"):
        connection.request("GET", path)
        connection.getresponse().read()
        assert connection.sock is not None, path
    connection.close()


# Handshakes.


def test_a_handshake_is_answered_with_the_subprotocol_if_offered(server):
    status, headers, _ = shake_hands(server.address)
    assert (status, headers["Sec-WebSocket-Protocol"]) == (101, None)
    status, headers, _ = shake_hands(
        server.address, **{"Sec-WebSocket-Protocol": "chat, wsrunner.v1"}
    )
    assert (status, headers["Sec-WebSocket-Protocol"]) == (101, "wsrunner.v1")


@pytest.mark.parametrize("path", ["/", "/v1/runs", "/v1/languages", "/healthz"])
def test_a_socket_elsewhere_is_404(server, path):
    refused(shake_hands(server.address, path), 404, "not_found")


@pytest.mark.parametrize("language", ["nolanguage", "", "pyton", "a/b", "..", "%00", "x" * 1000])
def test_a_socket_for_an_unknown_language_is_404(server, language):
    refused(shake_hands(server.address, f"/v1/run/{language}"), 404, "unknown_language")


@pytest.mark.parametrize("language", ["python", "py", "PYTHON", "c%2B%2B"])
def test_a_socket_for_a_known_language_opens(server, language):
    assert shake_hands(server.address, f"/v1/run/{language}")[0] == 101


# The token.


@pytest.mark.parametrize("way", TOKEN_WAYS)
def test_the_token_opens_the_socket_in_each_way(guarded, way):
    headers = TOKEN_WAYS[way]
    status, answer, _ = shake_hands(guarded.address, **headers)
    assert status == 101
    assert TOKEN not in str(answer)
    assert shake_hands(guarded.address, "/v1/run/python", **headers)[0] == 101


@pytest.mark.parametrize("way", [way for way in TOKEN_WAYS if way != "subprotocol"])
@pytest.mark.parametrize("path", ["/v1/languages", "/metrics"])
def test_the_token_opens_the_lists(guarded, way, path):
    assert ask(guarded.address, path, **TOKEN_WAYS[way])[0] == 200


@pytest.mark.parametrize("way", WRONG_TOKENS)
def test_a_missing_or_wrong_token_is_401(guarded, way):
    headers = WRONG_TOKENS[way]
    for answer in (
        shake_hands(guarded.address, **headers),
        shake_hands(guarded.address, "/v1/run/python", **headers),
        shake_hands(guarded.address, "/v1/run/nolanguage", **headers),
        ask(guarded.address, "/v1/languages", **headers),
        ask(guarded.address, "/metrics", **headers),
    ):
        refused(answer, 401, "unauthorized")
        assert answer[1]["WWW-Authenticate"] == "Bearer"


def test_the_token_in_the_address_does_not_count(guarded):
    refused(shake_hands(guarded.address, f"/v1/run?token={TOKEN}"), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/asyncapi.json"])
def test_what_is_open_needs_no_token(guarded, path):
    assert ask(guarded.address, path)[0] == 200


async def test_a_browser_s_subprotocols_lead_to_a_run(guarded):
    protocols = ["wsrunner.v1", f"wsrunner.token.{TOKEN}"]
    async with open_talk(guarded.url, subprotocols=protocols) as talk:
        assert talk.connection.subprotocol == "wsrunner.v1"
        assert (await talk.run("bash", "echo hi")).stdout == "hi\n"
    guarded.settle()


async def test_the_token_and_what_clients_send_are_never_logged(guarded):
    secret = "what-the-client-sent"
    headers = {"X-Access-Token": TOKEN}
    async with open_talk(guarded.url, additional_headers=headers) as talk:
        code = f"echo {secret}; echo $K >&2; cat"
        outcome = await talk.run("bash", code, stdin=secret, args=[secret], env={"K": secret})
        assert secret in outcome.stdout
        await talk.say("run", language=secret, code=secret)
        assert (await talk.finish()).error
        await talk.say_raw(secret)
        assert await talk.hear_error()
    with pytest.raises(InvalidStatus):
        async with connect(f"{guarded.url}/v1/run?token={TOKEN}"):
            pass
    guarded.settle()
    log = guarded.log.read_text()
    assert TOKEN not in log
    assert TOKEN not in "".join(guarded.welcome)
    assert secret not in log
    assert outcome.exit["run"] in log


# Origins.


def test_no_origin_is_no_browser_and_may_connect(server):
    assert shake_hands(server.address)[0] == 101


def test_the_page_s_own_origin_may_connect(server):
    port = server.address.rpartition(":")[2]
    for host in (server.address, f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert shake_hands(server.address, **headers)[0] == 101, host


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost",
        "file://",
        "x",
        "",
        "http://[",
        "http://[::1]]:1",
    ],
)
def test_a_foreign_origin_is_403(server, origin):
    refused(shake_hands(server.address, Origin=origin), 403, "origin_not_allowed")
    refused(shake_hands(server.address, "/v1/run/python", Origin=origin), 403, "origin_not_allowed")


def test_a_host_that_is_none_is_403_to_a_page(server):
    for host in ("[", "[::1", "]:80", ""):
        answer = shake_hands(server.address, Host=host, Origin=f"http://{host}")
        assert answer[0] in {400, 403}, (host, answer)


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_foreign_name_that_leads_here_is_403(server, name):
    # DNS rebinding: the page's own host name has come to mean this machine.
    host = f"{name}:{server.address.rpartition(':')[2]}"
    answer = shake_hands(server.address, Host=host, Origin=f"http://{host}")
    refused(answer, 403, "origin_not_allowed")


@pytest.mark.parametrize("path", ["/metrics", "/v1/languages", "/", "/v1/asyncapi.json"])
def test_a_foreign_name_reads_nothing_here(server, path):
    port = server.address.rpartition(":")[2]
    for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "[", ""):
        refused(ask(server.address, path, Host=host), 421, "host_not_allowed")
    assert ask(server.address, "/readyz", Host="balancer")[0] == 200
    assert ask(server.address, path, Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    "path", ["/", "/monitor", "/docs", "/static/index.html", "/static/monitor.html"]
)
def test_every_page_has_its_policy(server, path):
    policy = ask(server.address, path)[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_an_origin_on_the_list_may_connect_with_the_token(guarded):
    for origin in ("https://ide.example", "https://IDE.example", "https://ide.example/"):
        headers = {"Origin": origin, "X-Access-Token": TOKEN}
        assert shake_hands(guarded.address, **headers)[0] == 101
    refused(shake_hands(guarded.address, Origin="https://ide.example"), 401, "unauthorized")
    for origin in ("http://ide.example", "https://ide.example:8443", "https://x.ide.example"):
        headers = {"Origin": origin, "X-Access-Token": TOKEN}
        refused(shake_hands(guarded.address, **headers), 403, "origin_not_allowed")


# Addresses.


def test_a_token_lets_any_address_be_served(start_server):
    server = start_server(host="0.0.0.0", token=TOKEN, warm_max=0)
    address = f"127.0.0.1:{server.address.rpartition(':')[2]}"
    refused(shake_hands(address), 401, "unauthorized")
    # Here a page may have any name, as long as it is the one that was asked for.
    own = {"Host": "ide.example:99", "Origin": "http://ide.example:99", "X-Access-Token": TOKEN}
    assert shake_hands(address, **own)[0] == 101
    foreign = own | {"Origin": "http://evil.example"}
    refused(shake_hands(address, **foreign), 403, "origin_not_allowed")


def test_open_lets_any_address_be_served_without_a_token(start_server):
    server = start_server(host="0.0.0.0", open=True, warm_max=0)
    address = f"127.0.0.1:{server.address.rpartition(':')[2]}"
    assert shake_hands(address)[0] == 101
