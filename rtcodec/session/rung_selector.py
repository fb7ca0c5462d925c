"""
Which step of a stream's ladder a subscriber's way carries: up slowly, down at once.

    available bit rate, loss, time --> advance --> step (0 is the finest)

An estimate made from what arrives cannot say much more than what is sent: on a low step it stays
low though the way is wide. So a step up may also be tried where the estimate is clearly above what
is sent; if it proves too much, the way back is at once and the next try later, twice as late each
time. Sans-I/O: time is an argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPolicy:
    """How bold the choice is."""

    down_margin: float = 0.9
    """Go down where the estimate is below this part of what the step takes. It begins at what
    arrives, and overuse takes it to 0.85 of that. # measured: aiortc's REMB"""

    up_margin: float = 1.2
    "Go up where the estimate is so many times what the step above takes."

    try_margin: float = 1.25
    "Or try it where the estimate is so many times what this step takes: it may be held down by it."

    down_loss: float = 0.10
    "Go down when so large a share of frames does not come whole."

    up_loss: float = 0.02
    "Go up only below this share."

    hold_us: int = 5_000_000
    "Between any move and one up; doubles with every step up that failed."

    hold_max_us: int = 80_000_000

    settle_us: int = 2_000_000
    "A step up has this long to be believed in: the estimate needs time to follow."

    settle_drop: float = 0.92
    "Meanwhile an estimate that falls below this part of what it was says that it failed."

    loss_pause_us: int = 1_000_000
    "Between two steps down for loss: what is measured is some time old."


@dataclass(frozen=True, slots=True)
class Step:
    """One way of getting a stream."""

    rung: int
    max_temporal: int
    "Highest temporal layer that is sent."

    bps: float | None
    "What it takes on the wire; None where nobody knows yet."


class RungSelector:
    """One subscriber's choice. Starts on the first step."""

    def __init__(self, policy: RungPolicy | None = None, *, now_us: int) -> None:
        """
        Args:
            policy: How bold.
            now_us: Time in microseconds, any origin.
        """
        self._policy = policy or RungPolicy()
        self._at = 0
        self._chosen: tuple[int, int] | None = None
        self._moved_us = now_us
        self._hold_us = self._policy.hold_us
        self._trial: _Trial | None = None
        self._lossy_until_us = now_us

    @property
    def at(self) -> int:
        """The step last chosen."""
        return self._at

    def advance(
        self, steps: Sequence[Step], *, available_bps: int | None, loss: float, now_us: int
    ) -> int:
        """
        Choose a step.

        Args:
            steps: By rung, then by temporal layers, finest first; at least one. They may change
                from call to call.
            available_bps: What the way is thought to carry, or None.
            loss: Share of frames lately that did not come whole, 0 to 1.
            now_us: Not before that of the last call.

        Returns:
            Its place in *steps*.
        """
        self._at = self._find(steps)
        self._close_trial(now_us)
        if self._is_too_much(steps[self._at], available_bps):
            self._go_down(self._carried(steps, available_bps), len(steps), now_us)
        elif loss >= self._policy.down_loss and now_us >= self._lossy_until_us:
            self._lossy_until_us = now_us + self._policy.loss_pause_us
            self._go_down(self._at + 1, len(steps), now_us)
        elif self._may_go_up(steps, available_bps, loss, now_us):
            self._at -= 1
            self._moved_us = now_us
            self._trial = _Trial(now_us + self._policy.settle_us, available_bps)
        self._chosen = _order(steps[self._at])
        return self._at

    def _find(self, steps: Sequence[Step]) -> int:
        """Return where the last choice is now, or what comes after it, or the last step."""
        chosen = self._chosen
        if chosen is None:
            return 0
        after = (i for i, step in enumerate(steps) if _order(step) >= chosen)
        return next(after, len(steps) - 1)

    def _is_too_much(self, step: Step, available_bps: int | None) -> bool:
        if available_bps is None or step.bps is None:
            return False
        limit_bps = self._policy.down_margin * step.bps
        trial = self._trial
        if trial is not None and trial.available_bps is not None:
            # what it was told before the move was measured at a lower rate
            limit_bps = min(limit_bps, self._policy.settle_drop * trial.available_bps)
        return available_bps < limit_bps

    def _carried(self, steps: Sequence[Step], available_bps: int | None) -> int:
        """Return the first step below that an estimate carries, or the last."""
        assert available_bps is not None
        below = range(self._at + 1, len(steps))
        return next((i for i in below if (steps[i].bps or 0) <= available_bps), len(steps) - 1)

    def _go_down(self, to: int, n_steps: int, now_us: int) -> None:
        policy = self._policy
        if self._trial is not None:
            self._hold_us = min(2 * self._hold_us, policy.hold_max_us)
            self._trial = None
        to = min(to, n_steps - 1)
        if to != self._at:
            self._at, self._moved_us = to, now_us
            self._lossy_until_us = now_us + policy.loss_pause_us

    def _may_go_up(
        self, steps: Sequence[Step], available_bps: int | None, loss: float, now_us: int
    ) -> bool:
        policy = self._policy
        if not self._at or now_us < self._moved_us + self._hold_us or loss >= policy.up_loss:
            return False
        if available_bps is None:
            return True
        here, above = steps[self._at].bps, steps[self._at - 1].bps
        if above is not None and available_bps >= policy.up_margin * above:
            return True
        return here is None or available_bps >= policy.try_margin * here

    def _close_trial(self, now_us: int) -> None:
        """
        Judge a step up whose time is over.

        Nothing spoke against it until now: from here on it is judged as any other step.
        """
        trial = self._trial
        if trial is not None and now_us >= trial.until_us + self._policy.hold_us:
            self._trial = None
            self._hold_us = self._policy.hold_us
        elif trial is not None and now_us >= trial.until_us:
            self._trial = _Trial(trial.until_us, None)


def _order(step: Step) -> tuple[int, int]:
    return step.rung, -step.max_temporal


@dataclass(frozen=True, slots=True)
class _Trial:
    """A step up that has not proved itself."""

    until_us: int
    "When it is judged by what it takes."

    available_bps: int | None
    "The estimate when it was made; None once it is judged by what it takes."
