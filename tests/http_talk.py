"""An HTTP client for tests: a raw connection, and requests whose answers are read as they come."""

import contextlib
import http.client
import json
import socket

from tests.talk import PATIENCE_S


def connect(server):
    """Return a connection of `http.client`, which stays open between requests."""
    host, _, port = server.address.rpartition(":")
    return http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)


def post(server, path, body, *, connection=None, **headers):
    """Return (status, headers, body) of one POST; a body that is no bytes is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    with contextlib.closing(connection or connect(server)) as opened:
        opened.request("POST", path, body, headers)
        response = opened.getresponse()
        return response.status, response.headers, response.read()


def run(server, path="/v1/run", **fields):
    """Run something; return the result, which must be one."""
    status, _, body = post(server, path, fields)
    assert status == 200, body
    return json.loads(body)


def refused(answer, status, code):
    """Check that an answer is the error of that code; return it."""
    assert answer[0] == status, answer
    assert answer[1]["Content-Type"] == "application/json"
    error = json.loads(answer[2])
    assert (error["type"], error["code"]) == ("error", code)
    return error


@contextlib.contextmanager
def raw(server):
    """A plain TCP connection."""
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        yield connection


def head(path, *lines, size=None):
    """Return the head of a POST."""
    more = [*lines] + ([] if size is None else [f"Content-Length: {size}"])
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *more, "", ""]).encode()


def read_until(connection, wanted):
    """Return what comes, up to and with `wanted`."""
    data = b""
    while wanted not in data:
        part = connection.recv(65536)
        assert part, data
        data += part
    return data


def read_all(connection):
    """Return what comes until the end."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data
