"""
Which kind of frame those of a file are that stand alone: by the networks, or from themselves.

`auto` codes the first one both ways and keeps the kind whose bits and error together cost less, as
training weighs them (`rtcodec.models.loss`): the networks win in textures, the other elsewhere.
"""

from typing import Final

from rtcodec.bundle import Bundle
from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import FrameEncoder
from rtcodec.engine.api import EncodeOutput
from rtcodec.errors import ConfigError
from rtcodec.motion.search import nominal_step
from rtcodec.quality import PEAK, picture_psnr
from rtcodec.types import Planes

SPATIAL, NEURAL, CHEAPER = INTRA_KINDS = ("spatial", "neural", "auto")

RATE_FACTOR: Final = 10.0
"Lambda is this over the square of the step, in bits a pixel; see `rtcodec.models.config`."


def intra_kind(asked: str | None, bundle: Bundle, *, is_video: bool) -> str:
    """
    Return one of `INTRA_KINDS` for a file.

    Args:
        asked: What the user wants; None for what suits. Delta frames follow better from the
            networks' pictures: on calls that saves a per cent, in images it is either.
        bundle: The model.
        is_video: Whether there may be many frames.

    Raises:
        ConfigError: If the model has no spatial frames, but they are asked for.
    """
    if bundle.spatial is None:
        if asked == SPATIAL:
            raise ConfigError(f"model {bundle.name} has no spatial frames")
        return NEURAL
    return asked or (NEURAL if is_video else CHEAPER)


def is_neural_cheaper(encoder: FrameEncoder, bundle: Bundle, planes: Planes, qp: int) -> bool:
    """Code a key frame both ways and compare; leaves the encoder as it was but for `neural`."""
    costs = FrameCosts(bundle.entropy_tables, bundle.delta_tables, bundle.spatial_tables)
    found = []
    for encoder.neural in (False, True):
        output = encoder.run(planes, qp=qp, keyframe=True, reconstruct=True)
        found.append(lagrangian(output, planes, qp, costs))
    return found[1] < found[0]


def lagrangian(output: EncodeOutput, planes: Planes, qp: int, costs: FrameCosts) -> float:
    """Return what a frame costs in bits a pixel, its error included; *output* has its picture."""
    assert output.reconstruction is not None
    error = PEAK**2 / 10 ** (picture_psnr(planes, output.reconstruction).yuv / 10)
    n_pixels = planes.width * planes.height
    return costs.frame_bits(output, qp) / n_pixels + RATE_FACTOR / nominal_step(qp) ** 2 * error
