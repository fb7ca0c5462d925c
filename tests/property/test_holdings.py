"""What is known of a receiver is the same, whether all of a report is read or what is new of it."""

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from rtcodec.codec.holdings import Holdings, Receiver, SentFrame
from rtcodec.packet.feedback import FrameReport

N_FRAMES = 80

reports = st.builds(
    lambda newest, held, words: FrameReport(newest, held & (1 << 32 * words) - 1, words),
    st.integers(0, N_FRAMES + 3),
    st.integers(0, (1 << 64) - 1) | st.integers(0, 63).map(lambda n: (1 << 64) - 1 ^ 1 << n),
    st.integers(1, 2),
)


@st.composite
def sent_frames(draw: st.DrawFn) -> list[SentFrame]:
    frames = []
    for number in range(N_FRAMES):
        reference = (
            draw(st.none() | st.integers(max(0, number - 4), number - 1)) if number else None
        )
        is_discardable = draw(st.booleans())
        frames.append(
            SentFrame(number, reference, number % 4, number // 4, (), is_discardable=is_discardable)
        )
    return frames


@given(sent_frames(), st.lists(reports | st.none(), max_size=30), st.integers(0, 20))
def test_what_was_told_before_need_not_be_read_again(
    frames: list[SentFrame], told: list[FrameReport | None], since: int
) -> None:
    holdings = Holdings()
    for frame in frames:
        holdings.add(frame, ())
    quick = Receiver(since - 1, since=since)
    plain = deepcopy(quick)
    for report in told:
        if report is None:  # it says that it holds nothing any more
            quick.forget()
        else:
            holdings.report(quick, report, near=N_FRAMES - 1)
        plain.told = 0  # nothing is known: all of it is read
        if report is None:
            plain.forget()
        else:
            holdings.report(plain, report, near=N_FRAMES - 1)
        assert (quick.held, quick.seen, quick.loss, quick.newest) == (
            plain.held,
            plain.seen,
            plain.loss,
            plain.newest,
        )
