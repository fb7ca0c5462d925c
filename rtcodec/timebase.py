"""
Integer conversions between microseconds and ticks of a time base.

No clock: times come in as arguments. No floats: results are exact to half a
unit, ties rounded up.
"""

from fractions import Fraction

US_PER_S = 1_000_000

RTP_TIME_BASE = Fraction(1, 90_000)
"Seconds per tick of RTP video. # RFC 3551 4.1"


def ticks_to_us(ticks: int, time_base: Fraction) -> int:
    """
    Convert ticks to microseconds.

    Args:
        ticks: Any sign.
        time_base: Seconds per tick, positive.
    """
    return _scale(ticks, time_base.numerator * US_PER_S, time_base.denominator)


def us_to_ticks(us: int, time_base: Fraction) -> int:
    """
    Convert microseconds to ticks; undoes `ticks_to_us` for ticks above 1 us.

    Args:
        us: Microseconds, any sign.
        time_base: Seconds per tick, positive.
    """
    return _scale(us, time_base.denominator, time_base.numerator * US_PER_S)


def rescale_ticks(ticks: int, source: Fraction, target: Fraction) -> int:
    """Convert ticks of time base *source* to the nearest tick of *target*."""
    return _scale(
        ticks,
        source.numerator * target.denominator,
        source.denominator * target.numerator,
    )


def unwrap(value: int, *, near: int, bits: int) -> int:
    """
    Return the integer closest to *near* whose low *bits* are *value*.

    Turns a counter that wraps (RTP time stamps, frame numbers) into one that
    does not. Of two equally close ones, the larger.

    Args:
        value: 0 to 2**bits - 1.
        near: The last unwrapped value, any sign.
        bits: Width of the wrapping counter.
    """
    half = 1 << (bits - 1)
    ahead = (value - near) & ((1 << bits) - 1)
    return near + (ahead if ahead <= half else ahead - 2 * half)


def _scale(value: int, numerator: int, denominator: int) -> int:
    return (2 * value * numerator + denominator) // (2 * denominator)
