"""The wire protocol, machine readable: an AsyncAPI document made from the message types.

Format: AsyncAPI 3.0.0, with JSON Schemas (draft 2020-12) as msgspec writes them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wsrunner import __version__, protocol

_REF = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """Return the document that ``GET /v1/asyncapi.json`` shows."""
    directions = {
        "receive": msgspec.inspect.type_info(protocol.ClientMessage),
        "send": msgspec.inspect.type_info(protocol.ServerMessage),
    }
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for action, union in directions.items():
        assert isinstance(union, msgspec.inspect.UnionType)
        for node in union.types:
            assert isinstance(node, msgspec.inspect.StructType)
            name = node.cls.__name__
            summary = (node.cls.__doc__ or "").partition("\n")[0]
            messages[name] = {
                "name": node.tag,
                "title": name,
                "summary": summary,
                "contentType": "application/json",
                "payload": {"$ref": _REF.format(name=name)},
            }
        operations[action] = {
            "action": action,
            "channel": {"$ref": "#/channels/run"},
            "messages": [
                {"$ref": f"#/channels/run/messages/{node.cls.__name__}"}
                for node in union.types
                if isinstance(node, msgspec.inspect.StructType)
            ],
        }
    _, schemas = msgspec.json.schema_components(
        [protocol.ClientMessage, protocol.ServerMessage], ref_template=_REF
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "wsrunner",
            "version": __version__,
            "description": "Runs code in throw-away containers and streams its output.",
            "license": {"name": "MIT"},
        },
        "channels": {
            "run": {
                "address": "/v1/run",
                "description": "Many runs over one socket; one JSON object a message.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }
