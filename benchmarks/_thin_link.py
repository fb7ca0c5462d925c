"""
A relay as pages behind a thin link see it: HTTP passes, data channels go over the simulated link.

    page ──HTTP──▶ front ──HTTP──▶ relay        offers and answers are led through the link
    page ◀──UDP──▶ Link  ◀──UDP──▶ relay

For one page at a time. Candidates that a page sends later are answered and dropped: they would
show a way past the link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings

_OWN: Final = ("host", "origin", "accept-encoding", "content-length")
"Of a request: what is said anew."

_PASSED_ON: Final = (
    "content-type", "location", "etag", "cache-control", "content-security-policy",
)  # fmt: skip


class ThinFront:
    """Passes HTTP on, and connections through a link each."""

    def __init__(self, relay_url: str, http: aiohttp.ClientSession, *, up: Impairment) -> None:
        """
        Args:
            relay_url: Where to.
            http: What asks there.
            up: Of links, from the page; `down` is another for each connection.
        """
        self._relay_url = relay_url
        self._http = http
        self._up = up
        self._links: list[Link] = []
        self.down = up
        "Of the next connection, to the page."

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        if request.method == "PATCH":
            return web.Response(status=204)
        data = await request.read()
        link = None
        if request.method == "POST" and request.path.startswith("/study/"):
            settings = LinkSettings(self._up, self.down, seed=1)
            link = await Link.open(settings, "page", loopback_only=True)
            self._links.append(link)
            data = link.lead_offer(data.decode()).encode()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _OWN}
        async with self._http.request(
            request.method, self._relay_url + request.path_qs, headers=headers, data=data or None
        ) as answer:
            body = await answer.read()
            if link is not None and answer.status == 201:
                body = link.lead_answer(body.decode(), "127.0.0.1").encode()
            kept = {k: v for k, v in answer.headers.items() if k.lower() in _PASSED_ON}
            return web.Response(status=answer.status, headers=kept, body=body)

    def close(self) -> None:
        """Close all links."""
        for link in self._links:
            link.close()


@asynccontextmanager
async def thin_front(relay_url: str, *, rate_bps: int, delay_us: int) -> AsyncIterator[str]:
    """Give out the address of a relay behind a link of *rate_bps* down, *delay_us* each way."""
    async with aiohttp.ClientSession(auto_decompress=True) as http:
        front = ThinFront(relay_url, http, up=Impairment(delay_us=delay_us))
        front.down = Impairment(delay_us=delay_us, rate_bps=rate_bps)
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", front.handle)
        server = TestServer(app)
        await server.start_server()
        try:
            yield f"http://{server.host}:{server.port}"
        finally:
            await server.close()
            front.close()
