"""
Where peers come into a relay: what they offer is read, a place is kept, a session begins.

Of what they say later only what concerns the room comes through here. Keeps nothing itself: who is
inside is `occupancy`'s, and the relay's figures are the relay's.
"""

import logging
from collections.abc import Awaitable
from contextlib import suppress

from rtcodec.errors import RemoteProtocolError
from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.video_size import fits
from rtcodec.session.carrier import Carrier
from rtcodec.session.layer import ANY_LAYER, LayerWish
from rtcodec.session.lobby import CloseReason, RelayFull, Role, RoomTaken
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentSender, OutgoingFrame, monotonic_us
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.latent_publisher import LatentPublisherPeer
from rtcodec_server.legacy import COMPARED, Encoding
from rtcodec_server.logs import log_event
from rtcodec_server.offer import (
    Unprocessable,
    read_publisher_offer,
    read_study_offer,
    read_subscriber_offer,
)
from rtcodec_server.peer import PeerSetup
from rtcodec_server.play_source import PlaySource
from rtcodec_server.player import Player, PlayOptions
from rtcodec_server.publisher_peer import PublisherPeer
from rtcodec_server.recent import RecentFigures
from rtcodec_server.relay import Relay
from rtcodec_server.report import RateMeter
from rtcodec_server.room import SESSION_SHOWN, Room, Session, UnknownSession
from rtcodec_server.stream import Stream
from rtcodec_server.study_peer import StudyPeer
from rtcodec_server.subscriber_peer import LegacyPeer, SubscriberPeer
from rtcodec_server.via import check_via
from rtcodec_server.video_format import choose_codec

_log = logging.getLogger(__name__)


