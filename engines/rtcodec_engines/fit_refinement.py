"""
Weights of refinement, by least squares over pictures that the codec itself decoded.

What is to be added to a sample is linear in the weights, so the best ones for a class are those of
one system of equations: no steps, no rates, minutes on one core. Frames that stand alone first;
then delta frames, whose first reference is refined already (docs/adr/032).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import EncodeJob
from rtcodec.models.leaning import Solution, System, solved
from rtcodec.motion.layout import fill_blocks
from rtcodec.motion.native import FINE
from rtcodec.motion.refine import (
    CELL,
    CHROMA_PAIRS,
    CLASSES,
    CLIPS,
    DIRECTIONS,
    FIRST_QP,
    LEVELS,
    LUMA_PAIRS,
    QP_APART,
    SETS,
    WEIGHT_BITS,
    activity,
    classes,
    clips,
)
from rtcodec.motion.refinement import FIRST_LEVELS
from rtcodec.motion.steps import step_table
from rtcodec.types import TILE_PX, Planes
from rtcodec_engines.finish import Blocks, Finishing, Past, Slots, tile_qps
from rtcodec_engines.graph_engine import GraphEngine

_log = logging.getLogger(__name__)

FIRST_FINER: Final = 14
"How much finer than the others the first frame of a clip is coded: as the relay does."

EVERY: Final = 4
"Of how many frames of a clip one is looked at."

CELLS_SEEN: Final = 0.3
"Part of the cells of luma that are looked at."

QPS_SEEN: Final = 3
"At how many of the `SETS` qp a picture or clip is coded."

LEAN_POOLED: Final = 3e2
"See `solved`, where classes are pooled; values are in steps."

LEAN: Final = 3e3
"""The same in a class of one qp. Both by what was gained on halves of the data that were not fitted
to, where clips want more, and screens less."""

_EDGE: Final = 3
"Samples around a cell that its neighbours' differences reach."


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A frame before anything was done to it."""

    blocks: Blocks
    qps: NDArray[np.uint8]
    "At which qp each tile was last coded, uint8 [Th, Tw]."

    is_delta: bool


@dataclass
class _Seen:
    """Remembers what an engine painted."""

    finish: Finishing
    last: "Painted | None" = None

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
        """As `Finish`, and remember."""
        self.last = Painted(blocks.copy(), tile_qps(blocks, qp, past), past is not None)
        return self.finish(slots, slot, blocks, qp, past, is_shown=is_shown, is_spatial=is_spatial)


