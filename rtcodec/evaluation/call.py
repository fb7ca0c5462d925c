"""
A one-way video call over a lossy network, on a virtual clock.

    clip -> sender -> RTP payloads -> network -> jitter buffer -> receiver -> screen, at frame rate
              ^                          ^             |             |
              +-- reports, key frame requests ---------+-------------+
                                    retransmissions on NACK

Sender and receiver are any codec that fits `CallCodec`; packets, NACK, RTX and the jitter buffer
are the product's own, the same for all. Coding takes no time here. The same seed gives the same
call.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rtcodec.codec.damage import Shown
from rtcodec.evaluation.call_outcome import CallOutcome, Screen
from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.network import Network, Way
from rtcodec.packet.depacketizer import Depacketizer, ReceivedFrame
from rtcodec.packet.jitter_buffer import (
    Arrival,
    FrameReleased,
    JitterBuffer,
    JitterConfig,
    NacksDue,
)
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.parity import ParityBuffer, make_parities, read_parity, write_parity
from rtcodec.packet.payload import FrameTiming, Payload, read_payload
from rtcodec.timebase import US_PER_S
from rtcodec.types import Planes

RTP_HEADER_BYTES = 12
_HISTORY_PACKETS = 2048
_NACK_BYTES = 12  # RFC 4585 6.2.1, one entry of four more for each


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """One frame as a sender gives it to the network."""

    packets: Sequence[bytes]
    "Each is of use without the others; larger ones than a payload are fragmented."

    is_keyframe: bool


@dataclass(frozen=True, slots=True, eq=False)
class SeenFrame:
    """What a receiver made of one frame."""

    planes: Planes | None
    "None leaves the last picture on the screen."

    shown: Shown


class CallSender(Protocol):
    """The sending half of a codec."""

    def encode(self, planes: Planes, *, now_us: int) -> CodedFrame:
        """Code the next frame."""

    def hear(self, message: bytes, *, now_us: int) -> None:
        """Take a message of the receiver."""


class CallReceiver(Protocol):
    """The receiving half of a codec."""

    @property
    def deadline_us(self) -> int | None:
        """When `say` next has something, or None."""

    def decode(self, frame: ReceivedFrame, *, now_us: int) -> SeenFrame:
        """Decode what came of a frame; those lost before it are counted in it."""

    def say(self, *, now_us: int) -> bytes | None:
        """Return a message to the sender that is due, or None."""


class CallCodec(Protocol):
    """A codec that calls can be made with."""

    @property
    def name(self) -> str:
        """In tables."""

    @property
    def settings(self) -> Sequence[float]:
        """What may be chosen, from coarse to fine."""

    @property
    def parity_every(self) -> int | None:
        """How many payloads of a frame one parity is sent for; None sends none."""

    def patience_us(self, network: Network) -> int:
        """Return how long a gap is waited for: for retransmissions, or not at all."""

    def open(self, clip: Clip, setting: float, network: Network) -> tuple[CallSender, CallReceiver]:
        """Start a call."""


@dataclass(frozen=True, slots=True)
class _Rtp:
    seq: int
    timestamp: int
    marker: bool
    payload: bytes
    is_parity: bool = False


class Call:
    """One call; `run` makes it."""

    def __init__(
        self,
        codec: CallCodec,
        clip: Clip,
        setting: float,
        network: Network,
        *,
        seed: int,
        playout_us: int = 33_334,
    ) -> None:
        """
        Args:
            codec: What is measured.
            clip: Shown once, at its frame rate.
            setting: Of the codec.
            network: Both ways.
            seed: Of the network.
            playout_us: From the earliest time that a frame can arrive to when it is due on the
                screen.
        """
        self._clip = clip
        self._sender, self._receiver = codec.open(clip, setting, network)
        self._buffer: JitterBuffer[Payload] = JitterBuffer(
            JitterConfig(patience_us=codec.patience_us(network))
        )
        self._there: Way[_Rtp] = Way(network, seed=2 * seed)
        self._back: Way[bytes | tuple[int, ...]] = Way(network, seed=2 * seed + 1)
        self._due_us = network.delay_us + playout_us  # after capture
        self._parity_every = codec.parity_every
        self._parities = ParityBuffer()
        self._packetizer = Packetizer()
        self._depacketizer = Depacketizer()
        self._history: OrderedDict[int, _Rtp] = OrderedDict()
        self._seq = 65_000
        self.outcome = CallOutcome(seconds=float(clip.seconds))
        self._screen = Screen(clip, self.outcome)

    def run(self) -> CallOutcome:
        """Make the call and say how it was."""
        n_frames = len(self._clip.frames)
        times = [(self._at_us(n), 1, n) for n in range(n_frames)]
        times += [(self._at_us(n) + self._due_us, 0, n) for n in range(n_frames)]
        for at_us, is_capture, number in sorted(times):
            self._advance(until_us=at_us)
            if is_capture:
                self._capture(number, now_us=at_us)
            else:
                self._screen.tick(number, now_us=at_us)
        self._screen.close()
        return self.outcome

    def _at_us(self, number: int) -> int:
        return int(number * US_PER_S / self._clip.frame_rate)

    def _capture(self, number: int, *, now_us: int) -> None:
        coded = self._sender.encode(self._clip.frames[number], now_us=now_us)
        timestamp = now_us * 9 // 100
        payloads = self._packetizer.packetize(
            coded.packets,
            timing=FrameTiming(pts=timestamp, received_us=now_us),
            is_keyframe=coded.is_keyframe,
        )
        self.outcome.keyframes += coded.is_keyframe
        for index, payload in enumerate(payloads):
            rtp = _Rtp(self._seq & 0xFFFF, timestamp, index == len(payloads) - 1, payload)
            self._seq += 1
            self._history[rtp.seq] = rtp
            if len(self._history) > _HISTORY_PACKETS:
                self._history.popitem(last=False)
            self._send(rtp, now_us=now_us)
        if self._parity_every is not None:
            groups = -(-len(payloads) // self._parity_every)
            first_seq = (self._seq - len(payloads)) & 0xFFFF
            for parity in make_parities(payloads, first_seq, groups):
                rtp = _Rtp(0, timestamp, False, write_parity(parity), is_parity=True)
                self._send(rtp, now_us=now_us)

    def _send(self, rtp: _Rtp, *, now_us: int, again: bool = False) -> None:
        size = len(rtp.payload) + RTP_HEADER_BYTES
        self.outcome.sent_bytes += size
        self.outcome.resent_bytes += size * again
        self._there.send(rtp, now_us=now_us)

    def _advance(self, *, until_us: int) -> None:
        """Let everything happen that happens up to a time."""
        while True:
            parts = (self._there, self._back, self._buffer, self._receiver)
            deadlines = [at for at in (part.deadline_us for part in parts) if at is not None]
            now_us = min(deadlines, default=until_us + 1)
            if now_us > until_us:
                return
            for message in self._back.deliver(now_us=now_us):
                self._hear(message, now_us=now_us)
            for rtp in self._there.deliver(now_us=now_us):
                self._receive(rtp, now_us=now_us)
            self._buffer.advance(now_us=now_us)
            self._drain(now_us=now_us)
            while (said := self._receiver.say(now_us=now_us)) is not None:
                self.outcome.back_bytes += len(said)
                self._back.send(said, now_us=now_us)

    def _hear(self, message: bytes | tuple[int, ...], *, now_us: int) -> None:
        if isinstance(message, bytes):
            self._sender.hear(message, now_us=now_us)
            return
        for seq in message:
            if (rtp := self._history.get(seq)) is not None:
                self._send(rtp, now_us=now_us, again=True)

    def _receive(self, rtp: _Rtp, *, now_us: int) -> None:
        if self._parity_every is None:
            self._take(rtp, now_us=now_us)
            return
        if rtp.is_parity:
            rebuilt = self._parities.add_parity(read_parity(rtp.payload))
        else:
            self._take(rtp, now_us=now_us)
            rebuilt = self._parities.add_payload(rtp.seq, rtp.payload)
        if rebuilt is not None:
            seq, data = rebuilt
            payload = read_payload(data)
            is_last = payload.index == payload.count - 1
            self._take(_Rtp(seq, rtp.timestamp, is_last, data), now_us=now_us)

    def _take(self, rtp: _Rtp, *, now_us: int) -> None:
        payload = read_payload(rtp.payload)
        place = (payload.index, payload.count)
        arrival = Arrival(rtp.seq, rtp.timestamp, rtp.marker, payload, place)
        self._buffer.receive(arrival, now_us=now_us)
        self._drain(now_us=now_us)

    def _drain(self, *, now_us: int) -> None:
        while (event := self._buffer.next_event()) is not None:
            if isinstance(event, NacksDue):
                self.outcome.back_bytes += _NACK_BYTES + 4 * len(event.seqs)
                self._back.send(event.seqs, now_us=now_us)
            elif isinstance(event, FrameReleased):
                frame = self._depacketizer.depacketize(event.items)
                if frame is not None:
                    seen = self._receiver.decode(frame, now_us=now_us)
                    self.outcome.frames_lost += frame.n_frames_lost_before
                    self.outcome.frames_damaged += not seen.shown.is_clean
                    self._screen.show(frame.number, seen.planes, seen.shown)


def ping_pong(clip: Clip, n_frames: int) -> Clip:
    """Return a clip of *n_frames*, played forwards and backwards as often as it takes."""
    once = clip.frames
    order = [*range(len(once)), *range(len(once) - 2, 0, -1)] or [0]
    frames = tuple(once[order[int(n)]] for n in np.arange(n_frames) % len(order))
    return Clip(clip.name, clip.kind, frames, clip.frame_rate)
