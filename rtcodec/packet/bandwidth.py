"""
Estimate what the way to a receiver carries.

    at the sender:    PacketResult of every packet --> BandwidthEstimator --> bits per second
    at the receiver:  send and arrival times       --> ReceiverEstimator  --> REMB now and then

Both watch the delay (`delay_trend`) and steer by it (`rate_steering`); loss is seen only where the
sender is told of every packet. No sockets, no clock: times are arguments.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from rtcodec.packet.delay_trend import DelayTrend, Usage
from rtcodec.packet.rate_steering import DelaySteering, LossSteering, SteeringConfig
from rtcodec.packet.sent_packets import PacketResult
from rtcodec.timebase import unwrap

_US_PER_S: Final = 1_000_000
_RATE_WINDOW_US: Final = 500_000
_RATE_LEAST_US: Final = 150_000
_MEMORY_US: Final = 10_000_000
_BASE_MEMORY_US: Final = 30_000_000  # of the way without a queue, if there ever was none
_RTT_GUESS_US: Final = 200_000

_REMB_INTERVAL_US: Final = 1_000_000
_REMB_STEER_US: Final = 100_000
_REMB_DROP: Final = 0.97  # of the last that was told; less is told at once
_SEND_TIME_BITS: Final = 24
_SEND_TIME_PER_S: Final = 1 << 18


class ArrivingRate:
    """Bits per second that arrived in the last half second."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[int, int]] = deque()
        self._n_bytes = 0
        self._first_us: int | None = None

    def add(self, size_bytes: int, *, at_us: int) -> None:
        """Take one packet in; one from the past counts as now."""
        if self._arrivals:
            at_us = max(at_us, self._arrivals[-1][0])
        if self._first_us is None or at_us - self._last_us > 4 * _RATE_WINDOW_US:
            self._first_us = at_us
        self._arrivals.append((at_us, size_bytes))
        self._n_bytes += size_bytes
        while self._arrivals[0][0] <= at_us - _RATE_WINDOW_US:
            self._n_bytes -= self._arrivals.popleft()[1]

    @property
    def _last_us(self) -> int:
        return self._arrivals[-1][0] if self._arrivals else 0

    @property
    def bps(self) -> float | None:
        """The rate, or None while too little came."""
        if self._first_us is None:
            return None
        elapsed_us = min(self._last_us - self._first_us, _RATE_WINDOW_US)
        if elapsed_us < _RATE_LEAST_US:
            return None
        return self._n_bytes * 8 * _US_PER_S / elapsed_us


class LeastDelay:
    """The least of the delays of the last seconds; false before the first."""

    def __init__(self, memory_us: int = _MEMORY_US) -> None:
        self._memory_us = memory_us
        self.now_us = 0
        "The last one."
        self._delays: deque[tuple[int, int]] = deque()  # the least in front, then later ones

    def __bool__(self) -> bool:
        return bool(self._delays)

    @property
    def least_us(self) -> int:
        """The least of them, 0 before the first."""
        return self._delays[0][1] if self._delays else 0

    def add(self, delay_us: int, *, at_us: int) -> None:
        """Take one in; *at_us* does not decrease."""
        self.now_us = delay_us
        while self._delays and self._delays[-1][1] >= delay_us:
            self._delays.pop()
        self._delays.append((at_us, delay_us))
        while at_us - self._delays[0][0] > self._memory_us:
            self._delays.popleft()


