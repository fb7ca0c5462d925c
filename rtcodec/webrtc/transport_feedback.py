"""
Transport-wide feedback through aiortc, which has none: packets numbered, arrivals told.

    sender   SendSide       numbers every packet, hears which arrived, estimates the way
    receiver ArrivalWatch   tells the sender every 100 ms; REMB to one that numbers nothing

Like `aiortc_patch`, whose part this is: only these modules name private parts of aiortc, and
`RELIED_ON` is checked at start-up.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from struct import pack, unpack
from typing import Any, Final

import aiortc.codecs
from aiortc import RTCRtpReceiver, RTCRtpSender
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
)
from aiortc.rtp import (
    RTCP_RTPFB,
    HeaderExtensionsMap,
    RtcpRtpfbPacket,
    RtpPacket,
    pack_rtcp_packet,
)

from rtcodec.errors import BitstreamError
from rtcodec.packet.arrival_log import ArrivalLog
from rtcodec.packet.bandwidth import BandwidthEstimator, ReceiverEstimator
from rtcodec.packet.sent_packets import SentPackets
from rtcodec.packet.transport_feedback import read_transport_feedback, write_transport_feedback
from rtcodec.webrtc.aiortc_private import RECEIVER, SENDER
from rtcodec.webrtc.clock import monotonic_us

EXTENSION_URI: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
FEEDBACK_FORMAT: Final = 15
FRESH_US: Final = 5_000_000
"An estimate older than this says nothing of now."

_EXTENSION_ID: Final = 5  # aiortc itself offers 1, 2 and 3
_OVERHEAD_BYTES: Final = 12 + 16 + 10  # RTP, its extensions, SRTP

RELIED_ON: Final[tuple[tuple[Callable[..., object], tuple[str, ...]], ...]] = (
    (RTCRtpReceiver.__init__, (f"{RECEIVER}__remote_bitrate_estimator",)),
    (
        RTCRtpReceiver._handle_rtp_packet,
        (f"{RECEIVER}__remote_bitrate_estimator", "abs_send_time", "_send_rtcp"),
    ),
    (RTCRtpReceiver._set_rtcp_ssrc, (f"{RECEIVER}__rtcp_ssrc",)),
    (RTCRtpSender.send, (f"{SENDER}__rtp_header_extensions_map", "configure")),
    (RTCRtpSender._run_rtp, ("serialize",)),
    (RTCRtpSender._retransmit, ("serialize",)),
    (RtpPacket.serialize, ("extensions", "set")),
    (RtcpRtpfbPacket.parse.__func__, ("fmt", "lost")),  # type: ignore[attr-defined]
)
"As in `aiortc_patch`."


# ---------------------------------------------------------------- process wide


@dataclass
class FeedbackPacket(RtcpRtpfbPacket):
    """RTCP type 205, format 15."""

    fci: bytes = b""
    "The control information, not yet read."

    def __bytes__(self) -> bytes:
        head = pack("!LL", self.ssrc, self.media_ssrc)
        return pack_rtcp_packet(RTCP_RTPFB, FEEDBACK_FORMAT, head + self.fci)


_stock_parse = RtcpRtpfbPacket.parse
_stock_serialize = RtpPacket.serialize


def install() -> None:
    """Offer and understand the extension and the feedback, for video; once for each process."""
    aiortc.codecs.HEADER_EXTENSIONS["video"].append(
        RTCRtpHeaderExtensionParameters(id=_EXTENSION_ID, uri=EXTENSION_URI)
    )
    for codec in aiortc.codecs.CODECS["video"]:
        if codec.name != "rtx":
            codec.rtcpFeedback.append(RTCRtcpFeedback(type="transport-cc"))
    RtcpRtpfbPacket.parse = staticmethod(_parse)  # type: ignore[method-assign]
    RtpPacket.serialize = _serialize  # type: ignore[method-assign]


def _parse(data: bytes, fmt: int) -> RtcpRtpfbPacket:
    """Keep feedback as it is; aiortc takes every format for a NACK."""
    if fmt != FEEDBACK_FORMAT or len(data) < 8:
        return _stock_parse(data, fmt)
    ssrc, media_ssrc = unpack("!LL", data[:8])
    return FeedbackPacket(fmt=fmt, ssrc=ssrc, media_ssrc=media_ssrc, fci=data[8:])


def _serialize(self: RtpPacket, extensions_map: HeaderExtensionsMap | None = None) -> bytes:
    """Number a packet in the moment that it is sent, for the first time or again."""
    extensions_map = extensions_map or HeaderExtensionsMap()
    if isinstance(extensions_map, _NumberingMap) and extensions_map.is_used:
        size_bytes = len(self.payload) + _OVERHEAD_BYTES
        self.extensions.transport_sequence_number = extensions_map.number(size_bytes)
    return _stock_serialize(self, extensions_map)


# ---------------------------------------------------------------------- sender


class _NumberingMap(HeaderExtensionsMap):
    """The extensions of a sender whose packets are numbered, if the other side wants it."""

    def __init__(self, number: Callable[[int], int]) -> None:
        super().__init__()
        self.number = number
        self.is_used = False

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        self.is_used = any(ext.uri == EXTENSION_URI for ext in parameters.headerExtensions)


class SendSide:
    """What one sender knows of the way to its receiver."""

    def __init__(self, sender: RTCRtpSender) -> None:
        """Number the packets of *sender*; call it before it starts."""
        self.estimator = BandwidthEstimator()
        self.on_estimate: Callable[[int], None] = lambda bps: None
        "Called with the bits per second after every feedback."
        self.malformed = 0
        "Feedbacks that could not be read."
        self._sent = SentPackets()
        setattr(sender, f"{SENDER}__rtp_header_extensions_map", _NumberingMap(self.number))

    @property
    def bps(self) -> int | None:
        """What the way carries; None if nothing was heard of it lately."""
        heard_us = self.estimator.heard_us
        if heard_us is None or monotonic_us() - heard_us > FRESH_US:
            return None
        return self.estimator.bps

    def report(self) -> dict[str, Any] | None:
        """Return what was told so far as JSON values; None if nothing was."""
        estimator = self.estimator
        if estimator.heard_us is None:
            return None
        return {
            "estimate_bps": estimator.bps,
            "loss": round(estimator.loss, 4),
            "rtt_us": estimator.rtt_us,
            "overuses": estimator.n_overuses,
        }

    def number(self, size_bytes: int) -> int:
        """Return the number of a packet that leaves now."""
        return self._sent.send(size_bytes, now_us=monotonic_us())

    def hear(self, packet: FeedbackPacket) -> None:
        """Take feedback in; what cannot be read changes nothing."""
        try:
            feedback = read_transport_feedback(packet.fci)
        except BitstreamError:
            self.malformed += 1
            return
        self.estimator.feedback(self._sent.acknowledge(feedback), now_us=monotonic_us())
        self.on_estimate(self.estimator.bps)


# -------------------------------------------------------------------- receiver


class _Remb:
    """Takes the place of aiortc's estimator: our own, which speaks from the first packet on."""

    def __init__(self) -> None:
        self._estimator = ReceiverEstimator()
        self._ssrcs: dict[int, None] = {}

    def add(
        self, abs_send_time: int, arrival_time_ms: int, payload_size: int, ssrc: int
    ) -> tuple[int, list[int]] | None:
        self._ssrcs[ssrc] = None
        while len(self._ssrcs) > 4:  # a stream and its retransmissions, and those before
            del self._ssrcs[next(iter(self._ssrcs))]
        bps = self._estimator.add(abs_send_time, payload_size, now_us=monotonic_us())
        return None if bps is None else (bps, list(self._ssrcs))


