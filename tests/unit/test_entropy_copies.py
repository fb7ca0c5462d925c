"""Which parts of a frame are copies: both forms say and read the same."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtcodec.bitstream.copied import read_copied, write_copied
from rtcodec.entropy import copies as plain
from rtcodec.entropy import native
from rtcodec.errors import BitstreamError, Corrupt, Truncated
from rtcodec.types import COPY_CHANNELS

Outcome = tuple[str, int] | bytes


@st.composite
def some_copies(draw: st.DrawFn) -> NDArray[np.int16]:
    """Copies of a few blocks: some are none, some as those beside them, some as none before."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    up, right = st.integers(0, 32767), st.integers(-32767, 32767)
    known = [*draw(st.lists(st.tuples(up, right), min_size=1, max_size=12)), (0, 0)]
    count = 4 * rows * columns
    which = draw(st.lists(st.sampled_from(known), min_size=count, max_size=count))
    return np.array(which, np.int16).reshape(rows, columns, COPY_CHANNELS)


def outcome(read: Callable[[bytes, int, int], NDArray[np.int16]], data: bytes) -> Outcome:
    try:
        return read(data, 2, 3).tobytes()
    except BitstreamError as error:
        return type(error).__name__, error.offset


@given(some_copies())
def test_what_is_said_is_read_again(copies: NDArray[np.int16]) -> None:
    data = native.write_copies(copies)
    assert data == plain.write_copies(copies)
    rows, columns, _ = copies.shape
    assert np.array_equal(native.read_copies(data, rows, columns), copies)
    assert np.array_equal(plain.read_copies(data, rows, columns), copies)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_alike(data: bytes) -> None:
    assert outcome(native.read_copies, data) == outcome(plain.read_copies, data)


def test_bytes_that_are_cut_or_too_many_are_refused() -> None:
    rng = np.random.default_rng(3)
    copies = rng.integers(0, 999, (2, 3, COPY_CHANNELS)).astype(np.int16)
    data = native.write_copies(copies)
    for end in range(len(data)):
        with pytest.raises(Truncated) as cut:
            native.read_copies(data[:end], 2, 3)
        assert cut.value.offset == end
    with pytest.raises(Corrupt, match="2 bytes after") as too_many:
        native.read_copies(data + b"ab", 2, 3)
    assert too_many.value.offset == len(data)


def test_repeating_oneself_takes_little() -> None:
    copies = np.zeros((8, 8, COPY_CHANNELS), np.int16)
    nothing = len(native.write_copies(copies))
    copies[2:, :, ::2], copies[2:, :, 1::2] = 16, 3
    assert nothing < 12
    assert len(native.write_copies(copies)) < nothing + 12


@pytest.mark.parametrize(
    "copies",
    [
        np.full((1, 1, 8), -1, np.int16),  # of what is below
        np.full((1, 1, 8), -32768, np.int16),
        np.zeros((1, 1, 6), np.int16),
        np.zeros((1, 1, 8), np.int32),
    ],
)
def test_what_are_no_copies_is_refused(copies: NDArray[np.int16]) -> None:
    with pytest.raises(ValueError, match="cop"):
        native.write_copies(copies)


def test_copies_come_before_what_else_is_said() -> None:
    assert read_copied(write_copied(b"abc") + b"rest") == (b"abc", b"rest")
    with pytest.raises(Truncated) as cut:
        read_copied(write_copied(b"abc")[:-1])
    assert cut.value.offset == 3
    with pytest.raises(Corrupt):
        read_copied(b"\xff\xff\xff\xff\x7f")
