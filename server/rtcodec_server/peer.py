"""
One WebRTC peer of the relay: a publisher's or a subscriber's connection.

A peer negotiates, carries media and closes. It knows nothing of rooms and
reports through callbacks, on the event loop.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver
from aiortc.sdp import candidate_from_sdp

from rtcodec.session.candidate import CandidatePolicy, filter_candidates
from rtcodec.session.layer import ANY_LAYER
from rtcodec.session.message import MAX_CANDIDATES, IceFragment
from rtcodec.session.rate_limit import TokenBucket
from rtcodec.webrtc import (
    LATENT_CODEC_NAME,
    DecodedFrame,
    LatentSender,
    QueueClosed,
    VideoReceiver,
    accept_offer,
    create_answer,
    new_connection,
    to_unix_us,
)
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_receiver import VIDEO_CODECS
from rtcodec_server.config import PublisherLimits
from rtcodec_server.offer import Unprocessable
from rtcodec_server.report import report_frames
from rtcodec_server.stream import Stream

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 5.0


def frame_pace(max_fps: int) -> TokenBucket:
    """Return what frames are thinned by: a clock may be 2 % fast, and jitter bunches frames."""
    return TokenBucket(max_fps * 1.02, max(2.0, max_fps / 4))


class Peer(ABC):
    """What publishers and subscribers have in common."""

    def __init__(
        self,
        *,
        ice_servers: Sequence[str],
        loopback_only: bool,
        candidates: CandidatePolicy,
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """
        Args:
            ice_servers: STUN and TURN URLs.
            loopback_only: Whether to offer 127.0.0.1 and nothing else.
            candidates: Which of the peer's candidates may be tried.
            on_connected: Called once, when media can flow.
            on_lost: Called when the connection failed or was closed.
        """
        self.remote_ufrag: str | None = None
        self._loopback_only = loopback_only
        self._candidates = candidates
        self._n_candidates = 0
        self._on_connected = on_connected
        self._on_lost = on_lost
        self.connection: RTCPeerConnection = new_connection(ice_servers)
        self.connection.on("connectionstatechange", self._on_state)

    @property
    @abstractmethod
    def last_heard_us(self) -> int | None:
        """When the peer last sent media or a report, monotonic microseconds."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return the peer's own figures as JSON values."""

    async def add_candidates(self, fragment: IceFragment) -> None:
        """
        Take trickled candidates; those that cannot be used are ignored. # RFC 9725 4.3.2

        Raises:
            Unprocessable: If the fragment asks for an ICE restart.
        """
        if fragment.ufrag is not None and fragment.ufrag != self.remote_ufrag:
            raise Unprocessable("ICE restarts are not supported")
        is_complete = fragment.is_complete
        default_mid = self.connection.getTransceivers()[0].mid
        for entry in fragment.candidates:
            if self._n_candidates >= MAX_CANDIDATES or not self._candidates.permits(entry.text):
                is_complete = False  # the peer's own checks may still come from there
                continue
            self._n_candidates += 1
            try:
                candidate = candidate_from_sdp(entry.text)
                candidate.sdpMid = entry.mid or default_mid
                await self.connection.addIceCandidate(candidate)
            except (ValueError, IndexError, AssertionError, OSError) as error:
                _log.debug("candidate ignored: %s", error)
        if is_complete:
            await self.connection.addIceCandidate(None)

    async def close(self) -> None:
        """Close the connection and wait until nothing of it runs any more."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.connection.close()
        except TimeoutError:
            _log.warning("a connection did not close in %g s", _CLOSE_TIMEOUT_S)
        await asyncio.sleep(0)  # what the decoder thread reported last

    async def _negotiate(self, offer: str, description: Description, model: str | None) -> str:
        self.remote_ufrag = description.ice_ufrag
        offer = filter_candidates(offer, self._candidates)
        self._n_candidates = offer.count("a=candidate:")
        await accept_offer(self.connection, offer)
        for transceiver in self.connection.getTransceivers():
            if transceiver.kind == "audio":
                transceiver.direction = "inactive"  # no audio codec is relayed
        return await create_answer(self.connection, model=model, loopback_only=self._loopback_only)

    def _on_state(self) -> None:
        state = self.connection.connectionState
        if state == "connected":
            self._on_connected()
        elif state in ("failed", "closed"):
            self._on_lost()


class PublisherPeer(Peer):
    """Receives VP8 or H.264 and feeds a stream."""

    def __init__(
        self,
        stream: Stream,
        *,
        ice_servers: Sequence[str],
        loopback_only: bool,
        candidates: CandidatePolicy,
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
        limits: PublisherLimits,
        on_too_large: Callable[[], None],
    ) -> None:
        super().__init__(
            ice_servers=ice_servers,
            loopback_only=loopback_only,
            candidates=candidates,
            on_connected=on_connected,
            on_lost=on_lost,
        )
        self.stream = stream
        self._limits = limits
        self._on_too_large = on_too_large
        self._pace = frame_pace(limits.max_fps)
        self.video: VideoReceiver | None = None
        self.requests_noted = (0, 0)
        "NACKs and PLIs sent to it that the relay's figures hold already."
        self._reader: asyncio.Task[None] | None = None

    @property
    def last_heard_us(self) -> int | None:
        """When the last packet or report arrived; a paused publisher still reports."""
        return self.video.last_heard_us if self.video is not None else None

    async def negotiate(self, offer: str, description: Description) -> str:
        """
        Answer a WHIP offer.

        Args:
            offer: The SDP.
            description: What `read_publisher_offer` found in it.

        Raises:
            RemoteProtocolError: If the offer cannot be answered.
        """
        transceiver = self.connection.addTransceiver("video", direction="recvonly")
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None
        transceiver.setCodecPreferences(
            [codec for codec in known.codecs if codec.name in (*VIDEO_CODECS, "rtx")]
        )
        self.connection.on("track", self._on_track)
        return await self._negotiate(offer, description, None)

    def report(self) -> dict[str, Any]:
        """Return what was received and what became of it."""
        report: dict[str, Any] = {
            "state": self.connection.connectionState,
            "frames": report_frames(self.stream.frames),
        }
        if self.video is not None:
            report |= {"rtt_us": self.video.rtt_us, "received": asdict(self.video.counters)}
        return report

    def capture_time(self, frame: DecodedFrame) -> int | None:
        """Return when the publisher took *frame*, Unix microseconds, if it said so."""
        if self.video is None:
            return None
        return self.video.capture_us(
            frame.rtp_timestamp, received_unix_us=to_unix_us(frame.arrived_us)
        )

    async def close(self) -> None:
        """Close the connection, then let every frame that arrived reach its end."""
        await super().close()
        if self.video is not None:
            self.video.close()
        if self._reader is not None:
            await self._reader
        await self.stream.close()
        if self.video is not None:
            self.video.release()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind != "video" or self.video is not None:
            return
        receiver = next(
            t.receiver for t in self.connection.getTransceivers() if t.receiver.track is track
        )
        self.video = VideoReceiver(
            receiver,
            on_received=self.stream.receive,
            on_drop=self.stream.drop,
            max_size=self._limits.max_size,
            on_too_large=self._on_too_large,
        )
        self._reader = asyncio.ensure_future(self._read(self.video))

    async def _read(self, video: VideoReceiver) -> None:
        while True:
            try:
                frame = await video.recv()
            except QueueClosed:
                break
            if self._pace.take(now_us=frame.arrived_us):
                self.stream.drop("frame_rate")
            else:
                self.stream.put(frame)
        self._on_lost()


class SubscriberPeer(Peer):
    """Sends the latents of a room."""

    def __init__(
        self,
        sender: LatentSender,
        *,
        ice_servers: Sequence[str],
        loopback_only: bool,
        candidates: CandidatePolicy,
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(
            ice_servers=ice_servers,
            loopback_only=loopback_only,
            candidates=candidates,
            on_connected=on_connected,
            on_lost=on_lost,
        )
        self.sender = sender
        self.wish = ANY_LAYER
        "Which layer it asked for."

    @property
    def last_heard_us(self) -> int | None:
        """When the last report arrived."""
        return self.sender.counters.last_rtcp_us

    @property
    def available_bps(self) -> int | None:
        """
        What the way to it carries, bits of packets per second; None if nothing is known.

        From transport-wide feedback of the last seconds, or else from its REMB.
        """
        return self.sender.available_bps

    async def negotiate(self, offer: str, description: Description, *, model_id: str) -> str:
        """
        Answer a WHEP offer.

        Args:
            offer: The SDP.
            description: What `read_subscriber_offer` found in it.
            model_id: Of the model whose latents will be sent.

        Raises:
            RemoteProtocolError: If the offer cannot be answered.
        """
        self.sender.attach(self.connection)
        return await self._negotiate(offer, description, model_id)

    def report(self) -> dict[str, Any]:
        """Return what was sent; `frames_sent` counts whole frames given to the socket."""
        return {
            "state": self.connection.connectionState,
            "codec": LATENT_CODEC_NAME,
            **asdict(self.sender.counters),
            "available_bps": self.available_bps,
            "way": self.sender.report_way(),
        }

    async def close(self) -> None:
        """Drop what waits to be sent and close the connection."""
        self.sender.close()
        await super().close()
        self.sender.stop()
