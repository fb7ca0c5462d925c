"""What an encoder asks of the motion search, by the step it will quantise with."""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import Fine, Reference, Vectors
from rtcodec.types import QP_MAX

SQUARES_PER_BIT = 1 / 6
"""Squared steps of error that a bit may save. Training weighs bits against error by 16 / step^2,
three quarters of it luma's, which gives 1 / 12; 1 / 6 measured half a per cent better."""

FINEST_STEP, COARSEST_STEP = 3.0, 160.0
"Quantiser steps of an orthonormal transform at qp 0 and 63, in 8-bit sample values."

BIT_PRICE = 0.42
"""Sums of differences that a bit may save, in steps. Measured on calls of 100 frames: between 0.42
and 0.5 little changes; 0.36 takes 0.6 % less over 33 frames, and 0.4 % more over 100."""

CALM, CALM_PER_STEP = 0.1, 0.015
"Mean difference below which a block is left at rest, at step 0 and more for each step."


def nominal_step(qp: int) -> float:
    """Quantiser step at *qp*, in sample values; as `rtcodec.models.layer.qp_to_step`."""
    return float(FINEST_STEP * (COARSEST_STEP / FINEST_STEP) ** (qp / QP_MAX))


def find_motion(
    reference: Reference, blocks: NDArray[np.uint8], step: float, start: Vectors | None
) -> tuple[Vectors, NDArray[np.uint8]]:
    """
    Vectors from *reference* to *blocks*, and where there is no prediction worth having.

    Args:
        reference: The picture to predict from.
        blocks: uint8 [h16, w16, 384].
        step: Nominal quantiser step, in sample values.
        start: Vectors to try first.

    Returns:
        int16 [h16, w16, 4, 2], and uint8 [h16, w16].
    """
    calm = CALM + CALM_PER_STEP * step
    return reference.search(blocks, bit_price=BIT_PRICE * step, calm=calm, start=start)


def predict_best(
    reference: Reference,
    blocks: NDArray[np.uint8],
    vectors: Vectors,
    intra: NDArray[np.uint8],
    step: float,
) -> Fine:
    """
    Predict *blocks* with what `find_motion` returned, overlapped where that is better.

    Where it is not, which *intra* then says, neighbours move against each other: windows, text.
    """
    return reference.predict_best(vectors, intra, blocks, step)
