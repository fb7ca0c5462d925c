"""What the operator says about recording: where to, which rooms, how much."""

from dataclasses import dataclass
from pathlib import Path

from rtcodec.errors import ConfigError
from rtcodec_server.access import Grant, check_room_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    """Settings of `[record]`."""

    directory: Path | None = None
    "Existing folder that recordings go to and are played from; none switches both off."

    rooms: tuple[str, ...] = ("*",)
    "Rooms that are recorded by themselves: names, or beginnings and `*`; none waits to be asked."

    keyframe_s: float = 5.0
    "Longest time between frames that a recording can be played from; 0 asks for the first only."

    max_mb: int = 0
    "Megabytes after which a recording ends; 0 is no limit."

    max_s: int = 0
    "Seconds after which a recording ends; 0 is no limit."

    min_free_mb: int = 1024
    "A recording ends, and none starts, when less than this is free where it goes."

    def __post_init__(self) -> None:
        """Check the values; ConfigError if one is out of range."""
        for pattern in self.rooms:
            check_room_pattern(pattern)
        if not 0 <= self.keyframe_s <= 3600:
            raise ConfigError(f"{self.keyframe_s:g} s between key frames of a recording")
        for name in ("max_mb", "max_s", "min_free_mb"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} of recordings is below 0")

    def takes(self, room: str) -> bool:
        """Return whether *room* is recorded without being asked for."""
        return self.directory is not None and any(
            Grant(room=pattern).covers(room) for pattern in self.rooms
        )
