"""
The relay's web pages: dashboard, publish, watch, view, photo, and the files they are made of.

    GET /    /publish/{room}    /watch/{room}    /view    /view/{room}    /photo    /web/{file}
    and what `tab_decoder` has

Those are in `web/` and, where other pages may use them too, in the viewer (clients/web/src).
Everything is read once and served from memory, so that no request names a file. Nothing here asks
for a token: pages are the same for everybody, and what they show they ask for with one. No build
step, no script or style but these files, nothing from elsewhere (ADR 033).
"""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

from rtcodec.entropy.build import EXACT_WASM, PROGRESSIVE_WASM, WASM
from rtcodec.session.message import check_room_name
from rtcodec.web_decoder import web_decoder_files, web_scripts
from rtcodec_server.problem import Problem
from rtcodec_server.tab_decoder import TabDecoder

_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "wasm": "application/wasm",
}
"What there may be in the folders; anything else there is not served."


_POLICY: Final = (
    # blob: the file that somebody publishes, read by their own browser; rtcodec-worker: the only
    # script addresses that are made in a script, those of workers
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; worker-src 'self'; "
    "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types rtcodec-worker"
)
_WORKERS: Final = ("worker.js", "exact_worker.js", "study_worker.js", "progressive_worker.js")
_WORKER_POLICY: Final = _POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")

_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
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

    packed: bytes
    "With gzip: a page with its scripts is a third of itself, which counts on a thin link."

    policy: str = _POLICY

    def answer(self, request: web.Request) -> web.Response:
        """Return it, or that the browser has it already."""
        headers = {
            **_HEADERS,
            "Content-Security-Policy": self.policy,
            "ETag": f'W/"{self.etag}"',  # weak: packed or not, it is the same
            "Vary": "Accept-Encoding",
        }
        known = request.if_none_match or ()
        if any(tag.value in (self.etag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        charset = None if self.content_type == _TYPES["wasm"] else "utf-8"
        body = self.body
        accepted = request.headers.get("Accept-Encoding", "").replace(" ", "")
        if "gzip" in accepted and "gzip;q=0" not in accepted:
            body, headers["Content-Encoding"] = self.packed, "gzip"
        return web.Response(
            body=body, content_type=self.content_type, charset=charset, headers=headers
        )


def page_files() -> Iterator[Traversable]:
    """Give what pages are made of."""
    yield from files("rtcodec_server").joinpath("web").iterdir()
    yield from web_scripts().values()
    modules = web_decoder_files()
    yield from (modules[one.name] for one in (EXACT_WASM, PROGRESSIVE_WASM) if one.name in modules)


class Pages:
    """Handlers of what a browser shows."""

    def __init__(self, model: str | None, study_model: str | None = None) -> None:
        """
        Args:
            model: Name of the model that is sent; None for the stand-in of tests.
            study_model: Name of that of previews of studies; None for none.
        """
        self._files: dict[str, _File] = {}
        for path in page_files():
            kind = _TYPES.get(path.name.rpartition(".")[2])
            if kind is not None:
                body = path.read_bytes()
                policy = _WORKER_POLICY if path.name in _WORKERS else _POLICY
                etag = hashlib.sha256(body).hexdigest()[:32]
                packed = gzip.compress(body, mtime=0)
                self._files[path.name] = _File(body, kind, etag, packed, policy)
        wasm = web_decoder_files().get(WASM.name)
        self._decoders = (
            TabDecoder(model, wasm),
            TabDecoder(study_model, wasm, stills=True),
        )

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        router.add_get("/", self._dashboard)
        router.add_get("/publish/{room}", self._publish)
        router.add_get("/watch/{room}", self._watch)
        router.add_get("/view", self._view)
        router.add_get("/view/{room}", self._view)
        router.add_get("/photo", self._photo)
        for decoder in self._decoders:
            decoder.add_routes(router)
        router.add_get("/web/{file}", self._file)

    async def _dashboard(self, request: web.Request) -> web.Response:
        return self._files["dashboard.html"].answer(request)

    async def _publish(self, request: web.Request) -> web.Response:
        check_room_name(request.match_info["room"])
        return self._files["publish.html"].answer(request)

    async def _watch(self, request: web.Request) -> web.Response:
        check_room_name(request.match_info["room"])
        return self._files["watch.html"].answer(request)

    async def _view(self, request: web.Request) -> web.Response:
        if "room" in request.match_info:
            check_room_name(request.match_info["room"])
        return self._files["view.html"].answer(request)

    async def _photo(self, request: web.Request) -> web.Response:
        return self._files["photo.html"].answer(request)

    async def _file(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["file"])
        if file is None or file.content_type == _TYPES["html"]:
            raise Problem(404, "not found")
        return file.answer(request)
