"""
Send frames of X-RTC-LATENT through an aiortc sender.

Bitstream packets in, RTP out; nothing is encoded here.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender
from aiortc.mediastreams import MediaStreamError

from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import REPORT_NAME, FrameReport, read_report
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import FrameTiming
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME, SenderPort
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.newest import NewestQueue, QueueClosed


@dataclass(frozen=True, slots=True)
class OutgoingFrame:
    """One coded frame on its way to a receiver."""

    packets: Sequence[bytes]
    "Bitstream packets in sending order."

    pts: int
    "90 kHz ticks; becomes the RTP time stamp, with an offset."

    timing: FrameTiming
    is_keyframe: bool
    token: Any = None
    "Handed back when the frame was sent or dropped."


@dataclass(slots=True)
class SendCounters:
    """What one sender did."""

    frames_sent: int = 0
    frames_dropped: int = 0
    "Frames pushed out by newer ones, or left over at the end."

    bitstream_bytes: int = 0
    "Bytes of bitstream packets sent, retransmissions not counted."

    payload_bytes: int = 0
    "Bytes of RTP payloads sent, retransmissions not counted."

    nack_count: int = 0
    "Packets that the receiver asked for again."

    pli_count: int = 0
    "Key frames that the receiver asked for."

    remb_bps: int | None = None
    "The receiver's last estimate of what the way to it carries."

    last_sent_us: int | None = None
    "When the last frame was sent, monotonic microseconds."

    last_rtcp_us: int | None = None
    "When the receiver last reported, monotonic microseconds."


def _ignore(*_: object) -> None:
    pass


class LatentSender(MediaStreamTrack):
    """
    A track that carries latents; newest wins.

    At most *max_frames* wait for the network; a new one pushes the oldest out.
    All methods belong to the event loop's thread.
    """

    kind = "video"

    def __init__(
        self,
        *,
        max_frames: int = 2,
        on_sent: Callable[[OutgoingFrame, int], None] = _ignore,
        on_dropped: Callable[[OutgoingFrame], None] = _ignore,
        on_pli: Callable[[], None] = _ignore,
        on_remb: Callable[[int], None] = _ignore,
        on_nack: Callable[[int], None] = _ignore,
        on_report: Callable[[FrameReport], None] = _ignore,
    ) -> None:
        """
        Start with an empty queue.

        Args:
            max_frames: Frames that may wait.
            on_sent: Called with a frame and the monotonic time in microseconds
                when its last packet had been given to the socket.
            on_dropped: Called with every frame that will not be sent.
            on_pli: Called when the receiver wants a key frame.
            on_remb: Called with the receiver's estimate in bits per second.
            on_nack: Called with how many packets a NACK asked for.
            on_report: Called with what the receiver says of the frames it holds.
        """
        super().__init__()
        self.counters = SendCounters()
        self._on_sent = on_sent
        self._on_dropped = on_dropped
        self._on_pli = on_pli
        self._on_remb = on_remb
        self._on_nack = on_nack
        self._on_report = on_report
        self._packetizer = Packetizer()
        self._queue: NewestQueue[OutgoingFrame] = NewestQueue(max_frames, on_drop=self._drop)
        self._current: OutgoingFrame | None = None
        self._port: SenderPort | None = None

    def attach(self, connection: RTCPeerConnection) -> None:
        """Add this track, and only its codec, to *connection*; `install` comes first."""
        transceiver = connection.addTransceiver(self, direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences(
            [codec for codec in codecs if codec.name in (LATENT_CODEC_NAME, "rtx")]
        )
        self._port = SenderPort(
            transceiver.sender,
            encoder=self,
            on_pli=self._count_pli,
            on_nack=self._count_nack,
            on_rtcp=self._note_rtcp,
            on_feedback=self._read_report,
        )

    def send(self, frame: OutgoingFrame) -> None:
        """Queue *frame*; never blocks."""
        self._queue.put(frame)

    def close(self) -> None:
        """Send nothing more; what waits is dropped and reported."""
        self._queue.close()
        self._queue.drain()

    def stop(self) -> None:
        """End the track; aiortc calls it when the sender stops."""
        self.close()
        if self._current is not None:  # the connection broke in the middle of it
            self._drop(self._current)
            self._current = None
        super().stop()

    # ---- for aiortc

    async def recv(self) -> OutgoingFrame:  # type: ignore[override]
        """Give aiortc's sender its next frame; the previous one is on its way by now."""
        if self._current is not None:
            frame, self._current = self._current, None
            self.counters.frames_sent += 1
            self.counters.last_sent_us = monotonic_us()
            self._on_sent(frame, self.counters.last_sent_us)
        try:
            self._current = await self._queue.get()
        except QueueClosed:
            raise MediaStreamError from None
        return self._current

    def pack(self, packet: OutgoingFrame) -> tuple[list[bytes], int]:
        """Cut one frame into RTP payloads."""
        payloads = self._packetizer.packetize(
            packet.packets, timing=packet.timing, is_keyframe=packet.is_keyframe
        )
        self.counters.bitstream_bytes += sum(map(len, packet.packets))
        self.counters.payload_bytes += sum(map(len, payloads))
        return payloads, packet.pts & 0xFFFFFFFF

    def encode(self, frame: object, force_keyframe: bool = False) -> NoReturn:
        """Refuse: pictures are not encoded here."""
        raise TypeError("a latent track carries packets, not pictures")

    @property
    def target_bitrate(self) -> int:
        """The receiver's last estimate in bits per second, 0 before the first."""
        return self.counters.remb_bps or 0

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self.counters.remb_bps = bitrate
        self._on_remb(bitrate)

    # ---- inside

    def _drop(self, frame: OutgoingFrame) -> None:
        self.counters.frames_dropped += 1
        self._on_dropped(frame)

    def _count_pli(self) -> None:
        self.counters.pli_count += 1
        self._on_pli()

    def _count_nack(self, n_packets: int) -> None:
        self.counters.nack_count += n_packets
        self._on_nack(n_packets)

    def _read_report(self, data: bytes) -> bool:
        """Take what may be a report of frames; say whether it is one, well formed or not."""
        if not data.startswith(REPORT_NAME):
            return False
        with suppress(BitstreamError):
            self._on_report(read_report(data))
        return True

    def _note_rtcp(self) -> None:
        self.counters.last_rtcp_us = monotonic_us()
