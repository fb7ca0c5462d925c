"""
One WebRTC connection to a relay, from offer to DELETE.

Publishing and watching differ only in what they put on it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.connection import accept_answer, create_offer, new_connection
from rtcodec.webrtc.sdp import Description
from rtcodec_client.signalling import Answer, RelayBusy, RelayUnreachable, SignallingClient

BUSY_PATIENCE_S = 30.0
"Longest wait for a relay that says that it will be ready."

_CONNECT_TIMEOUT_S = 15.0
_RETRY_LEAST_S = 0.1
_SILENCE_US = 3_000_000
"Ask over HTTP whether the relay lives after this long without a packet from it."

_UNREACHABLE_US = 20_000_000
"A relay to which no network leads for so long is gone; one whose machine refuses is at once."

_CUT_ERRORS = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT)

_WATCH_INTERVAL_S = 1.0


class RelayLost(RemoteProtocolError):
    """The relay was there, and then it was not."""


class RelayClosed(RelayLost):
    """The relay ended the connection in good order."""


@dataclass(frozen=True, slots=True)
class Session:
    """What was agreed with the relay."""

    answer: Answer
    description: Description
    "The answer's SDP, read."


class RelayConnection:
    """
    A peer connection and the HTTP session behind it.

    Put tracks and transceivers on `peer`, then enter `established`.
    """

    def __init__(
        self,
        client: SignallingClient,
        *,
        stun_url: str | None = None,
        models: Sequence[str] = (),
        on_wait: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """
        Args:
            client: Of the endpoint.
            stun_url: A `stun:` URL, for a relay beyond a NAT.
            models: Ids of the models that can be decoded; none when publishing.
            on_wait: Called with one line when the relay is busy and is waited for.
        """
        self.client = client
        self.peer = new_connection([stun_url] if stun_url else [])
        self._models = models
        self._on_wait = on_wait
        self._alive_us = monotonic_us()
        self._changed = asyncio.Event()
        self.peer.on("connectionstatechange", self._changed.set)

    @property
    def is_loopback(self) -> bool:
        """Whether the relay is on this machine, by its address."""
        return _is_loopback(self.client.url)

    def note_alive(self) -> None:
        """Tell that a packet came from the relay just now."""
        self._alive_us = monotonic_us()

    @asynccontextmanager
    async def established(self, stop: asyncio.Event) -> AsyncIterator[Session]:
        """
        Negotiate, wait until media can flow, and clean up at the end.

        Args:
            stop: Once set, a relay that is busy is not waited for.

        Raises:
            RelayUnreachable, RemoteProtocolError: As `SignallingClient.offer`;
                also if the answer makes no sense or no path is found.
        """
        answer: Answer | None = None
        try:
            sdp = await create_offer(self.peer, models=self._models, loopback_only=self.is_loopback)
            answer = await self._offer(sdp, stop)
            description = await accept_answer(self.peer, answer.sdp)
            await self._wait_connected()
            yield Session(answer, description)
        finally:
            if answer is not None:
                await self.client.delete(answer.session_url)
            await self.peer.close()

    async def _offer(self, sdp: str, stop: asyncio.Event) -> Answer:
        """Post the offer, and again when a busy relay asks for it, within `BUSY_PATIENCE_S`."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + BUSY_PATIENCE_S
        has_said = False
        while True:
            try:
                return await self.client.offer(sdp)
            except RelayBusy as busy:
                wait_s = busy.retry_after_s
                if wait_s is None or loop.time() + wait_s > deadline_s or stop.is_set():
                    raise
                if not has_said:
                    self._on_wait(f"{busy}; asking again for up to {BUSY_PATIENCE_S:g} s")
                    has_said = True
            await wait_set(stop, max(wait_s, _RETRY_LEAST_S))

    async def run_until(self, ended: asyncio.Future[None] | None, stop: asyncio.Event) -> None:
        """
        Wait until *ended* is done or *stop* is set.

        Raises:
            RelayLost: If the relay goes away first.
            Exception: What *ended* failed with.
        """
        stopping = asyncio.ensure_future(stop.wait())
        losing = asyncio.ensure_future(self._watch())
        waiting: set[asyncio.Future[Any]] = {stopping, losing}
        if ended is not None:
            waiting.add(ended)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if ended is not None and ended.done():
                ended.result()
            elif losing.done():
                losing.result()
        finally:
            for task in (stopping, losing):
                task.cancel()
            await asyncio.gather(stopping, losing, return_exceptions=True)

    async def _wait_connected(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                while self.peer.connectionState != "connected":
                    if self.peer.connectionState in ("failed", "closed"):
                        raise RemoteProtocolError(
                            f"{self.client.url}: the media connection {self.peer.connectionState}"
                        )
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise RemoteProtocolError(
                f"{self.client.url}: no media connection within {_CONNECT_TIMEOUT_S:g} s; "
                "is UDP blocked?"
            ) from None
        self.note_alive()

    async def _watch(self) -> None:
        """End, with an error, only when the relay is gone."""
        while self.peer.connectionState == "connected":
            self._changed.clear()
            try:
                async with asyncio.timeout(_WATCH_INTERVAL_S):
                    await self._changed.wait()
            except TimeoutError:
                await self._probe()
        raise RelayClosed(f"{self.client.url}: the relay ended the connection")

    async def _probe(self) -> None:
        if monotonic_us() - self._alive_us < _SILENCE_US:
            return
        try:
            await self.client.get_json("/healthz")
        except RelayUnreachable as error:
            if _is_cut(error) and monotonic_us() - self._alive_us < _UNREACHABLE_US:
                return
            raise RelayLost(f"{self.client.url}: the relay went away") from None


async def wait_set(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until *event* is set, or *timeout_s* seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _is_cut(error: RelayUnreachable) -> bool:
    """Return whether it may be the network that is gone, and not the relay."""
    cause = error.__cause__
    return isinstance(cause, TimeoutError) or (
        isinstance(cause, OSError) and cause.errno in _CUT_ERRORS
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
