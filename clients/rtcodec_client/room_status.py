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

    is_ready: bool | None = None
    "Whether the relay's engine is loaded."

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
    size: tuple[int, int] | None = None
    "Width and height of the frames, while there are any."

    engine: str | None = None
    model: str | None = None
    model_id: str | None = None

    @property
    def n_dropped(self) -> int:
        """Frames dropped for any reason."""
        return sum(self.dropped.values())

    @property
    def in_flight(self) -> int | None:
        """Frames received and neither encoded nor dropped yet."""
        if self.received is None or self.encoded is None:
            return None
        return self.received - self.encoded - self.n_dropped


async def fetch_room(
    client: SignallingClient, room: str, *, subscriber: str | None = None
) -> RoomStatus | None:
    """
    Ask the relay for a room; None if it is gone or says nothing of rooms.

    Of a room that does not exist yet only engine and model are known.

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
        if isinstance(entry, dict) and entry.get("room") == room:
            return read_room(document, entry, subscriber)
    return read_room(document, {}, None)


def read_room(
    document: dict[str, Any], entry: dict[str, Any], subscriber: str | None
) -> RoomStatus:
    """Read one room's entry; what is missing or of another type is left out."""
    frames = _dict(entry.get("frames"))
    engine = _dict(document.get("engine"))
    peers = [peer for peer in entry.get("subscribers") or () if isinstance(peer, dict)]
    peer = next((peer for peer in peers if _is_session(peer, subscriber)), None)
    width, height = _count(entry.get("width")), _count(entry.get("height"))
    reasons = _dict(frames.get("dropped_by_reason"))
    ready = document.get("ready")
    return RoomStatus(
        is_ready=ready if isinstance(ready, bool) else None,
        received=_count(frames.get("received")),
        encoded=_count(frames.get("encoded")),
        dropped={str(k): v for k, v in reasons.items() if isinstance(v, int)},
        sent=_count(_dict(peer).get("frames_sent")),
        bytes_sent=_count(_dict(peer).get("bitstream_bytes")),
        latency_ms=_dict(entry.get("latency_ms")),
        psnr_db=_dict(entry.get("psnr_db")) or None,
        size=(width, height) if width and height else None,
        engine=_text(engine.get("engine")),
        model=_text(engine.get("model")),
        model_id=_text(engine.get("model_id")),
    )


def _is_session(peer: dict[str, Any], session_id: str | None) -> bool:
    """Whether an entry is of the session; the relay shows only the beginning of its id."""
    shown = _text(peer.get("session"))
    return bool(shown and session_id and session_id.startswith(shown))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
