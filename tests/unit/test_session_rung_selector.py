"""Up slowly, down at once: the choice of a rung on a virtual clock."""

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rtcodec.session.rung_selector import RungPolicy, RungSelector, Step

STEPS = (
    Step(0, 1, 800_000.0),
    Step(1, 1, 350_000.0),
    Step(2, 1, 120_000.0),
    Step(2, 0, 78_000.0),
)
POLICY = RungPolicy()
TICK_US = 100_000
S = 1_000_000


@dataclass
class Call:
    """A subscriber on its way through time."""

    selector: RungSelector
    now_us: int = 0

    def run(self, seconds: float, available_bps: int | None, *, loss: float = 0.0) -> list[int]:
        """Let time pass; return the step at every tick."""
        took = []
        for _ in range(round(seconds * S / TICK_US)):
            self.now_us += TICK_US
            at = self.selector.advance(
                STEPS, available_bps=available_bps, loss=loss, now_us=self.now_us
            )
            took.append(at)
        return took


def call() -> Call:
    return Call(RungSelector(now_us=0))


def test_it_starts_at_the_top_and_stays_while_nothing_speaks_against_it() -> None:
    assert set(call().run(60, None)) == {0}
    assert set(call().run(60, 900_000)) == {0}


def test_it_goes_down_at_once_to_what_is_carried() -> None:
    for available_bps, step in ((719_000, 1), (349_000, 2), (100_000, 3), (1_000, 3)):
        assert call().run(0.1, available_bps) == [step]


def test_an_estimate_just_below_what_is_sent_is_no_reason_to_move() -> None:
    assert set(call().run(60, 721_000)) == {0}


def test_it_goes_up_one_step_at_a_time_and_holds_between() -> None:
    c = call()
    c.run(1, 50_000)
    took = c.run(40, 5_000_000)
    moves = [tick for tick, (a, b) in enumerate(itertools.pairwise(took)) if a != b]
    assert took[-1] == 0
    assert len(moves) == 3
    assert took[0] == 3
    gaps_us = [(b - a) * TICK_US for a, b in itertools.pairwise(moves)]
    assert all(gap_us >= POLICY.hold_us for gap_us in gaps_us)


def test_a_step_up_that_the_estimate_never_follows_is_taken_back_and_tried_ever_later() -> None:
    c = call()
    took = c.run(160, 200_000)  # carries step 2, and looks as if held down by it
    assert set(took[1:]) == {1, 2}
    tries = [i for i, (a, b) in enumerate(itertools.pairwise(took)) if (a, b) == (2, 1)]
    gaps_us = [(b - a) * TICK_US for a, b in itertools.pairwise(tries)]
    assert len(tries) == 4
    assert all(later > 1.7 * sooner for sooner, later in itertools.pairwise(gaps_us))
    stay = next(i for i, at in enumerate(took[tries[0] + 1 :]) if at == 2)
    assert stay * TICK_US <= POLICY.settle_us + TICK_US


def test_a_step_up_is_given_up_early_when_the_estimate_falls() -> None:
    c = call()
    c.run(0.1, 200_000)
    while c.run(0.1, 200_000) == [2]:
        pass
    assert c.run(0.3, 190_000) == [1, 1, 1]  # within what such estimates do
    assert c.run(0.1, 150_000) == [2]


def test_an_estimate_that_follows_makes_a_step_up_stay() -> None:
    c = call()
    c.run(0.1, 200_000)
    while c.run(0.1, 200_000) == [2]:
        pass
    assert set(c.run(30, 400_000)) == {1}


def test_an_estimate_that_is_no_more_than_what_is_sent_is_believed() -> None:
    c = call()
    c.run(0.1, 140_000)
    assert set(c.run(120, 140_000)) == {2}


def test_loss_goes_down_step_by_step_without_any_estimate() -> None:
    took = call().run(4, None, loss=0.2)
    assert took[0] == 1
    assert took[-1] == 3
    for step in (1, 2):
        assert took.count(step) * TICK_US >= POLICY.loss_pause_us


def test_nothing_goes_up_while_frames_are_lost() -> None:
    c = call()
    c.run(0.1, 200_000)
    assert set(c.run(60, 5_000_000, loss=0.05)) == {2}
    assert c.run(0.1, 5_000_000) == [1]


def test_a_step_of_unknown_cost_is_tried() -> None:
    steps = (Step(0, 1, None), Step(1, 1, 100_000.0))
    selector = RungSelector(now_us=0)
    took = [
        selector.advance(steps, available_bps=150_000, loss=0.2 * (now_us == 1), now_us=now_us)
        for now_us in (0, 1, 2, POLICY.hold_us + 1)
    ]
    assert took == [0, 1, 1, 0]


def test_a_choice_is_found_again_when_steps_come_and_go() -> None:
    selector = RungSelector(now_us=0)
    assert selector.advance(STEPS, available_bps=130_000, loss=0, now_us=0) == 2
    assert selector.advance(STEPS[1:], available_bps=130_000, loss=0, now_us=1) == 1
    assert selector.advance(STEPS[:1], available_bps=130_000, loss=0, now_us=2) == 0
    assert selector.at == 0


kbps = st.none() | st.integers(0, 2000)
stretches = st.lists(
    st.tuples(st.integers(1, 150), kbps, st.sampled_from([0.0, 0.01, 0.05, 0.3])), max_size=8
)


@given(stretches)
def test_whatever_comes_moves_up_are_single_slow_and_never_into_loss(
    stretches: list[tuple[int, int | None, float]],
) -> None:
    c = call()
    at, moved_us = 0, 0
    for n_ticks, available_kbps, loss in stretches:
        for _ in range(n_ticks):
            bps = None if available_kbps is None else 1000 * available_kbps
            (now_at,) = c.run(0.1, bps, loss=loss)
            assert 0 <= now_at < len(STEPS)
            if now_at < at:
                assert now_at == at - 1
                assert c.now_us - moved_us >= POLICY.hold_us
                assert loss < POLICY.up_loss
            if now_at != at:
                at, moved_us = now_at, c.now_us


@given(stretches, st.integers(0, 2000))
def test_whatever_came_before_a_steady_estimate_ends_on_what_it_carries(
    stretches: list[tuple[int, int | None, float]], available_kbps: int
) -> None:
    c = call()
    for n_ticks, before_kbps, loss in stretches:
        c.run(n_ticks / 10, None if before_kbps is None else 1000 * before_kbps, loss=loss)
    took = c.run(400, 1000 * available_kbps)
    enough = [
        i
        for i, step in enumerate(STEPS)
        if step.bps is not None and POLICY.down_margin * step.bps <= 1000 * available_kbps
    ]
    best = enough[0] if enough else len(STEPS) - 1
    late = took[len(took) // 2 :]
    assert sum(at in (best, best + 1) for at in late) >= 0.9 * len(late)
    assert min(late) >= best - 1
