"""The rate controller, call by call; `tests/sim/test_rate.py` has whole streams."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.rate_control import CUT_OCTAVES, FrameKind, Plan, RateController
from rtcodec.size_model import SLOPE, Try

SHARE = 30_000


def cost(qp: int, level: float = 18.0, slope: float = SLOPE) -> int:
    return round(2 ** (level - slope * qp))


def controller(
    *, frames: int = 0, level: float = 18.0, kind: FrameKind = FrameKind.INTRA
) -> RateController:
    """Return one at 30 000 bits for each of 30 frames a second, after some frames."""
    control = RateController(30 * SHARE, Fraction(30))
    for _ in range(frames):
        send(control, level, kind)
    return control


def send(control: RateController, level: float, kind: FrameKind = FrameKind.INTRA) -> Plan:
    """Code one frame at once; `plan` is asked for as if a frame had gone before."""
    plan = control.plan(kind, 1 / 30)
    control.frame_done(plan, [Try(plan.qp, cost(plan.qp, level))])
    return plan


def test_after_a_few_frames_each_takes_its_share() -> None:
    control = controller(frames=30)
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    assert cost(plan.qp) == pytest.approx(SHARE, rel=0.1)
    assert abs(control.debt_s) < 0.04
    assert not control.saturated
    assert control.calibrated
    assert control.target_bps == 30 * SHARE
    assert control.share_bits == pytest.approx(SHARE)


def test_the_first_frame_may_be_larger_and_is_worth_a_second_try() -> None:
    control = controller()
    assert not control.calibrated
    plan = control.plan(FrameKind.KEY, 0)
    assert plan.aim_bits == pytest.approx(3 * SHARE)
    assert control.retry(plan, [Try(plan.qp, 2 * SHARE)]) is not None
    assert control.retry(plan, [Try(plan.qp, 3 * SHARE)]) is None
    assert control.retry(plan, [Try(plan.qp, 20 * SHARE)]) is not None


def test_a_frame_too_big_is_tried_coarser_until_it_fits() -> None:
    control = controller(frames=30)
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    assert SHARE < plan.max_bits <= 4 * SHARE
    tries = [Try(plan.qp, cost(plan.qp, 20, 0.07))]
    qp = control.retry(plan, tries)
    assert qp is not None
    assert qp > plan.qp
    assert cost(qp, 20, 0.07) < plan.max_bits
    assert control.retry(plan, [*tries, Try(qp, cost(qp, 20, 0.07))]) is None


def test_each_further_try_aims_lower() -> None:
    control = controller(frames=30)
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    size = round(3 * plan.max_bits)
    once = control.retry(plan, [Try(20, size)])
    assert once is not None
    twice = control.retry(plan, [Try(19, size), Try(20, size)])
    assert twice is not None
    assert twice > once


def test_a_frame_too_small_gets_one_more_try() -> None:
    control = controller(frames=30)
    control.frame_done(control.plan(FrameKind.INTRA, 1 / 30), [Try(30, 100)])
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    assert plan.min_bits > 100
    qp = control.retry(plan, [Try(30, 100)])
    assert qp is not None
    assert qp < 30
    assert control.retry(plan, [Try(30, 100), Try(qp, 200)]) is None


def test_at_the_end_of_the_range_there_is_nothing_to_try() -> None:
    control = controller(frames=30)
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    assert control.retry(plan, [Try(63, 10**7)]) is None
    assert control.retry(plan, [Try(63, 10**7), Try(63, 10**7)]) is None


def test_qp_moves_in_bounded_steps_while_the_bucket_allows_it() -> None:
    control = controller(frames=30)
    before = control.plan(FrameKind.INTRA, 1 / 30)
    control.frame_done(before, [Try(before.qp, cost(before.qp, 18.9))])
    after = control.plan(FrameKind.INTRA, 1 / 30)
    assert before.qp < after.qp <= before.qp + 8

    control.frame_done(after, [Try(after.qp, cost(after.qp, 22))])
    assert control.plan(FrameKind.INTRA, 1 / 30).qp > after.qp + 8  # in danger


def test_what_follows_a_cut_goes_on_from_it() -> None:
    control = controller(frames=30, kind=FrameKind.DELTA)
    usual = control.plan(FrameKind.DELTA, 1 / 30)
    jump = Try(usual.qp, cost(usual.qp, 18 + CUT_OCTAVES + 1))
    better = control.retry(usual, [jump])
    assert better is not None
    sent = Try(better, cost(better, 18 + CUT_OCTAVES + 1))
    control.frame_done(usual, [jump, sent])
    after = control.plan(FrameKind.DELTA, 1 / 30)
    # What leans on a coarse picture is cheap at its qp, and dear at the one from before the cut.
    assert usual.qp < after.qp <= better
    assert after.expected_bits < sent.n_bits


def test_a_cut_that_came_out_too_small_is_tried_once_more() -> None:
    control = controller(frames=30, kind=FrameKind.DELTA)
    usual = control.plan(FrameKind.DELTA, 1 / 30)
    jump = Try(usual.qp, round(40 * usual.max_bits))
    small = Try(63, round(usual.max_bits / 4))
    middle = control.retry(usual, [jump, small])
    assert middle is not None
    assert usual.qp < middle < 63
    assert control.retry(usual, [jump, Try(63, round(0.7 * usual.max_bits))]) is None


def test_a_jump_that_stays_is_no_cut() -> None:
    control = controller(frames=30, level=16, kind=FrameKind.DELTA)
    send(control, 16 + CUT_OCTAVES + 1, FrameKind.DELTA)
    send(control, 16 + CUT_OCTAVES + 1, FrameKind.DELTA)
    after = control.plan(FrameKind.DELTA, 1 / 30)
    assert after.expected_bits == pytest.approx(cost(after.qp, 16 + CUT_OCTAVES + 1), rel=0.2)


def test_a_cut_that_is_known_beforehand_is_taken_for_an_intra_frame_until_one_was_seen() -> None:
    control = controller(frames=5)
    for _ in range(20):
        send(control, 15, FrameKind.DELTA)
    plan = control.plan(FrameKind.CUT, 1 / 30)
    assert plan.expected_bits == pytest.approx(cost(plan.qp), rel=0.1)
    control.frame_done(plan, [Try(plan.qp, cost(plan.qp, 19))])
    for _ in range(20):
        send(control, 15, FrameKind.DELTA)
    plan = control.plan(FrameKind.CUT, 1 / 30)
    assert plan.expected_bits == pytest.approx(cost(plan.qp, 19), rel=0.1)


def test_what_a_frame_turned_out_to_be_counts() -> None:
    control = controller(frames=20)
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    control.frame_done(plan, [Try(plan.qp, cost(plan.qp, 14))], kind=FrameKind.DELTA)
    plan = control.plan(FrameKind.DELTA, 1 / 30)
    assert plan.expected_bits == pytest.approx(cost(plan.qp, 14), rel=0.1)


def test_a_key_frame_is_as_good_as_its_neighbours_if_the_bucket_allows_it() -> None:
    control = controller(frames=1)
    for _ in range(40):
        send(control, 16, FrameKind.DELTA)
    delta = send(control, 16, FrameKind.DELTA)
    key = control.plan(FrameKind.KEY, 1 / 30)
    assert abs(key.qp - delta.qp) <= 2
    assert 4 * SHARE < key.max_bits <= 8 * SHARE


def test_frames_in_flight_count_as_foreseen() -> None:
    control = controller(frames=30)
    plans = [control.plan(FrameKind.INTRA, 1 / 30) for _ in range(5)]
    assert max(p.qp for p in plans) - min(p.qp for p in plans) <= 2
    for plan in plans:
        control.frame_done(plan, [Try(plan.qp, cost(plan.qp))])
    assert abs(control.debt_s) < 0.05


def test_a_dropped_frame_leaves_its_bits_to_others() -> None:
    control = controller(frames=30)
    before_s = control.debt_s
    plan = control.plan(FrameKind.INTRA, 0)
    control.frame_dropped(plan)
    assert control.debt_s == pytest.approx(before_s)


def test_a_pause_is_not_saved_up() -> None:
    control = controller(frames=30)
    plan = control.plan(FrameKind.INTRA, 60)
    assert plan.max_bits <= 4 * control.share_bits
    assert control.share_bits < 2 * SHARE


@pytest.mark.parametrize(("target_bps", "bound"), [(1, 63), (10**9, 0)])
def test_an_impossible_target_ends_at_the_bounds_and_says_so(target_bps: int, bound: int) -> None:
    control = RateController(target_bps, 25.0)
    for _ in range(40):
        send(control, 18)
    assert control.plan(FrameKind.INTRA, 1 / 25).qp == bound
    assert control.saturated


def test_debts_and_savings_are_bounded() -> None:
    control = controller()
    for _ in range(100):
        control.frame_done(control.plan(FrameKind.INTRA, 1 / 30), [Try(63, 10**7)])
    assert control.debt_s <= 1.04
    for _ in range(100):
        control.frame_done(control.plan(FrameKind.INTRA, 1 / 30), [Try(0, 10)])
    assert control.debt_s >= -0.04  # nothing finer than 0, so nothing is owed


def test_a_new_target_is_met_at_once() -> None:
    control = controller(frames=30)
    control.set_target(15 * SHARE)
    plan = control.plan(FrameKind.INTRA, 1 / 30)
    assert cost(plan.qp) == pytest.approx(SHARE / 2, rel=0.15)


def test_a_target_before_the_first_frame_is_just_the_target() -> None:
    control = controller()
    control.set_target(60 * SHARE)
    assert control.plan(FrameKind.KEY, 0).aim_bits == pytest.approx(6 * SHARE)


@pytest.mark.parametrize(
    ("target", "rate", "more"),
    [
        (0, 30, {}),
        (1000, 0, {}),
        (1000, 30, {"bucket_s": 0}),
        (1000, 30, {"max_frame_factor": 1}),
    ],
)
def test_no_rate_or_no_time_is_refused(target: int, rate: int, more: Any) -> None:
    with pytest.raises(ValueError, match="no rate control"):
        RateController(target, Fraction(rate), **more)


def test_no_target_is_refused() -> None:
    with pytest.raises(ValueError, match="no rate control"):
        controller().set_target(0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FrameKind),
            st.floats(0, 3),
            st.integers(0, 10**8),
            st.sampled_from(["done", "drop", "halve", "double"]),
        ),
        max_size=60,
    )
)
def test_whatever_happens_a_plan_makes_sense(
    events: list[tuple[FrameKind, float, int, str]],
) -> None:
    control = controller()
    for kind, elapsed_s, n_bits, what in events:
        plan = control.plan(kind, elapsed_s)
        assert 0 <= plan.qp <= 63
        assert plan.min_bits < plan.aim_bits <= plan.max_bits
        assert plan.max_bits <= 8.001 * control.share_bits
        if what == "drop":
            control.frame_dropped(plan)
            continue
        qp = control.retry(plan, [Try(plan.qp, n_bits)])
        assert qp is None or (0 <= qp <= 63 and (qp > plan.qp) == (n_bits > plan.max_bits))
        control.frame_done(plan, [Try(plan.qp, n_bits)])
        if what in ("halve", "double"):
            factor = 0.5 if what == "halve" else 2
            control.set_target(min(1e9, max(1e3, factor * control.target_bps)))
