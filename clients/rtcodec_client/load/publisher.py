"""One synthetic publisher: a WHIP client that sends its share of a feed."""

from __future__ import annotations

import asyncio
from typing import Any

from aiortc.codecs import get_encoder
from aiortc.rtcrtpparameters import RTCRtpCodecCapability

from rtcodec.media.video_encoder import VideoPacket
from rtcodec.webrtc.aiortc_patch import SenderPort
from rtcodec_client.load.feed import Feed, FeedTrack
from rtcodec_client.load.peer import LoadPeer, PeerPlace, PeerSpec
from rtcodec_client.load.recorder import Recorder
from rtcodec_client.publish import codec_capabilities


class _Packer:
    """Cuts packets with aiortc's own payload formats; a load test keeps its rate whatever REMB."""

    def __init__(self, capability: RTCRtpCodecCapability) -> None:
        self._aiortc = get_encoder(capability)  # type: ignore[arg-type]  # only mimeType is read
        self.target_bitrate = 0

    def pack(self, packet: VideoPacket) -> tuple[list[bytes], int]:
        """Return RTP payloads and the time stamp in 90 kHz ticks."""
        payloads, timestamp = self._aiortc.pack(packet)
        return payloads, timestamp


class LoadPublisher(LoadPeer):
    """Publishes a feed to one room."""

    def __init__(
        self, spec: PeerSpec, place: PeerPlace, feed: Feed, codec: str, recorder: Recorder
    ) -> None:
        super().__init__(spec, place)
        self._feed = feed
        self._codec = codec
        self._recorder = recorder
        self._plis = 0
        self._nacks = 0
        self._track = FeedTrack(spec.delay_us, recorder, on_first=self.note_first)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until *stop*; raises as `RelayConnection.established`."""
        async with self.connection() as connection:
            transceiver = connection.peer.addTransceiver(self._track, direction="sendonly")
            capabilities = codec_capabilities(self._codec)
            transceiver.setCodecPreferences(capabilities)
            SenderPort(
                transceiver.sender,
                encoder=_Packer(capabilities[0]),
                on_pli=self._on_pli,
                on_nack=self._on_nack,
                on_rtcp=connection.note_alive,
            )
            try:
                async with connection.established(stop):
                    self.note_connected(connection)
                    self._feed.add(self._track)
                    await connection.run_until(None, stop)
            finally:
                self._feed.remove(self._track)
                self._track.stop()

    def measure(self, *, on: bool) -> None:
        """Nothing depends on it here."""

    def report(self) -> dict[str, Any]:
        """Return what was sent and asked for."""
        track = self._track
        return {
            "frames": track.frames,
            "skipped": track.skipped,
            "bytes": track.size_bytes,
            "plis": self._plis,
            "nacks": self._nacks,
            **self.link_counters,
        }

    def _on_pli(self) -> None:
        self._plis += 1
        self._recorder.count("publisher_plis")
        self._feed.request_keyframe()

    def _on_nack(self, n_packets: int) -> None:
        self._nacks += n_packets
        self._recorder.count("publisher_nacks", n_packets)
