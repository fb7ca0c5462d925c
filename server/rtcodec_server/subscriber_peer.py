"""Peers that watch: a room's latents go to those with our codec, ordinary video to the others."""

from dataclasses import asdict
from typing import Any, Generic, TypeVar

from rtcodec.packet.feedback import MAX_REPORT_BYTES
from rtcodec.session.carrier import Carrier
from rtcodec.session.layer import ANY_LAYER
from rtcodec.webrtc import LATENT_CODEC_NAME, LatentSender
from rtcodec.webrtc.aiortc_data import MessageChannel
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_server.peer import Peer, PeerSetup

Sender = TypeVar("Sender", bound=LatentSender | VideoSender)


class WatchingPeer(Peer, Generic[Sender]):
    """What subscribers of every kind have in common."""

    def __init__(self, sender: Sender, setup: PeerSetup) -> None:
        """
        Args:
            sender: What is sent goes through it.
            setup: How the peer connects.
        """
        super().__init__(setup)
        self.sender = sender

    @property
    def last_heard_us(self) -> int | None:
        """When the last report arrived."""
        return self.sender.counters.last_rtcp_us

    async def negotiate(
        self, offer: str, description: Description, *, model_id: str | None = None
    ) -> str:
        """
        Answer a WHEP offer with its payload type of the sender's codec and no other.

        Args:
            offer: The SDP.
            description: What `read_subscriber_offer` found in it.
            model_id: Of the model whose latents will be sent, if they will.

        Raises:
            RemoteProtocolError: If the offer cannot be answered.
        """
        self._attach()
        return await self._negotiate(offer, description, model_id)

    def _attach(self) -> None:
        self.sender.attach(self.connection)

    async def close(self) -> None:
        """Close the connection."""
        await super().close()
        self.sender.stop()


class SubscriberPeer(WatchingPeer[LatentSender]):
    """Sends the latents of a room."""

    def __init__(self, sender: LatentSender, setup: PeerSetup) -> None:
        super().__init__(sender, setup)
        self.wish = ANY_LAYER
        "Which layer it asked for."
        self._channel: MessageChannel | None = None
        if sender.carrier is not Carrier.OWN:  # the page of a browser has no way into RTCP
            self._channel = MessageChannel(
                self.connection,
                max_bytes=MAX_REPORT_BYTES,
                on_message=sender.hear,
                on_misuse=setup.on_lost,
            )

    @property
    def available_bps(self) -> int | None:
        """
        What the way to it carries, bits of packets per second; None if nothing is known.

        From transport-wide feedback of the last seconds, or else from its REMB.
        """
        return self.sender.available_bps

    def report(self) -> dict[str, Any]:
        """Return what was sent; `frames_sent` counts whole frames given to the socket."""
        return {
            "state": self.connection.connectionState,
            "codec": LATENT_CODEC_NAME,
            "carrier": self.sender.carrier.value,
            **asdict(self.sender.counters),
            "available_bps": self.available_bps,
            "way": self.sender.report_way(),
        }

    async def negotiate(
        self, offer: str, description: Description, *, model_id: str | None = None
    ) -> str:
        """Answer as any watching peer, and bound what its data channel may bring."""
        answer = await super().negotiate(offer, description, model_id=model_id)
        if self._channel is not None:
            self._channel.guard()
        return answer

    def _attach(self) -> None:
        if self.sender.carrier is Carrier.DATA:
            assert self._channel is not None
            self.sender.attach_channel(self._channel)
        else:
            super()._attach()

    async def close(self) -> None:
        """Drop what waits to be sent and close the connection."""
        self.sender.close()
        await super().close()
        if self._channel is not None:
            self._channel.close()


class LegacyPeer(WatchingPeer[VideoSender]):
    """Sends what the room's pictures are transcoded to."""

    def __init__(
        self, sender: VideoSender, setup: PeerSetup, matched_rung: int | None = None
    ) -> None:
        """
        Args:
            sender: What is sent goes through it.
            setup: How the peer connects.
            matched_rung: Rung that it compares its video with, if it does.
        """
        super().__init__(sender, setup)
        self.matched_rung = matched_rung

    def report(self) -> dict[str, Any]:
        """Return what was sent, and as what."""
        return {
            "state": self.connection.connectionState,
            "codec": self.sender.codec,
            "matched_rung": self.matched_rung,
            **asdict(self.sender.counters),
        }
