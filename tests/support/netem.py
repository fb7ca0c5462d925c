"""A lossy, jittery, reordering network on a virtual clock; the same seed, the same network."""

import heapq
import random
from dataclasses import dataclass
from typing import Generic, TypeVar

Datagram = TypeVar("Datagram")


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What one direction of a network does to datagrams."""

    delay_us: int = 10_000
    "Of every datagram."

    jitter_us: int = 0
    "Up to this much more, evenly spread; more than the gaps between datagrams reorders them."

    loss: float = 0.0
    "Share that vanishes, independently of each other."

    burst: float = 0.0
    "Probability that the datagram after a lost one is lost too, instead of `loss`."

    duplicate: float = 0.0
    "Share that arrives twice."

    outages_us: tuple[tuple[int, int], ...] = ()
    "Times (from, until) when nothing gets through."


class Netem(Generic[Datagram]):
    """One direction of a network. Sans-I/O like what it tests."""

    def __init__(self, path: Path, *, seed: int) -> None:
        self._path = path
        self._random = random.Random(seed)
        self._in_flight: list[tuple[int, int, Datagram]] = []
        self._count = 0
        self._last_was_lost = False
        self.n_lost = 0

    @property
    def deadline_us(self) -> int | None:
        """When the next datagram arrives, or None."""
        return self._in_flight[0][0] if self._in_flight else None

    def send(self, datagram: Datagram, *, now_us: int) -> None:
        """Put a datagram on its way."""
        copies = 1 + (self._random.random() < self._path.duplicate)
        for _ in range(copies):
            if self._is_lost(now_us):
                self.n_lost += 1
                continue
            at_us = now_us + self._path.delay_us + self._random.randint(0, self._path.jitter_us)
            heapq.heappush(self._in_flight, (at_us, self._count, datagram))
            self._count += 1

    def deliver(self, *, now_us: int) -> list[Datagram]:
        """Return what has arrived by *now_us*, in order of arrival."""
        arrived = []
        while self._in_flight and self._in_flight[0][0] <= now_us:
            arrived.append(heapq.heappop(self._in_flight)[2])
        return arrived

    def _is_lost(self, now_us: int) -> bool:
        path = self._path
        if any(start <= now_us < end for start, end in path.outages_us):
            return True
        chance = path.burst if self._last_was_lost and path.burst else path.loss
        self._last_was_lost = self._random.random() < chance
        return self._last_was_lost
