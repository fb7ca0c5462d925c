"""
The private side of aiortc's receivers: our jitter buffer, NACKs and decoder in place of its own.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiortc.rtcrtpreceiver
from aiortc import RTCRtpReceiver
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket

from rtcodec.errors import BitstreamError
from rtcodec.packet.rtcp import APPLICATION_FORMAT, PAYLOAD_FEEDBACK, write_feedback
from rtcodec.packet.rtp_packet import RtpPacket, read_vp8_payload
from rtcodec.webrtc.aiortc_private import PORT, RECEIVER
from rtcodec.webrtc.aiortc_transport import run_now, send_rtcp
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.transport_feedback import ArrivalWatch

MAX_SOURCES: Final = 16
"""Streams (SSRC) that one receiver hears of: video, retransmissions, what takes their place in a
long call. aiortc keeps statistics for each that it ever heard of, and reports on all of them."""

_stock_decoder_worker = aiortc.rtcrtpreceiver.decoder_worker


class Intake(Protocol):
    """Takes the place of aiortc's jitter buffer for one receiver."""

    def take(self, packet: RtpPacket, codec: str, data: bytes, *, now_us: int) -> None:
        """Take one packet of a codec, with its payload without that codec's header."""


class DecoderThread(Protocol):
    """Takes the place of aiortc's queue of frames to decode."""

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Decode until stopped; called on the decoder's own thread."""


def decoder_worker(
    loop: asyncio.AbstractEventLoop,
    input_q: Any,
    output_q: Any,
    decode_error: threading.Event,
) -> None:
    """Stand in for aiortc's: the thread runs whatever took the place of its queue."""
    if isinstance(input_q, queue.Queue):
        _stock_decoder_worker(loop, input_q, output_q, decode_error)
    else:
        input_q.run(loop)


@dataclass(frozen=True, slots=True)
class _PayloadType:
    codec: RTCRtpCodecParameters
    name: str
    resends: int | None
    "Payload type of what it sends again, if it is of retransmissions."


class ReceiverPort:
    """
    The private side of one aiortc receiver.

    Made in the connection's `track` event, before any packet can arrive.
    """

    def __init__(self, receiver: RTCRtpReceiver, *, intake: Intake, decoder: DecoderThread) -> None:
        self._receiver = receiver
        self._state = vars(receiver)
        self._intake: Intake | None = intake
        self.on_sender_report: Callable[[int, int], None] = lambda ntp, rtp_timestamp: None
        "Called with the NTP time and RTP time stamp of every sender report."
        setattr(receiver, f"{RECEIVER}__decoder_queue", decoder)
        self._arrivals = ArrivalWatch(receiver)
        self._sources: set[int] = set()
        self._payload_types: dict[int, _PayloadType] = {}
        self._state[PORT] = self
        self._handle_rtcp = receiver._handle_rtcp_packet
        receiver._handle_rtcp_packet = self._on_rtcp  # type: ignore[method-assign]

    def close(self) -> None:
        """Take nothing more, and let go of the intake."""
        self._intake = None
        self._arrivals.close()

    def codec(self, payload_type: int) -> RTCRtpCodecParameters:
        """Return the negotiated codec of a payload type that a packet came with."""
        codecs: dict[int, RTCRtpCodecParameters] = self._state[f"{RECEIVER}__codecs"]
        return codecs[payload_type]

    def receive(self, packet: RtpPacket) -> None:
        """Take one packet in order of arrival, as `RTCRtpReceiver._handle_rtp_packet` does."""
        if packet.ssrc not in self._sources:
            if len(self._sources) >= MAX_SOURCES:
                self._receiver.transport._rtp_router.ssrc_table.pop(packet.ssrc, None)
                return
            self._sources.add(packet.ssrc)
        now_us = monotonic_us()
        self._arrivals.note(packet, now_us=now_us)
        kind = self._payload_types.get(packet.payload_type) or self._kind_of(packet.payload_type)
        if kind is None or self._intake is None:
            return
        self._statistics(packet, kind)
        if kind.resends is not None:
            original = self._unwrap(packet, kind.resends)
            if original is None:
                return
            packet, kind = original
        data = packet.payload
        try:
            if not data:
                pass  # only padding
            elif kind.name == "VP8":
                data = read_vp8_payload(data)
            elif kind.name == "H264":
                data = depayload(kind.codec, data)
        except (BitstreamError, ValueError):  # ours, aiortc's
            return
        self._intake.take(packet, kind.name, data, now_us=now_us)

    def send_nack(self, ssrc: int, seqs: tuple[int, ...]) -> None:
        """Ask for packets again."""
        run_now(self._receiver._send_rtcp_nack(ssrc, list(seqs)))

    def send_pli(self, ssrc: int) -> None:
        """Ask for a key frame."""
        run_now(self._receiver._send_rtcp_pli(ssrc))

    def send_feedback(self, ssrc: int, data: bytes) -> None:
        """Send application layer feedback on a stream (RFC 4585 6.4), and of arrivals with it."""
        own_ssrc: int | None = self._state[f"{RECEIVER}__rtcp_ssrc"]
        if own_ssrc is not None:
            rtcp = write_feedback(
                PAYLOAD_FEEDBACK, APPLICATION_FORMAT, ssrc=own_ssrc, media_ssrc=ssrc, control=data
            )
            send_rtcp(self._receiver.transport, self._arrivals.take_along() + rtcp)

    def _kind_of(self, payload_type: int) -> _PayloadType | None:
        """Look a payload type up, once they are negotiated."""
        codec = self._state[f"{RECEIVER}__codecs"].get(payload_type)
        if codec is None:
            return None
        name, resends = codec.name, None
        if name.lower() == "rtx":
            resends = codec.parameters.get("apt")
            if not isinstance(resends, int):
                return None
        kind = _PayloadType(codec, name, resends)
        self._payload_types[payload_type] = kind
        return kind

    def _statistics(self, packet: RtpPacket, kind: _PayloadType) -> None:
        """Count a packet where aiortc's receiver reports look."""
        streams: dict[int, StreamStatistics] = self._state[f"{RECEIVER}__remote_streams"]
        stream = streams.get(packet.ssrc)
        if stream is None:
            stream = streams[packet.ssrc] = StreamStatistics(kind.codec.clockRate)
        stream.add(packet)  # type: ignore[arg-type]

    def _unwrap(self, packet: RtpPacket, resends: int) -> tuple[RtpPacket, _PayloadType] | None:
        """Return what a retransmission holds, RFC 4588 4; None if that is not known."""
        ssrc = self._state[f"{RECEIVER}__rtx_ssrc"].get(packet.ssrc)
        kind = self._payload_types.get(resends) or self._kind_of(resends)
        if ssrc is None or kind is None or kind.resends is not None or len(packet.payload) < 2:
            return None
        original = RtpPacket(
            resends,
            packet.marker,
            int.from_bytes(packet.payload[:2], "big"),
            packet.timestamp,
            ssrc,
            packet.payload[2:],
        )
        return original, kind

    async def _on_rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            self.on_sender_report(info.ntp_timestamp, info.rtp_timestamp)
        await self._handle_rtcp(packet)
