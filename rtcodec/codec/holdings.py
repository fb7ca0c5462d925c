"""
What each receiver of a stream holds, as far as its reports tell.

A frame is held if it came whole and so did everything it was predicted from. For a frame that no
report has spoken of yet, the frames that it stands on are asked instead. Bookkeeping only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from rtcodec.bitstream.packet import state_id
from rtcodec.packet.feedback import FrameReport
from rtcodec.timebase import unwrap

GENERATIONS: Final = 16
"The ids of one slot repeat after so many stores. # spec 4.4"

_HISTORY_FRAMES = 512
_LOSS_WEIGHT = 1 / 32  # of one frame in the measured loss


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame that was sent, and where decoders keep it."""

    number: int
    "Counts all frames, not wrapped."

    reference: int | None
    "The frame that it was predicted from, or None."

    slot: int | None = None
    "Where it is kept, or None."

    index: int = 0
    "Stores to that slot before this one."

    emptied: tuple[int, ...] = ()
    "Of a key frame: stores to every slot before it emptied them."

    is_discardable: bool = False
    "Whether some receivers are not sent it at all."

    @property
    def state(self) -> int:
        """The id of what it left behind, as headers name it."""
        assert self.slot is not None
        return state_id(self.slot, self.index)


@dataclass(slots=True)
class Receiver:
    """What is known of one receiver."""

    newest: int
    "The last frame whose fate is known; of those before it, only the held ones are held."

    seen: dict[int, int] = field(default_factory=dict)
    "Slot -> the last store to it that surely reached the receiver."

    held: set[int] = field(default_factory=set)
    "Frames."

    loss: float = 0.0
    "Share of frames that did not come whole, smoothed."

    refreshed: int = -1
    "The last intra frame that was sent for its sake."

    since: int = 0
    "What it says of earlier frames is about those of another rung."

    told: int = 0
    "Frames that its last report held: bit i is frame `told_newest - i`."

    told_newest: int = 0

    def forget(self) -> None:
        """Hold nothing any more, whatever was told."""
        self.held.clear()
        self.told = 0


class Holdings:
    """The frames sent lately, and who holds which of them."""

    def __init__(self) -> None:
        self._sent: dict[int, SentFrame] = {}  # in order of number

    def add(self, frame: SentFrame, receivers: Iterable[Receiver]) -> None:
        """Note a frame that was sent; the oldest are forgotten."""
        self._sent[frame.number] = frame
        while len(self._sent) > _HISTORY_FRAMES:
            gone = next(iter(self._sent))
            del self._sent[gone]
            for receiver in receivers:
                receiver.held.discard(gone)

    def report(self, receiver: Receiver, report: FrameReport, *, near: int) -> None:
        """
        Note what a receiver says; nothing, if it is not about frames that were sent.

        Args:
            receiver: Who says it.
            report: What it says.
            near: The newest frame sent, by which frame numbers are unwrapped.
        """
        newest = unwrap(report.newest, near=near, bits=16)
        if newest not in self._sent:
            return
        for back in _news(receiver, report, newest):
            frame = self._sent.get(newest - back)
            if frame is None or frame.number < receiver.since:
                continue
            if frame.number > receiver.newest and not frame.is_discardable:
                _weigh(receiver, frame, is_held=report.holds(back))
            if report.holds(back):
                _note_held(receiver, frame)
        receiver.newest = max(receiver.newest, newest)
        receiver.told, receiver.told_newest = report.held, newest

    def may_hold(self, receiver: Receiver, frame: SentFrame) -> bool:
        """Say whether the receiver holds a kept frame, or will if nothing on its way gets lost."""
        if frame.number in receiver.held:
            return True
        assert frame.slot is not None
        # had it missed every store since the last one seen, this id might name an older frame there
        if frame.index - receiver.seen.get(frame.slot, 0) >= GENERATIONS:
            return False
        number: int | None = frame.number
        while number is not None:
            if number in receiver.held:
                return True
            on_the_way = self._sent.get(number)
            if number <= receiver.newest or on_the_way is None:
                return False
            number = on_the_way.reference
        return True


def _news(receiver: Receiver, report: FrameReport, newest: int) -> Iterator[int]:
    """
    Yield how far back those frames are that a report says something new of, the oldest first.

    Every report says all again, of 64 frames as a rule: of one or two it is the first.
    """
    later = newest - receiver.told_newest
    if abs(later) >= report.n_frames:
        known = 0
    else:
        known = receiver.told << later if later >= 0 else receiver.told >> -later
    n_first = min(max(newest - receiver.newest, 0), report.n_frames)
    news = report.held & ~known | (1 << n_first) - 1
    while news:
        back = news.bit_length() - 1
        news ^= 1 << back
        yield back


def _note_held(receiver: Receiver, frame: SentFrame) -> None:
    receiver.held.add(frame.number)
    seen = receiver.seen
    for slot, stores in enumerate(frame.emptied):
        seen[slot] = max(seen.get(slot, 0), stores)
    if frame.slot is not None:
        seen[frame.slot] = max(seen.get(frame.slot, 0), frame.index)


def _weigh(receiver: Receiver, frame: SentFrame, *, is_held: bool) -> None:
    """Let a frame count in the loss, unless it stood on one that was lost before."""
    if is_held or frame.reference is None or frame.reference in receiver.held:
        receiver.loss += ((not is_held) - receiver.loss) * _LOSS_WEIGHT
