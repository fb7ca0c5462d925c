"""One rate for all subscribers of a room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import ConfigError
from rtcodec.session.room_rate import PATIENCE_US, RoomRate

MOST, LEAST = 800_000, 100_000


def test_the_narrowest_way_decides() -> None:
    room = RoomRate(MOST, LEAST)
    assert room.target({}, now_us=0) == MOST
    assert room.target({"a": None}, now_us=0) == MOST
    assert room.target({"a": 10**7, "b": 500_000, "c": None}, now_us=0) == 450_000


def test_a_hopeless_way_holds_the_others_back_for_a_moment_only() -> None:
    room = RoomRate(MOST, LEAST)
    ways = {"a": 500_000, "hopeless": 30_000}
    assert room.target(ways, now_us=0) == LEAST
    assert room.target(ways, now_us=PATIENCE_US - 1) == LEAST
    assert room.left_behind == 1
    assert room.target(ways, now_us=PATIENCE_US) == 450_000
    ways["hopeless"] = 200_000  # and is heeded again when it can be helped
    assert room.target(ways, now_us=PATIENCE_US + 1) == 180_000
    assert room.left_behind == 0


def test_ways_that_are_all_hopeless_get_the_floor() -> None:
    room = RoomRate(MOST, LEAST)
    for now_us in (0, PATIENCE_US, 10 * PATIENCE_US):
        assert room.target({"a": 30_000, "b": 40_000}, now_us=now_us) == LEAST


def test_a_hopeless_way_does_not_hold_back_those_of_whom_nothing_is_known() -> None:
    room = RoomRate(MOST, LEAST)
    room.target({"a": 30_000, "b": None}, now_us=0)
    assert room.target({"a": 30_000, "b": None}, now_us=PATIENCE_US) == MOST


def test_who_left_is_forgotten() -> None:
    room = RoomRate(MOST, LEAST)
    room.target({"a": 30_000}, now_us=0)
    assert room.target({}, now_us=PATIENCE_US) == MOST
    assert room.target({"a": 30_000, "b": MOST}, now_us=PATIENCE_US) == LEAST


@pytest.mark.parametrize("least", [0, -1, MOST + 1])
def test_a_floor_above_the_target_is_refused(least: int) -> None:
    with pytest.raises(ConfigError, match="a floor of"):
        RoomRate(MOST, least)


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 10**8)), min_size=1)
)
def test_the_target_is_between_floor_and_most_whatever_is_reported(
    reports: list[dict[str, int | None]],
) -> None:
    room = RoomRate(MOST, LEAST)
    for second, ways in enumerate(reports):
        assert LEAST <= room.target(ways, now_us=second * 1_000_000) <= MOST
