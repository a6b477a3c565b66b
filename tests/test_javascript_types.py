"""The types that static/wsrunner.d.ts publishes are those of static/wsrunner.js."""

import json
import shutil
import subprocess

import pytest

from tests.docker_fixtures import absent
from wsrunner.serving.doors.pages import static_dir

# Both ways: nothing is promised that is not there, and nothing is there that is not told. What
# begins with an underscore is no client's business; private constructors are not compared.
AGREE = """
import * as published from "./published.js";
import * as written from "./written.js";

type Public<T> = { [Name in keyof T as Name extends `_${string}` ? never : Name]: T[Name] };
type Same<A, B> = [A, B] extends [B, A] ? true : false;
function holds<_Claim extends true>() {}

holds<Same<keyof typeof published, keyof typeof written>>();
holds<Same<keyof published.Connection, keyof Public<written.Connection>>>();
holds<Same<keyof published.Run, keyof Public<written.Run>>>();
holds<Same<keyof published.WsrunnerError, keyof Public<written.WsrunnerError>>>();

export const connect: typeof published.connect = written.connect;
export const isToken: typeof published.isToken = written.isToken;
export const WsrunnerError: typeof published.WsrunnerError = written.WsrunnerError;
"""


@pytest.fixture
def tsc():
    path = shutil.which("node") or absent("node")
    compiler = static_dir() / "node_modules" / "typescript" / "bin" / "tsc"
    return [path, str(compiler)] if compiler.exists() else absent("TypeScript (make lint)")


@pytest.fixture
def compare(tmp_path, tsc):
    """Compare the client with types; returns what TypeScript has against them."""
    config = json.dumps({"extends": str(static_dir() / "tsconfig.client.json"), "include": ["*"]})

    def compared(published):
        (tmp_path / "tsconfig.json").write_text(config)
        (tmp_path / "agree.ts").write_text(AGREE)
        client = (static_dir() / "wsrunner.js").read_text(encoding="utf-8")
        (tmp_path / "written.js").write_text(client.replace("./wsrunner.d.ts", "./published.d.ts"))
        (tmp_path / "published.d.ts").write_text(published)
        said = subprocess.run(
            [*tsc, "--project", tmp_path], capture_output=True, text=True, check=False
        )
        return said.stdout + said.stderr

    return compared


@pytest.fixture(scope="module")
def types():
    return (static_dir() / "wsrunner.d.ts").read_text(encoding="utf-8")


def test_the_published_types_are_those_of_the_client(compare, types):
    assert compare(types) == ""


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("  cancel(): void;\n", ""),
        ("  close(): void;\n", "  close(): void;\n  pause(): void;\n"),
        ("  resize(columns: number, rows: number): void;", "  resize(columns: string): void;"),
        ("  readonly ended: boolean;", "  readonly ended: string;"),
        ("export function isToken(text: string): boolean;", ""),
    ],
)
def test_types_that_say_something_else_are_found(compare, types, line, other):
    assert line in types
    assert "error TS" in compare(types.replace(line, other))
