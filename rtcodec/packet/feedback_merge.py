"""
What many receivers of one stream hold, said in one report.

A relay that passes a stream on is one receiver to the relay before it: what it claims to hold, all
behind it must hold, for the sender predicts from it. Bookkeeping only; time is an argument.
"""

from dataclasses import dataclass
from typing import Final

from rtcodec.packet.feedback import FrameReport
from rtcodec.timebase import unwrap

_WORD_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class _Said:
    newest: int
    "Not wrapped."

    report: FrameReport
    at_us: int


class FeedbackMerger:
    """
    Keeps the last report of each receiver.

    One that has not spoken for *silence_us*, or is more than 32 frames behind the foremost, does
    not hold the others back.
    """

    def __init__(self, *, silence_us: int = 2_000_000) -> None:
        """
        Args:
            silence_us: After which a receiver does not count.
        """
        self._silence_us = silence_us
        self._said: dict[str, _Said] = {}
        self._near = 0

    def report(self, receiver: str, report: FrameReport, *, now_us: int) -> None:
        """Note what a receiver says."""
        self._near = unwrap(report.newest, near=max(self._near, 1 << 16), bits=16)
        self._said[receiver] = _Said(self._near, report, now_us)

    def leave(self, receiver: str) -> None:
        """Forget a receiver; an unknown one is ignored."""
        self._said.pop(receiver, None)

    def merged(self, *, now_us: int) -> FrameReport | None:
        """
        Return what all receivers hold, up to the newest frame that all have decided on.

        Nobody vouches for frames that lie before somebody's report. None if nobody spoke lately.
        """
        heard = [said for said in self._said.values() if now_us - said.at_us <= self._silence_us]
        if not heard:
            return None
        foremost = max(said.newest for said in heard)
        heard = [said for said in heard if foremost - said.newest <= _WORD_BITS]
        newest = min(said.newest for said in heard)
        known = min(said.report.n_frames - (said.newest - newest) for said in heard)
        words = max(1, known // _WORD_BITS)
        held = (1 << _WORD_BITS * words) - 1
        for said in heard:
            held &= said.report.held >> (said.newest - newest)
        damage = max(said.report.damage for said in heard if said.newest == newest)
        return FrameReport(newest & 0xFFFF, held, words, 0 if held & 1 else damage)
