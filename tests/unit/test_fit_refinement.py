"""Fitting of refinement: on pictures of known damage, and through a real engine."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.cli import main
from rtcodec.engine.api import DecodeJob, EncodeJob
from rtcodec.engine.loader import open_engine
from rtcodec.motion.layout import fill_blocks, planes_of
from rtcodec.motion.native import Reference
from rtcodec.motion.refine import FIRST_QP, QP_APART
from rtcodec.motion.refinement import FIRST_LEVELS, Refinement
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.fit_refinement import Painted, Sums, fit_alone, fit_delta, refined_by
from rtcodec_engines.graph_engine import GraphEngine
from support.spatial_model import with_spatial

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


def test_a_class_that_is_rarely_met_does_as_it_does_at_the_qp_beside() -> None:
    rng = np.random.default_rng(1)
    sums = Sums(5)
    n = sums.luma.shape[-1] - 1
    wished = rng.uniform(-0.02, 0.02, n)
    often, rare, never = (SET - 1, 7), (SET, 7), (SET - 2, 7)
    seen = {where: rng.normal(0, 1, (k, n)) for where, k in ((often, 200_000), (rare, 64))}
    wanted = {where: each @ wished + rng.normal(0, 0.5, len(each)) for where, each in seen.items()}
    for where, each in seen.items():
        rows = np.column_stack((each, wanted[where]))
        sums.luma[where] = rows.T @ rows
    luma, _ = sums.weights()
    weights = luma.reshape(*luma.shape[:2], n) / 32768
    for where, off in ((often, 0.005), (rare, 0.01), (never, 0.01)):
        assert np.abs(weights[where] - wished).max() < off, where
    alone = np.linalg.lstsq(seen[rare], wanted[rare])[0]
    assert np.abs(alone - wished).max() > 0.1  # not vacuous


def test_a_picture_all_of_another_qp_adds_nothing() -> None:
    """As frames of a clip that hardly moves are: each tile is of the qp it was last coded at."""
    sums = Sums(FIRST_LEVELS["delta"])
    qps = np.full((HEIGHT // 64, WIDTH // 64), QP - 1, np.uint8)
    seen = Painted(blurred(drawn(1)), qps, is_delta=True)
    sums.add(seen, drawn(1), SET, np.random.default_rng(1))
    assert not sums.luma.any()
    assert not sums.chroma.any()


@pytest.fixture(scope="module")
def model() -> Bundle:
    """`n64` with frames predicted from themselves and without refinement."""
    bundle = with_spatial(find_bundle("n64"))
    for kind in FIRST_LEVELS:
        bundle = refined_by(bundle, kind, None)
    return bundle


@contextmanager
def opened(bundle: Bundle) -> Iterator[GraphEngine]:
    engine = open_engine("openvino", bundle)
    assert isinstance(engine, GraphEngine)
    with closing(engine):
        yield engine


@pytest.mark.parametrize("kind", ["intra", "spatial"])
def test_frames_that_stand_alone_are_fitted_by_kind_and_come_out_better(
    model: Bundle, kind: str
) -> None:
    pictures = [drawn(seed) for seed in range(24)]
    with opened(model) as plain:
        refined = refined_by(
            model, kind, fit_alone(plain, kind, pictures, np.random.default_rng(2))
        )
        assert refined.model_id != model.model_id
        with opened(refined) as refining:
            for neural in (False, True):
                before, after = (
                    _coded(engine, [drawn(30)], neural=neural)[0] for engine in (plain, refining)
                )
                if neural == (kind == "intra"):
                    assert after > before + 0.1
                else:
                    assert after == before


def test_delta_frames_after_spatial_ones_are_fitted_and_come_out_better(model: Bundle) -> None:
    clips = [[_moved(drawn(seed), 2 * k) for k in range(6)] for seed in range(6)]
    clip = [_moved(drawn(30), 2 * k) for k in range(5)]
    with opened(model) as plain:
        sums = fit_delta(plain, clips, np.random.default_rng(2))
        with opened(refined_by(model, "delta", sums)) as refining:
            plainly, refined = _coded(plain, clip), _coded(refining, clip)
    assert refined[0] == plainly[0]
    assert np.mean(refined[1:]) > np.mean(plainly[1:]) + 0.1


def test_the_command_fits_every_kind_or_one_and_keeps_the_others(
    model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = pytest.importorskip("support.models", reason="no torch here", exc_type=ImportError)
    data = models.data_folder(tmp_path / "data")
    (data / "video").mkdir()
    models.write_clip(data / "video" / "a.mkv", 5)
    for graph in model.graphs:
        (tmp_path / f"n64.{graph}.onnx").write_bytes(model.read_graph(graph))
    model.save(tmp_path / "n64.rtcm")

    def refine(source: Path, out: Path, *options: str) -> Bundle:
        arguments = [f"--model={source / 'n64.rtcm'}", f"--data={data}", f"--out={out}"]
        assert main(["refine", *arguments, "--screens=1", *options]) == 0
        return Bundle.load(out / "n64.rtcm")

    whole = refine(tmp_path, tmp_path / "whole")
    tensors = {f"refine.{kind}.{plane}" for kind in FIRST_LEVELS for plane in ("luma", "chroma")}
    assert whole.tensors.keys() == model.tensors.keys() | tensors
    assert whole.card["refinement"].keys() == {"intra", "spatial", "delta"}
    again = refine(tmp_path / "whole", tmp_path / "again", "--only=spatial")
    assert again.model_id == whole.model_id
    other = refine(tmp_path / "whole", tmp_path / "other", "--only=spatial", "--seed=2")
    changed = {
        key for key in whole.tensors if not np.array_equal(whole.tensors[key], other.tensors[key])
    }
    assert changed == {"refine.spatial.luma", "refine.spatial.chroma"}
    seeds = {kind: facts["seed"] for kind, facts in other.card["refinement"].items()}
    assert seeds == {"intra": 1, "spatial": 2, "delta": 1}
    without = {key: v for key, v in model.tensors.items() if not key.startswith("spatial.")}
    replace(model, tensors=without).save(tmp_path / "n64.rtcm")
    plain = refine(tmp_path, tmp_path / "plain")
    assert plain.card["refinement"].keys() == {"intra", "delta"}
    capsys.readouterr()
    arguments = [f"--model={tmp_path / 'n64.rtcm'}", f"--data={data}", f"--out={tmp_path / 'none'}"]
    assert main(["refine", *arguments, "--only=spatial"]) == 2
    assert "has no spatial frames" in capsys.readouterr().err


def test_shown_frames_are_refined_and_decoders_show_what_encoders_say() -> None:
    engine = open_engine("openvino", find_bundle("n64"))
    assert isinstance(engine, GraphEngine)
    sender, receiver = (engine.open_state(WIDTH, HEIGHT) for _ in range(2))
    try:
        for k in range(4):
            planes = _moved(drawn(7), 3 * k)
            reference, store = ((k - 1) % 2 if k else None), k % 2
            (said,) = engine.encode(
                [EncodeJob(sender, planes, QP, reference, store, reconstruct=True, neural=True)]
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


def _coded(engine: GraphEngine, clip: list[Planes], *, neural: bool = False) -> list[float]:
    state = engine.open_state(WIDTH, HEIGHT)
    quality = []
    for k, planes in enumerate(clip):
        reference = (k - 1) % 2 if k else None
        (output,) = engine.encode(
            [EncodeJob(state, planes, QP, reference, k % 2, reconstruct=True, neural=neural)]
        )
        assert output.reconstruction is not None
        quality.append(picture_psnr(planes, output.reconstruction).yuv)
    engine.close_state(state)
    return quality
