"""
Planes to a progressive picture and back.

    planes --wavelet, bit planes--> passes of Y, U, V --those first that gain most--> payload

The order of passes is the encoder's choice and is said in the payload: what counts is PSNR
weighted 6:1:1, at every point between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice, repeat
from math import log10
from typing import Final

import numpy as np

from rtcodec.bitstream.progressive_file import (
    COMPONENTS,
    ProgressiveFile,
    ProgressiveHeader,
    Transform,
    write_progressive,
)
from rtcodec.bitstream.sequence import ColorRange
from rtcodec.progressive.native import Items, Passes, Plane, decode_payload, pack

HALF_SAMPLE: Final = 0.5
"Step of the finest bit plane, in samples, as if the transform were orthonormal."

FINEST_STEP: Final = 4.0
"Visually lossless: `gb82_girl` comes to 46.7 dB, `clic_1` to 50.0."

_PASSES: Final = 4  # of a bit plane; the first one has but its third and fourth
_FIRST_PASSES: Final = 2
_WEIGHTS: Final = (6 / 8, 1 / 8, 1 / 8)
_PROB_BITS: Final = 14
_ONE: Final = 1 << 15
_EVEN: Final = 1 << _PROB_BITS - 1
_LOOK_AHEAD: Final = 5  # passes: one may gain little but open the way to others
_LEAST_ERROR: Final = 1e-6
_COMPARED_PLANE: Final = 3  # at which transforms are compared: fine enough for edges to count


def _costs() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Bits of each item: [2**16]."""
    share = np.arange(1, 1 << _PROB_BITS) / (1 << _PROB_BITS)
    bits = np.zeros(1 << 16)
    bits[1 : 1 << _PROB_BITS] = -np.log2(1 - share)
    bits[_ONE + 1 : _ONE + (1 << _PROB_BITS)] = -np.log2(share)
    return bits


_COSTS: Final = _costs()


@dataclass
class _Component:
    """Passes of a component, coded as far as anybody looked."""

    passes: Passes
    index: int
    items: list[Items] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    n_taken: int = 0

    def __post_init__(self) -> None:
        planes = self.passes.plane_counts[self.index]
        self.total = max(0, _PASSES * planes - _FIRST_PASSES)
        self.errors.append(self.passes.error(self.index))

    @property
    def left(self) -> int:
        """Passes that are not taken."""
        return self.total - self.n_taken

    @property
    def complete(self) -> int:
        """The plane from which on all is known after the passes that are taken."""
        return self.passes.plane_counts[self.index] - (self.n_taken + _FIRST_PASSES) // _PASSES

    def code(self, n: int, complete: tuple[int, int]) -> None:
        """Have the first *n* passes coded, as if Y and U were *complete* from those planes on."""
        while len(self.items) < n:
            self.items.append(self.passes.next(self.index, complete))
            self.bits.append(float(_COSTS[self.items[-1]].sum()))
            self.errors.append(self.passes.error(self.index))

    def gain(self, complete: tuple[int, int]) -> float:
        """Return dB for each bit of the next passes, of the best number of them."""
        ahead = min(self.left, _LOOK_AHEAD)
        self.code(self.n_taken + ahead, complete)
        now = max(self.errors[self.n_taken], _LEAST_ERROR)
        bits = accumulate(islice(self.bits, self.n_taken, self.n_taken + ahead))
        after = self.errors[self.n_taken + 1 : self.n_taken + 1 + ahead]
        return max(
            10 * log10(now / max(error, _LEAST_ERROR)) / (n_bits + 1)
            for error, n_bits in zip(after, bits, strict=True)
        )

    def n_until(self, plane: int) -> int:
        """Return how many passes there are down to a plane, it included."""
        return max(0, self.total - _PASSES * plane)


def encode_picture(
    planes: Sequence[Plane],
    *,
    color_range: ColorRange,
    color_matrix: int,
    finest_step: float = FINEST_STEP,
    transform: Transform | None = None,
) -> bytes:
    """
    Return the file of a picture.

    Args:
        planes: Y [H, W], U and V, half as wide and high, rounded up.
        color_range: Of the planes.
        color_matrix: ITU-T H.273.
        finest_step: Where to end: at the bit plane of luma whose step is no coarser, in samples.
        transform: None for the one that takes fewer bits for luma.

    Raises:
        ValueError: If the picture is too large, or its planes do not fit each other.
    """
    finest = max(0, int(np.floor(np.log2(finest_step / HALF_SAMPLE))))
    passes, luma = _cheaper(planes, [transform] if transform is not None else list(Transform))
    components = [luma, *(_Component(passes, index) for index in range(1, COMPONENTS))]
    payload = pack(np.concatenate([np.empty(0, np.uint16), *_ordered(components, finest)]))
    height, width = planes[0].shape
    header = ProgressiveHeader(
        width=width,
        height=height,
        color_range=color_range,
        color_matrix=color_matrix,
        transform=passes.transform,
        plane_counts=passes.plane_counts,
        payload_bytes=len(payload),
    )
    return write_progressive(header, payload)


def decode_picture(file: ProgressiveFile) -> tuple[Plane, Plane, Plane]:
    """
    Return Y, U and V of a file, or of the beginning of one.

    Raises:
        Corrupt: If its payload is none.
    """
    header = file.header
    return decode_payload(
        file.payload, header.width, header.height, header.transform, header.plane_counts
    )


def _cheaper(planes: Sequence[Plane], transforms: Sequence[Transform]) -> tuple[Passes, _Component]:
    """Return passes by the transform whose luma takes fewer bits, and its luma."""
    found = []
    for transform in transforms:
        passes = Passes(planes, transform)
        luma = _Component(passes, 0)
        if len(transforms) > 1:
            luma.code(luma.n_until(_COMPARED_PLANE), (0, 0))
        found.append((sum(luma.bits), passes, luma))
    _, passes, luma = min(found, key=lambda one: one[0])
    return passes, luma


def _ordered(components: Sequence[_Component], finest: int) -> list[Items]:
    """
    Take passes, those first that gain most for their bits, until luma is fine enough.

    What chroma's passes say depends on what of other components is known by then, so once the
    order is found they are listed again.
    """
    order: list[tuple[int, tuple[int, int]]] = []
    choices: list[Items] = []
    luma, first, _ = components
    end = luma.n_until(finest)
    while luma.n_taken < end or (not end and any(one.left for one in components)):
        there = [one for one in components if one.left]
        complete = luma.complete, first.complete
        best = max(there, key=lambda one: _WEIGHTS[one.index] * one.gain(complete))
        choices.append(_choice(there.index(best), len(there)))
        order.append((best.index, complete))
        best.n_taken += 1
    for one in components[1:]:
        one.passes.restart(one.index)
    said = iter(luma.items)
    passes = luma.passes
    out: list[Items] = []
    for choice, (index, complete) in zip(choices, order, strict=True):
        out += [choice, passes.next(index, complete) if index else next(said)]
    return out


def _choice(number: int, of: int) -> Items:
    """Say which of *of* components comes next: a bit for each but the last, until one is set."""
    bits = chain(repeat(0, number), repeat(1, number < of - 1))
    return np.array([bit * _ONE | _EVEN for bit in bits], np.uint16)
