"""What symbols take under tables of the coder, without coding them."""

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import PROB_BITS, PROB_SCALE
from rtcodec.entropy.rans import ESCAPE_LENGTH_BITS


def symbol_bits(y_cdf: NDArray[np.uint16], most: int) -> NDArray[np.float32]:
    """
    Return the bits of symbols 0..*most*, those of escapes included, float32 [rows, most + 1].

    Args:
        y_cdf: As `EntropyTables.y_cdf`; of row 0, nothing costs anything.
        most: The largest modulus asked for.
    """
    cdf, moduli = y_cdf.astype(np.int64), np.arange(most + 1)
    bits = np.zeros((len(cdf), most + 1), np.float32)
    for row in range(1, len(cdf)):
        radius = (int((cdf[row, :-1] < PROB_SCALE).sum()) - 2) // 2
        own = PROB_BITS - np.log2(np.diff(cdf[row])[: 2 * radius + 2])
        raw = ESCAPE_LENGTH_BITS + 1 + np.floor(np.log2(np.maximum(moduli - radius, 1)))
        told = own[np.minimum(radius + moduli, 2 * radius)]
        bits[row] = np.where(moduli <= radius, told, own[-1] + raw)
    return bits
