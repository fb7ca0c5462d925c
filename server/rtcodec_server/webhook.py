"""
Tell another server what happens in the rooms.

    put -> bounded queue -> POST, signed -> 2xx | again, later | given up

Nothing here is waited for by anything that touches media: `put` returns at
once, and a receiver that hangs or is gone costs events, never frames.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import aiohttp

from rtcodec_server.event import RelayEvent
from rtcodec_server.logs import log_event
from rtcodec_server.webhook_config import WebhookConfig

_log = logging.getLogger(__name__)

SIGNATURE_HEADER: Final = "X-Rtcodec-Signature"
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0

_AGAIN: Final = frozenset({408, 425, 429})
"Answers below 500 after which asking again may help."


@dataclass(frozen=True, slots=True)
class _Delivery:
    body: bytes
    event: str


def sign(body: bytes, secret: str, *, at_s: int) -> str:
    """
    Return the signature header of a request.

    Args:
        body: As sent.
        secret: Shared with the receiver.
        at_s: Unix time; the receiver refuses what is too old.
    """
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={digest.hexdigest()}"


def is_signed(body: bytes, header: str, secret: str, *, now_s: float, max_age_s: float) -> bool:
    """Return whether *header* is the signature of *body*, and fresh: what a receiver does."""
    stamp, _, _ = header.partition(",")
    at = stamp.removeprefix("t=")
    if not (at.isascii() and at.isdigit() and len(at) < 12) or abs(now_s - int(at)) > max_age_s:
        return False
    return hmac.compare_digest(header.encode(), sign(body, secret, at_s=int(at)).encode())


def pause_s(n_failed: int) -> float:
    """Return how long to wait after so many failures in a row."""
    return float(min(FIRST_PAUSE_S * 2 ** (n_failed - 1), MAX_PAUSE_S))


class WebhookSender:
    """Sends events one after the other, in order. Belongs to the event loop."""

    def __init__(self, config: WebhookConfig, *, pause: Callable[[int], float] = pause_s) -> None:
        """
        Args:
            config: With a url and a secret.
            pause: Seconds to wait after so many failures.
        """
        assert config.url is not None
        assert config.secret is not None
        self.outcomes: dict[str, int] = {"delivered": 0, "failed": 0, "dropped": 0}
        "What became of events."
        self._url, self._secret = config.url, config.secret
        self._config = config
        self._pause = pause
        self._queue: deque[_Delivery] = deque()
        self._arrived = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._task = asyncio.ensure_future(self._run())

    def put(self, event: RelayEvent) -> None:
        """Queue an event; when the queue is full the oldest gives way."""
        if len(self._queue) >= self._config.max_queue:
            self._queue.popleft()
            self.outcomes["dropped"] += 1
        given = {name: value for name, value in asdict(event).items() if value is not None}
        name = given.pop("name")
        body = {"id": secrets.token_hex(16), "event": name, "time": time.time(), **given}
        self._queue.append(_Delivery(json.dumps(body).encode(), name))
        self._is_idle.clear()
        self._arrived.set()

    async def close(self, *, patience_s: float) -> None:
        """Send what waits, for so long; what is left then is dropped."""
        try:
            async with asyncio.timeout(patience_s):
                await self._is_idle.wait()
        except TimeoutError:
            pass
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.outcomes["dropped"] += len(self._queue)
        self._queue.clear()

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                if not self._queue:
                    self._is_idle.set()
                    self._arrived.clear()
                    await self._arrived.wait()
                await self._deliver(http, self._queue.popleft())

    async def _deliver(self, http: aiohttp.ClientSession, delivery: _Delivery) -> None:
        problem = ""
        outcome = "dropped"  # if the relay ends meanwhile
        try:
            for n_failed in range(self._config.attempts):
                if n_failed:
                    await asyncio.sleep(self._pause(n_failed))
                problem, is_final = await self._attempt(http, delivery.body)
                if is_final:
                    break
            outcome = "failed" if problem else "delivered"
        finally:
            self.outcomes[outcome] += 1
        if problem:
            log_event(
                _log, "webhook_failed", level=logging.WARNING, about=delivery.event, problem=problem
            )

    async def _attempt(self, http: aiohttp.ClientSession, body: bytes) -> tuple[str, bool]:
        """Send once; return what was wrong, and whether trying again is of no use."""
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: sign(body, self._secret, at_s=int(time.time())),
        }
        try:
            async with http.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return "", True
                is_final = response.status < 500 and response.status not in _AGAIN
                return f"answered {response.status}", is_final
        except TimeoutError:
            return "no answer in time", False
        except (aiohttp.ClientError, OSError) as error:
            return type(error).__name__, False  # its text has the url, which may hold a secret
