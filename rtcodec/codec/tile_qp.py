"""
At which qp each tile of a decoded picture was last coded, as packets alone say it.

A tile of which a delta frame says nothing looks as it did, so what is done to pictures on their way
to the screen is done to it as before: at its own qp, not the frame's.
"""

import numpy as np
from numpy.typing import NDArray

TileQp = NDArray[np.uint8]
"[Th, Tw], 0 to 63."


class TileQpHistory:
    """Of the pictures that one stream may be predicted from."""

    def __init__(self) -> None:
        self._of: dict[int, TileQp] = {}  # by slot

    def decoded(
        self, qp: int, coded: NDArray[np.bool_], *, reference: int | None, store: int | None
    ) -> TileQp:
        """
        Return the qp of a frame's tiles, and keep them if the frame is.

        Args:
            qp: Of the frame.
            coded: Of which tiles something is said, bool [Th, Tw].
            reference: Slot that it is predicted from; None if it stands alone: then all tiles are
                of its qp.
            store: Slot that it is kept in, None for none.
        """
        qps = np.full(coded.shape, qp, np.uint8)
        if reference is not None:
            qps = np.where(coded, qps, self._of[reference])
        if store is not None:
            self._of[store] = qps
        return qps
