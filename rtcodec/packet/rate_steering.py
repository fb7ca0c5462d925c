"""
Steer an estimate of what a way carries: up while it keeps up, down when it does not.

Two controllers, each a value that others take the smaller of: one heeds whether a queue builds up
(additive increase, multiplicative decrease), one heeds loss. Both follow Google congestion control
(draft-ietf-rmcat-gcc-02); where they do not, a comment says why. No clock: times are arguments.
"""

from collections import deque
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Final

from rtcodec.packet.delay_trend import Usage

_US_PER_S: Final = 1_000_000
_DECREASE: Final = 0.85  # of what arrives
_DRAIN: Final = 0.7  # the same while a queue is long, or full
_DRAIN_QUEUE_US: Final = 100_000
_DRAIN_US: Final = 4_000_000
_DECREASE_PAUSE_US: Final = (10_000, 200_000)  # the round trip within these
_CAP_PART: Final = 1.5  # times what arrives: what was not tried is not known
_CAP_MORE_BPS: Final = 10_000
_MEMORY: Final = 0.05  # of the capacity's mean and variance
_VARIANCE_RANGE: Final = (0.4, 2.5)  # relative to the mean in kb/s
_SIGMAS: Final = 3.0
_RESPONSE_US: Final = 100_000  # of the other side, beside the round trip
_PACKET_BITS: Final = 1200 * 8
_LEAST_STEP_BPS: Final = 4_000  # each second
_FRAME_RATE: Final = 30
_STEP_MAX_US: Final = 1_000_000

_LOSS_WINDOW_US: Final = 500_000
_LOSS_WINDOW_PACKETS: Final = 20
_LOSS_LOW: Final = 0.02
_LOSS_HIGH: Final = 0.10
_INHERENT_US: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringConfig:
    """Between which bounds, and how eagerly."""

    start_bps: int = 1_000_000
    "Before anything is known."

    min_bps: int = 30_000
    max_bps: int = 50_000_000
    growth_per_s: float = 1.5
    """Factor of a second's growth far from a known limit. Google's 1.08 goes with probes, which
    find a way that became wider within a second; without them it takes 18 s from 300 kb/s to 1
    Mb/s."""

    first_growth_per_s: float = 2.0
    "The same until the first limit was found."


