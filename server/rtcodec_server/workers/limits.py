"""How many processes there may be, and how patient their supervisor is."""

from dataclasses import dataclass
from typing import Final

from rtcodec_server.config_check import check

ENGINE_PLACES: Final = ("workers", "process")
MAX_WORKERS: Final = 64

MAX_ENGINES: Final = 16

CALL_PATIENCE: Final = 2.0
"Of `hang_s`, for one call of the engine: the first of a size may have to get it ready."

MAX_WORKER_ROOMS: Final = 2000
"Names of so many fit into one message of a worker to its supervisor."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """How worker and engine processes are looked after, where there are any."""

    spares: int = 1
    "Processes of each kind that are kept loaded, to take the place of one that dies."

    hang_s: float = 5.0
    "A process that is not heard from for so long is killed and replaced."

    max_restarts: int = 5
    "Within `window_s`, for each that there should be; beyond, none of the kind is started again."

    window_s: float = 60.0
    "See `max_restarts`."

    def __post_init__(self) -> None:
        check(0 <= self.spares <= 8, f"{self.spares} spare processes are outside 0 to 8")
        check(self.hang_s >= 1, f"hung after {self.hang_s:g} s; at least 1")
        check(self.max_restarts >= 0, f"at most {self.max_restarts} restarts")
        check(self.window_s > 0, f"restarts within {self.window_s:g} s")
