"""
Publishes a source to a relay over WHIP, paced by its time stamps.

    read-ahead thread -> due time -> VP8/H.264 (thread) -> aiortc -> relay

A publisher that falls behind skips frames rather than lag: newest wins here
too. With a tap, every frame sent is left in a `FrameTapWriter` ring under its
RTP time stamp, so that a subscriber on this machine can compare and time it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.codecs import get_encoder
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability

from rtcodec.errors import RtcodecError
from rtcodec.media.video_encoder import VideoEncoder, VideoPacket, default_bitrate_bps
from rtcodec.timebase import RTP_TIME_BASE, us_to_ticks
from rtcodec.types import Planes
from rtcodec.webrtc.aiortc_patch import SenderPort
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.tap import FrameTapWriter
from rtcodec_client.barcode import draw_barcode
from rtcodec_client.connection import RelayConnection, wait_set
from rtcodec_client.read_ahead import ReadAhead
from rtcodec_client.source import Source, SourceFrame

_LATE_FRAMES = 2
"Frames that a publisher may be late before it skips one."

_LINGER_S = 0.4
"Stay this long after the last frame, so that lost packets can be sent again."

_SOURCE_TAP_SLOTS = 128

_MEDIA_PART = 0.9
"Of what the way carries; the rest is for headers and for sending again."

_RAISE_INTERVAL_US = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """How to publish."""

    codec: str = "vp8"
    "`vp8` or `h264`."

    bitrate_bps: int | None = None
    "Most the first hop may use; by default what the size deserves."

    threads: int = 1
    "Of the encoder."

    barcode: bool = False
    "Whether to draw a frame counter into the corner."

    read_ahead_bytes: int = 160_000_000
    "Decoded frames kept ready."

    is_preloading: bool = False
    "Whether to fill the read-ahead before the first frame is sent."

    is_holding: bool = False
    "Whether to stay connected after the last frame until told to stop."

    tap_directory: Path | None = None
    "Where to leave the frames sent, as `source.tap`."

    stun_url: str | None = None
    "STUN server, for a relay beyond a NAT."

    is_following: bool | None = None
    """Whether the encoder follows what the way to the relay carries. None: unless the relay is on
    this machine, where the estimate only measures how busy its processor is."""


@dataclass(slots=True)
class PublishStats:
    """What has been published so far."""

    width: int = 0
    height: int = 0
    frames: int = 0
    "Frames handed to the network."

    skipped: int = 0
    "Frames left out because the publisher was late."

    bytes_sent: int = 0
    "Of encoded video, without headers."

    elapsed_us: int = 0
    "Since the first frame."

    pli_count: int = 0
    nack_count: int = 0

    @property
    def fps(self) -> float:
        """Frames per second, over the time from the first frame to the last."""
        if self.frames < 2 or not self.elapsed_us:
            return 0.0
        return (self.frames - 1) * 1e6 / self.elapsed_us

    @property
    def kbps(self) -> float:
        """Rate of the encoded video, kilobits per second."""
        if self.frames < 2 or not self.elapsed_us:
            return 0.0
        return self.bytes_sent * 8e3 / (self.elapsed_us * self.frames / (self.frames - 1))


class _Packer:
    """Cuts packets with aiortc's own payload formats; hears what the way carries."""

    def __init__(
        self, capability: RTCRtpCodecCapability, encoder: VideoEncoder, *, is_following: bool
    ) -> None:
        self._aiortc = get_encoder(capability)  # type: ignore[arg-type]  # only mimeType is read
        self._encoder = encoder
        self._is_following = is_following
        self._limited_us: int | None = None

    @property
    def target_bitrate(self) -> int:
        """What the receiver last allowed, bits per second."""
        return self._encoder.bitrate_bps

    @target_bitrate.setter
    def target_bitrate(self, bitrate_bps: int) -> None:
        self.hear(bitrate_bps)

    def hear(self, bitrate_bps: int) -> None:
        """Heed a REMB or an estimate: down at once, up now and then, as each costs a key frame."""
        if not self._is_following:
            return
        now_us, limited_us = monotonic_us(), self._limited_us
        wanted_bps = int(_MEDIA_PART * bitrate_bps)
        is_soon = limited_us is not None and now_us - limited_us < _RAISE_INTERVAL_US
        if is_soon and wanted_bps > self._encoder.bitrate_bps:
            return
        before_bps = self._encoder.bitrate_bps
        self._encoder.limit_bitrate(wanted_bps)
        if self._encoder.bitrate_bps != before_bps:
            self._limited_us = now_us

    def pack(self, packet: VideoPacket) -> tuple[list[bytes], int]:
        """Return RTP payloads and the time stamp in 90 kHz ticks."""
        payloads, timestamp = self._aiortc.pack(packet)
        return payloads, timestamp


