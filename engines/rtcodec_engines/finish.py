"""Pictures once they are painted: stored, refined, and cropped to be shown."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.blocks import planes_of as planes_in
from rtcodec.motion.layout import planes_of
from rtcodec.motion.native import NO_QP, Fine, Reference
from rtcodec.motion.refinement import Refinement
from rtcodec.types import Planes

Blocks = Fine | NDArray[np.uint8]
"[h16, w16, 384], `Fine` or in bytes."

TILE_BLOCKS = 4
"Along the side of a tile."

Slots = dict[int, Reference]
"Pictures of one stream that frames may be predicted from."


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What a delta frame was predicted from, and where it is still that."""

    picture: Reference
    still: NDArray[np.bool_]
    "Of the tiles that are not coded; bool [Th, Tw]."


class Finishing(Protocol):
    """What an engine calls with every picture that it painted; see `Finish`."""

    def __call__(
        self,
        slots: Slots,
        slot: int | None,
        blocks: Blocks,
        qp: int,
        past: Past | None,
        *,
        is_shown: bool = True,
        is_spatial: bool = False,
    ) -> Blocks:
        """Store a picture, and return what is shown of it."""
        ...


class Finish:
    """
    What one model does to pictures; nothing but storing them, if it has no refinement.

    What stands alone is refined once, and predicted from as it is then. A delta frame is refined
    only to be shown: done over and over, in what is predicted from, that would blur a picture
    where nothing is coded. Each tile is refined for the qp it was last coded at, so that one at
    rest goes on looking as it did.
    """

    def __init__(self, bundle: Bundle) -> None:
        """
        Args:
            bundle: The model.

        Raises:
            ConfigError: If it has a refinement that is none.
        """
        tensors = bundle.group("refine")
        self._intra = Refinement.of(tensors, "intra")
        self._delta = Refinement.of(tensors, "delta")
        self._spatial = Refinement.of(tensors, "spatial")

    def __call__(
        self,
        slots: Slots,
        slot: int | None,
        blocks: Blocks,
        qp: int,
        past: Past | None,
        *,
        is_shown: bool = True,
        is_spatial: bool = False,
    ) -> Blocks:
        """
        Store a picture.

        Args:
            slots: Where to.
            slot: Which; None to store nothing.
            blocks: The picture as it was painted.
            qp: Of the frame.
            past: Of a delta frame; None for an intra frame.
            is_shown: Whether what is returned is for anybody to see.
            is_spatial: Whether it was predicted from itself.

        Returns:
            What is shown of it.
        """
        qps = tile_qps(blocks, qp, past)
        picture = _stored(slots, slot, blocks)
        alone = self._spatial if is_spatial else self._intra
        refine = alone if past is None else self._delta
        if picture is not None:
            picture.qps = np.full_like(qps, NO_QP) if past is None else qps
        if refine is None or (past is not None and not is_shown):
            return blocks
        refined = refine(picture or _picture(blocks), qps)
        if picture is not None and past is None:
            picture.fill(refined)
        return refined


def tile_qps(blocks: Blocks, qp: int, past: Past | None) -> NDArray[np.uint8]:
    """At which qp each tile was last coded, uint8 [Th, Tw]."""
    height, width = blocks.shape[:2]
    qps = np.full((height // TILE_BLOCKS, width // TILE_BLOCKS), qp, np.uint8)
    return qps if past is None else np.where(past.still, past.picture.qps, qps)


def cropped(blocks: Blocks, width: int, height: int) -> Planes:
    """Return new planes of *width* x *height* from the blocks of a padded frame."""
    if blocks.dtype == np.uint16:
        return planes_of(blocks.astype(np.uint16, copy=False), width, height)
    y, u, v = planes_in(blocks.astype(np.uint8, copy=False))
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    return Planes(
        np.ascontiguousarray(y[:height, :width]),
        np.ascontiguousarray(u[:half_height, :half_width]),
        np.ascontiguousarray(v[:half_height, :half_width]),
    )


def _stored(slots: Slots, slot: int | None, blocks: Blocks) -> Reference | None:
    if slot is None:
        return None
    if slot not in slots:
        slots[slot] = Reference(*blocks.shape[:2])
    slots[slot].fill(blocks)
    return slots[slot]


def _picture(blocks: Blocks) -> Reference:
    picture = Reference(*blocks.shape[:2])
    picture.fill(blocks)
    return picture
