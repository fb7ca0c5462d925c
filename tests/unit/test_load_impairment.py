"""The bad network on a virtual clock: what the seed decides, what the clock decides."""

from typing import Any

import pytest

from rtcodec.errors import ConfigError
from rtcodec_client.load.arguments import parse_rates
from rtcodec_client.load.impairment import Impairment, Way

PACKET = bytes(1250)  # 10 000 bits


def sent(way: Way, n: int, *, every_us: int = 1000) -> list[tuple[int, int]]:
    """Send *n* numbered datagrams; return (time, number) of those that arrived, in that order."""
    arrived = []
    for number in range(n):
        way.send(number.to_bytes(2, "big") + PACKET[2:], now_us=number * every_us)
    while (at_us := way.deadline_us) is not None:
        arrived += [(at_us, int.from_bytes(d[:2], "big")) for d in way.deliver(now_us=at_us)]
    return arrived


def test_a_good_network_passes_everything_at_once_and_in_order() -> None:
    assert Impairment().is_none
    assert sent(Way(Impairment(), seed="1"), 5) == [(1000 * n, n) for n in range(5)]


def test_the_same_seed_loses_the_same_datagrams_whatever_their_sizes_and_times() -> None:
    lossy = Impairment(loss=0.3, jitter_us=5000)
    slow = Impairment(loss=0.3, jitter_us=5000, rate_bps=2_000_000, queue_us=10**9)
    through = {number for _, number in sent(Way(lossy, seed="7/p0/up"), 500)}
    assert through == {number for _, number in sent(Way(slow, seed="7/p0/up"), 500, every_us=10)}
    assert through != {number for _, number in sent(Way(lossy, seed="8/p0/up"), 500)}


def test_a_datagram_that_overflows_does_not_change_what_happens_to_the_next() -> None:
    tight = Way(Impairment(jitter_us=9000, rate_bps=1_000_000, queue_us=0), seed="a")
    wide = Way(Impairment(jitter_us=9000), seed="a")
    late_us = {n: at - n * 1000 for at, n in sent(wide, 100)}
    for at_us, number in sent(tight, 100):
        assert at_us - number * 1000 == late_us[number]
    assert tight.n_overflowed > 50


def test_the_share_that_is_lost_is_the_share_that_was_asked_for() -> None:
    way = Way(Impairment(loss=0.1), seed="x")
    arrived = sent(way, 20_000)
    assert way.n_lost == 20_000 - len(arrived)
    assert 0.09 < way.n_lost / 20_000 < 0.11
    assert sent(Way(Impairment(loss=1.0), seed="x"), 100) == []


def test_delay_is_for_all_and_jitter_reorders() -> None:
    delayed = sent(Way(Impairment(delay_us=30_000), seed="x"), 3)
    assert delayed == [(30_000, 0), (31_000, 1), (32_000, 2)]
    arrived = sent(Way(Impairment(jitter_us=10_000), seed="x"), 200)
    numbers = [number for _, number in arrived]
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(200))
    assert all(0 <= at_us - 1000 * number <= 10_000 for at_us, number in arrived)


def test_a_rate_lets_a_burst_pass_then_one_datagram_at_a_time() -> None:
    way = Way(Impairment(rate_bps=1_000_000, burst_bytes=2500, queue_us=25_000), seed="x")
    for _ in range(6):
        way.send(PACKET, now_us=0)  # 10 ms each
    times_us = []
    while (at_us := way.deadline_us) is not None:
        times_us += [at_us] * len(way.deliver(now_us=at_us))
    assert times_us == [0, 0, 10_000, 20_000]
    assert way.n_overflowed == 2  # they would have waited 30 and 40 ms


def test_after_a_pause_the_bucket_is_full_again() -> None:
    way = Way(Impairment(rate_bps=1_000_000, burst_bytes=2500, queue_us=0), seed="x")
    for now_us in (0, 0, 100_000, 100_000, 100_000):
        way.send(PACKET, now_us=now_us)
    assert (way.n_sent, way.n_overflowed) == (5, 1)


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.1}, {"loss": -0.1}, {"delay_us": -1}, {"jitter_us": -1}, {"rate_bps": 10},
     {"burst_bytes": 100}, {"queue_us": -1}],
)  # fmt: skip
def test_what_no_network_does_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Impairment(**wrong)  # type: ignore[arg-type]


def test_the_rate_changes_when_it_should() -> None:
    steps = ((1_000_000, 100_000), (2_000_000, 1_000_000))
    way = Way(Impairment(rate_bps=1_000_000, rate_steps=steps, burst_bytes=1500), seed="x")
    delays = []
    for second in range(3):
        now_us = 5_000_000 + second * 1_000_000
        for _ in range(2):
            way.send(bytes(1500), now_us=now_us)
        assert len(way.deliver(now_us=now_us)) == 1  # what the bucket lets through at once
        assert way.deadline_us is not None
        delays.append(way.deadline_us - now_us)
        way.deliver(now_us=way.deadline_us)
    assert delays == [12_000, 120_000, 12_000]


@pytest.mark.parametrize(
    "broken",
    [
        {"rate_steps": ((1, 5000),)},
        {"rate_bps": 5000, "rate_steps": ((2, 5000), (1, 5000))},
        {"rate_bps": 5000, "rate_steps": ((-1, 5000),)},
        {"rate_bps": 5000, "rate_steps": ((1, 999),)},
    ],
)
def test_rates_that_make_no_sense_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rate"):
        Impairment(**broken)


def test_rates_are_read() -> None:
    assert parse_rates("800.5") == [(0, 800_500)]
    assert parse_rates("1000,20:300,40.5:1000") == [
        (0, 1_000_000),
        (20_000_000, 300_000),
        (40_500_000, 1_000_000),
    ]
    for text in ("", "fast", "1000,300:", "1000,a:300", "1000,,300", "inf"):
        with pytest.raises(ConfigError, match="rate"):
            parse_rates(text)
