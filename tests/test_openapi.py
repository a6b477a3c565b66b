"""The OpenAPI document says what the server does."""

import json
import re

from tests.http_talk import post
from wsrunner import protocol
from wsrunner.serving.doors import openapi
from wsrunner.serving.doors.run_state import RunState

DOCUMENT = openapi.document()


def references(node):
    """Yield every reference in a part of the document."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere():
    found = set(references(DOCUMENT))
    schemas = DOCUMENT["components"]["schemas"]
    assert found
    assert {name.rpartition("/")[2] for name in found} <= set(schemas)


def test_its_schemas_are_the_message_types():
    schemas = DOCUMENT["components"]["schemas"]
    for kind in (protocol.PostedRun, protocol.Result, protocol.Error, RunState):
        fields = set(kind.__struct_encode_fields__)
        assert set(schemas[kind.__name__]["properties"]) - {"type"} == fields
    assert schemas["PostedRun"]["required"] == ["language"]


def test_the_server_shows_it_and_answers_all_its_paths(server):
    shown = json.loads(server.get("/v1/openapi.json"))
    assert shown == json.loads(json.dumps(DOCUMENT))
    for path, operations in shown["paths"].items():
        asked = re.sub(r"\{\w+\}", "python", path)
        kept = path.startswith("/v1/runs/")
        if "get" in operations:
            assert server.status(asked) == (404 if kept else 200)
        if "post" in operations:
            answer = post(server, asked, b"{", **{"Content-Type": "application/json"})
            assert answer[0] in ({400, 404} if kept else {200, 201, 400})
            assert b"there is nothing at" not in answer[2]


def test_its_example_runs(server):
    content = DOCUMENT["paths"]["/v1/run"]["post"]["requestBody"]["content"]
    example = content["application/json"]["example"]
    assert json.loads(post(server, "/v1/run", example)[2])["stdout"] == "42\n"
