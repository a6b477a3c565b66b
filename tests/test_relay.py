"""The way of output from container to client: what a client that does not read must not spoil."""

import contextlib
import json
import socket

FLOOD = "import os\nblock = (b'x' * 9 + b'\\n') * 6553\nwhile True: os.write(1, block)"
RECEIVE_BUFFER_BYTES = 4096


def open_slow(server):
    """Open a raw socket with a small buffer, whose owner reads only when it says so."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    slow.settimeout(60)
    host, _, port = server.address.rpartition(":")
    slow.connect((host, int(port)))
    slow.sendall(
        f"GET /v1/run HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return slow


def say(slow, **message):
    """Send one message of 126 bytes or more, masked with zeros (RFC 6455 section 5.2)."""
    data = json.dumps(message).encode().ljust(126)
    slow.sendall(b"\x81\xfe" + len(data).to_bytes(2) + b"\0\0\0\0" + data)


def read_until(slow, wanted):
    """Read until `wanted` has come, and no further."""
    heard = b""
    while wanted not in heard:
        heard += slow.recv(RECEIVE_BUFFER_BYTES)


@contextlib.contextmanager
def flood(server):
    """Yield while a run prints for ever to a client that has stopped to read."""
    with open_slow(server) as slow:
        say(slow, type="run", language="python", code=FLOOD)
        read_until(slow, b'"seq":1,')
        yield


def test_a_client_that_stopped_to_read_is_dropped_and_its_run_ended(start_server):
    server = start_server(output_kb=2**25, slots=1, slow_client_s=0.5)
    with flood(server):
        server.settle()
        assert "4408" in server.log.read_text()
