"""Planes to 16x16 blocks and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtcodec.engine.blocks import BLOCK_SAMPLES, fill_blocks, planes_of


def test_a_block_is_luma_row_by_row_then_u_then_v() -> None:
    y = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48).astype(np.uint8)
    u, v = np.full((16, 24), 7, np.uint8), np.full((16, 24), 9, np.uint8)
    u[8, 16], v[15, 23] = 1, 2
    blocks = np.zeros((2, 3, BLOCK_SAMPLES), np.float32)
    fill_blocks((y, u, v), blocks)
    assert (blocks[1, 2, :256].reshape(16, 16) == y[16:, 32:]).all()
    assert blocks[1, 2, 256:320].tolist() == [1] + [7] * 63
    assert blocks[1, 2, 320:].tolist() == [9] * 63 + [2]


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99))
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_planes_come_back(kind: type, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    planes = [
        rng.integers(0, 256, (rows * side, columns * side)).astype(np.uint8) for side in (16, 8, 8)
    ]
    blocks: NDArray[Any] = np.zeros((rows, columns, BLOCK_SAMPLES), kind)
    fill_blocks(planes, blocks)
    for plane, back in zip(planes, planes_of(blocks.astype(np.uint8)), strict=True):
        assert (plane == back).all()
