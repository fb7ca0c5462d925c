"""
One request on its way through the front, with bodies that go by as they come.

A recording that is sent to be played lasts as long as it plays, and so does its request; a stream
of events ends when nobody wants it any more. Neither is ever held here as a whole, and both end
with whoever asked, which is how the worker learns that they have gone.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from aiohttp import web

from rtcodec_server.record_api import RECORDING_TYPE
from rtcodec_server.workers.link import Answer, WorkerGone, WorkerLink, passed_on

T = TypeVar("T")

_PLAY: Final = re.compile(r"/api/rooms/[^/]+/play")
_EVENTS: Final = re.compile(r"/whep/[^/]+/[^/]+/sse/[^/]+")
_EVENTS_TYPE: Final = "text/event-stream"
_GONE_POLL_S: Final = 0.5


class ClientGone(WorkerGone):
    """Whoever asked has gone, and the worker is not asked any more either."""


def is_upload(request: web.Request) -> bool:
    """Return whether a request's body is a recording to be played, however long."""
    is_play = request.method == "POST" and _PLAY.fullmatch(request.path)
    return bool(is_play) and request.content_type == RECORDING_TYPE


async def pass_on(request: web.Request, link: WorkerLink, body: bytes) -> web.StreamResponse:
    """
    Ask a worker what the front was asked, and give its answer back.

    Args:
        request: As it came.
        link: To the worker.
        body: Of the request, unless that is an upload.

    Raises:
        WorkerGone: If there is no answer, or nobody to hear it.
    """
    if is_upload(request):
        return await _while_there(request, _upload(request, link))
    if request.method == "GET" and _EVENTS.fullmatch(request.path):
        return await _while_there(request, _follow(request, link))
    return (await link.ask(request, body)).response()


async def _upload(request: web.Request, link: WorkerLink) -> web.Response:
    async with link.open(request, request.content) as answer:
        body = await answer.read()
        answer.close()  # it may have come before the end of what is sent
        return Answer(answer.status, passed_on(answer.headers), body).response()


async def _follow(request: web.Request, link: WorkerLink) -> web.StreamResponse:
    response = web.StreamResponse()
    try:
        async with link.open(request, b"") as answer:
            headers = passed_on(answer.headers)
            if answer.content_type != _EVENTS_TYPE:
                return Answer(answer.status, headers, await answer.read()).response()
            response.headers.update(headers)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
    except WorkerGone:
        if not response.prepared:
            raise
    return response  # what has begun can only end


async def _while_there(request: web.Request, doing: Coroutine[Any, Any, T]) -> T:
    """Do it for as long as somebody waits for it; raises ClientGone if they have gone."""
    task = asyncio.ensure_future(doing)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_GONE_POLL_S)
            if not task.done() and (request.transport is None or request.transport.is_closing()):
                raise ClientGone("nobody waits for the answer")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
