"""
A track of video that is coded already: frames are pushed, and aiortc's sender asks for none.

What latents and ordinary codecs have in common on their way out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender

from rtcodec.webrtc.aiortc_patch import DirectSenderPort
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.data_port import DataPort


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

    report_count: int = 0
    "Reports of frames that the receiver holds."

    remb_bps: int | None = None
    "The receiver's last estimate of what the way to it carries."

    last_sent_us: int | None = None
    "When the last frame was sent, monotonic microseconds."

    last_rtcp_us: int | None = None
    "When the receiver last reported, monotonic microseconds."


class PushedTrack(MediaStreamTrack):
    """All methods belong to the event loop's thread."""

    kind = "video"

    def __init__(self, *, on_nack: Callable[[int], None]) -> None:
        """
        Args:
            on_nack: Called with how many packets a NACK asked for.
        """
        super().__init__()
        self.counters = SendCounters()
        self._on_nack = on_nack
        self._port: DirectSenderPort | DataPort | None = None

    def stop(self) -> None:
        """End the track; aiortc calls it when the sender stops."""
        if self._port is not None:
            self._port.close()
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
        self._heed_remb(bitrate)

    # ---- for the subclass

    def _heed_remb(self, bps: int) -> None:
        """Deal with the receiver's estimate."""

    def _attach(
        self,
        connection: RTCPeerConnection,
        codec: str,
        *,
        on_start: Callable[[], None],
        on_pli: Callable[[], None],
        on_feedback: Callable[[bytes], bool],
    ) -> None:
        """Add this track, and only its codec, to *connection*; the rest as `DirectSenderPort`."""
        transceiver = connection.addTransceiver(self, direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in known if c.name in (codec, "rtx")])
        self._port = DirectSenderPort(
            transceiver.sender,
            encoder=self,
            on_start=on_start,
            on_pli=on_pli,
            on_nack=self._count_nack,
            on_rtcp=self._note_rtcp,
            on_feedback=on_feedback,
        )

    def _count_nack(self, n_packets: int) -> None:
        self.counters.nack_count += n_packets
        self._on_nack(n_packets)

    def _note_rtcp(self) -> None:
        self.counters.last_rtcp_us = monotonic_us()
