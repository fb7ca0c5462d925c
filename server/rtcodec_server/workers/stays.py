"""
Who is in which worker, so that their end can be told when the worker cannot tell it any more.

Events in, events out; nothing else.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError
from rtcodec_server.event import RelayEvent

CRASHED: Final = "crashed"
"Why a session ended whose process died."

_NAMES: Final = {entry.name for entry in fields(RelayEvent)}


def read_event(given: Any) -> RelayEvent:
    """
    Return an event as a worker tells it.

    Raises:
        RemoteProtocolError: If it is none.
    """
    if not isinstance(given, Mapping) or not given.keys() <= _NAMES:
        raise RemoteProtocolError("an event of a worker is malformed")
    texts = {name: value for name, value in given.items() if name != "figures"}
    figures = given.get("figures")
    is_good = all(value is None or isinstance(value, str) for value in texts.values())
    if not is_good or not isinstance(figures, dict | None):
        raise RemoteProtocolError("an event of a worker is malformed")
    try:
        return RelayEvent(**texts, figures=figures)
    except TypeError:
        raise RemoteProtocolError("an event of a worker lacks something") from None


class Stays:
    """Rooms that have started and peers that have joined, by worker."""

    def __init__(self) -> None:
        self._rooms: dict[int, dict[str, RelayEvent]] = {}  # slot -> room id -> its start
        self._peers: dict[int, dict[tuple[str, str | None], RelayEvent]] = {}

    def heard(self, slot: int, event: RelayEvent) -> None:
        """Note what happened in a worker."""
        rooms, peers = self._rooms.setdefault(slot, {}), self._peers.setdefault(slot, {})
        peer = (event.room_id, event.session)
        if event.name == "room_started":
            rooms[event.room_id] = event
        elif event.name == "room_ended":
            rooms.pop(event.room_id, None)
        elif event.name.endswith("_joined"):
            peers[peer] = event
        elif event.name.endswith("_left"):
            peers.pop(peer, None)

    def lost(self, slot: int) -> list[RelayEvent]:
        """Return what there is to tell when a worker has died: who left, which rooms ended."""
        peers = self._peers.pop(slot, {}).values()
        rooms = self._rooms.pop(slot, {}).values()
        return [
            *(
                RelayEvent(
                    name=f"{event.role}_left", room=event.room, room_id=event.room_id,
                    session=event.session, role=event.role, reason=CRASHED,
                )
                for event in peers
            ),
            *(
                RelayEvent(
                    name="room_ended", room=event.room, room_id=event.room_id, reason=CRASHED
                )
                for event in rooms
            ),
        ]  # fmt: skip
