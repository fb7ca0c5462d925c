"""
The rungs of a stream: sizes and rates that it may be coded at, finest first.

    360p@800, 270p@350, 180p@120  +  a publisher's 1280x720  -->  640x360, 480x270, 320x180

What the operator wants becomes what a stream can have: nothing is made larger than it came, and
rungs that come to the same are one. No clock, no sockets.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from rtcodec.errors import ConfigError
from rtcodec.types import MAX_SIDE_PX

MAX_RUNGS: Final = 3
"Of one stream; headers have room for more. # spec 4.3"

SOURCE: Final = "source"

_LEAST_PX: Final = 16
_SPEC: Final = re.compile(r"(?:source|(\d{1,5})p)(?:@(\d{1,7}))?")


@dataclass(frozen=True, slots=True)
class RungSpec:
    """What the operator wants of one rung."""

    short_px: int | None = None
    "Shorter side of its pictures; None for the source's."

    kbps: int | None = None
    "Target, kilobits of bitstream per second; None codes at the relay's qp."

    def __str__(self) -> str:
        """Write it as `read_rung` reads it."""
        size = SOURCE if self.short_px is None else f"{self.short_px}p"
        return size if self.kbps is None else f"{size}@{self.kbps}"


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of one stream."""

    index: int
    "0 is the finest; what packets' headers say."

    width: int
    height: int
    kbps: int | None
    "As in `RungSpec`."

    @property
    def n_pixels(self) -> int:
        """Luma samples of a frame."""
        return self.width * self.height


def read_rung(text: str) -> RungSpec:
    """
    Read `source` or `270p`, both with a rate if wanted: `270p@350`.

    Raises:
        ConfigError: If it is something else.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a rung such as source, 270p or 270p@350")
    size, kbps = (None if part is None else int(part) for part in match.groups())
    return RungSpec(size, kbps)


def check_rungs(specs: Sequence[RungSpec]) -> None:
    """
    Check that rungs stand in order.

    Raises:
        ConfigError: If there are too many, one is out of range, or one is not below the one before.
    """
    if len(specs) > MAX_RUNGS:
        raise ConfigError(f"{len(specs)} rungs; at most {MAX_RUNGS}")
    for spec in specs:
        if spec.short_px is not None and not _LEAST_PX <= spec.short_px <= MAX_SIDE_PX:
            raise ConfigError(f"rung {spec}: outside {_LEAST_PX}p to {MAX_SIDE_PX}p")
        if spec.kbps is not None and not 1 <= spec.kbps <= 10**6:
            raise ConfigError(f"rung {spec}: {spec.kbps} kb/s is outside 1 to 1000000")
    for upper, lower in itertools.pairwise(specs):
        if not _is_below(lower, upper):
            raise ConfigError(f"rung {lower} is not below {upper}: smaller, or of a lower rate")


def ladder(specs: Sequence[RungSpec], width: int, height: int) -> tuple[Rung, ...]:
    """
    Return the rungs of a stream, finest first, at least one.

    Args:
        specs: Checked by `check_rungs`; none is one rung of the source's size.
        width: Of the source, in pixels.
        height: Of the source, in pixels.
    """
    rungs: list[Rung] = []
    for spec in specs or (RungSpec(),):
        size = _size_of(spec, width, height)
        if rungs and (rungs[-1].width, rungs[-1].height, rungs[-1].kbps) == (*size, spec.kbps):
            continue
        rungs.append(Rung(len(rungs), *size, spec.kbps))
    return tuple(rungs)


def _is_below(lower: RungSpec, upper: RungSpec) -> bool:
    short_px = (upper.short_px or MAX_SIDE_PX + 1, lower.short_px or MAX_SIDE_PX + 1)
    if short_px[0] != short_px[1]:
        return short_px[1] < short_px[0]
    return lower.kbps is not None and (upper.kbps is None or lower.kbps < upper.kbps)


def _size_of(spec: RungSpec, width: int, height: int) -> tuple[int, int]:
    short_px = min(width, height)
    if spec.short_px is None or spec.short_px >= short_px:
        return width, height
    part = Fraction(spec.short_px, short_px)
    return _even(width * part, width), _even(height * part, height)


def _even(length: Fraction, most: int) -> int:
    """Round to an even number, at least one tile's quarter, where the source has that much."""
    return min(max(_LEAST_PX, 2 * round(length / 2)), most)
