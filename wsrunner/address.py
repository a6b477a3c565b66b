"""What a user may name as the server, and which URLs that makes.

Pure, and light enough for ``--help``.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

DEFAULT_URL = "ws://127.0.0.1:8001"
LINK_MARK = "#live="


def endpoint(url: str) -> str:
    """Return the URL of the JSON protocol for what a user names as the server.

    Args:
        url: Such as ``ws://host:8001``, ``https://host/prefix/`` or ``host:8001``.

    Raises:
        ValueError: It is no such URL; the message says what one looks like.
    """
    parts = urlsplit(url.strip() if "://" in url else f"ws://{url.strip()}")
    scheme = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}.get(parts.scheme)
    try:
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, or out of range
        usable = False
    if scheme is None or not usable or any(character.isspace() for character in parts.netloc):
        raise ValueError(
            f"not the URL of a server; expected something like {DEFAULT_URL}, https://host or "
            "host:port"
        )
    if parts.query or parts.fragment:
        raise ValueError("the server's URL takes no query; give the access token as the token")
    path = parts.path.rstrip("/").removesuffix("/v1/run")
    return urlunsplit((scheme, parts.netloc, f"{path}/v1/run", "", ""))


def neighbour(address: str, name: str) -> str:
    """Return the URL of another thing that the server has, such as ``monitor``.

    Args:
        address: An `endpoint`.
        name: What stands in the place of ``run``.
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=parts.path.removesuffix("run") + name))


def shown(address: str) -> str:
    """Return the server's URL without ``/v1/run`` and credentials, fit to be shown.

    Args:
        address: An `endpoint`.
    """
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.removesuffix('/v1/run')}"


def link(url: str, run: str, key: str) -> str:
    """Return what a user needs to come to a kept run, in one word.

    The key is behind the ``#``, so that no server on the way gets to see it.

    Args:
        url: The server's, as it is `shown`.
        run: The server's name for the run.
        key: One of its keys.
    """
    return f"{url.replace('ws', 'http', 1)}{LINK_MARK}{run}.{key}"


def unlink(text: str) -> tuple[str, str, str]:
    """Return (URL of the server, run, key) of a `link`.

    Raises:
        ValueError: It is none.
    """
    url, _, rest = text.partition(LINK_MARK)
    run, _, key = rest.partition(".")
    if not (url and run and key):
        raise ValueError(f"not the link of a run, such as http://host:8001{LINK_MARK}RUN.KEY")
    return url, run, key


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine itself."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")
