"""The pages and their files: which there are, and how long a browser may keep them.

Owns the folder `static/`. How a file is sent, whole or in part, is aiohttp's.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from aiohttp import web

from wsrunner.serving import answers
from wsrunner.serving.doors.exchange import response_of

PAGES = {"/": "index.html", "/monitor": "monitor.html", "/docs": "docs.html"}
_KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".ts": "text/plain",
    ".map": "application/json",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
"""Not left to the machine's own table: browsers refuse modules of another type."""
_HASHED = re.compile(r"dist/chunks/.+-[A-Z0-9]{8}\.\w+")
_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_COMPRESS_MIN_BYTES = 1024
_PARTIAL = frozenset({"Range", "If-None-Match", "If-Modified-Since"})
# Scripts come from here alone. Styles may be inline: CodeMirror and xterm.js write theirs into
# style elements and attributes, and xterm.js knows no nonce.
_POLICY = "; ".join(  # noqa: FLY002 - one directive a line
    (
        "default-src 'none'",
        "script-src 'self'",
        "script-src-attr 'none'",
        "require-trusted-types-for 'script'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def static_dir() -> Path:
    """Return the folder of the pages: in the wheel, or beside the package in a checkout."""
    packed = Path(str(resources.files("wsrunner"))) / "static"
    return packed if packed.is_dir() else packed.parents[1] / "static"


class Pages:
    """Sends the files below one folder.

    Args:
        folder: Where they are. Names with a part that begins with a dot, and `node_modules`, are
            not served.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [web.get(path, self.page) for path in PAGES] + [
            web.get("/static/{name:.*}", self.file)
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Answer with a page."""
        return self._send(request, PAGES[request.path])

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Answer with what a page is made of."""
        return self._send(request, request.match_info["name"])

    def find(self, name: str) -> Path | None:
        """Return a file; None if there is none, or none that is served.

        Args:
            name: Relative path with ``/``.
        """
        parts = name.split("/")
        if "node_modules" in parts or any(part[:1] in {"", "."} for part in parts):
            return None
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
        except (ValueError, OSError):
            # A name that no file can have: with NUL, or too long.
            return None
        return path

    def _send(self, request: web.Request, name: str) -> web.StreamResponse:
        path = self.find(name)
        if path is None:
            return response_of(nothing_at(request.path))
        kind = _KINDS.get(path.suffix, "application/octet-stream")
        text = kind.startswith("text/") or kind.endswith("json")
        headers = {
            "Content-Type": f"{kind}; charset=utf-8" if text else kind,
            "Cache-Control": _FOREVER if _HASHED.fullmatch(name) else _REVALIDATE,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept-Encoding",
        }
        if kind == "text/html":
            headers["Content-Security-Policy"] = _POLICY
        else:
            # Other sites' pages may load the client and the widget; who may connect is decided
            # at the handshake.
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response = web.FileResponse(path, headers=headers)
        # For what has no compressed form beside it; aiohttp would compress a 304's nothing, too.
        whole = request.method == "GET" and not _PARTIAL & set(map(str.title, request.headers))
        if text and whole and path.stat().st_size >= _COMPRESS_MIN_BYTES:
            response.enable_compression()
        return response


def nothing_at(path: str) -> answers.Answer:
    """Return the answer where there is nothing."""
    return answers.error(404, "not_found", f"there is nothing at {path[:100]}")
