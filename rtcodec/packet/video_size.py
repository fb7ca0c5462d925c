"""
How large the pictures of a VP8 or H.264 frame are, read before it is decoded.

A frame of a few bytes can ask a decoder for gigabytes. Only what is needed for
the size is read; whatever does not look as it should has no size here, and is
the decoder's to refuse.
"""

from typing import Final

Size = tuple[int, int]
"Width and height, pixels."

_SPS: Final = 7  # H.264 table 7-1
_SPS_MAX_BYTES: Final = 1024
_MAX_REFERENCE_CYCLE: Final = 255  # H.264 7.4.2.1.1
_WITH_CHROMA_FORMAT: Final = frozenset(
    {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
)
"Profiles whose parameter sets say more: H.264 7.3.2.1.1."


def fits(size: Size, limit: Size) -> bool:
    """Return whether a picture is within *limit*, lying or standing."""
    return max(size) <= max(limit) and min(size) <= min(limit)


def read_frame_size(codec: str, data: bytes) -> Size | None:
    """
    Return the size that a frame asks its decoder for, or None if it does not say.

    Args:
        codec: `VP8` or `H264`.
        data: The whole frame; H.264 with start codes. Any bytes will do.

    Returns:
        For H.264 the largest coded size, a multiple of 16 before cropping.
    """
    if codec == "VP8":
        return _read_vp8(data)
    sizes = [size for sps in _parameter_sets(data) if (size := _read_sps(sps)) is not None]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _read_vp8(data: bytes) -> Size | None:
    # RFC 6386 9.1: bit 0 of the tag is 0 in key frames, which then say their size
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    width = int.from_bytes(data[6:8], "little") & 0x3FFF
    return width, int.from_bytes(data[8:10], "little") & 0x3FFF


def _parameter_sets(data: bytes) -> list[bytes]:
    sets = []
    start = data.find(b"\x00\x00\x01")
    while start >= 0:
        begin = start + 3
        start = data.find(b"\x00\x00\x01", begin)
        if begin < len(data) and data[begin] & 0x1F == _SPS:
            end = start if start >= 0 else len(data)
            unit = data[begin + 1 : min(end, begin + _SPS_MAX_BYTES)]
            sets.append(unit.replace(b"\x00\x00\x03", b"\x00\x00"))  # H.264 7.4.1.1
    return sets


class _EndOfBits(Exception):
    """The parameter set is shorter than it should be, or makes no sense."""


class _Bits:
    """Reads bits from the highest on."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._n_left = len(data) * 8

    def u(self, n_bits: int) -> int:
        if n_bits > self._n_left:
            raise _EndOfBits
        self._n_left -= n_bits
        return (self._value >> self._n_left) & ((1 << n_bits) - 1)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb code (H.264 9.1)."""
        n_zeros = 0
        while not self.u(1):
            n_zeros += 1
        if n_zeros > 31:
            raise _EndOfBits
        return (1 << n_zeros) - 1 + self.u(n_zeros)

    def se(self) -> int:
        """Read a signed one (H.264 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _read_sps(sps: bytes) -> Size | None:
    try:
        return _size_of(_Bits(sps))
    except _EndOfBits:
        return None


def _size_of(bits: _Bits) -> Size:
    """Read a parameter set up to the size (H.264 7.3.2.1.1)."""
    profile = bits.u(8)
    bits.u(16)  # constraint flags, level
    bits.ue()  # id
    if profile in _WITH_CHROMA_FORMAT:
        _skip_chroma_format(bits)
    bits.ue()  # log2_max_frame_num
    order_type = bits.ue()
    if order_type == 0:
        bits.ue()
    elif order_type == 1:
        bits.u(1)
        bits.se()
        bits.se()
        n_frames = bits.ue()
        if n_frames > _MAX_REFERENCE_CYCLE:
            raise _EndOfBits
        for _ in range(n_frames):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed
    width, height = bits.ue() + 1, bits.ue() + 1
    n_fields = 1 if bits.u(1) else 2
    return width * 16, height * 16 * n_fields


def _skip_chroma_format(bits: _Bits) -> None:
    chroma_format = bits.ue()
    if chroma_format == 3:
        bits.u(1)
    bits.ue()  # bit depths
    bits.ue()
    bits.u(1)
    if not bits.u(1):
        return  # no scaling matrices
    for index in range(12 if chroma_format == 3 else 8):
        if bits.u(1):
            _skip_scaling_list(bits, 16 if index < 6 else 64)


def _skip_scaling_list(bits: _Bits, length: int) -> None:
    """H.264 7.3.2.1.1.1: the list ends where the next scale is 0."""
    next_scale = 8
    for _ in range(length):
        next_scale = (next_scale + bits.se() + 256) % 256
        if next_scale == 0:
            return
