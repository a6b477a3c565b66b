"""The HTTP API, machine readable: an OpenAPI document made from the message types.

Format: OpenAPI 3.1.0, with JSON Schemas (draft 2020-12) as msgspec writes them.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from wsrunner import __version__, protocol
from wsrunner.serving.doors.run_state import RunState
from wsrunner.serving.doors.workspaces import Workspace

_REF = "#/components/schemas/{name}"
_RUN_EXAMPLE = {"language": "python", "code": "print(input())", "stdin": "42\n"}

_FORM = {
    "type": "object",
    "required": ["language"],
    "properties": {
        "language": {"type": "string"},
        "code": {"type": "string"},
        "stdin": {"type": "string"},
        "command": {"type": "string"},
        "workspace": {"type": "string"},
        "arg": {"type": "array", "items": {"type": "string"}},
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
    },
}


def document() -> dict[str, Any]:
    """Return the document that ``GET /v1/openapi.json`` shows."""
    _, schemas = msgspec.json.schema_components(
        [protocol.PostedRun, protocol.Result, RunState, Workspace, protocol.ServerMessage],
        ref_template=_REF,
    )
    # The path says it.
    run = schemas["PostedRun"]
    run["required"] = [name for name in run["required"] if name != "type"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wsrunner",
            "version": __version__,
            "description": "Runs code in throw-away containers.",
            "license": {"name": "MIT"},
        },
        "paths": {
            "/v1/run": {"post": _run()},
            "/v1/run/{language}": {"post": _run_plain()},
            **_kept(),
            "/v1/tickets": {"post": _ticket()},
            **_workspaces(),
            "/v1/languages": {"get": _read("The languages, and which images are there.")},
            "/v1/languages/{language}": {"get": _language()},
            "/healthz": {"get": _read("Whether the process serves.", open_to_all=True)},
            "/readyz": {"get": _read("Whether it could take a run now.", open_to_all=True)},
        },
        "security": [{}, {"token": []}, {"bearer": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Access-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _ticket() -> dict[str, Any]:
    ticket = {
        "type": "object",
        "required": ["ticket", "expires_s"],
        "properties": {"ticket": {"type": "string"}, "expires_s": {"type": "number"}},
    }
    return {
        "summary": "A ticket that opens one WebSocket, once, as `?ticket=`.",
        "responses": {
            "201": {"description": "It.", "content": _content("application/json", ticket)}
        }
        | _refusals(),
    }


def _language() -> dict[str, Any]:
    name = {"name": "language", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**_read("One language, and the packages of its image."), "parameters": [name]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _content(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": schema}}


def _refusals() -> dict[str, Any]:
    said = {
        "400": "The request makes no sense; `path` names the place.",
        "401": "The access token is missing or wrong.",
        "403": "A page of a foreign origin asks.",
        "404": "There is no such language, run or workspace, or the image is not here.",
        "408": "The body took too long.",
        "409": "The workspace is made of something else, or another server's.",
        "413": "The body, or something in it, is too large.",
        "415": "The body is of another media type, or encoded.",
        "429": "Too many runs a minute, or at once; see Retry-After.",
        "500": "An error of the server.",
        "503": "The queue is full, or the server stops; see Retry-After.",
    }
    return {
        status: {"description": text, "content": _content("application/json", _ref("Error"))}
        for status, text in said.items()
    }


def _run() -> dict[str, Any]:
    events = {"type": "string", "description": "The messages of the JSON protocol, one by one."}
    return {
        "operationId": "run",
        "summary": "Run a program.",
        "description": "The answer has the form that `Accept` asks for: the whole result at the "
        "end, or messages as they come. Hanging up cancels the run. Without `stdin` it is empty.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("PostedRun"), "example": _RUN_EXAMPLE},
                "multipart/form-data": {"schema": _FORM},
            },
        },
        "responses": {
            "200": {
                "description": "How it went.",
                "content": _content("application/json", _ref("Result"))
                | _content("text/event-stream", events)
                | _content("application/x-ndjson", events),
            },
            "202": {
                "description": "The run goes on by itself: asked with `Prefer: respond-async`, "
                "`keep_s`, `once` or `callback`. Its keys are secrets.",
                "content": _content("application/json", _ref("Accepted")),
            },
        }
        | _refusals(),
    }


def _kept() -> dict[str, Any]:
    """Return what can be asked of a run that is kept."""
    text = {"type": "string"}
    known: list[dict[str, Any]] = [
        {"name": "run", "in": "path", "required": True, "schema": text},
        {"name": "Run-Key", "in": "header", "required": True, "schema": text},
    ]
    events = {"type": "string", "description": "The messages of the JSON protocol, one by one."}

    def done(summary: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        operation = {
            "summary": summary,
            "parameters": known,
            "responses": {"204": {"description": "Done."}} | _refusals(),
        }
        return operation | ({"requestBody": {"required": True, "content": body}} if body else {})

    signal = {
        "type": "object",
        "required": ["signal"],
        "properties": {"signal": {"enum": list(get_args(protocol.Signal))}},
    }
    raw = {"type": "string", "format": "binary"}
    path = "/v1/runs/{run}"
    return {
        path: {
            "get": {
                "operationId": "showRun",
                "summary": "How a kept run is, or its messages from `Last-Event-ID` on.",
                "parameters": known,
                "responses": {
                    "200": {
                        "description": "How it is.",
                        "content": _content("application/json", _ref("RunState"))
                        | _content("text/event-stream", events)
                        | _content("application/x-ndjson", events),
                    }
                }
                | _refusals(),
            },
            "delete": done("End a kept run."),
        },
        f"{path}/stdin": {"post": done("Pass the body to its stdin.", _content("text/plain", raw))},
        f"{path}/eof": {"post": done("End its stdin.")},
        f"{path}/signal": {"post": done("Send it a signal.", _content("application/json", signal))},
    }


def _workspaces() -> dict[str, Any]:
    """Return what can be asked of workspaces."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    listed = {"type": "array", "items": _ref("Workspace")}
    return {
        "/v1/workspaces": {
            "get": {
                "operationId": "listWorkspaces",
                "summary": "The workspaces that you have.",
                "responses": {
                    "200": {
                        "description": "By name.",
                        "content": _content("application/json", listed),
                    }
                }
                | _refusals(),
            }
        },
        "/v1/workspaces/{name}": {
            "delete": {
                "operationId": "forgetWorkspace",
                "summary": "End a workspace: now, or with the run that goes on in it.",
                "parameters": [name],
                "responses": {"204": {"description": "Its name is free."}} | _refusals(),
            }
        },
    }


def _run_plain() -> dict[str, Any]:
    def query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "in": "query", "description": description, "schema": schema}

    text = {"type": "string"}
    return {
        "operationId": "runPlain",
        "summary": "Run the source that is the body; the answer is its output as it comes.",
        "parameters": [
            {"name": "language", "in": "path", "required": True, "schema": text},
            query("status", "`line`: tell the outcome in a last line.", {"enum": ["line"]}),
            query("stdin", "All of stdin.", text),
            query("arg", "An argument; may be repeated.", {"type": "array", "items": text}),
        ],
        "requestBody": {"required": True, "content": _content("text/plain", text)},
        "responses": {
            "200": {
                "description": "The output, both streams in order.",
                "content": _content("text/plain", text),
            }
        }
        | _refusals(),
    }


def _read(summary: str, *, open_to_all: bool = False) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": _content("application/json", {})}},
    }
    if open_to_all:
        operation["security"] = [{}]
    return operation
