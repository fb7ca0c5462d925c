"""Lines, turns and batches: the parts of the scheduler, each alone."""

import random

import pytest

from rtcodec.engine.batch_curve import BatchCurve
from rtcodec.engine.line import Line
from rtcodec.engine.turns import MAX_DEBT_US, Turns
from rtcodec.errors import ConfigError


def test_a_line_goes_by_key_then_by_job() -> None:
    line = Line()
    for stream, key in ((1, 30), (2, 10), (3, 20), (4, 10)):
        line.enter(stream, key, job_id=stream)
    assert line.head() == (10, 2, 2)
    assert list(line.take(3)) == [2, 4, 3]
    assert (len(line), 1 in line, 2 in line) == (1, True, False)


def test_whoever_leaves_a_line_is_skipped() -> None:
    line = Line()
    line.enter(1, 10, job_id=1)
    line.enter(2, 20, job_id=2)
    line.leave(1)
    line.leave(7)
    assert list(line.take(5)) == [2]
    assert line.head() is None


def test_who_enters_again_stands_where_the_new_key_says() -> None:
    line = Line()
    line.enter(1, 10, job_id=1)
    line.enter(2, 20, job_id=2)
    line.enter(1, 30, job_id=3)
    assert list(line.take(5)) == [2, 1]


def test_a_line_does_not_grow_with_those_who_left() -> None:
    """As while the engine hangs and cameras go on."""
    line, rng = Line(), random.Random(1)
    keys = {}
    for job_id in range(10_000):
        stream = rng.randrange(8)
        keys[stream] = rng.randrange(1000)
        line.enter(stream, keys[stream], job_id)
    assert len(line) == 8
    assert line.n_kept < 200
    assert [keys[stream] for stream in line.take(8)] == sorted(keys.values())


def test_a_stream_within_its_share_goes_by_its_deadlines() -> None:
    turns = Turns(slots=1)
    for deadline_us in range(0, 300_000, 30_000):
        assert turns.wait(1, deadline_us) == deadline_us
        turns.start(1)
        turns.charge(1, 10_000, n_active=3)


def test_a_newer_frame_has_the_turn_of_the_one_it_replaces() -> None:
    turns = Turns(slots=1)
    turns.wait(1, 100)
    assert turns.wait(1, 400) == 100
    turns.start(1)
    assert turns.wait(1, 700) == 700


def test_a_stream_that_took_more_than_its_share_waits_for_as_long_as_others_need() -> None:
    turns = Turns(slots=2)
    turns.wait(1, 100)
    turns.start(1)
    turns.wait(1, 200)  # came while the other ran
    turns.charge(1, 1000, n_active=6)
    assert turns.wait(1, 300) == 100 + 1000 * 6 // 2


def test_the_debt_of_a_stream_has_an_end() -> None:
    turns = Turns(slots=1)
    for _ in range(50):
        turns.wait(1, 100)
        turns.start(1)
        turns.charge(1, 300_000, n_active=4)
    assert turns.wait(1, 100) == 100 + MAX_DEBT_US


def test_accounts_of_streams_long_gone_are_forgotten() -> None:
    turns = Turns(slots=1)
    for stream in range(20_000):
        turns.wait(stream, 1000 * stream)
        turns.start(stream)
        turns.charge(stream, 5, n_active=1)
    assert len(turns) < 2000


def test_a_charge_for_a_stream_that_ended_is_nobodys() -> None:
    turns = Turns(slots=1)
    turns.wait(1, 100)
    turns.start(1)
    turns.forget(1)
    turns.charge(1, 10**9, n_active=1)
    turns.start(1)
    assert turns.wait(1, 200) == 200


def test_a_batch_is_as_large_as_is_worth_it() -> None:
    curve = BatchCurve(((2, 1.2), (4, 1.6), (8, 3.19)))
    assert [curve.best(n) for n in (1, 2, 3, 4, 7, 8, 20)] == [1, 2, 2, 4, 4, 4, 4]


def test_frames_that_gain_nothing_together_run_alone() -> None:
    assert BatchCurve(((2, 2.0), (4, 3.9))).best(4) == 1


def test_without_a_curve_everything_runs_together() -> None:
    assert BatchCurve().best(7) == 7


@pytest.mark.parametrize("points", [((1, 1.0),), ((4, 2.0), (2, 1.0)), ((2, 1.0), (2, 1.1))])
def test_points_that_are_no_curve_are_refused(points: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ConfigError, match="no curve"):
        BatchCurve(points)
