"""
Vectors of the models that come with the package.

Their streams were made by float networks, so they are made once and kept; the
bits must decode to the same symbols everywhere, the pictures to nearly the same.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bundle import find_bundle
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.conformance.recipes import Recipe, StreamMaker, picture, sequence_of
from rtcodec.engine.loader import open_engine
from rtcodec.types import Planes

WRITING_ENGINE = "onnxruntime"
"Makes the streams and the pictures, in f32."

TOLERANCE = {"rms_max": 0.5, "peak_max": 12}
"""Per plane, in units of 1/255. Two f32 engines differ by single roundings; the room is for engines
of lower precision, which must stay within 0.1 dB: at 40 dB that is an rms of 0.4. A rounding may
put 4x4 samples into another class of refinement, which moves single ones by more: 7 were seen."""

_SIZE = (97, 70)


def _frames(name: str) -> bytes:
    bundle = find_bundle(name)
    engine = open_engine(WRITING_ENGINE, bundle)
    maker = StreamMaker(bundle, sequence_of(bundle, *_SIZE))
    slicing = Slicing(slices=2, dispersed=True)
    encoder = FrameEncoder(engine, FramePacker(bundle.entropy_tables, slicing), *_SIZE)
    for number, qp in enumerate((8, 32, 56)):
        drawn = picture(*_SIZE, number)
        unit = encoder.encode(drawn, qp=qp, pts=number, keyframe=number == 0).unit
        maker.units.append(AccessUnit(unit.pts, unit.packets))
    encoder.close()
    engine.close()
    return maker.stream()


def _delta_frames(name: str) -> bytes:
    """A square that moves over waves that stand still, in two slices a frame."""
    bundle = find_bundle(name)
    engine = open_engine(WRITING_ENGINE, bundle)
    sequence = replace(sequence_of(bundle, *_SIZE), references=NewestReference.SLOTS)
    maker = StreamMaker(bundle, sequence)
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(slices=2, dispersed=True),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(engine, packer, *_SIZE, references=NewestReference())
    for number, qp in enumerate((20, 24, 24, 50)):
        still, other = picture(*_SIZE, 0), picture(*_SIZE, 1)
        for plane, moving, side in zip(_planes(still), _planes(other), (16, 8, 8), strict=True):
            left = side // 2 + number * side // 8
            plane[side : 2 * side, left : left + side] = moving[:side, :side]
        unit = encoder.encode(still, qp=qp, pts=number, keyframe=number == 0).unit
        maker.units.append(AccessUnit(unit.pts, unit.packets))
    encoder.close()
    engine.close()
    return maker.stream()


def _planes(drawn: Planes) -> tuple[NDArray[np.uint8], ...]:
    return drawn.y, drawn.u, drawn.v


def _with_delta_frames() -> list[str]:
    return [name for name in ("n64", "s128") if find_bundle(name).delta is not None]


NEURAL_RECIPES = tuple(
    Recipe(
        f"neural_{name}",
        f"the {name} model: fine, middle and coarse, two slices each (spec 2.1, 9)",
        name,
        lambda name=name: _frames(name),  # type: ignore[misc]
    )
    for name in ("n64", "s128")
) + tuple(
    Recipe(
        f"neural_{name}_delta",
        f"the {name} model: delta frames, motion, tiles at rest (spec 4.7, 9.1, 9.2)",
        name,
        lambda name=name: _delta_frames(name),  # type: ignore[misc]
    )
    for name in _with_delta_frames()
)
