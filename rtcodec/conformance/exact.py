"""
The model of vectors whose pictures are the same everywhere: frames without networks.

Random tables and scale networks for spatial and delta frames, random refinement of both, and what
paints them. A frame of its networks would be one of its own: it has none, and paints those grey.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.sequence import MAX_REFERENCES
from rtcodec.bundle import CHROMA_FROM_LUMA, DELTA_LATENTS, Bundle, integer_tensors
from rtcodec.conformance.dice import Dice
from rtcodec.engine.api import DecodeJob, EngineInfo, StateId
from rtcodec.entropy.cdf import (
    SAID_COUNT,
    SCALE_COUNT,
    EntropyTables,
    tables_from_histograms,
    y_tables_from_histograms,
)
from rtcodec.entropy.contexts import KINDS, LEVELS
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.motion import within
from rtcodec.motion.layout import planes_of
from rtcodec.motion.native import (
    INTRA,
    NO_QP,
    QUARTERS,
    WHOLE,
    Fine,
    Reference,
    Steps,
    paint,
    smooth,
)
from rtcodec.motion.refinement import CHROMA_SHAPE, LUMA_SHAPE, Refinement
from rtcodec.motion.said import Said
from rtcodec.motion.smoothing import limits
from rtcodec.motion.steps import step_table
from rtcodec.motion.vectors import CHANNELS, vectors_of
from rtcodec.types import Planes, tile_grid

EXACT: Final = "exact"
LINEAR: Final = "linear"
"The same, and chroma may be a line of luma."

HYPER_CHANNELS: Final = 5
_INTRA_CHANNELS = 12
_HIDDEN = (4, 6)
_MOST_WEIGHT = 500
"Of refinement, where 32768 is 1: enough to move most samples."


def exact_bundle(name: str = EXACT) -> Bundle:
    """Return a small model of delta and spatial frames, EXACT or LINEAR; always the same."""
    parts = {
        "": _integers("intra", _INTRA_CHANNELS),
        "delta.": _part("delta", step_table(), SCALE_COUNT),
        "spatial.": _part(
            "spatial",
            np.asarray(step_table() * 3 // 4 + 1, np.int32),
            SCALE_COUNT + SAID_COUNT,
        ),
    }
    tensors = {f"{prefix}{name}": v for prefix, own in parts.items() for name, v in own.items()}
    for kind in ("delta", "spatial"):
        dice = Dice(f"exact refinement {kind}")
        for plane, shape in (("luma", LUMA_SHAPE), ("chroma", CHROMA_SHAPE)):
            weights = dice.integers(-_MOST_WEIGHT, _MOST_WEIGHT, *shape)
            tensors[f"refine.{kind}.{plane}"] = weights.astype(np.int16)
    return Bundle(
        name=name,
        dims={"M": _INTRA_CHANNELS, "Cz": HYPER_CHANNELS, "motion": CHANNELS}
        | ({CHROMA_FROM_LUMA: 1} if name == LINEAR else {}),
        tensors={**tensors, "gains": np.zeros((64, 1), np.float32)},
        card={"about": "frames without networks, for conformance vectors"},
    )


def _part(seed: str, steps: NDArray[np.int32], rows: int) -> dict[str, NDArray[np.generic]]:
    contexts = Dice(f"exact contexts {seed}").integers(-6, 6, KINDS, LEVELS).astype(np.int8)
    own = _integers(seed, DELTA_LATENTS + CHANNELS, CHANNELS, contexts=contexts, rows=rows)
    return {**own, "steps": steps}


def _integers(
    seed: str,
    channels: int,
    always_coded: int = 0,
    *,
    contexts: NDArray[np.int8] | None = None,
    rows: int = SCALE_COUNT,
) -> dict[str, NDArray[np.generic]]:
    """Return tables, *rows* of latents', and a scale network."""
    dice = Dice(f"exact {seed}")
    radius = dice.integers(0, 40, rows)
    side = np.abs(np.arange(-40, 41))
    counts = dice.integers(1, 4000, rows, side.size) // (1 + side)
    tables = EntropyTables(
        y_tables_from_histograms(np.where(side <= radius[:, None], counts + 1, 0)),
        tables_from_histograms(dice.integers(1, 1000, 64, HYPER_CHANNELS, 31)),
        contexts,
    )
    h1, h2 = _HIDDEN
    b3 = dice.integers(-8, 24, channels) - np.arange(64)[:, None] // 8
    net = ScaleNet(
        w1=dice.integers(-127, 127, 4 * h1, HYPER_CHANNELS).astype(np.int8),
        b1=dice.integers(-2000, 4000, 64, 4 * h1).astype(np.int32),
        s1=4,
        w2=dice.integers(-127, 127, 4 * h2, h1).astype(np.int8),
        b2=dice.integers(-20000, 30000, 4 * h2).astype(np.int32),
        s2=8,
        w3=dice.integers(-40, 40, channels, h2).astype(np.int8),
        b3=b3.astype(np.int32),
        s3=8,
        always_coded=always_coded,
    )
    return integer_tensors(tables, net)


