"""
Who is in which room: the lobby's events turned into deeds.

    open -> admit -> connected -> (hears, figures) -> leave -> closed for good

Knows nothing of how peers come in, nor of what their streams are made of.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any, Final

from rtcodec.session.lobby import (
    CloseReason,
    Limits,
    Lobby,
    Role,
    RoomLive,
    RoomQuiet,
    SessionClosed,
)
from rtcodec.webrtc import monotonic_us
from rtcodec_server.event import RelayEvent
from rtcodec_server.happening import about_room, about_session
from rtcodec_server.logs import log_event
from rtcodec_server.peer import Peer
from rtcodec_server.player import Player
from rtcodec_server.publisher_peer import PublishingPeer
from rtcodec_server.room import Publisher, Room, Session, UnknownSession
from rtcodec_server.subscriber_peer import LegacyPeer, WatchingPeer

_log = logging.getLogger(__name__)

_REPORTS_EXPECTED_US: Final = 2_000_000


class Occupancy:
    """All rooms and sessions of one process. Belongs to the event loop."""

    def __init__(
        self,
        limits: Limits,
        *,
        new_room: Callable[[str], Room],
        on_room_ended: Callable[[Room], None],
        tell: Callable[[RelayEvent], None],
    ) -> None:
        """
        Args:
            limits: How many may come in and how long they may be quiet.
            new_room: Makes a room, furnished, for who comes first.
            on_room_ended: Called when the last that was in it is closed for good.
            tell: Gets what happens.
        """
        self.lobby = Lobby(limits)
        self.sessions_closed: dict[str, int] = {}
        "Reason -> sessions that ended."
        self.publisher_nacks = 0
        self.publisher_plis = 0
        "Retransmissions and key frames that publishers were asked for."
        self._new_room = new_room
        self._on_room_ended = on_room_ended
        self._tell = tell
        self._sessions: dict[str, Session] = {}
        self._rooms: dict[str, Room] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    # ---- who is there

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Rooms with somebody in them."""
        return tuple(self._rooms[name] for name in self.lobby.rooms if name in self._rooms)

    def room_of(self, name: str) -> Room:
        """
        Find a room.

        Raises:
            UnknownSession: If nobody is in it.
        """
        if name not in self.lobby.rooms or name not in self._rooms:
            raise UnknownSession("no such room")
        return self._rooms[name]

    def session_of(self, room: str, name: str, role: Role) -> Session:
        """
        Find a session by the parts of its URL.

        Raises:
            UnknownSession: If there is none, or it is somebody else's room or role.
        """
        session = self._sessions.get(name)
        if session is None or session.room.name != room or session.role is not role:
            raise UnknownSession("no such session")
        return session

    def publisher(self, room: str) -> Session | None:
        """Return the session that publishes to *room*, a peer's or a recording's, or None."""
        name = self.lobby.publisher(room)
        return self._sessions.get(name) if name is not None else None

    def subscribers(self, room: str) -> list[Session]:
        """Return the sessions that watch *room*, in order of arrival."""
        names = self.lobby.subscribers(room)
        return [session for name in names if (session := self._sessions.get(name)) is not None]

    def report_publisher(self, room: str) -> dict[str, Any] | None:
        """Return the figures of who publishes to *room*, or None."""
        session = self.publisher(room)
        return None if session is None else {"session": session.shown, **session.peer.report()}

    def report_subscribers(self, room: str) -> list[dict[str, Any]]:
        """Return the figures of each, with what tells a session apart but does not end it."""
        entry = self._rooms.get(room)
        stream = None if entry is None else entry.stream
        return [
            {
                "session": session.shown,
                **session.peer.report(),
                **(stream.describe_subscriber(session.name) if stream is not None else {}),
            }
            for session in self.subscribers(room)
        ]

    # ---- coming in

    def open(self, room: str, role: Role) -> tuple[str, Room]:
        """
        Take a place in a room, which is made if need be; return the session's name and the room.

        Raises:
            RoomTaken, RelayFull: If there is none.
        """
        name = secrets.token_urlsafe(16)
        self.lobby.open_session(name, room, role, now_us=monotonic_us())
        entry = self._rooms.get(room)
        if entry is None:
            entry = self._rooms[room] = self._new_room(room)
            self._tell(about_room(entry, "started"))
        entry.n_open += 1
        self._is_empty.clear()
        self._act()
        return name, entry

    def admit(self, name: str, room: Room, role: Role, peer: Peer | Player) -> Session:
        """Let a peer stand in the place that was opened for it."""
        session = Session(name, room, role, f'"{secrets.token_hex(8)}"', peer)
        self._sessions[name] = session
        return session

    def has(self, session: Session) -> bool:
        """Return whether a session is still inside."""
        return session.name in self._sessions

    def connected(self, name: str) -> None:
        """Note that a session's media connection stands; nothing if it has gone."""
        self.lobby.connect(name, now_us=monotonic_us())
        self._act()
        session = self._sessions.get(name)
        if session is None:
            return
        if not session.has_joined:
            session.has_joined = True
            self._tell(about_session(session, "joined"))
        if isinstance(session.peer, LegacyPeer):
            peer = session.peer
            session.room.audience.join(name, peer.sender, peer.matched_rung)
        elif isinstance(session.peer, WatchingPeer) and session.room.stream:
            session.room.stream.restart(name)  # what was sent before went nowhere

    # ---- going out

    def leave(self, name: str, reason: CloseReason = CloseReason.LEFT) -> None:
        """Let a session go; nothing if it has gone."""
        self.lobby.leave(name, reason)
        self._act()

    async def end(self, room: str, session: str | None = None, *, note: str | None = None) -> int:
        """
        Let everybody out of a room, or one of them, because the operator wants it.

        Args:
            room: Its name.
            session: The part of a session's name that is shown.
            note: What the log shall say of it.

        Returns:
            How many that were.

        Raises:
            UnknownSession: If there is nobody like that.
        """
        ended = [
            entry
            for entry in self._sessions.values()
            if entry.room.name == room and session in (None, entry.shown)
        ]
        if not ended:
            raise UnknownSession("no such room" if session is None else "no such session")
        for entry in ended:
            entry.note = note
            self.leave(entry.name, CloseReason.KICKED)
        await asyncio.gather(*(e.closing for e in ended if e.closing is not None))
        return len(ended)

    async def until_empty(self) -> None:
        """Wait until nobody is inside."""
        await self._is_empty.wait()
        await self._wait_closed()

    async def close(self) -> None:
        """
        Let everybody out and wait until they are closed for good.

        Publishers go first, so that their last frames still reach subscribers.
        """
        self.lobby.close_publishers()
        self._act()
        await self._wait_closed()
        self.lobby.close()
        self._act()
        await self._wait_closed()

    async def _wait_closed(self) -> None:
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.sleep(0)  # senders take what was queued last

    def _act(self) -> None:
        while (event := self.lobby.next_event()) is not None:
            if isinstance(event, SessionClosed):
                self._dismiss(event)
            elif isinstance(event, RoomLive | RoomQuiet):
                name = f"room_{type(event).__name__[4:].lower()}"
                log_event(_log, name, room=event.room)
        if not self.lobby.n_sessions:
            self._is_empty.set()

    def _dismiss(self, event: SessionClosed) -> None:
        reason = event.reason.value
        self.sessions_closed[reason] = self.sessions_closed.get(reason, 0) + 1
        room = self._rooms.get(event.room)
        if event.room not in self.lobby.rooms:
            self._rooms.pop(event.room, None)  # the last of many that leave at once finds it gone
        session = self._sessions.pop(event.session, None)
        if session is None:  # its peer could not even be made
            if room is not None:
                self._let_go(room)
            return
        log_event(
            _log,
            "session_closed",
            room=event.room,
            role=event.role.value,
            session=session.shown,
            reason=reason,
            note=session.note,
        )
        if session.room.stream is not None:
            session.room.stream.remove_subscriber(session.name)
        session.room.audience.leave(session.name)
        session.closing = asyncio.ensure_future(self._close(session, reason))
        self._closing.add(session.closing)
        session.closing.add_done_callback(self._closing.discard)

    async def _close(self, session: Session, reason: str) -> None:
        peer, room = session.peer, session.room
        try:
            await peer.close()
        except Exception:  # a peer that cannot be closed must not keep the others
            _log.exception("close_failed", extra={"fields": {"session": session.shown}})
        if isinstance(peer, PublishingPeer):
            self._note_publisher(peer)
        if isinstance(peer, Publisher) and room.stream is peer.stream:
            room.stream = None
        if isinstance(peer, LegacyPeer):
            await room.audience.settle()
        if session.has_joined:
            self._tell(about_session(session, "left", reason=reason))
        self._let_go(room)

    def _let_go(self, room: Room) -> None:
        room.n_open -= 1
        if room.n_open == 0:
            self._on_room_ended(room)
            self._tell(about_room(room, "ended"))

    # ---- ten times a second

    def listen(self, now_us: int) -> None:
        """Hear who is still there, let rooms' streams and figures follow, let the silent go."""
        for session in self._sessions.values():
            peer = session.peer
            if isinstance(peer, WatchingPeer):
                sent_us = peer.sender.counters.last_sent_us
                is_fed = sent_us is not None and now_us - sent_us < _REPORTS_EXPECTED_US
                self.lobby.expect(session.name, reports=is_fed, now_us=now_us)
            elif isinstance(peer, PublishingPeer):
                self._note_publisher(peer)
            if peer.last_heard_us is not None:
                self.lobby.hear(session.name, now_us=peer.last_heard_us)
        for room in self._rooms.values():
            room.rates.sample(room.stats, now_us=now_us)
            room.recent.sample(room.stats, now_us=now_us)
            if room.stream is not None:
                room.stream.heed_subscribers()
            room.audience.heed(now_us)
        self.lobby.advance(now_us=now_us)
        self._act()

    def _note_publisher(self, peer: PublishingPeer[Any]) -> None:
        """Add what a publisher was asked for since the last time."""
        if peer.video is None:
            return
        counters = peer.video.counters
        nacks, plis = peer.requests_noted
        self.publisher_nacks += counters.nack_count - nacks
        self.publisher_plis += counters.pli_count - plis
        peer.requests_noted = (counters.nack_count, counters.pli_count)
