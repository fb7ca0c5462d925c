"""
A way with one thin place whose rate changes, on a virtual clock: a queue that overflows.

Sans-I/O: time is an argument. Datagrams arrive in the order they were sent.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Datagram = TypeVar("Datagram")

_BITS_US = 8_000_000  # bits in a byte, microseconds in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStep:
    """From when on the way carries what."""

    at_us: int
    bps: int


class Bottleneck(Generic[Datagram]):
    """One direction."""

    def __init__(
        self,
        steps: Sequence[RateStep],
        *,
        delay_us: int,
        queue_us: int = 300_000,
        jitter_us: int = 0,
        loss: float = 0.0,
        seed: int = 0,
    ) -> None:
        """
        Args:
            steps: In order; the first holds from the start.
            delay_us: Of every datagram, after the thin place.
            queue_us: What the queue before the thin place holds, in time at the present rate.
            jitter_us: Up to so much more, evenly spread.
            loss: Share that vanishes whatever the rate.
            seed: Of jitter and loss.
        """
        self._steps = steps
        self._delay_us = delay_us
        self._queue_us = queue_us
        self._jitter_us = jitter_us
        self._loss = loss
        self._random = random.Random(seed)
        self._free_us = 0  # when the thin place has sent all that it took
        self._in_flight: deque[tuple[int, Datagram]] = deque()
        self.n_lost = 0

    @property
    def deadline_us(self) -> int | None:
        """When the next datagram arrives, or None."""
        return self._in_flight[0][0] if self._in_flight else None

    def rate_bps(self, now_us: int) -> int:
        """Return what the way carries at a time."""
        return [step for step in self._steps if step.at_us <= now_us or step is self._steps[0]][
            -1
        ].bps

    def send(self, datagram: Datagram, size_bytes: int, *, now_us: int) -> None:
        """Put a datagram on its way, or lose it."""
        waits_us = self._free_us - now_us
        if self._random.random() < self._loss or waits_us > self._queue_us:
            self.n_lost += 1
            return
        start_us = max(self._free_us, now_us)
        self._free_us = start_us + size_bytes * _BITS_US // self.rate_bps(start_us)
        at_us = self._free_us + self._delay_us + self._random.randint(0, self._jitter_us)
        if self._in_flight:
            at_us = max(at_us, self._in_flight[-1][0])
        self._in_flight.append((at_us, datagram))

    def deliver(self, *, now_us: int) -> list[Datagram]:
        """Return what has arrived by *now_us*."""
        return [datagram for _, datagram in self.deliver_timed(now_us=now_us)]

    def deliver_timed(self, *, now_us: int) -> list[tuple[int, Datagram]]:
        """Return what has arrived by *now_us*, each with when."""
        arrived = []
        while self._in_flight and self._in_flight[0][0] <= now_us:
            arrived.append(self._in_flight.popleft())
        return arrived


class Lane(Generic[Datagram]):
    """One stream's share in a `Bottleneck` that others use too."""

    def __init__(self, way: Bottleneck[tuple["Lane[Datagram]", Datagram]]) -> None:
        """Use *way*, all of whose datagrams are of lanes."""
        self._way = way
        self._arrived: deque[tuple[int, Datagram]] = deque()
        self.n_lost = 0

    @property
    def deadline_us(self) -> int | None:
        """When the next datagram of any lane arrives, or None."""
        return self._arrived[0][0] if self._arrived else self._way.deadline_us

    def rate_bps(self, now_us: int) -> int:
        """Return what all lanes together carry at a time."""
        return self._way.rate_bps(now_us)

    def send(self, datagram: Datagram, size_bytes: int, *, now_us: int) -> None:
        """Put a datagram on its way, or lose it."""
        before = self._way.n_lost
        self._way.send((self, datagram), size_bytes, now_us=now_us)
        self.n_lost += self._way.n_lost - before

    def deliver(self, *, now_us: int) -> list[Datagram]:
        """Return what has arrived by *now_us*; what is others' waits for them."""
        for at_us, (lane, datagram) in self._way.deliver_timed(now_us=now_us):
            lane._arrived.append((at_us, datagram))
        arrived = []
        while self._arrived and self._arrived[0][0] <= now_us:
            arrived.append(self._arrived.popleft()[1])
        return arrived
