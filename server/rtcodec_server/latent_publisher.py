"""A publisher of latents, another relay as a rule: they are passed on as they are."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiortc import RTCRtpReceiver

from rtcodec.packet.video_size import fits
from rtcodec.webrtc import LATENT_CODEC_NAME, LatentReceiver
from rtcodec_server.client_limits import PublisherLimits
from rtcodec_server.latent_stream import LatentStream
from rtcodec_server.peer import PeerSetup
from rtcodec_server.publisher_peer import PublishingPeer
from rtcodec_server.report import report_frames


class LatentPublisherPeer(PublishingPeer[LatentReceiver]):
    """Receives X-RTC-LATENT and feeds a stream."""

    CODECS = (LATENT_CODEC_NAME,)

    def __init__(
        self,
        open_stream: Callable[[LatentReceiver], LatentStream],
        setup: PeerSetup,
        *,
        limits: PublisherLimits,
        on_too_large: Callable[[], None],
    ) -> None:
        super().__init__(setup, limits=limits, on_too_large=on_too_large)
        self.stream: LatentStream | None = None
        self._open_stream = open_stream

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
        if self.stream is not None:
            await self.stream.close()

    def _receive(self, receiver: RTCRtpReceiver) -> LatentReceiver:
        video = LatentReceiver(receiver)
        self.stream = self._open_stream(video)
        return video

    async def _read(self, video: LatentReceiver) -> None:
        assert self.stream is not None  # `_receive`
        async for frame in video:
            if self._pace.take(now_us=frame.arrived_us):
                self.stream.drop("frame_rate")
                continue
            self.stream.receive(frame)
            if self.stream.size is not None and not fits(self.stream.size, self._limits.max_size):
                self._on_too_large()
