"""What is made of times and losses."""

import random
from itertools import pairwise

import pytest

from rtcodec.packet.bandwidth import (
    ArrivingRate,
    BandwidthEstimator,
    LeastDelay,
    ReceiverEstimator,
)
from rtcodec.packet.delay_trend import DelayTrend, Usage, _fit
from rtcodec.packet.rate_steering import DelaySteering, LossSteering, SteeringConfig
from rtcodec.packet.sent_packets import PacketResult

FRAME_US = 33_333
CONFIG = SteeringConfig(start_bps=500_000, min_bps=50_000, max_bps=4_000_000)
STEER = {"rtt_us": 50_000, "queue_us": 0}


# ---- the delay's trend


def feed(trend: DelayTrend, delays_us: list[int], *, start: int = 0) -> list[Usage]:
    usages = []
    for n, delay_us in enumerate(delays_us, start):
        trend.add(sent_us=n * FRAME_US, arrived_us=n * FRAME_US + delay_us)
        usages.append(trend.usage)
    return usages


def test_a_steady_delay_is_normal_whatever_it_is() -> None:
    for delay_us in (-5_000_000, 0, 80_000):
        assert set(feed(DelayTrend(), [delay_us] * 100)) == {Usage.NORMAL}


def test_jitter_is_normal() -> None:
    noise = random.Random(1)
    trend = DelayTrend()
    usages = feed(trend, [noise.randint(0, 10_000) for _ in range(1000)])
    assert usages.count(Usage.OVER) < 10
    assert abs(trend.slope) < 0.1


def test_a_queue_that_grows_is_overuse_and_one_that_drains_underuse() -> None:
    trend = DelayTrend()
    feed(trend, [10_000] * 60)
    growing = [10_000 + 4_000 * n for n in range(40)]
    usages = feed(trend, growing, start=60)
    assert Usage.OVER in usages[:20]
    assert trend.slope > 0.05
    usages = feed(trend, growing[::-1], start=100)
    assert Usage.UNDER in usages


def test_the_threshold_follows_what_is_usual_and_not_a_sudden_change() -> None:
    trend = DelayTrend()
    trend._adapt(12.5, 0)
    assert trend._threshold_ms == 12.5
    trend._adapt(27.6, 100_000)
    assert trend._threshold_ms == 12.5
    trend._adapt(27.4, 200_000)
    assert 12.5 < trend._threshold_ms < 27.4
    for n in range(3, 20):
        trend._adapt(0.0, n * 100_000)
    assert trend._threshold_ms == 6.0


def test_packets_sent_together_or_squeezed_together_are_one_group() -> None:
    trend = DelayTrend()
    for n in range(60):
        for packet in range(3):  # one packet after the other through a thin place
            trend.add(sent_us=n * FRAME_US, arrived_us=n * FRAME_US + 9_000 * packet)
    assert (trend.usage, trend.slope) == (Usage.NORMAL, 0.0)
    for packet in range(4):  # held up somewhere, then let go at once
        trend.add(sent_us=60 * FRAME_US + 6_000 * packet, arrived_us=70 * FRAME_US + 100 * packet)
    assert trend.usage is Usage.NORMAL


def test_a_packet_from_before_is_left_out() -> None:
    trend = DelayTrend()
    trend.add(sent_us=100_000, arrived_us=1)
    trend.add(sent_us=0, arrived_us=10**9)
    assert trend._group is not None
    assert trend._group.arrived_us == 1


def test_a_clock_that_jumps_starts_again() -> None:
    trend = DelayTrend()
    feed(trend, [4_000 * n for n in range(60)])
    assert trend.usage is Usage.OVER
    feed(trend, [60_000_000, 60_000_000], start=60)
    assert (trend.usage, trend.slope) == (Usage.NORMAL, 0.0)


def test_points_above_each_other_have_no_slope() -> None:
    points = DelayTrend()._points
    points.extend([(1.0, 2.0), (1.0, 3.0)])
    assert _fit(points) is None


# ---- steering


def test_far_from_a_limit_it_grows_by_a_factor_and_not_beyond_what_was_tried() -> None:
    steering = DelaySteering(CONFIG)
    for second in range(3):
        steering.update(Usage.NORMAL, 10_000_000.0, **STEER, now_us=second * 10**6)
    assert steering.bps == pytest.approx(4 * 500_000)
    for second in range(3, 9):
        steering.update(Usage.NORMAL, 1_500_000.0, **STEER, now_us=second * 10**6)
    assert steering.bps == pytest.approx(1.5 * 1_500_000 + 10_000)
    steering.update(Usage.NORMAL, 1_000_000.0, **STEER, now_us=10**7)
    assert steering.bps == pytest.approx(1.5 * 1_500_000 + 10_000)  # who sends less keeps it
    steering.update(Usage.NORMAL, 10**9, **STEER, now_us=2 * 10**7)
    assert steering.bps == CONFIG.max_bps


