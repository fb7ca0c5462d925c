"""
The private side of aiortc's receivers: our jitter buffer, NACKs and decoder in place of its own.
"""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import aiortc.rtcrtpreceiver
from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RTCP_PSFB_APP, AnyRtcpPacket, RtcpPsfbPacket, RtcpSrPacket, RtpPacket

from rtcodec.webrtc.aiortc_private import RECEIVER
from rtcodec.webrtc.transport_feedback import ArrivalWatch

MAX_SOURCES: Final = 16
"""Streams (SSRC) that one receiver hears of: video, retransmissions, what takes their place in a
long call. aiortc keeps statistics for each that it ever heard of, and reports on all of them."""

_stock_decoder_worker = aiortc.rtcrtpreceiver.decoder_worker


class Intake(Protocol):
    """Takes the place of aiortc's jitter buffer for one receiver."""

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take one packet in order of arrival; return (send a PLI, None)."""


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


class _NoNacks:
    """Stands in for aiortc's NACK generator; the intake asks by itself."""

    def add(self, packet: RtpPacket) -> bool:
        return False


class ReceiverPort:
    """
    The private side of one aiortc receiver.

    Made in the connection's `track` event, before any packet can arrive.
    """

    def __init__(self, receiver: RTCRtpReceiver, *, intake: Intake, decoder: DecoderThread) -> None:
        self._receiver = receiver
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_sender_report: Callable[[int, int], None] = lambda ntp, rtp_timestamp: None
        "Called with the NTP time and RTP time stamp of every sender report."
        setattr(receiver, f"{RECEIVER}__jitter_buffer", intake)
        setattr(receiver, f"{RECEIVER}__nack_generator", _NoNacks())
        setattr(receiver, f"{RECEIVER}__decoder_queue", decoder)
        vars(receiver)["rtcodec_arrivals"] = ArrivalWatch(receiver)
        self._sources: set[int] = set()
        self._handle_rtp = receiver._handle_rtp_packet
        receiver._handle_rtp_packet = self._on_rtp  # type: ignore[method-assign]
        self._handle_rtcp = receiver._handle_rtcp_packet
        receiver._handle_rtcp_packet = self._on_rtcp  # type: ignore[method-assign]

    def codec(self, payload_type: int) -> RTCRtpCodecParameters:
        """Return the negotiated codec of a payload type that a packet came with."""
        codecs: dict[int, RTCRtpCodecParameters] = getattr(self._receiver, f"{RECEIVER}__codecs")
        return codecs[payload_type]

    def send_nack(self, ssrc: int, seqs: tuple[int, ...]) -> None:
        """Ask for packets again."""
        self._spawn(self._receiver._send_rtcp_nack(ssrc, list(seqs)))

    def send_pli(self, ssrc: int) -> None:
        """Ask for a key frame."""
        self._spawn(self._receiver._send_rtcp_pli(ssrc))

    def send_feedback(self, ssrc: int, data: bytes) -> None:
        """Send application layer feedback on a stream (RFC 4585 6.4)."""
        own_ssrc: int | None = getattr(self._receiver, f"{RECEIVER}__rtcp_ssrc")
        if own_ssrc is not None:
            packet = RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=own_ssrc, media_ssrc=ssrc, fci=data)
            self._spawn(self._receiver._send_rtcp(packet))

    def _spawn(self, action: Awaitable[None]) -> None:
        task = asyncio.ensure_future(action)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if packet.ssrc not in self._sources:
            if len(self._sources) >= MAX_SOURCES:
                self._receiver.transport._rtp_router.ssrc_table.pop(packet.ssrc, None)
                return
            self._sources.add(packet.ssrc)
        await self._handle_rtp(packet, arrival_time_ms=arrival_time_ms)

    async def _on_rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            self.on_sender_report(info.ntp_timestamp, info.rtp_timestamp)
        await self._handle_rtcp(packet)


def payload_data(packet: RtpPacket) -> bytes:
    """Return the codec data of a packet that aiortc has taken the payload header off."""
    return packet._data  # type: ignore[attr-defined, no-any-return]
