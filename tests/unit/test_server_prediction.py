"""What the frames of a stream are predicted from, asked and told by two threads."""

from rtcodec.bitstream.packet import state_id
from rtcodec_server.prediction import REFRESH_INTERVAL_US, FramePlan, StreamPrediction


def code(prediction: StreamPrediction, number: int, now_us: int) -> FramePlan:
    plan = prediction.plan(now_us=now_us)
    prediction.stored(plan, number)
    return plan


def test_each_frame_leans_on_the_one_before() -> None:
    prediction = StreamPrediction()
    assert code(prediction, 0, 0) == FramePlan(True, None, state_id(0, 0))
    assert code(prediction, 1, 1) == FramePlan(False, state_id(0, 0), state_id(1, 0))
    assert code(prediction, 2, 2) == FramePlan(False, state_id(1, 0), state_id(0, 1))


def test_a_refresh_is_a_key_frame_but_not_too_often() -> None:
    prediction = StreamPrediction()
    code(prediction, 0, 0)
    prediction.refresh()
    assert not code(prediction, 1, REFRESH_INTERVAL_US - 1).keyframe
    assert code(prediction, 2, REFRESH_INTERVAL_US).keyframe  # it was not forgotten
    assert not code(prediction, 3, 2 * REFRESH_INTERVAL_US).keyframe


def test_a_frame_that_was_not_coded_leaves_nothing_to_lean_on() -> None:
    prediction = StreamPrediction()
    code(prediction, 0, 0)
    prediction.plan(now_us=1)
    prediction.failed()
    assert prediction.plan(now_us=2).keyframe


def test_a_plan_that_was_never_stored_changes_nothing() -> None:
    prediction = StreamPrediction()
    code(prediction, 0, 0)
    assert prediction.plan(now_us=1) == prediction.plan(now_us=2)
