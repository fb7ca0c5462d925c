"""Still maps: which tiles of a delta slice are coded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.bitstream.still import read_still_map, write_still_map
from rtcodec.errors import BitstreamError, Corrupt, Truncated

maps = st.lists(st.booleans(), min_size=1, max_size=70).map(np.array)


@given(maps, st.binary(max_size=9))
def test_a_map_comes_back_with_what_follows(coded: np.ndarray, rest: bytes) -> None:
    rest = rest if coded.any() else b""
    back, after = read_still_map(write_still_map(coded) + rest, len(coded))
    assert np.array_equal(back, coded)
    assert after == rest


@given(maps)
def test_every_proper_prefix_is_truncated(coded: np.ndarray) -> None:
    wire = write_still_map(coded)
    for cut in range(len(wire)):
        with pytest.raises(Truncated):
            read_still_map(wire[:cut], len(coded))


@given(st.binary(max_size=12), st.integers(1, 90))
def test_any_bytes_are_a_map_in_its_only_form_or_refused(data: bytes, n_tiles: int) -> None:
    try:
        coded, rest = read_still_map(data, n_tiles)
    except BitstreamError:
        return
    assert write_still_map(coded) + rest == data


def test_the_first_tile_is_bit_7() -> None:
    assert write_still_map(np.array([True, False, False])) == b"\x80"
    assert write_still_map(np.array([False] * 8 + [True])) == b"\x00\x80"


def test_bits_beyond_the_tiles_and_bytes_beyond_stillness_are_corrupt() -> None:
    with pytest.raises(Corrupt, match="not there") as caught:
        read_still_map(b"\x90\x10", 11)
    assert caught.value.offset == 1
    with pytest.raises(Corrupt, match="no tile is coded") as caught:
        read_still_map(b"\x00abc", 5)
    assert caught.value.offset == 1
