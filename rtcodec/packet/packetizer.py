"""
Cut the bitstream packets of a frame into RTP payloads.

A packet that fits travels alone; a larger one is cut into fragments. No
packet ever waits for another, and nothing is re-coded here.
"""

from collections.abc import Sequence

from rtcodec.errors import LocalProtocolError
from rtcodec.packet.payload import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    TIMING_BYTES,
    FrameTiming,
    Payload,
    write_payload,
)

_MAX_COUNT = 0xFFFF
_MIN_ROOM_BYTES = 16


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
        self._room_bytes = max_payload_bytes - HEADER_BYTES
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
        fragments = self._fragments(packets)
        if len(fragments) > _MAX_COUNT:
            raise LocalProtocolError(f"{len(fragments)} payloads in one frame")
        delivery = self._delivery & 0xFFFF
        self._delivery += 1
        return [
            write_payload(
                Payload(
                    delivery=delivery,
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

    def _fragments(self, packets: Sequence[bytes]) -> list[tuple[bytes, bool, bool]]:
        if not packets or not all(packets):
            raise LocalProtocolError("a frame needs packets, none of them empty")
        fragments = []
        room_bytes = self._room_bytes - TIMING_BYTES
        for packet in packets:
            start = 0
            while start < len(packet):
                end = min(start + room_bytes, len(packet))
                fragments.append((packet[start:end], start == 0, end == len(packet)))
                start = end
                room_bytes = self._room_bytes
        return fragments
