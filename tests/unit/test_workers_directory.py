"""Which worker has which room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.session.lobby import Limits, RelayFull
from rtcodec_server.workers.directory import Directory, Visit


def directory(*slots: int, **limits: int) -> Directory:
    made = Directory(Limits(**limits))
    for slot in slots:
        made.up(slot)
    return made


def come_in(it: Directory, room: str, *, at_us: int = 10) -> Visit:
    visit = it.enter(room)
    it.left(visit, is_in=True, now_us=at_us)
    return visit


def test_rooms_are_spread_and_each_stays_where_it_is() -> None:
    it = directory(0, 1)
    assert [come_in(it, room).slot for room in "abab"] == [0, 1, 0, 1]
    assert it.owner("a") == 0
    assert it.owner("c") is None


def test_a_room_weighs_more_than_a_few_sessions() -> None:
    it = directory(0, 1)
    come_in(it, "a")
    for _ in range(5):
        come_in(it, "a")
    come_in(it, "b")
    assert come_in(it, "c").slot == 1
    it.report(0, rooms=["a"], sessions=1, at_us=20)
    assert come_in(it, "d", at_us=30).slot == 0


def test_who_was_refused_leaves_no_room_behind() -> None:
    it = directory(0)
    first, second = it.enter("a"), it.enter("a")
    it.left(first, is_in=False, now_us=1)
    assert it.owner("a") == 0  # the other is still under way
    it.left(second, is_in=False, now_us=2)
    assert it.owner("a") is None
    assert it.n_sessions == 0


def test_only_a_report_after_the_answer_ends_a_room() -> None:
    it = directory(0)
    come_in(it, "a", at_us=100)
    it.report(0, rooms=[], sessions=0, at_us=90)  # written before, read after
    assert it.owner("a") == 0
    assert it.n_sessions == 1
    it.report(0, rooms=[], sessions=0, at_us=110)
    assert it.owner("a") is None
    assert it.n_sessions == 0


def test_a_report_does_not_end_a_room_that_somebody_is_entering() -> None:
    it = directory(0)
    come_in(it, "a", at_us=100)
    visit = it.enter("a")
    it.report(0, rooms=[], sessions=0, at_us=200)
    assert it.owner("a") == 0
    it.left(visit, is_in=False, now_us=210)
    it.report(0, rooms=[], sessions=0, at_us=220)
    assert it.owner("a") is None


def test_a_late_report_and_one_of_nobody_change_nothing() -> None:
    it = directory(0)
    it.report(0, rooms=["a"], sessions=3, at_us=50)
    it.report(0, rooms=[], sessions=0, at_us=40)
    it.report(7, rooms=["b"], sessions=9, at_us=60)
    assert (it.owner("a"), it.owner("b"), it.n_sessions) == (0, None, 3)


def test_a_worker_that_died_takes_its_rooms_and_its_successor_has_none() -> None:
    it = directory(0, 1)
    come_in(it, "a")
    come_in(it, "b")
    visit = it.enter("a")
    it.down(0)
    assert (it.owner("a"), it.owner("b"), it.slots) == (None, 1, (1,))
    it.up(0)
    it.left(visit, is_in=True, now_us=20)  # an answer of the dead one
    assert it.owner("a") is None
    assert it.n_sessions == 1


def test_limits_are_those_of_all_workers_together() -> None:
    it = directory(0, 1, max_rooms=2, max_sessions=3)
    come_in(it, "a")
    come_in(it, "b")
    with pytest.raises(RelayFull, match="2 rooms"):
        it.enter("c")
    it.enter("a")
    with pytest.raises(RelayFull, match="3 sessions"):
        it.enter("b")


def test_without_workers_nobody_comes_in_and_should_ask_again_soon() -> None:
    with pytest.raises(RelayFull, match="no worker") as caught:
        directory().enter("a")
    assert caught.value.retry_after_s == 1


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans()), max_size=30))
def test_a_room_is_never_in_two_workers(steps: list[tuple[str, bool, bool]]) -> None:
    it = directory(0, 1, 2)
    inside: dict[str, int] = {}
    for now_us, (room, is_in, ends) in enumerate(steps, start=1):
        visit = it.enter(room)
        assert inside.get(room, visit.slot) == visit.slot
        it.left(visit, is_in=is_in, now_us=10 * now_us)
        if is_in:
            inside[room] = visit.slot
        if ends:
            inside.pop(room, None)
        for slot in it.slots:
            rooms = [name for name, owner in inside.items() if owner == slot]
            it.report(slot, rooms=rooms, sessions=len(rooms), at_us=10 * now_us + 5)
        assert {room: it.owner(room) for room in inside} == inside
        assert sum(it.n_rooms.values()) == len(inside)


def test_in_a_full_house_a_publishers_place_may_change_hands() -> None:
    it = directory(0, 1, max_sessions=2)
    it.left(it.enter("a", publishes=True), is_in=True, now_us=10)
    come_in(it, "b", at_us=10)
    it.report(0, rooms=["a"], sessions=0, at_us=5)  # written before it came
    for at_us in (10, 20):
        assert it.enter("a", publishes=True).slot == 0  # which says whether it may
        for room, publishes in (("a", False), ("b", True), ("c", True)):
            with pytest.raises(RelayFull):
                it.enter(room, publishes=publishes)
        it.report(0, rooms=["a"], published={"a"}, sessions=1, at_us=at_us)
        it.report(1, rooms=["b"], sessions=1, at_us=at_us)
    it.report(0, rooms=["a"], sessions=1, at_us=30)
    with pytest.raises(RelayFull):
        it.enter("a", publishes=True)


def test_a_session_that_ends_with_its_answer_counts_while_it_is_reported() -> None:
    it = directory(0)
    visit = it.enter("a", lasts=True)
    assert (it.n_sessions, it.owner("a")) == (0, 0)
    it.report(0, rooms=["a"], sessions=1, at_us=20)
    assert it.n_sessions == 1
    it.report(0, rooms=[], sessions=0, at_us=30)
    assert it.owner("a") == 0  # somebody may still be on the way into it
    it.left(visit, is_in=True, now_us=40)
    assert (it.n_sessions, it.owner("a")) == (0, 0)
    it.report(0, rooms=[], sessions=0, at_us=50)
    assert it.owner("a") is None