@dataclass
class Sums:
    """The equations of one kind of pictures."""

    first: int
    "Of the levels of activity."

    leans: bool = True
    "Whether classes lean on others, see `_of_classes`, or on nothing."

    luma: System = field(
        default_factory=lambda: np.zeros((SETS, CLASSES, *(len(LUMA_PAIRS) * len(CLIPS) + 1,) * 2))
    )
    chroma: System = field(
        default_factory=lambda: np.zeros((SETS, 2, *(len(CHROMA_PAIRS) * len(CLIPS) + 1,) * 2))
    )

    def add(self, seen: Painted, wanted: Planes, k: int, random: np.random.Generator) -> None:
        """Add the tiles of a picture that are of the qp of set *k*, meant to be *wanted*."""
        qp = FIRST_QP + QP_APART * k
        of_luma, of_chroma = (int(step) for step in step_table()[qp])
        is_bytes = seen.blocks.dtype == np.uint8
        fine = seen.blocks.astype(np.uint16) * FINE if is_bytes else seen.blocks
        of_qp = seen.qps == qp
        blocks = np.empty(fine.shape, np.uint8)
        fill_blocks(wanted, blocks)
        targets = blocks.astype(np.int64) * FINE
        spans = ((0, 16), (256, 8), (320, 8))
        painted = fine.astype(np.int64)
        pictures = [(_plane(painted, *span), _plane(targets, *span)) for span in spans]
        sides = [plane.shape for plane in (wanted.y, wanted.u, wanted.v)]
        y, y_wanted = pictures[0]
        kind, turn = classes(y.astype(np.uint16), activity(of_luma, self.first))
        cells = [side // CELL for side in sides[0]]
        some = of_qp.repeat(TILE_PX // CELL, 0).repeat(TILE_PX // CELL, 1)
        some &= random.random(kind.shape) < CELLS_SEEN
        some[cells[0] :] = some[:, cells[1] :] = False
        rows, columns = np.nonzero(some)
        own = _differences(y, y_wanted, rows, columns, turn[some], LUMA_PAIRS, of_luma)
        for of_class, these in _grouped(kind[some], own):
            self.luma[k, of_class] += these.T @ these
        for v, (plane, target) in enumerate(pictures[1:]):
            cells = [side // CELL for side in sides[1 + v]]
            some = of_qp.repeat(TILE_PX // CELL // 2, 0).repeat(TILE_PX // CELL // 2, 1)
            rows, columns = np.nonzero(some[: cells[0], : cells[1]])
            still = np.zeros(len(rows), np.int64)
            own = _differences(plane, target, rows, columns, still, CHROMA_PAIRS, of_chroma)
            self.chroma[k, v] += own.T @ own

    def weights(self) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Weights of luma and of chroma, as `Refinement` has them."""
        luma = _of_classes(self.luma) if self.leans else solved(self.luma)
        chroma = solved(self.chroma)
        return (
            _whole(luma).reshape(SETS, CLASSES, len(LUMA_PAIRS), len(CLIPS)),
            _whole(chroma).reshape(SETS, 2, len(CHROMA_PAIRS), len(CLIPS)),
        )


def fit_alone(
    engine: GraphEngine, kind: str, pictures: Sequence[Planes], random: np.random.Generator
) -> Sums:
    """
    Look at pictures coded by themselves.

    Args:
        engine: Of a model that does not refine frames of that kind.
        kind: `intra`, or `spatial` where the model predicts frames from themselves.
        pictures: What to code, each at some of the qp.
        random: Chooses which.
    """
    sums = Sums(FIRST_LEVELS[kind])
    for number, planes in enumerate(pictures):
        for k in random.choice(SETS, QPS_SEEN, replace=False):
            qp = FIRST_QP + QP_APART * int(k)
            for seen, _ in _painted(engine, [planes], qp, neural=kind == "intra"):
                sums.add(seen, planes, int(k), random)
        _tell("pictures", number, len(pictures))
    return sums


def fit_delta(
    engine: GraphEngine, clips: Sequence[Sequence[Planes]], random: np.random.Generator
) -> Sums:
    """
    Look at clips, each there and back again.

    Args:
        engine: Of a model that refines the first frames of clips, and no delta frames.
        clips: What to code, each at some of the qp.
        random: Chooses which.
    """
    sums = Sums(FIRST_LEVELS["delta"])
    for number, clip in enumerate(clips):
        there_and_back = [*clip, *clip[-2:0:-1]]
        for k in random.choice(SETS, QPS_SEEN, replace=False):
            qp = FIRST_QP + QP_APART * int(k)
            for seen, planes in _painted(engine, there_and_back, qp, finer=FIRST_FINER):
                if seen.is_delta:
                    sums.add(seen, planes, int(k), random)
        _tell("clips", number, len(clips))
    return sums


def refined_by(bundle: Bundle, kind: str, sums: Sums | None) -> Bundle:
    """A model with another refinement of one kind of pictures, or without it."""
    start = f"refine.{kind}."
    tensors = {key: value for key, value in bundle.tensors.items() if not key.startswith(start)}
    if sums is not None:
        tensors[f"{start}luma"], tensors[f"{start}chroma"] = sums.weights()
    return replace(bundle, tensors=tensors)


def _painted(
    engine: GraphEngine,
    frames: Sequence[Planes],
    qp: int,
    *,
    finer: int = 0,
    neural: bool = False,
) -> Iterator[tuple[Painted, Planes]]:
    """Code frames, each from the one before, and yield those to look at, as they were painted."""
    watch = _Seen(engine.finish)
    engine.finish = watch
    state = engine.open_state(frames[0].width, frames[0].height)
    try:
        for number, planes in enumerate(frames):
            job = EncodeJob(
                state,
                planes,
                max(0, qp - finer) if number == 0 else qp,
                reference=(number - 1) % 2 if number else None,
                store=number % 2,
                neural=neural,
            )
            engine.encode([job])
            if len(frames) == 1 or number % EVERY == EVERY - 1:
                assert watch.last is not None
                yield watch.last, planes
    finally:
        engine.close_state(state)
        engine.finish = watch.finish


def _plane(blocks: NDArray[np.int64], start: int, side: int) -> NDArray[np.int64]:
    h, w, _ = blocks.shape
    part = blocks[..., start : start + side * side].reshape(h, w, side, side)
    return part.swapaxes(1, 2).reshape(h * side, w * side)


def _differences(
    plane: NDArray[np.int64],
    wanted: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    turn: NDArray[np.int64],
    pairs: Sequence[tuple[int, int]],
    step: int,
) -> NDArray[np.float32]:
    """What weights multiply, for every sample of some cells, and last what is to be added."""
    wide = np.pad(plane, _EDGE, mode="edge")
    side = CELL + 2 * _EDGE
    patches = np.lib.stride_tricks.sliding_window_view(wide, (side, side))
    patches = patches[rows * CELL, columns * CELL].astype(np.float32)
    targets = np.lib.stride_tricks.sliding_window_view(wanted, (CELL, CELL))
    targets = targets[rows * CELL, columns * CELL].astype(np.float32)
    for array in (patches, targets):
        for k, turned in ((1, array[turn == 1].swapaxes(1, 2)), (2, array[turn == 2][:, ::-1]),
                          (3, array[turn == 3][:, :, ::-1].swapaxes(1, 2))):  # fmt: skip
            array[turn == k] = turned
    own = patches[:, _EDGE:-_EDGE, _EDGE:-_EDGE]
    limits = [clip / 4 for clip in clips(step)]
    out = np.empty((*own.shape, len(pairs) * len(limits) + 1), np.float32)
    for t, (down, across) in enumerate(pairs):
        ends = (
            patches[:, _EDGE + s * down :][:, :CELL, _EDGE + s * across :][:, :, :CELL]
            for s in (1, -1)
        )
        differences = [end - own for end in ends]
        for k, limit in enumerate(limits):
            out[..., t * len(limits) + k] = sum(np.clip(d, -limit, limit) for d in differences)
    out[..., -1] = targets - own
    out /= step
    return out.reshape(-1, out.shape[-1])


def _grouped(
    kinds: NDArray[np.int64], of_samples: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Rows of the samples of cells, [cells * 16, n], by the class of their cell."""
    if not kinds.size:  # every tile is of another qp: a clip that hardly moves
        return
    order = np.argsort(kinds, kind="stable")
    in_order = of_samples.reshape(len(kinds), CELL * CELL, -1)[order]
    found, starts = np.unique(kinds[order], return_index=True)
    for of_class, cells in zip(found, np.split(in_order, starts[1:]), strict=True):
        yield int(of_class), cells.reshape(-1, cells.shape[-1])


def _of_classes(systems: System) -> Solution:
    """
    Weights [SETS, CLASSES, n], of systems [SETS, CLASSES, n + 1, n + 1].

    A class leans on itself at the qp beside, that on itself at all qp, and that on its level of
    activity. Few cells are of some classes at some qp: what fits those alone fits no others, and a
    cell between two such classes changes by far where a sample of it is rounded another way.
    """
    of_levels = systems.reshape(SETS, DIRECTIONS, LEVELS, *systems.shape[2:]).sum((0, 1))
    beside = np.stack([systems[max(0, k - 1) : k + 2].sum(0) for k in range(SETS)])
    found = np.tile(solved(of_levels), (DIRECTIONS, 1))
    for pooled, lean in ((systems.sum(0), LEAN_POOLED), (beside, LEAN_POOLED), (systems, LEAN)):
        found = solved(pooled, found, lean)
    return found


def _whole(weights: Solution) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(weights * (1 << WEIGHT_BITS)), -32767, 32767), np.int16)


def _tell(what: str, number: int, of: int) -> None:
    if number % 32 == 0 or number == of - 1:
        _log.info("%d of %d %s", number + 1, of, what)
