"""What the frames of a stream are predicted from, asked and told by two threads."""

from rtcodec.codec.planner import FramePlan
from rtcodec.packet.feedback import FrameReporter
from rtcodec_server.prediction import StreamPrediction


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
    prediction = StreamPrediction(8, ["a"])
    code(prediction)
    assert not code(prediction).keyframe
    prediction.join("b")
    assert code(prediction).keyframe
    assert not code(prediction).keyframe
    prediction.leave("a")
    for _ in range(40):
        code(prediction)
    prediction.lost_all("b")
    assert code(prediction).keyframe


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
    before = StreamPrediction(8)
    for _ in range(3):
        code(before)
    after = StreamPrediction(8, first_frame=before.next_frame)
    assert code(after).frame_number == 3
    assert code(after).reference_frame == 3
