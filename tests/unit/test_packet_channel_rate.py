"""What a data channel carries, told from how long frames take to leave it."""

from rtcodec.packet.channel_rate import WINDOW_US, ChannelRate

INTERVAL_US = 40_000


def sent(rate: ChannelRate, *, share: float, n_bytes: int, n_frames: int = 100) -> int:
    """Send frames that are on their way out for a share of the time between them."""
    for index in range(n_frames):
        began_us = index * INTERVAL_US
        rate.note(n_bytes, began_us=began_us, ended_us=began_us + int(share * INTERVAL_US))
    return n_frames * INTERVAL_US


def test_nothing_is_known_of_a_channel_that_is_idle_for_a_good_part() -> None:
    rate = ChannelRate()
    assert rate.bps(now_us=0, busy_since_us=None) is None
    now_us = sent(rate, share=0.5, n_bytes=2000)
    assert rate.bps(now_us=now_us, busy_since_us=None) is None


def test_a_channel_that_is_hardly_ever_idle_carries_what_it_let_out_while_it_was_not() -> None:
    rate = ChannelRate()
    now_us = sent(rate, share=0.9, n_bytes=4500)
    bps = rate.bps(now_us=now_us, busy_since_us=None)
    assert bps is not None
    assert abs(bps - 1_000_000) < 1000


def test_aiming_a_little_lower_does_not_make_the_rate_unknown() -> None:
    rate = ChannelRate()
    now_us = sent(rate, share=1.0, n_bytes=5000)
    assert rate.bps(now_us=now_us, busy_since_us=None) == 1_000_000
    rate = ChannelRate()
    now_us = sent(rate, share=0.9, n_bytes=4500)  # the same channel, a tenth less to carry
    assert rate.bps(now_us=now_us, busy_since_us=None) is not None


def test_a_frame_that_does_not_leave_brings_the_rate_down_to_nothing() -> None:
    rate = ChannelRate()
    stuck_us = sent(rate, share=0.1, n_bytes=5000)
    known = [
        rate.bps(now_us=stuck_us + late_us, busy_since_us=stuck_us)
        for late_us in range(0, WINDOW_US + 1, WINDOW_US // 10)
    ]
    assert known[:7] == [None] * 7
    assert known[-1] == 0


def test_a_large_first_frame_does_not_stand_for_the_way() -> None:
    """SCTP begins with a small window: the first key frame takes round trips, whatever the way."""
    rate = ChannelRate()
    rate.note(20_000, began_us=0, ended_us=400_000)
    for index in range(11, 60):
        began_us = index * INTERVAL_US
        rate.note(2000, began_us=began_us, ended_us=began_us + 1000)
        assert rate.bps(now_us=began_us + 2000, busy_since_us=None) is None


def test_of_a_frame_that_began_before_the_window_only_its_part_counts() -> None:
    rate = ChannelRate()
    rate.note(100_000, began_us=0, ended_us=2 * WINDOW_US)
    bps = rate.bps(now_us=3 * WINDOW_US - WINDOW_US // 10, busy_since_us=2 * WINDOW_US)
    assert bps is not None
    assert abs(bps - 8 * 100_000 / (2 * WINDOW_US / 1e6) * 0.1) < 10
