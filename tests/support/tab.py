"""A subscriber as a page of a browser is one: latents in VP8 or by data channel, reports too."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpReceiver

from rtcodec.bitstream.packet import Packet, PacketHeader, read_packet
from rtcodec.packet.depacketizer import Depacketizer, ReceivedFrame
from rtcodec.packet.feedback import FrameReport, write_report
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterConfig
from rtcodec.packet.payload import Payload, read_payload
from rtcodec.packet.rtp_packet import RtpPacket
from rtcodec.packet.vp8_carrier import CarriedFrame, read_carried
from rtcodec.webrtc import LatentFrame, accept_answer, create_offer
from rtcodec.webrtc.intake import Intake
from rtcodec_client.load.link import Link
from support.relay import SDP, RelayClient

Carried = TypeVar("Carried", CarriedFrame, ReceivedFrame)


def header_of(packets: tuple[bytes, ...]) -> PacketHeader:
    """Return the header of a frame's first packet."""
    packet = read_packet(packets[0])
    assert isinstance(packet, Packet)
    return packet.header


def number_of(packets: tuple[bytes, ...]) -> int:
    """Return the number of a frame, modulo 65536."""
    return header_of(packets).frame_number


def same_frames(tab: Sequence[Carried], watch: Sequence[LatentFrame]) -> list[Carried]:
    """Return the frames of a tab that a watcher has too; check that their bytes are the same."""
    seen = {number_of(frame.packets): frame.packets for frame in watch if frame.packets}
    both = [frame for frame in tab if number_of(frame.packets) in seen]
    for frame in both:
        assert frame.packets == seen[number_of(frame.packets)]
    return both


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


@dataclass
class ChannelPeer:
    """A subscription whose latents come over its data channel, and what came."""

    connection: RTCPeerConnection
    channel: RTCDataChannel
    path: str = ""
    sizes_bytes: list[int] = field(default_factory=list)
    "Of the messages."

    payloads: dict[int, dict[int, Payload]] = field(default_factory=dict)
    "By delivery, as long as that does not wrap, and index."

    def take(self, message: bytes) -> None:
        """Read a message that came."""
        payload = read_payload(message)
        self.sizes_bytes.append(len(message))
        self.payloads.setdefault(payload.delivery, {})[payload.index] = payload

    @property
    def frames(self) -> list[ReceivedFrame]:
        """The frames that came whole, in the order they were sent in."""
        depacketizer = Depacketizer()
        found = []
        for _, parts in sorted(self.payloads.items()):
            frame = depacketizer.depacketize([parts[index] for index in sorted(parts)])
            if frame is not None and frame.is_complete:
                found.append(frame)
        return found


async def offer_channel(client: RelayClient, *, video: bool = False) -> tuple[ChannelPeer, str]:
    """Make a connection that wants nothing but a data channel, and its offer."""
    connection = client.new_connection()
    if video:
        connection.addTransceiver("video", direction="recvonly")
    channel = connection.createDataChannel("latents", ordered=False, maxRetransmits=1)
    peer = ChannelPeer(connection, channel)
    channel.on("message", peer.take)
    return peer, await create_offer(connection, loopback_only=True)


async def watch_by_channel(
    client: RelayClient, room: str, query: str = "", link: Link | None = None
) -> ChannelPeer:
    """Subscribe to a room's latents by data channel, perhaps through a bad network."""
    peer, offer = await offer_channel(client)
    url = f"/whep/{room}?carrier=data{query}"
    async with client.http.post(
        url, data=link.lead_offer(offer) if link else offer, headers=SDP
    ) as response:
        answer = await response.text()
        assert response.status == 201, answer
        peer.path = response.headers["Location"]
    await accept_answer(peer.connection, link.lead_answer(answer, "127.0.0.1") if link else answer)
    return peer


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
