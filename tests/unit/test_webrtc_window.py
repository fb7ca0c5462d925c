"""The window of data channels: delay makes it smaller, at most once a round trip."""

from types import SimpleNamespace
from typing import Any

import pytest

from rtcodec.webrtc import aiortc_window
from rtcodec.webrtc.aiortc_window import FIRST_BYTES, LEAST_BYTES, MOST_BYTES, DelayWindow


class Sctp(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(_cwnd=3480, _ssthresh=None, _flight_size=0, _outbound_queue=[], seen=[])

    def _update_rto(self, round_trip_s: float) -> None:
        self.seen.append(round_trip_s)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    clock = {"us": 0}
    monkeypatch.setattr(aiortc_window, "monotonic_us", lambda: clock["us"])
    return clock


def opened() -> tuple[Any, DelayWindow]:
    sctp: Any = Sctp()
    return sctp, DelayWindow(sctp)


def test_delay_makes_it_smaller_once_a_round_trip(now: dict[str, int]) -> None:
    sctp, window = opened()
    assert sctp._cwnd == FIRST_BYTES
    sctp._update_rto(0.06)
    assert (window.round_trip_s, sctp._cwnd) == (0.06, FIRST_BYTES)
    sctp._cwnd = 40_000
    sctp._update_rto(0.18)  # twice what is allowed: a half more than the shortest
    assert sctp._cwnd == sctp._ssthresh == 20_000
    now["us"] += 100_000
    sctp._update_rto(0.18)
    assert sctp._cwnd == 20_000
    now["us"] += 100_000
    sctp._update_rto(0.18)
    assert sctp._cwnd == 10_000
    assert sctp.seen == [0.06, 0.18, 0.18, 0.18]  # aiortc's own estimate goes on


def test_it_stays_between_its_ends(now: dict[str, int]) -> None:
    sctp, _ = opened()
    sctp._update_rto(0.001)
    sctp._cwnd = 10 * MOST_BYTES
    sctp._update_rto(0.001)
    assert sctp._cwnd == MOST_BYTES
    for _ in range(20):
        now["us"] += 60_000_000
        sctp._update_rto(5.0)
    assert sctp._cwnd == LEAST_BYTES


def test_a_clock_that_was_set_back_says_nothing(now: dict[str, int]) -> None:
    sctp, window = opened()
    sctp._update_rto(-3.0)
    assert window.round_trip_s is None


def test_a_long_message_goes_out_as_far_as_the_window_lets() -> None:
    import asyncio

    sctp, window = opened()
    sctp._outbound_queue = [1160] * 20
    bursts = []

    async def transmit() -> None:
        some, sctp._outbound_queue = sctp._outbound_queue[:4], sctp._outbound_queue[4:]
        sctp._flight_size += sum(some)
        bursts.append(len(some))

    sctp._transmit = transmit
    asyncio.run(window.push())
    assert bursts == [4, 4, 4]  # the window is ten
    sctp._outbound_queue = []
    asyncio.run(window.push())
    assert len(bursts) == 3


def test_it_says_when_half_of_it_is_under_way() -> None:
    sctp, window = opened()
    assert not window.is_half_full
    sctp._flight_size = FIRST_BYTES // 2
    assert window.is_half_full
    sctp._cwnd *= 2
    assert not window.is_half_full


def test_it_can_be_given_back() -> None:
    sctp, window = opened()
    window.release()
    sctp._update_rto(1.0)
    assert window.round_trip_s is None
    assert sctp.seen == [1.0]
