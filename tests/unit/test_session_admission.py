"""Who is let in, and what is left out when it was too much."""

from rtcodec.session.admission import KEPT_US, Admission
from rtcodec.session.shedding import CodedRung, Shedding, SheddingPolicy, Step, StreamLoad

SECOND_US = 1_000_000


def test_the_first_is_let_in_whatever_it_costs() -> None:
    assert Admission(0.9).ask("a", 5.0, present=0.0, now_us=0)


def test_one_is_let_in_while_the_sum_stays_within_the_limit() -> None:
    admission = Admission(0.9)
    assert admission.ask("a", 0.4, present=0.5, now_us=0)
    admission.settle("a")
    assert not admission.ask("b", 0.4, present=0.51, now_us=0)
    assert admission.refused == 1


def test_places_are_kept_for_those_who_have_sent_nothing_yet() -> None:
    admission = Admission(0.9)
    assert admission.ask("a", 0.5, present=0.0, now_us=0)
    assert not admission.ask("b", 0.5, present=0.0, now_us=1)
    assert admission.promised(now_us=1) == 0.5
    assert admission.ask("b", 0.5, present=0.0, now_us=KEPT_US)


def test_who_asks_again_has_one_place() -> None:
    admission = Admission(0.9)
    assert admission.ask("a", 0.5, present=0.0, now_us=0)
    assert admission.ask("a", 0.6, present=0.0, now_us=1)
    assert admission.promised(now_us=2) == 0.6
    assert admission.promised(now_us=2, but="a") == 0.0


def test_a_place_that_is_taken_is_promised_no_more() -> None:
    admission = Admission(0.9)
    admission.ask("a", 0.5, present=0.0, now_us=0)
    admission.settle("a")
    admission.settle("nobody")
    assert admission.promised(now_us=1) == 0.0


def test_without_a_limit_everybody_is_let_in() -> None:
    admission = Admission(0.0)
    assert admission.ask("a", 9.0, present=9.0, now_us=0)
    assert admission.refused == 0


def stream(name: int, *rungs: tuple[int, int, float], needed: tuple[int, ...] = ()) -> StreamLoad:
    """A stream whose rungs are index, since, load."""
    coded = [CodedRung(*rung) for rung in rungs]
    return StreamLoad(name, min(rung.since_us for rung in coded), coded, frozenset(needed))


def run(
    shedding: Shedding, streams: list[StreamLoad], load: float, from_s: float, to_s: float
) -> list[Step]:
    """Advance ten times a second; return the steps."""
    times = range(int(from_s * 10), int(to_s * 10))
    steps = [shedding.advance(streams, load=load, now_us=t * SECOND_US // 10) for t in times]
    return [step for step in steps if step is not None]


TWO_RUNGS = [stream(1, (0, 10, 0.4), (1, 20, 0.1)), stream(2, (0, 30, 0.4), (1, 40, 0.1))]


def test_what_lasts_a_moment_changes_nothing() -> None:
    shedding = Shedding()
    assert run(shedding, TWO_RUNGS, 1.2, 0, 1) == []
    assert run(shedding, TWO_RUNGS, 0.9, 1, 2) == []
    assert run(shedding, TWO_RUNGS, 1.2, 2, 3) == []


def test_the_stream_that_took_a_rung_last_gives_one_up_first() -> None:
    shedding = Shedding()
    assert run(shedding, TWO_RUNGS, 1.2, 0, 2) == [Step(2, 0, 0.4)]
    assert shedding.rungs(2) == {0}
    assert shedding.rungs(1) == frozenset()


def test_the_newest_rung_goes_unless_its_followers_could_not_take_a_finer_one() -> None:
    middle = [stream(1, (0, 10, 0.4), (1, 99, 0.2), (2, 20, 0.1))]
    assert run(Shedding(), middle, 1.2, 0, 2) == [Step(1, 1, 0.2)]
    coarsest = [stream(1, (0, 10, 0.4), (1, 20, 0.2), (2, 99, 0.1))]
    assert run(Shedding(), coarsest, 1.2, 0, 2) == [Step(1, 1, 0.2)]


def test_a_rung_that_a_recording_needs_stays() -> None:
    recorded = [stream(1, (0, 10, 0.4), (1, 20, 0.1), needed=(0,))]
    assert run(Shedding(), recorded, 1.2, 0, 2) == [Step(1, None, 0.25)]


def test_then_the_newest_streams_have_half_their_frames_and_then_a_quarter() -> None:
    streams = [stream(1, (0, 10, 0.6)), stream(2, (0, 20, 0.4))]
    shedding = Shedding()
    steps = run(shedding, streams, 1.5, 0, 20)
    assert [(step.stream, step.rung) for step in steps] == [
        (2, None), (1, None), (2, None), (1, None),
    ]  # fmt: skip
    assert (shedding.divisor(1), shedding.divisor(2)) == (4, 4)


def test_what_was_left_out_last_comes_back_first_and_slowly() -> None:
    shedding = Shedding()
    run(shedding, TWO_RUNGS, 1.2, 0, 4)
    assert [step.rung for step in shedding.steps] == [0, 0]
    assert run(shedding, TWO_RUNGS, 0.3, 4, 8.9) == []
    back = run(shedding, TWO_RUNGS, 0.3, 8.9, 10)
    assert len(back) == 1
    assert len(shedding.steps) == 1
    assert run(shedding, TWO_RUNGS, 0.3, 10, 13) == []
    assert len(run(shedding, TWO_RUNGS, 0.3, 13, 16)) == 1
    assert not shedding.steps


def test_nothing_comes_back_that_would_not_fit() -> None:
    shedding = Shedding(SheddingPolicy(under=0.8))
    run(shedding, TWO_RUNGS, 1.2, 0, 2)
    assert run(shedding, TWO_RUNGS, 0.5, 2, 60) == []
    assert len(run(shedding, TWO_RUNGS, 0.39, 60, 66)) == 1


def test_a_stream_that_ended_leaves_nothing_behind() -> None:
    shedding = Shedding()
    run(shedding, TWO_RUNGS, 1.2, 0, 2)
    shedding.forget(2)
    assert not shedding.steps


def test_with_nothing_left_to_leave_out_nothing_happens() -> None:
    assert run(Shedding(), [], 3.0, 0, 10) == []
