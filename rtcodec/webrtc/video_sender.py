"""
Send frames of an ordinary codec, VP8 or H.264, through an aiortc sender.

What others have encoded and cut goes out; a receiver starts at a key frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender

from rtcodec.packet.packetizer import CutFrame
from rtcodec.webrtc.aiortc_patch import DirectSenderPort
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.latent_sender import SendCounters


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One encoded picture, cut into payloads once for all its receivers."""

    cut: CutFrame
    pts: int
    "90 kHz ticks; becomes the RTP time stamp, with an offset."

    is_keyframe: bool


class VideoSender(MediaStreamTrack):
    """
    A track that carries encoded video; all methods belong to the event loop's thread.

    Nothing waits here: a frame that cannot be sent is dropped, and the receiver then needs a key
    frame, as it does at the start. `counters.frames_dropped` holds those that were of no use.
    """

    kind = "video"

    def __init__(
        self,
        codec: str,
        *,
        on_keyframe_needed: Callable[[], None],
        on_nack: Callable[[int], None] = lambda n_packets: None,
        on_pli: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            codec: `VP8` or `H264`.
            on_keyframe_needed: Called when the receiver cannot go on without one.
            on_nack: Called with how many packets a NACK asked for.
            on_pli: Called when the receiver asks for a key frame, before *on_keyframe_needed*.
        """
        super().__init__()
        self.codec = codec
        self.counters = SendCounters()
        self._on_keyframe_needed = on_keyframe_needed
        self._on_nack = on_nack
        self._on_pli = on_pli
        self._needs_keyframe = True
        self._port: DirectSenderPort | None = None

    def attach(self, connection: RTCPeerConnection) -> None:
        """Add this track, and only its codec, to *connection*; `install` comes first."""
        transceiver = connection.addTransceiver(self, direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in known if c.name in (self.codec, "rtx")])
        self._port = DirectSenderPort(
            transceiver.sender,
            encoder=self,
            on_start=self._on_keyframe_needed,
            on_pli=self._ask_keyframe,
            on_nack=self._count_nack,
            on_rtcp=self._note_rtcp,
            on_feedback=lambda data: False,
        )

    def send(self, frame: VideoFrame) -> None:
        """Send *frame* if the receiver can make something of it; never blocks, never raises."""
        port = self._port
        if port is None or not port.is_running or (self._needs_keyframe and not frame.is_keyframe):
            self.counters.frames_dropped += 1
            return
        try:
            self._needs_keyframe = False  # before it may come out that this one did not leave
            port.send(
                frame.cut, delivery=0, pts=frame.pts, on_left=partial(self._note_left, frame.cut)
            )
        except ConnectionError:
            self._note_left(frame.cut, has_left=False)

    def _note_left(self, cut: CutFrame, has_left: bool) -> None:
        counters = self.counters
        if not has_left:
            counters.frames_dropped += 1
            self._needs_keyframe = True
            return
        counters.frames_sent += 1
        counters.bitstream_bytes += cut.bitstream_bytes
        counters.payload_bytes += cut.payload_bytes
        counters.last_sent_us = monotonic_us()

    def stop(self) -> None:
        """End the track; aiortc calls it when the sender stops."""
        self._port = None  # which refers to this
        super().stop()

    # ---- for aiortc

    async def recv(self) -> NoReturn:
        """Refuse: frames are pushed, nobody asks for them."""
        raise TypeError("a pushed track is not read")

    def pack(self, packet: object) -> NoReturn:
        """Refuse: frames are cut once for all receivers, not by aiortc's sender."""
        raise TypeError("a pushed track is not read")

    @property
    def target_bitrate(self) -> int:
        """The receiver's last estimate in bits per second, 0 before the first."""
        return self.counters.remb_bps or 0

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self.counters.remb_bps = bitrate

    # ---- inside

    def _ask_keyframe(self) -> None:
        self.counters.pli_count += 1
        self._on_pli()
        self._on_keyframe_needed()

    def _count_nack(self, n_packets: int) -> None:
        self.counters.nack_count += n_packets
        self._on_nack(n_packets)

    def _note_rtcp(self) -> None:
        self.counters.last_rtcp_us = monotonic_us()
