"""
The quantiser of a VP8 frame, read from its header before it is decoded (RFC 6386 9 and 19.2).

Only what comes before it is read. Whatever does not look as it should has no quantiser here, and is
the decoder's to refuse.
"""

from typing import Final

_TAG_BYTES: Final = 3
_KEYFRAME_TAG_BYTES: Final = 10
_SEGMENTS: Final = 4
_EVEN: Final = 128

_AC_STEPS: Final = (
    *range(4, 59), *range(60, 117, 2), *range(119, 156, 3), 158, 161, 164, 167, 170, 173,
    *range(177, 230, 4), 234, 239, 245, *(249, 254, 259, 264, 269, 274, 279, 284),
)  # fmt: skip # RFC 6386 14.1, ac_qlookup

_COEFFICIENT_SCALE: Final = 2.0
"A coefficient of VP8's 4x4 transform is so many times that of the orthonormal one."


def read_vp8_step(data: bytes) -> float | None:
    """
    Return the step of a frame's luma coefficients, or None if the frame does not say.

    Segments may have others; those of most encoders stay near it.

    Args:
        data: The whole frame. Any bytes will do.

    Returns:
        Of an orthonormal transform of 8-bit samples: 2.0 to 142.0.
    """
    is_key = bool(data) and not data[0] & 1
    start = _KEYFRAME_TAG_BYTES if is_key else _TAG_BYTES
    if len(data) < start + 2:
        return None
    bits = _BoolDecoder(data[start:])
    if is_key:
        bits.read(2)  # colour space, clamping
    if bits.read(1):
        _skip_segmentation(bits)
    bits.read(10)  # filter's type, level and sharpness
    if bits.read(1) and bits.read(1):  # adjustments of the filter, and they change
        _skip_signed(bits, 8, 6)
    bits.read(2)  # partitions
    index = bits.read(7)
    return None if bits.is_past_end else _AC_STEPS[index] / _COEFFICIENT_SCALE


def _skip_segmentation(bits: "_BoolDecoder") -> None:
    has_map, has_data = bits.read(1), bits.read(1)
    if has_data:
        bits.read(1)
        _skip_signed(bits, _SEGMENTS, 7)
        _skip_signed(bits, _SEGMENTS, 6)
    if has_map:
        for _ in range(_SEGMENTS - 1):
            if bits.read(1):
                bits.read(8)


def _skip_signed(bits: "_BoolDecoder", count: int, size: int) -> None:
    """Skip *count* numbers of *size* bits and a sign, each behind a flag."""
    for _ in range(count):
        if bits.read(1):
            bits.read(size + 1)


class _BoolDecoder:
    """RFC 6386 7.3, for bits that are as likely 0 as 1."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._value = int.from_bytes(data[:2], "big")
        self._range, self._shifts = 255, 0
        self.is_past_end = False
        "Whether a bit was read that depends on more than there is."

    def read(self, count: int) -> int:
        """Return the number in the next *count* bits."""
        number = 0
        for _ in range(count):
            number = number << 1 | self._bit()
        return number

    def _bit(self) -> int:
        self.is_past_end |= self._shifts + 8 > 8 * len(self._data)
        split = 1 + ((self._range - 1) * _EVEN >> 8)
        bit = int(self._value >= split << 8)
        if bit:
            self._range -= split
            self._value -= split << 8
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shifts += 1
            if self._shifts % 8 == 0:
                at = self._shifts // 8 + 1
                self._value |= self._data[at] if at < len(self._data) else 0
        return bit
