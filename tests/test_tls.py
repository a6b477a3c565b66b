"""The port with TLS: all that goes without goes with it, and certificates change without a stop."""

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from tests.certificates import make_certificate
from tests.docker_fixtures import absent
from tests.serving import COMMAND, environment, until
from tests.talk import PATIENCE_S
from wsrunner.errors import SetupError
from wsrunner.serving import tls
from wsrunner.serving.tls import Certificate, certificate_of
from wsrunner.settings import Settings

FLOOD = "while True: print('x' * 1000)"


@pytest.fixture
def pair(tmp_path):
    """A certificate and its key."""
    if not shutil.which("openssl"):
        absent("openssl")
    return make_certificate(tmp_path)


@pytest.fixture
def secured(pair, start_server):
    """A server that speaks TLS."""
    certificate, key = pair
    server = start_server(tls_cert=certificate, tls_key=key, warm_max=0, slow_client_s=1)
    yield server
    server.settle()


def open_socket(server):
    """Open a TLS connection by hand."""
    host, port = server.address.split(":")
    plain = socket.create_connection((host, int(port)), PATIENCE_S)
    return server.trusting()["ssl"].wrap_socket(plain, server_hostname="localhost")


async def test_runs_go_over_tls_in_each_way(secured):
    async with secured.talk() as talk:
        assert (await talk.run("python", "print(1)")).stdout == "1\n"
    async with secured.plain("python") as plain:
        await plain.send("print(2)")
        assert "".join([message async for message in plain]) == "2\n"
    assert secured.get("/healthz")
    assert secured.welcome[0].startswith("wsrunner serves on https://")
    done = await asyncio.to_thread(
        subprocess.run,
        [COMMAND, "run", "--url", secured.url, "-l", "python", "-c", "print(3)"],
        env=environment(SSL_CERT_FILE=str(secured.certificate)),
        capture_output=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == (b"3\n", 0), done.stderr


async def test_who_takes_nothing_is_dropped_over_tls_too(secured):
    talk = secured.talk(max_queue=1)
    async with talk as reader:
        await reader.say("run", language="python", code=FLOOD)
        await reader.hear_output("x")
        await asyncio.to_thread(secured.free)


def test_what_is_refused_is_answered_and_the_connection_ends(secured):
    for request, status in (
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 40_000, b" 431 "),
        (b"GET /" + b"x" * 9000, b" 414 "),
        (b"GET /v1/run HTTP/1.1\r\nUpgrade: websocket\r\nHost: x\r\n\r\n", b" 4"),
    ):
        with open_socket(secured) as connection:
            connection.sendall(request)
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
            assert status in answer.partition(b"\r\n")[0]


def test_who_speaks_no_tls_harms_nobody(secured):
    host, port = secured.address.split(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in plain.recv(4096)
    assert secured.get("/healthz")


async def test_a_certificate_that_changes_is_used_from_then_on(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.01)
    certificate, key = pair
    served = Certificate(str(certificate), str(key))
    following = asyncio.create_task(served.follow())

    async def shown():
        """Return the certificate that a new connection is shown."""
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=served.context)
        port = server.sockets[0].getsockname()[1]
        try:
            pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        finally:
            server.close()
        return pem.strip()

    async def use(wanted):
        async with asyncio.timeout(PATIENCE_S):
            while await shown() != wanted:
                pass

    first = certificate.read_text().strip()
    assert await shown() == first
    certificate.write_text("no certificate")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    second, second_key = make_certificate(fresh)
    # A new key beside the old certificate, and the other way round, are used by nobody.
    shutil.copy(second_key, key)
    assert await shown() == first
    shutil.copy(second, certificate)
    await use(second.read_text().strip())
    following.cancel()


def test_sighup_has_it_read_again(secured):
    secured.signal(signal.SIGHUP)
    until(lambda: "was read again and is in use" in secured.log.read_text(), "it was read again")
    assert secured.get("/healthz")


def test_what_can_not_be_served_with_stops_the_start(pair, tmp_path):
    certificate, key = pair
    with pytest.raises(SetupError, match="--tls-cert"):
        certificate_of(Settings(tls_key=str(key)))
    with pytest.raises(SetupError, match="can't be used: No such file"):
        certificate_of(Settings(tls_cert=str(tmp_path / "none.pem")))
    with pytest.raises(SetupError, match="can't be used"):
        certificate_of(Settings(tls_cert=str(key)))
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    assert certificate_of(Settings(tls_cert=str(both)))
    assert certificate_of(Settings()) is None