class Entrance:
    """Lets publishers, subscribers and recordings into one relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

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
        self._relay.occupancy.lobby.check_open(room, Role.PUBLISHER)
        model_id = host.info.model_id.hex()[:16]
        description = read_publisher_offer(offer, model_id=model_id)
        if description.of_kind("video")[0].latent_parameters is not None:
            return await self._publish_latents(room, offer, description, host)
        self._relay.load.check_publisher(room, now_us=monotonic_us())
        name, entry = self._open_publisher(room)
        peer: PublisherPeer | None = None
        stream = self._relay.feeds.open_video(
            entry, host, lambda frame: peer.capture_time(frame) if peer is not None else None
        )
        peer = PublisherPeer(
            stream,
            self._setup(name),
            limits=self._relay.settings.publisher,
            on_too_large=lambda: self._relay.occupancy.leave(name, CloseReason.TOO_LARGE),
            restorer=self._relay.settings.restorer,
        )
        session = self._relay.occupancy.admit(name, entry, Role.PUBLISHER, peer)
        return session, await self._answer(session, peer.negotiate(offer, description))

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
        check_via(via, self._relay.name)
        host = self._ready_host()
        self._relay.occupancy.lobby.check_open(room, Role.SUBSCRIBER)
        model_id = host.info.model_id.hex()[:16]
        ordinary = self._relay.settings.legacy.codecs
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
        name, entry = self._relay.occupancy.open(room, Role.SUBSCRIBER)
        sender = LatentSender(
            carrier=carrier,
            max_frames=1 if carrier is Carrier.DATA else 2,  # beside the one on its way out
            on_open=lambda: self._on_open(entry, name),
            on_sent=_report_sent,
            on_dropped=_report_unsent,
            on_pli=lambda: self._on_pli(entry, name),
            on_report=lambda report: self._on_report(entry, name, report),
            on_nack=lambda n_packets: self._count(entry, nacks=n_packets, plis=0),
        )
        peer = SubscriberPeer(sender, self._setup(name))
        peer.wish = wish
        session = self._relay.occupancy.admit(name, entry, Role.SUBSCRIBER, peer)
        session.via = via  # before anything is asked for on its behalf
        answer = peer.negotiate(offer, description, model_id=model_id)
        return session, await self._answer(session, answer)

    async def show_studies(
        self, room: str, offer: str, *, subject: str | None
    ) -> tuple[Session, str]:
        """
        Let a viewer of the studies of a room in; that takes no engine.

        Args:
            room: Its name.
            offer: The SDP.
            subject: Of the viewer's token.

        Returns:
            The session and the SDP answer.

        Raises:
            UnknownSession: If no studies are offered there.
            RelayFull: If there is no place.
            RemoteProtocolError: If the offer cannot be answered.
        """
        self._check_open()
        description = read_study_offer(offer)
        studies = self._relay.studies
        if studies is not None:
            await studies.look()
        instances = None if studies is None else studies.instances(room)
        if studies is None or instances is None:
            raise UnknownSession("no studies are offered there")
        name, entry = self._relay.occupancy.open(room, Role.SUBSCRIBER)
        peer = StudyPeer(
            studies,
            instances,
            self._setup(name),
            room=room,
            session=name[:SESSION_SHOWN],
            subject=subject,
        )
        session = self._relay.occupancy.admit(name, entry, Role.SUBSCRIBER, peer)
        return session, await self._answer(session, peer.negotiate(offer, description))

    def hear_via(self, session: Session, via: tuple[str, ...]) -> None:
        """
        Note for whom a subscriber asks by now.

        Raises:
            LoopRefused: If this relay is among them.
        """
        check_via(via, self._relay.name)
        session.via = via

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
        self._relay.occupancy.lobby.check_open(room, Role.PUBLISHER)
        sequence = source.sequence
        if sequence.model_id != host.info.model_id[: len(sequence.model_id)]:
            raise Unprocessable(f"the recording is not of this relay's model, {host.info.model}")
        if not fits((sequence.width, sequence.height), self._relay.settings.publisher.max_size):
            raise Unprocessable("the recording's pictures are larger than the relay takes")
        name, entry = self._open_publisher(room)
        stream = self._relay.feeds.open_playback(entry, host, (sequence.width, sequence.height))
        player = Player(source, stream, options, on_ended=lambda: self._relay.occupancy.leave(name))
        session = self._relay.occupancy.admit(name, entry, Role.PUBLISHER, player)
        log_event(_log, "session_opened", room=room, role="publisher", session=session.shown)
        self._relay.occupancy.connected(name)
        player.start()
        return session

    # ---- one kind of peer

    async def _publish_latents(
        self, room: str, offer: str, description: Description, host: EngineHost
    ) -> tuple[Session, str]:
        name, entry = self._open_publisher(room)
        peer = LatentPublisherPeer(
            lambda receiver: self._relay.feeds.open_latents(entry, receiver, host),
            self._setup(name),
            limits=self._relay.settings.publisher,
            on_too_large=lambda: self._relay.occupancy.leave(name, CloseReason.TOO_LARGE),
        )
        session = self._relay.occupancy.admit(name, entry, Role.PUBLISHER, peer)
        answer = peer.negotiate(offer, description, model_id=host.info.model_id.hex()[:16])
        return session, await self._answer(session, answer)

    async def _subscribe_ordinary(
        self, room: str, offer: str, description: Description, encoding: Encoding
    ) -> tuple[Session, str]:
        name, entry = self._relay.occupancy.open(room, Role.SUBSCRIBER)
        sender = VideoSender(
            encoding.codec,
            on_keyframe_needed=lambda: entry.audience.need_keyframe(encoding),
            on_nack=lambda n_packets: self._count(entry, nacks=n_packets, plis=0),
            on_pli=lambda: self._count(entry, nacks=0, plis=1),
        )
        peer = LegacyPeer(sender, self._setup(name), encoding.matched_rung)
        session = self._relay.occupancy.admit(name, entry, Role.SUBSCRIBER, peer)
        return session, await self._answer(session, peer.negotiate(offer, description))

    # ---- whether there is a place

    def _check_open(self) -> None:
        if self._relay.draining.is_set():
            raise RelayFull(
                "the relay is draining", retry_after_s=self._relay.settings.limits.retry_after_s
            )

    def _ready_host(self) -> EngineHost:
        self._check_open()
        if self._relay.host is None or not self._relay.host.is_alive:
            raise RelayFull("the engine is not ready yet", retry_after_s=1)
        return self._relay.host

    def _check_ours(self, room: str) -> None:
        if room in self._relay.forwards:
            raise RoomTaken("the room is another relay's, and passed on")

    def _check_watched(self, room: str) -> None:
        """Let somebody watch a stream that is coded already, or that the engine has room for."""
        if self._relay.source_of(room) is not None:
            stream = self._relay.occupancy.room_of(room).stream
            if isinstance(stream, Stream):
                self._relay.load.check_watched(room, stream, now_us=monotonic_us())

    def _check_viewer(self, room: str, encoding: Encoding) -> None:
        """Let somebody watch what somebody does already, or that there is room for."""
        entry = next((entry for entry in self._relay.rooms if entry.name == room), None)
        stream = None if entry is None else entry.stream
        if stream is None and room not in self._relay.forwards:
            return  # there is nothing to see yet
        wants = None if entry is None else entry.audience
        if wants is None or not wants.encodes(encoding):
            is_decoded = not (isinstance(stream, Stream) or (wants is not None and wants.is_wanted))
            self._relay.load.check_viewer(
                room, encoding.name, is_decoded=is_decoded, now_us=monotonic_us()
            )

    # ---- how a session begins

    def _open_publisher(self, room: str) -> tuple[str, Room]:
        name, entry = self._relay.occupancy.open(room, Role.PUBLISHER)
        entry.stats, entry.rates, entry.recent = StreamStats(), RateMeter(), RecentFigures()
        return name, entry

    def _setup(self, name: str) -> PeerSetup:
        return PeerSetup(
            ice_servers=self._relay.settings.ice_servers,
            loopback_only=self._relay.settings.loopback_only,
            candidates=self._relay.settings.candidates,
            on_connected=lambda: self._relay.occupancy.connected(name),
            on_lost=lambda: self._relay.occupancy.leave(name, CloseReason.LOST),
        )

    async def _answer(self, session: Session, answering: Awaitable[str]) -> str:
        """Wait for the answer to an offer; whoever made it is out again if there is none."""
        try:
            answer = await answering
        except BaseException:
            self._relay.occupancy.leave(session.name)
            raise
        if not self._relay.occupancy.has(session):
            if self._relay.draining.is_set():
                raise RelayFull("the relay is shutting down", retry_after_s=1)
            raise RemoteProtocolError("the connection failed while the offer was answered")
        role = session.role.value
        log_event(_log, "session_opened", room=session.room.name, role=role, session=session.shown)
        return answer

    # ---- what becomes of subscribers

    def _on_open(self, room: Room, name: str) -> None:
        with suppress(UnknownSession):  # it may have left by now
            session = self._relay.occupancy.session_of(room.name, name, Role.SUBSCRIBER)
            self._relay.feeds.show(session)

    def _on_pli(self, room: Room, name: str) -> None:
        self._count(room, nacks=0, plis=1)
        if room.stream is not None:
            room.stream.restart(name)

    def _on_report(self, room: Room, name: str, report: FrameReport) -> None:
        if room.stream is not None:
            room.stream.report(name, report)

    def _count(self, room: Room, *, nacks: int, plis: int) -> None:
        """Count what a subscriber asked for."""
        for stats in (self._relay.stats, room.stats):
            stats.nack_count += nacks
            stats.pli_count += plis


def _report_sent(frame: OutgoingFrame, at_us: int) -> None:
    stream, delivery = frame.token
    stream.sent(delivery, at_us)


def _report_unsent(frame: OutgoingFrame) -> None:
    stream, delivery = frame.token
    stream.unsent(delivery)
