"""
Peers that publish: they receive video and feed a stream.

Here those of VP8 and H.264; `latent_publisher` has those that send what another relay coded.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Generic, TypeVar

from aiortc import MediaStreamTrack, RTCRtpReceiver

from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.session.rate_limit import TokenBucket
from rtcodec.webrtc import DecodedFrame, QueueClosed, VideoReceiver, to_unix_us
from rtcodec.webrtc.intake import Intake
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_receiver import VIDEO_CODECS
from rtcodec_server.client_limits import PublisherLimits
from rtcodec_server.peer import Peer, PeerSetup
from rtcodec_server.report import report_frames
from rtcodec_server.stream import Stream

Video = TypeVar("Video", bound=Intake[Any])


class PublishingPeer(Peer, Generic[Video]):
    """What publishers of every kind have in common."""

    CODECS: ClassVar[tuple[str, ...]]
    "What they may send."

    def __init__(
        self, setup: PeerSetup, *, limits: PublisherLimits, on_too_large: Callable[[], None]
    ) -> None:
        """
        Args:
            setup: How it connects.
            limits: Of its pictures.
            on_too_large: Called when one is larger than they say.
        """
        super().__init__(setup)
        self.video: Video | None = None
        self.requests_noted = (0, 0)
        "NACKs and PLIs sent to it that the relay's figures hold already."
        self._limits = limits
        self._on_too_large = on_too_large
        # a clock may be 2 % fast, and jitter bunches frames
        self._pace = TokenBucket(limits.max_fps * 1.02, max(2.0, limits.max_fps / 4))
        self._reader: asyncio.Task[None] | None = None

    @property
    def last_heard_us(self) -> int | None:
        """When the last packet or report arrived; a paused publisher still reports."""
        return self.video.last_heard_us if self.video is not None else None

    async def negotiate(
        self, offer: str, description: Description, *, model_id: str | None = None
    ) -> str:
        """
        Answer a WHIP offer.

        Args:
            offer: The SDP.
            description: What `read_publisher_offer` found in it.
            model_id: Of the model whose latents may come, if they may.

        Raises:
            RemoteProtocolError: If the offer cannot be answered.
        """
        transceiver = self.connection.addTransceiver("video", direction="recvonly")
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None
        transceiver.setCodecPreferences(
            [codec for codec in known.codecs if codec.name in (*self.CODECS, "rtx")]
        )
        self.connection.on("track", self._on_track)
        return await self._negotiate(offer, description, model_id)

    async def close(self) -> None:
        """Close the connection, then let what arrived be read."""
        await super().close()
        if self.video is not None:
            self.video.close()
        if self._reader is not None:
            await self._reader

    @abstractmethod
    def _receive(self, receiver: RTCRtpReceiver) -> Video:
        """Take over what receives the track."""

    @abstractmethod
    async def _read(self, video: Video) -> None:
        """Give the stream what comes, to the end."""

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind != "video" or self.video is not None:
            return
        receiver = next(
            t.receiver for t in self.connection.getTransceivers() if t.receiver.track is track
        )
        self.video = self._receive(receiver)
        self._reader = asyncio.ensure_future(self._read_all(self.video))

    async def _read_all(self, video: Video) -> None:
        await self._read(video)
        self._on_lost()


class PublisherPeer(PublishingPeer[VideoReceiver]):
    """Receives VP8 or H.264 and feeds a stream."""

    CODECS = VIDEO_CODECS

    def __init__(
        self,
        stream: Stream,
        setup: PeerSetup,
        *,
        limits: PublisherLimits,
        on_too_large: Callable[[], None],
        restorer: CallRestorer | None = None,
    ) -> None:
        """
        Args:
            stream: What it feeds.
            setup: How it connects.
            limits: Of its pictures.
            on_too_large: Called when one is larger than they say.
            restorer: Takes the artefacts out of its pictures.
        """
        super().__init__(setup, limits=limits, on_too_large=on_too_large)
        self.stream = stream
        self._restorer = restorer

    def report(self) -> dict[str, Any]:
        """Return what was received and what became of it."""
        report: dict[str, Any] = {
            "state": self.connection.connectionState,
            "frames": report_frames(self.stream.frames),
        }
        if self.video is not None:
            report |= {"rtt_us": self.video.rtt_us, "received": asdict(self.video.counters)}
        return report

    def capture_time(self, frame: DecodedFrame) -> int | None:
        """Return when the publisher took *frame*, Unix microseconds, if it said so."""
        if self.video is None:
            return None
        return self.video.capture_us(
            frame.rtp_timestamp, received_unix_us=to_unix_us(frame.arrived_us)
        )

    async def close(self) -> None:
        """Let every frame that arrived reach its end, and close the connection."""
        if self.video is not None:
            await self.video.settle()
        await super().close()
        await self.stream.close()
        if self.video is not None:
            self.video.release()

    def _receive(self, receiver: RTCRtpReceiver) -> VideoReceiver:
        return VideoReceiver(
            receiver,
            on_received=self.stream.receive,
            on_drop=self.stream.drop,
            max_size=self._limits.max_size,
            on_too_large=self._on_too_large,
            restorer=self._restorer,
        )

    async def _read(self, video: VideoReceiver) -> None:
        while True:
            try:
                frame = await video.recv()
            except QueueClosed:
                break
            if self._pace.take(now_us=frame.arrived_us):
                self.stream.drop("frame_rate")
            else:
                self.stream.put(frame)