class DelaySteering:
    """Follows what the delay says."""

    def __init__(self, config: SteeringConfig) -> None:
        self.bps = float(config.start_bps)
        "What the way carries, as far as its delay shows."
        self._config = config
        self._is_holding = False
        self._changed_us: int | None = None
        self._capacity_kbps: float | None = None  # mean of what arrived when a queue built up
        self._variance = _VARIANCE_RANGE[0]
        self._decreased_us: int | None = None

    def update(
        self,
        usage: Usage,
        arriving_bps: float | None,
        *,
        rtt_us: int,
        queue_us: int,
        now_us: int,
    ) -> None:
        """
        Heed what the delay does.

        Args:
            usage: As the detector has it.
            arriving_bps: What the receiver gets, None while that is not known.
            rtt_us: Round trip.
            queue_us: How much longer packets take than the fastest did.
            now_us: Increasing.
        """
        elapsed_us = 0
        if self._changed_us is not None:
            elapsed_us = min(max(now_us - self._changed_us, 0), _STEP_MAX_US)
        self._changed_us = now_us
        is_start = self._decreased_us is None and queue_us > _DRAIN_QUEUE_US
        if usage is Usage.OVER or is_start:  # a queue that fills at once shows no slope after that
            self._decrease(arriving_bps, rtt_us, now_us)
        elif usage is Usage.UNDER:
            self._is_holding = True  # until the queue is empty
        elif self._is_holding:
            self._is_holding = False
        elif arriving_bps is not None:
            self._increase(arriving_bps, rtt_us, elapsed_us / _US_PER_S)
        if arriving_bps is not None and self._is_draining(queue_us, now_us):
            self.bps = min(self.bps, _DRAIN * arriving_bps)
        self.bps = min(max(self.bps, self._config.min_bps), self._config.max_bps)

    def _decrease(self, arriving_bps: float | None, rtt_us: int, now_us: int) -> None:
        self._is_holding = True
        pause_us = min(max(rtt_us, _DECREASE_PAUSE_US[0]), _DECREASE_PAUSE_US[1])
        is_soon = self._decreased_us is not None and now_us - self._decreased_us < pause_us
        if is_soon and (arriving_bps is None or arriving_bps > self.bps / 2):
            return  # the last decrease has not shown yet
        self._decreased_us = now_us
        if arriving_bps is None:
            self.bps *= _DECREASE
            return
        if self._capacity_kbps is not None and arriving_bps / 1000 < self._edge_kbps(-_SIGMAS):
            self._capacity_kbps = None  # far below what was the limit: there is another one
        self._learn(arriving_bps / 1000)
        self.bps = min(self.bps, _DECREASE * arriving_bps)

    def _is_draining(self, queue_us: int, now_us: int) -> bool:
        """
        Say whether the queue that the last decrease was for is still there.

        A slope of the delay shows that a queue grows, not that it stays. For a while only: later
        it may be somebody else's.
        """
        if self._decreased_us is None or now_us - self._decreased_us > _DRAIN_US:
            return False
        return queue_us > _DRAIN_QUEUE_US

    def _increase(self, arriving_bps: float, rtt_us: int, elapsed_s: float) -> None:
        config = self._config
        if self._capacity_kbps is not None and arriving_bps / 1000 > self._edge_kbps(_SIGMAS):
            self._capacity_kbps = None  # more than the limit arrives: it is gone
        if self._capacity_kbps is not None:
            packets = -(-self.bps / _FRAME_RATE // _PACKET_BITS)
            packet_bits = self.bps / _FRAME_RATE / max(packets, 1)
            per_s = packet_bits * _US_PER_S / (rtt_us + _RESPONSE_US)
            wanted_bps = self.bps + max(per_s, _LEAST_STEP_BPS) * elapsed_s
        else:
            growth = (
                config.first_growth_per_s if self._decreased_us is None else config.growth_per_s
            )
            wanted_bps = max(self.bps * growth**elapsed_s, self.bps + 1000 * elapsed_s)
        most_bps = _CAP_PART * arriving_bps + _CAP_MORE_BPS
        self.bps = max(self.bps, min(wanted_bps, most_bps))

    def _edge_kbps(self, sigmas: float) -> float:
        assert self._capacity_kbps is not None
        return self._capacity_kbps + sigmas * sqrt(self._variance * self._capacity_kbps)

    def _learn(self, kbps: float) -> None:
        if self._capacity_kbps is None:
            self._capacity_kbps = kbps
        self._capacity_kbps += _MEMORY * (kbps - self._capacity_kbps)
        error = (self._capacity_kbps - kbps) ** 2 / max(self._capacity_kbps, 1.0)
        variance = self._variance + _MEMORY * (error - self._variance)
        least, most = _VARIANCE_RANGE
        self._variance = min(max(variance, least), most)


class LossSteering:
    """
    Follows what loss says.

    Loss that stays when less is sent is the way's own: the median of the last ten seconds is not
    counted. Google's first controller does not tell, and sends almost nothing over a radio
    link that loses a fifth of all packets whatever is sent.
    """

    def __init__(self, config: SteeringConfig) -> None:
        self.bps = float(config.max_bps)
        "What the way carries, as far as loss shows."

        self.loss = 0.0
        "Share of the packets in the last half second or so."
        self.decreased_us = 0
        "When it was last lowered: what was sent before says nothing of what came of that."
        self._config = config
        self._n_lost = 0
        self._n_packets = 0
        self._since_us: int | None = None
        self._windows: deque[tuple[int, float]] = deque()

    def update(
        self,
        n_packets: int,
        n_lost: int,
        *,
        used_bps: float,
        arriving_bps: float | None,
        queue_us: int,
        now_us: int,
    ) -> None:
        """
        Heed what became of some packets.

        Args:
            n_packets: That were reported, and sent after `decreased_us`.
            n_lost: Of those.
            used_bps: The estimate that they were sent by.
            arriving_bps: What the receiver gets, None while that is not known.
            queue_us: How much longer packets take than the fastest did.
            now_us: Increasing.
        """
        self._n_packets += n_packets
        self._n_lost += n_lost
        if self._since_us is None:
            self._since_us = now_us
        elapsed_us = now_us - self._since_us
        if elapsed_us < _LOSS_WINDOW_US or self._n_packets < _LOSS_WINDOW_PACKETS:
            return
        self.loss = self._n_lost / self._n_packets
        self._n_lost = self._n_packets = 0
        self._since_us = now_us
        inherent = self._inherent(now_us)
        loss = self.loss - inherent * (queue_us < _DRAIN_QUEUE_US)  # a long queue loses by itself
        config, elapsed_s = self._config, elapsed_us / _US_PER_S
        if loss > _LOSS_HIGH:
            used_bps = min(self.bps, used_bps)
            through_bps = min(_DRAIN * (arriving_bps or 0.0), used_bps)
            self.bps = max(used_bps * (1 - loss / 2), through_bps)
            self.decreased_us = now_us
        elif loss < _LOSS_LOW:
            self.bps *= config.growth_per_s ** min(elapsed_s, 1.0)
        self.bps = min(max(self.bps, config.min_bps), config.max_bps)

    def _inherent(self, now_us: int) -> float:
        """Return the median loss of the last ten seconds, this included; 0 until they passed."""
        windows = self._windows
        is_old = bool(windows) and now_us - windows[0][0] >= _INHERENT_US
        while windows and now_us - windows[0][0] >= _INHERENT_US:
            windows.popleft()
        windows.append((now_us, self.loss))
        return median(loss for _, loss in windows) if is_old else 0.0
