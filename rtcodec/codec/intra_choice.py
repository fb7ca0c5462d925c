"""
Which kind of frame those of a file are that stand alone: by the networks, or from themselves.

`auto` codes the first one both ways and keeps the kind that takes fewer bits at the same quality:
the networks win in textures, the other elsewhere.
"""

import math
from typing import Final

from rtcodec.bundle import Bundle
from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import FrameEncoder
from rtcodec.errors import ConfigError
from rtcodec.quality import picture_psnr
from rtcodec.types import QP_MAX, Planes

SPATIAL, NEURAL, CHEAPER = INTRA_KINDS = ("spatial", "neural", "auto")

APART: Final = 8
"""Between two qp of which bits at one quality are read: at one qp, the kinds differ by 1 to 2 dB,
and what that is worth differs from picture to picture."""

LEAST_SHARE: Final = 0.05
MOST_SHARE: Final = 0.4
"""Of bits that a dB takes. At the finest qp two points may be of nearly one quality, in any order:
what they say of a third one, far away, would be anything."""


def intra_kind(asked: str | None, bundle: Bundle) -> str:
    """
    Return one of `INTRA_KINDS` for a file.

    Args:
        asked: What the user wants; None for what suits.
        bundle: The model.

    Raises:
        ConfigError: If the model has no spatial frames, but they are asked for.
    """
    if bundle.spatial is None:
        if asked == SPATIAL:
            raise ConfigError(f"model {bundle.name} has no spatial frames")
        return NEURAL
    return asked or CHEAPER


def is_neural_cheaper(encoder: FrameEncoder, bundle: Bundle, planes: Planes, qp: int) -> bool:
    """Code a key frame both ways and compare; leaves the encoder as it was but for `neural`."""
    costs = FrameCosts(bundle.entropy_tables, bundle.delta_tables, bundle.spatial_tables)

    def quality_and_bits(qp: int) -> tuple[float, float]:
        output = encoder.run(planes, qp=qp, keyframe=True, reconstruct=True)
        assert output.reconstruction is not None
        return picture_psnr(planes, output.reconstruction).yuv, costs.frame_bits(output, qp)

    encoder.neural = True
    psnr, bits = quality_and_bits(qp)
    encoder.neural = False
    other_qp = qp + APART if qp + APART <= QP_MAX else qp - APART
    return bits < bits_at(psnr, quality_and_bits(qp), quality_and_bits(other_qp))


def bits_at(psnr: float, *points: tuple[float, float]) -> float:
    """
    Return about how many bits a quality takes.

    Args:
        psnr: The quality, in dB.
        points: Two, of dB and bits, between or near which it is; a dB more is a share more bits,
            `LEAST_SHARE` to `MOST_SHARE`.
    """
    (one, bits), (other, other_bits) = points
    if psnr == one:  # both may be without any error
        return bits
    share = math.log(other_bits / bits) / (other - one) if one != other else 0.0
    return bits * math.exp((psnr - one) * min(max(share, LEAST_SHARE), MOST_SHARE))
