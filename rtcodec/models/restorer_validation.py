"""
What a network that takes coding artefacts out is validated on: pictures never trained on.

Nothing here trains.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from rtcodec.models.data import Batch, PlaneArrays, image_files, read_image
from rtcodec.models.degradation import Jpeg, Sample, quality_tables
from rtcodec.models.restoration import Restorer

VALIDATED_QUALITIES = (10, 20, 30, 40)

Validation = Mapping[str, Sequence[Sample]]
"Pictures, one to a sample, by quality."


def luma_gain_db(sample: Sample, restored: Batch) -> float:
    """Decibels that the luma of a batch gained, mean over its pictures."""
    clean = sample.clean[0]
    before = (sample.coded[0] - clean).square().mean((1, 2, 3))
    after = (restored[0].detach() - clean).square().mean((1, 2, 3))
    return 10 * float(((before + 1e-3) / (after + 1e-3)).log10().mean())


def jpeg_validation(folder: Path, *, side: int = 512) -> Validation:
    """The centres of a folder's images through JPEG."""
    pictures = [_tensors(_centre(read_image(path), side)) for path in image_files(folder)]
    jpeg, samples = Jpeg(), {}
    for quality in VALIDATED_QUALITIES:
        steps = torch.from_numpy(quality_tables(quality))[None, :, None, None]
        samples[str(quality)] = [Sample(p, jpeg.decoded(p, steps), steps) for p in pictures]
    return samples


@torch.no_grad()
def validate(net: Restorer, validation: Validation) -> dict[str, float]:
    """Return luma decibels that *net* gains, rounded and clipped, the mean over pictures."""
    figures = {}
    for label, samples in validation.items():
        gains = []
        for sample in samples:
            y, u, v = (p.round().clamp(0, 255) for p in net(*sample.coded, sample.levels))
            gains.append(luma_gain_db(sample, (y, u, v)))
        figures[label] = round(sum(gains) / len(gains), 3)
    return figures


def _tensors(planes: PlaneArrays) -> Batch:
    y, u, v = (torch.from_numpy(plane.astype(np.float32))[None, None] for plane in planes)
    return y, u, v


def _centre(planes: PlaneArrays, side: int) -> PlaneArrays:
    """At most *side* wide and high, from a corner of a macroblock to another."""
    height, width = (min(side, n // 16 * 16) for n in planes[0].shape)
    top, left = ((n - m) // 32 * 16 for n, m in zip(planes[0].shape, (height, width), strict=True))
    y, u, v = (
        plane[top // n : (top + height) // n, left // n : (left + width) // n]
        for plane, n in zip(planes, (1, 2, 2), strict=True)
    )
    return y, u, v