class _PacedTrack(MediaStreamTrack):
    """Hands out each frame, encoded, when it is due."""

    kind = "video"

    def __init__(
        self,
        frames: ReadAhead,
        encoder: VideoEncoder,
        *,
        is_live: bool,
        frame_us: int,
        barcode: bool,
        on_sent: Callable[[SourceFrame, int], None],
    ) -> None:
        super().__init__()
        self.stats = PublishStats()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        "Done when the source ends or fails."
        self._frames = frames
        self._encoder = encoder
        self._is_live = is_live
        self._late_us = _LATE_FRAMES * frame_us
        self._barcode = barcode
        self._on_sent = on_sent
        self._start_us: int | None = None
        self._last: tuple[SourceFrame, int] | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")

    async def recv(self) -> VideoPacket:
        """Wait until the next frame is due and return it encoded."""
        self._report_last()
        try:
            packet = await self._next_packet()
        except (RtcodecError, OSError) as error:
            if not self.ended.done():
                self.ended.set_exception(error)
            raise MediaStreamError from error
        if packet is not None:
            return packet
        if not self.ended.done():
            self.ended.set_result(None)
        await asyncio.Event().wait()  # aiortc cancels this when the connection closes
        raise MediaStreamError

    def finish(self) -> None:
        """Hand out no more frames."""
        self._frames.close()

    def close(self) -> None:
        """Stop the encoder's thread."""
        self._report_last()
        self._frames.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _report_last(self) -> None:
        if self._last is not None:
            self._on_sent(*self._last)
            self._last = None

    async def _next_packet(self) -> VideoPacket | None:
        loop = asyncio.get_running_loop()
        while True:
            frame = await loop.run_in_executor(self._pool, self._frames.next_frame)
            if frame is None:
                return None
            if self._start_us is None:
                self._start_us = monotonic_us() - frame.time_us
            if not self._is_live:
                ahead_us = self._start_us + frame.time_us - monotonic_us()
                if ahead_us < -self._late_us:
                    self.stats.skipped += 1
                    continue
                await asyncio.sleep(max(0, ahead_us) / 1e6)
            captured_us = monotonic_us()
            encoded = await loop.run_in_executor(self._pool, self._encode, frame)
            if encoded is None:
                self.stats.skipped += 1
                continue
            sent, packet = encoded
            self._count(sent, packet, captured_us)
            self._last = (sent, captured_us)
            return packet

    def _encode(self, frame: SourceFrame) -> tuple[SourceFrame, VideoPacket] | None:
        if self._barcode:
            planes = draw_barcode(frame.planes, frame.index)
            frame = SourceFrame(frame.index, frame.time_us, planes)
        pts = us_to_ticks(frame.time_us, RTP_TIME_BASE)
        packet = self._encoder.encode(frame.planes, pts)
        return None if packet is None else (frame, packet)

    def _count(self, frame: SourceFrame, packet: VideoPacket, captured_us: int) -> None:
        assert self._start_us is not None  # set before the first frame
        self.stats.width, self.stats.height = frame.planes.width, frame.planes.height
        self.stats.frames += 1
        self.stats.bytes_sent += packet.size
        self.stats.elapsed_us = captured_us - self._start_us


