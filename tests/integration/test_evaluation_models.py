"""Our models under evaluation: real `.rtc` files, the shipped weights, a CPU engine."""

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.errors import ConfigError
from rtcodec.evaluation import Clip, evaluate
from rtcodec.evaluation.latent import Latent, installed_models, open_latent_codec
from rtcodec.evaluation.registry import OURS, CodecShelf
from rtcodec.types import Planes


def scene(width: int, height: int, shift: int = 0) -> Planes:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    luma = 128 + 60 * np.sin((x + shift) / 9) + 40 * np.cos(y / 7)
    rows, columns = -(-height // 2), -(-width // 2)
    v, u = np.mgrid[0:rows, 0:columns].astype(np.float32)
    planes = (luma, 128 + 30 * np.sin(u / 6), 128 + 30 * np.cos(v / 5))
    return Planes(*(np.clip(plane, 0, 255).astype(np.uint8) for plane in planes))


@pytest.fixture(scope="module")
def codec() -> Iterator[Latent]:
    codec = open_latent_codec("n64", threads=1)
    yield codec
    codec.close()


def test_the_shipped_models_are_known_and_the_default_comes_first() -> None:
    assert installed_models()[0] == "s128"
    assert set(OURS) <= set(installed_models())


def test_a_file_holds_the_clip_and_says_which_model_it_needs(codec: Latent) -> None:
    clip = Clip("a", "video", tuple(scene(70, 45, n) for n in range(3)), Fraction(30000, 1001))
    [data] = codec.encode(clip, 30).parts
    reader = RtcReader(BytesIO(data))
    assert (reader.sequence.width, reader.sequence.height) == (70, 45)
    assert reader.sequence.frame_rate == Fraction(30000, 1001)
    assert reader.sequence.model_id.hex() in codec.description
    assert len(list(reader)) == 3


def test_key_frames_and_sizes_are_those_of_the_file(codec: Latent) -> None:
    every_second = open_latent_codec("n64", keyframe_interval=2)
    clip = Clip("a", "video", tuple(scene(70, 45, n) for n in range(4)), Fraction(25))
    for each, expected in ((codec, [True] + [False] * 3), (every_second, [True, False] * 2)):
        encoded = each.encode(clip, 30)
        units = list(RtcReader(BytesIO(encoded.parts[0])))
        assert [unit.header.keyframe for unit in units] == expected
        sizes = encoded.sizes_bytes(4)
        assert sizes is not None
        assert 0 < encoded.size_bytes - sum(sizes) < 200  # the file's header and end
    every_second.close()


def test_finer_qp_costs_more_and_looks_better(codec: Latent) -> None:
    clip = Clip("a", "image", (scene(130, 90),), Fraction(25))
    result = evaluate([clip], [codec, "jpeg"], settings={"n64": (60, 30, 0), "jpeg": (50, 90)})
    assert result.failures == []
    points = [point for point in result.points if point.codec == "n64"]
    sizes = [point.size_bytes for point in points]
    quality = [point.psnr_db.yuv for point in points]
    assert sizes == sorted(sizes)
    assert quality == sorted(quality)
    assert quality[0] > 15


@pytest.mark.parametrize("size", [(1, 1), (17, 23)])
def test_small_and_odd_sizes_come_back(size: tuple[int, int], codec: Latent) -> None:
    clip = Clip("a", "image", (scene(*size),), Fraction(25))
    [planes] = codec.decode(codec.encode(clip, 20), clip)
    assert (planes.width, planes.height) == size


def test_a_bundle_that_is_not_there_is_a_settings_error() -> None:
    with pytest.raises(ConfigError):
        open_latent_codec("nonesuch.rtcm")


def test_a_shelf_opens_a_model_once_for_all_inputs() -> None:
    shelf = CodecShelf()
    try:
        [image_codec] = shelf.resolve(["n64"], "image")
        [video_codec] = shelf.resolve(["n64"], "video")
        assert image_codec is video_codec
    finally:
        shelf.close()
