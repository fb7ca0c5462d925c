"""Reports of receivers: bytes, and when they are sent."""

import pytest

from rtcodec.errors import Corrupt, Truncated, Unsupported
from rtcodec.packet.feedback import FrameReport, FrameReporter, read_report, write_report

MS = 1_000


def test_a_report_is_laid_out_as_drawn() -> None:
    wire = write_report(FrameReport(0x0102, 0b101, damage=0))
    assert wire.hex(" ", 4) == "5254434c 01000102 00000005"
    assert read_report(wire).holds(2)
    assert not read_report(wire).holds(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("newest", -1),
        ("newest", 65536),
        ("words", 0),
        ("words", 9),
        ("held", 1 << 32),
        ("held", -1),
    ],
)
def test_a_report_has_limits(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        FrameReport(**{"newest": 0, "held": 0, field: value})


@pytest.mark.parametrize("damage", [-1, 256])
def test_damage_is_a_byte(damage: int) -> None:
    with pytest.raises(ValueError, match="damage"):
        FrameReport(0, 0, damage=damage)


def test_a_frame_is_not_both_held_and_damaged() -> None:
    with pytest.raises(ValueError, match="damage"):
        FrameReport(0, 1, damage=3)
    wire = bytearray(write_report(FrameReport(0, 1)))
    wire[5] = 3
    with pytest.raises(Corrupt, match="held"):
        read_report(bytes(wire))


def test_a_report_that_ends_early_is_truncated_or_corrupt() -> None:
    wire = write_report(FrameReport(7, 3, words=2))
    for cut in range(12):
        with pytest.raises(Truncated):
            read_report(wire[:cut])
    for cut in range(13, 16):
        with pytest.raises(Corrupt, match="bytes of frames"):
            read_report(wire[:cut])


@pytest.mark.parametrize(("at", "value"), [(0, 0), (3, 0), (4, 2)])
def test_other_feedback_is_refused(at: int, value: int) -> None:
    wire = bytearray(write_report(FrameReport(7, 3)))
    wire[at] = value
    with pytest.raises(Unsupported):
        read_report(bytes(wire))


def test_a_report_of_too_many_frames_is_corrupt() -> None:
    wire = write_report(FrameReport(7, 3, words=8))
    with pytest.raises(Corrupt, match="bytes of frames"):
        read_report(wire + bytes(4))


def test_damage_is_reported_at_once_and_health_now_and_then() -> None:
    reporter = FrameReporter(interval_us=50 * MS, words=1)
    assert reporter.take_due(now_us=0) is None
    reporter.decided(10, is_held=True, now_us=0)
    assert reporter.deadline_us == 0
    assert reporter.take_due(now_us=0) == FrameReport(10, 1)

    reporter.decided(11, is_held=True, now_us=33 * MS)
    assert reporter.take_due(now_us=33 * MS) is None
    assert reporter.deadline_us == 50 * MS
    reporter.decided(12, is_held=False, concealed=0.25, now_us=40 * MS)
    assert reporter.take_due(now_us=40 * MS) == FrameReport(12, 0b110, damage=64)
    assert reporter.deadline_us is None


def test_after_damage_every_frame_is_reported_for_a_while() -> None:
    reporter = FrameReporter(interval_us=50 * MS)
    reporter.decided(0, is_held=False, now_us=0)
    reports = 0
    for frame in range(1, 41):
        reports += reporter.take_due(now_us=frame * MS) is not None
        reporter.decided(frame, is_held=True, now_us=frame * MS)
    assert reports == 33
    assert reporter.deadline_us == 83 * MS


def test_frames_between_are_lost_and_old_ones_change_nothing() -> None:
    reporter = FrameReporter(words=1)
    reporter.decided(65535, is_held=True, now_us=0)
    reporter.take_due(now_us=0)
    reporter.decided(2, is_held=True, now_us=1)
    reporter.decided(0, is_held=True, now_us=1)
    assert reporter.take_due(now_us=1) == FrameReport(2, 0b1001)
    reporter.decided(1000, is_held=False, concealed=1.0, now_us=2)
    assert reporter.take_due(now_us=2) == FrameReport(1000, 0, damage=255)