class ArrivalWatch:
    """Notes the packets that one receiver gets, and tells their sender."""

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        """Watch *receiver*; call it before a packet can arrive."""
        self._receiver = receiver
        self._log = ArrivalLog()
        self._is_told = False  # feedback is sent, so there is no need for REMB
        self._ssrc = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._handle_rtp = receiver._handle_rtp_packet
        setattr(receiver, f"{RECEIVER}__remote_bitrate_estimator", _Remb())
        receiver._handle_rtp_packet = self._on_rtp  # type: ignore[method-assign]

    def close(self) -> None:
        """Tell nothing more, and let go of the receiver."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        vars(self._receiver).pop("_handle_rtp_packet", None)

    async def _on_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        number = packet.extensions.transport_sequence_number
        if number is not None:
            self._note(number, packet.ssrc)
        await self._handle_rtp(packet, arrival_time_ms)

    def _note(self, number: int, ssrc: int) -> None:
        if not self._is_told:
            self._is_told = True
            setattr(self._receiver, f"{RECEIVER}__remote_bitrate_estimator", None)
        if not self._ssrc or not self._is_rtx(ssrc):
            self._ssrc = ssrc
        now_us = monotonic_us()
        self._log.receive(number, now_us=now_us)
        if self._timer is None and (due_us := self._log.deadline_us) is not None:
            delay_s = max(due_us - now_us, 0) / 1e6
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tell)

    def _is_rtx(self, ssrc: int) -> bool:
        known: dict[int, int] = getattr(self._receiver, f"{RECEIVER}__rtx_ssrc")
        return ssrc in known

    def _tell(self) -> None:
        self._timer = None
        own_ssrc: int | None = getattr(self._receiver, f"{RECEIVER}__rtcp_ssrc")
        for feedback in self._log.take_due(now_us=monotonic_us()):
            if own_ssrc is None:
                continue
            packet: Any = FeedbackPacket(
                fmt=FEEDBACK_FORMAT,
                ssrc=own_ssrc,
                media_ssrc=self._ssrc,
                fci=write_transport_feedback(feedback),
            )
            task = asyncio.ensure_future(self._receiver._send_rtcp(packet))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
