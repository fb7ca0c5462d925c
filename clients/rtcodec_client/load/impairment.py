"""
What a bad network does to datagrams: loss, delay, jitter, a thin way with a bounded queue.

    send --> lost? --> token bucket, queue --> delay + jitter --> deliver

Sans-I/O: time is an argument. Seeded: whether datagram number i of a way is
lost, and how much jitter it gets, follow from the seed and i alone. What the
bucket does follows from sizes and times, as in any network.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import ConfigError

_MTU_BYTES: Final = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What one direction does to every datagram, handshakes included."""

    loss: float = 0.0
    "Share that vanishes, independently of each other, 0 to 1."

    delay_us: int = 0
    "Of every datagram."

    jitter_us: int = 0
    "Up to this much more, evenly spread; more than the gaps between datagrams reorders them."

    rate_bps: int | None = None
    "Most that passes, bits of UDP payload per second; None for no limit."

    rate_steps: Sequence[tuple[int, int]] = ()
    "What passes later: (microseconds from the first datagram, bits per second), in order."

    burst_bytes: int = 4 * _MTU_BYTES
    "What passes at once after a pause: the depth of the token bucket."

    queue_us: int = 200_000
    "Longest wait for the bucket; a datagram that would wait longer is dropped."

    def __post_init__(self) -> None:
        """
        Check the values.

        Raises:
            ConfigError: If one is out of range.
        """
        steps = tuple((int(at_us), int(bps)) for at_us, bps in self.rate_steps)
        object.__setattr__(self, "rate_steps", steps)  # JSON has lists
        if not 0.0 <= self.loss <= 1.0:
            raise ConfigError(f"a loss of {self.loss:g} is outside 0..1")
        if min(self.delay_us, self.jitter_us, self.queue_us) < 0:
            raise ConfigError("delay, jitter and queue are not below 0")
        if self.rate_bps is not None and self.rate_bps < 1000:
            raise ConfigError(f"a rate of {self.rate_bps} bits per second is below 1000")
        if self.rate_bps is None and self.rate_steps:
            raise ConfigError("a rate that changes begins with one that holds from the start")
        times_us = [0, *(at_us for at_us, _ in self.rate_steps)]
        if times_us != sorted(times_us) or any(bps < 1000 for _, bps in self.rate_steps):
            raise ConfigError("rates change in order of time, each to 1000 bits per second or more")
        if self.burst_bytes < _MTU_BYTES:
            raise ConfigError(f"a burst of {self.burst_bytes} bytes is below {_MTU_BYTES}")

    @property
    def is_none(self) -> bool:
        """Whether datagrams pass as they came."""
        return not (self.loss or self.delay_us or self.jitter_us or self.rate_bps)


class Way:
    """One direction of one peer's network."""

    def __init__(self, impairment: Impairment, *, seed: str) -> None:
        """
        Args:
            impairment: See there.
            seed: Of this way; ways with the same seed decide alike.
        """
        self._impairment = impairment
        self._random = random.Random(seed)
        self._in_flight: list[tuple[int, int, bytes]] = []
        self._first_us: int | None = None
        self._full_us = 0  # when the bucket is full again if nothing more is sent
        self.n_sent = 0
        "Datagrams given to `send`."

        self.n_lost = 0
        "Of those, lost at random."

        self.n_overflowed = 0
        "Of those, dropped because the queue before the bucket was full."

    def change(self, impairment: Impairment) -> None:
        """Do this from now on; what is under way stays so, and the same seed draws the same."""
        self._impairment = impairment

    @property
    def deadline_us(self) -> int | None:
        """When the next datagram arrives, or None."""
        return self._in_flight[0][0] if self._in_flight else None

    def send(self, datagram: bytes, *, now_us: int) -> None:
        """Put a datagram on its way, or lose it."""
        number = self.n_sent
        self.n_sent += 1
        # Both are drawn for each datagram, whatever becomes of it, so that the next ones get
        # the same whether or not this one passes.
        is_lost = self._random.random() < self._impairment.loss
        jitter_us = int(self._random.random() * (self._impairment.jitter_us + 1))
        if is_lost:
            self.n_lost += 1
            return
        leaves_us = self._leave(len(datagram), now_us)
        if leaves_us is None:
            self.n_overflowed += 1
            return
        at_us = leaves_us + self._impairment.delay_us + jitter_us
        heapq.heappush(self._in_flight, (at_us, number, datagram))

    def deliver(self, *, now_us: int) -> list[bytes]:
        """Return what has arrived by *now_us*, in order of arrival."""
        arrived = []
        while self._in_flight and self._in_flight[0][0] <= now_us:
            arrived.append(heapq.heappop(self._in_flight)[2])
        return arrived

    def _leave(self, size_bytes: int, now_us: int) -> int | None:
        """Say when the bucket lets a datagram go, or None if it would wait too long."""
        rate_bps = self._rate_bps(now_us)
        if rate_bps is None:
            return now_us
        full_us = max(self._full_us, now_us) + size_bytes * 8_000_000 // rate_bps
        burst_us = self._impairment.burst_bytes * 8_000_000 // rate_bps
        leaves_us = max(now_us, full_us - burst_us)
        if leaves_us - now_us > self._impairment.queue_us:
            return None
        self._full_us = full_us
        return leaves_us

    def _rate_bps(self, now_us: int) -> int | None:
        if self._first_us is None:
            self._first_us = now_us
        rate_bps = self._impairment.rate_bps
        for at_us, step_bps in self._impairment.rate_steps:
            if now_us - self._first_us >= at_us:
                rate_bps = step_bps
        return rate_bps
