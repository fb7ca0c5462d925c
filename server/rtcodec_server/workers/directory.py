"""
Which worker has which room, and which gets the next: plain data, no clock, no sockets.

    enter(room) -> slot ... the worker answers ... left(visit)
    report(slot, ...)      what the worker says it has, now and then

A room stays with its worker for as long as the worker has it. A report is older than the answers
that came after it was written: only a newer one takes a room out of here.
"""

from collections import Counter, deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from rtcodec.session.lobby import Limits, RelayFull

ROOM_WEIGHT: Final = 8
"Sessions that one room weighs: it decodes and encodes, they are sent what it made."


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that may open a room or a session, on its way to a worker."""

    room: str
    slot: int
    life: int
    "Of the worker; its successor knows nothing of the request."

    publishes: bool
    "Whether it is for the publisher's place."

    lasts: bool
    "Whether the answer comes at the end of the session that it lets in."


@dataclass(slots=True)
class _Place:
    slot: int
    n_pending: int = 0
    used_us: int = 0
    "When the last answer came that let somebody in."

    is_published: bool = False
    "Whether it has a publisher, heard from or not."


@dataclass(slots=True)
class _Worker:
    life: int
    sessions: int = 0
    "As it said last."

    reported_us: int = 0
    n_pending: int = 0
    entered_us: deque[int] = field(default_factory=deque)
    "Answers that let somebody in since its last report."

    @property
    def n_sessions(self) -> int:
        """Sessions it has, or will if all goes well."""
        return self.sessions + self.n_pending + len(self.entered_us)


class Directory:
    """The supervisor's view of rooms."""

    def __init__(self, limits: Limits) -> None:
        """
        Args:
            limits: Of all workers together.
        """
        self._limits = limits
        self._places: dict[str, _Place] = {}
        self._workers: dict[int, _Worker] = {}
        self._lives = 0

    @property
    def slots(self) -> tuple[int, ...]:
        """Workers that are there."""
        return tuple(sorted(self._workers))

    @property
    def n_sessions(self) -> int:
        """Peers inside, or about to be."""
        return sum(worker.n_sessions for worker in self._workers.values())

    @property
    def n_rooms(self) -> Counter[int]:
        """Slot -> rooms."""
        return Counter(place.slot for place in self._places.values())

    def sessions_of(self, slot: int) -> int:
        """Return how many peers a worker has."""
        worker = self._workers.get(slot)
        return 0 if worker is None else worker.n_sessions

    def owner(self, room: str) -> int | None:
        """Return the worker that has *room*."""
        place = self._places.get(room)
        return None if place is None else place.slot

    def up(self, slot: int) -> None:
        """Note that a worker is there, with nothing in it."""
        self.down(slot)
        self._lives += 1
        self._workers[slot] = _Worker(self._lives)

    def down(self, slot: int) -> None:
        """Note that a worker is gone, and its rooms with it."""
        self._workers.pop(slot, None)
        self._places = {r: place for r, place in self._places.items() if place.slot != slot}

    def enter(self, room: str, *, publishes: bool = False, lasts: bool = False) -> Visit:
        """
        Choose the worker for a request that may let somebody into *room*; ends with `left`.

        Args:
            room: Its name.
            publishes: Whether it is for the publisher's place. Where that is taken its worker says
                whether it is free for another, and nobody more comes in.
            lasts: Whether the answer comes at the session's end; it counts once it is reported.

        Raises:
            RelayFull: If there is no worker, or a limit is reached.
        """
        limits = self._limits
        if not self._workers:
            raise RelayFull("no worker is ready yet", retry_after_s=1)
        place = self._places.get(room)
        replaces = publishes and place is not None and place.is_published
        if self.n_sessions >= limits.max_sessions and not replaces:
            raise self._full(f"{limits.max_sessions} sessions")
        if place is None:
            if len(self._places) >= limits.max_rooms:
                raise self._full(f"{limits.max_rooms} rooms")
            place = self._places[room] = _Place(self._least_loaded())
        worker = self._workers[place.slot]
        place.n_pending += 1
        worker.n_pending += not lasts
        return Visit(room, place.slot, worker.life, publishes, lasts)

    def left(self, visit: Visit, *, is_in: bool, now_us: int) -> None:
        """
        Note how a request ended.

        Args:
            visit: What `enter` returned.
            is_in: Whether it let somebody in.
            now_us: Time in microseconds, of the clock that reports use.
        """
        worker = self._workers.get(visit.slot)
        place = self._places.get(visit.room)
        if worker is None or worker.life != visit.life or place is None:
            return  # the worker died meanwhile
        worker.n_pending -= not visit.lasts
        place.n_pending -= 1
        if is_in:
            place.used_us = now_us
            if not visit.lasts:
                place.is_published = place.is_published or visit.publishes
                worker.entered_us.append(now_us)
        elif not place.n_pending and not place.used_us:
            del self._places[visit.room]

    def report(
        self,
        slot: int,
        *,
        rooms: Iterable[str],
        sessions: int,
        at_us: int,
        published: Container[str] = (),
    ) -> None:
        """
        Note what a worker had at *at_us*; nothing if it is not there.

        Args:
            slot: The worker's.
            rooms: All that it has.
            sessions: Peers in them.
            at_us: Of the clock that `left` is told.
            published: Those of the rooms that have a publisher.
        """
        worker = self._workers.get(slot)
        if worker is None or at_us < worker.reported_us:
            return
        worker.sessions, worker.reported_us = sessions, at_us
        while worker.entered_us and worker.entered_us[0] <= at_us:
            worker.entered_us.popleft()
        has = set(rooms)
        for room in has:
            place = self._places.setdefault(room, _Place(slot))
            place.used_us = place.used_us or at_us
            if at_us >= place.used_us:
                place.is_published = room in published
        gone = [
            room
            for room, place in self._places.items()
            if place.slot == slot
            and room not in has
            and not place.n_pending
            and place.used_us <= at_us
        ]
        for room in gone:
            del self._places[room]

    def _least_loaded(self) -> int:
        n_rooms = self.n_rooms
        return min(
            self._workers,
            key=lambda slot: (
                ROOM_WEIGHT * n_rooms[slot] + self._workers[slot].n_sessions,
                slot,
            ),
        )

    def _full(self, what: str) -> RelayFull:
        message = f"the relay is full: {what}"
        return RelayFull(message, retry_after_s=self._limits.retry_after_s)
