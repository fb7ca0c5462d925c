"""Token buckets on a clock that is an argument."""

from hypothesis import given
from hypothesis import strategies as st

from rtcodec.session.rate_limit import RateLimiter, TokenBucket


def test_a_burst_goes_through_and_then_one_at_a_time() -> None:
    bucket = TokenBucket(10, 3)
    assert [bucket.take(now_us=0) for _ in range(3)] == [0, 0, 0]
    wait_us = bucket.take(now_us=0)
    assert 99_000 < wait_us <= 100_000
    assert bucket.take(now_us=wait_us - 1000) > 0
    assert bucket.take(now_us=wait_us) == 0
    assert bucket.take(now_us=wait_us) > 0


def test_a_pause_fills_it_up_to_the_burst_and_no_further() -> None:
    bucket = TokenBucket(10, 2)
    assert bucket.take(now_us=0) == 0
    assert [bucket.take(now_us=10**9) for _ in range(2)] == [0, 0]
    assert bucket.take(now_us=10**9) > 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 1)
    assert bucket.take(now_us=1_000_000) == 0
    assert bucket.take(now_us=0) > 0
    assert bucket.take(now_us=1_000_000) > 0


@given(
    st.lists(st.integers(0, 300_000), max_size=60),
    st.floats(0.5, 100),
    st.integers(1, 20),
)
def test_no_more_goes_through_than_burst_and_rate_allow(
    gaps_us: list[int], rate_per_s: float, burst: int
) -> None:
    bucket = TokenBucket(rate_per_s, burst)
    now_us = n_taken = 0
    for gap_us in gaps_us:
        now_us += gap_us
        n_taken += bucket.take(now_us=now_us) == 0
        # what is forgiven each time is the slack
        assert n_taken <= burst + now_us * rate_per_s / 1e6 + n_taken * 1e-6 + 1e-9


@given(st.integers(0, 10**12), st.floats(0.01, 1000), st.integers(1, 5))
def test_who_waits_as_long_as_told_gets_through(now_us: int, rate_per_s: float, burst: int) -> None:
    bucket = TokenBucket(rate_per_s, burst)
    while (wait_us := bucket.take(now_us=now_us)) == 0:
        pass
    assert bucket.take(now_us=now_us + wait_us) == 0


def test_each_client_has_its_own() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, max_clients=10)
    assert limiter.take("a", now_us=0) == 0
    assert limiter.take("a", now_us=0) > 0
    assert limiter.take("b", now_us=0) == 0


def test_the_table_is_bounded_and_forgets_who_was_longest_away() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, max_clients=2)
    for client in ("a", "b", "a", "c"):
        limiter.take(client, now_us=0)
    assert len(limiter) == 2
    assert limiter.take("a", now_us=0) > 0  # still known
    assert limiter.take("b", now_us=0) == 0  # forgotten for c
    for number in range(1000):
        limiter.take(str(number), now_us=0)
    assert len(limiter) == 2


def test_no_rate_is_no_limit_and_remembers_nobody() -> None:
    limiter = RateLimiter(rate_per_s=0, burst=1, max_clients=2)
    assert [limiter.take("a", now_us=0) for _ in range(100)] == [0] * 100
    assert len(limiter) == 0