def test_nothing_is_known_before_something_arrives() -> None:
    steering = DelaySteering(CONFIG)
    for second in range(3):
        steering.update(Usage.NORMAL, None, **STEER, now_us=second * 10**6)
    assert steering.bps == 500_000
    steering.update(Usage.OVER, None, **STEER, now_us=4 * 10**6)
    assert steering.bps == pytest.approx(0.85 * 500_000)


def test_overuse_lowers_it_below_what_arrives_and_then_it_creeps() -> None:
    steering = DelaySteering(CONFIG)
    steering.update(Usage.OVER, 400_000.0, **STEER, now_us=0)
    assert steering.bps == pytest.approx(340_000)
    steering.update(Usage.OVER, 390_000.0, **STEER, now_us=1000)  # too soon to tell
    assert steering.bps == pytest.approx(340_000)
    steering.update(Usage.OVER, 100_000.0, **STEER, now_us=2000)  # but this is too far off
    assert steering.bps == pytest.approx(85_000)
    steering = DelaySteering(CONFIG)
    steering.update(Usage.OVER, 400_000.0, **STEER, now_us=0)
    rates = []
    for second in range(1, 6):
        steering.update(Usage.NORMAL, 350_000.0, **STEER, now_us=second * 10**6)
        rates.append(steering.bps)
    assert rates[0] == pytest.approx(340_000)  # one round of holding
    assert all(0 < later - earlier < 100_000 for earlier, later in pairwise(rates))


def test_more_than_the_old_limit_shows_that_it_is_gone() -> None:
    steering = DelaySteering(CONFIG)
    steering.update(Usage.OVER, 400_000.0, **STEER, now_us=0)
    for second in range(1, 5):
        steering.update(Usage.NORMAL, 900_000.0, **STEER, now_us=second * 10**6)
    assert steering.bps == pytest.approx(340_000 * 1.5**3)
    steering.update(Usage.OVER, 900_000.0, **STEER, now_us=6 * 10**6)
    steering.update(Usage.OVER, 300_000.0, **STEER, now_us=8 * 10**6)  # far below: another limit
    assert steering.bps == pytest.approx(255_000)


def test_a_queue_that_drains_is_left_to_drain() -> None:
    steering = DelaySteering(CONFIG)
    steering.update(Usage.OVER, 400_000.0, **STEER, now_us=0)
    steering.update(Usage.UNDER, 400_000.0, **STEER, now_us=10**6)
    steering.update(Usage.NORMAL, 400_000.0, **STEER, now_us=2 * 10**6)
    assert steering.bps == pytest.approx(340_000)


def test_a_long_queue_is_emptied_faster_for_a_while() -> None:
    steering = DelaySteering(CONFIG)
    long = {"rtt_us": 50_000, "queue_us": 300_000}
    steering.update(Usage.NORMAL, 400_000.0, **long, now_us=0)  # there from the start
    assert steering.bps == pytest.approx(280_000)
    for second in range(3, 8):
        steering.update(Usage.NORMAL, 400_000.0, **long, now_us=second * 10**6)
    assert steering.bps > 280_000


def lose(
    steering: LossSteering, share: float, seconds: int, *, start: int = 0, queue_us: int = 0
) -> None:
    for half in range(2 * start, 2 * (start + seconds)):
        steering.update(
            100,
            int(100 * share),
            used_bps=min(steering.bps, 1_000_000),
            arriving_bps=None,
            queue_us=queue_us,
            now_us=half * 500_000,
        )


def test_little_loss_raises_some_holds_and_much_lowers() -> None:
    steering = LossSteering(CONFIG)
    steering.bps = 400_000
    lose(steering, 0.0, 2)
    assert steering.bps > 400_000
    steering.bps = 400_000
    lose(steering, 0.05, 2, start=2)
    assert (steering.bps, steering.loss) == (400_000, 0.05)
    lose(steering, 0.3, 2, start=4)
    assert steering.bps < 250_000


def test_no_less_is_sent_than_what_gets_through() -> None:
    steering = LossSteering(CONFIG)
    for half in range(2):
        steering.update(
            100, 90, used_bps=1_000_000, arriving_bps=600_000.0, queue_us=0, now_us=half * 500_000
        )
    assert steering.bps == pytest.approx(550_000)
    assert steering.decreased_us == 500_000


