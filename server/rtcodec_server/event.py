"""What happens in rooms, for logs and webhooks: plain data."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayEvent:
    """Something that an operator may want to know."""

    name: str
    """room_started, room_ended, publisher_joined, publisher_left, subscriber_joined or _left,
    recording_started, recording_finished."""

    room: str
    room_id: str
    "Tells apart stays of the same room's name."

    session: str | None = None
    "The part of the session's name that may be shown."

    role: str | None = None
    reason: str | None = None
    "Why a session or a recording ended."

    note: str | None = None
    "What the operator said when ending it."

    figures: dict[str, Any] | None = None
    "At the end: those of the peer, the recording, or the room's last publisher."
