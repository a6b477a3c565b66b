"""Every example of these documents prints what is shown below it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker_fixtures import absent
from tests.talk import PATIENCE_S

DOCS = Path(__file__).parents[1] / "docs"
PAIR = re.compile(r"```sh\n(.*?)```\n\n```(?:json|text)\n(.*?)```", re.DOTALL)
EXAMPLES = [
    pytest.param(command, shown, id=f"{name}-{number}")
    for name in ("http.md", "migrating.md")
    for number, (command, shown) in enumerate(PAIR.findall((DOCS / name).read_text("utf-8")))
]


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_prints_what_the_document_shows(server, tmp_path, command, shown):
    if not shutil.which("curl"):
        absent("curl")
    done = subprocess.run(
        ["sh", "-c", command.replace("127.0.0.1:8001", server.address)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    pattern = ".*?".join(map(re.escape, shown.rstrip("\n").split("…")))
    assert re.fullmatch(pattern, done.stdout.rstrip("\n"), re.DOTALL), done.stdout
