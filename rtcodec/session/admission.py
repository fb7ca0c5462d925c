"""
Whether one more stream fits: what is offered, what was promised a moment ago, and the limit.

    load of what is coded + places promised + what is asked for  <=  limit

Loads are parts of what the engine can carry (`engine.capacity`). Whoever comes in takes seconds to
send a frame; until then its place is kept. The first is always let in, whatever it will cost. No
clock: `now_us` is an argument.
"""

from typing import Final

KEPT_US: Final = 10_000_000
"How long a place is kept for somebody whose frames are not yet counted."


class Admission:
    """The places of one engine."""

    def __init__(self, limit: float) -> None:
        """
        Args:
            limit: Part of what the engine can carry that streams may ask for; 0 for no limit.
        """
        self.limit = limit
        self.refused = 0
        "How often there was no place."
        self._promised: dict[str, tuple[float, int]] = {}  # name -> load, until when

    def ask(self, name: str, load: float, *, present: float, now_us: int) -> bool:
        """
        Return whether a stream fits, and keep its place if so.

        Args:
            name: Of the stream; who asks again has one place.
            load: What it will take.
            present: What is taken by streams that are counted already.
            now_us: Time in microseconds, any origin.
        """
        promised = self.promised(now_us=now_us, but=name)
        taken = present + promised
        if self.limit and taken and taken + load > self.limit:
            self.refused += 1
            return False
        self._promised[name] = load, now_us + KEPT_US
        return True

    def settle(self, name: str) -> None:
        """Forget a promise: the stream is counted by now, or has gone."""
        self._promised.pop(name, None)

    def promised(self, *, now_us: int, but: str | None = None) -> float:
        """Return the load of places that are kept, but for one's."""
        for name in [name for name, (_, until_us) in self._promised.items() if until_us <= now_us]:
            del self._promised[name]
        return sum(load for name, (load, _) in self._promised.items() if name != but)
