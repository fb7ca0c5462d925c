"""Frames predicted from themselves: C equals the plain form, and paints what was thought."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.engine.blocks import fill_blocks, planes_of
from rtcodec.entropy.contexts import KINDS, LEVELS
from rtcodec.motion import native, spatial, within
from rtcodec.motion.latents import LEAST
from rtcodec.motion.native import BLOCK_SAMPLES, FINE
from rtcodec.motion.spatial import (
    ACROSS,
    DOWN,
    GREY,
    MEAN,
    MODES,
    PLANAR,
    chroma_order,
    mode_order,
    rank_of,
)
from rtcodec.motion.vectors import CHANNELS, SPLIT_CHANNEL
from rtcodec.types import COPY_CHANNELS
from support.portable import portable_motion

ROWS, COLUMNS = 4, 8
SYMBOLS = BLOCK_SAMPLES + CHANNELS
LARGE = BLOCK_SAMPLES + within.LARGE_CHANNEL
NO_CONTEXTS = np.zeros((KINDS, LEVELS), np.int8)
NEAREST = np.full(64, 0.5, np.float32)
"Offsets that cut latents to the nearest symbol."


PRICES = np.tile(np.minimum(np.arange(16, dtype=np.float32), 9) / 5, (64, 1)).astype(np.float32)


def known(index: int = 63, **changed: NDArray[Any]) -> within.Likelihood:
    """All symbols have one index."""
    likelihood = within.Likelihood(
        np.full((ROWS, COLUMNS, SYMBOLS), index, np.uint8), NEAREST, NO_CONTEXTS
    )
    return replace(likelihood, **changed)


def drawn(seed: int, *, share: float, most: int) -> NDArray[np.int16]:
    """Symbols, a *share* of the latents up to *most*, all modes, some blocks in 16x16."""
    rng = np.random.default_rng(seed)
    symbols = rng.integers(-18, 19, (ROWS, COLUMNS, SYMBOLS))
    latents = rng.integers(-most, most + 1, (ROWS, COLUMNS, BLOCK_SAMPLES))
    latents[rng.random(latents.shape) >= share] = 0
    symbols[..., :BLOCK_SAMPLES] = latents
    symbols[..., -1] = rng.random((ROWS, COLUMNS)) < 0.5
    symbols[..., LARGE] = rng.random((ROWS, COLUMNS)) < 0.4
    return symbols.astype(np.int16)


def scene(seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of slanted stripes, a gradient, and a little noise."""
    rng = np.random.default_rng(seed)
    planes = []
    for scale in (1, 2, 2):
        y, x = np.mgrid[0 : ROWS * 16 // scale, 0 : COLUMNS * 16 // scale] * float(scale)
        stripes = np.where((x + 2 * y) % 40 < 20, 60, 0) * (x > 64)
        luma = 60 + x / 2 + stripes + rng.normal(0, 1, x.shape)
        planes.append(luma.round().clip(0, 255).astype(np.uint8))
    blocks = np.empty((ROWS, COLUMNS, BLOCK_SAMPLES), np.uint8)
    fill_blocks(planes, blocks)
    return blocks


def symbol_of(rank: int) -> int:
    return next(symbol for symbol in range(-17, 18) if rank_of(symbol) == rank)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("across_tiles", [False, True])
@pytest.mark.parametrize(
    ("share", "most", "steps"),
    [(0.0, 0, (7, 6)), (0.02, 2, (115, 99)), (0.3, 40, (7, 6)), (0.05, 32767, (4096, 4096))],
)
def test_painting_equals_the_plain_form(
    share: float, most: int, steps: tuple[int, int], across_tiles: bool, linear: bool
) -> None:
    symbols = drawn(most, share=share, most=most)
    blocks, coded = within.paint(symbols, steps, across_tiles=across_tiles, linear=linear)
    plain = spatial.paint(symbols, steps, across_tiles=across_tiles, linear=linear)
    assert np.array_equal(blocks, plain)
    assert blocks.max() <= 255 * FINE
    by_part = np.asarray(symbols[..., :BLOCK_SAMPLES].reshape(ROWS, COLUMNS, -1, 6).any(2))
    large = symbols[..., LARGE] != 0
    by_part[large, :4] = by_part[large, :4].any(1, keepdims=True)
    assert np.array_equal(coded, (by_part << np.arange(6)).sum(2))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("most", [12, 300, 32767])
def test_copied_parts_are_painted_as_in_the_plain_form(most: int, linear: bool) -> None:
    rng = np.random.default_rng(most)
    copies = rng.integers(-most, most + 1, (ROWS, COLUMNS, COPY_CHANNELS)).astype(np.int16)
    copies[rng.random(copies.shape[:2]) < 0.2] = 0
    copies[..., :4] &= ~1  # of half of them chroma is copied, too
    plain_symbols = drawn(most, share=0.05, most=9)
    symbols = np.dstack((plain_symbols, copies))
    ways = {"across_tiles": True, "linear": linear}
    blocks, _ = within.paint(symbols, (90, 80), **ways)
    assert np.array_equal(blocks, spatial.paint(symbols, (90, 80), **ways))
    without, _ = within.paint(plain_symbols, (90, 80), **ways)
    assert np.array_equal(blocks, without) == (most == 32767)  # nothing is so far away


def screen() -> NDArray[np.uint8]:
    """Blocks of words, the same few, on a plain; the first comes before all others like it."""
    rng = np.random.default_rng(5)
    word = rng.integers(0, 2, (8, 24), np.uint8) * 180 + 30
    luma = np.full((ROWS * 16, COLUMNS * 16), 30, np.uint8)
    for row, column in ((0, 8), (16, 40), (40, 11), (40, 88), (48, 8)):
        luma[row : row + 8, column : column + 24] = word
    chroma = np.full((ROWS * 8, COLUMNS * 8), 128, np.uint8)
    blocks = np.empty((ROWS, COLUMNS, BLOCK_SAMPLES), np.uint8)
    fill_blocks([luma, chroma, chroma], blocks)
    return blocks


def test_what_looks_the_same_is_found_and_copied() -> None:
    blocks = screen()
    found = within.matches(blocks)
    assert found is not None
    of_parts = found.reshape(ROWS, COLUMNS, 2, 2, 2).transpose(0, 2, 1, 3, 4)
    of_parts = of_parts.reshape(2 * ROWS, 2 * COLUMNS, 2)
    assert [tuple(of_parts[2, column]) for column in (5, 6, 7)] == [(16, -32)] * 3
    assert not of_parts[0].any()
    assert tuple(of_parts[6, 1]) == (8, 80)  # the last one like it
    steps = (60, 50)
    with_them, without = (
        within.choose(blocks, steps, across_tiles=True, copies=copies) for copies in (found, None)
    )
    assert with_them.copies is not None
    assert without.copies is None
    said = [within.quantise(blocks, each, known(), steps) for each in (with_them, without)]
    assert said[0].shape[-1] == SYMBOLS + COPY_CHANNELS
    assert np.array_equal(said[0][..., SYMBOLS:], with_them.copies)
    less, more = (np.count_nonzero(each[..., :BLOCK_SAMPLES]) for each in said)
    assert less < more / 2
    painted = [within.paint(each, steps, across_tiles=True)[0].astype(float) for each in said]
    wrong, as_wrong = (((each - blocks * float(FINE)) ** 2).mean() for each in painted)
    assert wrong < 1.2 * as_wrong


def test_a_picture_without_repetition_has_nothing_to_copy() -> None:
    rng = np.random.default_rng(1)
    assert within.matches(rng.integers(0, 256, scene().shape, np.uint8)) is None
    assert within.matches(np.full(scene().shape, 77, np.uint8)) is None
    with pytest.raises(ValueError, match="no int16"):
        within.choose(scene(), (60, 50), copies=np.zeros((ROWS, COLUMNS, 2), np.int16))


@pytest.mark.parametrize("across_tiles", [False, True])
def test_any_numbers_are_painted(across_tiles: bool) -> None:
    for number in (-32768, 32767):
        symbols = np.full((ROWS, COLUMNS, SYMBOLS), number, np.int16)
        for linear in (False, True):
            ways = {"across_tiles": across_tiles, "linear": linear}
            blocks, _ = within.paint(symbols, (4096, 1), **ways)
            assert np.array_equal(blocks, spatial.paint(symbols, (4096, 1), **ways))


@pytest.mark.parametrize("tiles", [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_a_frame_of_any_shape_is_painted_across_its_tiles(tiles: tuple[int, int]) -> None:
    symbols = np.concatenate(
        [
            np.concatenate([drawn(7 * i + j, share=0.1, most=9)[:, :4] for j in range(tiles[1])], 1)
            for i in range(tiles[0])
        ]
    )
    blocks, _ = within.paint(symbols, (90, 80), across_tiles=True)
    assert np.array_equal(blocks, spatial.paint(symbols, (90, 80), across_tiles=True))
    is_alone = tiles == (1, 1)
    assert np.array_equal(blocks, within.paint(symbols, (90, 80))[0]) == is_alone


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("mode", range(MODES))
def test_every_mode_is_painted_everywhere_as_in_the_plain_form(mode: int, large: bool) -> None:
    symbols = drawn(mode, share=0.1, most=3)
    symbols[..., LARGE] = large
    for i, j in product(range(4), range(4)):
        for quarter, channel in enumerate(within.MODE_CHANNELS[:4]):
            left = mode if 2 * j + quarter % 2 else PLANAR
            above = mode if 2 * i + quarter // 2 else PLANAR
            rank = mode_order(left, above).index(mode)
            symbols[i, j::4, BLOCK_SAMPLES + channel] = symbol_of(rank)
        rank = mode_order(mode, PLANAR).index(mode)
        symbols[i, j::4, BLOCK_SAMPLES + within.MODE_CHANNELS[4]] = symbol_of(rank)
    blocks, _ = within.paint(symbols, (60, 50))
    assert np.array_equal(blocks, spatial.paint(symbols, (60, 50)))
    other = symbols.copy()  # the last part of chroma in the next mode
    channel = BLOCK_SAMPLES + within.MODE_CHANNELS[4]
    other[3, 3, channel] = symbol_of(mode_order(mode, PLANAR).index((mode + 1) % MODES))
    assert (within.paint(other, (60, 50))[0] != blocks).any()


def test_what_says_nothing_is_grey() -> None:
    nothing = np.zeros((ROWS, COLUMNS, SYMBOLS), np.int16)
    blocks, coded = within.paint(nothing, (4096, 4096))
    assert (blocks == GREY).all()
    assert not coded.any()


def test_a_tile_is_painted_from_itself_alone() -> None:
    symbols = drawn(3, share=0.1, most=9)
    other = symbols.copy()
    other[:, :4] = drawn(4, share=0.1, most=9)[:, :4]
    one, two = (within.paint(each, (90, 80))[0] for each in (symbols, other))
    assert np.array_equal(one[:, 4:], two[:, 4:])
    assert (one[:, :4] != two[:, :4]).any()


def test_a_frame_across_its_tiles_is_painted_from_the_one_before() -> None:
    symbols = drawn(3, share=0.1, most=9)
    other = symbols.copy()
    other[0, 3] = drawn(4, share=0.1, most=9)[0, 3]  # beside the next tile
    one, two = (within.paint(each, (90, 80), across_tiles=True)[0] for each in (symbols, other))
    assert np.array_equal(one[0, :3], two[0, :3])
    assert (one[0, 4] != two[0, 4]).any()
    last = symbols.copy()
    last[3, 7] = drawn(4, share=0.1, most=9)[3, 7]
    three, _ = within.paint(last, (90, 80), across_tiles=True)
    changed = (one != three).any(2)
    assert changed[3, 7]
    assert changed.sum() == 1


def test_symbols_that_stand_for_nothing_change_nothing() -> None:
    symbols = drawn(5, share=0.1, most=9)
    other = symbols.copy()
    other[..., BLOCK_SAMPLES + 6 : -1] = 77
    other[..., [LARGE, -1]] *= -9
    large = other[..., LARGE] != 0
    other[large, BLOCK_SAMPLES + 3 :] = -5
    one, two = (within.paint(each, (90, 80))[0] for each in (symbols, other))
    assert np.array_equal(one, two)


def test_modes_are_ordered_by_what_is_expected() -> None:
    for a, b in product(range(MODES), range(MODES)):
        order = mode_order(a, b)
        assert sorted(order) == list(range(MODES))
        assert order[0] == a
        assert order[1] == b or a == b
    assert mode_order(PLANAR, PLANAR)[:6] == [PLANAR, MEAN, DOWN, ACROSS, DOWN - 1, DOWN + 1]
    assert sorted(rank_of(symbol) for symbol in range(-17, 18)) == list(range(MODES))
    assert rank_of(18) == rank_of(-18) == rank_of(32767) == rank_of(-32768) == MODES - 1
    assert chroma_order(ACROSS, linear=False) == mode_order(ACROSS, PLANAR)
    assert chroma_order(ACROSS, linear=True)[:4] == [ACROSS, MODES, PLANAR, MEAN]
    assert rank_of(18, MODES + 1) == rank_of(32767, MODES + 1) == MODES


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("across_tiles", [False, True])
@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("steps", [(20, 16), (160, 130)])
def test_what_is_said_is_painted_as_the_encoder_thought(
    steps: tuple[int, int], thorough: bool, across_tiles: bool, linear: bool
) -> None:
    """Were parts predicted from anything but what is painted, errors would add up over an area."""
    blocks = scene()
    choice = within.choose(
        blocks, steps, thorough=thorough, across_tiles=across_tiles, linear=linear
    )
    symbols = within.quantise(blocks, choice, known(), steps)
    painted, _ = within.paint(symbols, steps, across_tiles=across_tiles, linear=linear)
    wrong = (painted.astype(np.float64) - blocks.astype(np.float64) * FINE) ** 2
    for part, step in ((slice(0, 256), steps[0]), (slice(256, 384), steps[1])):
        assert wrong[..., part].mean() < (step / 2) ** 2
    said = within.mode_symbols(choice.modes, choice.latents.split)
    assert np.array_equal(symbols[..., BLOCK_SAMPLES:-1], said[..., :-1])
    assert 0.1 < (symbols[..., LARGE] != 0).mean() < 0.9
    luma = symbols[..., :BLOCK_SAMPLES].reshape(ROWS, COLUMNS, -1, 6)[..., :4].any((2, 3))
    assert not symbols[~luma, -1].any()


def test_latents_that_cannot_be_read_are_not_meant() -> None:
    blocks = scene()
    choice = within.choose(blocks, (60, 50))
    likelihood = known(offsets=NO_CONTEXTS.copy())
    likelihood.indices[..., :BLOCK_SAMPLES:2] = 0
    likelihood.offsets[10:20] = -63  # of chroma
    symbols = within.quantise(blocks, choice, likelihood, (60, 50))
    assert symbols[..., 1:BLOCK_SAMPLES:2].any()
    assert not symbols[..., :BLOCK_SAMPLES:2].any()
    assert not symbols[..., :BLOCK_SAMPLES].reshape(ROWS, COLUMNS, -1, 6)[..., 4:].any()


def test_a_choice_lists_what_its_prediction_leaves() -> None:
    blocks = scene()
    choice = within.choose(blocks, (60, 50))
    latents = choice.latents
    assert choice.modes.shape == (ROWS, COLUMNS, 5)
    assert ((choice.modes >= -17) & (choice.modes <= 17)).all()
    assert latents.ends.ravel()[-1] == len(latents.at) == len(latents.values)
    assert (np.abs(latents.values) >= LEAST).all()
    places = np.repeat(np.arange(ROWS * COLUMNS), np.diff(latents.ends.ravel(), prepend=0))
    assert np.array_equal(latents.at // BLOCK_SAMPLES, places)
    left = choice.prediction.astype(np.float64) / FINE - blocks
    # The transform keeps energy: what is not listed is small.
    of_luma = latents.at % 6 < 4
    energy = ((latents.values * np.where(of_luma, 60, 50) / FINE) ** 2).sum()
    assert energy == pytest.approx((left**2).sum(), rel=0.1)
    far = ((blocks.astype(np.float64) - blocks.mean()) ** 2).sum()
    assert energy < far / 4


def test_all_modes_are_tried_when_there_is_time() -> None:
    """The thorough choice leaves less to say."""
    blocks = scene(2)
    quick, thorough = (within.choose(blocks, (60, 50), thorough=flag) for flag in (False, True))
    less, more = (np.count_nonzero(np.abs(c.latents.values) > 0.7) for c in (thorough, quick))
    assert less < more
    assert (quick.modes != thorough.modes).any()


def test_chroma_that_follows_luma_is_said_to() -> None:
    """Stripes of two colours: where there are any on the edge, chroma is a line of luma."""
    blocks = scene(3)
    luma = planes_of(blocks)[0].astype(np.float64)
    halves = luma.reshape(ROWS * 8, 2, COLUMNS * 8, 2).mean((1, 3))
    colours = [(128 + sign * (halves - 128) / 2).round().astype(np.uint8) for sign in (1, -1)]
    fill_blocks([luma.astype(np.uint8), *colours], blocks)
    with_it, without = (
        within.choose(blocks, (60, 50), thorough=True, across_tiles=True, linear=flag)
        for flag in (True, False)
    )
    asked = [[rank_of(int(m), MODES + 1) for m in c.modes[..., 4].flat] for c in (with_it, without)]
    assert np.mean(np.array(asked[0]) == 1) > 0.4
    of_chroma = [c.latents.values[c.latents.at % 6 >= 4] for c in (with_it, without)]
    energies = [float((values**2).sum()) for values in of_chroma]
    assert energies[0] < energies[1] / 2


def test_prices_decide() -> None:
    """Where luma's symbols cost a thousand times as much as chroma's, fewer of them are left."""
    blocks, steps = scene(2), (60, 50)
    prices = PRICES.copy()
    prices[30] *= 1000
    dear = known(prices=prices)
    dear.indices[..., :BLOCK_SAMPLES].reshape(ROWS, COLUMNS, -1, 6)[..., :4] = 30
    cheap = within.choose(blocks, steps, thorough=True, likelihood=known(prices=PRICES))
    costly = within.choose(blocks, steps, thorough=True, likelihood=dear)
    said = [within.quantise(blocks, choice, known(), steps) for choice in (cheap, costly)]
    less, more = (np.count_nonzero(one[..., :BLOCK_SAMPLES]) for one in said[::-1])
    assert less < more


def test_a_choice_across_tiles_leaves_less_to_say() -> None:
    blocks = scene()
    alone, together = (within.choose(blocks, (60, 50), across_tiles=flag) for flag in (False, True))
    less, more = (np.count_nonzero(np.abs(c.latents.values) > 0.7) for c in (together, alone))
    assert less < more
    assert (together.across_tiles, alone.across_tiles) == (True, False)


def test_stripes_are_predicted_along_their_way() -> None:
    """Down and across, in rows of blocks: most parts but the first of a tile say so."""
    for axis, wanted in ((1, DOWN), (0, ACROSS)):
        plane = np.where(np.arange(128) % 12 < 6, 40, 200).astype(np.uint8)
        luma = np.broadcast_to(plane, (128, 128)) if axis else np.broadcast_to(plane, (128, 128)).T
        grey = np.full((ROWS * 8, COLUMNS * 8), 128, np.uint8)
        blocks = np.empty((ROWS, COLUMNS, BLOCK_SAMPLES), np.uint8)
        fill_blocks([luma[: ROWS * 16, : COLUMNS * 16], grey, grey], blocks)
        choice = within.choose(blocks, (60, 50), thorough=True)
        symbols = within.quantise(blocks, choice, known(), (60, 50))
        modes = np.array(modes_of(symbols))
        assert np.median(modes) == wanted
        painted, _ = within.paint(symbols, (60, 50))
        shown = planes_of(native.rounded(painted))[0]
        assert np.abs(shown.astype(int) - luma[: ROWS * 16, : COLUMNS * 16]).mean() < 3


def modes_of(symbols: NDArray[np.int16]) -> list[int]:
    """Of luma's parts, all tiles."""
    found = []
    for left in range(0, COLUMNS, 4):
        modes: dict[tuple[int, int], int] = {}
        for i, j, quarter in product(range(4), range(4), range(4)):
            row, column = 2 * i + quarter // 2, 2 * j + quarter % 2
            a, b = modes.get((row, column - 1), PLANAR), modes.get((row - 1, column), PLANAR)
            symbol = symbols[i, left + j, BLOCK_SAMPLES + within.MODE_CHANNELS[quarter]]
            is_whole = symbols[i, left + j, LARGE] and quarter
            first = modes.get((2 * i, 2 * j), PLANAR)
            modes[row, column] = first if is_whole else mode_order(a, b)[rank_of(int(symbol))]
        found += list(modes.values())
    return found


@pytest.mark.parametrize("across_tiles", [False, True])
def test_every_build_chooses_and_paints_the_same(tmp_path: Path, across_tiles: bool) -> None:
    def coded() -> list[NDArray[np.generic]]:
        blocks, steps = scene(1), (100, 80)
        likelihood = known(40, prices=PRICES)
        choice = within.choose(
            blocks,
            steps,
            thorough=True,
            across_tiles=across_tiles,
            linear=True,
            likelihood=likelihood,
        )
        symbols = within.quantise(blocks, choice, likelihood, steps)
        drawn_ones = drawn(8, share=0.1, most=300)
        wild = within.paint(drawn_ones, steps, across_tiles=across_tiles, linear=True)
        latents = choice.latents
        return [
            choice.modes, choice.prediction, latents.at, latents.values, latents.ends,
            latents.split, symbols, *wild,
        ]  # fmt: skip

    here = coded()
    with portable_motion(tmp_path):
        for one, other in zip(here, coded(), strict=True):
            assert np.array_equal(one, other)


def test_arguments_that_do_not_fit_are_refused() -> None:
    symbols, steps = drawn(0, share=0.1, most=3), (60, 50)
    wrong: list[NDArray[Any]] = [symbols.astype(np.int32), symbols[:3], symbols[..., :-1]]
    for each in (*wrong, symbols[:, ::2]):
        with pytest.raises(ValueError, match="no symbols of whole tiles"):
            within.paint(each, steps)
    blocks = scene()
    with pytest.raises(ValueError, match="not whole tiles"):
        within.choose(blocks[:3].copy(), steps)
    with pytest.raises(ValueError, match="is no uint8"):
        within.choose(blocks.astype(np.uint16), steps)
    choice = within.choose(blocks, steps)
    for likelihood in (
        known(indices=known().indices[..., :-1]),
        known(rounding=NEAREST[:9]),
        known(offsets=NO_CONTEXTS[:, :15]),
        known(prices=PRICES[:, :15]),
    ):
        with pytest.raises(ValueError, match="in order"):
            within.quantise(blocks, choice, likelihood, steps)
    with pytest.raises(ValueError, match="without prices"):
        within.choose(blocks, steps, likelihood=known())


def test_modes_stand_behind_the_latents() -> None:
    modes = np.arange(5, dtype=np.int16).reshape(1, 1, 5)
    said = within.mode_symbols(modes, np.ones((1, 1), np.uint8))
    assert said.tolist() == [[[0, 0, 4, 1, 2, 3, 0, 0, 0, 1]]]
    assert said.shape[-1] == SPLIT_CHANNEL + 1
    said = within.mode_symbols(modes, np.full((1, 1), 2, np.uint8))
    assert said.tolist() == [[[1, 0, 4, 1, 2, 3, 0, 0, 0, 0]]]
