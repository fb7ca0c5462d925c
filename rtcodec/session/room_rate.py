"""
Choose one rate for all subscribers of a room from what the way to each of them carries.

The narrowest way decides, down to a floor. A subscriber whose way stays below the floor does not
hold the others back: what they would see at the floor is worth little, and he could not receive it
either. Alone he gets the floor. Time is an argument.
"""

from collections.abc import Mapping
from typing import Final

from rtcodec.errors import ConfigError

MEDIA_PART: Final = 0.9
"Of a way; the rest is for headers, for asking again and for what else there is."

PATIENCE_US: Final = 3_000_000
"A way that is below the floor for so long is left behind."


class RoomRate:
    """The target of one stream that everybody in a room gets."""

    def __init__(self, most_bps: float, least_bps: float) -> None:
        """
        Args:
            most_bps: The operator's target.
            least_bps: The floor.
        """
        if not 0 < least_bps <= most_bps:
            raise ConfigError(f"a floor of {least_bps:g} b/s for a target of {most_bps:g} b/s")
        self.most_bps = float(most_bps)
        self.least_bps = float(least_bps)
        self._below_us: dict[str, int] = {}

    @property
    def left_behind(self) -> int:
        """Subscribers whose ways are below the floor, some of them perhaps for a moment only."""
        return len(self._below_us)

    def target(self, ways_bps: Mapping[str, int | None], *, now_us: int) -> float:
        """
        Return the rate to aim at.

        Args:
            ways_bps: What the way to each subscriber carries, None where that is not known.
            now_us: Increasing.
        """
        for name in self._below_us.keys() - ways_bps.keys():
            del self._below_us[name]
        target_bps = self.most_bps
        n_heeded = 0
        for name, bps in ways_bps.items():
            media_bps = self.most_bps if bps is None else MEDIA_PART * bps
            if media_bps >= self.least_bps:
                self._below_us.pop(name, None)
            elif now_us - self._below_us.setdefault(name, now_us) >= PATIENCE_US:
                continue
            target_bps = min(target_bps, max(media_bps, self.least_bps))
            n_heeded += 1
        return target_bps if n_heeded or not ways_bps else self.least_bps
