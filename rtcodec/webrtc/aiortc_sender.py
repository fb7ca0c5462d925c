"""
The private side of aiortc's senders: who hears of RTCP, and RTP that is sent in one call.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import aiortc.rtp
from aiortc import RTCRtpSender
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import random_sequence_number
from aiortc.rtp import RTCP_RTPFB_NACK, AnyRtcpPacket, RtcpByePacket, RtcpRtpfbPacket
from aiortc.utils import random32

from rtcodec.packet.packetizer import CutFrame
from rtcodec.packet.rtcp import TRANSPORT_FEEDBACK
from rtcodec.packet.rtp_stream import (
    RESEND_BURST_PACKETS,
    RetransmitAs,
    RtpStream,
)
from rtcodec.webrtc.aiortc_private import PORT, SENDER, TRANSPORT
from rtcodec.webrtc.aiortc_srtp import QuickSession
from rtcodec.webrtc.aiortc_transport import run_now
from rtcodec.webrtc.header_extensions import extension_block
from rtcodec.webrtc.outlet import OnLeft, Outlet
from rtcodec.webrtc.transport_feedback import SendSide

MAX_UNSENT_BYTES: Final = 64 * 1024
"What may wait for a socket that takes no more; the event loop itself has no bound."

RTP_HISTORY_PACKETS: Final = 1024
"Packets kept for retransmission; aiortc's 128 are a quarter of a second at 500 packets/s."


_NTP_TIMESTAMP: Final = f"{SENDER}__ntp_timestamp"
_RTP_TIMESTAMP: Final = f"{SENDER}__rtp_timestamp"
_PACKET_COUNT: Final = f"{SENDER}__packet_count"
_SENT_BYTES: Final = f"{TRANSPORT}__tx_bytes"
_SENT_PACKETS: Final = f"{TRANSPORT}__tx_packets"
_OCTET_COUNT: Final = f"{SENDER}__octet_count"

_stock_unpack_remb_fci = aiortc.rtp.unpack_remb_fci


def unpack_remb_fci(data: bytes) -> tuple[int, list[int]]:
    """
    Read a REMB as aiortc does, which ends the connection over one that is cut short.

    Raises:
        ValueError: If it is not one, or not whole.
    """
    try:
        return _stock_unpack_remb_fci(data)
    except struct.error:
        raise ValueError("the REMB is cut short") from None


class PackEncoder(Protocol):
    """Takes the place of aiortc's encoder for one sender."""

    target_bitrate: int
    "Set by every REMB, bits per second."

    def pack(self, packet: Any) -> tuple[list[bytes], int]:
        """Return the RTP payloads and the time stamp of what the track gave."""


class SenderPort:
    """The private side of one aiortc sender."""

    def __init__(
        self,
        sender: RTCRtpSender,
        *,
        encoder: PackEncoder,
        on_pli: Callable[[], None],
        on_nack: Callable[[int], None],
        on_rtcp: Callable[[], None],
        on_feedback: Callable[[bytes], bool] = lambda data: False,
    ) -> None:
        """
        Take over *sender* before it starts.

        Args:
            sender: Of a transceiver whose track gives what *encoder* packs.
            encoder: Packs frames and hears of REMB.
            on_pli: Called for every PLI and FIR.
            on_nack: Called with how many packets a NACK asked for.
            on_rtcp: Called for every RTCP packet from the receiver.
            on_feedback: Called with application layer feedback (RFC 4585 6.4); says whether
                that was for it. What was not goes to aiortc, which looks for REMB.
        """
        self._on_nack = on_nack
        self._on_feedback = on_feedback
        self._on_rtcp_packet = on_rtcp
        self._sender = sender
        self._handle_rtcp = sender._handle_rtcp_packet
        self.way = SendSide(sender)
        "What transport-wide feedback says of the way to the receiver."
        vars(sender)[PORT] = self
        setattr(sender, f"{SENDER}__encoder", encoder)
        sender._send_keyframe = on_pli  # type: ignore[method-assign]
        sender._handle_rtcp_packet = self._on_rtcp  # type: ignore[method-assign]

    def last_rtp_timestamp(self) -> int | None:
        """Return the RTP time stamp last sent, 32 bits, or None before the first."""
        if not getattr(self._sender, f"{SENDER}__packet_count"):
            return None
        return int(getattr(self._sender, f"{SENDER}__rtp_timestamp"))

    def hear(self, kind: int, control: bytes) -> bool:
        """Take feedback of transport-wide or application format; say whether it was for this."""
        if kind == TRANSPORT_FEEDBACK:
            self.way.hear(control)
        elif not self._on_feedback(control):
            return False
        self._on_rtcp_packet()
        return True

    async def _on_rtcp(self, packet: AnyRtcpPacket) -> None:
        if not isinstance(packet, RtcpByePacket):
            self._on_rtcp_packet()
        if isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            self._on_nack(len(packet.lost))
            del packet.lost[RESEND_BURST_PACKETS:]  # 1200 bytes can name five thousand
        await self._handle_rtcp(packet)


