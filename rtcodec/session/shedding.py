"""
What is left out when an engine cannot carry what it was let in for, and when it comes back.

    too much for a while -> the newest rung of any stream that has another
                         -> then every other frame of the newest stream, then of the one before ...
    room for a while     -> the last of these comes back, if it fits

Costs grow after streams were let in: pictures get harder, cameras larger, somebody else wants the
machine. Who came last gives way first, one step at a time. No clock: `now_us` is an argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_DIVISOR: Final = 4
"Of a stream's frame rate at most."


@dataclass(frozen=True, slots=True, kw_only=True)
class SheddingPolicy:
    """How soon, and how carefully."""

    over: float = 1.0
    "Load from which on something has to go."

    patience_us: int = 1_500_000
    "How long it is too much before the first step, and between two steps."

    under: float = 0.85
    "Load that there may be at most with what comes back."

    calm_us: int = 5_000_000
    "How long there is room before the first thing comes back, and between two."


@dataclass(frozen=True, slots=True)
class CodedRung:
    """One rung of a stream that is coded now."""

    index: int
    since_us: int
    "When somebody first wanted it."

    load: float


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """What one stream takes now, with what was shed of it left out."""

    name: int
    since_us: int
    "When it began to be coded."

    rungs: Sequence[CodedRung]
    "At least one."

    needed: frozenset[int] = frozenset()
    "Rungs that others than subscribers want: a recording, ordinary viewers."

    @property
    def load(self) -> float:
        """Of all its rungs."""
        return sum(rung.load for rung in self.rungs)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing left out."""

    stream: int
    rung: int | None
    "None: half of the frames that were left."

    load: float
    "What it saved."


class Shedding:
    """What is left out of the streams of one engine."""

    def __init__(self, policy: SheddingPolicy | None = None) -> None:
        self._policy = policy or SheddingPolicy()
        self._steps: list[Step] = []
        self._over_us: int | None = None
        self._under_us: int | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is left out, in the order in which it was."""
        return tuple(self._steps)

    def rungs(self, stream: int) -> frozenset[int]:
        """Return the rungs of a stream that nobody gets."""
        return frozenset(
            step.rung for step in self._steps if step.stream == stream and step.rung is not None
        )

    def divisor(self, stream: int) -> int:
        """Return of how many of a stream's frames one is coded."""
        return 1 << sum(step.stream == stream and step.rung is None for step in self._steps)

    def forget(self, stream: int) -> None:
        """Forget a stream that ended."""
        self._steps = [step for step in self._steps if step.stream != stream]

    def advance(self, streams: Sequence[StreamLoad], *, load: float, now_us: int) -> Step | None:
        """
        Take a step if it is time for one, and return it; `steps` says which way it went.

        Args:
            streams: All that are coded.
            load: Of all of them, and whatever else there is.
            now_us: Time in microseconds, any origin.
        """
        policy = self._policy
        if load <= policy.over:
            self._over_us = None
        elif self._over_us is None:
            self._over_us = now_us
        if not self._steps or load + self._steps[-1].load > policy.under:
            self._under_us = None
        elif self._under_us is None:
            self._under_us = now_us
        if self._over_us is not None and now_us - self._over_us >= policy.patience_us:
            self._over_us = now_us
            return self._leave_out(streams)
        if self._under_us is not None and now_us - self._under_us >= policy.calm_us:
            self._under_us = now_us
            return self._steps.pop()
        return None

    def _leave_out(self, streams: Sequence[StreamLoad]) -> Step | None:
        step = self._newest_rung(streams) or self._newest_stream(streams)
        if step is not None:
            self._steps.append(step)
        return step

    def _newest_rung(self, streams: Sequence[StreamLoad]) -> Step | None:
        """
        Leave out the rung that was wanted last, unless it is the coarsest of its stream.

        Who follows that may have no way for a finer one: then the finest goes.
        """
        able = []
        for stream in streams:
            coarsest = max(rung.index for rung in stream.rungs)
            can_go = [rung for rung in stream.rungs if rung.index not in stream.needed]
            can_go = [rung for rung in can_go if rung.index != coarsest]
            if can_go:
                newest = max(rung.since_us for rung in stream.rungs)
                goes = max(can_go, key=lambda rung: (rung.since_us, -rung.index))
                key = (newest, stream.since_us)
                able.append((key, Step(stream.name, goes.index, goes.load)))
        return max(able, key=lambda each: each[0])[1] if able else None

    def _newest_stream(self, streams: Sequence[StreamLoad]) -> Step | None:
        able = [stream for stream in streams if self.divisor(stream.name) < MAX_DIVISOR]
        if not able:
            return None
        # a half of each before a quarter of any
        newest = min(able, key=lambda stream: (self.divisor(stream.name), -stream.since_us))
        return Step(newest.name, None, newest.load / 2)
