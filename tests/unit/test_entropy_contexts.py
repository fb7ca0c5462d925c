"""Contexts of delta frames: stages, levels, and the C that must equal them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.entropy import contexts, native, rans
from rtcodec.entropy.cdf import EntropyTables, example_tables
from rtcodec.errors import ConfigError, Corrupt, Truncated
from rtcodec.motion.transform import ORDER

CHANNELS, PLACES = contexts.CHANNELS, 16


def tables(seed: int = 0, *, has_said: bool = False) -> EntropyTables:
    plain = example_tables(3)
    offsets = np.random.default_rng(seed).integers(-9, 10, (contexts.KINDS, contexts.LEVELS))
    y_cdf = plain.y_cdf
    if has_said:  # other ones than latents of the same index have
        y_cdf = np.concatenate((y_cdf, y_cdf[:31:-1]))
    return EntropyTables(y_cdf, plain.z_cdf, offsets.astype(np.int8))


def some_tiles(
    seed: int, count: int, density: float
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Symbols that may be coded, and indices of a scale network."""
    rng = np.random.default_rng(seed)
    shape = (count, CHANNELS, PLACES)
    indices = np.where(rng.random(shape) < 0.7, rng.integers(1, 64, shape), 0).astype(np.uint8)
    indices[:, contexts.RESIDUAL :] = rng.integers(1, 64, (count, contexts.MOTION, PLACES))
    there = (rng.random(shape) < density) & (indices > 0)
    symbols = np.where(there, rng.integers(-40, 41, shape), 0).astype(np.int16)
    offsets = tables().contexts
    assert offsets is not None
    for stage, (first, end) in enumerate(contexts.STAGES):
        moved = contexts.adjusted_stage(stage, indices, symbols, offsets)
        symbols[:, first:end][moved == 0] = 0
    return symbols, indices


