"""When there is time to measure."""

from rtcodec_server.measure import MeasureGate

MS = 1_000
FRAME_US = 33 * MS


def gate_at(mode: str, *, cost_us: int, n_frames: int = 20) -> tuple[MeasureGate, int]:
    """A gate that has seen frames every 33 ms and one measurement; and the last frame's time."""
    gate = MeasureGate(mode)
    for n in range(n_frames):
        gate.note_frame(1, now_us=n * FRAME_US)
    last_us = (n_frames - 1) * FRAME_US
    gate.note_measurement(started_us=last_us - cost_us, ended_us=last_us)
    return gate, last_us


def test_the_first_measurement_may_always_run() -> None:
    assert MeasureGate("auto").may_run(now_us=0)


def test_a_measurement_that_ends_before_the_next_frame_may_run() -> None:
    gate, last_us = gate_at("auto", cost_us=15 * MS)
    assert gate.may_run(now_us=last_us + 16 * MS)
    assert not gate.may_run(now_us=last_us + 18 * MS)


def test_a_measurement_that_never_fits_runs_once_a_second() -> None:
    gate, last_us = gate_at("auto", cost_us=40 * MS)
    started_us = last_us - 40 * MS
    for n in range(20, 49):
        gate.note_frame(1, now_us=n * FRAME_US)
    assert not gate.may_run(now_us=started_us + 999 * MS)
    assert gate.may_run(now_us=started_us + 1000 * MS)


def test_a_stream_that_stopped_is_not_waited_for() -> None:
    gate, last_us = gate_at("auto", cost_us=40 * MS)
    assert not gate.may_run(now_us=last_us + 2 * FRAME_US)
    assert gate.may_run(now_us=last_us + 3 * FRAME_US)


def test_a_stream_that_ended_is_forgotten() -> None:
    gate, last_us = gate_at("auto", cost_us=40 * MS)
    gate.forget(1)
    gate.forget(1)
    assert gate.may_run(now_us=last_us)


def test_a_stream_with_one_frame_has_no_rhythm_yet() -> None:
    gate, last_us = gate_at("auto", cost_us=40 * MS, n_frames=1)
    assert gate.may_run(now_us=last_us)


def test_with_no_gap_at_all_one_goes_first_now_and_then() -> None:
    gate = MeasureGate("auto")
    assert not gate.comes_first(now_us=0)
    assert not gate.comes_first(now_us=2_999 * MS)
    assert gate.comes_first(now_us=3_000 * MS)
    gate.note_measurement(started_us=3_000 * MS, ended_us=3_020 * MS)
    assert not gate.comes_first(now_us=3_020 * MS)
    assert gate.comes_first(now_us=6_000 * MS)


def test_all_and_off_are_what_they_say() -> None:
    every, none = MeasureGate("all"), MeasureGate("off")
    assert every.comes_first(now_us=0)
    assert every.may_run(now_us=0)
    assert not every.is_off
    assert not none.may_run(now_us=0)
    assert not none.comes_first(now_us=10**9)
    assert none.is_off
