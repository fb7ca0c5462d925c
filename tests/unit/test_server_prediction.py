"""What the frames of a stream are predicted from, asked and told by two threads."""

from rtcodec.codec.planner import FramePlan
from rtcodec.packet.feedback import FrameReporter
from rtcodec_server.prediction import FrameNumbers, StreamPrediction


def code(prediction: StreamPrediction) -> FramePlan:
    plan = prediction.plan()
    prediction.sent(plan)
    return plan


def test_each_frame_leans_on_the_one_before() -> None:
    prediction = StreamPrediction(8, ["a"])
    assert code(prediction).keyframe
    before = 0
    for _ in range(20):
        plan = code(prediction)
        assert not plan.keyframe
        assert plan.reference_frame == before
        before = plan.frame_number


def test_who_joins_or_can_make_nothing_of_it_starts_with_a_key_frame() -> None:
    now_us = [0]
    prediction = StreamPrediction(8, ["a"], clock_us=lambda: now_us[0])
    code(prediction)
    assert not code(prediction).keyframe
    prediction.join("b")
    assert code(prediction).keyframe
    assert not code(prediction).keyframe
    prediction.leave("a")
    for _ in range(40):
        code(prediction)
    now_us[0] = 1_000_000
    prediction.lost_all("b")
    assert code(prediction).keyframe


def test_however_many_ask_there_are_two_key_frames_in_a_second_at_most() -> None:
    now_us = [0]
    everybody = [f"s{n}" for n in range(10)]
    prediction = StreamPrediction(8, everybody, clock_us=lambda: now_us[0])
    refreshed_us = []
    for number in range(300):
        now_us[0] = number * 33_333
        for name in everybody:
            prediction.lost_all(name)
        if number % 7 == 0:
            prediction.join(f"new{number}")
        if code(prediction).reference is None:
            refreshed_us.append(now_us[0])
    for first, third in zip(refreshed_us, refreshed_us[2:], strict=False):
        assert third - first >= 1_000_000
    assert len(refreshed_us) >= 18  # nobody waits for ever


def test_who_waits_to_be_let_in_may_leave_before() -> None:
    now_us = [0]
    prediction = StreamPrediction(8, ["a"], clock_us=lambda: now_us[0])
    code(prediction)
    prediction.join("b")
    code(prediction)
    prediction.join("c")
    prediction.leave("c")
    now_us[0] = 2_000_000
    assert not code(prediction).keyframe


def test_what_a_subscriber_lost_is_not_predicted_from() -> None:
    prediction = StreamPrediction(8, ["a"])
    reporter = FrameReporter()
    for number in range(4):
        code(prediction)
        reporter.decided(number, is_held=number < 3, concealed=0.5, now_us=number)
        report = reporter.take_due(now_us=number)
        if report is not None:
            prediction.report("a", report)
    plan = code(prediction)
    assert not plan.keyframe
    assert plan.reference_frame == 2


def test_numbers_go_on_where_a_stream_changes_its_size() -> None:
    numbers = FrameNumbers()
    before = StreamPrediction(8, numbers=numbers)
    for _ in range(3):
        code(before)
    after = StreamPrediction(8, numbers=numbers)
    assert code(after).frame_number == 3
    assert code(after).reference_frame == 3


def test_rungs_of_a_stream_count_the_same_frames() -> None:
    numbers = FrameNumbers()
    fine, coarse = (StreamPrediction(8, [name], numbers=numbers) for name in "ab")
    for _ in range(3):
        code(fine)
    plans = [fine.plan(), coarse.plan()]
    for prediction, plan in zip((fine, coarse), plans, strict=True):
        prediction.sent(plan)
    assert [plan.frame_number for plan in plans] == [3, 3]
    assert [plan.keyframe for plan in plans] == [False, True]


def test_what_a_subscriber_held_of_another_rung_says_nothing_of_this_one() -> None:
    prediction = StreamPrediction(8, ["a"])
    reporter = FrameReporter()
    for number in range(5):  # while b followed another rung, whose frames it held
        code(prediction)
        reporter.decided(number, is_held=True, now_us=number)
    prediction.join("b")
    prediction.leave("a")
    code(prediction)
    reporter.decided(5, is_held=False, concealed=1.0, now_us=10**6)
    report = reporter.take_due(now_us=10**6)
    assert report is not None
    prediction.report("b", report)
    assert prediction.plan().reference is None
