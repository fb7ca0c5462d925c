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

from rtcodec.packet.packetizer import CutFrame, CutPayload, write_payload_head

_HEADER: Final = struct.Struct("!BBHLL")
_SEQ: Final = struct.Struct("!H")
_VERSION: Final = 2 << 6
_EXTENSION: Final = 1 << 4
_MARKER: Final = 1 << 7
_ABS_SEND_TIME_BITS: Final = 18  # fraction of the 24 bits: 64 s in steps of 3.8 us


@dataclass(frozen=True, slots=True)
class ExtensionBlock:
    """The RTP header extensions of a stream, with a gap for abs-send-time."""

    before: bytes
    "From the profile on; empty if there are no extensions."

    after: bytes = b""
    "Behind the three bytes of the time."

    has_time: bool = False

    def at(self, ntp: int) -> bytes:
        """Return the block for packets sent at a 64-bit NTP time."""
        if not self.has_time:
            return self.before
        time = ntp >> (32 - _ABS_SEND_TIME_BITS) & 0xFFFFFF
        return self.before + time.to_bytes(3, "big") + self.after


@dataclass(frozen=True, slots=True)
class RetransmitAs:
    """The stream that retransmissions travel in. # RFC 4588"""

    payload_type: int
    ssrc: int


class _Sent(NamedTuple):
    seq: int
    timestamp: int
    marker: int
    extensions: bytes
    delivery: int
    payload: CutPayload


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
        self._payload_type = payload_type
        self._ssrc = ssrc
        self._seq = first_seq
        self._origin = timestamp_origin
        self._extensions = extensions
        self._rtx = rtx
        self._rtx_seq = first_rtx_seq
        self._history: list[_Sent | None] = [None] * history_packets

    def write_frame(self, frame: CutFrame, *, delivery: int, pts: int, ntp: int) -> list[bytes]:
        """
        Return the packets of one frame in sending order.

        Args:
            frame: Its payloads, as for every receiver.
            delivery: Frames sent to this receiver before, modulo 2**16.
            pts: 90 kHz ticks.
            ntp: When they are sent, 64 bits.
        """
        self.timestamp = timestamp = (self._origin + pts) & 0xFFFFFFFF
        extensions = self._extensions.at(ntp)
        n_history = len(self._history)
        packets = []
        last = len(frame.payloads) - 1
        for index, payload in enumerate(frame.payloads):
            sent = _Sent(
                self._seq, timestamp, _MARKER * (index == last), extensions, delivery, payload
            )
            self._history[self._seq % n_history] = sent
            self._seq = (self._seq + 1) & 0xFFFF
            packets.append(self._write(sent))
        self.n_packets += len(packets)
        self.n_bytes += frame.payload_bytes
        return packets

    def write_again(self, seq: int) -> bytes | None:
        """Return a packet as a retransmission, or None if it is not kept any more."""
        sent = self._history[seq % len(self._history)]
        if sent is None or sent.seq != seq:
            return None
        if self._rtx is None:
            return self._write(sent)
        head = _HEADER.pack(
            _VERSION | _EXTENSION * bool(sent.extensions),
            sent.marker | self._rtx.payload_type,
            self._rtx_seq,
            sent.timestamp,
            self._rtx.ssrc,
        )
        self._rtx_seq = (self._rtx_seq + 1) & 0xFFFF
        payload = write_payload_head(sent.payload, sent.delivery)
        return b"".join((head, sent.extensions, _SEQ.pack(seq), payload, sent.payload.rest))

    def _write(self, sent: _Sent) -> bytes:
        head = _HEADER.pack(
            _VERSION | _EXTENSION * bool(sent.extensions),
            sent.marker | self._payload_type,
            sent.seq,
            sent.timestamp,
            self._ssrc,
        )
        payload = write_payload_head(sent.payload, sent.delivery)
        return b"".join((head, sent.extensions, payload, sent.payload.rest))
