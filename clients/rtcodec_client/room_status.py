"""
What the relay says of a room at `/api/rooms`, as far as the clients use it.

Tolerant: a relay that says less is fine, figures are then absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rtcodec_client.signalling import RelayUnreachable, SignallingClient


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStatus:
    """The relay's own figures of one room."""

    received: int | None = None
    encoded: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    "Reason -> frames."

    sent: int | None = None
    "Frames sent to one subscriber."

    bytes_sent: int | None = None
    "Bitstream bytes sent to that subscriber."

    latency_ms: dict[str, Any] = field(default_factory=dict)
    psnr_db: dict[str, Any] | None = None
    engine: str | None = None
    model: str | None = None
    model_id: str | None = None

    @property
    def n_dropped(self) -> int:
        """Frames dropped for any reason."""
        return sum(self.dropped.values())

    @property
    def is_settled(self) -> bool:
        """Whether every frame received was encoded or dropped."""
        if self.received is None or self.encoded is None:
            return True
        return self.received == self.encoded + self.n_dropped


async def fetch_room(
    client: SignallingClient, room: str, *, subscriber: str | None = None
) -> RoomStatus | None:
    """
    Ask the relay for a room, or None if it does not know it or is gone.

    Args:
        client: Of any endpoint of the relay.
        room: Its name.
        subscriber: Session id of one subscriber, for what was sent to it.
    """
    try:
        document = await client.get_json("/api/rooms")
    except RelayUnreachable:
        return None
    if not isinstance(document, dict):
        return None
    for entry in document.get("rooms") or ():
        if isinstance(entry, dict) and entry.get("room", entry.get("name")) == room:
            return read_room(document, entry, subscriber)
    return None


def read_room(
    document: dict[str, Any], entry: dict[str, Any], subscriber: str | None
) -> RoomStatus:
    """Read one room's entry; what is missing or of another type is left out."""
    frames = _dict(entry.get("frames"))
    peer: dict[str, Any] = {}
    for candidate in entry.get("subscribers") or ():
        if isinstance(candidate, dict) and candidate.get("id") == subscriber:
            peer = candidate
    dropped = frames.get("dropped")
    if isinstance(dropped, int):
        dropped = {"any": dropped}
    return RoomStatus(
        received=_count(frames.get("received")),
        encoded=_count(frames.get("encoded")),
        dropped={str(k): v for k, v in _dict(dropped).items() if isinstance(v, int)},
        sent=_count(peer.get("frames_sent")),
        bytes_sent=_count(peer.get("bytes_sent")),
        latency_ms=_dict(entry.get("latency_ms")),
        psnr_db=_dict(entry.get("psnr_db")) or None,
        engine=_text(entry.get("engine", document.get("engine"))),
        model=_text(entry.get("model", document.get("model"))),
        model_id=_text(entry.get("model_id", document.get("model_id"))),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
