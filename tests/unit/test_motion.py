"""Motion: C equals the plain form, vectors come back from symbols, the search finds what moved."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.engine.blocks import fill_blocks, planes_of
from rtcodec.entropy.contexts import KINDS, LEVELS, READ_FROM
from rtcodec.motion import layout, smoothing
from rtcodec.motion import transform as plain
from rtcodec.motion.hyper import HyperAnalysis
from rtcodec.motion.latents import LEAST, Latents, quantise, transform
from rtcodec.motion.native import (
    ALONE,
    BLOCK_SAMPLES,
    FINE,
    INTRA,
    WHOLE,
    Reference,
    nonzero,
    paint,
    rounded,
    smooth,
)
from rtcodec.motion.predict import GREY, predict
from rtcodec.motion.said import Said
from rtcodec.motion.search import COARSEST_STEP, FINEST_STEP, find_motion, nominal_step
from rtcodec.motion.vectors import (
    CHANNELS,
    INTRA_CHANNEL,
    SPLIT_CHANNEL,
    conceal_motion,
    motion_symbols,
    motion_symbols_reference,
    vectors_of,
)
from rtcodec.types import Planes
from support.portable import portable_motion

ROWS, COLUMNS = 8, 12
CALM_STEP = 8.0


def noise(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (ROWS, COLUMNS, BLOCK_SAMPLES), dtype=np.uint8)


def waves(offset_x: float, offset_y: float) -> NDArray[np.uint8]:
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


def dense(latents: Latents) -> NDArray[np.float32]:
    """All latents, 0 where none is listed."""
    all_of = np.zeros((*latents.ends.shape, BLOCK_SAMPLES), np.float32)
    all_of.reshape(-1)[latents.at] = latents.values
    return all_of


def reference(blocks: NDArray[np.uint8]) -> Reference:
    picture = Reference(*blocks.shape[:2])
    picture.fill(blocks)
    return picture


@pytest.mark.parametrize("reach", [0, 3, 40, 700, 32767])
def test_prediction_equals_the_plain_form(reach: int) -> None:
    rng = np.random.default_rng(reach)
    blocks = noise(reach)
    vectors = rng.integers(-reach - 1, reach + 1, (ROWS, COLUMNS, 4, 2)).astype(np.int16)
    intra = (rng.random((ROWS, COLUMNS)) < 0.1).astype(np.uint8)
    intra[1, 9] = ALONE
    vectors[4:, :4] = 0
    fine = blocks.astype(np.uint16) * FINE + rng.integers(0, 16, blocks.shape, dtype=np.uint16)
    fine = np.minimum(fine, 255 * FINE)
    vectors[::2] = vectors[::2, :, :1]  # those that move as one are predicted as one
    fast = reference(fine).predict(vectors, intra)
    y, u, v = (plane.astype(np.uint16) for plane in planes_of(fine))
    assert np.array_equal(fast, predict((y, u, v), vectors, intra))
    assert (fast[intra == INTRA] == GREY).all()
    assert np.array_equal(fast[4:, :4][intra[4:, :4] == 0], fine[4:, :4][intra[4:, :4] == 0])
    intra[4, 9] = ALONE
    alone = reference(fine).predict(vectors, intra)
    assert np.array_equal(alone[:4], fast[:4])
    assert np.array_equal(alone[4:, 8:], predict((y, u, v), vectors, intra)[4:, 8:])
    assert (alone[4:, 8:] != fast[4:, 8:]).any()


def test_what_moves_overlaps_where_that_is_nearer() -> None:
    """Along the border of two motions: half way between them, or as each of them brings it."""
    picture = reference(waves(0, 0))
    vectors = np.zeros((ROWS, COLUMNS, 4, 2), np.int16)
    vectors[:, 6:, :, 0] = 8
    nothing, alone = (np.full((ROWS, COLUMNS), value, np.uint8) for value in (0, ALONE))
    overlapped, cut = (picture.predict(vectors, intra) for intra in (nothing, alone))
    border = (slice(None), slice(5, 7))
    assert (overlapped[border] != cut[border]).any()
    assert np.array_equal(overlapped[:, :5], cut[:, :5])
    assert np.array_equal(overlapped[:, 7:], cut[:, 7:])
    for wanted, n_alone in ((overlapped, 0), (cut, ROWS // 4)):
        intra = nothing.copy()
        best = picture.predict_best(vectors, intra, rounded(wanted), 2.0)
        assert np.array_equal(best, wanted)
        assert np.count_nonzero(intra == ALONE) == n_alone
        assert np.array_equal(best, picture.predict(vectors, intra))


def test_no_motion_predicts_the_picture_itself() -> None:
    blocks = noise(3)
    still = np.zeros((ROWS, COLUMNS, 4, 2), np.int16)
    nothing = np.zeros((ROWS, COLUMNS), np.uint8)
    assert np.array_equal(reference(blocks).predict(still, nothing), blocks * np.uint16(FINE))


def test_fine_samples_are_rounded_to_the_nearest_byte() -> None:
    fine = np.array([[0, 7, 8, 24, 4079, 4080]], np.uint16)
    assert rounded(fine).tolist() == [[0, 0, 1, 2, 255, 255]]
    with pytest.raises(ValueError, match="do not fit"):
        rounded(fine, np.zeros((1, 5), np.uint8))


@pytest.mark.parametrize("largest", [2, 500, 32767])
def test_painting_equals_the_plain_form(largest: int) -> None:
    rng = np.random.default_rng(largest)
    few = rng.random((ROWS, COLUMNS, 384 + CHANNELS)) < 0.05
    symbols = (rng.integers(-largest, largest + 1, few.shape) * few).astype(np.int16)
    symbols[..., -1] = rng.random((ROWS, COLUMNS)) < 0.5
    symbols[0, :, :384] = 0
    prediction = rng.integers(0, 255 * FINE + 1, (ROWS, COLUMNS, 384)).astype(np.uint16)
    still = rng.random((ROWS, COLUMNS)) < 0.3
    painted = prediction.copy()
    coded = paint(symbols, painted, still, (190, 4096))
    assert np.array_equal(painted, plain.paint(symbols, prediction, still, (190, 4096)))
    assert np.array_equal(painted[still], prediction[still])
    by_part = symbols[..., :384].reshape(ROWS, COLUMNS, 64, 6).any(2) & ~still[..., None]
    assert np.array_equal(coded, (by_part << np.arange(6)).sum(2))
    with pytest.raises(ValueError, match="symbols do not fit"):
        paint(np.ascontiguousarray(symbols[..., :300]), prediction, still, (190, 190))
    with pytest.raises(ValueError, match="in order"):
        paint(symbols, prediction[:4], still, (190, 190))


def test_latents_are_those_of_the_cheaper_basis() -> None:
    blocks, prediction = noise(1) // 8, noise(2) // 8 * np.uint16(FINE)
    blocks[:, ::2, :4] += 90  # a corner
    blocks[:2] = prediction[:2] // FINE
    latents = transform(blocks, prediction, (100, 80))
    assert latents.split[2:, ::2].mean() > 0.5
    assert not latents.split[:2].any()
    assert not dense(latents)[:2].any()
    places = np.repeat(np.arange(ROWS * COLUMNS), np.diff(latents.ends.ravel(), prepend=0))
    assert np.array_equal(latents.at // BLOCK_SAMPLES, places)
    steps = np.tile(np.repeat([100, 80], [4, 2]), 64)
    for chosen in (0, 1):
        basis = plain.basis(split=bool(chosen))
        assert np.abs(basis @ basis.T - np.eye(384)).max() < 1e-3
        wanted = (blocks * 16.0 - prediction) @ basis.T / steps
        wanted[np.abs(wanted) < LEAST] = 0
        wrong = np.abs(dense(latents) - wanted)[latents.split == chosen]
        assert np.minimum(wrong, np.abs(wrong - LEAST)).max() < 1e-3
    with pytest.raises(ValueError, match="in order"):
        transform(blocks, prediction[:4], (100, 80))


def test_fine_steps_bring_a_picture_back() -> None:
    blocks, painted = noise(1), noise(2).astype(np.uint16) * FINE
    latents = transform(blocks, painted, (8, 8))
    symbols = np.zeros((ROWS, COLUMNS, 384 + CHANNELS), np.int16)
    symbols[..., :384] = np.rint(dense(latents))
    symbols[..., -1] = latents.split
    paint(symbols, painted, np.zeros((ROWS, COLUMNS), np.bool_), (8, 8))
    assert np.abs(rounded(painted).astype(int) - blocks).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(192, 128), (185, 113), (16, 16), (1, 1)])
def test_planes_become_blocks_with_their_edges_repeated(width: int, height: int) -> None:
    rng = np.random.default_rng(width)
    half = ((height + 1) // 2, (width + 1) // 2)
    sides = ((height, width), half, half)
    planes = [rng.integers(0, 256, side, dtype=np.uint8) for side in sides]
    padded = [
        np.pad(p, [(0, (ROWS * n - p.shape[0])), (0, (COLUMNS * n - p.shape[1]))], mode="edge")
        for p, n in zip(planes, (16, 8, 8), strict=True)
    ]
    wanted, blocks = (np.empty((ROWS, COLUMNS, BLOCK_SAMPLES), np.uint8) for _ in range(2))
    fill_blocks(padded, wanted)
    layout.fill_blocks(Planes(*planes), blocks)
    assert np.array_equal(blocks, wanted)
    back = layout.planes_of(blocks * np.uint16(FINE) + np.uint16(7), width, height)
    for plane, was in zip((back.y, back.u, back.v), planes, strict=True):
        assert np.array_equal(plane, was)
    with pytest.raises(ValueError, match="is more than"):
        layout.fill_blocks(Planes(*planes), blocks[:0])
    with pytest.raises(ValueError, match="do not hold"):
        layout.planes_of(blocks.astype(np.uint16), 193, 1)


@pytest.mark.parametrize("contrast", [4, 40, 400, 40000])
def test_smoothing_equals_the_plain_form(contrast: int) -> None:
    rng = np.random.default_rng(contrast)
    blocks = np.clip(2000 + rng.normal(0, contrast, (ROWS, COLUMNS, 384)), 0, 255 * FINE)
    fast, slow = blocks.astype(np.uint16), blocks.astype(np.uint16)
    coded = rng.integers(0, 64, (ROWS, COLUMNS)).astype(np.uint8)
    coded[rng.random((ROWS, COLUMNS)) < 0.5] = 0
    vectors = rng.integers(-5, 6, (ROWS, COLUMNS, 4, 2)).astype(np.int16)
    vectors[::2] = vectors[::2, :, :1]
    vectors[:, ::3] = 0
    intra = (rng.random((ROWS, COLUMNS)) < 0.1).astype(np.uint8)
    intra[rng.random((ROWS, COLUMNS)) < 0.3] |= WHOLE
    still = np.zeros((ROWS, COLUMNS), np.bool_)
    still[:4, 4:8] = True
    bounds = smoothing.limits((300, 200))
    smooth(fast, coded, vectors, intra, still, bounds)
    smoothing.smooth(slow, coded, vectors, intra, still, bounds)
    assert np.array_equal(fast, slow)
    assert np.array_equal(fast[still], blocks.astype(np.uint16)[still])
    with pytest.raises(ValueError, match="in order"):
        smooth(fast, coded[:1], vectors, intra, still, bounds)


def test_nothing_is_smoothed_within_luma_that_is_one_part() -> None:
    blocks = np.full((ROWS, COLUMNS, 384), 2000, np.uint16)
    luma = blocks[..., :256].reshape(ROWS, COLUMNS, 16, 16)
    luma[..., 8:] += 20
    blocks[..., :256] = luma.reshape(ROWS, COLUMNS, 256)
    coded = np.full((ROWS, COLUMNS), 63, np.uint8)
    vectors = np.zeros((ROWS, COLUMNS, 4, 2), np.int16)
    still = np.zeros((ROWS, COLUMNS), np.bool_)
    seen = []
    for said in (INTRA, INTRA | WHOLE):
        was = blocks.copy()
        intra = np.full((ROWS, COLUMNS), said, np.uint8)
        smooth(was, coded, vectors, intra, still, smoothing.limits((300, 300)))
        seen.append((was != blocks)[..., :256].reshape(ROWS, COLUMNS, 16, 16))
    within, outside = slice(5, 11), [0, 1, 14, 15]
    assert seen[0][1:-1, 1:-1, :, within].any()
    assert not seen[1][..., within].any()
    assert seen[1][:, 1:-1][..., outside].any()


def test_a_step_at_an_edge_is_smoothed_and_a_contour_is_not() -> None:
    for height, changes in ((40, True), (900, False)):
        blocks = np.full((ROWS, COLUMNS, 384), 2000, np.uint16)
        blocks[:, 1::2] += height
        was = blocks.copy()
        coded = np.full((ROWS, COLUMNS), 63, np.uint8)
        vectors = np.zeros((ROWS, COLUMNS, 4, 2), np.int16)
        nothing = np.zeros((ROWS, COLUMNS), np.uint8)
        still = np.zeros((ROWS, COLUMNS), np.bool_)
        smooth(blocks, coded, vectors, nothing, still, smoothing.limits((300, 300)))
        assert (blocks != was).any() == changes
        luma = blocks[..., :256].reshape(ROWS, COLUMNS, 16, 16).swapaxes(1, 2)
        lines = luma.reshape(ROWS * 16, COLUMNS * 16).astype(int)
        steps = np.abs(np.diff(lines, axis=1)).max()
        assert (steps < height) == changes


def test_symbols_that_are_not_zero_are_found() -> None:
    symbols = np.zeros((ROWS, COLUMNS, 5), np.int16)
    symbols[1, 2], symbols[-1, -1, -1] = -3, 9
    assert np.array_equal(nonzero(symbols), np.flatnonzero(symbols))


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
    vectors = rng.integers(-reach - 1, reach + 1, (ROWS, COLUMNS, 4, 2)).astype(np.int16)
    intra = rng.integers(0, 3, (ROWS, COLUMNS)).astype(np.uint8)
    symbols = motion_symbols(vectors, intra)
    assert np.array_equal(symbols, motion_symbols_reference(vectors, intra))
    back, back_intra = vectors_of(symbols)
    assert np.array_equal(back, vectors)
    assert np.array_equal(back_intra, intra)


def test_symbols_of_a_tile_depend_on_that_tile_alone() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(-90, 90, (ROWS, COLUMNS, 4, 2)).astype(np.int16)
    intra = np.zeros((ROWS, COLUMNS), np.uint8)
    before = motion_symbols(vectors, intra)
    vectors[:4, :4] += 7
    after = motion_symbols(vectors, intra)
    changed = (before != after).any(2)
    assert changed[0, 0]
    assert not changed[4:].any()
    assert not changed[:, 4:].any()


def test_any_symbols_are_some_vectors() -> None:
    rng = np.random.default_rng(5)
    symbols = rng.integers(-(2**15), 2**15, (ROWS, COLUMNS, CHANNELS)).astype(np.int16)
    symbols[..., INTRA_CHANNEL] = np.sign(symbols[..., INTRA_CHANNEL])
    symbols[..., SPLIT_CHANNEL] = 0
    vectors, intra = vectors_of(symbols)
    assert np.array_equal(motion_symbols(vectors, intra), symbols)


def test_a_pan_costs_one_vector_a_tile() -> None:
    vectors = np.full((ROWS, COLUMNS, 4, 2), 13, np.int16)
    symbols = motion_symbols(vectors, np.zeros((ROWS, COLUMNS), np.uint8))
    assert np.count_nonzero(symbols[..., 0]) == ROWS // 4 * COLUMNS // 4
    assert np.count_nonzero(symbols) == 2 * np.count_nonzero(symbols[..., 0])


@pytest.mark.parametrize("moved", [(0, 0), (3, 0), (-5, 4), (2.25, -1.5), (0.5, 0.75), (14, -9)])
def test_the_search_finds_what_moved(moved: tuple[float, float]) -> None:
    before, now = waves(0, 0), waves(*moved)
    vectors, intra = find_motion(reference(before), now, FINEST_STEP, None)
    inner = vectors[2:-2, 2:-2].reshape(-1, 2)
    # To a quarter: the waves are rounded to bytes.
    right = np.abs(inner + 4 * np.array(moved)).max(1) <= 1
    assert right.mean() > 0.9
    assert not intra[2:-2, 2:-2].any()


def test_two_motions_in_a_block_are_found_for_its_quarters() -> None:
    still, moving = waves(0, 0), waves(6, 0)
    now = still.copy()
    shape = (ROWS, COLUMNS, 16, 16)
    top_left = (..., slice(0, 8), slice(0, 8))
    now[..., :256].reshape(shape)[top_left] = moving[..., :256].reshape(shape)[top_left]
    picture = reference(still)
    vectors, intra = find_motion(picture, now, FINEST_STEP, None)

    alone = np.full_like(intra, ALONE)

    def error(vectors: NDArray[np.int16]) -> float:
        luma = rounded(picture.predict(vectors, alone))[2:-2, 2:-2, :256].astype(int)
        return float(np.abs(luma - now[2:-2, 2:-2, :256]).mean())

    as_one = np.repeat(vectors[:, :, 3:], 4, axis=2)
    assert error(vectors) < 0.25 * error(as_one)
    assert (vectors[2:-2, 2:-2, 0] != vectors[2:-2, 2:-2, 3]).any(2).mean() > 0.8


def test_a_speck_of_colour_in_a_smooth_block_is_not_kept() -> None:
    now = np.full((ROWS, COLUMNS, BLOCK_SAMPLES), 90, np.uint8)
    before = now.copy()
    before[2, 3, 256 + 9] += 60  # one sample of u
    vectors, intra = find_motion(reference(before), now, nominal_step(34), None)
    assert not vectors.any()
    assert np.argwhere(intra).tolist() == [[2, 3]]


def test_what_rests_is_left_at_rest() -> None:
    rng = np.random.default_rng(2)
    before = waves(0, 0)
    noisy = np.clip(before + rng.normal(0, 0.4, before.shape), 0, 255).round().astype(np.uint8)
    vectors, intra = find_motion(reference(before), noisy, COARSEST_STEP, None)
    assert not vectors.any()
    assert not intra.any()


def test_the_search_begins_where_the_last_one_ended() -> None:
    before, now = waves(0, 0), waves(30, 0)
    start = np.tile(np.array([-120, 0], np.int16), (ROWS, COLUMNS, 4, 1))
    led, _ = find_motion(reference(before), now, FINEST_STEP, start)
    assert (np.abs(led[2:-2, 3:-2] - (-120, 0)).max(3) <= 1).mean() > 0.9
    assert (start == (-120, 0)).all()  # it is read, not written


def test_flat_blocks_of_a_new_scene_have_no_prediction() -> None:
    now = np.full((ROWS, COLUMNS, BLOCK_SAMPLES), 30, np.uint8)
    _, intra = find_motion(reference(noise(5)), now, CALM_STEP, None)
    assert intra.all()


def test_steps_span_the_range_evenly() -> None:
    assert nominal_step(0) == pytest.approx(FINEST_STEP)
    assert nominal_step(63) == pytest.approx(COARSEST_STEP)
    assert nominal_step(20) / nominal_step(10) == pytest.approx(nominal_step(50) / nominal_step(40))


def test_latents_are_cut_as_in_training() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((ROWS, COLUMNS, 384)) * 3).astype(np.float32)
    values[0, 0, :2] = (1e9, -1e9)
    values[np.abs(values) < LEAST] = 0
    at = np.flatnonzero(values)
    by_part = at[np.lexsort((at, at % 6, at // 384))].astype(np.uint32)
    ends = np.cumsum(np.count_nonzero(values, 2)).reshape(ROWS, COLUMNS).astype(np.uint32)
    latents = Latents(
        by_part, values.reshape(-1)[by_part], ends, np.zeros((ROWS, COLUMNS), np.uint8)
    )
    indices = rng.integers(0, 64, (ROWS, COLUMNS, 384 + CHANNELS)).astype(np.uint8)
    rounding = np.linspace(0.02, 0.5, 64).astype(np.float32)
    rounding[0] = -1e12
    indices[0, 0, :2] = 9
    symbols = np.zeros(indices.shape, np.int16)
    offsets = np.zeros((KINDS, LEVELS), np.int8)
    said, meant = quantise(latents, indices, rounding, offsets, symbols)
    offset = np.where(indices < READ_FROM, -1e12, rounding[indices])[..., :384]
    moduli = np.clip(np.floor((np.abs(values) + offset).astype(np.float32)), 0, 32767)
    assert np.array_equal(symbols[..., :384], np.sign(values) * moduli)
    assert not symbols[..., 384:].any()  # motion has its place there
    assert (symbols[..., :384][indices[..., :384] == 0] == 0).all()
    assert np.array_equal(np.sort(said), nonzero(symbols))
    places, channels = np.divmod(said, 384 + CHANNELS)
    assert np.array_equal(meant, values.reshape(-1, 384)[places, channels])
    with pytest.raises(ValueError, match="do not fit"):
        quantise(latents, indices, rounding[:9], offsets, symbols)
    with pytest.raises(ValueError, match="do not fit"):
        quantise(latents, indices, rounding, offsets, symbols[:4].copy())
    with pytest.raises(ValueError, match="in order"):
        quantise(latents, indices[:, ::2], rounding, offsets, symbols)
    with pytest.raises(ValueError, match="offsets of contexts are int8 \\(30, 15\\)"):
        quantise(latents, indices, rounding, offsets[:, :15], symbols)


def test_missing_tiles_move_with_their_neighbours() -> None:
    vectors = np.zeros((ROWS, COLUMNS, 4, 2), np.int16)
    vectors[:, :4], vectors[:, 4:] = (8, -4), (16, -4)
    symbols = motion_symbols(vectors, np.zeros((ROWS, COLUMNS), np.uint8))
    present = np.ones((2, 3), np.bool_)
    present[0, 1] = False
    symbols[:4, 4:8] = 0
    conceal_motion(symbols, present)
    moved, _ = vectors_of(symbols)
    assert (moved[:4, 4:8] == moved[0, 4, 0]).all()
    assert 8 < moved[0, 4, 0, 0] < 16
    assert moved[0, 4, 0, 1] == -4
    present[...] = False
    untouched = symbols.copy()
    conceal_motion(symbols, present)  # nothing to go by
    assert np.array_equal(symbols, untouched)


def test_every_build_finds_and_codes_the_same(tmp_path: Path) -> None:
    before = np.clip(waves(0, 0) + noise(3) // 16 - 8.0, 0, 255).astype(np.uint8)
    now = np.clip(waves(5, 2.25) + noise(4) // 16 - 8.0, 0, 255).astype(np.uint8)

    rng = np.random.default_rng(6)
    layers = (("first", 64, 394), ("second", 96, 256), ("third", 40, 384))
    weights = {}
    for name, m, n in layers:
        weights[f"hyper_analysis.{name}.weight"] = rng.normal(0, 0.1, (m, n, 1, 1))
        weights[f"hyper_analysis.{name}.bias"] = rng.normal(0, 0.1, m)
    hyper = HyperAnalysis(weights)

    def coded() -> list[NDArray[np.generic]]:
        picture = reference(before)
        vectors, intra = find_motion(picture, now, nominal_step(20), None)
        prediction = picture.predict_best(vectors, intra, now, nominal_step(20))
        latents = transform(now, prediction, (100, 80))
        symbols = np.zeros((ROWS, COLUMNS, 384 + CHANNELS), np.int16)
        symbols[..., :384] = dense(latents)
        still = np.zeros((ROWS, COLUMNS), np.bool_)
        parts = paint(symbols, prediction, still, (100, 80))
        smooth(prediction, parts, vectors, intra, still, smoothing.limits((100, 80)))
        tiles, z = hyper.describe(latents, motion_symbols(vectors, intra))
        assert len(np.unique(z)) > 5
        return [vectors, intra, latents.at, latents.values, latents.split, prediction, tiles, z]

    here = coded()
    with portable_motion(tmp_path):
        for one, other in zip(here, coded(), strict=True):
            assert np.array_equal(one, other)


def test_arguments_that_do_not_fit_are_refused() -> None:
    picture = Reference(ROWS, COLUMNS)
    still, nothing = np.zeros((ROWS, COLUMNS, 4, 2), np.int16), np.zeros((ROWS, COLUMNS), np.uint8)
    with pytest.raises(ValueError, match="no reference of 0 x 4"):
        Reference(0, 4)
    with pytest.raises(ValueError, match="is no uint16"):
        picture.fill(noise(1)[:4])
    with pytest.raises(ValueError, match="is no int16"):
        picture.predict(still.astype(np.int32), nothing)
    with pytest.raises(ValueError, match="in order"):
        picture.predict(still, np.asfortranarray(nothing))
    with pytest.raises(ValueError, match="is no uint8"):
        picture.predict_best(still, nothing, noise(1)[:4], 2.0)
    with pytest.raises(ValueError, match="are not the vectors of"):
        motion_symbols(still[:4], nothing)
