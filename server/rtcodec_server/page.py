"""
The relay's web pages: the dashboard, publish, watch, and the files in `web/` that they are made of.

    GET /    /publish/{room}    /watch/{room}    /web/{file}

Everything is read once and served from memory, so that no request names a file. Nothing here asks
for a token: pages are the same for everybody, and what they show they ask for with one. No build
step, no script or style but these files, nothing from elsewhere (ADR 033).
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web

from rtcodec.session.message import check_room_name
from rtcodec_server.problem import Problem

_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
"What there may be in `web/`; anything else there is not served."

_HEADERS: Final = {
    # blob: the file that somebody publishes, read by their own browser
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), display-capture=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # asked for again each time and answered by 304: a new relay has new pages at once
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str
    "Of its content."

    def answer(self, request: web.Request) -> web.Response:
        """Return it, or that the browser has it already."""
        headers = {**_HEADERS, "ETag": f'"{self.etag}"'}
        known = request.if_none_match or ()
        if any(tag.value in (self.etag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=self.body, content_type=self.content_type, charset="utf-8", headers=headers
        )


class Pages:
    """Handlers of what a browser shows."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        for path in files("rtcodec_server").joinpath("web").iterdir():
            kind = _TYPES.get(path.name.rpartition(".")[2])
            if kind is not None:
                body = path.read_bytes()
                self._files[path.name] = _File(body, kind, hashlib.sha256(body).hexdigest()[:32])

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        router.add_get("/", self._dashboard)
        router.add_get("/publish/{room}", self._publish)
        router.add_get("/watch/{room}", self._watch)
        router.add_get("/web/{file}", self._file)

    async def _dashboard(self, request: web.Request) -> web.Response:
        return self._files["dashboard.html"].answer(request)

    async def _publish(self, request: web.Request) -> web.Response:
        check_room_name(request.match_info["room"])
        return self._files["publish.html"].answer(request)

    async def _watch(self, request: web.Request) -> web.Response:
        check_room_name(request.match_info["room"])
        return self._files["watch.html"].answer(request)

    async def _file(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["file"])
        if file is None or file.content_type == _TYPES["html"]:
            raise Problem(404, "not found")
        return file.answer(request)
