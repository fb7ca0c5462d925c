"""The rate controller on a made-up encoder."""

from fractions import Fraction

import pytest

from rtcodec.rate_control import SLOPE, BitrateController


def cost(qp: int, level: float = 18.0, slope: float = SLOPE) -> int:
    """Bits of a frame at *qp*."""
    return int(2 ** (level - slope * qp))


def settle(control: BitrateController, level: float) -> int:
    qp = control.next_qp()
    while (better := control.try_again(qp, cost(qp, level))) != qp:
        qp = better
    return qp


@pytest.mark.parametrize("target_bps", [500_000, 1_000_000, 3_000_000])
@pytest.mark.parametrize("slope", [0.06, 0.08, 0.1])
def test_frames_add_up_to_the_target(target_bps: int, slope: float) -> None:
    control = BitrateController(target_bps, Fraction(30))
    settle(control, 17)
    spent = 0
    for number in range(150):
        qp = control.next_qp()
        n_bits = cost(qp, 17 + 0.5 * (number // 30 % 2), slope)
        control.frame_done(qp, n_bits)
        spent += n_bits
    assert spent / 5 == pytest.approx(target_bps, rel=0.1)


def test_the_first_guess_is_improved_before_it_is_sent() -> None:
    control = BitrateController(900_000, Fraction(30))
    assert not control.calibrated
    qp = settle(control, 18)
    assert control.calibrated
    assert cost(qp) == pytest.approx(30_000, rel=0.05)


def test_a_guess_that_was_sent_is_learnt_from() -> None:
    control = BitrateController(900_000, Fraction(30))
    control.frame_done(control.next_qp(), 300_000)
    assert control.calibrated
    assert control.next_qp() > 31


def test_qp_moves_in_bounded_steps() -> None:
    control = BitrateController(100_000, Fraction(30))
    control.frame_done(10, cost(10, 25))
    assert control.next_qp() == 18


def test_an_impossible_target_ends_at_the_bounds() -> None:
    for target_bps, bound in ((1, 63), (10**9, 0)):
        control = BitrateController(target_bps, Fraction(25))
        for _ in range(20):
            qp = control.next_qp()
            control.frame_done(qp, cost(qp))
        assert control.next_qp() == bound


def test_a_debt_is_bounded() -> None:
    control = BitrateController(300_000, Fraction(30))
    for _ in range(100):
        control.frame_done(30, 10**7)
    for _ in range(200):
        qp = control.next_qp()
        control.frame_done(qp, cost(qp, 14))
    assert control.next_qp() < 40


@pytest.mark.parametrize(("target", "rate"), [(0, Fraction(30)), (1000, Fraction(0))])
def test_no_rate_or_no_time_is_refused(target: int, rate: Fraction) -> None:
    with pytest.raises(ValueError, match="no rate control"):
        BitrateController(target, rate)
