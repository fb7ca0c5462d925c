"""What workers tell their supervisor of themselves, four times a second."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rtcodec.errors import RemoteProtocolError


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker has."""

    rooms: Mapping[str, bool] = field(default_factory=dict)
    "Name -> whether somebody publishes there, heard from or not."

    sessions: int = 0
    at_us: int = 0
    "When that was so; monotonic microseconds, the same for all processes of a machine."

    lag_s: float = 0.0
    "Longest delay of its event loop within the last second."

    def write(self) -> dict[str, Any]:
        """Return it as the fields of a message."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "WorkerReport":
        """
        Read it from a message.

        Raises:
            RemoteProtocolError: If it is none.
        """
        try:
            rooms = fields["rooms"]
            if not isinstance(rooms, dict):
                raise TypeError
            return cls(
                {str(room): bool(is_published) for room, is_published in rooms.items()},
                int(fields["sessions"]),
                int(fields["at_us"]),
                float(fields["lag_s"]),
            )
        except (KeyError, TypeError, ValueError):
            raise RemoteProtocolError("a worker's report is malformed") from None
