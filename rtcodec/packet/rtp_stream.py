"""
Write the RTP packets of one outgoing stream, and again those that are asked for.

    0            12                        12 + E    15 + E
    +------------+-------------------------+---------+--------------------------+
    | RTP header | extensions, E bytes,    | payload | rest of the payload,     |
    |            | the same for a frame    | head    | shared by all receivers  |
    +------------+-------------------------+---------+--------------------------+

What is kept for retransmission is what it takes to write a packet again, so the bytes that a
hundred receivers share are held once. Bytes out: no clock, no sockets, no SRTP.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from rtcodec.packet.packetizer import (
    OVERHEAD_BYTES,
    CutFrame,
    CutPayload,
    write_payload_head,
)

_HEADER: Final = struct.Struct("!BBHLL")
_SEQ: Final = struct.Struct("!H")
_VERSION: Final = 2 << 6
_EXTENSION: Final = 1 << 4
_MARKER: Final = 1 << 7
RESEND_BURST_PACKETS: Final = 256
"Packets that may be sent again beyond as many as were sent since."

_ABS_SEND_TIME_BITS: Final = 18  # fraction of the 24 bits: 64 s in steps of 3.8 us


@dataclass(frozen=True, slots=True)
class ExtensionBlock:
    """The RTP header extensions of a stream, with a gap for abs-send-time."""

    before: bytes
    "From the profile on; empty if there are no extensions."

    after: bytes = b""
    "Behind the three bytes of the time."

    has_time: bool = False

    number_at: int | None = None
    "Where the two bytes of the transport-wide number are; None if packets have none."

    def around(self, ntp: int) -> tuple[bytes, bytes]:
        """Return what is before and after the number in packets sent at a 64-bit NTP time."""
        block = self.before
        if self.has_time:
            time = ntp >> (32 - _ABS_SEND_TIME_BITS) & 0xFFFFFF
            block += time.to_bytes(3, "big") + self.after
        if self.number_at is None:
            return block, b""
        return block[: self.number_at], block[self.number_at + _SEQ.size :]


@dataclass(frozen=True, slots=True)
class RetransmitAs:
    """The stream that retransmissions travel in. # RFC 4588"""

    payload_type: int
    ssrc: int


class Outgoing(NamedTuple):
    """A packet that has its place in the stream; it is written when it leaves."""

    seq: int
    timestamp: int
    marker: int
    delivery: int
    payload: CutPayload

    @property
    def size_bytes(self) -> int:
        """Of all that is sent, about."""
        return OVERHEAD_BYTES + len(self.payload.rest)

    @property
    def ends_frame(self) -> bool:
        """Whether it is the last of its frame."""
        return self.marker != 0


class RtpStream:
    """One receiver's RTP packets."""

    def __init__(
        self,
        *,
        payload_type: int,
        ssrc: int,
        first_seq: int,
        timestamp_origin: int,
        extensions: ExtensionBlock,
        rtx: RetransmitAs | None,
        first_rtx_seq: int = 0,
        history_packets: int,
    ) -> None:
        """
        Args:
            payload_type: Of the codec, 0 to 127.
            ssrc: Of the stream.
            first_seq: Sequence number of the first packet; below 32768, so that SRTP's
                receivers guess the roll-over right.
            timestamp_origin: Added to every time stamp.
            extensions: Go with every packet.
            rtx: None sends a packet again as it was.
            first_rtx_seq: As *first_seq*, of retransmissions.
            history_packets: Packets that can be written again.
        """
        self.n_packets = 0
        self.n_bytes = 0
        "Of payloads, without retransmissions."
        self.timestamp = 0
        "Of the last frame."
        self.has_numbers = extensions.number_at is not None
        "Whether packets carry a transport-wide number."
        self._credit = RESEND_BURST_PACKETS
        self._payload_type = payload_type
        self._ssrc = ssrc
        self._seq = first_seq
        self._origin = timestamp_origin
        self._extensions = extensions
        self._rtx = rtx
        self._rtx_seq = first_rtx_seq
        self._first_byte = _VERSION | _EXTENSION * bool(extensions.before)
        self._around_ntp: int | None = None  # of the two below, which packets of a frame share
        self._around = (b"", b"")
        self._history: list[Outgoing | None] = [None] * history_packets

    @property
    def has_rtx(self) -> bool:
        """Whether retransmissions travel in a stream of their own."""
        return self._rtx is not None

    def lay_out(self, frame: CutFrame, *, delivery: int, pts: int) -> list[Outgoing]:
        """
        Give the packets of one frame their places; return them in sending order.

        Args:
            frame: Its payloads, as for every receiver.
            delivery: Frames sent to this receiver before, modulo 2**16.
            pts: 90 kHz ticks.
        """
        self.timestamp = timestamp = (self._origin + pts) & 0xFFFFFFFF
        n_history = len(self._history)
        packets = []
        last = len(frame.payloads) - 1
        for index, payload in enumerate(frame.payloads):
            packet = Outgoing(self._seq, timestamp, _MARKER * (index == last), delivery, payload)
            self._history[self._seq % n_history] = packet
            self._seq = (self._seq + 1) & 0xFFFF
            packets.append(packet)
        self.n_packets += len(packets)
        self._credit = min(self._credit + len(packets), RESEND_BURST_PACKETS)
        self.n_bytes += frame.payload_bytes
        return packets

    def kept(self, seq: int) -> Outgoing | None:
        """
        Return a packet that was asked for again, or None if it is not kept any more.

        Also None for a receiver that has asked for as much again as it was sent: a NACK of 1400
        bytes can ask for megabytes.
        """
        packet = self._history[seq % len(self._history)]
        if packet is None or packet.seq != seq or not self._credit:
            return None
        self._credit -= 1
        return packet

    def write(self, packet: Outgoing, *, ntp: int, number: int = 0) -> bytes:
        """
        Return the bytes of a packet that leaves now.

        Args:
            packet: Of this stream.
            ntp: Now, 64 bits.
            number: Transport-wide, 16 bits.
        """
        head = _HEADER.pack(
            self._first_byte,
            packet.marker | self._payload_type,
            packet.seq,
            packet.timestamp,
            self._ssrc,
        )
        extensions = self._extensions_of(ntp, number)
        payload = write_payload_head(packet.payload, packet.delivery)
        return b"".join((head, extensions, payload, packet.payload.rest))

    def write_again(self, packet: Outgoing, *, ntp: int, number: int = 0) -> bytes:
        """Return the bytes of a packet as a retransmission; arguments as for `write`."""
        if self._rtx is None:
            return self.write(packet, ntp=ntp, number=number)
        head = _HEADER.pack(
            self._first_byte,
            packet.marker | self._rtx.payload_type,
            self._rtx_seq,
            packet.timestamp,
            self._rtx.ssrc,
        )
        extensions = self._extensions_of(ntp, number)
        self._rtx_seq = (self._rtx_seq + 1) & 0xFFFF
        payload = write_payload_head(packet.payload, packet.delivery)
        return b"".join((head, extensions, _SEQ.pack(packet.seq), payload, packet.payload.rest))

    def _extensions_of(self, ntp: int, number: int) -> bytes:
        if ntp != self._around_ntp:
            self._around_ntp, self._around = ntp, self._extensions.around(ntp)
        before, after = self._around
        return before if not self.has_numbers else before + _SEQ.pack(number) + after
