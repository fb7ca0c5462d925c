"""
How damaged what a viewer sees is: said for every frame, whatever became of it.

    frame, whole or not --+
                          +--> Shown: tiles made up, age of the reference, whether drift may remain
    what is held ---------+

No pictures: from headers and presence alone, so a relay can say it as well as a decoder.
"""

from dataclasses import dataclass

from rtcodec.bitstream.packet import state_slot
from rtcodec.timebase import unwrap


@dataclass(frozen=True, slots=True)
class Shown:
    """What is on the screen once a frame was decoded or given up."""

    frame_number: int
    "Not wrapped: the first one followed is below 65536."

    concealed: float
    "Share of the picture's tiles that were made up from neighbours and the past, 0 to 1."

    may_drift: bool
    "Whether other tiles may differ from what the sender sees: something before was damaged."

    reference_age: int | None = None
    "Frames since the one it was predicted from; None for an intra frame, or if it is not known."

    is_new: bool = True
    "Whether there is a picture of this frame; otherwise the last one stands."

    @property
    def is_clean(self) -> bool:
        """Whether this is exactly the frame that was sent."""
        return self.is_new and not self.may_drift and self.concealed == 0

    @property
    def damage(self) -> float:
        """Share of the picture that may be wrong, 0 to 1: all of it if it may drift."""
        return 1.0 if self.may_drift or not self.is_new else self.concealed


class DamageTracker:
    """Follows one stream of frames, in order."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._kept: dict[int, int] = {}  # slot -> frame

    def decoded(
        self,
        frame_number: int,
        *,
        concealed: float,
        is_reference_held: bool,
        keyframe: bool,
        reference: int | None = None,
        store: int | None = None,
    ) -> Shown:
        """
        Note a frame that a picture was made of.

        Args:
            frame_number: Of its header, modulo 65536.
            concealed: Share of its tiles that did not come, 0 to 1.
            is_reference_held: Whether what it is predicted from was exact; true for intra frames.
            keyframe: Of its header; so are `reference` and `store`.
            reference: State id, or None.
            store: State id, or None.
        """
        number = self._unwrapped(frame_number)
        origin = None if reference is None else self._kept.get(state_slot(reference))
        if keyframe:
            self._kept.clear()
        if store is not None:
            self._kept[state_slot(store)] = number
        may_drift = reference is not None and not is_reference_held
        age = None if origin is None or may_drift else number - origin
        return Shown(number, concealed, may_drift, age)

    def lost(self, frame_number: int) -> Shown:
        """Note a frame of which there is no picture."""
        number = self._unwrapped(frame_number)
        return Shown(number, 1.0, may_drift=False, is_new=False)

    def _unwrapped(self, frame_number: int) -> int:
        newest = self._newest
        number = frame_number if newest is None else unwrap(frame_number, near=newest, bits=16)
        self._newest = number
        return number
