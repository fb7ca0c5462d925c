"""What else than a subscriber takes the frames of a stream: a recording."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PassingFrame:
    """One coded frame as it goes to the subscribers."""

    packets: tuple[bytes, ...]
    "Bitstream packets, each described."

    pts: int
    "90 kHz ticks, from any origin that stays the same for a stream."

    at_us: int
    "When the picture reached the relay, monotonic microseconds."

    is_keyframe: bool
    "Whether a decoder may start here."

    frame_number: int
    "In the packets, modulo 65536."


class FrameSink(Protocol):
    """Takes frames on the event loop, in order, and never waits."""

    def take(self, frame: PassingFrame) -> bool:
        """Take one frame; return whether it is held, so that later ones may lean on it."""
