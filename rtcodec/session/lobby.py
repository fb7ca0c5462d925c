"""
Rooms, publishers and subscribers as one state machine.

    open_session -> (connect) -> hear ... -> leave | expire
         |             |                        |
    SessionOpened  RoomLive              SessionClosed, RoomQuiet

A room exists while somebody is in it. It has at most one publisher;
subscribers may come first and wait. Time is an argument; what has to be done
comes out as events, in order.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from rtcodec.errors import LocalProtocolError, Overloaded, ProtocolError


class Role(Enum):
    """What a session is in its room for."""

    PUBLISHER = "publisher"
    SUBSCRIBER = "subscriber"


class CloseReason(Enum):
    """Why a session ended. The value is the label in logs and metrics."""

    LEFT = "left"
    "The peer asked for it, or said goodbye."

    LOST = "lost"
    "The transport failed."

    NEVER_CONNECTED = "never_connected"
    "No media connection within the time allowed."

    SILENT = "silent"
    "Nothing was heard for too long."

    REPLACED = "replaced"
    "A publisher that was silent gave way to another one."

    TOO_LARGE = "too_large"
    "A publisher's picture is larger than the relay takes."

    KICKED = "kicked"
    "The operator ended it."

    SHUTDOWN = "shutdown"
    "The relay is going away."


class RoomTaken(ProtocolError):
    """The room has a publisher already, and it is heard from."""


class RelayFull(Overloaded):
    """
    A limit is reached.

    Attributes:
        retry_after_s: When it may be worth asking again.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many may come in and how long they may be quiet."""

    max_rooms: int = 64
    max_subscribers_per_room: int = 64
    max_sessions: int = 256

    connect_us: int = 20_000_000
    "From the answer to the media connection."

    publisher_quiet_us: int = 3_000_000
    "Between two packets of a connected publisher; its room is quiet then, and open to another."

    publisher_silence_us: int = 20_000_000
    """Between two packets of a connected publisher, until it has left. Whoever is cut off for ten
    seconds goes on afterwards; consent to send ends after 30 (RFC 7675 5.1)."""

    subscriber_silence_us: int = 15_000_000
    "Between two reports of a connected subscriber that is being sent frames."

    retry_after_s: int = 5
    "Told to those who find the relay full."


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A peer came in."""

    session: str
    room: str
    role: Role


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A peer is out; the shell must close its connection."""

    session: str
    room: str
    role: Role
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class RoomLive:
    """A room's publisher is connected, or is heard from again: its frames start."""

    room: str
    publisher: str


@dataclass(frozen=True, slots=True)
class RoomQuiet:
    """A room's frames stop; subscribers stay and wait."""

    room: str


LobbyEvent = SessionOpened | SessionClosed | RoomLive | RoomQuiet


@dataclass(slots=True)
class _Session:
    room: str
    role: Role
    opened_us: int
    heard_us: int | None = None
    "When it was last heard; None while it is not connected."

    is_fed: bool = False
    "Whether frames go to a subscriber, so that it should be heard from."


@dataclass(slots=True)
class _Room:
    publisher: str | None = None
    subscribers: dict[str, None] = field(default_factory=dict)  # an ordered set
    is_live: bool = False
    is_quiet: bool = False
    "Whether its publisher is connected but silent."


