"""
Cut the bitstream packets of a frame into RTP payloads.

A packet that fits travels alone; a larger one is cut into fragments. No
packet ever waits for another, and nothing is re-coded here. A frame is cut once
for all its receivers: only the delivery number, two bytes, differs between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rtcodec.errors import LocalProtocolError
from rtcodec.packet.payload import (
    DELIVERY_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    TIMING_BYTES,
    FrameTiming,
    Payload,
    write_payload,
)

OVERHEAD_BYTES = 12 + 16 + 3 + 10
"What is sent with the rest of a payload: RTP, SRTP, payload head, extensions as a rule."

_MAX_COUNT = 0xFFFF
_MIN_ROOM_BYTES = 16


@dataclass(frozen=True, slots=True)
class CutPayload:
    """One payload but for its delivery number, or all of another codec's, which has none."""

    head: bytes | None
    "What comes before the delivery number; None if `rest` is all there is."

    rest: bytes
    "What follows it."


@dataclass(frozen=True, slots=True)
class CutFrame:
    """The payloads of one frame, as every receiver gets them."""

    payloads: tuple[CutPayload, ...]
    "In sending order, at least one."

    bitstream_bytes: int
    "Of the bitstream packets inside."

    payload_bytes: int
    "Of the payloads, their headers included."

    takes_parities: bool = False
    "Whether whoever reads the payloads knows what a parity is."

    sizes_bytes: tuple[int, ...] = field(init=False)
    "Of all that is sent for each payload, about."

    def __post_init__(self) -> None:
        """Add up the sizes, for all receivers."""
        sizes = tuple(OVERHEAD_BYTES + len(payload.rest) for payload in self.payloads)
        object.__setattr__(self, "sizes_bytes", sizes)


def write_payload_head(payload: CutPayload, delivery: int) -> bytes:
    """Return the bytes of a payload that its `rest` follows; *delivery* is 16 bits."""
    if payload.head is None:
        return b""
    return payload.head + delivery.to_bytes(DELIVERY_BYTES, "big")


def foreign_frame(payloads: Sequence[bytes]) -> CutFrame:
    """Return a frame of another codec, of which every receiver gets the same payloads."""
    n_bytes = sum(map(len, payloads))
    return CutFrame(tuple(CutPayload(None, payload) for payload in payloads), n_bytes, n_bytes)


def cut_frame(
    packets: Sequence[bytes],
    *,
    timing: FrameTiming,
    is_keyframe: bool,
    max_payload_bytes: int = MAX_PAYLOAD_BYTES,
) -> CutFrame:
    """
    Cut one frame for all its receivers.

    Args:
        packets: Bitstream packets of the frame, none of them empty.
        timing: Travels in the first payload.
        is_keyframe: Whether a decoder may start at this frame.
        max_payload_bytes: Limit of one RTP payload, headers of this package included.

    Raises:
        LocalProtocolError: If there is no packet, an empty one, or more
            than 65535 payloads would be needed.
    """
    fragments = _fragments(packets, max_payload_bytes - HEADER_BYTES)
    if len(fragments) > _MAX_COUNT:
        raise LocalProtocolError(f"{len(fragments)} payloads in one frame")
    made = [
        write_payload(
            Payload(
                delivery=0,
                index=index,
                count=len(fragments),
                starts_packet=starts,
                ends_packet=ends,
                is_keyframe=is_keyframe,
                data=data,
                timing=None if index else timing,
            )
        )
        for index, (data, starts, ends) in enumerate(fragments)
    ]
    return CutFrame(
        tuple(CutPayload(payload[:1], payload[1 + DELIVERY_BYTES :]) for payload in made),
        bitstream_bytes=sum(map(len, packets)),
        payload_bytes=sum(map(len, made)),
        takes_parities=True,
    )


def _fragments(packets: Sequence[bytes], full_bytes: int) -> list[tuple[bytes, bool, bool]]:
    if not packets or not all(packets):
        raise LocalProtocolError("a frame needs packets, none of them empty")
    fragments = []
    room_bytes = full_bytes - TIMING_BYTES
    for packet in packets:
        start = 0
        while start < len(packet):
            end = min(start + room_bytes, len(packet))
            fragments.append((packet[start:end], start == 0, end == len(packet)))
            start = end
            room_bytes = full_bytes
    return fragments


class Packetizer:
    """
    Makes the RTP payloads of one receiver.

    Every frame gets the next delivery number, so that the receiver counts what
    it lost exactly.
    """

    def __init__(self, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        """
        Start with delivery number 0.

        Args:
            max_payload_bytes: Limit of one RTP payload, headers of this
                package included; at least 51.

        Raises:
            ValueError: If the limit leaves no room for data.
        """
        if max_payload_bytes < HEADER_BYTES + TIMING_BYTES + _MIN_ROOM_BYTES:
            raise ValueError(f"max_payload_bytes {max_payload_bytes} leaves no room for data")
        self._max_payload_bytes = max_payload_bytes
        self._delivery = 0

    @property
    def deliveries(self) -> int:
        """Frames packetized so far."""
        return self._delivery

    def packetize(
        self, packets: Sequence[bytes], *, timing: FrameTiming, is_keyframe: bool
    ) -> list[bytes]:
        """
        Return the RTP payloads of one frame in sending order.

        Args:
            packets: Bitstream packets of the frame, none of them empty.
            timing: Travels in the first payload.
            is_keyframe: Whether a decoder may start at this frame.

        Raises:
            LocalProtocolError: If there is no packet, an empty one, or more
                than 65535 payloads would be needed.
        """
        frame = cut_frame(
            packets,
            timing=timing,
            is_keyframe=is_keyframe,
            max_payload_bytes=self._max_payload_bytes,
        )
        delivery = self._delivery & 0xFFFF
        self._delivery += 1
        return [write_payload_head(cut, delivery) + cut.rest for cut in frame.payloads]
