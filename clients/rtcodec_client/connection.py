"""
One WebRTC connection to a relay, from offer to DELETE.

Publishing and watching differ only in what they put on it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.connection import accept_answer, create_offer, new_connection
from rtcodec.webrtc.sdp import Description
from rtcodec_client.signalling import Answer, RelayUnreachable, SignallingClient

_CONNECT_TIMEOUT_S = 15.0
_SILENCE_US = 3_000_000
"Ask over HTTP whether the relay lives after this long without a packet from it."

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
    ) -> None:
        """
        Args:
            client: Of the endpoint.
            stun_url: A `stun:` URL, for a relay beyond a NAT.
            models: Ids of the models that can be decoded; none when publishing.
        """
        self.client = client
        self.peer = new_connection([stun_url] if stun_url else [])
        self._models = models
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
    async def established(self) -> AsyncIterator[Session]:
        """
        Negotiate, wait until media can flow, and clean up at the end.

        Raises:
            RelayUnreachable, RemoteProtocolError: As `SignallingClient.offer`;
                also if the answer makes no sense or no path is found.
        """
        answer: Answer | None = None
        try:
            sdp = await create_offer(self.peer, models=self._models, loopback_only=self.is_loopback)
            answer = await self.client.offer(sdp)
            description = await accept_answer(self.peer, answer.sdp)
            await self._wait_connected()
            yield Session(answer, description)
        finally:
            if answer is not None:
                await self.client.delete(answer.session_url)
            await self.peer.close()

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
        except RelayUnreachable:
            raise RelayLost(f"{self.client.url}: the relay went away") from None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
