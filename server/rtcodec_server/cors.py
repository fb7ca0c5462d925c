"""
Which web pages may call the relay (Fetch standard, 3.2).

A bearer token is never sent by a browser on its own, so with keys any page may
ask: what it may do its token says. Without keys being able to reach the relay
is all it takes, and a browser inside reaches it for pages from outside: then
only pages of loopback may, or those that the operator names.
"""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from rtcodec_server.config import ServerConfig
from rtcodec_server.config_check import is_loopback
from rtcodec_server.gate import host_of
from rtcodec_server.problem import Handler

PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "OPTIONS, GET, HEAD, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "86400",
}
_EXPOSED: Final = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate"


class Cors:
    """The rule, and the middleware that keeps it."""

    def __init__(self, config: ServerConfig) -> None:
        origins = config.cors_origins
        self._loopback = origins is None and not config.keys
        self._origins = ("*",) if origins is None and config.keys else origins or ()

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """Return the headers of an answer to a page of *origin*, or to no page."""
        exposed = {"Access-Control-Expose-Headers": _EXPOSED}
        if "*" in self._origins:
            return {"Access-Control-Allow-Origin": "*", **exposed}
        if origin is not None and self._allows(origin):
            return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **exposed}
        return {"Vary": "Origin"}

    def _allows(self, origin: str) -> bool:
        return origin in self._origins or (self._loopback and is_loopback(host_of(origin)))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Add the headers to every answer."""
        response = await handler(request)
        headers = self.headers(request.headers.get("Origin"))
        varied = response.headers.getall("Vary", []) if "Vary" in headers else ()
        response.headers.update(headers)
        for name in varied:
            response.headers.add("Vary", name)
        return response