class ExactPainter:
    """Paints delta and spatial frames, in integers alone."""

    def __init__(self, bundle: Bundle) -> None:
        """
        Args:
            bundle: One of `exact_bundle`.
        """
        assert bundle.delta is not None
        assert bundle.spatial is not None
        self._delta_steps, self._spatial_steps = bundle.delta.steps, bundle.spatial.steps
        self._linear = bundle.chroma_from_luma
        tensors = bundle.group("refine")
        delta, spatial = (Refinement.of(tensors, kind) for kind in ("delta", "spatial"))
        assert delta is not None
        assert spatial is not None
        self._refine_delta, self._refine_spatial = delta, spatial
        self.info = EngineInfo(
            name=EXACT,
            device="none",
            precision="integer",
            model=bundle.name,
            model_id=bundle.model_id,
            latent_channels=bundle.latent_channels,
            hyper_channels=bundle.hyper_channels,
            references=MAX_REFERENCES,
        )
        self._slots: dict[StateId, dict[int, Reference]] = {}
        self._ids = count()

    def open_state(self, width: int, height: int) -> StateId:
        """Make room for one stream."""
        state = StateId(next(self._ids))
        self._slots[state] = {}
        return state

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures."""
        return [planes_of(self._decode(job), job.width, job.height) for job in jobs]

    def _decode(self, job: DecodeJob) -> Fine:
        """Return what is shown of a frame, and keep its state."""
        rows, columns = tile_grid(job.width, job.height)
        slots, picture = self._slots[job.state], Reference(4 * rows, 4 * columns)
        qps = np.full((rows, columns), job.qp, np.uint8)
        symbols = np.ascontiguousarray(job.symbols.transpose(1, 2, 0))
        if job.spatial:
            picture.fill(self._paint_spatial(symbols, job))
            refined = self._refine_spatial(picture, qps)
            picture.fill(refined)
            picture.qps = np.full_like(qps, NO_QP)
        elif job.reference is not None:
            past = slots[job.reference]
            still = Said.of(symbols).count().reshape(rows, columns) == 0
            picture.fill(_paint_delta(symbols, past, still, _steps(self._delta_steps, job.qp)))
            picture.qps = np.where(still, past.qps, qps)
            refined = self._refine_delta(picture, picture.qps)
        else:
            refined = np.full((4 * rows, 4 * columns, DELTA_LATENTS), 128 * 16, np.uint16)
            picture.fill(refined)
        if job.store is not None:
            slots[job.store] = picture
        return refined

    def _paint_spatial(self, symbols: NDArray[np.int16], job: DecodeJob) -> Fine:
        steps = _steps(self._spatial_steps, job.qp)
        blocks, coded = within.paint(
            symbols, steps, across_tiles=job.across_tiles, linear=self._linear
        )
        places = coded.shape
        vectors = np.zeros((*places, QUARTERS, 2), np.int16)
        large = symbols[..., DELTA_LATENTS + within.LARGE_CHANNEL] != 0
        intra = np.where(large, np.uint8(INTRA | WHOLE), np.uint8(INTRA))
        smooth(blocks, coded, vectors, intra, np.zeros(places, np.bool_), limits(steps))
        return blocks


def _steps(table: NDArray[np.int32], qp: int) -> Steps:
    luma, chroma = (int(step) for step in table[qp])
    return luma, chroma


def _paint_delta(
    symbols: NDArray[np.int16], past: Reference, still: NDArray[np.bool_], steps: Steps
) -> Fine:
    vectors, intra = vectors_of(symbols[..., -CHANNELS:])
    blocks = past.predict(vectors, intra)
    resting = still.repeat(4, 0).repeat(4, 1)
    coded = paint(symbols, blocks, resting, steps)
    smooth(blocks, coded, vectors, intra, resting, limits(steps))
    return blocks
