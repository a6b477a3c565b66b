"""A receiver of callbacks, on a port of its own: keeps what comes, answers as it is told."""

import json
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving import until


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict
    body: bytes

    @property
    def message(self):
        return json.loads(self.body)


class Receiver:
    """Answers 204, or what `answers` has: (status, headers) one after the other.

    Attributes:
        received: What has come.
        hold: Cleared, no answer is given until it is set.
    """

    def __init__(self, port):
        self.port = port
        self.received = []
        self.answers = deque()
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def wait(self, count=1):
        """Wait until so many requests have come; return them."""
        return until(
            lambda: len(self.received) >= count and list(self.received), f"{count} requests came"
        )


@contextmanager
def receiving():
    """Receive for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            receiver.hold.wait()
            status, given = receiver.answers.popleft() if receiver.answers else (204, {})
            self.send_response(status)
            for name, value in given.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
