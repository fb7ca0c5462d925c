"""Reference choice of a sender, frame by frame."""

import sys

import pytest

from rtcodec.bitstream.packet import state_slot
from rtcodec.codec.planner import FramePlan, ReferencePlanner, ReferencePolicy
from rtcodec.packet.feedback import FrameReport


def send(planner: ReferencePlanner, count: int = 1) -> list[FramePlan]:
    plans = []
    for _ in range(count):
        plans.append(planner.plan())
        planner.sent(plans[-1])
    return plans


def held(*frames: int, newest: int | None = None) -> FrameReport:
    newest = max(frames) if newest is None else newest
    return FrameReport(newest & 0xFFFF, sum(1 << newest - frame for frame in frames), words=8)


def started(slots: int, *names: str, policy: ReferencePolicy | None = None) -> ReferencePlanner:
    planner = ReferencePlanner(slots, policy)
    for name in names:
        planner.join(name)
    return planner


def test_the_first_frame_is_a_key_frame_and_the_next_stand_on_the_newest() -> None:
    plans = send(started(4, "a"), 4)
    assert [plan.keyframe for plan in plans] == [True, False, False, False]
    assert [plan.reference_frame for plan in plans] == [None, 0, 1, 2]


def test_a_model_without_references_makes_key_frames_only() -> None:
    plans = send(started(0, "a"), 3)
    assert {(plan.keyframe, plan.reference, plan.store) for plan in plans} == {(True, None, None)}


def test_after_a_report_of_damage_the_newest_held_frame_is_chosen() -> None:
    planner = started(6, "a")
    send(planner, 6)
    planner.report("a", held(0, 1, 2, newest=3))
    [plan] = send(planner)
    assert (plan.reference_frame, plan.keyframe) == (2, False)
    # the frame that repairs is trusted like any other on its way
    assert send(planner)[0].reference_frame == 6
    # a report from before it arrived changes nothing
    planner.report("a", held(0, 1, 2, newest=5))
    assert send(planner)[0].reference_frame == 7
    planner.report("a", held(0, 1, 2, newest=6))
    assert send(planner)[0].reference_frame == 2


def test_a_receiver_that_holds_nothing_gets_a_key_frame() -> None:
    planner = started(4, "a")
    send(planner, 3)
    planner.report("a", held(newest=1))
    assert send(planner)[0].keyframe
    # it is on its way: neither a request nor a report from before it makes another
    planner.lost_all("a")
    planner.report("a", held(newest=2))
    assert send(planner)[0].reference_frame == 3
    planner.report("a", held(newest=4))
    planner.lost_all("a")
    assert send(planner)[0].keyframe


def test_a_first_frame_that_is_known_to_be_lost_comes_again_at_once() -> None:
    planner = started(4, "a")
    send(planner, 3)
    planner.report("a", held(newest=2))  # came, and stood on a frame that did not
    assert send(planner)[0].keyframe


def test_what_all_receivers_hold_is_chosen() -> None:
    planner = started(6, "a", "b")
    send(planner, 5)
    planner.report("a", held(0, 1, 2, 3))
    planner.report("b", held(0, 1, newest=3))
    assert send(planner)[0].reference_frame == 1


def test_a_receiver_that_lags_holds_nobody_back() -> None:
    planner = started(6, "a", "b", policy=ReferencePolicy(lag_frames=10))
    send(planner, 2)
    planner.report("b", held(0, newest=1))
    for frame in range(2, 20):
        planner.report("a", held(0, *range(max(1, frame - 30), frame)))
        send(planner)
    assert planner.plan().reference_frame == 19
    planner.leave("a")
    planner.leave("a")
    assert send(planner)[0].keyframe is False


def test_a_hopeless_receiver_costs_the_others_little() -> None:
    planner = started(6, "a", "b", policy=ReferencePolicy(refresh_frames=10))
    intra = []
    for frame in range(60):
        intra.append(send(planner)[0].reference is None)
        planner.report("a", held(*range(max(0, frame - 30), frame + 1)))
        planner.report("b", held(newest=frame))
        planner.lost_all("b")
    assert sum(intra) <= 7


def test_what_others_hold_is_kept_when_one_needs_an_intra_frame() -> None:
    planner = started(4, "a", "b")
    send(planner, 40)
    planner.report("a", held(*range(8, 40)))
    planner.report("b", held(newest=39))
    [plan] = send(planner)
    assert (plan.reference, plan.keyframe) == (None, False)


def test_under_lasting_loss_only_acknowledged_frames_are_predicted_from() -> None:
    planner = started(8, "a")
    known: list[int] = []
    for frame in range(60):
        send(planner)
        arrived = frame - 5
        if arrived >= 0 and arrived % 4:
            known.append(arrived)
        if arrived >= 1:
            planner.report("a", held(*known[-100:], newest=arrived))
    assert planner.is_cautious
    plan = planner.plan()
    assert plan.reference_frame in known
    for frame in range(60, 200):
        send(planner)
        known.append(frame)
        planner.report("a", held(*known[-100:]))
    assert not planner.is_cautious


def test_a_cautious_sender_with_nothing_acknowledged_trusts_what_may_arrive() -> None:
    planner = started(4, "a")
    for _ in range(20):
        send(planner)
        planner.report("a", held(newest=planner.plan().frame_number - 1))
    assert planner.is_cautious
    send(planner)
    assert send(planner)[0].reference_frame is not None


