"""
Put the bitstream packets of a frame together again from its RTP payloads.

Payloads may be missing: a packet with a missing fragment is left out, the
others come through. What arrived decides what comes out, never a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rtcodec.packet.payload import FrameTiming, Payload
from rtcodec.timebase import unwrap


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """What came through of one frame."""

    number: int
    "Frames sent to this receiver before this one, not wrapped; the first one seen is < 2**16."

    packets: tuple[bytes, ...]
    "Whole bitstream packets in sending order; may be empty."

    is_keyframe: bool
    "Whether a decoder may start here."

    timing: FrameTiming | None
    "None if the first payload is missing."

    n_payloads: int
    "Payloads sent, 1 to 65535."

    n_payloads_missing: int
    "Payloads that did not arrive."

    n_frames_lost_before: int
    "Frames sent between the previous one and this one of which nothing arrived."

    @property
    def is_complete(self) -> bool:
        """Whether every payload arrived."""
        return self.n_payloads_missing == 0


class Depacketizer:
    """Follows one stream of frames; undoes `Packetizer`."""

    def __init__(self) -> None:
        self._last: int | None = None

    def depacketize(self, payloads: Sequence[Payload]) -> ReceivedFrame | None:
        """
        Assemble one frame.

        Args:
            payloads: What arrived of one RTP time stamp, in sequence order.
                Payloads that do not belong to the same frame as the first are
                left out.

        Returns:
            The frame, or None if it repeats or precedes the previous one.
        """
        head = payloads[0]
        last = self._last
        number = unwrap(head.delivery, near=last, bits=16) if last is not None else head.delivery
        if last is not None and number <= last:
            return None
        self._last = number
        own = {
            payload.index: payload
            for payload in payloads
            if payload.delivery == head.delivery and payload.count == head.count
        }
        return ReceivedFrame(
            number=number,
            packets=_join(own),
            is_keyframe=head.is_keyframe,
            timing=own[0].timing if 0 in own else None,
            n_payloads=head.count,
            n_payloads_missing=head.count - len(own),
            n_frames_lost_before=number - last - 1 if last is not None else 0,
        )


def _join(payloads: dict[int, Payload]) -> tuple[bytes, ...]:
    packets: list[bytes] = []
    parts: list[bytes] = []
    previous = -1
    for index in sorted(payloads):
        payload = payloads[index]
        if payload.starts_packet:
            parts = [payload.data]
        elif parts and index == previous + 1:
            parts.append(payload.data)
        else:
            parts = []  # its beginning is missing
        if parts and payload.ends_packet:
            packets.append(b"".join(parts))
            parts = []
        previous = index
    return tuple(packets)
