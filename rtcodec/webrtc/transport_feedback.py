"""
Transport-wide feedback through aiortc, which has none: packets numbered, arrivals told.

    sender   SendSide       numbers every packet, hears which arrived, estimates the way
    receiver ArrivalWatch   tells the sender every 100 ms; REMB to one that numbers nothing

Like `aiortc_patch`, whose part this is: only these modules name private parts of aiortc, and
`RELIED_ON` is checked at start-up.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiortc.codecs
from aiortc import RTCRtpReceiver, RTCRtpSender
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
)
from aiortc.rtp import HeaderExtensionsMap, RtpPacket, pack_remb_fci

from rtcodec.errors import BitstreamError
from rtcodec.packet.arrival_log import ArrivalLog
from rtcodec.packet.bandwidth import BandwidthEstimator, ReceiverEstimator
from rtcodec.packet.rtcp import (
    APPLICATION_FORMAT,
    PAYLOAD_FEEDBACK,
    TRANSPORT_FEEDBACK,
    TRANSPORT_WIDE_FORMAT,
    write_feedback,
)
from rtcodec.packet.rtp_packet import RtpPacket as MediaPacket
from rtcodec.packet.sent_packets import SentPackets
from rtcodec.packet.transport_feedback import read_transport_feedback, write_transport_feedback
from rtcodec.webrtc.aiortc_private import RECEIVER, SENDER
from rtcodec.webrtc.aiortc_transport import send_rtcp
from rtcodec.webrtc.clock import monotonic_us

EXTENSION_URI: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
FRESH_US: Final = 5_000_000
"An estimate older than this says nothing of now."

_EXTENSION_ID: Final = 5  # aiortc itself offers 1, 2 and 3
_OVERHEAD_BYTES: Final = 12 + 16 + 10  # RTP, its extensions, SRTP
_AHEAD_US: Final = 50_000  # half of what it waits; reports of frames come as often

RELIED_ON: Final[tuple[tuple[Callable[..., object], tuple[str, ...]], ...]] = (
    (RTCRtpReceiver._handle_rtp_packet, ("abs_send_time", f"{RECEIVER}__rtx_ssrc")),
    (RTCRtpReceiver._set_rtcp_ssrc, (f"{RECEIVER}__rtcp_ssrc",)),
    (RTCRtpSender.send, (f"{SENDER}__rtp_header_extensions_map", "configure")),
    (RTCRtpSender._run_rtp, ("serialize",)),
    (RTCRtpSender._retransmit, ("serialize",)),
    (RtpPacket.serialize, ("extensions", "set")),
)
"As in `aiortc_patch`."


# ---------------------------------------------------------------- process wide

_stock_serialize = RtpPacket.serialize


def install() -> None:
    """Offer and understand the extension and the feedback, for video; once for each process."""
    aiortc.codecs.HEADER_EXTENSIONS["video"].append(
        RTCRtpHeaderExtensionParameters(id=_EXTENSION_ID, uri=EXTENSION_URI)
    )
    for codec in aiortc.codecs.CODECS["video"]:
        if codec.name != "rtx":
            codec.rtcpFeedback.append(RTCRtcpFeedback(type="transport-cc"))
    RtpPacket.serialize = _serialize  # type: ignore[method-assign]


def _serialize(self: RtpPacket, extensions_map: HeaderExtensionsMap | None = None) -> bytes:
    """Number a packet in the moment that it is sent, for the first time or again."""
    extensions_map = extensions_map or HeaderExtensionsMap()
    if isinstance(extensions_map, _NumberingMap) and extensions_map.is_used:
        size_bytes = len(self.payload) + _OVERHEAD_BYTES
        self.extensions.transport_sequence_number = extensions_map.number(
            size_bytes, now_us=monotonic_us()
        )
    return _stock_serialize(self, extensions_map)


# ---------------------------------------------------------------------- sender


class _NumberingMap(HeaderExtensionsMap):
    """The extensions of a sender whose packets are numbered, if the other side wants it."""

    def __init__(self, number: Callable[..., int]) -> None:
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

    def number(self, size_bytes: int, *, now_us: int) -> int:
        """Return the number of a packet that leaves now."""
        return self._sent.send(size_bytes, now_us=now_us)

    def hear(self, control: bytes) -> None:
        """Take feedback in; what cannot be read changes nothing."""
        try:
            feedback = read_transport_feedback(control)
        except BitstreamError:
            self.malformed += 1
            return
        self.estimator.feedback(self._sent.acknowledge(feedback), now_us=monotonic_us())
        self.on_estimate(self.estimator.bps)


# -------------------------------------------------------------------- receiver


class ArrivalWatch:
    """
    Notes the packets that one receiver gets, and tells their sender.

    One that numbers its packets gets transport-wide feedback, any other our own REMB, which speaks
    from the first packet on.
    """

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        """Watch for *receiver*, which is told of every packet by `note`."""
        self._receiver = receiver
        self._log = ArrivalLog()
        self._estimator: ReceiverEstimator | None = (
            ReceiverEstimator()
        )  # until packets have numbers
        self._remb_ssrcs: dict[int, None] = {}
        self._ssrc = 0
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def note(self, packet: MediaPacket, *, now_us: int) -> None:
        """Note one packet in order of arrival."""
        if packet.number is not None:
            self._note_number(packet.number, packet.ssrc, now_us)
        elif self._estimator is not None and packet.send_time is not None:
            self._note_time(self._estimator, packet, packet.send_time, now_us)

    def _note_number(self, number: int, ssrc: int, now_us: int) -> None:
        self._estimator = None
        if ssrc != self._ssrc and (not self._ssrc or not self._is_rtx(ssrc)):
            self._ssrc = ssrc
        self._log.receive(number, now_us=now_us)
        if self._timer is None and (due_us := self._log.deadline_us) is not None:
            delay_s = max(due_us - now_us, 0) / 1e6
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tell)

    def _note_time(
        self, estimator: ReceiverEstimator, packet: MediaPacket, send_time: int, now_us: int
    ) -> None:
        self._remb_ssrcs[packet.ssrc] = None
        while len(self._remb_ssrcs) > 4:  # a stream and its retransmissions, and those before
            del self._remb_ssrcs[next(iter(self._remb_ssrcs))]
        size_bytes = len(packet.payload) + packet.padding_bytes
        bps = estimator.add(send_time, size_bytes, now_us=now_us)
        own_ssrc = self._own_ssrc()
        if bps is not None and own_ssrc is not None:
            control = pack_remb_fci(bps, list(self._remb_ssrcs))
            remb = write_feedback(
                PAYLOAD_FEEDBACK, APPLICATION_FORMAT, ssrc=own_ssrc, media_ssrc=0, control=control
            )
            send_rtcp(self._receiver.transport, remb)

    def _own_ssrc(self) -> int | None:
        ssrc: int | None = getattr(self._receiver, f"{RECEIVER}__rtcp_ssrc")
        return ssrc

    def _is_rtx(self, ssrc: int) -> bool:
        known: dict[int, int] = getattr(self._receiver, f"{RECEIVER}__rtx_ssrc")
        return ssrc in known

    def take_along(self) -> bytes:
        """
        Return the RTCP that would be told soon, to go along with something else, or nothing.

        A datagram takes its receiver longer to open than to read.
        """
        written = self._due(ahead_us=_AHEAD_US)
        if written and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(written) > 1:  # too much for one
            send_rtcp(self._receiver.transport, written.pop(0))
        return b"".join(written)

    def _tell(self) -> None:
        self._timer = None
        for data in self._due():
            send_rtcp(self._receiver.transport, data)

    def _due(self, *, ahead_us: int = 0) -> list[bytes]:
        """Take what is to be told now, each in a packet of RTCP."""
        own_ssrc = self._own_ssrc()
        due = self._log.take_due(now_us=monotonic_us(), ahead_us=ahead_us)
        if own_ssrc is None:
            return []
        return [
            write_feedback(
                TRANSPORT_FEEDBACK,
                TRANSPORT_WIDE_FORMAT,
                ssrc=own_ssrc,
                media_ssrc=self._ssrc,
                control=write_transport_feedback(feedback),
            )
            for feedback in due
        ]
