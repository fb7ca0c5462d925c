"""Events of rooms and sessions, as logs and webhooks tell them."""

import logging

from rtcodec_server.event import RelayEvent
from rtcodec_server.logs import log_event
from rtcodec_server.report import report_stats
from rtcodec_server.room import Room, Session

_log = logging.getLogger(__name__)


def about_room(room: Room, what: str) -> RelayEvent:
    """Return the event that a room has `started` or `ended`, then with its figures."""
    figures = report_stats(room.stats) if what == "ended" else None
    return RelayEvent(name=f"room_{what}", room=room.name, room_id=room.id, figures=figures)


def about_session(session: Session, what: str, *, reason: str | None = None) -> RelayEvent:
    """Return the event that a peer has `joined` or `left`, then with its figures."""
    return RelayEvent(
        name=f"{session.role.value}_{what}",
        room=session.room.name,
        room_id=session.room.id,
        session=session.shown,
        role=session.role.value,
        reason=reason,
        note=session.note,
        figures=session.peer.report() if what == "left" else None,
    )


def log_happening(event: RelayEvent) -> None:
    """Log an event, without its figures."""
    log_event(
        _log,
        event.name,
        room=event.room,
        room_id=event.room_id,
        session=event.session,
        role=event.role,
        reason=event.reason,
        note=event.note,
    )