def test_the_frame_that_all_hold_is_never_overwritten() -> None:
    planner = started(3, "a")
    send(planner, 2)
    planner.report("a", held(0, 1))
    send(planner, 40)
    planner.report("a", held(0, 1, newest=41))
    assert send(planner)[0].reference_frame == 1


def test_a_long_term_frame_outlives_newer_ones() -> None:
    planner = started(4, "a", policy=ReferencePolicy(long_term_frames=50, lag_frames=500))
    for frame in range(40):
        send(planner)
        planner.report("a", held(*range(frame + 1)))
    planner.join("b")
    send(planner)
    assert planner.plan().reference_frame == 40
    for frame in range(40, 60):
        planner.report("a", held(*range(40, frame + 1)))
        planner.report("b", held(*range(40, frame + 1)))
        send(planner)
    # b was away and holds only the first frame it got, which is still kept
    planner.report("b", held(40, newest=60))
    planner.report("b", held(newest=60))
    assert planner.plan().reference_frame is not None


def test_an_acknowledged_frame_moves_on_with_few_slots() -> None:
    planner = started(2, "a", policy=ReferencePolicy(long_term_frames=10))
    for frame in range(80):
        send(planner)
        if frame >= 6:
            planner.report("a", held(*range(max(0, frame - 100), frame - 5)))
    planner.report("a", held(*range(75), newest=79))
    reference = planner.plan().reference_frame
    assert reference is not None
    assert reference > 50


def test_one_slot_is_always_the_newest_frame() -> None:
    planner = started(1, "a")
    send(planner, 3)
    planner.report("a", held(0, 1, 2))
    assert send(planner)[0].reference_frame == 2
    planner.report("a", held(0, 1, 2, newest=3))
    assert send(planner)[0].keyframe


def test_an_id_that_might_name_an_older_frame_is_not_used() -> None:
    planner = started(1, "a")
    plans = send(planner, 17)
    # the receiver got frame 0 and has said nothing; had it lost the rest, the slot's id 16 stores
    # later would name frame 0 there
    assert plans[16].store == plans[0].store
    plan = planner.plan()
    assert plan.reference is None


def test_a_frame_comes_after_its_plan_and_once() -> None:
    planner = started(2, "a")
    [plan] = send(planner)
    with pytest.raises(ValueError, match="not the next"):
        planner.sent(plan)


def test_reports_of_frames_never_sent_are_ignored() -> None:
    planner = started(2, "a")
    send(planner, 2)
    planner.report("a", held(500))
    planner.report("nobody", held(1))
    planner.lost_all("nobody")
    assert send(planner)[0].reference_frame == 1


def test_history_is_bounded_and_slots_stay_below_their_limit() -> None:
    planner = started(15, "a")
    for frame in range(700):
        plan = send(planner)[0]
        assert plan.store is None or state_slot(plan.store) < 15
        planner.report("a", held(*range(max(0, frame - 60), frame + 1)))
    with pytest.raises(ValueError, match="outside 0 to 15"):
        ReferencePlanner(16)


def test_half_the_frame_rate_stands_on_every_other_frame() -> None:
    planner = started(4, "a")
    plans = []
    for _ in range(9):
        plans.append(planner.plan(half_rate=True))
        planner.sent(plans[-1])
    assert [plan.temporal for plan in plans] == [0, 1] * 4 + [0]
    for plan in plans[1:]:
        assert plan.reference_frame == (plan.frame_number - 1) // 2 * 2
        assert (plan.store is None) == (plan.temporal == 1)
    assert not planner.plan().temporal  # nobody wants it any more


def test_who_gets_half_the_frames_is_not_taken_for_one_that_loses_them() -> None:
    planner = started(4, "half")
    for number in range(200):
        plan = planner.plan(half_rate=True)
        assert not plan.keyframe or number == 0
        planner.sent(plan)
        if plan.temporal == 0:
            planner.report("half", held(*range(max(0, number - 40) & ~1, number + 1, 2)))
    assert planner.loss_of("half") == 0
    assert not planner.is_cautious
    assert planner.plan(half_rate=True).reference_frame == 198


def test_a_lost_frame_counts_in_the_loss_of_who_lost_it() -> None:
    planner = started(4, "a", "b")
    for number in range(40):
        send(planner)
        planner.report("a", held(number))
        planner.report("b", held(number) if number % 4 else held(newest=number))
    assert planner.loss_of("a") == 0
    assert planner.loss_of("b") > 0.05
    assert planner.loss_of("nobody") == 0


def test_frames_that_were_coded_elsewhere_are_counted() -> None:
    planner = started(4, "a")
    send(planner, 2)
    planner.skip_to(7)
    assert send(planner)[0].frame_number == 7
    planner.skip_to(3)
    assert send(planner)[0].frame_number == 8


def test_what_was_reported_by_those_who_have_left_since_is_nobodys() -> None:
    planner = started(4, "a")
    send(planner, 3)
    planner.report("a", held(0, newest=2))
    planner.leave("a")
    assert not planner.is_cautious
    assert planner.plan().reference_frame == 2


def calls_of_a_report(n_others: int) -> int:
    """Return how many calls it takes to note a report of two frames."""
    planner = started(4, "a", *(f"other {n}" for n in range(n_others)))
    send(planner, 2)
    report = held(0, 1)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        planner.report("a", report)
    finally:
        sys.setprofile(None)
    return len(calls)


def test_a_report_takes_as_long_however_many_watch() -> None:
    assert calls_of_a_report(1) == calls_of_a_report(50) > 0
