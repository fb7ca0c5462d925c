"""Motion: C equals the plain form, vectors come back from symbols, the search finds what moved."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.engine.blocks import fill_blocks, planes_of
from rtcodec.motion.native import (
    BLOCK_SAMPLES,
    FINE,
    LinearPath,
    Reference,
    differences,
    nonzero,
    quantise,
    rounded,
)
from rtcodec.motion.predict import GREY, predict
from rtcodec.motion.said import Said
from rtcodec.motion.search import COARSEST_STEP, FINEST_STEP, find_motion, nominal_step
from rtcodec.motion.vectors import conceal_motion, motion_symbols, vectors_of

ROWS, COLUMNS = 8, 12
CALM_STEP = 8.0


def noise(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (ROWS, COLUMNS, BLOCK_SAMPLES), dtype=np.uint8)


def smooth(offset_x: float, offset_y: float) -> NDArray[np.uint8]:
    """Blocks of waves that are moved by an offset in luma samples."""
    planes = []
    for scale in (1, 2, 2):
        y, x = np.mgrid[0 : ROWS * 16 // scale, 0 : COLUMNS * 16 // scale] * float(scale)
        x, y = x - offset_x, y - offset_y
        wave = np.sin(x / 5.1) + np.sin(y / 7.3 + 1) + np.sin((x + y) / 11.7) * np.cos(x / 23)
        planes.append((128 + 35 * wave).round().clip(0, 255).astype(np.uint8))
    blocks = np.empty((ROWS, COLUMNS, BLOCK_SAMPLES), np.uint8)
    fill_blocks(planes, blocks)
    return blocks


def reference(blocks: NDArray[np.uint8]) -> Reference:
    picture = Reference(*blocks.shape[:2])
    picture.fill(blocks)
    return picture


@pytest.mark.parametrize("reach", [0, 3, 40, 700, 32767])
def test_prediction_equals_the_plain_form(reach: int) -> None:
    rng = np.random.default_rng(reach)
    blocks = noise(reach)
    vectors = rng.integers(-reach - 1, reach + 1, (ROWS, COLUMNS, 2)).astype(np.int16)
    intra = (rng.random((ROWS, COLUMNS)) < 0.1).astype(np.uint8)
    fine = blocks.astype(np.uint16) * FINE + rng.integers(0, 16, blocks.shape, dtype=np.uint16)
    fine = np.minimum(fine, 255 * FINE)
    fast = reference(fine).predict(vectors, intra)
    y, u, v = (plane.astype(np.uint16) for plane in planes_of(fine))
    assert np.array_equal(fast, predict((y, u, v), vectors, intra))
    assert (fast[intra > 0] == GREY).all()


def test_no_motion_predicts_the_picture_itself() -> None:
    blocks = noise(3)
    still = np.zeros((ROWS, COLUMNS, 2), np.int16)
    nothing = np.zeros((ROWS, COLUMNS), np.uint8)
    assert np.array_equal(reference(blocks).predict(still, nothing), blocks * np.uint16(FINE))


def test_fine_samples_are_rounded_to_the_nearest_byte() -> None:
    fine = np.array([[0, 7, 8, 24, 4079, 4080]], np.uint16)
    assert rounded(fine).tolist() == [[0, 0, 1, 2, 255, 255]]
    with pytest.raises(ValueError, match="do not fit"):
        rounded(fine, np.zeros((1, 5), np.uint8))


def test_symbols_that_are_not_zero_are_painted_as_by_a_matrix() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 0.05, (384, 20)).astype(np.float32)
    few = rng.random((ROWS, COLUMNS, 23)) < 0.1
    symbols: NDArray[np.int16] = (rng.integers(-3, 4, few.shape) * few).astype(np.int16)
    gains = rng.uniform(0.01, 0.2, 20).astype(np.float32)
    corrections = rng.normal(0, 2, (ROWS, COLUMNS, 384)).astype(np.float32)
    prediction = noise(2).astype(np.uint16) * FINE
    still = rng.random((ROWS, COLUMNS)) < 0.3
    at = nonzero(symbols)
    assert np.array_equal(at, np.flatnonzero(symbols))
    painted = LinearPath(weights).paint(symbols, at, gains, corrections, prediction, still)
    straight = (symbols[..., :20] * gains) @ weights.T * 255
    wanted = np.clip((straight + corrections) * FINE + prediction, 0, 255 * FINE)
    wanted[still] = prediction[still]
    assert np.abs(painted - wanted).max() <= 0.52
    with pytest.raises(ValueError, match="symbols do not fit"):
        LinearPath(weights).paint(
            symbols, np.array([symbols.size], np.uint32), gains, corrections, prediction, still
        )
    with pytest.raises(ValueError, match="in order"):
        LinearPath(weights).paint(symbols, at, gains[:5], corrections, prediction, still)


def test_what_is_said_is_counted_by_tile() -> None:
    symbols = np.zeros((ROWS, COLUMNS, 5), np.int16)
    symbols[0, 0, 4], symbols[3, 3, 0], symbols[4, 11, 1] = 1, -2, 3
    said = Said.of(symbols)
    assert said.count().tolist() == [2, 0, 0, 0, 0, 1]
    assert said.channels.tolist() == [4, 0, 1]
    assert said.count(said.channels < 2).tolist() == [1, 0, 0, 0, 0, 1]
    spared = np.array([True, False, False, False, False, False])
    assert said.without(spared).count().tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("reach", [1, 20, 32767])
def test_vectors_come_back_from_their_symbols(reach: int) -> None:
    rng = np.random.default_rng(reach)
    vectors = rng.integers(-reach - 1, reach + 1, (ROWS, COLUMNS, 2)).astype(np.int16)
    intra = rng.integers(0, 2, (ROWS, COLUMNS)).astype(np.uint8)
    back, back_intra = vectors_of(motion_symbols(vectors, intra))
    assert np.array_equal(back, vectors)
    assert np.array_equal(back_intra, intra)


def test_symbols_of_a_tile_depend_on_that_tile_alone() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(-90, 90, (ROWS, COLUMNS, 2)).astype(np.int16)
    intra = np.zeros((ROWS, COLUMNS), np.uint8)
    before = motion_symbols(vectors, intra)
    vectors[:4, :4] += 7
    after = motion_symbols(vectors, intra)
    changed = (before != after).any(2)
    assert changed[0, 0]
    assert not changed[4:].any()
    assert not changed[:, 4:].any()


def test_a_pan_costs_one_vector_a_tile() -> None:
    vectors = np.full((ROWS, COLUMNS, 2), 13, np.int16)
    symbols = motion_symbols(vectors, np.zeros((ROWS, COLUMNS), np.uint8))
    assert np.count_nonzero(symbols[..., 0]) == ROWS // 4 * COLUMNS // 4


@pytest.mark.parametrize("moved", [(0, 0), (3, 0), (-5, 4), (2.25, -1.5), (0.5, 0.75), (14, -9)])
def test_the_search_finds_what_moved(moved: tuple[float, float]) -> None:
    before, now = smooth(0, 0), smooth(*moved)
    vectors, intra = find_motion(reference(before), now, FINEST_STEP, None)
    inner = vectors[2:-2, 2:-2].reshape(-1, 2)
    # To a quarter: the waves are rounded to bytes.
    right = np.abs(inner + 4 * np.array(moved)).max(1) <= 1
    assert right.mean() > 0.9
    assert not intra[2:-2, 2:-2].any()


def test_what_rests_is_left_at_rest() -> None:
    rng = np.random.default_rng(2)
    before = smooth(0, 0)
    noisy = np.clip(before + rng.normal(0, 0.4, before.shape), 0, 255).round().astype(np.uint8)
    vectors, intra = find_motion(reference(before), noisy, COARSEST_STEP, None)
    assert not vectors.any()
    assert not intra.any()


def test_the_search_begins_where_the_last_one_ended() -> None:
    before, now = smooth(0, 0), smooth(30, 0)
    start = np.tile(np.array([-120, 0], np.int16), (ROWS, COLUMNS, 1))
    led, _ = find_motion(reference(before), now, FINEST_STEP, start)
    assert (np.abs(led[2:-2, 3:-2] - (-120, 0)).max(2) <= 1).mean() > 0.9
    assert (start == (-120, 0)).all()  # it is read, not written


def test_flat_blocks_of_a_new_scene_have_no_prediction() -> None:
    now = np.full((ROWS, COLUMNS, BLOCK_SAMPLES), 30, np.uint8)
    _, intra = find_motion(reference(noise(5)), now, CALM_STEP, None)
    assert intra.all()


def test_steps_span_the_range_evenly() -> None:
    assert nominal_step(0) == pytest.approx(FINEST_STEP)
    assert nominal_step(63) == pytest.approx(COARSEST_STEP)
    assert nominal_step(20) / nominal_step(10) == pytest.approx(nominal_step(50) / nominal_step(40))


def test_differences_are_bytes_around_128() -> None:
    blocks, prediction = noise(1), noise(2)
    out = np.empty_like(blocks)
    differences(blocks, prediction, out)
    wanted = np.clip(blocks.astype(np.int16) - prediction + 128, 0, 255)
    assert np.array_equal(out, wanted)


def test_latents_are_cut_as_in_training() -> None:
    rng = np.random.default_rng(0)
    latents = (rng.standard_normal((ROWS, COLUMNS, 5)) * 30).astype(np.float32)
    latents[0, 0, :2] = (1e9, -1e9)
    indices = rng.integers(0, 64, (ROWS, COLUMNS, 8)).astype(np.uint8)
    rounding = np.linspace(0.02, 0.5, 64).astype(np.float32)
    rounding[0] = -1e12
    indices[0, 0, :2] = 9
    symbols = np.full((ROWS, COLUMNS, 8), -7, np.int16)
    quantise(latents, indices, rounding, symbols)
    offset = rounding[indices[..., :5]]
    moduli = np.clip(np.floor(np.abs(latents) + offset), 0, 32767)
    assert np.array_equal(symbols[..., :5], np.sign(latents) * moduli)
    assert (symbols[..., 5:] == -7).all()  # motion has its place there
    assert (symbols[..., :5][indices[..., :5] == 0] == 0).all()


def test_missing_tiles_move_with_their_neighbours() -> None:
    vectors = np.zeros((ROWS, COLUMNS, 2), np.int16)
    vectors[:, :4], vectors[:, 4:] = (8, -4), (16, -4)
    symbols = motion_symbols(vectors, np.zeros((ROWS, COLUMNS), np.uint8))
    present = np.ones((2, 3), np.bool_)
    present[0, 1] = False
    symbols[:4, 4:8] = 0
    conceal_motion(symbols, present)
    moved, _ = vectors_of(symbols)
    assert (moved[:4, 4:8] == moved[0, 4]).all()
    assert 8 < moved[0, 4, 0] < 16
    assert moved[0, 4, 1] == -4
    present[...] = False
    untouched = symbols.copy()
    conceal_motion(symbols, present)  # nothing to go by
    assert np.array_equal(symbols, untouched)


def test_arguments_that_do_not_fit_are_refused() -> None:
    picture = Reference(ROWS, COLUMNS)
    still, nothing = np.zeros((ROWS, COLUMNS, 2), np.int16), np.zeros((ROWS, COLUMNS), np.uint8)
    with pytest.raises(ValueError, match="no reference of 0 x 4"):
        Reference(0, 4)
    with pytest.raises(ValueError, match="is no uint16"):
        picture.fill(noise(1)[:4])
    with pytest.raises(ValueError, match="is no int16"):
        picture.predict(still.astype(np.int32), nothing)
    with pytest.raises(ValueError, match="in order"):
        picture.predict(still, np.asfortranarray(nothing))
    with pytest.raises(ValueError, match="is no uint8"):
        differences(noise(1), noise(2)[:1], np.empty_like(noise(1)))
    floats = np.zeros((ROWS, COLUMNS, 4), np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        quantise(floats, nothing[..., None], np.zeros(64, np.float32), still)