@dataclass(slots=True)
class Publisher:
    """
    One source on its way to one relay.

    `run` returns when the source has ended (and, if holding, `stop` was set).
    """

    connection: RelayConnection
    source: Source
    options: PublishOptions
    on_connected: Callable[[], None] = lambda: None
    on_ended: Callable[[PublishStats], None] = lambda _stats: None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    "Set it to leave."

    finish: asyncio.Event = field(default_factory=asyncio.Event)
    "Set it to send no more, as at the end of the source."

    stats: PublishStats = field(default_factory=PublishStats, init=False)
    _tap: FrameTapWriter | None = field(default=None, init=False)
    _tapped: int = field(default=0, init=False)
    _sender: SenderPort | None = field(default=None, init=False)

    async def run(self) -> PublishStats:
        """
        Publish until the end.

        Raises:
            RelayUnreachable, RemoteProtocolError: If the relay is not there,
                refuses, or goes away.
            InputError: If the source fails on the way.
        """
        frames = ReadAhead(self.source, budget_bytes=self.options.read_ahead_bytes)
        if self.options.tap_directory is not None:
            self._tap = FrameTapWriter(
                self.options.tap_directory, "source", slots=_SOURCE_TAP_SLOTS
            )
        try:
            if self.options.is_preloading:
                await asyncio.to_thread(frames.wait_until_full)
            first = await asyncio.to_thread(frames.peek)
            if first is not None:
                await self._publish(frames, first.planes)
        finally:
            frames.close()
            if self._tap is not None:
                self._tap.close()
        return self.stats

    async def _publish(self, frames: ReadAhead, first: Planes) -> None:
        rate = self.source.frame_rate
        encoder = self._encoder(first, rate)
        track = _PacedTrack(
            frames,
            encoder,
            is_live=self.source.is_live,
            frame_us=int(1_000_000 / rate),
            barcode=self.options.barcode,
            on_sent=self._leave_in_tap,
        )
        self.stats = track.stats
        try:
            transceiver = self.connection.peer.addTransceiver(track, direction="sendonly")
            capabilities = codec_capabilities(self.options.codec)
            transceiver.setCodecPreferences(capabilities)
            is_following = self.options.is_following
            if is_following is None:
                is_following = not self.connection.is_loopback
            packer = _Packer(capabilities[0], encoder, is_following=is_following)
            self._sender = SenderPort(
                transceiver.sender,
                encoder=packer,
                on_pli=lambda: self._on_pli(encoder),
                on_nack=self._on_nack,
                on_rtcp=self.connection.note_alive,
            )
            self._sender.way.on_estimate = packer.hear
            async with self.connection.established(self.stop):
                self.on_connected()
                finishing = asyncio.ensure_future(self._finish_early(track))
                try:
                    await self.connection.run_until(track.ended, self.stop)
                finally:
                    finishing.cancel()
                self.on_ended(self.stats)
                if self.options.is_holding:
                    await self.connection.run_until(None, self.stop)
                else:
                    await wait_set(self.stop, _LINGER_S)
        finally:
            track.stop()
            track.close()

    async def _finish_early(self, track: _PacedTrack) -> None:
        await self.finish.wait()
        track.finish()

    def _encoder(self, first: Planes, rate: Fraction) -> VideoEncoder:
        return VideoEncoder(
            self.options.codec,
            width=first.width,
            height=first.height,
            frame_rate=rate,
            bitrate_bps=self.options.bitrate_bps
            or default_bitrate_bps(first.width, first.height, float(rate)),
            threads=self.options.threads,
        )

    def _on_pli(self, encoder: VideoEncoder) -> None:
        self.stats.pli_count += 1
        encoder.request_keyframe()

    def _on_nack(self, n_packets: int) -> None:
        self.stats.nack_count += n_packets

    def _leave_in_tap(self, frame: SourceFrame, captured_us: int) -> None:
        if self._tap is None or self._sender is None:
            return
        rtp_timestamp = self._sender.last_rtp_timestamp()
        if rtp_timestamp is not None:
            self._tap.put(
                frame_number=frame.index,
                rtp_timestamp=rtp_timestamp,
                received_us=captured_us,
                planes=frame.planes,
            )


def codec_capabilities(codec: str) -> list[RTCRtpCodecCapability]:
    """The codec and its retransmission format, as aiortc names them."""
    wanted = {"vp8": "video/vp8", "h264": "video/h264"}[codec]
    known = RTCRtpSender.getCapabilities("video").codecs
    chosen = [c for c in known if c.mimeType.lower() == wanted]
    if codec == "h264":  # constrained baseline, which everyone decodes
        chosen = [c for c in chosen if c.parameters.get("profile-level-id") == "42e01f"]
    return chosen + [c for c in known if c.mimeType.lower() == "video/rtx"]
