"""The deadline scheduler, on its own."""

import pytest

from rtcodec.engine.batch_curve import BatchCurve
from rtcodec.engine.scheduler import (
    Batch,
    DeadlineScheduler,
    Dropped,
    DropReason,
    FrameJob,
    JobKind,
)
from rtcodec.errors import LocalProtocolError

SMALL, LARGE = (384, 640), (768, 1280)


def encode(
    job_id: int, stream: int, *, due: int = 1000, shape: tuple[int, int] = SMALL
) -> FrameJob:
    return FrameJob(job_id, stream, JobKind.ENCODE, shape, due)


def decode(job_id: int, stream: int, *, due: int = 1000, starts: bool = False) -> FrameJob:
    return FrameJob(job_id, stream, JobKind.DECODE, SMALL, due, starts)


def planned(scheduler: DeadlineScheduler, now_us: int = 0) -> Batch:
    batch = scheduler.plan(now_us=now_us)
    assert batch is not None
    return batch


def ids(batch: Batch) -> list[int]:
    return [job.job_id for job in batch.jobs]


def drops(scheduler: DeadlineScheduler) -> list[tuple[int, DropReason]]:
    found = []
    while (drop := scheduler.next_drop()) is not None:
        assert isinstance(drop, Dropped)
        found.append((drop.job.job_id, drop.reason))
    return found


def test_nothing_is_planned_while_nothing_waits() -> None:
    assert DeadlineScheduler(max_batch=4).plan(now_us=0) is None


def test_a_free_slot_takes_a_lone_frame_at_once() -> None:
    scheduler = DeadlineScheduler(max_batch=4)
    scheduler.submit(encode(0, stream=7))
    assert ids(planned(scheduler)) == [0]
    assert (scheduler.started, scheduler.waiting, scheduler.in_flight) == (1, 0, 1)


def test_the_earliest_deadline_goes_first() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0, due=900))
    scheduler.submit(encode(1, stream=1, due=300))
    scheduler.submit(encode(2, stream=2, due=600))
    order = []
    while (batch := scheduler.plan(now_us=0)) is not None:
        order += ids(batch)
        scheduler.done(batch)
    assert order == [1, 2, 0]


def test_frames_pile_up_into_a_batch_while_the_slots_are_busy() -> None:
    scheduler = DeadlineScheduler(max_batch=2, slots=1)
    scheduler.submit(encode(0, stream=0))
    first = planned(scheduler)
    for job_id in (1, 2, 3):
        scheduler.submit(encode(job_id, stream=job_id))
    assert scheduler.plan(now_us=0) is None

    scheduler.done(first)
    assert ids(planned(scheduler)) == [1, 2]


def test_only_equal_shapes_and_kinds_share_a_batch() -> None:
    scheduler = DeadlineScheduler(max_batch=8, slots=3)
    scheduler.submit(encode(0, stream=0, due=1))
    scheduler.submit(encode(1, stream=1, due=2, shape=LARGE))
    scheduler.submit(encode(2, stream=2, due=3))
    scheduler.submit(decode(3, stream=3, due=4, starts=True))
    assert ids(planned(scheduler)) == [0, 2]
    assert ids(planned(scheduler)) == [1]
    assert ids(planned(scheduler)) == [3]


def test_a_stream_has_one_frame_in_flight() -> None:
    scheduler = DeadlineScheduler(max_batch=8, slots=2)
    scheduler.submit(decode(0, stream=0, starts=True))
    scheduler.submit(decode(1, stream=0))
    first = planned(scheduler)
    assert ids(first) == [0]
    assert scheduler.plan(now_us=0) is None

    scheduler.done(first)
    assert ids(planned(scheduler)) == [1]


def test_a_newer_frame_to_encode_replaces_the_one_that_waits() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0))
    scheduler.submit(encode(1, stream=0))
    assert drops(scheduler) == [(0, DropReason.SUPERSEDED)]
    assert ids(planned(scheduler)) == [1]


def test_a_frame_to_encode_that_waited_past_its_deadline_is_dropped() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0, due=100))
    assert scheduler.plan(now_us=101) is None
    assert drops(scheduler) == [(0, DropReason.LATE)]


def test_a_late_frame_is_dropped_while_its_stream_is_in_flight_too() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0, due=100))
    first = planned(scheduler)
    scheduler.submit(encode(1, stream=0, due=200))
    assert scheduler.plan(now_us=500) is None
    assert drops(scheduler) == [(1, DropReason.LATE)]
    scheduler.done(first)


def test_a_frame_to_decode_is_never_late() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(decode(0, stream=0, due=100, starts=True))
    assert ids(planned(scheduler, now_us=10_000)) == [0]


def test_a_chain_that_outgrows_its_queue_breaks_until_a_frame_starts_again() -> None:
    scheduler = DeadlineScheduler(max_batch=1, max_waiting_decode=2)
    scheduler.submit(decode(0, stream=0, starts=True))
    for job_id in (1, 2, 3):
        scheduler.submit(decode(job_id, stream=0))
    assert drops(scheduler) == [(2, DropReason.OVERLOADED), (3, DropReason.BROKEN_CHAIN)]

    scheduler.submit(decode(4, stream=0, starts=True))
    assert drops(scheduler) == [(0, DropReason.SUPERSEDED), (1, DropReason.SUPERSEDED)]
    assert ids(planned(scheduler)) == [4]


