"""The rate of a stream in the relay: time stamps, subscribers' estimates, second tries."""

from collections.abc import Sequence

import pytest

from rtcodec.rate_control import FrameKind
from rtcodec.size_model import Try
from rtcodec_server.frame_request import CodedFrame
from rtcodec_server.live_rate import LiveRate

TARGET_BPS = 600_000
SHARE = TARGET_BPS // 30


def cost(qp: int, level: float = 17) -> int:
    return round(2 ** (level - 0.085 * qp))


def coded(*tries: Try, is_delta: bool = False) -> CodedFrame:
    return CodedFrame((b"",), 0, 0, 0, 0, False, tries, is_delta, not is_delta, 0)


def send(rate: LiveRate, numbers: Sequence[int], *, is_delta: bool = False) -> list[int]:
    """Code frames of a 30 Hz publisher; return their sizes."""
    sizes = []
    for number in numbers:
        plan = rate.plan(3000 * number)
        qp = plan.qp
        tries = [Try(qp, cost(qp))]
        if (better := rate.retry(plan)(tries)) is not None:
            tries.append(Try(better, cost(better)))
        rate.done(plan, coded(*tries, is_delta=is_delta))
        sizes.append(tries[-1].n_bits)
    return sizes


def test_frames_add_up_to_the_target() -> None:
    rate = LiveRate(TARGET_BPS)
    sizes = send(rate, range(150))
    assert sum(sizes[30:]) / 4 == pytest.approx(TARGET_BPS, rel=0.03)
    assert rate.target_bps == TARGET_BPS
    assert not rate.is_saturated


def test_frames_that_were_dropped_leave_their_bits_to_the_others() -> None:
    rate = LiveRate(TARGET_BPS)
    send(rate, range(30))
    sizes = []
    for number in range(30, 150):
        if number % 3 == 0:
            rate.dropped(rate.plan(3000 * number))
        else:
            sizes += send(rate, [number])
    assert sum(sizes) / 4 == pytest.approx(TARGET_BPS, rel=0.05)


def test_only_a_frame_too_big_is_tried_again() -> None:
    rate = LiveRate(TARGET_BPS)
    send(rate, range(30))
    plan = rate.plan(3000 * 30)
    assert rate.retry(plan)([Try(plan.qp, 1)]) is None
    qp = rate.retry(plan)([Try(plan.qp, 40 * SHARE)])
    assert qp is not None
    assert qp > plan.qp


def test_after_a_delta_frame_another_is_expected() -> None:
    rate = LiveRate(TARGET_BPS)
    assert rate.plan(0).kind is FrameKind.KEY
    send(rate, [1], is_delta=True)
    assert rate.plan(6000).kind is FrameKind.DELTA
    send(rate, [3])
    assert rate.plan(12000).kind is FrameKind.INTRA


def limit(rate: LiveRate, *ways_bps: int | None, now_us: int = 0) -> float:
    rate.limit({str(n): bps for n, bps in enumerate(ways_bps)}, now_us=now_us)
    return rate.target_bps


def test_the_narrowest_way_lowers_the_target_and_a_wider_one_raises_it() -> None:
    rate = LiveRate(TARGET_BPS, follows_remb=True)
    assert limit(rate) == limit(rate, None, None) == TARGET_BPS
    assert limit(rate, 900_000, None, 300_000) == 270_000
    assert limit(rate, 900_000, 500_000) == 450_000
    assert limit(rate, 10**9) == TARGET_BPS
    assert limit(rate, 0) == TARGET_BPS / 8


def test_the_floor_is_the_operators() -> None:
    assert limit(LiveRate(TARGET_BPS, follows_remb=True, least_bps=123_000), 0) == 123_000
    rate = LiveRate(TARGET_BPS, follows_remb=True, least_bps=10 * TARGET_BPS)
    assert limit(rate, 0) == TARGET_BPS


def test_estimates_are_ignored_unless_asked_for() -> None:
    assert limit(LiveRate(TARGET_BPS), 1000) == TARGET_BPS


def test_time_stamps_that_jump_do_no_harm() -> None:
    rate = LiveRate(TARGET_BPS)
    send(rate, range(30))
    sizes = send(rate, [10, 11, 10**9, 5, 6, 7])
    assert max(sizes) < 4 * SHARE


def test_a_key_frame_that_is_foreseen_may_be_larger() -> None:
    rate = LiveRate(TARGET_BPS)
    send(rate, range(60), is_delta=True)
    usual = rate.plan(3000 * 60)
    rate.dropped(usual)
    rate.expect_key()
    key = rate.plan(3000 * 61)
    rate.dropped(key)
    assert key.kind is FrameKind.KEY
    assert key.max_bits > 1.5 * usual.max_bits
    assert rate.plan(3000 * 62).kind is FrameKind.DELTA
