"""
The relay: ties streams to rooms, lets peers go, keeps the figures of the whole.

`Relay` is what HTTP talks to, but for those who come in, which `entrance` has. Who is inside, and
what becomes of them, is `occupancy`'s.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from rtcodec.session.layer import LayerWish
from rtcodec.stats import StreamStats
from rtcodec.webrtc import monotonic_us
from rtcodec.webrtc.transcoder import TranscodeCounters
from rtcodec_server.aside import AsideMeter
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.engine_load import EngineLoad
from rtcodec_server.event import RelayEvent
from rtcodec_server.feeds import Feeds
from rtcodec_server.forward import Forward
from rtcodec_server.happening import log_happening
from rtcodec_server.latent_publisher import LatentPublisherPeer
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.occupancy import Occupancy
from rtcodec_server.player import Player
from rtcodec_server.publisher_peer import PublisherPeer
from rtcodec_server.recordings import Recordings
from rtcodec_server.room import Publisher, RelaySettings, Room, Session
from rtcodec_server.rung import LadderSetup
from rtcodec_server.stream import Stream
from rtcodec_server.study_library import StudyLibrary
from rtcodec_server.subscriber_peer import SubscriberPeer
from rtcodec_server.ticker import Ticker


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
        self.studies: StudyLibrary | None = None
        "Pictures that are offered, if any are."
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

    def choose_layer(self, session: Session, wish: LayerWish) -> None:
        """Heed which layer a subscriber wants from now on."""
        if isinstance(session.peer, SubscriberPeer):
            session.peer.wish = wish
        if session.room.stream is not None:
            session.room.stream.choose_layer(session.name, wish)

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
        if self.studies is not None:
            await self.studies.close()
        await self._ticker.close()
        if self.host is not None:
            host, self.host = self.host, None
            await host.close()
            await asyncio.sleep(0)  # the host's last reports

    # ---- rooms

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