def test_a_chain_that_begins_in_the_middle_waits_for_its_start() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(decode(0, stream=0))
    assert drops(scheduler) == [(0, DropReason.BROKEN_CHAIN)]

    scheduler.submit(decode(1, stream=0, starts=True))
    scheduler.submit(decode(2, stream=0))
    assert scheduler.waiting == 2


def test_a_chain_survives_a_moment_without_work() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(decode(0, stream=0, starts=True))
    scheduler.done(planned(scheduler))
    scheduler.submit(decode(1, stream=0))
    assert ids(planned(scheduler)) == [1]


def test_streams_beyond_the_limit_are_refused_and_counted() -> None:
    scheduler = DeadlineScheduler(max_batch=1, max_streams=1)
    scheduler.submit(encode(0, stream=0))
    scheduler.submit(encode(1, stream=1))
    assert drops(scheduler) == [(1, DropReason.OVERLOADED)]

    scheduler.done(planned(scheduler))
    scheduler.submit(encode(2, stream=1))
    assert scheduler.waiting == 1


def test_closing_a_stream_drops_what_waits_and_frees_its_place() -> None:
    scheduler = DeadlineScheduler(max_batch=1, max_streams=1)
    scheduler.submit(decode(0, stream=0, starts=True))
    first = planned(scheduler)
    scheduler.submit(decode(1, stream=0))
    scheduler.close_stream(0)
    assert drops(scheduler) == [(1, DropReason.CLOSED)]

    scheduler.done(first)
    scheduler.submit(encode(2, stream=5))
    assert ids(planned(scheduler)) == [2]


def test_closing_an_unknown_stream_changes_nothing() -> None:
    DeadlineScheduler(max_batch=1).close_stream(3)


def test_a_stream_keeps_to_its_kind() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0))
    with pytest.raises(LocalProtocolError, match="stream 0 is for encode only"):
        scheduler.submit(decode(1, stream=0))
    assert scheduler.submitted == 1


def test_a_batch_is_done_once() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0))
    batch = planned(scheduler)
    scheduler.done(batch)
    with pytest.raises(LocalProtocolError, match="batch 0 is not in flight"):
        scheduler.done(batch)


def test_limits_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DeadlineScheduler(max_batch=0)


def test_drops_are_counted_by_reason() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    for job_id in range(3):
        scheduler.submit(encode(job_id, stream=0, due=10))
    scheduler.plan(now_us=11)
    assert scheduler.dropped == {DropReason.SUPERSEDED: 2, DropReason.LATE: 1}


def test_a_frame_that_replaces_another_keeps_its_place() -> None:
    """Or streams whose frames are replaced just before their turn would never have one."""
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0, due=100))
    scheduler.submit(encode(1, stream=1, due=200))
    scheduler.submit(encode(2, stream=0, due=300))
    assert ids(planned(scheduler)) == [2]


def test_a_frame_of_another_size_keeps_its_place_too() -> None:
    scheduler = DeadlineScheduler(max_batch=4)
    scheduler.submit(encode(0, stream=0, due=100))
    scheduler.submit(encode(1, stream=1, due=200))
    scheduler.submit(encode(2, stream=0, due=300, shape=LARGE))
    first = planned(scheduler)
    assert ids(first) == [2]
    scheduler.done(first)
    assert ids(planned(scheduler)) == [1]


def test_a_frame_dropped_as_late_leaves_its_turn_to_the_next() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0, due=100))
    assert scheduler.plan(now_us=150) is None
    scheduler.submit(encode(1, stream=1, due=200))
    scheduler.submit(encode(2, stream=0, due=300))
    assert ids(planned(scheduler, now_us=160)) == [2]


def test_who_used_more_than_its_share_comes_after_those_who_did_not() -> None:
    scheduler = DeadlineScheduler(max_batch=1)
    scheduler.submit(encode(0, stream=0, due=100))
    scheduler.submit(encode(1, stream=1, due=500))
    first = planned(scheduler)
    scheduler.submit(encode(2, stream=0, due=300))
    scheduler.done(first, used_us=1000)
    assert ids(planned(scheduler)) == [1]


def test_a_stream_that_is_held_does_not_run_until_it_is_released() -> None:
    scheduler = DeadlineScheduler(max_batch=4, slots=2)
    scheduler.submit(encode(0, stream=0))
    assert scheduler.hold(0)
    assert not scheduler.hold(0)
    scheduler.submit(encode(1, stream=0))
    assert scheduler.plan(now_us=0) is None
    scheduler.release(0)
    batch = planned(scheduler)
    assert ids(batch) == [1]
    assert not scheduler.hold(0)
    scheduler.done(batch)
    assert scheduler.hold(0)
    scheduler.close_stream(0)
    scheduler.release(0)


def test_a_batch_is_no_larger_than_is_worth_it() -> None:
    curve = BatchCurve(((2, 1.1), (3, 3.0)))
    scheduler = DeadlineScheduler(max_batch=8, curve=curve)
    for job_id in range(3):
        scheduler.submit(encode(job_id, stream=job_id))
    assert ids(planned(scheduler)) == [0, 1]
