"""
The private side of aiortc's DTLS transports: media goes in in the call that brings it.

    socket --> MediaIntake: SRTP --> RTP  --> ReceiverPort
                                 --> RTCP --> SenderPort, or aiortc's own sender, receiver

aiortc puts every datagram into a queue, wakes a task for it, and makes an object, a dictionary of
extensions and a dozen nested coroutines of every packet. DTLS and data channels stay there.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol

import pylibsrtp
from aiortc import clock
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RtcpPacket, RtpPacket

from rtcodec.errors import BitstreamError
from rtcodec.packet.rtcp import (
    APPLICATION_FORMAT,
    TRANSPORT_FEEDBACK,
    TRANSPORT_WIDE_FORMAT,
    read_rtcp,
)
from rtcodec.packet.rtp_packet import RtpPacket as MediaPacket
from rtcodec.packet.rtp_packet import read_rtp
from rtcodec.webrtc.aiortc_private import PORT, TAKE, TRANSPORT
from rtcodec.webrtc.aiortc_sockets import is_media
from rtcodec.webrtc.aiortc_srtp import QuickSession

_IDS: Final = "_HeaderExtensionsMap__ids"
_PORT_FORMATS: Final = (APPLICATION_FORMAT, TRANSPORT_WIDE_FORMAT)
_RECEIVED_BYTES: Final = f"{TRANSPORT}__rx_bytes"
_RECEIVED_PACKETS: Final = f"{TRANSPORT}__rx_packets"
_RTCP_TYPES: Final = range(192, 209)

stock_run = getattr(RTCDtlsTransport, f"{TRANSPORT}__run")


class MediaPort(Protocol):
    """Takes the RTP of one receiver."""

    def receive(self, packet: MediaPacket) -> None:
        """Take one packet in order of arrival."""


class FeedbackPort(Protocol):
    """Takes what one sender's receiver says."""

    def hear(self, kind: int, control: bytes) -> bool:
        """Take feedback of transport-wide or application format; say whether it was for it."""


def run_now(action: Coroutine[Any, Any, None]) -> None:
    """Run what never waits: all that aiortc's handlers end in is a datagram socket."""
    try:
        action.send(None)
    except StopIteration:
        return
    action.close()


def send_rtcp(transport: RTCDtlsTransport, data: bytes) -> None:
    """Encrypt RTCP and send it; without a connection nothing happens."""
    with suppress(ConnectionError):
        run_now(transport._send_rtp(data))


async def run_transport(self: RTCDtlsTransport) -> None:
    """Do what aiortc's task of a transport does, with media beside its queue as long as it runs."""
    connection = self.transport._connection
    take = MediaIntake(self).take
    _take_waiting(connection._queue, take)
    vars(connection)[TAKE] = take
    try:
        await stock_run(self)
    finally:
        vars(connection).pop(TAKE, None)


def _take_waiting(queue: "asyncio.Queue[Any]", take: Callable[[bytes], None]) -> None:
    """
    Take the media out of aioice's queue.

    Who has done with the handshake first sends at once: often it is a key frame that came while
    this task was being started, and aiortc's own way would lose it.
    """
    for _ in range(queue.qsize()):
        entry = queue.get_nowait()
        if entry is not None and is_media(entry[0]):
            take(entry[0])
        else:
            queue.put_nowait(entry)


class MediaIntake:
    """Takes the RTP and RTCP of one transport."""

    def __init__(self, transport: RTCDtlsTransport) -> None:
        """
        Args:
            transport: That has just connected.
        """
        self._transport = transport
        self._counters = vars(transport)
        self._srtp = QuickSession(transport._rx_srtp)
        self._router = transport._rtp_router
        self._extensions = transport._rtp_header_extensions_map
        self._ids = vars(self._extensions)[_IDS]  # filled in when receivers are registered

    def take(self, data: bytes) -> None:
        """Take one datagram of SRTP or SRTCP; what cannot be decrypted or read is dropped."""
        self._counters[_RECEIVED_BYTES] += len(data)
        self._counters[_RECEIVED_PACKETS] += 1
        try:  # `suppress` is three calls for each datagram
            if len(data) > 1 and data[1] in _RTCP_TYPES:
                self._take_rtcp(self._srtp.unprotect_rtcp(data))
            else:
                self._take_rtp(self._srtp.unprotect(data))
        except (pylibsrtp.Error, BitstreamError, ConnectionError):
            pass  # an answer that cannot be sent, as the connection is going, is no harm either

    def _take_rtp(self, data: bytes) -> None:
        ids = self._ids
        packet = read_rtp(
            data, send_time_id=ids.abs_send_time, number_id=ids.transport_sequence_number
        )
        receiver = self._router.route_rtp(packet)  # type: ignore[arg-type]  # needs no more of it
        if receiver is None:
            return
        port: MediaPort | None = vars(receiver).get(PORT)
        if port is not None:
            port.receive(packet)
            return
        with suppress(ValueError):
            stock = RtpPacket.parse(data, self._extensions)
            run_now(receiver._handle_rtp_packet(stock, arrival_time_ms=clock.current_ms()))

    def _take_rtcp(self, data: bytes) -> None:
        for packet in read_rtcp(data):
            if packet.is_feedback and packet.fmt in _PORT_FORMATS:
                sender = self._router.senders.get(packet.media_ssrc)
                port: FeedbackPort | None = None if sender is None else vars(sender).get(PORT)
                if port is not None and port.hear(packet.type, packet.control):
                    continue
                if packet.type == TRANSPORT_FEEDBACK:
                    continue  # which aiortc takes for a NACK
            with suppress(ValueError):
                for stock in RtcpPacket.parse(packet.data):
                    for recipient in self._router.route_rtcp(stock):
                        run_now(recipient._handle_rtcp_packet(stock))