class DirectSenderPort(SenderPort):
    """
    The private side of one aiortc sender whose RTP is sent here, not by aiortc.

    aiortc asks a track for one frame after the other, in a task of each sender, and makes an
    object, a dictionary of extensions and six nested coroutines of every packet: that costs four
    times what encrypting and sending it does. Here a frame goes out in the call that brings it.
    RTCP, retransmission's requests and statistics stay aiortc's.
    """

    def __init__(
        self,
        sender: RTCRtpSender,
        *,
        encoder: PackEncoder,
        on_start: Callable[[], None],
        on_pli: Callable[[], None],
        on_nack: Callable[[int], None],
        on_rtcp: Callable[[], None],
        on_feedback: Callable[[bytes], bool],
    ) -> None:
        """
        Take over *sender* before it starts.

        Args:
            sender: Of a transceiver with a track, which is stopped at the end.
            encoder: Hears of REMB; never packs anything.
            on_start: Called when frames can be sent.
            on_pli: As in `SenderPort`, like the others.
            on_nack: See there.
            on_rtcp: See there.
            on_feedback: See there.
        """
        super().__init__(
            sender,
            encoder=encoder,
            on_pli=on_pli,
            on_nack=on_nack,
            on_rtcp=on_rtcp,
            on_feedback=on_feedback,
        )
        self._on_start = on_start
        self._state = vars(sender)
        self._outlet: Outlet | None = None
        self._srtp: QuickSession | None = None
        sender._run_rtp = self._run  # type: ignore[method-assign]
        sender._retransmit = self._retransmit  # type: ignore[method-assign]

    @property
    def is_running(self) -> bool:
        """Whether frames can be sent."""
        return self._outlet is not None

    @property
    def media_bps(self) -> int | None:
        """As `Outlet.media_bps`; None while nothing is sent."""
        return None if self._outlet is None else self._outlet.media_bps

    def report_way(self) -> dict[str, Any] | None:
        """Return what transport-wide feedback told so far as JSON values; None if none came."""
        if (way := self.way.report()) is None:
            return None
        return way | {"parities": 0 if self._outlet is None else self._outlet.n_parities}

    def close(self) -> None:
        """Send nothing more; frames that have not left are reported."""
        if self._outlet is not None:
            self._outlet.close()

    def send(self, frame: CutFrame, *, delivery: int, pts: int, on_left: OnLeft) -> None:
        """
        Send one frame: its first packets now, the others within half a frame interval.

        Args:
            frame: Its payloads.
            delivery: Frames sent to this receiver before, modulo 2**16.
            pts: 90 kHz ticks.
            on_left: As in `Outlet.send`.

        Raises:
            ConnectionError: If the connection is gone, or the socket takes no more.
        """
        outlet = self._outlet
        if outlet is None or not self._sender._enabled:
            raise ConnectionError("the sender does not run")
        outlet.send(frame, delivery=delivery, pts=pts, on_left=on_left)
        state, stream = self._state, outlet.stream
        state[_NTP_TIMESTAMP] = outlet.ntp
        state[_RTP_TIMESTAMP] = stream.timestamp
        state[_PACKET_COUNT] = stream.n_packets
        state[_OCTET_COUNT] = stream.n_bytes

    def _transmit(self, packets: Sequence[bytes]) -> None:
        """Do what `RTCDtlsTransport._send_rtp` and all that it calls do, without coroutines."""
        transport = self._sender.transport
        pair = transport.transport._connection._nominated.get(1)
        if transport._state is not State.CONNECTED or pair is None:
            raise ConnectionError("not connected")
        if _unsent_bytes(pair.protocol.transport) > MAX_UNSENT_BYTES:
            raise ConnectionError("the socket takes no more")
        if self._srtp is None or self._srtp.session is not transport._tx_srtp:
            self._srtp = QuickSession(transport._tx_srtp)
        protect, protocol, address = self._srtp.protect, pair.protocol, pair.remote_addr
        n_bytes = 0
        for packet in packets:
            data = protect(packet)
            run_now(protocol.send_data(data, address))
            n_bytes += len(data)
        counters = vars(transport)
        counters[_SENT_BYTES] += n_bytes
        counters[_SENT_PACKETS] += len(packets)

    async def _retransmit(self, sequence_number: int) -> None:
        if self._outlet is not None:
            with suppress(ConnectionError):
                self._outlet.send_again(sequence_number)

    async def _run(self, codec: RTCRtpCodecParameters) -> None:
        """Stand in for aiortc's task of the sender: start, wait for its end, clean up."""
        self._state[f"{SENDER}__rtp_started"].set()
        try:
            stream = self._new_stream(codec)
            self._outlet = Outlet(stream, self.way, transmit=self._transmit)
            self._on_start()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        finally:
            if self._outlet is not None:
                self._outlet.close()
                self._outlet = None
            if self._sender.track is not None:
                self._sender.track.stop()
                self._state[f"{SENDER}__track"] = None
            self._state[f"{SENDER}__encoder"] = None
            self._state[f"{SENDER}__rtp_exited"].set()

    def _new_stream(self, codec: RTCRtpCodecParameters) -> RtpStream:
        rtx_type = self._state[f"{SENDER}__rtx_payload_type"]
        assert codec.payloadType is not None  # negotiated
        return RtpStream(
            payload_type=codec.payloadType,
            ssrc=self._sender._ssrc,
            first_seq=random_sequence_number(),
            timestamp_origin=random32(),
            extensions=extension_block(
                self._state[f"{SENDER}__rtp_header_extensions_map"],
                self._state[f"{SENDER}__mid"],
            ),
            rtx=None if rtx_type is None else RetransmitAs(rtx_type, self._sender._rtx_ssrc),
            first_rtx_seq=random_sequence_number(),
            history_packets=RTP_HISTORY_PACKETS,
        )


def _unsent_bytes(transport: Any) -> int:
    """Return what waits in the event loop; a TURN allocation, which is no socket, does not say."""
    ask = getattr(transport, "get_write_buffer_size", None)
    return 0 if ask is None else int(ask())
