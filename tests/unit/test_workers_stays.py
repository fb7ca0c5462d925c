"""What there is to tell when a worker cannot."""

from dataclasses import asdict
from typing import Any

import pytest

from rtcodec.errors import RemoteProtocolError
from rtcodec_server.event import RelayEvent
from rtcodec_server.workers.stays import Stays, read_event


def event(name: str, room: str = "a", session: str | None = None) -> RelayEvent:
    role = name.partition("_")[0] if session else None
    return RelayEvent(name=name, room=room, room_id=f"id-{room}", session=session, role=role)


def test_those_who_are_inside_leave_with_their_worker_and_then_their_rooms_end() -> None:
    stays = Stays()
    for name, room, session in (
        ("room_started", "a", None),
        ("publisher_joined", "a", "p"),
        ("subscriber_joined", "a", "s"),
        ("subscriber_left", "a", "s"),
        ("room_started", "b", None),
        ("room_ended", "b", None),
    ):
        stays.heard(0, event(name, room, session))
    stays.heard(1, event("room_started", "c"))
    lost = stays.lost(0)
    assert [(e.name, e.room, e.session, e.reason) for e in lost] == [
        ("publisher_left", "a", "p", "crashed"),
        ("room_ended", "a", None, "crashed"),
    ]
    assert stays.lost(0) == []
    assert [e.room for e in stays.lost(1)] == ["c"]


def test_an_event_is_read_as_it_was_told() -> None:
    told = event("publisher_left", session="p")
    assert read_event(asdict(told)) == told


@pytest.mark.parametrize(
    "given",
    [None, [], {"name": "x"}, {"name": 1, "room": "a", "room_id": "b"},
     {"name": "x", "room": "a", "room_id": "b", "figures": []},
     {"name": "x", "room": "a", "room_id": "b", "extra": "c"}],
)  # fmt: skip
def test_anything_else_is_no_event(given: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        read_event(given)
