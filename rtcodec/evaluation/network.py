"""
A network on a virtual clock: loss at random or in bursts, delay, jitter; seeded, so it repeats.

Sans-I/O: time is an argument. Datagrams of one way arrive in the order they were sent.
"""

import random
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

Datagram = TypeVar("Datagram")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What both ways between two peers do to datagrams."""

    rtt_us: int = 60_000
    "There and back, without jitter."

    jitter_us: int = 2_000
    "Up to so much more each way, evenly spread."

    loss: float = 0.0
    "Share of datagrams that vanish, each way."

    burst_packets: float = 1.0
    """Mean length of a run of lost datagrams, 1 or more: a Gilbert-Elliott chain whose bad state
    loses all and whose good state nothing. 1 stands for loss at random."""

    outages_us: tuple[tuple[int, int], ...] = ()
    "Times (from, until) when nothing gets through either way."

    @property
    def delay_us(self) -> int:
        """Of one way, without jitter."""
        return self.rtt_us // 2


class Way(Generic[Datagram]):
    """One direction of a network."""

    def __init__(self, network: Network, *, seed: int) -> None:
        self._network = network
        self._random = random.Random(seed)
        self._in_flight: deque[tuple[int, Datagram]] = deque()
        self._is_bad = False
        self.n_sent = 0
        self.n_lost = 0

    @property
    def deadline_us(self) -> int | None:
        """When the next datagram arrives, or None."""
        return self._in_flight[0][0] if self._in_flight else None

    def send(self, datagram: Datagram, *, now_us: int) -> None:
        """Put a datagram on its way."""
        self.n_sent += 1
        if self._is_lost(now_us):
            self.n_lost += 1
            return
        network = self._network
        at_us = now_us + network.delay_us + self._random.randint(0, network.jitter_us)
        if self._in_flight:
            at_us = max(at_us, self._in_flight[-1][0])
        self._in_flight.append((at_us, datagram))

    def deliver(self, *, now_us: int) -> list[Datagram]:
        """Return what has arrived by *now_us*."""
        arrived = []
        while self._in_flight and self._in_flight[0][0] <= now_us:
            arrived.append(self._in_flight.popleft()[1])
        return arrived

    def _is_lost(self, now_us: int) -> bool:
        network = self._network
        if any(start <= now_us < end for start, end in network.outages_us):
            return True
        if network.burst_packets <= 1.0:
            return self._random.random() < network.loss
        if self._is_bad:
            chance = 1.0 - 1.0 / network.burst_packets
        else:
            chance = network.loss / ((1.0 - network.loss) * network.burst_packets)
        self._is_bad = self._random.random() < chance
        return self._is_bad
