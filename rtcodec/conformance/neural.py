"""
Vectors of the models that come with the package.

Their streams were made by float networks, so they are made once and kept; the
bits must decode to the same symbols everywhere, the pictures to nearly the same.
"""

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bundle import find_bundle
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.conformance.recipes import Recipe, StreamMaker, picture, sequence_of
from rtcodec.engine.loader import open_engine

WRITING_ENGINE = "onnxruntime"
"Makes the streams and the pictures, in f32."

TOLERANCE = {"rms_max": 0.5, "peak_max": 4}
"""Per plane, in units of 1/255. Two f32 engines differ by single roundings; the room is for engines
of lower precision, which must stay within 0.1 dB: at 40 dB that is an rms of 0.4."""

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


NEURAL_RECIPES = tuple(
    Recipe(
        f"neural_{name}",
        f"the {name} model: fine, middle and coarse, two slices each (spec 2.1, 9)",
        name,
        lambda name=name: _frames(name),  # type: ignore[misc]
    )
    for name in ("n64", "s128")
)
