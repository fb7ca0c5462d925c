"""What a relay may claim to hold is what all behind it hold."""

from hypothesis import given
from hypothesis import strategies as st

from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.feedback_merge import FeedbackMerger

SECOND_US = 1_000_000


def held_frames(report: FrameReport) -> set[int]:
    return {report.newest - back & 0xFFFF for back in range(report.n_frames) if report.holds(back)}


def test_nobody_says_nothing() -> None:
    assert FeedbackMerger().merged(now_us=0) is None


def test_one_receivers_word_is_passed_on_as_it_is() -> None:
    merger = FeedbackMerger()
    report = FrameReport(7, 0b1011, words=2)
    merger.report("a", report, now_us=0)
    assert merger.merged(now_us=0) == report


def test_a_frame_counts_as_held_when_all_hold_it() -> None:
    merger = FeedbackMerger()
    merger.report("a", FrameReport(10, 0b1111, words=2), now_us=0)
    merger.report("b", FrameReport(9, 0b101, words=2), now_us=0)
    merged = merger.merged(now_us=0)
    assert merged is not None
    assert (merged.newest, held_frames(merged)) == (9, {9, 7})


def test_damage_of_the_newest_frame_is_the_worst_of_all() -> None:
    merger = FeedbackMerger()
    merger.report("a", FrameReport(5, 0, damage=20), now_us=0)
    merger.report("b", FrameReport(5, 0, damage=90), now_us=0)
    merger.report("c", FrameReport(5, 1), now_us=0)
    merged = merger.merged(now_us=0)
    assert merged is not None
    assert (merged.held, merged.damage) == (0, 90)


def test_one_that_left_lags_or_is_silent_holds_nobody_back() -> None:
    merger = FeedbackMerger()
    merger.report("silent", FrameReport(50, 0, words=2), now_us=0)
    merger.report("lagging", FrameReport(10, 0, words=2), now_us=5 * SECOND_US)
    merger.report("left", FrameReport(50, 0, words=2), now_us=5 * SECOND_US)
    merger.report("good", FrameReport(50, 0b11, words=2), now_us=5 * SECOND_US)
    merger.leave("left")
    merger.leave("never there")
    merged = merger.merged(now_us=5 * SECOND_US)
    assert merged is not None
    assert (merged.newest, held_frames(merged)) == (50, {50, 49})


def test_frame_numbers_wrap() -> None:
    merger = FeedbackMerger()
    merger.report("a", FrameReport(0xFFFF, 0b11, words=2), now_us=0)
    merger.report("b", FrameReport(1, 0b1111, words=2), now_us=0)
    merged = merger.merged(now_us=0)
    assert merged is not None
    assert (merged.newest, held_frames(merged)) == (0xFFFF, {0xFFFF, 0xFFFE})


reports = st.builds(
    lambda newest, held, words: FrameReport(newest & 0xFFFF, held & (1 << 32 * words) - 1, words),
    st.integers(0xFFF0, 0x10030),
    st.integers(0, (1 << 256) - 1),
    st.integers(1, 8),
)


@given(st.lists(reports, min_size=1, max_size=5))
def test_nothing_is_claimed_that_a_receiver_near_the_front_does_not_hold(
    said: list[FrameReport],
) -> None:
    merger = FeedbackMerger()
    for number, report in enumerate(said):
        merger.report(str(number), report, now_us=0)
    merged = merger.merged(now_us=0)
    assert merged is not None

    def ahead(report: FrameReport) -> int:
        return (report.newest - 0x8000) & 0xFFFF

    foremost = max(map(ahead, said))
    for report in said:
        if foremost - ahead(report) <= 32:
            assert held_frames(merged) <= held_frames(report)
