"""
A network of our own between one peer and the relay, in user space.

    peer <--UDP--> [peer side] Way up   --> [relay side] <--UDP--> relay
                               <-- Way down

It sits on the media path because neither side learns the other's address: the
candidates in the offer are those of the relay side, those in the answer that of
the peer side. STUN, DTLS, RTP and RTCP all pass through; HTTP does not.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self, cast

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.load.impairment import Impairment, Way
from rtcodec_client.load.step import Step
from rtcodec_client.signalling import Answer, SignallingClient

_LOOPBACK: Final = "127.0.0.1"
_CANDIDATE: Final = re.compile(
    r"(?P<head>a=candidate:\S+ 1 udp \d+ )(?P<host>\d+\.\d+\.\d+\.\d+) (?P<port>\d+) typ host\b.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What the network between a peer and the relay does."""

    up: Impairment
    "From the peer to the relay."

    down: Impairment
    "From the relay to the peer."

    seed: int
    steps: tuple[Step, ...] = ()


class _Side(asyncio.DatagramProtocol):
    """One socket of a link."""

    def __init__(self, on_datagram: Callable[[bytes], None]) -> None:
        self._on_datagram = on_datagram
        self._transport: asyncio.DatagramTransport | None = None
        self.other: tuple[str, int] | None = None
        "Who is on this side; nothing is sent before that is known."

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._on_datagram(data)

    def send(self, data: bytes) -> None:
        if self.other is not None and self._transport is not None:
            self._transport.sendto(data, self.other)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Direction:
    """A way, driven by the event loop's clock."""

    def __init__(self, way: Way, deliver: Callable[[bytes], None]) -> None:
        self.way = way
        self._deliver = deliver
        self._timer: asyncio.TimerHandle | None = None

    def send(self, data: bytes) -> None:
        self.way.send(data, now_us=monotonic_us())
        self._advance()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _advance(self) -> None:
        now_us = monotonic_us()
        for data in self.way.deliver(now_us=now_us):
            self._deliver(data)
        self.close()
        deadline_us = self.way.deadline_us
        if deadline_us is not None:
            delay_s = max(deadline_us - now_us, 0) / 1e6
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._advance)


class Link:
    """The network of one peer; `open` it before the offer, `close` it after the connection."""

    def __init__(self, settings: LinkSettings, name: str) -> None:
        """
        Args:
            settings: See there.
            name: Of the peer; with the seed it decides what gets lost.
        """
        self._timers: list[asyncio.TimerHandle] = []
        self._peer_side = _Side(lambda data: self._up.send(data))
        self._relay_side = _Side(lambda data: self._down.send(data))
        seed = f"{settings.seed}/{name}"
        self._up = _Direction(Way(settings.up, seed=f"{seed}/up"), self._relay_side.send)
        self._down = _Direction(Way(settings.down, seed=f"{seed}/down"), self._peer_side.send)

    @classmethod
    async def open(cls, settings: LinkSettings, name: str, *, loopback_only: bool) -> Self:
        """Open both sockets."""
        link = cls(settings, name)
        loop = asyncio.get_running_loop()
        for step in settings.steps:
            change = functools.partial(link.change, up=step.up, down=step.down)
            link._timers.append(loop.call_later(step.at_us / 1e6, change))
        await loop.create_datagram_endpoint(lambda: link._peer_side, local_addr=(_LOOPBACK, 0))
        host = _LOOPBACK if loopback_only else "0.0.0.0"
        await loop.create_datagram_endpoint(lambda: link._relay_side, local_addr=(host, 0))
        return link

    @property
    def counters(self) -> dict[str, int]:
        """Datagrams that came in, were lost, and overflowed, up and down."""
        return {
            f"{name}_{what}": getattr(direction.way, f"n_{what}")
            for name, direction in (("up", self._up), ("down", self._down))
            for what in ("sent", "lost", "overflowed")
        }

    def change(self, *, up: Impairment | None = None, down: Impairment | None = None) -> None:
        """Do something else from now on; None leaves a way as it is."""
        for direction, impairment in ((self._up, up), (self._down, down)):
            if impairment is not None:
                direction.way.change(impairment)

    def lead_offer(self, sdp: str) -> str:
        """Return our offer with the relay side in place of the peer; note where the peer is."""
        hosts = []
        for line in sdp.split("\r\n"):
            if match := _CANDIDATE.fullmatch(line):
                hosts.append((match["host"], int(match["port"])))
        if not hosts:
            raise RemoteProtocolError("no candidate of ours that a link could stand in for")
        # Every host candidate of a peer has a socket of its own; one of them is enough.
        self._peer_side.other = next((h for h in hosts if h[0] == _LOOPBACK), hosts[0])
        return _with_candidates(sdp, lambda match: (match["host"], self._relay_side.port))

    def lead_answer(self, sdp: str, relay_host: str) -> str:
        """
        Return the relay's answer with the peer side in place of the relay.

        Args:
            sdp: The answer.
            relay_host: Of its HTTP address: its candidate there is taken, or its first.

        Raises:
            RemoteProtocolError: If it has no UDP candidate over IPv4.
        """
        found = [match for line in sdp.split("\r\n") if (match := _CANDIDATE.fullmatch(line))]
        if not found:
            raise RemoteProtocolError("the relay's answer has no UDP candidate over IPv4")
        chosen = next((match for match in found if match["host"] == relay_host), found[0])
        self._relay_side.other = (chosen["host"], int(chosen["port"]))
        return _with_candidates(
            sdp,
            lambda match: (_LOOPBACK, self._peer_side.port) if match[0] == chosen[0] else None,
        )

    def close(self) -> None:
        """Close the sockets; what is under way is lost."""
        for timer in self._timers:
            timer.cancel()
        for direction in (self._up, self._down):
            direction.close()
        for side in (self._peer_side, self._relay_side):
            side.close()


def _with_candidates(sdp: str, address: Callable[[re.Match[str]], tuple[str, int] | None]) -> str:
    """Replace the addresses of candidates; those without one, and all that are not read, go."""
    lines = []
    for line in sdp.split("\r\n"):
        if line.startswith("a=candidate:"):
            match = _CANDIDATE.fullmatch(line)
            to = address(match) if match is not None else None
            if match is None or to is None:
                continue
            line = f"{match['head']}{to[0]} {to[1]} typ host"
        lines.append(line)
    return "\r\n".join(lines)


class PeerSignalling(SignallingClient):
    """Signalling that notes when it happened and leads the media through a link."""

    def __init__(self, url: str, *, token: str | None, link: Link | None, relay_host: str) -> None:
        super().__init__(url, token=token)
        self._link = link
        self._relay_host = relay_host
        self.posted_us: int | None = None
        "When the first offer was posted, monotonic."

        self.answered_us: int | None = None
        "When the answer was there."

    async def offer(self, sdp: str) -> Answer:
        """Post an offer; raises as `SignallingClient.offer`."""
        if self._link is not None:
            sdp = self._link.lead_offer(sdp)
        self.posted_us = self.posted_us or monotonic_us()
        answer = await super().offer(sdp)
        self.answered_us = monotonic_us()
        if self._link is not None:
            answer = replace(answer, sdp=self._link.lead_answer(answer.sdp, self._relay_host))
        return answer
