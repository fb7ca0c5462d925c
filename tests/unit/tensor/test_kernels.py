"""Kernels give the integers of the plain form: on a GPU, or else by Triton's interpreter."""

import os
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
from torch import Tensor  # noqa: E402

CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read where kernels are defined
pytest.importorskip("triton", reason="triton is not installed (it comes with torch for CUDA)")

from rtcodec.bundle import find_bundle  # noqa: E402
from rtcodec.models.parity import networks_of  # noqa: E402
from rtcodec.motion.native import NO_QP  # noqa: E402
from rtcodec.motion.refinement import Refinement  # noqa: E402
from rtcodec.motion.smoothing import limits  # noqa: E402
from rtcodec.motion.steps import step_table  # noqa: E402
from rtcodec_engines.kernel import motion  # noqa: E402
from rtcodec_engines.kernel.edge import smooth as fused_smooth  # noqa: E402
from rtcodec_engines.kernel.refinement import FusedRefine  # noqa: E402
from rtcodec_engines.kernel.sight import FusedSights  # noqa: E402
from rtcodec_engines.kernel.trunk import FusedBlock  # noqa: E402
from rtcodec_engines.tensor.paint import paint  # noqa: E402
from rtcodec_engines.tensor.predict import Pictures, predict  # noqa: E402
from rtcodec_engines.tensor.refine import Refine  # noqa: E402
from rtcodec_engines.tensor.sights import Sights  # noqa: E402
from rtcodec_engines.tensor.smooth import smooth  # noqa: E402
from rtcodec_engines.tensor.vectors import Motion, spread_tiles  # noqa: E402
from support.tensors import fine_blocks, pictures_of, planes_from  # noqa: E402

DEVICE = torch.device("cuda" if CUDA else "cpu")
ROWS, COLUMNS = 4, 4


class Case:
    """A few frames of random symbols, vectors and pictures; few, as an interpreter is slow."""

    def __init__(
        self, seed: int, reach: int = 60, *, columns: int = COLUMNS, frames: int = 1
    ) -> None:
        rng = np.random.default_rng(seed)
        shape = (frames, ROWS, columns)
        stored = pictures_of([fine_blocks(rng, ROWS, columns, 60) for _ in range(3)])
        planes = tuple(plane.to(DEVICE) for plane in stored.planes)
        self.pictures = Pictures(planes, stored.qps.to(DEVICE))  # type: ignore[arg-type]
        numbers = torch.tensor([[0, 2], [0, 1]], device=DEVICE)[:frames]
        self.rows = numbers[:, 1]  # a column, as the engine has it
        moved = rng.integers(-reach, reach + 1, (*shape, 4, 2)).astype(np.int16)
        moved[:, ::2] = moved[:, ::2, :, :1]
        intra = self._on(rng.random(shape) < 0.2)
        alone = self._on(np.arange(frames * columns // 4).reshape(frames, 1, columns // 4) % 2 > 0)
        self.motion = Motion(self._on(moved), intra, alone)
        few = rng.random((*shape, 394)) < 0.02
        symbols = (rng.integers(-40, 41, few.shape) * few).astype(np.int16)
        symbols[..., -1] = rng.random(shape) < 0.5
        self.symbols = self._on(symbols)
        self.still = self._on(rng.random(shape) < 0.2)
        steps = step_table()[[17, 44]][:frames]
        self.steps = self._on(steps)
        self.limits = self._on(np.stack([limits((int(y), int(uv))) for y, uv in steps]))

    @staticmethod
    def _on(array: np.ndarray) -> Tensor:
        tensor: Tensor = torch.from_numpy(array).to(DEVICE)
        return tensor


def assert_same(ones: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert torch.equal(one.int(), other.int())


@pytest.mark.parametrize("reach", [0, 60, 30000])
def test_predictions(reach: int) -> None:
    case = Case(reach, reach, frames=2 if reach == 60 else 1)
    given = (case.pictures, case.rows, case.motion)
    assert_same(motion.predict(*given), predict(*given))


def test_paintings() -> None:
    case = Case(4)
    expect = predict(case.pictures, case.rows, case.motion)
    plain = paint(case.symbols, expect, case.still, case.steps)
    fused = motion.paint(case.symbols, expect, case.still, case.steps)
    both = motion.predict_and_paint(
        case.pictures, case.rows, case.motion, case.symbols, case.still, case.steps
    )
    for own in (fused, both):
        assert_same(own.planes, plain.planes)
        assert torch.equal(own.coded, plain.coded)


@pytest.mark.parametrize("columns", [4, 8])
def test_smoothing(columns: int) -> None:
    case = Case(5, 7, columns=columns, frames=2)
    given = (case.pictures, case.rows, case.motion._replace(vectors=case.motion.vectors * 0))
    painted = paint(case.symbols, predict(*given), case.still, case.steps)
    still = spread_tiles(case.still[:, ::4, ::4], 4)
    told = (painted.coded, case.motion.vectors, case.motion.intra, still, case.limits)
    plain, fused = ([plane.clone() for plane in painted.planes] for _ in range(2))
    smooth(plain, *told)
    fused_smooth(fused, *told)
    assert not torch.equal(plain[0], painted.planes[0])
    assert_same(fused, plain)


@pytest.mark.parametrize("kind", ["intra", "delta"])
def test_refinements(kind: str) -> None:
    refinement = Refinement.of(find_bundle("n64").group("refine"), kind)
    assert refinement is not None
    rng = np.random.default_rng(6)
    stored = [planes_from(fine_blocks(rng, 4, 8, noise)[None]) for noise in (20, 300)]
    planes = [torch.cat([own[k] for own in stored]).to(DEVICE) for k in range(3)]
    qps = torch.tensor([[[3, NO_QP]], [[30, 55]]], dtype=torch.uint8, device=DEVICE)
    plain = Refine(refinement).to(DEVICE)(planes, qps)
    assert_same(FusedRefine(refinement).to(DEVICE)(planes, qps), plain)


@pytest.mark.parametrize("transformed", [False, True])
def test_differences(transformed: bool) -> None:
    case = Case(7)
    rng = np.random.default_rng(7)
    source = torch.from_numpy(rng.integers(0, 256, (1, 64, 64)).astype(np.uint8)).to(DEVICE)
    vectors = torch.from_numpy(rng.integers(-400, 401, (1, 3, 8, 8, 2)).astype(np.int32))
    luma, vectors = case.pictures.planes[0][case.rows], vectors.to(DEVICE)
    plain, fused = (
        sights(luma).differences(source, vectors, transformed=transformed)
        for sights in (Sights, FusedSights)
    )
    assert torch.equal(plain, fused)


@pytest.mark.parametrize("model", ["n64", "s128"])  # of 128 channels, and of 160: no power of 2
def test_blocks_of_8_bit_trunks(model: str) -> None:
    block: Any = networks_of(find_bundle(model)).analysis.blocks[0].to(DEVICE)
    channels = block.depthwise.in_channels
    torch.manual_seed(1)
    x = (
        torch.randn(2, channels, 5, 7, device=DEVICE)
        * block.mix_input.log_range.exp()[:, None, None]
    )
    with torch.inference_mode():
        plain, fused = block(x), FusedBlock(block).to(DEVICE)(x)
    off = (plain - fused).abs() / plain.std()
    assert off.median() < 1e-6
    assert (off > 1e-4).float().mean() < 0.02  # roundings to 8 bits that a last bit tips over
    assert off.max() < 0.1
