"""The order and the times in which packets leave."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rtcodec.packet.pacer import Pacer, PacerConfig

FRAME_US = 33_333
PACKET = 1200


def frame(name: str, n_packets: int, size: int = PACKET) -> list[tuple[str, int]]:
    return [(f"{name}{n}", size) for n in range(n_packets)]


def drain(pacer: Pacer[str], *, until_us: int, now_us: int = 0) -> list[tuple[int, str]]:
    left = [(now_us, item) for item in pacer.take(now_us=now_us)]
    while (due_us := pacer.deadline_us) is not None and due_us <= until_us:
        now_us = max(now_us, due_us)
        left += [(now_us, item) for item in pacer.take(now_us=now_us)]
    return left


def test_an_ordinary_frame_leaves_at_once() -> None:
    pacer: Pacer[str] = Pacer()
    assert pacer.deadline_us is None
    for now_us in range(0, 10 * FRAME_US, FRAME_US):
        pacer.add_frame(frame("a", 5), interval_us=FRAME_US, now_us=now_us)
        assert len(pacer.take(now_us=now_us)) == 5
        assert len(pacer) == 0


def test_a_large_frame_is_spread_over_half_the_interval() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.add_frame(frame("k", 40), interval_us=FRAME_US, now_us=0)
    left = drain(pacer, until_us=FRAME_US)
    assert [item for _, item in left] == [f"k{n}" for n in range(40)]
    assert sum(at_us == 0 for at_us, _ in left) in (5, 6)
    assert 10_000 < left[-1][0] <= FRAME_US // 2
    gaps = {later - earlier for (earlier, _), (later, _) in pairwise(left)}
    assert max(gaps) < 3_000


def test_a_wide_way_is_used() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.estimate_bps = 100_000_000
    pacer.add_frame(frame("k", 40), interval_us=FRAME_US, now_us=0)
    assert len(pacer.take(now_us=0)) == 40


def test_retransmissions_leave_first_and_within_their_time() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.add_frame(frame("k", 40), interval_us=FRAME_US, now_us=0)
    pacer.take(now_us=0)
    pacer.add_again("again", PACKET, now_us=100)
    left = drain(pacer, until_us=FRAME_US, now_us=100)
    assert left[0][1] == "again"
    assert left[0][0] <= 100 + PacerConfig().again_us


def test_a_timer_that_is_late_holds_nothing_back() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.add_frame(frame("a", 40), interval_us=FRAME_US, now_us=0)
    assert len(pacer.take(now_us=FRAME_US // 2)) == 40


def test_no_more_than_two_frames_wait() -> None:
    pacer: Pacer[str] = Pacer()
    left: list[str] = []
    for name in "abc":  # all at once, as after a stall
        pacer.add_frame(frame(name, 40), interval_us=FRAME_US, now_us=0)
        left = pacer.take(now_us=0)
    waiting = {item[0] for item in (item for _, item in drain(pacer, until_us=FRAME_US))}
    assert waiting == {"b", "c"}
    assert left[-1][0] in "ab"


def test_what_is_cleared_does_not_leave() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.add_frame(frame("a", 40), interval_us=FRAME_US, now_us=0)
    pacer.add_again("again", PACKET, now_us=0)
    pacer.clear()
    assert pacer.take(now_us=FRAME_US) == []
    assert pacer.deadline_us is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50_000),
            st.integers(1, 60),
            st.booleans(),
            st.none() | st.integers(1, 10**8),
        ),
        max_size=30,
    )
)
def test_everything_leaves_in_order_and_in_time(
    steps: list[tuple[int, int, bool, int | None]],
) -> None:
    pacer: Pacer[str] = Pacer()
    now_us = 0
    sent: list[str] = []
    left: list[tuple[int, str]] = []
    due_us: dict[str, int] = {}
    for number, (pause_us, n_packets, is_again, estimate_bps) in enumerate(steps):
        left += drain(pacer, until_us=now_us + pause_us, now_us=now_us)
        now_us += pause_us
        pacer.estimate_bps = estimate_bps
        if is_again:
            pacer.add_again(f"again{number}", PACKET, now_us=now_us)
            due_us[f"again{number}"] = now_us + 5_000
            continue
        packets = frame(f"{number}.", n_packets)
        pacer.add_frame(packets, interval_us=FRAME_US, now_us=now_us)
        sent += [item for item, _ in packets]
        due_us |= {item: now_us + FRAME_US // 2 for item, _ in packets}
    left += drain(pacer, until_us=now_us + 10**6, now_us=now_us)
    assert [item for _, item in left if not item.startswith("again")] == sent
    assert len(left) == len(due_us)
    assert all(at_us <= due_us[item] for at_us, item in left)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 1500), min_size=1, max_size=20), st.integers(0, 60_000)),
        min_size=1,
        max_size=12,
    ),
    st.none() | st.integers(1_000, 10_000_000),
)
def test_a_frame_that_passes_left_as_it_would_have_by_its_turn(
    frames: list[tuple[list[int], int]], estimate_bps: int | None
) -> None:
    passed, waited = Pacer[int](), Pacer[int]()
    passed.estimate_bps = waited.estimate_bps = estimate_bps
    now_us = 0
    for sizes, pause_us in frames:
        now_us += pause_us
        packets = list(enumerate(sizes))
        may_pass = passed.pass_frame(sizes, interval_us=33_333, now_us=now_us)
        if not may_pass:
            passed.add_frame(packets, interval_us=33_333, now_us=now_us)
        waited.add_frame(packets, interval_us=33_333, now_us=now_us)
        left = [number for number, _ in packets] if may_pass else passed.take(now_us=now_us)
        assert left == waited.take(now_us=now_us)
        assert passed.deadline_us == waited.deadline_us
        assert len(passed) == len(waited)
