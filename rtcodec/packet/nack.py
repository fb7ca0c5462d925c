"""
Ask again for packets that are missing, for a while.

Each missing packet is asked for a moment after the gap shows, then again with
growing pauses, until it comes, is given up by the jitter buffer, or the tries
run out. The moment is as long as packets were seen to overtake each other: a
packet that comes by itself before it was asked for says how long, and so does one
that comes twice after it was, since the answer was not needed. Sequence numbers
here do not wrap.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_RTT_GAIN_SHIFT = 3
_MAX_BACKOFF_SHIFT = 3
_FORGET_SHIFT = 10  # the pause's excess halves in 700 packets in order
_MAX_ANSWERED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NackConfig:
    """How eagerly missing packets are asked for."""

    reorder_us: int = 5_000
    "Pause between a gap and the first request, at first: packets may only have overtaken others."

    min_reorder_us: int = 1_000
    "What that pause shrinks to while packets come in order; not if it began shorter."

    max_reorder_us: int = 20_000
    "What it grows to at most when they do not."

    min_retry_us: int = 15_000
    "Shortest pause between requests for the same packet."

    max_retry_us: int = 100_000
    "Longest pause between requests for the same packet."

    max_tries: int = 8
    "Requests for one packet."


@dataclass(slots=True)
class _Missing:
    since_us: int
    due_us: int
    tries: int = 0
    first_asked_us: int = 0


class NackTracker:
    """Follows the missing packets of one stream."""

    def __init__(self, config: NackConfig, *, patience_us: int = 100_000) -> None:
        """
        Args:
            config: See there.
            patience_us: From a gap to giving it up; what would be answered later is not waited for.
        """
        self._config = config
        self._patience_us = patience_us
        self._least_us = min(config.min_reorder_us, config.reorder_us)
        self._excess = config.reorder_us - self._least_us << _FORGET_SHIFT  # of the pause, scaled
        self._answered: dict[int, int] = {}  # asked for once, then there: how long after the gap
        self._missing: dict[int, _Missing] = {}  # in order of seq
        self._rtt_us: int | None = None
        self._deadline_us: int | None = None

    def __len__(self) -> int:
        return len(self._missing)

    def __contains__(self, seq: int) -> bool:
        return seq in self._missing

    @property
    def rtt_us(self) -> int | None:
        """Smoothed time from a request to its packet, or None before the first."""
        return self._rtt_us

    @property
    def reorder_us(self) -> int:
        """The pause between a gap and the first request, as it is now."""
        answer_us = self._patience_us >> 1
        if self._rtt_us is not None:
            answer_us = self._rtt_us + (self._rtt_us >> 2)
        latest_us = max(self._patience_us - answer_us, self._least_us)
        return min(self._least_us + (self._excess >> _FORGET_SHIFT), latest_us)

    @property
    def deadline_us(self) -> int | None:
        """When `take_due` next has requests, or None."""
        return self._deadline_us

    @property
    def first(self) -> int | None:
        """The lowest missing sequence number, or None."""
        return next(iter(self._missing), None)

    @property
    def first_since_us(self) -> int | None:
        """Since when the lowest missing packet is known to be missing, or None."""
        for entry in self._missing.values():
            return entry.since_us
        return None

    def add(self, seqs: Iterable[int], *, now_us: int) -> None:
        """
        Start following *seqs*; the caller bounds how many.

        Args:
            seqs: Increasing, all above those followed already.
            now_us: When the gap showed.
        """
        due_us = now_us + self.reorder_us
        for seq in seqs:
            self._missing[seq] = _Missing(now_us, due_us)
        self._schedule()

    def receive(self, seq: int, *, now_us: int) -> bool:
        """Note that *seq* arrived; return whether it had been asked for."""
        entry = self._missing.pop(seq, None)
        if entry is None:
            return False
        self._schedule()
        if entry.tries == 0:
            self._note_overtaken(now_us - entry.since_us)
            return False
        if entry.tries == 1:  # otherwise nobody knows which request it answers
            self._sample_rtt(now_us - entry.first_asked_us)
            self._answered[seq] = now_us - entry.since_us
            if len(self._answered) > _MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]
        elif self._rtt_us is None:
            self._rtt_us = now_us - entry.first_asked_us
        return True

    def note_in_order(self) -> None:
        """Note a packet that came when it was expected: overtaking is slowly forgotten."""
        self._excess -= self._excess >> _FORGET_SHIFT

    def note_repeated(self, seq: int) -> None:
        """Note a packet that was there already: if it was asked for, then too early."""
        late_us = self._answered.pop(seq, None)
        if late_us is not None:
            self._note_overtaken(late_us)

    def forget_below(self, seq: int) -> int:
        """Give up what is below *seq*; return how many packets that was."""
        gone = [missing for missing in self._missing if missing < seq]
        for missing in gone:
            del self._missing[missing]
        self._schedule()
        return len(gone)

    def take_due(self, *, now_us: int) -> list[int]:
        """Return the packets to ask for now, in order."""
        if self._deadline_us is None or now_us < self._deadline_us:
            return []
        due = []
        for seq, entry in self._missing.items():
            if entry.tries < self._config.max_tries and entry.due_us <= now_us:
                due.append(seq)
                if entry.tries == 0:
                    entry.first_asked_us = now_us
                entry.due_us = now_us + self._pause_us(entry.tries)
                entry.tries += 1
        self._schedule()
        return due

    def _note_overtaken(self, late_us: int) -> None:
        config = self._config
        wanted_us = min(late_us + (late_us >> 2), max(config.max_reorder_us, self._least_us))
        self._excess = max(self._excess, wanted_us - self._least_us << _FORGET_SHIFT)

    def _pause_us(self, tries: int) -> int:
        config = self._config
        base_us = config.min_retry_us
        if self._rtt_us is not None:
            base_us = max(base_us, self._rtt_us + (self._rtt_us >> 2))
        return min(base_us << min(tries, _MAX_BACKOFF_SHIFT), config.max_retry_us)

    def _sample_rtt(self, sample_us: int) -> None:
        if self._rtt_us is None:
            self._rtt_us = sample_us
        else:
            self._rtt_us += (sample_us - self._rtt_us) >> _RTT_GAIN_SHIFT

    def _schedule(self) -> None:
        if not self._missing:
            self._deadline_us = None
            return
        self._deadline_us = min(
            (e.due_us for e in self._missing.values() if e.tries < self._config.max_tries),
            default=None,
        )
