"""Contexts and costs in torch: as the coder has them, with gradients where training needs them."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.entropy import contexts as coder  # noqa: E402
from rtcodec.entropy.cdf import EntropyTables, example_tables  # noqa: E402
from rtcodec.entropy.native import tile_costs  # noqa: E402
from rtcodec.models.contexts import Contexts, levels_of, luma_count  # noqa: E402
from rtcodec.models.symbol_costs import (  # noqa: E402
    FIRST_RENEWAL,
    SymbolCosts,
    bits_of,
    y_tables,
)


def some_symbols(seed: int, count: int = 2) -> Any:
    rng = np.random.default_rng(seed)
    shape = (count, coder.CHANNELS, 4, 4)
    values = np.where(rng.random(shape) < 0.15, rng.integers(-30, 31, shape), 0)
    return torch.from_numpy(values.astype(np.float32))


def test_levels_are_those_of_the_coder() -> None:
    symbols = some_symbols(1)
    tiles = symbols.numpy().reshape(2, -1, 16).astype(np.int16)
    levels = levels_of(symbols).numpy().reshape(2, -1, 16)
    for stage, (first, end) in enumerate(coder.STAGES):
        expected = coder.levels_of(stage, tiles)
        assert (
            levels[:, first:end] == np.tile(expected, (1, (end - first) // expected.shape[1], 1))
        ).all()


def test_indices_are_moved_as_the_coder_moves_them() -> None:
    symbols, network = some_symbols(2), Contexts().eval()
    rng = np.random.default_rng(3)
    with torch.no_grad():
        network.offsets.copy_(torch.from_numpy(rng.integers(-9, 10, network.offsets.shape)) / 8)
    index = torch.from_numpy(rng.integers(0, 64, symbols.shape).astype(np.float32))
    index[:, coder.RESIDUAL :] += 1
    index = index.clamp(max=63)
    moved, asked = network(index, symbols)
    expected = coder.adjusted(
        index.numpy().reshape(2, -1, 16).astype(np.uint8),
        symbols.numpy().reshape(2, -1, 16).astype(np.int16),
        network.table(),
    )
    assert ((moved * asked).detach().numpy().reshape(2, -1, 16) == expected).all()


def test_a_gradient_reaches_the_offsets_and_the_index() -> None:
    symbols, network, costs = some_symbols(4), Contexts(), SymbolCosts()
    index = torch.full(symbols.shape, 20.0, requires_grad=True)
    moved, asked = network(index, symbols)
    (costs(symbols, moved) * asked).sum().backward()
    assert index.grad is not None
    assert index.grad.abs().sum() > 0
    assert network.offsets.grad is not None
    assert network.offsets.grad.abs().sum() > 0


def test_luma_is_counted_without_chroma() -> None:
    symbols = torch.zeros(1, coder.CHANNELS, 4, 4)
    symbols[0, 4, 0, 0] = 5  # u
    symbols[0, 6 + 3, 1, 2] = -1  # the last quarter of luma
    assert luma_count(symbols)[0].nonzero().tolist() == [[1, 2]]


def test_costs_are_those_of_the_tables_that_the_counts_would_give() -> None:
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 1000, (2, 64, 255))
    counts *= np.abs(np.arange(-127, 128)) < np.arange(64)[:, None]
    counts[1] *= np.arange(-127, 128) % 2  # what is said of blocks is another matter
    cdf = y_tables(counts + counts[..., ::-1])
    tables = EntropyTables(cdf, example_tables(1).z_cdf, np.zeros((30, 16), np.int8))
    bits = bits_of(counts).numpy()
    symbols = rng.integers(-127, 128, (1, coder.CHANNELS, 16)).astype(np.int16)
    indices = rng.integers(1, 64, symbols.shape).astype(np.uint8)
    price = np.zeros((96, 256), np.uint16)
    used = np.log2(np.maximum(np.diff(cdf.astype(np.int64), axis=1), 1))
    price[:, : used.shape[1]] = np.round((14 - used) * 256)
    rows = indices.copy()
    rows[:, coder.RESIDUAL :] = 64 + rows[:, coder.RESIDUAL :] // 2
    exact = tile_costs(tables, price, symbols, rows, moved=True)[0] / 256
    kind = (np.arange(coder.CHANNELS) >= coder.RESIDUAL).astype(int)[:, None]
    assert bits[kind, indices, np.abs(symbols)].sum() == pytest.approx(float(exact), rel=0.02)


def test_a_symbol_that_is_not_read_costs_nothing_if_it_is_zero_and_more_otherwise() -> None:
    costs = SymbolCosts()
    zero, one = costs(of_latents([0.0, 1.0]), of_latents([0.0, 0.0])).flatten()
    assert zero == 0
    assert one > costs(of_latents([1.0]), of_latents([float(coder.READ_FROM)])).sum()


def test_costs_follow_what_was_counted() -> None:
    costs, other = SymbolCosts(), SymbolCosts()
    symbols, index = of_latents([1.0] * 300), of_latents([9.0] * 300)
    before = costs(symbols, index)[0, 0]
    for _ in range(FIRST_RENEWAL):
        costs.count(symbols, index, torch.ones_like(index))
    after = costs(symbols, index)[0, 0]
    assert after < before
    assert after < 1.5  # half of them were counted as -1: the sign is nearly all there is to say
    other.follow(costs)
    assert other(symbols, index)[0, 0] == after


def test_what_is_said_of_blocks_is_counted_apart() -> None:
    costs, fresh = SymbolCosts(), SymbolCosts()
    symbols, index = some_symbols(8) * 0, torch.full((2, coder.CHANNELS, 4, 4), 9.0)
    symbols[:, coder.RESIDUAL :] = 1
    for _ in range(FIRST_RENEWAL):
        costs.count(symbols, index, torch.ones_like(index))
    before, after = fresh(symbols, index), costs(symbols, index)
    assert (after[:, coder.RESIDUAL :] < before[:, coder.RESIDUAL :]).all()
    assert (after[:, : coder.RESIDUAL] < 0.05).all()  # a zero is all but certain


def test_what_is_not_told_is_not_counted() -> None:
    costs = SymbolCosts()
    for _ in range(FIRST_RENEWAL):
        costs.count(of_latents([1.0] * 9), of_latents([9.0] * 9), of_latents([0.0] * 9))
    fresh = SymbolCosts()
    assert torch.equal(costs.bits[:, 1:], fresh.bits[:, 1:])


def of_latents(values: list[float]) -> Any:
    """Values of as many channels, fewer than latents have."""
    return torch.tensor(values)[None, :, None, None]
