"""The server's languages, over plain HTTP.

Blocks: meant for a thread.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib import error, request  # websockets has imported them already (for proxies)
from urllib.parse import urlsplit

from wsrunner.address import is_loopback, neighbour, shown
from wsrunner.client import errors
from wsrunner.client.errors import ConnectError
from wsrunner.units import MIB

BODY_MAX_BYTES = 4 * MIB
ERROR_BODY_MAX_BYTES = 4096


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
    server = shown(address)
    parts = urlsplit(neighbour(address, "languages"))
    userinfo, at, host = parts.netloc.rpartition("@")
    url = parts._replace(scheme="https" if parts.scheme == "wss" else "http", netloc=host).geturl()
    handlers: list[request.BaseHandler] = [_NoRedirect()]
    if is_loopback(address):
        handlers.append(request.ProxyHandler({}))
    sent = dict(headers)
    if at:
        sent["Authorization"] = "Basic " + base64.b64encode(userinfo.encode()).decode("ascii")
    try:
        asked = request.Request(url, headers=sent)  # noqa: S310 - http and https only
        with request.build_opener(*handlers).open(asked, timeout=timeout_s) as answer:
            found = json.loads(answer.read(BODY_MAX_BYTES))
        if not isinstance(found, list):
            found = found["languages"]
        return [entry for entry in found if isinstance(entry, dict)]
    except error.HTTPError as exc:
        with exc:
            body = exc.read(ERROR_BODY_MAX_BYTES)
            raise errors.refused(server, exc.code, body, exc.headers.get("Location")) from exc
    except (ValueError, LookupError, TypeError) as exc:
        raise ConnectError(f"{server} gave no list of languages: {exc}") from exc
    except OSError as exc:
        raise errors.unreachable(server, exc) from exc
