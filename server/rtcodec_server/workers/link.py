"""
HTTP to a worker over pairs of sockets: the worker gets one end of each, and listens nowhere.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import StreamReader, web
from multidict import CIMultiDict
from yarl import URL

CLIENT_HEADER: Final = "X-Rtcodec-Client"
"Who asks, as the front saw it; whatever a client puts there is replaced."

_TIMEOUT_S: Final = 30.0
_HOST: Final = "worker"
_HOP_BY_HOP: Final = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "expect", CLIENT_HEADER.lower(),
    )
)  # fmt: skip # RFC 9110 7.6.1


class WorkerGone(Exception):
    """The worker ended before it had answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the object in it; an empty one if there is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def response(self) -> web.Response:
        """Return it as the front's own."""
        return web.Response(status=self.status, headers=self.headers, body=self.body)


class _Connector(aiohttp.UnixConnector):
    """Makes a connection by giving its other end away."""

    def __init__(self, give: Callable[[int], None]) -> None:
        super().__init__(_HOST, limit=0)
        self._give = give

    async def _create_connection(self, *about: Any) -> Any:
        ours, theirs = socket.socketpair()
        with theirs:
            self._give(theirs.fileno())
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(self._factory, sock=ours)
        return protocol


class WorkerLink:
    """Asks one worker. Belongs to the event loop."""

    def __init__(self, give: Callable[[int], None]) -> None:
        """
        Args:
            give: Gets the descriptor of the worker's end of a connection, and keeps a copy.
        """
        self._http = aiohttp.ClientSession(
            connector=_Connector(give),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def ask(self, request: web.Request, body: bytes = b"", *, path: str = "") -> Answer:
        """
        Pass a request on and return the whole answer.

        Args:
            request: As it came.
            body: Of it, read.
            path: Another one than the request's.

        Raises:
            WorkerGone: If there is no answer, or none in time.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S), self.open(request, body, path=path) as response:
                headers = passed_on(response.headers)
                return Answer(response.status, headers, await response.read())
        except TimeoutError as error:
            raise WorkerGone("no answer in time") from error

    @asynccontextmanager
    async def open(
        self, request: web.Request, body: bytes | StreamReader, *, path: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Pass a request on; what is yielded has the answer's headers, its body is still to be read.

        Args:
            request: As it came.
            body: Of it; a stream is read as fast as the worker takes it.
            path: Another one than the request's.

        Raises:
            WorkerGone: If there is no answer, or it breaks off.
        """
        target = request.rel_url
        url = URL.build(
            scheme="http",
            host=_HOST,
            path=path or target.raw_path,
            query_string="" if path else target.raw_query_string,
            encoded=True,
        )
        headers = passed_on(request.headers)
        headers[CLIENT_HEADER] = request.remote or ""
        try:
            async with self._http.request(
                request.method if not path else "GET", url, headers=headers, data=body or None,
                allow_redirects=False,
            ) as response:  # fmt: skip
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise WorkerGone(str(error)) from error

    async def close(self) -> None:
        """Ask nothing any more."""
        await self._http.close()


def passed_on(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers that are meant for the other end."""
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP
    )
