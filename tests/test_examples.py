"""What `examples/` holds runs as it stands, and prints this."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.serving import environment
from tests.talk import PATIENCE_S

EXAMPLES = Path(__file__).parents[1] / "examples"
GAME = "Guess? 50\ntoo high\nGuess? 25\ntoo low\nGuess? 37\nright\nexited\n"
SQUARES = sorted(f"{number} squared is {number**2}" for number in range(1, 13))
PRINTED = {
    "hello.py": "Hello, Ada\nexited 0\n",
    "conversation.py": GAME,
    "files.py": "bars.svg image/svg+xml 242 bytes\n",
    "terminal.py": "80 24\n120 40\nYour name? Ada\nHello, Ada\n",
    "hello.mjs": "stdout: Hello, Ada\nstdout: Hello, Grace\nexited 0\n",
    "conversation.mjs": GAME,
    "websocat.sh": "0\n1\n2\nHello, Ada\n",
}
"""What is the same each time. The runs of many.py end in any order."""
BACKENDS = ("backend.mjs", "backend.py")
ELSEWHERE = {"classroom.html", "embed.html", "README.md"}
"""The pages are opened by tests/browser: they are the foreign site there."""


@pytest.fixture
def play(request, server):
    """A function that runs an example as its reader would; returns what it prints."""

    def played(name, **variables):
        commands = {
            ".py": lambda: [sys.executable],
            ".mjs": lambda: request.getfixturevalue("node"),
            ".sh": lambda: ["sh"],
        }
        path = os.environ["PATH"]
        if name.endswith(".sh"):
            path = f"{Path(request.getfixturevalue('websocat')).parent}:{path}"
        done = subprocess.run(
            [*commands[Path(name).suffix](), EXAMPLES / name],
            env=environment(**{"WSRUNNER_URL": server.url, "PATH": path, **variables}),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    return played


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_is_to_show(play, name):
    assert play(name) == PRINTED[name]


def test_many_runs_over_one_socket_all_end(play):
    assert sorted(play("many.py").splitlines()) == SQUARES


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_signs_a_token_that_its_user_runs_something_with(
    play, start_server, tmp_path, name
):
    private = Ed25519PrivateKey.generate()
    key = tmp_path / "private.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "public.pem").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    file = tmp_path / "tenants.toml"
    file.write_text(
        '[[tenant]]\nname = "school"\n'
        'keys = [{ kid = "backend", algorithm = "EdDSA", file = "public.pem" }]\n'
    )
    server = start_server(tenants=file)
    assert play(name, WSRUNNER_URL=server.url, BACKEND_KEY=str(key)) == "signed\nexited 0\n"


def test_every_example_is_run_and_listed():
    there = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert there == {*PRINTED, *BACKENDS, "many.py", *ELSEWHERE}
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in there - {"README.md"} if f"[{name}]({name})" not in listed] == []
