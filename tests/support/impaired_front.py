"""A relay's HTTP address as browsers may have it, behind a network that loses their media."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from rtcodec_client.load.link import Link, LinkSettings

_KEPT = ("Content-Type", "Location", "ETag", "Link", "Accept-Patch", "Cache-Control")
_POLICY = "Content-Security-Policy"


class ImpairedFront:
    """Passes HTTP on; offers and answers of WHEP lead through a link of their own each."""

    def __init__(self, url: str, settings: LinkSettings) -> None:
        self.links: list[Link] = []
        self.scripts: dict[str, str] = {}
        "Path -> a script that is served instead of the relay's, or beside them."
        self._url = url
        self._settings = settings

    async def handle(self, request: web.Request) -> web.Response:
        """Pass one request on."""
        if request.method == "PATCH":  # a candidate that would lead around the link
            return web.Response(status=204)
        if (script := self.scripts.get(request.path)) is not None:
            headers = {_POLICY: "script-src 'self' 'wasm-unsafe-eval'"}
            return web.Response(text=script, content_type="text/javascript", headers=headers)
        body = await request.text()
        link: Link | None = None
        if request.method == "POST" and request.path.startswith("/whep/"):
            name = f"tab {len(self.links)}"
            link = await Link.open(self._settings, name, loopback_only=True)
            self.links.append(link)
            body = link.lead_offer(body)
        headers = {k: v for k, v in request.headers.items() if k in ("Content-Type", "If-Match")}
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                request.method, self._url + request.path_qs, data=body, headers=headers
            ) as response,
        ):
            data = await response.read()
            if link is not None and response.status == 201:
                data = link.lead_answer(data.decode(), "127.0.0.1").encode()
            kept = {k: v for k, v in response.headers.items() if k in (*_KEPT, _POLICY)}
            return web.Response(status=response.status, body=data, headers=kept)


@asynccontextmanager
async def impaired(url: str, settings: LinkSettings) -> AsyncIterator[tuple[str, ImpairedFront]]:
    """Stand in front of the relay at *url*; gives the address for browsers."""
    front = ImpairedFront(url, settings)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", front.handle)
    server = TestServer(app, host=urlsplit(url).hostname or "127.0.0.1")
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/"), front
    finally:
        await server.close()
        for link in front.links:
            link.close()
