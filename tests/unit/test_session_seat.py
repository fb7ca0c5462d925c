"""Who gets which coding of a frame."""

from dataclasses import dataclass

from rtcodec.session.layer import HALF_RATE
from rtcodec.session.seat import FrameCodings, Seat


@dataclass(frozen=True)
class Coding:
    rung: int
    is_clean: bool = False
    temporal: int = 0


def serve(seats: dict[str, Seat], *codings: Coding) -> list[tuple[str, int]]:
    """Let the codings of one frame come in order; return who got which rung's."""
    frame = FrameCodings[Coding](coding.rung for coding in codings)
    got = []
    for coding in codings:
        frame.came(coding.rung, coding)
        got += [(served.name, served.coding.rung) for served in frame.serve(seats)]
    assert frame.is_complete
    return got


def test_a_newcomer_starts_with_a_frame_that_decodes_by_itself() -> None:
    seats = {"a": Seat(target=0)}
    assert serve(seats, Coding(0)) == []
    assert serve(seats, Coding(0, is_clean=True)) == [("a", 0)]
    assert serve(seats, Coding(0)) == [("a", 0)]
    assert seats["a"].n_switches == 0


def test_whoever_changes_gets_its_old_rung_until_the_other_is_clean() -> None:
    seats = {"a": Seat(rung=0, target=1)}
    assert seats["a"].follows == {0, 1}
    assert serve(seats, Coding(1), Coding(0)) == [("a", 0)]
    assert serve(seats, Coding(1, is_clean=True), Coding(0)) == [("a", 1)]
    assert seats["a"].follows == {1}
    assert seats["a"].n_switches == 1


def test_of_no_frame_anybody_gets_two_in_whatever_order_codings_come() -> None:
    for codings in ((0, 1), (1, 0)):
        seats = {
            "up": Seat(rung=1, target=0),
            "down": Seat(rung=0, target=1),
            "still": Seat(rung=1),
        }
        got = serve(seats, *(Coding(rung, is_clean=True) for rung in codings))
        assert sorted(got) == [("down", 1), ("still", 1), ("up", 0)]


def test_the_rung_that_is_left_is_told_once() -> None:
    seats = {"a": Seat(rung=2, target=1)}
    frame = FrameCodings[Coding]([1, 2])
    frame.came(2, Coding(2))
    assert frame.serve(seats) == []
    frame.came(1, Coding(1, is_clean=True))
    (served,) = frame.serve(seats)
    assert (served.name, served.coding.rung, served.left) == ("a", 1, 2)
    assert frame.serve(seats) == []


def test_a_coding_that_failed_keeps_nobody_waiting() -> None:
    seats = {"a": Seat(rung=0, target=1)}
    frame = FrameCodings[Coding]([1, 0])
    frame.came(0, Coding(0))
    assert frame.serve(seats) == []
    frame.failed(1)
    assert [served.coding.rung for served in frame.serve(seats)] == [0]
    assert frame.is_complete
    assert frame.has_any
    assert seats["a"].target == 1


def test_half_the_frame_rate_leaves_out_what_nothing_stands_on() -> None:
    seats = {"half": Seat(rung=0, max_temporal=HALF_RATE), "full": Seat(rung=0)}
    assert serve(seats, Coding(0, temporal=1)) == [("full", 0)]
    assert serve(seats, Coding(0)) == [("half", 0), ("full", 0)]


def test_nobody_changes_at_a_frame_that_it_would_not_get() -> None:
    seats = {"half": Seat(rung=0, target=1, max_temporal=HALF_RATE)}
    assert serve(seats, Coding(1, is_clean=True, temporal=1), Coding(0)) == [("half", 0)]
    assert serve(seats, Coding(1, is_clean=True), Coding(0)) == [("half", 1)]
