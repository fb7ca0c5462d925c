"""
What proves that samples are the same: a hash of a frame, check words of its tiles (SPEC.md 2.3).
"""

import hashlib
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PART_SAMPLES: Final = 1 << 16
"Hashed at a time."


def frame_digest(frame: NDArray[np.integer], bits: int, *, signed: bool) -> bytes:
    """
    Return the SHA-256 of a frame's shape, depth, sign and samples.

    Args:
        frame: [rows, columns, components], of any integer type.
        bits: Of a sample, 1 to 16.
        signed: Whether samples may be negative.
    """
    head = b"rtcodec exact frame" + bytes([bits, signed])
    head += b"".join(size.to_bytes(4, "little") for size in frame.shape)
    hashed = hashlib.sha256(head)
    kind = np.dtype(("<i" if signed else "<u") + ("1" if bits <= 8 else "2"))
    rows = max(1, _PART_SAMPLES // max(1, frame[0].size))
    for top in range(0, len(frame), rows):  # no second copy of a large frame
        hashed.update(np.ascontiguousarray(frame[top : top + rows], kind).data)
    return hashed.digest()


def tile_check(samples: NDArray[np.uint16]) -> int:
    """Return the CRC-32 of a tile's samples [rows, columns], little-endian, row by row."""
    return zlib.crc32(np.ascontiguousarray(samples, "<u2").data)
