"""A receiver of webhooks, as well- or ill-behaved as a test wants it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from rtcodec_server.webhook import SIGNATURE_HEADER, is_signed

SECRET = "a webhook secret of enough bytes."


class Receiver:
    """Collects events whose signature holds."""

    def __init__(self) -> None:
        self.url = ""
        self.events: list[dict[str, Any]] = []
        self.n_requests = 0
        self.statuses: list[int] = []
        "Answered one after the other; 200 when there are none left."
        self.hangs = False

    @property
    def names(self) -> list[str]:
        """Of the events, in the order of arrival."""
        return [event["event"] for event in self.events]

    async def handle(self, request: web.Request) -> web.Response:
        """Check, collect, answer."""
        self.n_requests += 1
        body = await request.read()
        if self.hangs:
            await asyncio.sleep(30)
        header = request.headers[SIGNATURE_HEADER]
        assert is_signed(body, header, SECRET, now_s=time.time(), max_age_s=60)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.events.append(json.loads(body))
        return web.Response(status=status, headers={"Location": "/elsewhere"})


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Listen on loopback."""
    there = Receiver()
    app = web.Application()
    app.router.add_post("/hook", there.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    there.url = f"http://{host}:{port}/hook"
    try:
        yield there
    finally:
        await runner.cleanup()
