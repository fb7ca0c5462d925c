"""
RGB to yuv420p and back, in numpy, for pictures of any size.

Chroma is sited in the middle of its four luma samples, as in JPEG: the mean of 2x2 on the way in,
a triangle filter on the way out. Video that is YUV already never comes through here.

Dims: `H W` pixels.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.sequence import ColorRange
from rtcodec.types import Planes

MATRIX_BT709: Final = 1
MATRIX_UNSPECIFIED: Final = 2
MATRIX_BT601: Final = 6
MATRIX_BT2020: Final = 9

_KR_KB: Final = {
    MATRIX_BT709: (0.2126, 0.0722),
    5: (0.299, 0.114),
    MATRIX_BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    MATRIX_BT2020: (0.2627, 0.0593),
}  # ITU-T H.273 table 4
_HD_HEIGHT_PX: Final = 720
_MATRIX_LAST: Final = 14
"The last code that a sequence header can hold; FFmpeg passes later ones on."

_MATRIX_RESERVED: Final = 3


def known_matrix(code: int) -> int:
    """Return a matrix code of ITU-T H.273 as it is, or unspecified if we cannot say it."""
    is_known = 0 <= code <= _MATRIX_LAST and code != _MATRIX_RESERVED
    return code if is_known else MATRIX_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Color:
    """How the samples of YUV planes are meant."""

    color_range: ColorRange = ColorRange.UNSPECIFIED
    "Unspecified counts as limited, as in video."

    matrix: int = MATRIX_UNSPECIFIED
    "ITU-T H.273; unspecified counts as BT.709 from 720 lines on, else BT.601."

    def weights(self, height: int) -> tuple[float, float]:
        """Return the weights of red and blue in luma for a picture of *height* lines."""
        guess = MATRIX_BT709 if height >= _HD_HEIGHT_PX else MATRIX_BT601
        return _KR_KB.get(self.matrix, _KR_KB[guess])


FULL_BT601: Final = Color(ColorRange.FULL, MATRIX_BT601)
"What RGB is converted to: the choice of JPEG."


def rgb_to_planes(rgb: NDArray[np.uint8]) -> Planes:
    """
    Convert to yuv420p, BT.601, full range.

    Args:
        rgb: uint8 [H, W, 3].
    """
    kr, kb = FULL_BT601.weights(rgb.shape[0])
    r, g, b = (rgb[..., i].astype(np.float32) for i in range(3))
    luma = kr * r + (1 - kr - kb) * g + kb * b
    u = halve((b - luma) * np.float32(0.5 / (1 - kb)))
    v = halve((r - luma) * np.float32(0.5 / (1 - kr)))
    return Planes(_to_uint8(luma), _to_uint8(u + 128), _to_uint8(v + 128))


def planes_to_rgb(planes: Planes, color: Color) -> NDArray[np.uint8]:
    """
    Convert to RGB for showing.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = planes.height, planes.width
    kr, kb = color.weights(height)
    luma = planes.y.astype(np.float32)
    u = double(planes.u.astype(np.float32) - 128, height, width)
    v = double(planes.v.astype(np.float32) - 128, height, width)
    if color.color_range is not ColorRange.FULL:
        luma = (luma - 16) * np.float32(255 / 219)
        u *= np.float32(255 / 224)
        v *= np.float32(255 / 224)
    r = luma + np.float32(2 * (1 - kr)) * v
    b = luma + np.float32(2 * (1 - kb)) * u
    g = (luma - kr * r - kb * b) * np.float32(1 / (1 - kr - kb))
    return np.stack([_to_uint8(c) for c in (r, g, b)], axis=-1)


def gray_to_planes(gray: NDArray[np.uint8]) -> Planes:
    """Make planes of a gray picture, uint8 [H, W]: luma as it is, chroma neutral."""
    height, width = gray.shape
    neutral = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
    return Planes(np.ascontiguousarray(gray), neutral, neutral)


def halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of 2x2, the last row and column repeated where the size is odd."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    mean: NDArray[np.float32] = (
        even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]
    ) * np.float32(0.25)
    return mean


def double(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return twice the size by a triangle filter (3/4, 1/4), cropped."""
    for axis in (0, 1):
        last = plane.shape[axis] - 1
        near = plane * np.float32(0.75)
        far = plane * np.float32(0.25)
        before = far.take([0, *range(last)], axis)
        after = far.take([*range(1, last + 1), last], axis)
        shape = tuple(n * 2 if a == axis else n for a, n in enumerate(plane.shape))
        plane = np.stack([near + before, near + after], axis + 1).reshape(shape)
    return np.ascontiguousarray(plane[:height, :width])


def _to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    samples: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return samples
