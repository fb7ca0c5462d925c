"""The compiled library: found, checked, and its scale network exact."""

import numpy as np
import pytest

from rtcodec.entropy import native, native_tiles
from rtcodec.entropy.cdf import example_tables
from rtcodec.entropy.tile import gather_hyper, gather_tiles
from support.latents import make_hyper_latents, make_scale_net


@pytest.mark.parametrize(
    ("hyper_channels", "hidden", "channels", "grid"),
    [
        (6, (8, 12), 10, (4, 5)),
        (5, (3, 5), 7, (1, 1)),  # nothing a multiple of anything
        (1, (1, 1), 1, (3, 11)),
        (48, (64, 96), 320, (3, 6)),
        (32, (64, 96), 192, (1, 16)),
    ],
)
def test_the_scale_network_in_c_is_the_reference(
    hyper_channels: int, hidden: tuple[int, int], channels: int, grid: tuple[int, int]
) -> None:
    net = make_scale_net(hyper_channels=hyper_channels, hidden=hidden, channels=channels)
    z = make_hyper_latents(hyper_channels, *grid)
    tiles = np.arange(grid[0] * grid[1], dtype=np.uint32)
    for qp in (0, 40):
        expected = net.indices_reference(z, qp)
        assert (
            native_tiles.tile_indices(net, gather_hyper(z, tiles), qp)
            == gather_tiles(expected, tiles)
        ).all()
        assert (native_tiles.scale_indices(net, z, qp) == expected).all()


def test_the_scale_network_is_exact_at_the_largest_sums() -> None:
    net = make_scale_net()
    for value in (-15, 15):
        z = np.full((6, 2, 2), value, np.int8)
        assert (native_tiles.scale_indices(net, z, 63) == net.indices_reference(z, 63)).all()


def test_no_tiles_have_no_indices() -> None:
    assert native_tiles.tile_indices(make_scale_net(), np.zeros((0, 6), np.int8), 0).shape == (
        0,
        10,
        16,
    )


def test_hyper_latents_need_not_be_contiguous() -> None:
    net = make_scale_net()
    z = make_hyper_latents(6, 2, 3)
    by_tile = z.reshape(6, 6).T
    assert not by_tile.flags.c_contiguous
    expected = native_tiles.tile_indices(net, by_tile.copy(), 5)
    assert (native_tiles.tile_indices(net, by_tile, 5) == expected).all()


def test_hyper_latents_of_another_form_are_refused() -> None:
    net = make_scale_net()
    for z in (np.zeros(6, np.int8), np.zeros((2, 5), np.int8), np.full((1, 6), 16, np.int8)):
        with pytest.raises(ValueError, match=r"z is|beyond"):
            native_tiles.tile_indices(net, z, 0)


def test_tile_costs_are_sums_of_the_costs_given_and_of_raw_bits() -> None:
    tables = example_tables(1)
    reach = int(tables.radius[9])
    costs = np.zeros((64, 256), np.uint16)
    costs[9, reach + 2] = 300  # of the symbol 2
    costs[9, 2 * reach + 1] = 1000  # of the escape
    indices = np.zeros((3, 2, 16), np.uint8)
    symbols = np.zeros(indices.shape, np.int16)
    indices[1, 0, :2] = indices[2, 1, 3] = 9
    symbols[1, 0, :2] = 2
    symbols[2, 1, 3] = -reach - 5  # 5 raw bits, then 2
    expected = [0, 600, 1000 + 256 * 7]
    assert native.tile_costs(tables, costs, symbols, indices).tolist() == expected
    with pytest.raises(ValueError, match="are not costs"):
        native.tile_costs(tables, costs[:63], symbols, indices)
