"""The rungs that a stream can have, of those that the operator wants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import ConfigError
from rtcodec.session.ladder import RungSpec, check_rungs, ladder, read_rung

SPECS = tuple(map(read_rung, ("360p@800", "270p@350", "180p@120")))
sides = st.integers(1, 4096)


@pytest.mark.parametrize("text", ["source", "270p", "source@1200", "270p@350"])
def test_a_rung_reads_as_it_is_written(text: str) -> None:
    assert str(read_rung(text)) == text


@pytest.mark.parametrize("text", ["", "270", "p", "270p@", "@300", "480x270", "-1p", "270p@3.5"])
def test_what_is_no_rung_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a rung"):
        read_rung(text)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["270p", "360p"], "not below"),
        (["270p@100", "270p@100"], "not below"),
        (["270p@100", "270p"], "not below"),
        (["270p", "source"], "not below"),
        (["source", "720p", "360p", "180p"], "at most 3"),
        (["8p"], "outside 16p"),
        (["16385p"], "outside 16p"),
        (["180p@0"], "0 kb/s"),
        (["180p@1000001"], "1000001 kb/s"),
    ],
)
def test_rungs_out_of_order_or_range_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_rungs([read_rung(text) for text in texts])


def test_rungs_go_down_in_size_or_in_rate() -> None:
    check_rungs(SPECS)
    check_rungs([read_rung(text) for text in ("source", "source@800", "source@300")])


def test_a_ladder_keeps_the_shape_of_the_picture() -> None:
    sizes = [(rung.width, rung.height) for rung in ladder(SPECS, 1280, 720)]
    assert sizes == [(640, 360), (480, 270), (320, 180)]
    sizes = [(rung.width, rung.height) for rung in ladder(SPECS, 360, 640)]
    assert sizes == [(360, 640), (270, 480), (180, 320)]


def test_a_small_source_keeps_rungs_of_other_rates_only() -> None:
    small = ladder(SPECS, 320, 180)
    assert {(rung.width, rung.height) for rung in small} == {(320, 180)}
    assert [rung.kbps for rung in small] == [800, 350, 120]
    alike = ladder([read_rung(text) for text in ("360p", "270p", "180p")], 320, 180)
    assert len(alike) == 1


def test_without_rungs_there_is_the_source() -> None:
    (rung,) = ladder((), 123, 77)
    assert (rung.index, rung.width, rung.height, rung.kbps) == (0, 123, 77, None)


@given(sides, sides, st.lists(st.integers(16, 4096), min_size=1, max_size=3, unique=True))
def test_no_rung_is_larger_than_the_one_above_or_the_source(
    width: int, height: int, shorts: list[int]
) -> None:
    specs = [RungSpec(short) for short in sorted(shorts, reverse=True)]
    check_rungs(specs)
    above = (width, height)
    for place, rung in enumerate(ladder(specs, width, height)):
        assert rung.index == place
        assert 1 <= rung.width <= above[0]
        assert 1 <= rung.height <= above[1]
        above = (rung.width, rung.height)
        is_source = (rung.width, rung.height) == (width, height)
        assert is_source or (rung.width % 2 == 0) or rung.width == width
