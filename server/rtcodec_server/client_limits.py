"""How much one client may ask of the relay, and send it: `[requests]` and `[publisher]`."""

from dataclasses import dataclass

from rtcodec.types import MAX_SIDE_PX
from rtcodec_server.config_check import check


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How many POST and PATCH one client address may send."""

    per_s: float = 20.0
    "On average; 0 switches the limit off."

    burst: int = 100
    "At once, after a pause."

    max_clients: int = 4096
    "Addresses remembered; beyond that the one not heard of for longest is forgotten."

    def __post_init__(self) -> None:
        check(self.per_s >= 0, f"{self.per_s} requests a second")
        check(self.burst >= 1, f"a burst of {self.burst} requests")
        check(self.max_clients >= 1, f"{self.max_clients} clients remembered")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherLimits:
    """How much one publisher may send."""

    max_size: tuple[int, int] = (3840, 2160)
    "Largest picture, lying or standing; a larger one ends the session."

    max_fps: int = 60
    "Frames beyond this rate are dropped, evenly."

    def __post_init__(self) -> None:
        width, height = self.max_size
        check(
            1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX,
            f"max_size {width}x{height} is outside 1x1 to {MAX_SIDE_PX}x{MAX_SIDE_PX}",
        )
        check(self.max_fps >= 1, f"at most {self.max_fps} frames per second")
