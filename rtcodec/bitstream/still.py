"""
Which tiles of a delta slice are coded at all (spec 4.7).

Most of a call stands still. One bit for each tile of the slice says whether anything follows for
it; a tile without is its prediction from the same place, untouched.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.errors import Corrupt, Truncated


def write_still_map(coded: NDArray[np.bool_]) -> bytes:
    """Return one bit for each tile of bool [T], 1 where it is coded, the first in bit 7."""
    return np.packbits(coded).tobytes()


def read_still_map(payload: bytes, n_tiles: int) -> tuple[NDArray[np.bool_], bytes]:
    """
    Split a payload into its map and what follows.

    Args:
        payload: Of a delta slice.
        n_tiles: In the slice, at least 1.

    Returns:
        Which tiles are coded, bool [T], and the rest of the payload.

    Raises:
        Truncated: If the map is not whole.
        Corrupt: If bits beyond the last tile are set, or something follows where no tile is coded.
    """
    size = -(-n_tiles // 8)
    if len(payload) < size:
        raise Truncated(f"{len(payload)} bytes of a still map of {size}", offset=len(payload))
    bits = np.unpackbits(np.frombuffer(payload, np.uint8, size))
    if bits[n_tiles:].any():
        raise Corrupt("the still map says something of tiles that are not there", offset=size - 1)
    coded = bits[:n_tiles].astype(np.bool_)
    if not coded.any() and len(payload) > size:
        raise Corrupt(f"{len(payload) - size} bytes, but no tile is coded", offset=size)
    return coded, payload[size:]