class BandwidthEstimator:
    """What a sender that is told of every packet knows of the way."""

    def __init__(self, config: SteeringConfig | None = None) -> None:
        config = config or SteeringConfig()
        self._trend = DelayTrend()
        self._arriving = ArrivingRate()
        self._by_delay = DelaySteering(config)
        self._by_loss = LossSteering(config)
        self._rtt = LeastDelay()
        self._delay = LeastDelay(_BASE_MEMORY_US)
        self._was_over = False
        self.heard_us: int | None = None
        "When feedback last came."

        self.n_overuses = 0
        "Times that a queue was seen to build up."

    @property
    def bps(self) -> int:
        """What the way carries."""
        return int(min(self._by_delay.bps, self._by_loss.bps))

    @property
    def loss(self) -> float:
        """Share of packets lost lately, retransmissions counted like others."""
        return self._by_loss.loss

    @property
    def rtt_us(self) -> int | None:
        """
        Shortest time in ten seconds from sending a packet to hearing of it, or None.

        Feedback waits at the receiver, so this is up to its interval more than the round trip.
        """
        return self._rtt.least_us if self._rtt else None

    def feedback(self, results: Sequence[PacketResult], *, now_us: int) -> None:
        """Take in what became of some packets, in the order of sending."""
        self.heard_us = now_us
        arrived = [result for result in results if result.arrived_us is not None]
        for result in arrived:
            assert result.arrived_us is not None
            self._arriving.add(result.size_bytes, at_us=result.arrived_us)
            self._trend.add(sent_us=result.sent_us, arrived_us=result.arrived_us)
            self._delay.add(result.arrived_us - result.sent_us, at_us=now_us)
        if arrived:
            self._rtt.add(now_us - max(result.sent_us for result in arrived), at_us=now_us)
        usage, used_bps = self._trend.usage, self.bps
        self.n_overuses += usage is Usage.OVER and not self._was_over
        self._was_over = usage is Usage.OVER
        rtt_us = self.rtt_us or _RTT_GUESS_US
        queue_us = self._delay.now_us - self._delay.least_us
        self._by_delay.update(
            usage,
            self._arriving.bps,
            rtt_us=rtt_us,
            queue_us=queue_us,
            now_us=now_us,
        )
        fresh = [result for result in results if result.sent_us >= self._by_loss.decreased_us]
        self._by_loss.update(
            len(fresh),
            sum(result.arrived_us is None for result in fresh),
            used_bps=used_bps,
            arriving_bps=self._arriving.bps if arrived else None,
            queue_us=queue_us,
            now_us=now_us,
        )


class ReceiverEstimator:
    """
    What a receiver tells a sender that understands REMB only.

    The first estimate goes out with the first packets, so that a sender that waits for one begins
    with a picture worth looking at.
    """

    def __init__(self, config: SteeringConfig | None = None) -> None:
        self._trend = DelayTrend()
        self._arriving = ArrivingRate()
        self._by_delay = DelaySteering(config or SteeringConfig())
        self._delay = LeastDelay(_BASE_MEMORY_US)
        self._send_time = 0
        self._steered_us: int | None = None
        self._told_us: int | None = None
        self._told_bps = 0

    def add(self, send_time: int, size_bytes: int, *, now_us: int) -> int | None:
        """
        Take one packet in that arrives now.

        Args:
            send_time: Its abs-send-time, 24 bits: 64 s in steps of 3.8 us.
            size_bytes: Of its payload.
            now_us: Increasing.

        Returns:
            The bits per second to tell the sender now, or None.
        """
        self._send_time = unwrap(send_time, near=self._send_time, bits=_SEND_TIME_BITS)
        self._arriving.add(size_bytes, at_us=now_us)
        sent_us = self._send_time * _US_PER_S // _SEND_TIME_PER_S
        self._trend.add(sent_us=sent_us, arrived_us=now_us)
        self._delay.add(now_us - sent_us, at_us=now_us)
        is_over = self._trend.usage is Usage.OVER
        steered_us = self._steered_us
        if steered_us is None or is_over or now_us - steered_us >= _REMB_STEER_US:
            self._by_delay.update(
                self._trend.usage,
                self._arriving.bps,
                rtt_us=_RTT_GUESS_US,
                queue_us=self._delay.now_us - self._delay.least_us,
                now_us=now_us,
            )
            self._steered_us = now_us
        bps = int(self._by_delay.bps)
        if (
            self._told_us is None
            or now_us - self._told_us >= _REMB_INTERVAL_US
            or bps < _REMB_DROP * self._told_bps
        ):
            self._told_us, self._told_bps = now_us, bps
            return bps
        return None
