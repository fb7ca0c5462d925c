"""
A coded frame on its way to many receivers, cut into payloads once for each way of carrying it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rtcodec.packet.packetizer import CutFrame, cut_frame
from rtcodec.packet.payload import FrameTiming
from rtcodec.packet.vp8_carrier import carry_frame
from rtcodec.session.carrier import Carrier

MAX_MESSAGE_BYTES: Final = 1160
"""Largest payload in a data channel: one SCTP chunk of aiortc's, which cuts what is longer. No
bitstream packet is much longer, and a fragment is no use without the other."""


@dataclass(slots=True, eq=False)
class OutgoingFrame:
    """
    One coded frame on its way to its receivers, cut into payloads once for all of them.

    Nobody changes it; freezing it would cost as much as cutting it.
    """

    packets: Sequence[bytes]
    "Bitstream packets in sending order."

    pts: int
    "90 kHz ticks; becomes the RTP time stamp, with an offset."

    timing: FrameTiming
    is_keyframe: bool
    token: Any = None
    "Handed back when the frame was sent or dropped."

    size: tuple[int, int] = (0, 0)
    "Width and height of its picture, as far as known."

    cut: CutFrame = field(init=False)
    "The packets as payloads."

    _cut_for: dict[Carrier, CutFrame] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Cut the packets; raises as `cut_frame`."""
        self.cut = cut_frame(self.packets, timing=self.timing, is_keyframe=self.is_keyframe)

    def cut_for(self, carrier: Carrier) -> CutFrame:
        """Return the packets as payloads of a carrier, which are made once, when first needed."""
        if carrier is Carrier.OWN:
            return self.cut
        if carrier not in self._cut_for:
            self._cut_for[carrier] = self._cut(carrier)
        return self._cut_for[carrier]

    def _cut(self, carrier: Carrier) -> CutFrame:
        packets, timing, is_keyframe = self.packets, self.timing, self.is_keyframe
        if carrier is Carrier.VP8:
            return carry_frame(packets, timing=timing, is_keyframe=is_keyframe, size=self.size)
        return cut_frame(
            packets, timing=timing, is_keyframe=is_keyframe, max_payload_bytes=MAX_MESSAGE_BYTES
        )
