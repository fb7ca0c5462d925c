"""
Rooms with connections in them: the lobby's events turned into deeds.

`Relay` is what HTTP talks to. It opens and closes peers, ties streams to
subscribers and keeps the figures of rooms and of the whole.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError
from rtcodec.packet.feedback import FrameReport
from rtcodec.session.layer import ANY_LAYER, LayerWish
from rtcodec.session.lobby import (
    CloseReason,
    Lobby,
    RelayFull,
    Role,
    RoomLive,
    RoomQuiet,
    RoomTaken,
    SessionClosed,
)
from rtcodec.session.message import IceFragment
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentFrame, LatentSender, OutgoingFrame, monotonic_us
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.tap import FrameTapWriter
from rtcodec.webrtc.transcoder import TranscodeCounters
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.event import RelayEvent
from rtcodec_server.forward import Forward
from rtcodec_server.frame_queue import FrameRun
from rtcodec_server.happening import about_room, about_session, log_happening
from rtcodec_server.latent_pictures import LatentPictures
from rtcodec_server.latent_publisher import LatentPublisherPeer
from rtcodec_server.latent_stream import LatentStream, Source
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.legacy_peer import LegacyPeer
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.logs import log_event
from rtcodec_server.offer import Unprocessable, read_publisher_offer, read_subscriber_offer
from rtcodec_server.peer import Peer, PublisherPeer, SubscriberPeer
from rtcodec_server.play_source import PlaySource
from rtcodec_server.played_stream import PlayedStream
from rtcodec_server.player import Player, PlayOptions
from rtcodec_server.recordings import Recordings
from rtcodec_server.report import RateMeter
from rtcodec_server.room import (
    SESSION_SHOWN,
    RelaySettings,
    Room,
    RoomStream,
    Session,
    UnknownSession,
)
from rtcodec_server.rung import LadderSetup
from rtcodec_server.stream import Stream
from rtcodec_server.ticker import Ticker
from rtcodec_server.via import check_via
from rtcodec_server.video_format import choose_codec

_log = logging.getLogger(__name__)

TICK_S: Final = 0.1
_REPORTS_EXPECTED_US: Final = 2_000_000
_PUBLISHERS: Final = (PublisherPeer, LatentPublisherPeer)


class Relay:
    """All rooms of one process. Belongs to the event loop."""

    def __init__(self, settings: RelaySettings, *, draining: asyncio.Event | None = None) -> None:
        """
        Args:
            settings: See there.
            draining: Nobody is let in any more once it is set.
        """
        self.settings = settings
        self.draining = draining or asyncio.Event()
        self.on_event: Callable[[RelayEvent], None] = lambda event: None
        "Called with what webhooks are for; must return at once."
        self.name = secrets.token_hex(8)
        "Tells this relay from others that it may get latents from."
        self.forwards: dict[str, Forward] = {}
        "Room -> its way to another relay."
        self.host: EngineHost | None = None
        "None until the engine is ready; peers are turned away until then."
        self.stats = StreamStats()
        "Of all streams together, since the start."
        self.sessions_closed: dict[str, int] = {}
        "Reason -> sessions that ended."
        self.ladder: LadderSetup | None = None
        "Rungs of every stream, with their figures since the start; None for one at its size."
        if settings.rungs:
            self.ladder = LadderSetup(specs=settings.rungs, new_rate=self._new_rung_rate)
        self._lobby = Lobby(settings.limits)
        self._sessions: dict[str, Session] = {}
        self._rooms: dict[str, Room] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.publisher_nacks = 0
        self.publisher_plis = 0
        "Retransmissions and key frames that publishers were asked for."
        self.legacy_gone: dict[str, TranscodeCounters] = {}
        "Codec -> figures of encoders in rooms that are no more."
        self.recordings = Recordings(settings.record, tell=self._tell)
        self._ticker = Ticker(lambda: self._listen(monotonic_us()))

    # ---- for HTTP

    @property
    def is_ready(self) -> bool:
        """Whether peers can come in."""
        return self.host is not None and self.host.is_alive and not self.draining.is_set()

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Rooms with somebody in them."""
        return tuple(self._rooms[name] for name in self._lobby.rooms if name in self._rooms)

    @property
    def loop_lag_s(self) -> float:
        """Longest delay of the event loop within the last second."""
        return self._ticker.lag_s

    @property
    def n_sessions(self) -> int:
        """Peers inside."""
        return self._lobby.n_sessions

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

    def publisher_of(self, room: str) -> PublisherPeer | LatentPublisherPeer | None:
        """Return the peer that publishes to *room*, or None."""
        peer = self.source_of(room)
        return peer if isinstance(peer, _PUBLISHERS) else None

    def source_of(self, room: str) -> PublisherPeer | LatentPublisherPeer | Player | None:
        """Return what publishes to *room*, a peer or a recording, or None."""
        name = self._lobby.publisher(room)
        session = self._sessions.get(name) if name is not None else None
        peer = session.peer if session is not None else None
        return peer if isinstance(peer, (*_PUBLISHERS, Player)) else None

    def subscribers_of(self, room: str) -> tuple[SubscriberPeer, ...]:
        """Return the peers that watch *room*."""
        sessions = (self._sessions.get(name) for name in self._lobby.subscribers(room))
        return tuple(s.peer for s in sessions if s and isinstance(s.peer, SubscriberPeer))

    def report_publisher(self, room: str) -> dict[str, Any] | None:
        """Return the figures of who publishes to *room*, or None."""
        name, peer = self._lobby.publisher(room), self.source_of(room)
        return (
            None
            if name is None or peer is None
            else {"session": name[:SESSION_SHOWN], **peer.report()}
        )

    def report_subscribers(self, room: str) -> list[dict[str, Any]]:
        """Return the figures of each, with what tells a session apart but does not end it."""
        stream = self._stream_of(room)
        return [
            {
                "session": name[:SESSION_SHOWN],
                **session.peer.report(),
                **(stream.describe_subscriber(name) if stream is not None else {}),
            }
            for name in self._lobby.subscribers(room)
            if (session := self._sessions.get(name)) is not None
        ]

    def room_of(self, name: str) -> Room:
        """
        Find a room.

        Raises:
            UnknownSession: If nobody is in it.
        """
        if name not in self._lobby.rooms or name not in self._rooms:
            raise UnknownSession("no such room")
        return self._rooms[name]

    def is_live(self, room: str) -> bool:
        """Return whether the room's publisher is connected, or the relay that it comes from."""
        forward = self.forwards.get(room)
        return self._lobby.is_live(room) or (forward is not None and forward.is_live)

    def start_forwards(self) -> None:
        """Get ready to take the rooms from other relays that the settings name."""
        for room, config in self.settings.forward.items():
            self.forwards[room] = Forward(
                room,
                config,
                host=lambda: self.host,
                open_stream=self.open_latents,
                ice_servers=self.settings.ice_servers,
            )

    async def publish(self, room: str, offer: str) -> tuple[Session, str]:
        """
        Let a publisher in.

        Returns:
            The session and the SDP answer.

        Raises:
            RoomTaken, RelayFull: If there is no place.
            RemoteProtocolError: If the offer cannot be answered.
        """
        host = self._ready_host()
        self._check_ours(room)
        self._lobby.check_open(room, Role.PUBLISHER)
        model_id = host.info.model_id.hex()[:16]
        description = read_publisher_offer(offer, model_id=model_id)
        if description.of_kind("video")[0].latent_parameters is not None:
            return await self._publish_latents(room, offer, description, host)
        name = self._open(room, Role.PUBLISHER)
        entry = self._rooms[room]
        entry.stats, entry.rates = StreamStats(), RateMeter()
        peer: PublisherPeer | None = None
        stream = Stream(
            host,
            qp=self.settings.qp,
            frame_deadline_us=self.settings.frame_deadline_us,
            stats=(entry.stats, self.stats),
            capture_time=lambda frame: peer.capture_time(frame) if peer is not None else None,
            tap=FrameTapWriter(self.settings.tap, room) if self.settings.tap else None,
            rate=self._new_rate(),
            rungs=self.ladder,
            viewers=entry.audience,
        )
        self._set_stream(entry, stream, host)
        peer = PublisherPeer(
            stream,
            ice_servers=self.settings.ice_servers,
            loopback_only=self.settings.loopback_only,
            candidates=self.settings.candidates,
            on_connected=lambda: self._on_connected(name),
            on_lost=lambda: self._leave(name, CloseReason.LOST),
            limits=self.settings.publisher,
            on_too_large=lambda: self._leave(name, CloseReason.TOO_LARGE),
        )
        return await self._admit(
            name, room, Role.PUBLISHER, peer, peer.negotiate(offer, description)
        )

    async def _publish_latents(
        self, room: str, offer: str, description: Description, host: EngineHost
    ) -> tuple[Session, str]:
        name = self._open(room, Role.PUBLISHER)
        entry = self._rooms[room]
        entry.stats, entry.rates = StreamStats(), RateMeter()
        peer = LatentPublisherPeer(
            lambda receiver: self.open_latents(entry, receiver, host),
            ice_servers=self.settings.ice_servers,
            loopback_only=self.settings.loopback_only,
            candidates=self.settings.candidates,
            on_connected=lambda: self._on_connected(name),
            on_lost=lambda: self._leave(name, CloseReason.LOST),
            limits=self.settings.publisher,
            on_too_large=lambda: self._leave(name, CloseReason.TOO_LARGE),
        )
        answer = peer.negotiate(offer, description, model_id=host.info.model_id.hex()[:16])
        return await self._admit(name, room, Role.PUBLISHER, peer, answer)

    def open_latents(
        self,
        room: Room,
        source: Source,
        host: EngineHost,
        *,
        on_frame: Callable[[LatentFrame], None] = lambda frame: None,
    ) -> LatentStream:
        """Let a room show latents that come from elsewhere; who is inside gets them."""
        stream = LatentStream(
            source,
            stats=room.stats,
            audience=room.audience,
            pictures=lambda: LatentPictures(host.new_decoder()),
            on_frame=on_frame,
        )
        self._set_stream(room, stream, host)
        return stream

    async def subscribe(
        self, room: str, offer: str, wish: LayerWish = ANY_LAYER, *, via: tuple[str, ...] = ()
    ) -> tuple[Session, str]:
        """
        Let a subscriber in; with nobody publishing it waits.

        Args:
            room: Its name.
            offer: The SDP.
            wish: Which layer it asks for, if it does.
            via: Relays that the subscriber asks for, if it is one.

        Returns:
            The session and the SDP answer.

        Raises:
            RelayFull: If there is no place.
            LoopRefused: If the subscriber is a relay that gets this room from here already.
            RemoteProtocolError: If the offer cannot be answered.
        """
        check_via(via, self.name)
        host = self._ready_host()
        self._lobby.check_open(room, Role.SUBSCRIBER)
        model_id = host.info.model_id.hex()[:16]
        ordinary = self.settings.legacy.codecs
        description = read_subscriber_offer(offer, model_id=model_id, ordinary=ordinary)
        video = description.of_kind("video")[0]
        if video.latent_parameters is None:
            codec = choose_codec(video, ordinary)
            assert codec is not None  # read_subscriber_offer
            return await self._subscribe_ordinary(room, offer, description, codec)
        name = self._open(room, Role.SUBSCRIBER)
        sender = LatentSender(
            on_sent=_report_sent,
            on_dropped=_report_unsent,
            on_pli=lambda: self._on_pli(room, name),
            on_report=lambda report: self._on_report(room, name, report),
            on_nack=lambda n_packets: self._count(room, nacks=n_packets, plis=0),
        )
        peer = SubscriberPeer(
            sender,
            ice_servers=self.settings.ice_servers,
            loopback_only=self.settings.loopback_only,
            candidates=self.settings.candidates,
            on_connected=lambda: self._on_connected(name),
            on_lost=lambda: self._leave(name, CloseReason.LOST),
        )
        peer.wish = wish
        answer = peer.negotiate(offer, description, model_id=model_id)
        session, sdp = await self._admit(name, room, Role.SUBSCRIBER, peer, answer)
        session.via = via
        return session, sdp

    async def _subscribe_ordinary(
        self, room: str, offer: str, description: Description, codec: str
    ) -> tuple[Session, str]:
        name = self._open(room, Role.SUBSCRIBER)
        sender = VideoSender(
            codec,
            on_keyframe_needed=lambda: self._rooms[room].audience.need_keyframe(codec),
            on_nack=lambda n_packets: self._count(room, nacks=n_packets, plis=0),
            on_pli=lambda: self._count(room, nacks=0, plis=1),
        )
        peer = LegacyPeer(
            sender,
            ice_servers=self.settings.ice_servers,
            loopback_only=self.settings.loopback_only,
            candidates=self.settings.candidates,
            on_connected=lambda: self._on_connected(name),
            on_lost=lambda: self._leave(name, CloseReason.LOST),
        )
        answer = peer.negotiate(offer, description)
        return await self._admit(name, room, Role.SUBSCRIBER, peer, answer)

    def choose_layer(self, session: Session, wish: LayerWish) -> None:
        """Heed which layer a subscriber wants from now on."""
        if isinstance(session.peer, SubscriberPeer):
            session.peer.wish = wish
        if session.room.stream is not None:
            session.room.stream.choose_layer(session.name, wish)

    def play(self, room: str, source: PlaySource, options: PlayOptions) -> Session:
        """
        Let a recording take the publisher's place; it starts now.

        Args:
            room: Created if it does not exist.
            source: Opened; closed with the session, or when this raises.
            options: How to play it.

        Raises:
            RoomTaken, RelayFull: If there is no place.
            Unprocessable: If it is of another model, or too large.
        """
        host = self._ready_host()
        self._check_ours(room)
        self._lobby.check_open(room, Role.PUBLISHER)
        sequence = source.sequence
        if sequence.model_id != host.info.model_id[: len(sequence.model_id)]:
            raise Unprocessable(f"the recording is not of this relay's model, {host.info.model}")
        largest = sorted(self.settings.publisher.max_size)
        if any(
            side > most
            for side, most in zip(sorted((sequence.width, sequence.height)), largest, strict=True)
        ):
            raise Unprocessable("the recording's pictures are larger than the relay takes")
        name = self._open(room, Role.PUBLISHER)
        entry = self._rooms[room]
        entry.stats, entry.rates = StreamStats(), RateMeter()
        stream = PlayedStream(
            qp=self.settings.qp,
            size=(sequence.width, sequence.height),
            stats=(entry.stats, self.stats),
            audience=entry.audience,
            pictures=lambda: LatentPictures(host.new_decoder(), FrameRun()),
        )
        self._set_stream(entry, stream, host)
        player = Player(
            source, stream, options, on_ended=lambda: self._leave(name, CloseReason.LEFT)
        )
        session = self._sessions[name] = Session(name, entry, Role.PUBLISHER, "", player)
        log_event(_log, "session_opened", room=room, role="publisher", session=session.shown)
        self._on_connected(name)
        player.start()
        return session

    def _set_stream(self, entry: Room, stream: RoomStream, host: EngineHost) -> None:
        entry.stream = stream
        for subscriber, peer in self._watching(entry.name):
            stream.add_subscriber(subscriber, peer.sender, peer.wish)
        self.recordings.stream_started(entry, stream, host.info)

    async def trickle(self, session: Session, fragment: IceFragment) -> None:
        """
        Take trickled candidates.

        Raises:
            Unprocessable: If the fragment asks for an ICE restart.
        """
        await session.peer.add_candidates(fragment)

    async def leave(self, session: Session) -> dict[str, Any]:
        """Let a peer out, wait until nothing is left of it, and return its final figures."""
        self._leave(session.name, CloseReason.LEFT)
        if session.closing is not None:
            await session.closing
        return session.peer.report()

    def end_playing(self, room: str) -> Player | None:
        """End what is played in a room and return it, or None."""
        name, player = self._lobby.publisher(room), self.source_of(room)
        if name is None or not isinstance(player, Player):
            return None
        self._leave(name, CloseReason.LEFT)
        return player

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
            self._leave(entry.name, CloseReason.KICKED)
        await asyncio.gather(*(e.closing for e in ended if e.closing is not None))
        return len(ended)

    async def until_empty(self) -> None:
        """Wait until nobody is inside."""
        await self._is_empty.wait()
        await self._wait_closed()

    async def close(self) -> None:
        """
        Let everybody out, finish every frame, stop the engine.

        Publishers go first, so that their last frames still reach subscribers.
        """
        self.draining.set()
        await asyncio.gather(*(forward.close() for forward in self.forwards.values()))
        self._lobby.close_publishers()
        self._act()
        await self._wait_closed()
        self._lobby.close()
        self._act()
        await self._wait_closed()
        await self.recordings.close()
        await self._ticker.close()
        if self.host is not None:
            host, self.host = self.host, None
            await host.close()
            await asyncio.sleep(0)  # the host's last reports

    async def _wait_closed(self) -> None:
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.sleep(0)  # senders take what was queued last

    # ---- coming in

    def _ready_host(self) -> EngineHost:
        if self.draining.is_set():
            raise RelayFull(
                "the relay is draining", retry_after_s=self.settings.limits.retry_after_s
            )
        if self.host is None or not self.host.is_alive:
            raise RelayFull("the engine is not ready yet", retry_after_s=1)
        return self.host

    def _check_ours(self, room: str) -> None:
        if room in self.forwards:
            raise RoomTaken("the room is another relay's, and passed on")

    def _new_rate(self) -> LiveRate | None:
        settings = self.settings
        if settings.bitrate_bps is None:
            return None
        return LiveRate(
            settings.bitrate_bps,
            max_frame_factor=settings.max_frame_factor,
            follows_remb=settings.follow_remb,
            least_bps=settings.min_bitrate_bps,
        )

    def _new_rung_rate(self, target_bps: int, n_pixels: int) -> LiveRate:
        return LiveRate(
            target_bps, max_frame_factor=self.settings.max_frame_factor, n_pixels=n_pixels
        )

    def _open(self, room: str, role: Role) -> str:
        name = secrets.token_urlsafe(16)
        self._lobby.open_session(name, room, role, now_us=monotonic_us())
        entry = self._rooms.get(room)
        if entry is None:
            entry = self._rooms[room] = Room(room, LegacyAudience(self.settings.legacy))
            if (forward := self.forwards.get(room)) is not None:
                forward.furnish(entry)
                if entry.stream is not None and self.host is not None:
                    self.recordings.stream_started(entry, entry.stream, self.host.info)
            self._tell(about_room(entry, "started"))
        entry.n_open += 1
        self._is_empty.clear()
        self._act()
        return name

    async def _admit(
        self, name: str, room: str, role: Role, peer: Peer, answering: Awaitable[str]
    ) -> tuple[Session, str]:
        entry = self._rooms[room]
        session = Session(name, entry, role, f'"{secrets.token_hex(8)}"', peer)
        self._sessions[name] = session
        try:
            answer = await answering
        except BaseException:
            self._leave(name, CloseReason.LEFT)
            raise
        if name not in self._sessions:
            if self.draining.is_set():
                raise RelayFull("the relay is shutting down", retry_after_s=1)
            raise RemoteProtocolError("the connection failed while the offer was answered")
        if isinstance(peer, SubscriberPeer) and entry.stream is not None:
            entry.stream.add_subscriber(name, peer.sender, peer.wish)
        log_event(_log, "session_opened", room=room, role=role.value, session=session.shown)
        return session, answer

    def _watching(self, room: str) -> list[tuple[str, SubscriberPeer]]:
        return [
            (name, session.peer)
            for name in self._lobby.subscribers(room)
            if (session := self._sessions.get(name)) is not None
            and isinstance(session.peer, SubscriberPeer)
        ]

    def _on_connected(self, name: str) -> None:
        self._lobby.connect(name, now_us=monotonic_us())
        self._act()
        session = self._sessions.get(name)
        if session is None:
            return
        if not session.has_joined:
            session.has_joined = True
            self._tell(about_session(session, "joined"))
        if isinstance(session.peer, LegacyPeer):
            session.room.audience.join(name, session.peer.sender)
        elif session.role is Role.SUBSCRIBER and session.room.stream:
            session.room.stream.restart(name)  # what was sent before went nowhere

    # ---- going out

    def _leave(self, name: str, reason: CloseReason) -> None:
        self._lobby.leave(name, reason)
        self._act()

    def _act(self) -> None:
        while (event := self._lobby.next_event()) is not None:
            if isinstance(event, SessionClosed):
                self._dismiss(event)
            elif isinstance(event, RoomLive | RoomQuiet):
                name = f"room_{type(event).__name__[4:].lower()}"
                log_event(_log, name, room=event.room)
        if not self._lobby.n_sessions:
            self._is_empty.set()

    def _dismiss(self, event: SessionClosed) -> None:
        reason = event.reason.value
        self.sessions_closed[reason] = self.sessions_closed.get(reason, 0) + 1
        room = self._rooms.get(event.room)
        if event.room not in self._lobby.rooms:
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
        try:
            await session.peer.close()
        except Exception:  # a peer that cannot be closed must not keep the others
            _log.exception("close_failed", extra={"fields": {"session": session.shown}})
        if isinstance(session.peer, _PUBLISHERS):
            self._note_publisher(session.peer)
        if (
            isinstance(session.peer, (*_PUBLISHERS, Player))
            and session.room.stream is session.peer.stream
        ):
            session.room.stream = None
        room = session.room
        if isinstance(session.peer, LegacyPeer):
            await room.audience.settle()
        if session.has_joined:
            self._tell(about_session(session, "left", reason=reason))
        self._let_go(room)

    def _let_go(self, room: Room) -> None:
        room.n_open -= 1
        if room.n_open == 0:
            for codec, counters in room.audience.gone.items():
                self.legacy_gone.setdefault(codec, TranscodeCounters()).add(counters)
            self.recordings.room_ended(room.id)
            self._tell(about_room(room, "ended"))

    def _tell(self, event: RelayEvent) -> None:
        log_happening(event)
        self.on_event(event)

    # ---- ten times a second

    def _listen(self, now_us: int) -> None:
        for session in self._sessions.values():
            peer = session.peer
            if isinstance(peer, SubscriberPeer | LegacyPeer):
                sent_us = peer.sender.counters.last_sent_us
                is_fed = sent_us is not None and now_us - sent_us < _REPORTS_EXPECTED_US
                self._lobby.expect(session.name, reports=is_fed, now_us=now_us)
            elif isinstance(peer, _PUBLISHERS):
                self._note_publisher(peer)
            if peer.last_heard_us is not None:
                self._lobby.hear(session.name, now_us=peer.last_heard_us)
        for room in self._rooms.values():
            room.rates.sample(room.stats, now_us=now_us)
            if room.stream is not None:
                room.stream.heed_subscribers()
            room.audience.heed(now_us)
        for name, forward in self.forwards.items():
            self._heed_forward(name, forward, now_us)
        self._lobby.advance(now_us=now_us)
        self._act()

    def _heed_forward(self, room: str, forward: Forward, now_us: int) -> None:
        inside = self._lobby.subscribers(room)
        sessions = [self._sessions[name] for name in inside if name in self._sessions]
        via = dict.fromkeys([self.name, *(relay for s in sessions for relay in s.via)])
        forward.heed(len(inside), tuple(via), now_us=now_us)

    def _note_publisher(self, peer: PublisherPeer | LatentPublisherPeer) -> None:
        """Add what a publisher was asked for since the last time."""
        if peer.video is None:
            return
        counters = peer.video.counters
        nacks, plis = peer.requests_noted
        self.publisher_nacks += counters.nack_count - nacks
        self.publisher_plis += counters.pli_count - plis
        peer.requests_noted = (counters.nack_count, counters.pli_count)

    def _on_pli(self, room: str, name: str) -> None:
        self._count(room, nacks=0, plis=1)
        if (stream := self._stream_of(room)) is not None:
            stream.restart(name)

    def _on_report(self, room: str, name: str, report: FrameReport) -> None:
        if (stream := self._stream_of(room)) is not None:
            stream.report(name, report)

    def _stream_of(self, room: str) -> RoomStream | None:
        entry = self._rooms.get(room)
        return None if entry is None else entry.stream

    def _count(self, room: str, *, nacks: int, plis: int) -> None:
        """Count what a subscriber asked for."""
        entry = self._rooms.get(room)
        for stats in (self.stats, *((entry.stats,) if entry is not None else ())):
            stats.nack_count += nacks
            stats.pli_count += plis


def _report_sent(frame: OutgoingFrame, at_us: int) -> None:
    stream, delivery = frame.token
    stream.sent(delivery, at_us)


def _report_unsent(frame: OutgoingFrame) -> None:
    stream, delivery = frame.token
    stream.unsent(delivery)