class Lobby:
    """Decides who may come in; says who must go."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._rooms: dict[str, _Room] = {}
        self._sessions: dict[str, _Session] = {}
        self._events: deque[LobbyEvent] = deque()
        self._is_closing = False

    @property
    def rooms(self) -> tuple[str, ...]:
        """Rooms with somebody in them, oldest first."""
        return tuple(self._rooms)

    @property
    def n_sessions(self) -> int:
        """Peers inside."""
        return len(self._sessions)

    @property
    def deadline_us(self) -> int | None:
        """When `advance` next has work, or None."""
        deadlines = [self._deadline_us(entry) for entry in self._sessions.values()]
        deadlines += [self._quiet_at_us(entry) for entry in self._sessions.values()]
        return min((at_us for at_us in deadlines if at_us is not None), default=None)

    def publisher(self, room: str) -> str | None:
        """Return the session that publishes to *room*, or None."""
        entry = self._rooms.get(room)
        return entry.publisher if entry is not None else None

    def subscribers(self, room: str) -> tuple[str, ...]:
        """Return the sessions that watch *room*, in order of arrival."""
        entry = self._rooms.get(room)
        return tuple(entry.subscribers) if entry is not None else ()

    def is_live(self, room: str) -> bool:
        """Return whether the room's publisher is connected and was heard from lately."""
        entry = self._rooms.get(room)
        return entry is not None and entry.is_live

    def check_open(self, room: str, role: Role) -> None:
        """
        Say whether `open_session` would work now, before any work is done for it.

        Raises:
            RoomTaken: If *role* is publisher and the room has one that is not silent.
            RelayFull: If a limit is reached or the relay is going away.
        """
        limits = self._limits
        entry = self._rooms.get(room)
        if self._is_closing:
            raise self._full("the relay is shutting down")
        if role is Role.PUBLISHER and entry is not None and entry.publisher is not None:
            if not entry.is_quiet:
                raise RoomTaken(f"room {room} has a publisher already")
            return  # it takes that one's place
        if len(self._sessions) >= limits.max_sessions:
            raise self._full(f"the relay is full: {limits.max_sessions} sessions")
        if entry is None and len(self._rooms) >= limits.max_rooms:
            raise self._full(f"the relay is full: {limits.max_rooms} rooms")
        if (
            role is Role.SUBSCRIBER
            and entry is not None
            and len(entry.subscribers) >= limits.max_subscribers_per_room
        ):
            raise self._full(f"the room is full: {limits.max_subscribers_per_room} subscribers")

    def open_session(self, session: str, room: str, role: Role, *, now_us: int) -> None:
        """
        Let a peer in; it has to connect soon.

        Args:
            session: Never used before.
            room: Created if it does not exist.
            role: What it comes for.
            now_us: Time in microseconds, any origin.

        Raises:
            RoomTaken, RelayFull: As `check_open`.
            LocalProtocolError: If the session is inside already.
        """
        if session in self._sessions:
            raise LocalProtocolError(f"session {session} is open already")
        self.check_open(room, role)
        entry = self._rooms.setdefault(room, _Room())
        if role is Role.PUBLISHER:
            if entry.publisher is not None:
                self._let_out(entry.publisher, CloseReason.REPLACED)
            entry.publisher = session
        else:
            entry.subscribers[session] = None
        self._sessions[session] = _Session(room, role, now_us)
        self._events.append(SessionOpened(session, room, role))

    def connect(self, session: str, *, now_us: int) -> None:
        """Note that the media connection stands; nothing if the session has gone."""
        entry = self._sessions.get(session)
        if entry is None or entry.heard_us is not None:
            return
        entry.heard_us = now_us
        if entry.role is Role.PUBLISHER:
            self._rooms[entry.room].is_live = True
            self._events.append(RoomLive(entry.room, session))

    def hear(self, session: str, *, now_us: int) -> None:
        """Note that something came from the peer; nothing if the session has gone."""
        entry = self._sessions.get(session)
        if entry is None or entry.heard_us is None or now_us <= entry.heard_us:
            return
        entry.heard_us = now_us
        room = self._rooms[entry.room]
        if entry.role is Role.PUBLISHER and room.is_quiet:
            room.is_quiet, room.is_live = False, True
            self._events.append(RoomLive(entry.room, session))

    def expect(self, session: str, *, reports: bool, now_us: int) -> None:
        """
        Say whether a subscriber should be heard from: while frames go to it.

        The time allowed starts anew when that changes.
        """
        entry = self._sessions.get(session)
        if entry is None or entry.role is Role.PUBLISHER or entry.is_fed == reports:
            return
        entry.is_fed = reports
        self.hear(session, now_us=now_us)

    def leave(self, session: str, reason: CloseReason = CloseReason.LEFT) -> None:
        """Let a peer out; nothing if it has gone already."""
        entry = self._sessions.get(session)
        if entry is None:
            return
        self._let_out(session, reason)
        room = self._rooms[entry.room]
        if room.publisher is None and not room.subscribers:
            del self._rooms[entry.room]

    def advance(self, *, now_us: int) -> None:
        """Let time pass: whoever is late or silent for long is let out, rooms fall quiet."""
        for session, entry in list(self._sessions.items()):
            quiet_us = self._quiet_at_us(entry)
            if quiet_us is not None and quiet_us <= now_us:
                room = self._rooms[entry.room]
                room.is_quiet, room.is_live = True, False
                self._events.append(RoomQuiet(entry.room))
            at_us = self._deadline_us(entry)
            if at_us is None or at_us > now_us:
                continue
            connected = entry.heard_us is not None
            self.leave(session, CloseReason.SILENT if connected else CloseReason.NEVER_CONNECTED)

    def close_publishers(self) -> None:
        """Let nobody in any more, and all publishers out."""
        self._is_closing = True
        self._close_all(Role.PUBLISHER)

    def close(self) -> None:
        """Let nobody in any more, and everybody out, publishers first."""
        self.close_publishers()
        self._close_all(Role.SUBSCRIBER)

    def next_event(self) -> LobbyEvent | None:
        """Return the oldest event not yet taken, or None."""
        return self._events.popleft() if self._events else None

    def _close_all(self, role: Role) -> None:
        for session, entry in list(self._sessions.items()):
            if entry.role is role:
                self.leave(session, CloseReason.SHUTDOWN)

    def _let_out(self, session: str, reason: CloseReason) -> None:
        entry = self._sessions.pop(session)
        room = self._rooms[entry.room]
        if entry.role is Role.PUBLISHER:
            if room.is_live:
                self._events.append(RoomQuiet(entry.room))
            room.publisher, room.is_live, room.is_quiet = None, False, False
        else:
            del room.subscribers[session]
        self._events.append(SessionClosed(session, entry.room, entry.role, reason))

    def _quiet_at_us(self, entry: _Session) -> int | None:
        """Return when its room falls quiet if nothing is heard, or None if it is no matter."""
        if entry.role is not Role.PUBLISHER or not self._rooms[entry.room].is_live:
            return None
        assert entry.heard_us is not None  # its room is live
        return entry.heard_us + self._limits.publisher_quiet_us

    def _deadline_us(self, entry: _Session) -> int | None:
        limits = self._limits
        if entry.heard_us is None:
            return entry.opened_us + limits.connect_us
        if entry.role is Role.PUBLISHER:
            return entry.heard_us + limits.publisher_silence_us
        if entry.is_fed:
            return entry.heard_us + limits.subscriber_silence_us
        return None  # a subscriber that waits has nothing to say

    def _full(self, message: str) -> RelayFull:
        return RelayFull(message, retry_after_s=self._limits.retry_after_s)
