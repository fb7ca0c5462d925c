"""When a process that died is started again."""

from rtcodec_server.workers.restart import FIRST_PAUSE_US, MAX_PAUSE_US, RestartPolicy


def test_the_first_death_costs_no_time_and_the_next_ones_more_and_more() -> None:
    policy = RestartPolicy(max_restarts=9, window_us=60_000_000)
    pauses = [policy.died(now_us=at) for at in range(9)]
    assert pauses[:4] == [0, FIRST_PAUSE_US, 2 * FIRST_PAUSE_US, 4 * FIRST_PAUSE_US]
    assert pauses[-1] == MAX_PAUSE_US


def test_one_death_too_many_is_the_end() -> None:
    policy = RestartPolicy(max_restarts=1, window_us=1000)
    assert policy.died(now_us=0) == 0
    assert policy.died(now_us=10) is None
    assert policy.has_given_up
    assert policy.died(now_us=10**9) is None  # for good


def test_deaths_long_ago_are_forgotten() -> None:
    policy = RestartPolicy(max_restarts=1, window_us=1000)
    assert [policy.died(now_us=at) for at in (0, 2000, 4000)] == [0, 0, 0]
    assert not policy.has_given_up


def test_with_no_restarts_the_first_death_is_the_end() -> None:
    assert RestartPolicy(max_restarts=0, window_us=1000).died(now_us=0) is None
