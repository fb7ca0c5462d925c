"""Sets of bytes against sets of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from rtcodec.bitstream.byte_ranges import ByteRanges

spans = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(spans, max_size=12), spans)
def test_ranges_hold_what_was_put_in_and_nothing_else(
    put: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    ranges, numbers = ByteRanges(), set[int]()
    for start, end in put:
        ranges.add(start, end)
        numbers |= set(range(start, end))
    assert {n for start, end in ranges for n in range(start, end)} == numbers
    assert ranges.size_bytes == len(numbers)
    ends = [edge for span in ranges for edge in span]
    assert ends == sorted(set(ends))  # neither empty, nor overlapping, nor touching
    assert len(ranges) == len(ends) // 2
    wanted = set(range(*asked))
    assert ranges.covers(*asked) == (wanted <= numbers)
    missing = ranges.first_missing(*asked)
    lacking = sorted(wanted - numbers)
    if missing is None:
        assert not lacking
    else:
        start, end = missing
        assert start == lacking[0]
        assert set(range(start, end)) <= wanted - numbers
        assert end == asked[1] or end in numbers
    assert ranges.reach(asked[0]) == next(n for n in range(asked[0], 99) if n not in numbers)


def test_ranges_that_touch_become_one() -> None:
    ranges = ByteRanges()
    for start in (20, 0, 10):
        ranges.add(start, start + 10)
    assert list(ranges) == [(0, 30)]
    ranges.add(5, 5)
    assert list(ranges) == [(0, 30)]
