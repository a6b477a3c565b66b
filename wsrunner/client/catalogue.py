"""The server's languages and one's workspaces, over plain HTTP.

Blocks: meant for a thread.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib import error, request  # websockets has imported them already (for proxies)
from urllib.parse import quote, urlsplit

from wsrunner.address import is_loopback, neighbour, shown
from wsrunner.client import errors
from wsrunner.client.errors import ConnectError, RunRefusedError
from wsrunner.units import MIB

BODY_MAX_BYTES = 4 * MIB
ERROR_BODY_MAX_BYTES = 4096
NO_WORKSPACE = "no_such_workspace"


class _NoRedirect(request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none: the access token is for the named server alone."""


def get(address: str, headers: Mapping[str, str], timeout_s: float) -> list[dict[str, Any]]:
    """Return the entries of ``GET /v1/languages``.

    Args:
        address: An `endpoint`, perhaps with credentials.
        headers: Headers of the request.
        timeout_s: Longest silence, in seconds.

    Raises:
        ConnectError: The server does not answer, or not with a catalogue.
    """
    return _entries(address, headers, timeout_s, "languages")


def workspaces(address: str, headers: Mapping[str, str], timeout_s: float) -> list[dict[str, Any]]:
    """Return the entries of ``GET /v1/workspaces``; arguments and errors are those of `get`."""
    return _entries(address, headers, timeout_s, "workspaces")


def forget(address: str, headers: Mapping[str, str], timeout_s: float, name: str) -> None:
    """End a workspace; arguments are those of `get`.

    Raises:
        RunRefusedError: There is none of that name.
        ConnectError: See `get`.
    """
    _ask(address, headers, timeout_s, f"workspaces/{quote(name, safe='')}", "DELETE")


def _entries(
    address: str, headers: Mapping[str, str], timeout_s: float, name: str
) -> list[dict[str, Any]]:
    try:
        found = json.loads(_ask(address, headers, timeout_s, name))
        if not isinstance(found, list):
            found = found[name]
        return [entry for entry in found if isinstance(entry, dict)]
    except (ValueError, LookupError, TypeError) as exc:
        raise ConnectError(f"{shown(address)} gave no list of {name}: {exc}") from exc


def _ask(
    address: str, headers: Mapping[str, str], timeout_s: float, name: str, method: str = "GET"
) -> bytes:
    server = shown(address)
    parts = urlsplit(neighbour(address, name))
    userinfo, at, host = parts.netloc.rpartition("@")
    url = parts._replace(scheme="https" if parts.scheme == "wss" else "http", netloc=host).geturl()
    handlers: list[request.BaseHandler] = [_NoRedirect()]
    if is_loopback(address):
        handlers.append(request.ProxyHandler({}))
    sent = dict(headers)
    if at:
        sent["Authorization"] = "Basic " + base64.b64encode(userinfo.encode()).decode("ascii")
    try:
        asked = request.Request(url, headers=sent, method=method)  # noqa: S310 - http and https only
        with request.build_opener(*handlers).open(asked, timeout=timeout_s) as answer:
            return bytes(answer.read(BODY_MAX_BYTES))
    except error.HTTPError as exc:
        with exc:
            body = exc.read(ERROR_BODY_MAX_BYTES)
            _raise_no_workspace(body)
            raise errors.refused(server, exc.code, body, exc.headers.get("Location")) from exc
    except OSError as exc:
        raise errors.unreachable(server, exc) from exc


def _raise_no_workspace(body: bytes) -> None:
    """Raise RunRefusedError if that is what an answer says."""
    try:
        said = json.loads(body)
        if said["code"] != NO_WORKSPACE:
            return
    except (ValueError, LookupError, TypeError):
        return
    raise RunRefusedError(str(said.get("message")), code=NO_WORKSPACE)
