"""Filters for VP8 and H.264: fitted to what these do, and to nothing else."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from rtcodec.codec.call_restorer import CallRestorer, qp_of
from rtcodec.codec.coded_call import code_call
from rtcodec.errors import ConfigError
from rtcodec.media.reader import MediaReader
from rtcodec.motion.refinement import CHROMA_SHAPE, LUMA_SHAPE
from rtcodec.quality import psnr
from rtcodec.types import Planes
from support.pictures import picture, same_picture

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "dev" / "video"
CODECS = ("vp8", "h264")


def still() -> dict[str, np.ndarray]:
    """Weights that change nothing."""
    shapes = {"luma": LUMA_SHAPE, "chroma": CHROMA_SHAPE}
    return {f"{c}.{k}": np.zeros(s, np.int16) for c in CODECS for k, s in shapes.items()}


@pytest.mark.parametrize(
    ("step", "qp"), [(0.1, 0), (2.125, 0), (33.75, 44), (112.0, 63), (142, 63)]
)
def test_the_qp_of_the_nearest_step_is_taken(step: float, qp: int) -> None:
    assert qp_of(step) == qp


def test_weights_of_zero_leave_a_picture_of_any_size_as_it_is() -> None:
    planes = picture(101, 67)
    planes = Planes(planes.y, planes.u[:34, :51], planes.v[:34, :51])
    for codec in CODECS:
        assert same_picture(CallRestorer(still()).restore(planes, codec, 20.0), planes)


def test_each_codec_has_filters_of_its_own() -> None:
    tensors = still()
    tensors["h264.luma"] = np.full(LUMA_SHAPE, 2000, np.int16)
    restorer, planes = CallRestorer(tensors), picture(96, 80)
    assert same_picture(restorer.restore(planes, "vp8", 20.0), planes)
    assert not same_picture(restorer.restore(planes, "h264", 20.0), planes)


def test_filters_that_lack_a_tensor_are_refused() -> None:
    tensors = still()
    del tensors["h264.chroma"]
    with pytest.raises(ConfigError, match=r"h264\.chroma"):
        CallRestorer(tensors)


@pytest.mark.parametrize("codec", CODECS)
def test_a_lower_rate_says_a_larger_step_and_is_worse(codec: str) -> None:
    clip = [picture(96, 80, seed=seed) for seed in range(3)] * 3
    found = {}
    for bitrate_bps in (60_000, 900_000):
        rows = list(code_call(clip, codec, bitrate_bps))
        errors = [np.abs(p.y.astype(float) - clip[at].y).mean() for at, p, _ in rows]
        found[bitrate_bps] = np.mean([step for *_, step in rows]), np.mean(errors)
    assert found[60_000][0] > found[900_000][0]
    assert found[60_000][1] > found[900_000][1]


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no development clips beside the checkout")
@pytest.mark.parametrize("codec", CODECS)
def test_calls_gain_three_tenths_of_a_decibel(codec: str) -> None:
    with MediaReader(CLIPS / "call_news_320x320_90f.mkv") as reader:
        frames = [planes for _, planes in islice(reader.frames(), 24)]
    restorer = CallRestorer.load()
    gains = [
        psnr(frames[at].y, restorer.restore(planes, codec, step).y) - psnr(frames[at].y, planes.y)
        for at, planes, step in code_call(frames, codec, 150_000)
    ]
    assert np.mean(gains) > 0.3
