"""Fitting of refinement: on pictures of known damage, and through a real engine."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.bundle import find_bundle
from rtcodec.engine.api import DecodeJob, EncodeJob
from rtcodec.engine.loader import open_engine
from rtcodec.motion.layout import fill_blocks, planes_of
from rtcodec.motion.native import Reference
from rtcodec.motion.refine import FIRST_QP, QP_APART
from rtcodec.motion.refinement import FIRST_LEVELS, Refinement
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.fit_refinement import Painted, Sums, fit_delta, fit_intra, refined_by
from rtcodec_engines.graph_engine import GraphEngine

HEIGHT, WIDTH = 128, 192
SET = 4
QP = FIRST_QP + QP_APART * SET


def drawn(seed: int) -> Planes:
    """Bars that run all ways over a slope."""
    rng = np.random.default_rng(seed)
    planes = []
    for k, side in enumerate((1, 2, 2)):
        y, x = np.mgrid[: HEIGHT // side, : WIDTH // side].astype(np.float64) * side
        a, b = np.cos(seed), np.sin(seed)
        bars = 60 * (np.sin((a * x + b * y) / 9) > 0) + 40 * (np.sin((b * x - a * y) / 13) > 0)
        plane = 60 + 0.2 * x + bars * (1 if k == 0 else 0.3) + rng.normal(0, 1, y.shape)
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
    return Planes(*planes)


def blurred(planes: Planes) -> NDArray[np.uint8]:
    """Blocks of planes, each sample the mean of five."""
    soft = []
    for plane in (planes.y, planes.u, planes.v):
        wide = np.pad(plane.astype(np.int64), 1, mode="edge")
        near = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
        soft.append(((plane + sum(near) + 2) // 5).astype(np.uint8))
    blocks = np.empty((HEIGHT // 16, WIDTH // 16, 384), np.uint8)
    fill_blocks(Planes(*soft), blocks)
    return blocks


def test_what_was_blurred_is_sharpened_in_pictures_that_were_not_fitted_to() -> None:
    sums = Sums(FIRST_LEVELS["intra"])
    rng = np.random.default_rng(1)
    qps = np.full((HEIGHT // 64, WIDTH // 64), QP, np.uint8)
    for seed in range(12):
        sums.add(Painted(blurred(drawn(seed)), qps, is_delta=False), drawn(seed), SET, rng)
    how = Refinement(*sums.weights(), sums.first)
    picture = Reference(HEIGHT // 16, WIDTH // 16)
    gains = []
    for seed in (20, 21):
        picture.fill(blurred(drawn(seed)))
        original = drawn(seed)
        before = picture_psnr(original, planes_of(_fine(blurred(original)), WIDTH, HEIGHT))
        after = picture_psnr(original, planes_of(how(picture, qps), WIDTH, HEIGHT))
        gains.append(np.array([after.y - before.y, after.u - before.u, after.v - before.v]))
    assert (np.array(gains) > (2.0, 0.5, 0.5)).all(), gains


def test_nothing_seen_is_nothing_done() -> None:
    luma, chroma = Sums(5).weights()
    assert not luma.any()
    assert not chroma.any()


def test_a_picture_all_of_another_qp_adds_nothing() -> None:
    """As frames of a clip that hardly moves are: each tile is of the qp it was last coded at."""
    sums = Sums(FIRST_LEVELS["delta"])
    qps = np.full((HEIGHT // 64, WIDTH // 64), QP - 1, np.uint8)
    seen = Painted(blurred(drawn(1)), qps, is_delta=True)
    sums.add(seen, drawn(1), SET, np.random.default_rng(1))
    assert not sums.luma.any()
    assert not sums.chroma.any()


@pytest.fixture(scope="module")
def plain() -> Iterator[GraphEngine]:
    """An engine of `n64` without refinement."""
    bundle = find_bundle("n64")
    engine = open_engine("openvino", refined_by(refined_by(bundle, "intra", None), "delta", None))
    assert isinstance(engine, GraphEngine)
    yield engine
    engine.close()


def test_frames_that_the_engine_painted_are_fitted_and_come_out_better(plain: GraphEngine) -> None:
    rng = np.random.default_rng(2)
    pictures = [drawn(seed) for seed in range(24)]
    bundle = refined_by(refined_by(find_bundle("n64"), "intra", None), "delta", None)
    with_intra = refined_by(bundle, "intra", fit_intra(plain, pictures, rng))
    assert with_intra.model_id != bundle.model_id
    engine = open_engine("openvino", with_intra)
    assert isinstance(engine, GraphEngine)
    clips = [[_moved(drawn(seed), 2 * k) for k in range(6)] for seed in range(6)]
    both = refined_by(with_intra, "delta", fit_delta(engine, clips, rng))
    engine.close()
    refining = open_engine("openvino", both)
    assert isinstance(refining, GraphEngine)
    try:
        clip = [_moved(drawn(30), 2 * k) for k in range(5)]
        plainly, refined = _coded(plain, clip), _coded(refining, clip)
    finally:
        refining.close()
    assert refined[0] > plainly[0] + 0.1
    assert np.mean(refined[1:]) > np.mean(plainly[1:]) + 0.1


def test_shown_frames_are_refined_and_decoders_show_what_encoders_say() -> None:
    engine = open_engine("openvino", find_bundle("n64"))
    assert isinstance(engine, GraphEngine)
    sender, receiver = (engine.open_state(WIDTH, HEIGHT) for _ in range(2))
    try:
        for k in range(4):
            planes = _moved(drawn(7), 3 * k)
            reference, store = ((k - 1) % 2 if k else None), k % 2
            (said,) = engine.encode(
                [EncodeJob(sender, planes, QP, reference, store, reconstruct=True)]
            )
            (shown,) = engine.decode(
                [DecodeJob(receiver, said.z, said.symbols, QP, WIDTH, HEIGHT, reference, store)]
            )
            assert said.reconstruction is not None
            assert np.array_equal(shown.y, said.reconstruction.y)
            assert np.array_equal(shown.v, said.reconstruction.v)
    finally:
        engine.close()


def _moved(planes: Planes, by: int) -> Planes:
    y, u, v = (
        np.roll(p, by // side, 1) for p, side in ((planes.y, 1), (planes.u, 2), (planes.v, 2))
    )
    return Planes(y, u, v)


def _fine(blocks: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return blocks.astype(np.uint16) * 16


def _coded(engine: GraphEngine, clip: list[Planes]) -> list[float]:
    state = engine.open_state(WIDTH, HEIGHT)
    quality = []
    for k, planes in enumerate(clip):
        reference = (k - 1) % 2 if k else None
        (output,) = engine.encode(
            [EncodeJob(state, planes, QP, reference, k % 2, reconstruct=True)]
        )
        assert output.reconstruction is not None
        quality.append(picture_psnr(planes, output.reconstruction).yuv)
    engine.close_state(state)
    return quality
