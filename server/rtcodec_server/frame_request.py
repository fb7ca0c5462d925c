"""
What the engine's host is asked for and what it answers, as plain data.

Tuples: they are made for every frame, and a frozen dataclass takes three times as long to make.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rtcodec.codec.denoiser import Denoiser
from rtcodec.engine.api import StateId
from rtcodec.quality import PlanePsnr
from rtcodec.size_model import Try
from rtcodec.types import Planes
from rtcodec_server.prediction import StreamPrediction

Retry = Callable[[Sequence[Try]], int | None]
"Given the tries of a frame so far, says which qp to try next, or None to keep the last."


class CodedFrame(NamedTuple):
    """One frame as packets, and when it went by; monotonic microseconds."""

    packets: tuple[bytes, ...]
    taken_us: int
    "When the scheduler put it into a batch."
    started_us: int
    "When the engine started on the batch."
    engine_us: int
    "When the symbols were there."
    coded_us: int
    "When the bytes were there."
    is_measured: bool
    "Whether a PSNR may follow."

    tries: tuple[Try, ...]
    "How often it was coded: the last is this one, the others were too big and only estimated."

    is_delta: bool
    "Whether it was predicted from another frame."

    is_keyframe: bool
    "Whether a decoder may start here."

    frame_number: int
    "In its packets, modulo 65536."

    temporal: int = 0
    "Its temporal layer: frames of layer 1 may be left out, nothing is predicted from them."

    @property
    def is_clean(self) -> bool:
        """Whether it decodes without any other frame."""
        return self.is_keyframe or not self.is_delta

    @property
    def size_bytes(self) -> int:
        """Size of all packets."""
        return sum(map(len, self.packets))


class FrameRequest(NamedTuple):
    """One frame to encode."""

    stream: int
    state: StateId
    planes: Planes
    qp: int
    deadline_us: int
    "A frame still waiting by then is dropped; monotonic microseconds."

    on_coded: Callable[[CodedFrame], None]
    on_dropped: Callable[[str], None]
    "Called with the reason."

    on_psnr: Callable[[PlanePsnr | None], None]
    "Called once if `is_measured`, with None if there was no time after all."

    frame_number: int
    "Modulo 65536; goes into the packets, unless `prediction` counts."

    before_send: Callable[[int], None] = lambda number: None
    "Called on the pack thread with the number in the packets, before `on_coded`."

    retry: Retry | None = None
    "Called on the engine thread; the frame runs once more at the qp that this returns."

    prediction: StreamPrediction | None = None
    "Counts the frames and says what each is predicted from; None codes it by itself."

    rung: int = 0
    "Which of its stream's codings this is."

    size: tuple[int, int] | None = None
    "Width and height that the planes are scaled to first, on the engine's thread; None for theirs."

    half_rate: bool = False
    "Whether every other frame should be one that nothing is predicted from."

    on_picture: Callable[[Planes], None] | None = None
    "Called on the engine's thread with what decoders will show, if somebody wants to see it."

    denoiser: Denoiser | None = None
    "Of its stream: cleans the planes first, on the engine's thread, once for all rungs."

    rejected: tuple[Try, ...] = ()
    "Tries that `retry` did not want; for the host to fill."