def test_a_stage_is_the_frequencies_of_a_diagonal() -> None:
    diagonals = [int(at // 8 + at % 8) for at in ORDER]
    for stage, (first, end) in enumerate(contexts.STAGES[: contexts.DIAGONALS]):
        latents = {channel // contexts.PARTS for channel in range(first, end)}
        assert latents == {k for k, d in enumerate(diagonals) if d == stage}
    assert contexts.STAGES[0][0] == 0
    assert contexts.STAGES[-1][1] == CHANNELS
    pairs = zip(contexts.STAGES, contexts.STAGES[1:], strict=False)
    assert all(end == first for (_, end), (first, _) in pairs)


def test_nothing_of_a_stage_or_after_it_moves_its_own_indices() -> None:
    symbols, indices = some_tiles(1, 1, 0.2)
    offsets = tables().contexts
    assert offsets is not None
    for stage, (first, _) in enumerate(contexts.STAGES):
        known = symbols.copy()
        known[:, first:] = 0
        moved = contexts.adjusted_stage(stage, indices, symbols, offsets)
        assert (moved == contexts.adjusted_stage(stage, indices, known, offsets)).all()


def test_what_is_not_coded_stays_so_and_nothing_else_becomes_so_but_the_idle_choice() -> None:
    symbols, indices = some_tiles(2, 2, 0.01)
    symbols[1, : contexts.RESIDUAL] = 0
    offsets = np.full((contexts.KINDS, contexts.LEVELS), -63, np.int8)
    moved = contexts.adjusted(indices, symbols, offsets)
    assert not moved[:, : contexts.RESIDUAL].any()  # latents below 3 are not read either
    assert (moved[:, contexts.RESIDUAL : -1] == 1).all()
    assert not moved[1, -1].any()
    moved = contexts.adjusted(indices, symbols, -offsets)
    assert moved.max() == 63
    assert (moved[:, :-1] > 0).tolist() == (indices[:, :-1] > 0).tolist()


def test_an_energy_fades_and_counts_a_symbol_up_to_fifteen() -> None:
    symbols = np.zeros((1, CHANNELS, PLACES), np.int16)
    symbols[0, 0, 0] = -300  # the mean of the first quarter of a place's luma
    symbols[0, 6, 0] = 1
    assert contexts.levels_of(1, symbols)[0, 0, 0] == 7  # 240
    assert contexts.levels_of(2, symbols)[0, 0, 0] == 6  # 240 - 60 + 16
    assert contexts.levels_of(1, symbols)[0, 1:].max() == 0
    assert contexts.levels_of(1, symbols)[0, 0, 1:].max() == 0


@pytest.mark.parametrize("lanes", rans.LANES)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("has_said", [False, True])
def test_c_codes_as_the_reference_does(lanes: int, density: float, *, has_said: bool) -> None:
    symbols, indices = some_tiles(lanes, 3, density)
    if density > 0.1:
        symbols[0, 5, 3] = -32767
        indices[0, 5, 3] = 40
    z = np.random.default_rng(3).integers(-3, 4, (3, 3)).astype(np.int8)
    own = tables(has_said=has_said)
    assert own.contexts is not None
    moved = native.context_indices(own, indices, symbols)
    plain = contexts.adjusted(indices, symbols, own.contexts, has_said=has_said)
    assert (moved == plain).all()
    assert (moved[:, contexts.RESIDUAL : -1].min() >= 64) == has_said
    payload = rans.encode_slice(own, z, symbols, indices, 30, lanes)
    assert native.encode_slice(own, z, symbols, indices, 30, lanes) == payload
    for coder in (rans, native):
        decoder = coder.SliceDecoder(own, payload, 3, 30, lanes)
        assert (decoder.read_z() == z).all()
        assert (decoder.read_y(indices) == symbols).all()


def test_what_is_said_of_blocks_may_have_tables_and_needs_contexts_for_that() -> None:
    own = tables(has_said=True)
    assert own.has_said
    assert len(own.radius) == 96
    with pytest.raises(ConfigError, match="needs contexts"):
        EntropyTables(own.y_cdf, own.z_cdf)
    with pytest.raises(ConfigError, match="64 or 96"):
        EntropyTables(own.y_cdf[:80], own.z_cdf, own.contexts)


def test_contexts_of_their_own_make_a_payload_of_its_own() -> None:
    symbols, indices = some_tiles(4, 2, 0.1)
    z = np.zeros((2, 3), np.int8)
    plain = EntropyTables(tables().y_cdf, tables().z_cdf)
    one, other = (native.encode_slice(own, z, symbols, indices, 30, 2) for own in (tables(), plain))
    assert one != other


@pytest.mark.parametrize("coder", [rans, native])
def test_a_damaged_payload_ends_in_an_error_or_in_symbols(coder: object) -> None:
    symbols, indices = some_tiles(5, 1, 0.1)
    z = np.zeros((1, 3), np.int8)
    payload = native.encode_slice(tables(), z, symbols, indices, 30, 2)
    rng = np.random.default_rng(6)
    outcomes = set()
    for _ in range(60 if coder is native else 6):
        damaged = bytearray(payload[: rng.integers(8, len(payload) + 1)])
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        try:
            decoder = coder.SliceDecoder(tables(), bytes(damaged), 1, 30, 2)  # type: ignore[attr-defined]
            decoder.read_z()
            decoder.read_y(indices)
            outcomes.add("read")
        except (Corrupt, Truncated) as error:
            outcomes.add(type(error).__name__)
    assert outcomes & {"Corrupt", "Truncated"}


@pytest.mark.parametrize("coder", [rans, native])
def test_an_idle_choice_of_transform_is_not_coded(coder: object) -> None:
    symbols, indices = some_tiles(7, 1, 0.0)
    symbols[0, -1, 4] = 1
    with pytest.raises(ValueError, match="a skipped symbol is not 0"):
        coder.encode_slice(tables(), np.zeros((1, 3), np.int8), symbols, indices, 30, 1)  # type: ignore[attr-defined]


def test_other_channels_than_those_of_delta_frames_are_refused() -> None:
    symbols, indices = np.zeros((1, 7, 16), np.int16), np.ones((1, 7, 16), np.uint8)
    z = np.zeros((1, 3), np.int8)
    for coder in (rans, native):
        with pytest.raises(ValueError, match="7 channels; contexts are of 394"):
            coder.encode_slice(tables(), z, symbols, indices, 30, 1)
    with pytest.raises(ValueError, match="7 channels"):
        native.context_indices(tables(), indices, symbols)
    payload = native.encode_slice(tables(), z, *some_tiles(8, 1, 0.0), 30, 1)
    for decoder in (c.SliceDecoder(tables(), payload, 1, 30, 1) for c in (rans, native)):
        decoder.read_z()
        with pytest.raises(ValueError, match="7 channels"):
            decoder.read_y(indices)


@pytest.mark.parametrize(
    "offsets",
    [
        np.zeros((30, 16), np.int16),
        np.zeros((30, 15), np.int8),
        np.full((30, 16), 64, np.int8),
        np.full((30, 16), -128, np.int8),
    ],
)
def test_offsets_of_another_form_are_refused(offsets: NDArray[np.int8]) -> None:
    with pytest.raises(ConfigError, match="context"):
        contexts.check_offsets(offsets)


def test_offsets_are_copied_and_read_only() -> None:
    offsets = np.zeros((contexts.KINDS, contexts.LEVELS), np.int8)
    kept = contexts.check_offsets(offsets)
    offsets[0, 0] = 1
    assert kept[0, 0] == 0
    assert not kept.flags.writeable
