"""A publisher of latents, another relay as a rule: they are passed on as they are."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from aiortc import MediaStreamTrack, RTCRtpReceiver

from rtcodec.packet.video_size import fits
from rtcodec.session.candidate import CandidatePolicy
from rtcodec.webrtc import LATENT_CODEC_NAME, LatentReceiver
from rtcodec.webrtc.sdp import Description
from rtcodec_server.config import PublisherLimits
from rtcodec_server.latent_stream import LatentStream
from rtcodec_server.peer import Peer, frame_pace
from rtcodec_server.report import report_frames


class LatentPublisherPeer(Peer):
    """Receives X-RTC-LATENT and feeds a stream."""

    def __init__(
        self,
        open_stream: Callable[[LatentReceiver], LatentStream],
        *,
        ice_servers: Sequence[str],
        loopback_only: bool,
        candidates: CandidatePolicy,
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
        limits: PublisherLimits,
        on_too_large: Callable[[], None],
    ) -> None:
        super().__init__(
            ice_servers=ice_servers,
            loopback_only=loopback_only,
            candidates=candidates,
            on_connected=on_connected,
            on_lost=on_lost,
        )
        self.stream: LatentStream | None = None
        self.video: LatentReceiver | None = None
        self.requests_noted = (0, 0)
        "NACKs and PLIs sent to it that the relay's figures hold already."
        self._open_stream = open_stream
        self._limits = limits
        self._on_too_large = on_too_large
        self._pace = frame_pace(limits.max_fps)
        self._reader: asyncio.Task[None] | None = None

    @property
    def last_heard_us(self) -> int | None:
        """When the last packet or report arrived; a paused publisher still reports."""
        return self.video.last_heard_us if self.video is not None else None

    async def negotiate(self, offer: str, description: Description, *, model_id: str) -> str:
        """
        Answer a WHIP offer.

        Args:
            offer: The SDP.
            description: What `read_publisher_offer` found in it.
            model_id: Of the model whose latents may come.

        Raises:
            RemoteProtocolError: If the offer cannot be answered.
        """
        transceiver = self.connection.addTransceiver("video", direction="recvonly")
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None
        transceiver.setCodecPreferences(
            [codec for codec in known.codecs if codec.name in (LATENT_CODEC_NAME, "rtx")]
        )
        self.connection.on("track", self._on_track)
        return await self._negotiate(offer, description, model_id)

    def report(self) -> dict[str, Any]:
        """Return what was received and what became of it."""
        report: dict[str, Any] = {
            "state": self.connection.connectionState,
            "codec": LATENT_CODEC_NAME,
        }
        if self.video is not None and self.stream is not None:
            report |= {
                "frames": report_frames(self.stream.frames),
                "rtt_us": self.video.rtt_us,
                "received": asdict(self.video.counters),
            }
        return report

    async def close(self) -> None:
        """Close the connection, then pass on what arrived."""
        await super().close()
        if self.video is not None:
            self.video.close()
        if self._reader is not None:
            await self._reader
        if self.stream is not None:
            await self.stream.close()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind != "video" or self.video is not None:
            return
        receiver = next(
            t.receiver for t in self.connection.getTransceivers() if t.receiver.track is track
        )
        self.video = LatentReceiver(receiver)
        self.stream = self._open_stream(self.video)
        self._reader = asyncio.ensure_future(self._read(self.video, self.stream))

    async def _read(self, video: LatentReceiver, stream: LatentStream) -> None:
        async for frame in video:
            if self._pace.take(now_us=frame.arrived_us):
                stream.drop("frame_rate")
                continue
            stream.receive(frame)
            if stream.size is not None and not fits(stream.size, self._limits.max_size):
                self._on_too_large()
        self._on_lost()
