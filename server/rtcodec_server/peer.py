"""
One WebRTC peer of the relay, whatever it came for: it negotiates, trickles and closes.

A peer knows nothing of rooms and reports through callbacks, on the event loop. What carries media
is `publisher_peer` and `subscriber_peer`.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.sdp import candidate_from_sdp

from rtcodec.session.candidate import CandidatePolicy, filter_candidates
from rtcodec.session.message import MAX_CANDIDATES, IceFragment
from rtcodec.webrtc import accept_offer, create_answer, new_connection
from rtcodec.webrtc.sdp import Description
from rtcodec_server.offer import Unprocessable

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSetup:
    """How a peer connects, and who hears of it."""

    ice_servers: Sequence[str]
    "STUN and TURN URLs."

    loopback_only: bool
    "Whether to offer 127.0.0.1 and nothing else."

    candidates: CandidatePolicy
    "Which of the peer's candidates may be tried."

    on_connected: Callable[[], None]
    "Called once, when media can flow."

    on_lost: Callable[[], None]
    "Called when the connection failed or was closed."


class Peer(ABC):
    """What publishers and subscribers have in common."""

    def __init__(self, setup: PeerSetup) -> None:
        self.remote_ufrag: str | None = None
        self._loopback_only = setup.loopback_only
        self._candidates = setup.candidates
        self._n_candidates = 0
        self._on_connected = setup.on_connected
        self._on_lost = setup.on_lost
        self.connection: RTCPeerConnection = new_connection(setup.ice_servers)
        self.connection.on("connectionstatechange", self._on_state)

    @property
    @abstractmethod
    def last_heard_us(self) -> int | None:
        """When the peer last sent media or a report, monotonic microseconds."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return the peer's own figures as JSON values."""

    async def add_candidates(self, fragment: IceFragment) -> None:
        """
        Take trickled candidates; those that cannot be used are ignored. # RFC 9725 4.3.2

        Raises:
            Unprocessable: If the fragment asks for an ICE restart.
        """
        if fragment.ufrag is not None and fragment.ufrag != self.remote_ufrag:
            raise Unprocessable("ICE restarts are not supported")
        is_complete = fragment.is_complete
        sections = [*self.connection.getTransceivers(), self.connection.sctp]
        default_mid = next(section.mid for section in sections if section is not None)
        for entry in fragment.candidates:
            if self._n_candidates >= MAX_CANDIDATES or not self._candidates.permits(entry.text):
                is_complete = False  # the peer's own checks may still come from there
                continue
            self._n_candidates += 1
            try:
                candidate = candidate_from_sdp(entry.text)
                candidate.sdpMid = entry.mid or default_mid
                await self.connection.addIceCandidate(candidate)
            except (ValueError, IndexError, AssertionError, OSError) as error:
                _log.debug("candidate ignored: %s", error)
        if is_complete:
            await self.connection.addIceCandidate(None)

    async def close(self) -> None:
        """Close the connection and wait until nothing of it runs any more."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.connection.close()
        except TimeoutError:
            _log.warning("a connection did not close in %g s", _CLOSE_TIMEOUT_S)
        await asyncio.sleep(0)  # what the decoder thread reported last

    async def _negotiate(self, offer: str, description: Description, model: str | None) -> str:
        self.remote_ufrag = description.ice_ufrag
        offer = filter_candidates(offer, self._candidates)
        self._n_candidates = offer.count("a=candidate:")
        await accept_offer(self.connection, offer)
        for transceiver in self.connection.getTransceivers():
            if transceiver.kind == "audio":
                transceiver.direction = "inactive"  # no audio codec is relayed
        return await create_answer(self.connection, model=model, loopback_only=self._loopback_only)

    def _on_state(self) -> None:
        state = self.connection.connectionState
        if state == "connected":
            self._on_connected()
        elif state in ("failed", "closed"):
            self._on_lost()
