"""Microseconds, ticks and counters that wrap."""

from fractions import Fraction

import pytest

from rtcodec.timebase import RTP_TIME_BASE, rescale_ticks, ticks_to_us, unwrap, us_to_ticks


def test_thirty_frames_are_a_second() -> None:
    assert ticks_to_us(30, Fraction(1, 30)) == 1_000_000
    assert ticks_to_us(1, Fraction(1001, 30000)) == 33_367
    assert us_to_ticks(33_367, Fraction(1001, 30000)) == 1
    assert rescale_ticks(1, Fraction(1, 30), RTP_TIME_BASE) == 3000


def test_ties_round_up_on_both_sides_of_zero() -> None:
    assert us_to_ticks(500_000, Fraction(1)) == 1
    assert us_to_ticks(-500_000, Fraction(1)) == 0


@pytest.mark.parametrize(
    ("value", "near", "expected"),
    [
        (5, 3, 5),
        (3, 5, 3),
        (0, 65535, 65536),
        (65535, 65536, 65535),
        (65535, 0, -1),
        (32768, 0, 32768),
    ],
)
def test_a_wrapped_counter_goes_to_the_nearest(value: int, near: int, expected: int) -> None:
    assert unwrap(value, near=near, bits=16) == expected