def test_loss_that_stays_is_the_ways_own() -> None:
    steering = LossSteering(CONFIG)
    lose(steering, 0.2, 11)
    least_bps = steering.bps
    lose(steering, 0.2, 10, start=11)
    assert steering.bps > 2 * least_bps
    before_bps = steering.bps
    lose(steering, 0.5, 2, start=21)
    assert steering.bps < before_bps


def test_loss_beside_a_long_queue_is_no_ways_own() -> None:
    steering = LossSteering(CONFIG)
    lose(steering, 0.2, 40, queue_us=200_000)
    assert steering.bps == CONFIG.min_bps


# ---- small parts


def test_the_arriving_rate_is_that_of_the_last_half_second() -> None:
    rate = ArrivingRate()
    assert rate.bps is None
    for n in range(31):
        rate.add(1250, at_us=n * 10_000)
        assert (rate.bps is None) == (n < 15)
    for n in range(31, 200):
        rate.add(1250, at_us=n * 10_000)
    assert rate.bps == pytest.approx(1_000_000)
    rate.add(0, at_us=0)  # overtaken: counts as now
    assert rate.bps == pytest.approx(1_000_000)
    rate.add(1250, at_us=10**8)  # after a pause it begins again
    assert rate.bps is None


def test_the_least_delay_is_forgotten_after_ten_seconds() -> None:
    least = LeastDelay()
    assert (bool(least), least.least_us) == (False, 0)
    for at_us, delay_us, expected in (
        (0, 5, 5),
        (10**6, 9, 5),
        (2 * 10**6, 7, 5),
        (11 * 10**6, 8, 7),
    ):
        least.add(delay_us, at_us=at_us)
        assert (least.least_us, least.now_us) == (expected, delay_us)


# ---- all of it


def results(start_us: int, *, arrives: bool = True, delay_us: int = 20_000) -> list[PacketResult]:
    return [
        PacketResult(at_us, 1250, at_us + delay_us if arrives else None)
        for at_us in range(start_us, start_us + 100_000, 10_000)
    ]


def test_an_estimator_follows_a_way_that_is_fine() -> None:
    estimator = BandwidthEstimator(CONFIG)
    assert (estimator.heard_us, estimator.rtt_us, estimator.loss) == (None, None, 0.0)
    for n in range(50):
        estimator.feedback(results(n * 100_000), now_us=(n + 1) * 100_000)
    assert estimator.bps == pytest.approx(1.5 * 1_000_000 + 10_000, rel=0.01)
    assert (estimator.heard_us, estimator.rtt_us) == (5_000_000, 10_000)
    assert estimator.n_overuses == 0


def test_an_estimator_sees_queues_and_losses() -> None:
    estimator = BandwidthEstimator(CONFIG)
    for n in range(50):
        estimator.feedback(results(n * 100_000, delay_us=20_000 * n), now_us=(n + 1) * 100_000)
    assert estimator.n_overuses >= 1
    before_bps = estimator.bps
    assert estimator.bps < 1_000_000
    for n in range(50, 60):
        estimator.feedback(results(n * 100_000, arrives=False), now_us=(n + 1) * 100_000)
    assert estimator.loss == 1.0
    assert estimator.bps < 500_000 < before_bps


def test_a_receiver_tells_its_estimate_with_the_first_packet_and_then_every_second() -> None:
    estimator = ReceiverEstimator(CONFIG)
    told = []
    for n in range(300):
        at_us = n * 10_000
        bps = estimator.add((at_us << 18) // 10**6 & 0xFFFFFF, 1250, now_us=at_us)
        if bps is not None:
            told.append((at_us, bps))
    assert [at_us for at_us, _ in told] == [0, 1_000_000, 2_000_000]
    assert told[0][1] == CONFIG.start_bps
    assert told[-1][1] > 1_000_000


def test_a_receiver_tells_at_once_of_a_queue() -> None:
    estimator = ReceiverEstimator(CONFIG)
    told = []
    for n in range(300):
        sent_us = n * 10_000
        now_us = sent_us + max(0, n - 150) * 2_000
        bps = estimator.add((sent_us << 18) // 10**6 & 0xFFFFFF, 1250, now_us=now_us)
        if bps is not None:
            told.append((now_us, bps))
    drops = [at_us for (_, before), (at_us, bps) in pairwise(told) if bps < before]
    assert drops
    assert 1_500_000 < drops[0] < 2_500_000
