"""What the relay is told and what it keeps: settings, rooms, sessions. No deeds."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.codec.denoiser import OFF
from rtcodec.errors import RtcodecError
from rtcodec.rate_control import MAX_FRAME_FACTOR
from rtcodec.session.candidate import CandidatePolicy
from rtcodec.session.ladder import RungSpec
from rtcodec.session.lobby import Limits, Role
from rtcodec.stats import StreamStats
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.client_limits import PublisherLimits
from rtcodec_server.edge_config import ForwardConfig, LegacyConfig
from rtcodec_server.latent_publisher import LatentPublisherPeer
from rtcodec_server.latent_stream import LatentStream
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.peer import Peer
from rtcodec_server.played_stream import PlayedStream
from rtcodec_server.player import Player
from rtcodec_server.publisher_peer import PublisherPeer
from rtcodec_server.recent import RecentFigures
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.report import RateMeter
from rtcodec_server.stream import Stream

RoomStream = Stream | LatentStream | PlayedStream
"What feeds a room: a publisher here, another relay, a recording."

Publisher = PublisherPeer | LatentPublisherPeer | Player
"What stands in the publisher's place."

SESSION_SHOWN: Final = 8
"Characters of a session id that logs and figures show: the whole of it would end the session."


class UnknownSession(RtcodecError):
    """No session of that name is in that room, or no such room is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What the relay needs to know."""

    qp: int = 32
    bitrate_bps: int | None = None
    denoise: str = OFF
    max_frame_factor: float = MAX_FRAME_FACTOR
    follow_remb: bool = True
    min_bitrate_bps: int | None = None
    frame_deadline_us: int = 200_000
    ice_servers: tuple[str, ...] = ()
    loopback_only: bool = False
    tap: Path | None = None
    limits: Limits = field(default_factory=Limits)
    publisher: PublisherLimits = field(default_factory=PublisherLimits)
    restorer: CallRestorer | None = None
    "Takes the artefacts out of what publishers send."

    rungs: tuple[RungSpec, ...] = ()
    legacy: LegacyConfig = field(default_factory=LegacyConfig)
    forward: Mapping[str, ForwardConfig] = field(default_factory=dict)
    candidates: CandidatePolicy = field(default_factory=CandidatePolicy)
    record: RecordConfig = field(default_factory=RecordConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    usual_size: tuple[int, int] = (640, 360)
    "Width and height that a stream is thought to have before its first frame."


@dataclass(slots=True)
class Room:
    """What the relay keeps of a room beside the lobby's view of it."""

    name: str
    audience: LegacyAudience
    "Those who watch it without our codec."

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    "Tells apart stays of the same name."

    stats: StreamStats = field(default_factory=StreamStats)
    "Of the room's present publisher, or its last."

    rates: RateMeter = field(default_factory=RateMeter)
    recent: RecentFigures = field(default_factory=RecentFigures)
    stream: RoomStream | None = None
    n_open: int = 0
    "Sessions that came in and are not yet closed for good."


@dataclass(slots=True)
class Session:
    """One peer's stay in a room."""

    name: str
    room: Room
    role: Role
    etag: str
    peer: Peer | Player
    via: tuple[str, ...] = ()
    "Relays that the peer asks for, if it is one."

    has_joined: bool = False
    "Whether its media connection ever stood."

    note: str | None = None
    "What the operator said when ending it."

    closing: asyncio.Task[None] | None = None

    @property
    def shown(self) -> str:
        """The part of its name that may be shown."""
        return self.name[:SESSION_SHOWN]
