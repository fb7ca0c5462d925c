"""
A whole latent call on a virtual clock: encoder, packets, network, jitter buffer, decoder.

Real bitstreams of the null engine, real payloads, RTP sequence numbers and retransmissions; only
the network and the time are made up.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from rtcodec.bitstream.packet import Description, Geometry, read_packet, write_packet
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.null import NullEngine
from rtcodec.errors import BitstreamError
from rtcodec.packet.depacketizer import Depacketizer, ReceivedFrame
from rtcodec.packet.jitter_buffer import (
    Arrival,
    FrameReleased,
    JitterBuffer,
    JitterConfig,
    NacksDue,
)
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import FrameTiming, Payload, read_payload
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from support.netem import Netem, Path

FRAME_US = 33_333
WIDTH, HEIGHT = 192, 128
HISTORY_PACKETS = 1024


@dataclass(frozen=True, slots=True)
class Rtp:
    """What the simulation sends instead of real RTP."""

    seq: int
    timestamp: int
    marker: bool
    payload: bytes


@dataclass(slots=True)
class Shown:
    """One frame that the receiver showed."""

    number: int
    latency_us: int
    is_complete: bool
    psnr_y_db: float


@dataclass(slots=True)
class Outcome:
    """What came of a call."""

    sent: int = 0
    shown: list[Shown] = field(default_factory=list)
    lost: int = 0
    "Frames of which nothing came, as the receiver counted them."

    broken: int = 0
    "Frames of which something came that could not be decoded."

    max_held: int = 0
    "Most packets that the jitter buffer held at once."

    @property
    def longest_freeze_us(self) -> int:
        """Longest time between two pictures."""
        times = [shown.number * FRAME_US + shown.latency_us for shown in self.shown]
        return max(later - earlier for earlier, later in pairwise(times))

    def latency_us(self, fraction: float) -> int:
        """Quantile of the time from encoding to picture."""
        ordered = sorted(shown.latency_us for shown in self.shown)
        return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)]


def moving_picture(number: int) -> Planes:
    """A gradient with a block that moves."""
    y = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8)
    left = 4 * number % (WIDTH - 32)
    y[32:64, left : left + 32] = 230
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 110, np.uint8)
    return Planes(y, chroma, chroma)


class Call:
    """One sender and one receiver."""

    def __init__(
        self, there: Path, back: Path, *, seed: int, target_bytes: int = 200,
        config: JitterConfig | None = None,
    ) -> None:  # fmt: skip
        engine = NullEngine()
        tables = engine.bundle.entropy_tables
        self._encoder = FrameEncoder(
            engine,
            FramePacker(tables, Slicing(target_bytes=target_bytes, dispersed=True)),
            WIDTH,
            HEIGHT,
            description=Description(0, Geometry(WIDTH, HEIGHT)),
        )
        self._decoder = FrameDecoder(engine, engine.bundle, WIDTH, HEIGHT)
        self._packetizer = Packetizer()
        self._depacketizer = Depacketizer()
        self.buffer: JitterBuffer[Payload] = JitterBuffer(config)
        self._there: Netem[Rtp] = Netem(there, seed=seed)
        self._back: Netem[tuple[int, ...]] = Netem(back, seed=seed + 1)
        self._history: OrderedDict[int, Rtp] = OrderedDict()
        self._seq = 65_500
        self.outcome = Outcome()
        self.now_us = 0

    def run(self, n_frames: int) -> Outcome:
        """Send *n_frames* and let everything arrive or be given up."""
        for number in range(n_frames):
            self._advance(until_us=number * FRAME_US)
            self._send(number)
        self._advance(until_us=n_frames * FRAME_US + 2_000_000)
        return self.outcome

    def _send(self, number: int) -> None:
        coded = self._encoder.encode(
            moving_picture(number), qp=20, pts=number * 3000, keyframe=True
        )
        payloads = self._packetizer.packetize(
            [write_packet(packet) for packet in coded.unit.packets],
            timing=FrameTiming(pts=number * 3000, received_us=self.now_us),
            is_keyframe=True,
        )
        for index, payload in enumerate(payloads):
            rtp = Rtp(self._seq & 0xFFFF, number * 3000, index == len(payloads) - 1, payload)
            self._seq += 1
            self._history[rtp.seq] = rtp
            if len(self._history) > HISTORY_PACKETS:
                self._history.popitem(last=False)
            self._there.send(rtp, now_us=self.now_us)
        self.outcome.sent += 1

    def _advance(self, *, until_us: int) -> None:
        while True:
            times = (self._there.deadline_us, self._back.deadline_us, self.buffer.deadline_us)
            next_us = min((at for at in times if at is not None), default=until_us)
            if next_us > until_us:
                break
            self.now_us = max(self.now_us, next_us)
            for seqs in self._back.deliver(now_us=self.now_us):
                for seq in seqs:
                    if seq in self._history:
                        self._there.send(self._history[seq], now_us=self.now_us)
            for rtp in self._there.deliver(now_us=self.now_us):
                self._receive(rtp)
            self.buffer.advance(now_us=self.now_us)
            self._drain()
            if next_us == until_us:
                break
        self.now_us = max(self.now_us, until_us)

    def _receive(self, rtp: Rtp) -> None:
        payload = read_payload(rtp.payload)
        place = (payload.index, payload.count)
        self.buffer.receive(
            Arrival(rtp.seq, rtp.timestamp, rtp.marker, payload, place), now_us=self.now_us
        )
        self.outcome.max_held = max(self.outcome.max_held, self.buffer.n_held)
        self._drain()

    def _drain(self) -> None:
        while (event := self.buffer.next_event()) is not None:
            if isinstance(event, NacksDue):
                self._back.send(event.seqs, now_us=self.now_us)
            elif isinstance(event, FrameReleased):
                frame = self._depacketizer.depacketize(event.items)
                if frame is not None:
                    self._show(frame)

    def _show(self, frame: ReceivedFrame) -> None:
        self.outcome.lost += frame.n_frames_lost_before
        try:
            decoded = self._decoder.decode([read_packet(packet) for packet in frame.packets])
        except BitstreamError:
            self.outcome.broken += 1
            return
        self.outcome.shown.append(
            Shown(
                number=frame.number,
                latency_us=self.now_us - frame.number * FRAME_US,
                is_complete=frame.is_complete,
                psnr_y_db=picture_psnr(moving_picture(frame.number), decoded.planes).y,
            )
        )
