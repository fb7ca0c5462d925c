"""A subscriber as a browser's page is one: latents in VP8, reports by data channel."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpReceiver

from rtcodec.packet.feedback import FrameReport, write_report
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterConfig
from rtcodec.packet.rtp_packet import RtpPacket
from rtcodec.packet.vp8_carrier import CarriedFrame, read_carried
from rtcodec.webrtc import accept_answer, create_offer
from rtcodec.webrtc.intake import Intake
from support.relay import SDP, RelayClient


class _NoDecoder:
    """Stands where aiortc's decoder thread reads."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def put(self, task: object) -> None:
        if task is None:
            self._ended.set()

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended.wait()


class CarriedReceiver(Intake[bytes]):
    """Puts frames together as a browser does, whole ones only."""

    def __init__(self, receiver: RTCRtpReceiver, on_frame: Callable[[bytes], None]) -> None:
        config = JitterConfig(patience_us=2_000_000)
        super().__init__(receiver, config=config, decoder=_NoDecoder())
        self._on_frame = on_frame

    def _read(self, packet: RtpPacket, codec: str, data: bytes) -> Arrival[bytes]:
        return Arrival(
            seq=packet.sequence_number,
            timestamp=packet.timestamp,
            marker=packet.marker,
            item=data,
        )

    def _release(self, frame: FrameReleased[bytes]) -> None:
        self._on_frame(b"".join(frame.items))


@dataclass
class TabPeer:
    """A subscription by a carrier, and what came of it."""

    connection: RTCPeerConnection
    channel: RTCDataChannel | None = None
    path: str = ""
    frames: list[CarriedFrame] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    "As the VP8 headers have them."

    receiver: CarriedReceiver | None = None

    def receive(self, receiver: RTCRtpReceiver) -> None:
        """Read what comes."""
        self.receiver = CarriedReceiver(receiver, self.take)

    def take(self, data: bytes) -> None:
        """Read a frame that came."""
        self.frames.append(read_carried(data))
        side = [int.from_bytes(data[at : at + 2], "little") for at in (6, 8)]
        self.sizes.append((side[0], side[1]))

    def report(self, report: FrameReport) -> None:
        """Tell the relay which frames are held."""
        assert self.channel is not None
        self.channel.send(write_report(report))


async def offer_as_tab(
    client: RelayClient, *, codec: str = "VP8", channel: bool = True
) -> tuple[TabPeer, str]:
    """Make a connection that wants one ordinary codec, and its offer."""
    connection = client.new_connection()
    transceiver = connection.addTransceiver("video", direction="recvonly")
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None
    transceiver.setCodecPreferences([c for c in known.codecs if c.name in (codec, "rtx")])
    tab = TabPeer(connection)
    if channel:
        tab.channel = connection.createDataChannel("reports", ordered=False, maxRetransmits=0)
    connection.on("track", lambda _: tab.receive(transceiver.receiver))
    return tab, await create_offer(connection, loopback_only=True)


async def watch_as_tab(client: RelayClient, room: str, query: str = "") -> TabPeer:
    """Subscribe to a room's latents in VP8."""
    tab, offer = await offer_as_tab(client)
    url = f"/whep/{room}?carrier=vp8{query}"
    async with client.http.post(url, data=offer, headers=SDP) as response:
        answer = await response.text()
        assert response.status == 201, answer
        tab.path = response.headers["Location"]
    await accept_answer(tab.connection, answer)
    return tab
