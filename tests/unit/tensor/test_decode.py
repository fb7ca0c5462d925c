"""What a decoder does on tensors equals C to the last bit."""

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rtcodec.bundle import find_bundle  # noqa: E402
from rtcodec.motion import native, smoothing, vectors  # noqa: E402
from rtcodec.motion.refinement import Refinement  # noqa: E402
from rtcodec.motion.steps import step_table  # noqa: E402
from rtcodec_engines.tensor import paint as tensor_paint  # noqa: E402
from rtcodec_engines.tensor import vectors as tensor_vectors  # noqa: E402
from rtcodec_engines.tensor.predict import predict  # noqa: E402
from rtcodec_engines.tensor.refine import Refine  # noqa: E402
from rtcodec_engines.tensor.smooth import smooth  # noqa: E402
from support.tensors import blocks_from, fine_blocks, pictures_of, planes_from  # noqa: E402

ROWS, COLUMNS = 4, 8
seeds = st.integers(0, 2**32 - 1)
qps = st.integers(0, 63)


def random_vectors(rng: np.random.Generator, reach: int, count: int) -> NDArray[np.int16]:
    drawn = rng.integers(-reach - 1, reach + 1, (count, ROWS, COLUMNS, 4, 2)).astype(np.int16)
    drawn[:, ::2] = drawn[:, ::2, :, :1]
    return drawn


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([1, 60, 32767]))
def test_vectors_come_from_symbols_as_in_numpy(seed: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = rng.integers(-reach - 1, reach + 1, (3, ROWS, COLUMNS, 10)).astype(np.int16)
    symbols[..., 2] = rng.choice([-1, 0, 0, 0, 1], (3, ROWS, COLUMNS))
    found = tensor_vectors.vectors_of(torch.from_numpy(symbols))
    for k, said in enumerate(symbols):
        wanted, about = vectors.vectors_of(said)
        assert np.array_equal(found.vectors[k].numpy(), wanted)
        assert np.array_equal(found.intra[k].numpy(), about & native.INTRA != 0)
        tiles = (about & native.ALONE).reshape(ROWS // 4, 4, COLUMNS // 4, 4)
        assert np.array_equal(found.alone[k].numpy(), tiles.any((1, 3)))
    back = tensor_vectors.motion_symbols(found)
    assert torch.equal(tensor_vectors.vectors_of(back).alone, found.alone)
    again = back.numpy()
    assert np.array_equal(again[..., 2] > 0, symbols[..., 2] > 0)
    for channels in (slice(0, 2), slice(3, 9)):
        assert np.array_equal(again[..., channels], symbols[..., channels])
    assert not again[..., 9].any()


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([0, 5, 90, 700, 32767]))
def test_predictions_equal_those_of_c(seed: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    stored = [fine_blocks(rng, ROWS, COLUMNS) for _ in range(3)]
    rows = np.array([2, 0, 2])
    moved = random_vectors(rng, reach, 3)
    moved[0, :, :4] *= rng.random((ROWS, 4, 1, 1)) < 0.2  # a few that move
    intra = rng.random((3, ROWS, COLUMNS)) < 0.1
    alone = rng.random((3, ROWS // 4, COLUMNS // 4)) < 0.3
    intra[:, ::4, ::4] = False  # of the blocks that say so
    motion = tensor_vectors.Motion(*map(torch.from_numpy, (moved, intra, alone)))
    out = predict(pictures_of(stored), torch.from_numpy(rows), motion)
    for k, row in enumerate(rows):
        reference = native.Reference(ROWS, COLUMNS)
        reference.fill(stored[row])
        about = intra[k].astype(np.uint8) * native.INTRA
        about[::4, ::4] |= alone[k].astype(np.uint8) * native.ALONE
        wanted = reference.predict(np.ascontiguousarray(moved[k]), about)
        assert np.array_equal(blocks_from([plane[k] for plane in out]), wanted)


@settings(max_examples=30, deadline=None)
@given(seeds, st.tuples(qps, qps), st.sampled_from([2, 40, 32767]))
def test_painting_and_smoothing_equal_those_of_c(
    seed: int, both: tuple[int, int], largest: int
) -> None:
    rng = np.random.default_rng(seed)
    steps = step_table()[list(both)]
    few = rng.random((2, ROWS, COLUMNS, 394)) < 0.02
    symbols = (rng.integers(-largest, largest + 1, few.shape) * few).astype(np.int16)
    symbols[..., -1] = rng.random((2, ROWS, COLUMNS)) < 0.5
    flat = rng.integers(0, 4081, (2, 1, 1, 1)) + rng.integers(-30, 31, (2, ROWS, COLUMNS, 384))
    prediction = flat.clip(0, 4080).astype(np.uint16)
    moved = random_vectors(rng, 6, 2)
    intra = rng.random((2, ROWS, COLUMNS)) < 0.1
    still = (rng.random((2, ROWS // 4, COLUMNS // 4)) < 0.3).repeat(4, 1).repeat(4, 2)
    limits = np.stack([smoothing.limits((int(y), int(uv))) for y, uv in steps])

    painted = tensor_paint.paint(
        torch.from_numpy(symbols), planes_from(prediction), torch.from_numpy(still),
        torch.from_numpy(steps),
    )  # fmt: skip
    coded = [painted.planes[0].clone(), *painted.planes[1:]]
    smooth(
        painted.planes, painted.coded, torch.from_numpy(moved), torch.from_numpy(intra),
        torch.from_numpy(still), torch.from_numpy(limits),
    )  # fmt: skip
    for k in range(2):
        wanted = prediction[k].copy()
        own = (int(steps[k, 0]), int(steps[k, 1]))
        parts = native.paint(symbols[k], wanted, still[k], own)
        assert np.array_equal(coded[0][k].numpy(), planes_from(wanted[None])[0][0].numpy())
        native.smooth(wanted, parts, moved[k], intra[k].astype(np.uint8), still[k], limits[k])
        assert np.array_equal(blocks_from([plane[k] for plane in painted.planes]), wanted)


@pytest.mark.parametrize("kind", ["intra", "delta"])
@pytest.mark.parametrize("model", ["n64", "s128"])
def test_refined_pictures_equal_those_of_c(model: str, kind: str) -> None:
    refinement = Refinement.of(find_bundle(model).group("refine"), kind)
    assert refinement is not None
    refine = Refine(refinement)
    rng = np.random.default_rng(8)
    for start in range(0, 64, 16):  # every qp once, and tiles that stay as they are
        stored = [fine_blocks(rng, 16, 16, roughness=30 * 4**k) for k in range(2)]  # 16 tiles each
        of_tiles = np.full((2, 4, 4), native.NO_QP, np.uint8)
        of_tiles.reshape(2, -1)[0] = np.arange(start, start + 16)
        of_tiles[1, 1:, 2] = start
        out = refine(pictures_of(stored).planes, torch.from_numpy(of_tiles))
        for k in range(2):
            reference = native.Reference(16, 16)
            reference.fill(stored[k])
            wanted = refinement(reference, of_tiles[k])
            assert np.array_equal(blocks_from([plane[k] for plane in out]), wanted)
