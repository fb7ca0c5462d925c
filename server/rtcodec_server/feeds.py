"""
What feeds rooms: streams of every kind are made here, and tied to who is inside.

    publisher's pictures --> Stream --------\
    latents of a relay ----> LatentStream ---+--> subscribers, ordinary viewers, recording
    a stored recording ----> PlayedStream --/
"""

from collections.abc import Callable

from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentFrame
from rtcodec.webrtc.tap import FrameTapWriter
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_queue import FrameRun
from rtcodec_server.latent_pictures import LatentPictures
from rtcodec_server.latent_stream import LatentStream, Source
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.occupancy import Occupancy
from rtcodec_server.played_stream import PlayedStream
from rtcodec_server.recordings import Recordings
from rtcodec_server.room import RelaySettings, Room, RoomStream, Session
from rtcodec_server.rung import LadderSetup
from rtcodec_server.stream import Stream
from rtcodec_server.stream_output import CaptureTime
from rtcodec_server.subscriber_peer import SubscriberPeer


class Feeds:
    """Opens the streams of one relay's rooms. Belongs to the event loop."""

    def __init__(
        self,
        settings: RelaySettings,
        occupancy: Occupancy,
        recordings: Recordings,
        stats: StreamStats,
        *,
        may_add: Callable[[float], bool] = lambda tiles_per_s: True,
    ) -> None:
        """
        Args:
            settings: Of the relay.
            occupancy: Knows who gets what a stream sends.
            recordings: Are told of each stream.
            stats: Of all streams together.
            may_add: Says whether the engine has room for a rung of so many tiles a second.
        """
        self._may_add = may_add
        self.ladder: LadderSetup | None = None
        "Rungs of every stream, with their figures since the start; None for one at its size."
        if settings.rungs:
            self.ladder = LadderSetup(specs=settings.rungs, new_rate=self._new_rung_rate)
        self._settings = settings
        self._occupancy = occupancy
        self._recordings = recordings
        self._stats = stats

    def open_video(self, room: Room, host: EngineHost, capture_time: CaptureTime) -> Stream:
        """Let a room show what its publisher's pictures are coded to."""
        settings = self._settings
        stream = Stream(
            host,
            qp=settings.qp,
            denoise=settings.denoise,
            frame_deadline_us=settings.frame_deadline_us,
            stats=(room.stats, self._stats),
            capture_time=capture_time,
            tap=FrameTapWriter(settings.tap, room.name) if settings.tap else None,
            rate=self._new_rate(),
            rungs=self.ladder,
            viewers=room.audience,
            may_add=self._may_add,
        )
        self._tie(room, stream, host)
        return stream

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
        self._tie(room, stream, host)
        return stream

    def open_playback(self, room: Room, host: EngineHost, size: tuple[int, int]) -> PlayedStream:
        """Let a room show a recording whose pictures are *size*, width and height."""
        stream = PlayedStream(
            qp=self._settings.qp,
            size=size,
            stats=(room.stats, self._stats),
            audience=room.audience,
            pictures=lambda: LatentPictures(host.new_decoder(), FrameRun()),
        )
        self._tie(room, stream, host)
        return stream

    def show(self, session: Session) -> None:
        """
        Let a subscriber have what its room shows, if there is something, and a way to it.

        Not before: the frame that it could start from would be pushed out by those after it while
        the connection is made, and the sender would wait in vain for word of it.
        """
        stream, peer = session.room.stream, session.peer
        if not isinstance(peer, SubscriberPeer) or not peer.sender.is_open:
            return
        if stream is not None:
            stream.add_subscriber(session.name, peer.sender, peer.wish)
            stream.restart(session.name)  # of a recording it gets what the next frame leans on

    def _tie(self, room: Room, stream: RoomStream, host: EngineHost) -> None:
        room.stream = stream
        for session in self._occupancy.subscribers(room.name):
            self.show(session)
        self._recordings.stream_started(room, stream, host.info)

    def _new_rate(self) -> LiveRate | None:
        settings = self._settings
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
            target_bps, max_frame_factor=self._settings.max_frame_factor, n_pixels=n_pixels
        )
