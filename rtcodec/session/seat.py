"""
What each subscriber of a stream gets: one coding of every frame, and which.

A seat follows one rung. To change it waits for the first coding of the other rung that decodes by
itself, and gets its old one until then; so of no frame it gets two, and of none a broken one.
Bookkeeping only: codings are whatever the caller says they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rtcodec.session.layer import ANY_LAYER, FULL_RATE, LayerWish


class Coding(Protocol):
    """A frame as one rung codes it."""

    @property
    def is_clean(self) -> bool:
        """Whether it decodes without any other frame."""

    @property
    def temporal(self) -> int:
        """Temporal layer; may be left out where only lower ones are wanted."""


@dataclass(slots=True)
class Seat:
    """One subscriber's place."""

    wish: LayerWish = ANY_LAYER
    rung: int | None = None
    "What it gets; None before its first frame."

    target: int | None = None
    "What it waits for, or None."

    max_temporal: int = FULL_RATE
    "Highest temporal layer that it gets."

    n_switches: int = 0
    "Times that it changed its rung."

    @property
    def follows(self) -> frozenset[int]:
        """The rungs that have to be coded for it."""
        return frozenset(rung for rung in (self.rung, self.target) if rung is not None)

    @property
    def aim(self) -> int | None:
        """The rung it is on, or on its way to."""
        return self.rung if self.target is None else self.target

    def switch(self) -> None:
        """Follow the target from this frame on."""
        self.n_switches += self.rung is not None
        self.rung, self.target = self.target, None


T = TypeVar("T", bound=Coding)


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """A coding for a subscriber."""

    name: str
    coding: T
    left: int | None
    "The rung that it does not follow any more from here on."


class FrameCodings(Generic[T]):
    """The codings of one frame: how many come, which of them go to whom."""

    def __init__(self, rungs: Iterable[int]) -> None:
        """
        Args:
            rungs: Those that the frame is coded at; each ends in `came` or `failed`.
        """
        self._awaited = set(rungs)
        self._codings: dict[int, T] = {}
        self._served: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether nothing more comes."""
        return not self._awaited

    @property
    def has_any(self) -> bool:
        """Whether the frame was coded at all."""
        return bool(self._codings)

    def came(self, rung: int, coding: T) -> None:
        """Take one coding."""
        self._awaited.discard(rung)
        self._codings[rung] = coding

    def failed(self, rung: int) -> None:
        """Note that one will not come."""
        self._awaited.discard(rung)

    def serve(self, seats: Mapping[str, Seat]) -> list[Served[T]]:
        """
        Say who gets what now; a subscriber that waits for another rung's coding gets it later.

        Call it after every `came` and `failed`. Seats change their rung here.
        """
        served = []
        for name, seat in seats.items():
            if name in self._served:
                continue
            before = seat.rung
            coding = self._choose(seat)
            if coding is None:
                continue
            self._served.add(name)
            if coding.temporal <= seat.max_temporal:
                left = before if before != seat.rung else None
                served.append(Served(name, coding, left))
        return served

    def _choose(self, seat: Seat) -> T | None:
        if seat.target is not None:
            if seat.target in self._awaited:
                return None
            coding = self._codings.get(seat.target)
            if coding is not None and coding.is_clean and coding.temporal <= seat.max_temporal:
                seat.switch()
                return coding
        return None if seat.rung is None else self._codings.get(seat.rung)
