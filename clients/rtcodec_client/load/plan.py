"""
Who joins which room in which process, decided before anything starts. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rtcodec.errors import ConfigError
from rtcodec_client.load.feed import FeedSettings
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.peer import PeerSpec
from rtcodec_client.load.requirement import Requirement
from rtcodec_client.load.step import Step

MAX_PROCESSES = 32
MAX_PEERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What the user asked for."""

    publishers: int = 1
    subscribers: int = 1
    "Of each publisher's room."

    decode: int | None = 1
    "Subscribers that decode; None for all."

    ramp_s: float = 5.0
    duration_s: float = 30.0
    "Of the soak."

    churn_per_s: float = 0.0
    "Join and leave cycles per second during the soak."

    churn_stay_s: float = 0.5
    "How long a peer of the churn stays after its first frame."

    churn_roles: tuple[str, ...] = ("subscriber",)
    "Who comes and goes, in turns."

    feed: FeedSettings
    up: Impairment = field(default_factory=Impairment)
    down: Impairment = field(default_factory=Impairment)
    steps: tuple[Step, ...] = ()
    "When the network changes, for each peer from when it joined."

    impaired_roles: tuple[str, ...] = ("publisher", "subscriber")
    seed: int = 1
    processes: int = 1
    requirements: tuple[Requirement, ...] = ()
    "Empty for the default ones."

    out: Path | None = None

    def __post_init__(self) -> None:
        """
        Check the values.

        Raises:
            ConfigError: If one is out of range.
        """
        _check(self.publishers >= 1, f"{self.publishers} publishers; at least 1")
        _check(self.subscribers >= 0, f"{self.subscribers} subscribers")
        _check(
            self.publishers * (1 + self.subscribers) <= MAX_PEERS,
            f"{self.publishers * (1 + self.subscribers)} peers are more than {MAX_PEERS}",
        )
        _check(self.decode is None or self.decode >= 0, f"{self.decode} decoding subscribers")
        _check(self.duration_s > 0, f"a duration of {self.duration_s:g} s")
        _check(self.ramp_s >= 0, f"a ramp of {self.ramp_s:g} s")
        _check(0 <= self.churn_per_s <= 100, f"a churn of {self.churn_per_s:g}/s is outside 0..100")
        _check(self.churn_stay_s >= 0, f"a stay of {self.churn_stay_s:g} s")
        _check(
            1 <= self.processes <= MAX_PROCESSES,
            f"{self.processes} processes is outside 1..{MAX_PROCESSES}",
        )

    @property
    def n_subscribers(self) -> int:
        """In all rooms together."""
        return self.publishers * self.subscribers

    @property
    def n_decoding(self) -> int:
        """Subscribers that decode."""
        return self.n_subscribers if self.decode is None else min(self.decode, self.n_subscribers)

    @property
    def n_peers(self) -> int:
        """Publishers and subscribers of the soak."""
        return self.publishers + self.n_subscribers

    @property
    def is_impaired(self) -> bool:
        """Whether there is a network of ours in between."""
        return bool(self.steps) or not (self.up.is_none and self.down.is_none)


@dataclass(frozen=True, slots=True)
class Placed:
    """A peer and the process that runs it."""

    spec: PeerSpec
    process: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All peers of the soak, in the order in which they join."""

    publishers: tuple[Placed, ...]
    subscribers: tuple[Placed, ...]
    rooms: tuple[str, ...]


def make_plan(settings: LoadSettings, room_prefix: str) -> Plan:
    """
    Place the peers.

    Publishers and subscribers take turns at the processes of their kind, so that a camera is never
    late because subscribers are many. Those who decode are spread over rooms first, then over the
    subscribers of a room.
    """
    n_rooms = settings.publishers
    of_publishers, of_subscribers = process_shares(settings)
    rooms = tuple(f"{room_prefix}-{room}" for room in range(n_rooms))
    publishers = tuple(
        Placed(
            PeerSpec(
                name=f"p{room}",
                role="publisher",
                room=rooms[room],
                delay_us=publisher_delay_us(settings, room),
            ),
            of_publishers[room % len(of_publishers)],
        )
        for room in range(n_rooms)
    )
    subscribers = tuple(
        Placed(
            PeerSpec(
                name=f"s{index}",
                role="subscriber",
                room=rooms[index % n_rooms],
                delay_us=publisher_delay_us(settings, index % n_rooms),
                decodes=index < settings.n_decoding,
                is_lead=index < n_rooms,
            ),
            of_subscribers[index % len(of_subscribers)],
        )
        for index in range(settings.n_subscribers)
    )
    return Plan(publishers, subscribers, rooms)


def process_shares(settings: LoadSettings) -> tuple[range, range]:
    """Return the processes of publishers and of subscribers; a single one is for both."""
    n = settings.processes
    if n == 1 or not settings.n_subscribers:
        return range(n), range(n)
    share = round(n * settings.publishers / settings.n_peers)
    n_publishing = min(max(1, share), n - 1)
    return range(n_publishing), range(n_publishing, n)


def publisher_delay_us(settings: LoadSettings, index: int) -> int:
    """Spread publishers evenly over the frame time."""
    return index * settings.feed.frame_us // settings.publishers


def churn(settings: LoadSettings, plan: Plan, room_prefix: str) -> Iterator[Placed]:
    """Return the peers of the churn, without end: roles, rooms and processes take turns."""
    shares = dict(zip(("publisher", "subscriber"), process_shares(settings), strict=True))
    number = 0
    while True:
        role = settings.churn_roles[number % len(settings.churn_roles)]
        room = number % len(plan.rooms)
        yield Placed(
            PeerSpec(
                name=f"c{number}",
                role=role,
                room=plan.rooms[room] if role == "subscriber" else f"{room_prefix}-c{number}",
                delay_us=publisher_delay_us(settings, room),
                is_churn=True,
                stay_s=settings.churn_stay_s,
            ),
            shares[role][number % len(shares[role])],
        )
        number += 1


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
