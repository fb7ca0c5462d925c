"""
Who a peer is, how its way in and out is told, and the connection that all peers have in common.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.connection import RelayConnection
from rtcodec_client.load.link import Link, LinkSettings, PeerSignalling


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSpec:
    """One publisher or subscriber; travels to its process as JSON."""

    name: str
    "Unique within the run."

    role: str
    "`publisher` or `subscriber`."

    room: str
    delay_us: int
    "How much later than the feed the publisher of the room sends."

    decodes: bool = False
    "Whether a subscriber decodes; otherwise it counts access units."

    is_lead: bool = False
    "Whether a subscriber reports the relay's stages, which are the same for all of a room."

    is_churn: bool = False
    "Whether it belongs to the churn and not to the soak."

    stay_s: float | None = None
    "Leaves so long after its first frame; None stays until told."


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPlace:
    """Where the relay is, and what lies between."""

    url: str
    "Of the relay, without a path."

    token: str | None = None
    relay_host: str = "127.0.0.1"
    "Address of the relay's HTTP."

    link: LinkSettings | None = None
    "Network between publishers or subscribers and the relay, None for the real one."


@dataclass(slots=True)
class JoinTimes:
    """When a peer came in, monotonic."""

    posted_us: int | None = None
    answered_us: int | None = None
    connected_us: int | None = None
    first_us: int | None = None
    "First frame sent (publisher) or received whole (subscriber)."

    def report(self) -> dict[str, float | None]:
        """Return the durations from the POST on, in milliseconds."""
        times = {
            "answer": self.answered_us,
            "connect": self.connected_us,
            "first_frame": self.first_us,
        }
        posted_us = self.posted_us
        return {
            name: None if at_us is None or posted_us is None else (at_us - posted_us) / 1000
            for name, at_us in times.items()
        }


class LoadPeer(ABC):
    """A peer's connection to the relay, from offer to DELETE, through its link if it has one."""

    def __init__(self, spec: PeerSpec, place: PeerPlace) -> None:
        self.spec = spec
        self.times = JoinTimes()
        self.has_joined = asyncio.Event()
        "Set with the first frame."

        self.link_counters: dict[str, int] = {}
        self._place = place

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[RelayConnection]:
        """Open a connection whose signalling is timed; closes it and the link at the end."""
        place, spec = self._place, self.spec
        kind = "whip" if spec.role == "publisher" else "whep"
        link = None
        if place.link is not None:
            loopback = place.relay_host.startswith("127.")
            link = await Link.open(place.link, spec.name, loopback_only=loopback)
        try:
            async with PeerSignalling(
                f"{place.url}/{kind}/{spec.room}",
                token=place.token,
                link=link,
                relay_host=place.relay_host,
            ) as client:
                connection = RelayConnection(client)
                try:
                    yield connection
                finally:
                    await connection.peer.close()
                    self.times.posted_us = client.posted_us
                    self.times.answered_us = client.answered_us
        finally:
            if link is not None:
                self.link_counters = link.counters
                link.close()

    def note_connected(self, connection: RelayConnection) -> None:
        """Note that media can flow."""
        client = connection.client
        assert isinstance(client, PeerSignalling)
        self.times.posted_us, self.times.answered_us = client.posted_us, client.answered_us
        self.times.connected_us = monotonic_us()

    def note_first(self, at_us: int) -> None:
        """Note the first frame."""
        if self.times.first_us is None:
            self.times.first_us = at_us
            self.has_joined.set()

    @abstractmethod
    async def run(self, stop: asyncio.Event) -> None:
        """Join, and stay until *stop*."""

    @abstractmethod
    def measure(self, *, on: bool) -> None:
        """Begin or end the soak."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return the figures so far as JSON values."""
