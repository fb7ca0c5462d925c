"""
The relay: lets peers in, ties streams to rooms, keeps the figures of the whole.

`Relay` is what HTTP talks to. Who is inside, and what becomes of them, is `occupancy`'s.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError
from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.video_size import fits
from rtcodec.session.carrier import Carrier
from rtcodec.session.layer import ANY_LAYER, LayerWish
from rtcodec.session.lobby import CloseReason, RelayFull, Role, RoomTaken
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentSender, OutgoingFrame, monotonic_us
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.transcoder import TranscodeCounters
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_server.aside import AsideMeter
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.engine_load import EngineLoad
from rtcodec_server.event import RelayEvent
from rtcodec_server.feeds import Feeds
from rtcodec_server.forward import Forward
from rtcodec_server.happening import log_happening
from rtcodec_server.latent_publisher import LatentPublisherPeer
from rtcodec_server.legacy import COMPARED, Encoding, LegacyAudience
from rtcodec_server.logs import log_event
from rtcodec_server.occupancy import Occupancy
from rtcodec_server.offer import Unprocessable, read_publisher_offer, read_subscriber_offer
from rtcodec_server.peer import PeerSetup
from rtcodec_server.play_source import PlaySource
from rtcodec_server.player import Player, PlayOptions
from rtcodec_server.publisher_peer import PublisherPeer
from rtcodec_server.recent import RecentFigures
from rtcodec_server.recordings import Recordings
from rtcodec_server.report import RateMeter
from rtcodec_server.room import Publisher, RelaySettings, Room, Session
from rtcodec_server.rung import LadderSetup
from rtcodec_server.stream import Stream
from rtcodec_server.subscriber_peer import LegacyPeer, SubscriberPeer
from rtcodec_server.ticker import Ticker
from rtcodec_server.via import check_via
from rtcodec_server.video_format import choose_codec

_log = logging.getLogger(__name__)

TICK_S: Final = 0.1


class Relay:
    """One process's relay. Belongs to the event loop."""

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
        self.occupancy = Occupancy(
            settings.limits,
            new_room=self._new_room,
            on_room_ended=self._room_ended,
            tell=self._tell,
        )
        self._aside = AsideMeter()
        self.legacy_gone: dict[str, TranscodeCounters] = {}
        "Name of what they made -> figures of encoders in rooms that are no more."
        self.recordings = Recordings(settings.record, tell=self._tell)
        self.load = EngineLoad(
            settings.admission, host=lambda: self.host, usual_size=settings.usual_size
        )
        "What streams ask of the engine."
        self.feeds = Feeds(
            settings,
            self.occupancy,
            self.recordings,
            self.stats,
            may_add=lambda tiles_per_s: self.load.may_add(tiles_per_s, now_us=monotonic_us()),
        )
        self._ticker = Ticker(lambda: self._listen(monotonic_us()))

    # ---- for HTTP

    @property
    def is_ready(self) -> bool:
        """Whether peers can come in."""
        return self.host is not None and self.host.is_alive and not self.draining.is_set()

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Rooms with somebody in them."""
        return self.occupancy.rooms

    @property
    def ladder(self) -> LadderSetup | None:
        """Rungs of every stream, with their figures since the start; None without any."""
        return self.feeds.ladder

    @property
    def loop_lag_s(self) -> float:
        """Longest delay of the event loop within the last second."""
        return self._ticker.lag_s

    @property
    def n_sessions(self) -> int:
        """Peers inside."""
        return self.occupancy.lobby.n_sessions

    @property
    def sessions_closed(self) -> dict[str, int]:
        """Reason -> sessions that ended."""
        return self.occupancy.sessions_closed

    def publisher_of(self, room: str) -> PublisherPeer | LatentPublisherPeer | None:
        """Return the peer that publishes to *room*, or None."""
        source = self.source_of(room)
        return None if isinstance(source, Player) else source

    def source_of(self, room: str) -> Publisher | None:
        """Return what publishes to *room*, a peer or a recording, or None."""
        session = self.occupancy.publisher(room)
        return session.peer if session and isinstance(session.peer, Publisher) else None

    def subscribers_of(self, room: str) -> tuple[SubscriberPeer, ...]:
        """Return the peers that watch *room* with our codec."""
        peers = (session.peer for session in self.occupancy.subscribers(room))
        return tuple(peer for peer in peers if isinstance(peer, SubscriberPeer))

    def is_live(self, room: str) -> bool:
        """Return whether the room's publisher is connected, or the relay that it comes from."""
        forward = self.forwards.get(room)
        return self.occupancy.lobby.is_live(room) or (forward is not None and forward.is_live)

    def start_forwards(self) -> None:
        """Get ready to take the rooms from other relays that the settings name."""
        for room, config in self.settings.forward.items():
            self.forwards[room] = Forward(
                room,
                config,
                host=lambda: self.host,
                open_stream=self.feeds.open_latents,
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
        self.occupancy.lobby.check_open(room, Role.PUBLISHER)
        model_id = host.info.model_id.hex()[:16]
        description = read_publisher_offer(offer, model_id=model_id)
        if description.of_kind("video")[0].latent_parameters is not None:
            return await self._publish_latents(room, offer, description, host)
        self.load.check_publisher(room, now_us=monotonic_us())
        name, entry = self._open_publisher(room)
        peer: PublisherPeer | None = None
        stream = self.feeds.open_video(
            entry, host, lambda frame: peer.capture_time(frame) if peer is not None else None
        )
        peer = PublisherPeer(
            stream,
            self._setup(name),
            limits=self.settings.publisher,
            on_too_large=lambda: self.occupancy.leave(name, CloseReason.TOO_LARGE),
        )
        session = self.occupancy.admit(name, entry, Role.PUBLISHER, peer)
        return session, await self._answer(session, peer.negotiate(offer, description))

    async def _publish_latents(
        self, room: str, offer: str, description: Description, host: EngineHost
    ) -> tuple[Session, str]:
        name, entry = self._open_publisher(room)
        peer = LatentPublisherPeer(
            lambda receiver: self.feeds.open_latents(entry, receiver, host),
            self._setup(name),
            limits=self.settings.publisher,
            on_too_large=lambda: self.occupancy.leave(name, CloseReason.TOO_LARGE),
        )
        session = self.occupancy.admit(name, entry, Role.PUBLISHER, peer)
        answer = peer.negotiate(offer, description, model_id=host.info.model_id.hex()[:16])
        return session, await self._answer(session, answer)

    async def subscribe(
        self,
        room: str,
        offer: str,
        wish: LayerWish = ANY_LAYER,
        *,
        carrier: Carrier = Carrier.OWN,
        matched_rung: int | None = None,
        via: tuple[str, ...] = (),
    ) -> tuple[Session, str]:
        """
        Let a subscriber in; with nobody publishing it waits.

        Args:
            room: Its name.
            offer: The SDP.
            wish: Which layer it asks for, if it does.
            carrier: What it wants latents carried in.
            matched_rung: Rung that it compares ordinary video with, if it does.
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
        self.occupancy.lobby.check_open(room, Role.SUBSCRIBER)
        model_id = host.info.model_id.hex()[:16]
        ordinary = self.settings.legacy.codecs
        if matched_rung is not None:
            ordinary = tuple(codec for codec in ordinary if codec == COMPARED.codec)
        description = read_subscriber_offer(
            offer, model_id=model_id, ordinary=ordinary, carrier=carrier
        )
        self._check_watched(room)
        videos = description.of_kind("video")  # one, or none where a data channel carries latents
        if carrier is Carrier.OWN and videos[0].latent_parameters is None:
            codec = choose_codec(videos[0], ordinary)
            assert codec is not None  # read_subscriber_offer
            encoding = Encoding(codec, matched_rung)
            self._check_viewer(room, encoding)
            return await self._subscribe_ordinary(room, offer, description, encoding)
        if matched_rung is not None:
            raise Unprocessable("rate=match is for VP8, and latents were asked for")
        name, entry = self.occupancy.open(room, Role.SUBSCRIBER)
        sender = LatentSender(
            carrier=carrier,
            max_frames=1 if carrier is Carrier.DATA else 2,  # beside the one on its way out
            on_sent=_report_sent,
            on_dropped=_report_unsent,
            on_pli=lambda: self._on_pli(entry, name),
            on_report=lambda report: self._on_report(entry, name, report),
            on_nack=lambda n_packets: self._count(entry, nacks=n_packets, plis=0),
        )
        peer = SubscriberPeer(sender, self._setup(name))
        peer.wish = wish
        session = self.occupancy.admit(name, entry, Role.SUBSCRIBER, peer)
        session.via = via  # before anything is asked for on its behalf
        answer = peer.negotiate(offer, description, model_id=model_id)
        sdp = await self._answer(session, answer)
        if entry.stream is not None:
            entry.stream.add_subscriber(name, sender, peer.wish)
        return session, sdp

    def hear_via(self, session: Session, via: tuple[str, ...]) -> None:
        """
        Note for whom a subscriber asks by now.

        Raises:
            LoopRefused: If this relay is among them.
        """
        check_via(via, self.name)
        session.via = via

    async def _subscribe_ordinary(
        self, room: str, offer: str, description: Description, encoding: Encoding
    ) -> tuple[Session, str]:
        name, entry = self.occupancy.open(room, Role.SUBSCRIBER)
        sender = VideoSender(
            encoding.codec,
            on_keyframe_needed=lambda: entry.audience.need_keyframe(encoding),
            on_nack=lambda n_packets: self._count(entry, nacks=n_packets, plis=0),
            on_pli=lambda: self._count(entry, nacks=0, plis=1),
        )
        peer = LegacyPeer(sender, self._setup(name), encoding.matched_rung)
        session = self.occupancy.admit(name, entry, Role.SUBSCRIBER, peer)
        return session, await self._answer(session, peer.negotiate(offer, description))

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
        self.occupancy.lobby.check_open(room, Role.PUBLISHER)
        sequence = source.sequence
        if sequence.model_id != host.info.model_id[: len(sequence.model_id)]:
            raise Unprocessable(f"the recording is not of this relay's model, {host.info.model}")
        if not fits((sequence.width, sequence.height), self.settings.publisher.max_size):
            raise Unprocessable("the recording's pictures are larger than the relay takes")
        name, entry = self._open_publisher(room)
        stream = self.feeds.open_playback(entry, host, (sequence.width, sequence.height))
        player = Player(source, stream, options, on_ended=lambda: self.occupancy.leave(name))
        session = self.occupancy.admit(name, entry, Role.PUBLISHER, player)
        log_event(_log, "session_opened", room=room, role="publisher", session=session.shown)
        self.occupancy.connected(name)
        player.start()
        return session

    async def leave(self, session: Session) -> dict[str, Any]:
        """Let a peer out, wait until nothing is left of it, and return its final figures."""
        self.occupancy.leave(session.name)
        if session.closing is not None:
            await session.closing
        return session.peer.report()

    def end_playing(self, room: str) -> Player | None:
        """End what is played in a room and return it, or None."""
        session = self.occupancy.publisher(room)
        if session is None or not isinstance(session.peer, Player):
            return None
        self.occupancy.leave(session.name)
        return session.peer

    async def until_empty(self) -> None:
        """Wait until nobody is inside."""
        await self.occupancy.until_empty()

    async def close(self) -> None:
        """Let everybody out, finish every frame, stop the engine."""
        self.draining.set()
        await asyncio.gather(*(forward.close() for forward in self.forwards.values()))
        await self.occupancy.close()
        await self.recordings.close()
        await self._ticker.close()
        if self.host is not None:
            host, self.host = self.host, None
            await host.close()
            await asyncio.sleep(0)  # the host's last reports

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

    def _check_watched(self, room: str) -> None:
        """Let somebody watch a stream that is coded already, or that the engine has room for."""
        if self.source_of(room) is not None:
            stream = self.occupancy.room_of(room).stream
            if isinstance(stream, Stream):
                self.load.check_watched(room, stream, now_us=monotonic_us())

    def _check_viewer(self, room: str, encoding: Encoding) -> None:
        """Let somebody watch what somebody does already, or that there is room for."""
        entry = next((entry for entry in self.rooms if entry.name == room), None)
        stream = None if entry is None else entry.stream
        if stream is None and room not in self.forwards:
            return  # there is nothing to see yet
        wants = None if entry is None else entry.audience
        if wants is None or not wants.encodes(encoding):
            is_decoded = not (isinstance(stream, Stream) or (wants is not None and wants.is_wanted))
            self.load.check_viewer(
                room, encoding.name, is_decoded=is_decoded, now_us=monotonic_us()
            )

    def _new_room(self, name: str) -> Room:
        room = Room(name, LegacyAudience(self.settings.legacy))
        if (forward := self.forwards.get(name)) is not None:
            forward.furnish(room)
            if room.stream is not None and self.host is not None:
                self.recordings.stream_started(room, room.stream, self.host.info)
        return room

    def _room_ended(self, room: Room) -> None:
        for encoding, counters in room.audience.gone.items():
            self.legacy_gone.setdefault(encoding.name, TranscodeCounters()).add(counters)
        self.recordings.room_ended(room.id)

    def _open_publisher(self, room: str) -> tuple[str, Room]:
        name, entry = self.occupancy.open(room, Role.PUBLISHER)
        entry.stats, entry.rates, entry.recent = StreamStats(), RateMeter(), RecentFigures()
        return name, entry

    def _setup(self, name: str) -> PeerSetup:
        return PeerSetup(
            ice_servers=self.settings.ice_servers,
            loopback_only=self.settings.loopback_only,
            candidates=self.settings.candidates,
            on_connected=lambda: self.occupancy.connected(name),
            on_lost=lambda: self.occupancy.leave(name, CloseReason.LOST),
        )

    async def _answer(self, session: Session, answering: Awaitable[str]) -> str:
        """Wait for the answer to an offer; whoever made it is out again if there is none."""
        try:
            answer = await answering
        except BaseException:
            self.occupancy.leave(session.name)
            raise
        if not self.occupancy.has(session):
            if self.draining.is_set():
                raise RelayFull("the relay is shutting down", retry_after_s=1)
            raise RemoteProtocolError("the connection failed while the offer was answered")
        role = session.role.value
        log_event(_log, "session_opened", room=session.room.name, role=role, session=session.shown)
        return answer

    def _tell(self, event: RelayEvent) -> None:
        log_happening(event)
        self.on_event(event)

    # ---- ten times a second

    def _listen(self, now_us: int) -> None:
        for room, forward in self.forwards.items():
            inside = self.occupancy.subscribers(room)
            via = dict.fromkeys([self.name, *(relay for s in inside for relay in s.via)])
            forward.heed(len(inside), tuple(via), now_us=now_us)
        self.occupancy.listen(now_us)
        rooms = [(room.name, room.stream) for room in self.rooms]
        self.load.advance(
            [(room, stream) for room, stream in rooms if isinstance(stream, Stream)],
            aside=self._aside.advance((room.audience for room in self.rooms), now_us=now_us),
            now_us=now_us,
        )

    # ---- what subscribers say

    def _on_pli(self, room: Room, name: str) -> None:
        self._count(room, nacks=0, plis=1)
        if room.stream is not None:
            room.stream.restart(name)

    def _on_report(self, room: Room, name: str, report: FrameReport) -> None:
        if room.stream is not None:
            room.stream.report(name, report)

    def _count(self, room: Room, *, nacks: int, plis: int) -> None:
        """Count what a subscriber asked for."""
        for stats in (self.stats, room.stats):
            stats.nack_count += nacks
            stats.pli_count += plis


def _report_sent(frame: OutgoingFrame, at_us: int) -> None:
    stream, delivery = frame.token
    stream.sent(delivery, at_us)


def _report_unsent(frame: OutgoingFrame) -> None:
    stream, delivery = frame.token
    stream.unsent(delivery)
