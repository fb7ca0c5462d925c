"""A subscriber without our codec: VP8 or H.264 goes out to it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rtcodec.session.candidate import CandidatePolicy
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_server.peer import Peer


class LegacyPeer(Peer):
    """Sends what the room's pictures are transcoded to."""

    def __init__(
        self,
        sender: VideoSender,
        *,
        ice_servers: Sequence[str],
        loopback_only: bool,
        candidates: CandidatePolicy,
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(
            ice_servers=ice_servers,
            loopback_only=loopback_only,
            candidates=candidates,
            on_connected=on_connected,
            on_lost=on_lost,
        )
        self.sender = sender

    @property
    def last_heard_us(self) -> int | None:
        """When the last report arrived."""
        return self.sender.counters.last_rtcp_us

    async def negotiate(self, offer: str, description: Description) -> str:
        """
        Answer a WHEP offer with its payload type of the sender's codec and no other.

        Args:
            offer: The SDP.
            description: What `read_subscriber_offer` found in it.

        Raises:
            RemoteProtocolError: If the offer cannot be answered.
        """
        self.sender.attach(self.connection)
        return await self._negotiate(offer, description, None)

    def report(self) -> dict[str, Any]:
        """Return what was sent, and as what."""
        return {
            "state": self.connection.connectionState,
            "codec": self.sender.codec,
            **asdict(self.sender.counters),
        }

    async def close(self) -> None:
        """Close the connection."""
        await super().close()
        self.sender.stop()
