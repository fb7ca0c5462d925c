"""
Who predicts from what, when frames get lost and several receivers watch one stream.

    reports of receivers --> who holds which frame -------+
                                                          +--> plan: reference, store, keyframe
    frames sent, and what each was predicted from --------+

While all goes well a frame is predicted from the one sent before it, which nobody has acknowledged
yet: that compresses best. A report of damage shows which frames stand on what was lost; the next
frame is predicted from the newest that still stands for everybody. A key frame is for those who
hold nothing. Bookkeeping only: no clock, no pictures; those live in the engine.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass

from rtcodec.bitstream.packet import state_id, state_slot
from rtcodec.bitstream.sequence import MAX_REFERENCES
from rtcodec.codec.holdings import Holdings, Receiver, SentFrame
from rtcodec.packet.feedback import FrameReport

_SLOTS_FOR_LONG_TERM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePolicy:
    """How much is risked for compression."""

    cautious_above: float = 0.25
    """Predict from acknowledged frames alone when more than this share of frames would otherwise be
    broken: those lost times those sent until a report of it helps."""

    optimistic_below: float = 0.12
    "Predict from the newest frame again below this."

    long_term_frames: int = 64
    "The long-term reference gives way to an acknowledged frame that is so much newer."

    lag_frames: int = 64
    "A receiver without a report for so long no longer holds the others back."

    refresh_frames: int = 30
    "One receiver costs the others an intra frame once in so many at most."


@dataclass(frozen=True, slots=True)
class FramePlan:
    """How to code the next frame."""

    frame_number: int
    "Not wrapped; headers carry it modulo 65536."

    reference: int | None
    "State id to predict from; None codes an intra frame."

    store: int | None
    "State id to keep it as, or None."

    keyframe: bool
    "Whether decoders may start here and forget what they hold."

    reference_frame: int | None = None
    "The frame that left `reference` behind, not wrapped."

    temporal: int = 0
    "1 for a frame that no other is predicted from, which may be dropped for half the frame rate."


class ReferencePlanner:
    """
    The sender's choice of references for one stream.

    Never refers to a frame that a receiver which counts is known not to hold. Call `plan` and then
    `sent` for every frame, `report` for what comes back.
    """

    def __init__(self, slots: int, policy: ReferencePolicy | None = None) -> None:
        """
        Args:
            slots: States that every decoder of the stream keeps, 0 to 15. Four have room for the
                newest frame, an acknowledged one, a long-term one and one that waits for its
                report; more keep acknowledged frames fresher on long ways.
            policy: What to risk.
        """
        if not 0 <= slots <= MAX_REFERENCES:
            raise ValueError(f"{slots} reference slots are outside 0 to {MAX_REFERENCES}")
        self._policy = policy or ReferencePolicy()
        self._slots: list[SentFrame | None] = [None] * slots
        self._stores = [0] * slots
        self._holdings = Holdings()
        self._receivers: dict[Hashable, Receiver] = {}
        self._next = 0
        self._long_term: SentFrame | None = None
        self._wants_keyframe = True
        self._is_cautious = False
        self._has_news = False
        self._was_discardable = False

    @property
    def next_frame(self) -> int:
        """Number of the next frame, not wrapped."""
        return self._next

    @property
    def is_cautious(self) -> bool:
        """Whether loss is such that only acknowledged frames are predicted from."""
        self._judge(self._counted())
        return self._is_cautious

    # ---- receivers

    def join(self, receiver: Hashable) -> None:
        """Count a receiver that holds nothing yet; the next frame is a key frame."""
        # what a new decoder has of a slot is what is stored from now on
        self._receivers[receiver] = Receiver(
            self._next - 1, dict(enumerate(self._stores)), since=self._next
        )
        self._wants_keyframe = True

    def leave(self, receiver: Hashable) -> None:
        """Count a receiver no longer; an unknown one is ignored."""
        self._receivers.pop(receiver, None)

    def lost_all(self, receiver: Hashable) -> None:
        """
        Note that a receiver asks for a key frame (its PLI).

        Ignored while one is on its way to it, and too soon after one if there are others.
        """
        them = self._receivers.get(receiver)
        if them is None:
            return
        is_on_its_way = them.refreshed > them.newest
        if self._was_refreshed(them) and (is_on_its_way or len(self._receivers) > 1):
            return
        them.forget()
        them.newest = self._next - 1
        self._wants_keyframe = True

    def report(self, receiver: Hashable, report: FrameReport) -> None:
        """Note what a receiver says; of an unknown one, or of unknown frames, nothing."""
        them = self._receivers.get(receiver)
        if them is None:
            return
        self._holdings.report(them, report, near=self._next - 1)
        self._has_news = True

    def loss_of(self, receiver: Hashable) -> float:
        """Return the share of frames lately that a receiver did not get whole, 0 to 1."""
        them = self._receivers.get(receiver)
        return 0.0 if them is None else them.loss

    # ---- frames

    def skip_to(self, number: int) -> None:
        """Count frames that were not coded here: the next one has at least this number."""
        self._next = max(self._next, number)

    def plan(self, *, half_rate: bool = False) -> FramePlan:
        """
        Say how to code the next frame; the same until `sent`, unless there is news.

        Args:
            half_rate: Whether receivers that want half the frame rate are there: every other
                frame is then one that nothing is predicted from.
        """
        if not self._slots:
            return FramePlan(self._next, None, None, keyframe=True)
        counted = self._counted()
        self._judge(counted)
        chosen = None if self._wants_keyframe else self._newest_for(counted)
        if half_rate and not self._was_discardable and chosen is not None:
            return FramePlan(
                self._next, chosen.state, None,
                keyframe=False, reference_frame=chosen.number, temporal=1,
            )  # fmt: skip
        slot = self._slot_to_store(counted)
        return FramePlan(
            frame_number=self._next,
            reference=None if chosen is None else chosen.state,
            store=None if slot is None else state_id(slot, self._stores[slot]),
            keyframe=chosen is None and (self._wants_keyframe or not self._is_any_held()),
            reference_frame=None if chosen is None else chosen.number,
        )

    def sent(self, plan: FramePlan) -> None:
        """
        Note that a frame was sent as planned.

        Raises:
            ValueError: If it is not the next frame.
        """
        if plan.frame_number != self._next:
            raise ValueError(f"frame {plan.frame_number} is not the next one, {self._next}")
        if plan.reference is None:
            kept = self._kept()
            for them in self._receivers.values():
                if not self._stands_on_any(them, kept):
                    them.refreshed = self._next
        emptied: tuple[int, ...] = ()
        if plan.keyframe:
            emptied = tuple(self._stores)
            self._slots = [None] * len(self._slots)
            self._long_term = None
            self._wants_keyframe = False
        slot = None if plan.store is None else state_slot(plan.store)
        index = 0 if slot is None else self._stores[slot]
        self._was_discardable = plan.temporal > 0
        frame = SentFrame(
            self._next, plan.reference_frame, slot, index, emptied, self._was_discardable
        )
        if slot is not None:
            self._stores[slot] += 1
            self._slots[slot] = frame
        self._holdings.add(frame, self._receivers.values())
        self._next += 1

    # ---- inside

    def _kept(self) -> list[SentFrame]:
        """Return the frames in slots, oldest first."""
        return sorted((kept for kept in self._slots if kept), key=lambda kept: kept.number)

    def _counted(self) -> Collection[Receiver]:
        """
        Return the receivers that the choice is made for; all, if it would be none.

        Not those that lag, nor those that got an intra frame lately and still hold nothing.
        """
        everyone = self._receivers.values()
        least = self._next - 1 - self._policy.lag_frames
        present = [them for them in everyone if them.newest >= least] or everyone
        kept = self._kept()
        return [
            r for r in present if self._stands_on_any(r, kept) or not self._was_refreshed(r)
        ] or present

    def _judge(self, counted: Collection[Receiver]) -> None:
        """
        Take in what was reported since the last frame.

        Once for a frame, not for each report: every receiver is looked at.
        """
        if not self._has_news or not counted:
            return
        self._has_news = False
        broken = max(each.loss * (self._next - each.newest) for each in counted)
        policy = self._policy
        limit = policy.optimistic_below if self._is_cautious else policy.cautious_above
        self._is_cautious = broken > limit
        self._renew_long_term(counted)

    def _stands_on_any(self, receiver: Receiver, kept: Collection[SentFrame]) -> bool:
        return any(self._holdings.may_hold(receiver, frame) for frame in kept)

    def _was_refreshed(self, receiver: Receiver) -> bool:
        """Say whether it got an intra frame so lately that others need not pay for another."""
        age = self._next - receiver.refreshed
        return receiver.refreshed >= 0 and age < self._policy.refresh_frames

    def _newest_for(self, receivers: Collection[Receiver]) -> SentFrame | None:
        """Return the frame to predict from, or None for an intra frame."""
        kept = self._kept()[::-1]
        possible = [k for k in kept if all(self._holdings.may_hold(r, k) for r in receivers)]
        if not possible:
            return None
        if self._is_cautious:
            return next((k for k in possible if _is_held(k, receivers)), possible[0])
        return possible[0]

    def _is_any_held(self) -> bool:
        return any(_is_held(kept, [r]) for kept in self._kept() for r in self._receivers.values())

    def _safe(self, counted: Collection[Receiver]) -> SentFrame | None:
        """Return the newest frame that all are known to hold."""
        return next((kept for kept in self._kept()[::-1] if _is_held(kept, counted)), None)

    def _renew_long_term(self, counted: Collection[Receiver]) -> None:
        safe, old = self._safe(counted), self._long_term
        if safe is None or len(self._slots) < _SLOTS_FOR_LONG_TERM:
            return
        if old is None or safe.number - old.number >= self._policy.long_term_frames:
            self._long_term = safe

    def _slot_to_store(self, counted: Collection[Receiver]) -> int | None:
        """
        Return the slot that matters least, or None if all matter.

        The newest frame that all hold stays, and a long-term one. Of frames whose fate is not known
        the oldest stays longest: it is the next to be acknowledged.
        """
        if self._wants_keyframe or None in self._slots:
            return 0 if self._wants_keyframe else self._slots.index(None)
        kept = self._kept()
        safe = self._safe(counted)
        rest = [k for k in kept if k is not safe and k is not self._long_term]
        if not rest:
            return kept[0].slot if len(kept) == 1 else None
        stands = [k for k in rest if all(self._holdings.may_hold(r, k) for r in counted)]
        useless = [k for k in rest if k not in stands or (safe and k.number < safe.number)]
        if useless:
            return useless[0].slot
        if len(rest) == 1:
            is_stale = safe and self._next - safe.number > self._policy.long_term_frames
            return None if is_stale else rest[0].slot
        ends = [k.number for k in rest[2:]] + [self._next]
        gaps = [end - start.number for start, end in zip(rest, ends, strict=False)]
        return rest[1 + gaps.index(min(gaps))].slot


def _is_held(frame: SentFrame, receivers: Collection[Receiver]) -> bool:
    """Say whether every receiver is known to hold a frame; not without any receiver."""
    return bool(receivers) and all(frame.number in them.held for them in receivers)
