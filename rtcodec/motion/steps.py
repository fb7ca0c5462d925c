"""The quantiser steps of delta frames by qp."""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import FINE
from rtcodec.motion.search import nominal_step
from rtcodec.types import QP_MAX

LUMA_STEP, CHROMA_STEP = 0.7, 0.6
"""Of the nominal one. The dead zone is wide, so the step is finer than that of intra frames at the
same qp; chroma counts for a third of luma by the sample, in planes with a third of its error."""


def step_table() -> NDArray[np.int32]:
    """Steps of luma and chroma for each qp, [64, 2], in steps of `Fine`."""
    nominal = np.array([nominal_step(qp) for qp in range(QP_MAX + 1)])
    return np.rint(nominal[:, None] * (LUMA_STEP, CHROMA_STEP) * FINE).astype(np.int32)
