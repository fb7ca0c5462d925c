"""Least squares whose solutions lean on others, where there is little to go by."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

PRIOR: Final = 1e-3
"Solutions shrink towards what they lean on as if this part of what was seen were noise."

System = NDArray[np.float64]
"[..., n + 1, n + 1]: sums of products of n values, and of what was wanted of them, which is last."

Solution = NDArray[np.float64]
"[..., n]."


def solved(systems: System, near: Solution | float = 0.0, lean: float = 1.0) -> Solution:
    """
    Solve systems of equations, each by itself.

    Args:
        systems: One or many.
        near: What each leans on.
        lean: How much beside `PRIOR`: as so many samples would that say just that, of values of 1.
    """
    products, wanted = systems[..., :-1, :-1], systems[..., :-1, -1]
    n = wanted.shape[-1]
    prior = (PRIOR / n * np.trace(products, axis1=-2, axis2=-1) + lean)[..., None]
    wished = (wanted + prior * near)[..., None]
    found = np.linalg.solve(products + prior[..., None] * np.eye(n), wished)
    return np.asarray(found[..., 0], np.float64)
