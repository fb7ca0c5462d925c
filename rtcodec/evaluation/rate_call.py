"""
A stream over a way whose rate changes, on a virtual clock: what congestion control makes of it.

    rate controller -> pacer -> thin place -> jitter buffer -> screen
          ^               ^                        |
          +-- estimate <--+---- feedback, NACK ----+

Frames are sizes, drawn from a model of bits against qp: nothing is coded. Packets, NACK, jitter
buffer, feedback, estimator, pacer and rate controller are the product's own. The same seed gives
the same stream.
"""

import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rtcodec.evaluation.bottleneck import Bottleneck, Lane, RateStep
from rtcodec.packet.arrival_log import ArrivalLog
from rtcodec.packet.bandwidth import BandwidthEstimator, ReceiverEstimator
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterBuffer, NacksDue
from rtcodec.packet.pacer import Pacer
from rtcodec.packet.rate_steering import SteeringConfig
from rtcodec.packet.retransmit import RetransmitGate
from rtcodec.packet.sent_packets import SentPackets
from rtcodec.packet.transport_feedback import (
    TransportFeedback,
    read_transport_feedback,
    write_transport_feedback,
)
from rtcodec.rate_control import FrameKind, RateController
from rtcodec.size_model import Try
from rtcodec.stats import FreezeCounters

FPS: Final = 30
MEDIA_PART: Final = 0.9
"Of the estimate; the rest is for headers and for asking again."

_PAYLOAD_BYTES: Final = 1200
_OVERHEAD_BYTES: Final = 12 + 16 + 10 + 28  # RTP, its extensions, SRTP, UDP and IP
_HISTORY_PACKETS: Final = 1024
_LOCKSTEP_US: Final = 1_000
_FRAME_US: Final = 1_000_000 // FPS
_BITS_AT_32: Final = 16_000.0
_QP_OCTAVE: Final = 6.5
_NOISE: Final = 0.2
_LEAST_PART: Final = 1 / 8


@dataclass(frozen=True, slots=True)
class _Packet:
    seq: int
    frame: int
    index: int
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _OnWire:
    packet: _Packet
    transport_seq: int
    sent_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One second of a stream."""

    way_bps: int
    estimate_bps: int
    target_bps: int
    sent_bps: int
    "Of packets with their headers, retransmissions included."

    arrived_bps: int
    latency_ms: float | None
    "Longest from capture to the last packet of a frame; None if none came whole."


@dataclass(slots=True)
class StreamOutcome:
    """What became of a stream."""

    seconds: list[Second] = field(default_factory=list)
    frames: int = 0
    whole: int = 0
    latencies_us: list[tuple[int, int]] = field(default_factory=list)
    "(capture, time to the last packet) of every frame that came whole."

    freezes: FreezeCounters = field(default_factory=FreezeCounters)
    feedback_bytes: int = 0
    packets: int = 0
    lost: int = 0


class Steered:
    """Which control a stream is under."""

    OFF: Final = "off"
    REMB: Final = "remb"
    TWCC: Final = "twcc"
    TWCC_UNPACED: Final = "twcc, no pacer"


class RateCall:
    """One stream; `run` makes it."""

    def __init__(
        self,
        steps: Sequence[RateStep],
        *,
        mode: str,
        target_bps: int,
        delay_us: int = 25_000,
        jitter_us: int = 2_000,
        loss: float = 0.0,
        queue_us: int = 300_000,
        seed: int = 1,
        config: SteeringConfig | None = None,
        start_us: int = 0,
        lane: "Lane[_OnWire] | None" = None,
    ) -> None:
        """
        Args:
            steps: What the way carries.
            mode: One of `Steered`.
            target_bps: The operator's.
            delay_us: One way.
            jitter_us: As in `Bottleneck`.
            loss: See there.
            queue_us: See there.
            seed: Of frames and network.
            config: Of the estimator.
            start_us: When the first frame is taken.
            lane: To share the thin place with others; then *steps*, *loss* and *queue_us* are
                without effect.
        """
        self.mode = mode
        self.outcome = StreamOutcome()
        self._random = random.Random(seed)
        self._start_us = start_us
        self._delay_us = delay_us
        self._gate = RetransmitGate()
        self._way: Bottleneck[_OnWire] | Lane[_OnWire] = lane or Bottleneck(
            steps, delay_us=delay_us, jitter_us=jitter_us, loss=loss, queue_us=queue_us, seed=seed
        )
        self._back: Bottleneck[object] = Bottleneck(
            [RateStep(at_us=0, bps=10**9)], delay_us=delay_us, jitter_us=jitter_us, seed=seed + 1
        )
        self._most_bps = target_bps
        self._control = RateController(float(target_bps), FPS)
        self._estimator = BandwidthEstimator(config)
        self._receiver = ReceiverEstimator(config)
        self._remb_bps: int | None = None
        self._log = ArrivalLog()
        self._sent = SentPackets()
        self._pacer: Pacer[_Packet] = Pacer()
        self._buffer: JitterBuffer[_Packet] = JitterBuffer()
        self._history: OrderedDict[int, _Packet] = OrderedDict()
        self._captured_us: dict[int, int] = {}
        self._seq = 0
        self._sent_bytes = 0
        self._arrived_bytes = 0
        self._longest_us: int | None = None
        self.now_us = 0

    def run(self, seconds: int) -> StreamOutcome:
        """Send for so long and say how it was."""
        for _ in self.frames(seconds):
            pass
        return self.outcome

    def frames(self, seconds: int) -> Iterator[int]:
        """Do the same frame by frame, as several streams need it: yield the time of each."""
        for number in range(seconds * FPS):
            at_us = self._start_us + number * _FRAME_US
            yield at_us
            self.advance(until_us=at_us)
            self._capture(number)
            if number % FPS == FPS - 1:
                self._close_second()
        self.outcome.freezes.end(now_us=self.now_us)
        self.outcome.lost = self._way.n_lost

    @property
    def estimate_bps(self) -> int | None:
        """What the sender knows of the way."""
        if self.mode == Steered.REMB:
            return self._remb_bps
        if self.mode == Steered.OFF or self._estimator.heard_us is None:
            return None
        return self._estimator.bps

    # ---- the sender

    def _capture(self, number: int) -> None:
        estimate_bps = self.estimate_bps
        if estimate_bps is not None:
            wanted = max(MEDIA_PART * estimate_bps, _LEAST_PART * self._most_bps)
            self._control.set_target(min(wanted, self._most_bps))
        size = self._encode(number)
        self._captured_us[number] = self.now_us
        count = -(-size // _PAYLOAD_BYTES)
        packets = []
        for index in range(count):
            n_bytes = min(size - index * _PAYLOAD_BYTES, _PAYLOAD_BYTES) + _OVERHEAD_BYTES
            packet = _Packet(self._seq & 0xFFFF, number, index, count, n_bytes)
            self._seq += 1
            self._history[packet.seq] = packet
            packets.append(packet)
            self._gate.note_sent(n_bytes)
        while len(self._history) > _HISTORY_PACKETS:
            self._history.popitem(last=False)
        self.outcome.frames += 1
        if self.mode == Steered.TWCC:
            self._pacer.estimate_bps = estimate_bps
            sized = [(packet, packet.size_bytes) for packet in packets]
            self._pacer.add_frame(sized, interval_us=_FRAME_US, now_us=self.now_us)
            packets = self._pacer.take(now_us=self.now_us)
        for packet in packets:
            self._transmit(packet)

    def _encode(self, number: int) -> int:
        """Return the bytes of a frame: what the controller settles on, of a noisy source."""
        kind = FrameKind.DELTA if number else FrameKind.KEY
        plan = self._control.plan(kind, 1 / FPS if number else 0.0)
        scene = _BITS_AT_32 * (1 if number else 8) * self._random.lognormvariate(0, _NOISE)
        tries = [Try(plan.qp, _bits(scene, plan.qp))]
        while tries[-1].n_bits > plan.max_bits:
            qp = self._control.retry(plan, tries)
            if qp is None:
                break
            tries.append(Try(qp, _bits(scene, qp)))
        self._control.frame_done(plan, tries, kind=kind)
        return max(1, tries[-1].n_bits // 8)

    def _transmit(self, packet: _Packet) -> None:
        seq = self._sent.send(packet.size_bytes, now_us=self.now_us)
        self._sent_bytes += packet.size_bytes
        self.outcome.packets += 1
        wire = _OnWire(packet, seq, self.now_us)
        self._way.send(wire, packet.size_bytes, now_us=self.now_us)

    def _hear(self, message: object) -> None:
        if isinstance(message, TransportFeedback):
            self._estimator.feedback(self._sent.acknowledge(message), now_us=self.now_us)
        elif isinstance(message, int):
            self._remb_bps = message
        elif isinstance(message, tuple):
            for seq in message:
                if (packet := self._history.get(seq)) is None or not self._gate.may(
                    seq, packet.size_bytes, rtt_us=2 * self._delay_us, now_us=self.now_us
                ):
                    continue
                if self.mode == Steered.TWCC:
                    self._pacer.add_again(packet, packet.size_bytes, now_us=self.now_us)
                else:
                    self._transmit(packet)

    # ---- the receiver

    def _receive(self, wire: _OnWire) -> None:
        packet, now_us = wire.packet, self.now_us
        self._arrived_bytes += packet.size_bytes
        if self.mode == Steered.REMB:
            send_time = (wire.sent_us << 18) // 1_000_000 & 0xFFFFFF
            bps = self._receiver.add(send_time, packet.size_bytes, now_us=now_us)
            if bps is not None:
                self._back.send(bps, 60, now_us=now_us)
        elif self.mode != Steered.OFF:
            self._log.receive(wire.transport_seq, now_us=now_us)
        place = (packet.index, packet.count)
        arrival = Arrival(packet.seq, packet.frame * 3000, False, packet, place)
        self._buffer.receive(arrival, now_us=now_us)

    def _answer(self) -> None:
        now_us = self.now_us
        while (event := self._buffer.next_event()) is not None:
            if isinstance(event, NacksDue):
                self._back.send(event.seqs, 60, now_us=now_us)
            elif isinstance(event, FrameReleased) and event.is_complete:
                self._show(event.items[0].frame)
        for feedback in self._log.take_due(now_us=now_us):
            data = write_transport_feedback(feedback)
            self.outcome.feedback_bytes += len(data) + 12 + _OVERHEAD_BYTES
            self._back.send(read_transport_feedback(data), len(data), now_us=now_us)

    def _show(self, frame: int) -> None:
        captured_us = self._captured_us.pop(frame)
        latency_us = self.now_us - captured_us
        self.outcome.whole += 1
        self.outcome.latencies_us.append((captured_us, latency_us))
        self.outcome.freezes.shown(now_us=self.now_us)
        self._longest_us = max(latency_us, self._longest_us or 0)

    # ---- time

    def advance(self, *, until_us: int) -> None:
        """Let everything happen that happens up to a time."""
        while True:
            parts = (self._way, self._back, self._buffer, self._log, self._pacer)
            deadlines = [at for at in (part.deadline_us for part in parts) if at is not None]
            next_us = min(deadlines, default=until_us + 1)
            if next_us > until_us:
                break
            self.now_us = max(self.now_us, next_us)
            for message in self._back.deliver(now_us=self.now_us):
                self._hear(message)
            for packet in self._pacer.take(now_us=self.now_us):
                self._transmit(packet)
            for wire in self._way.deliver(now_us=self.now_us):
                self._receive(wire)
            self._buffer.advance(now_us=self.now_us)
            self._answer()
        self.now_us = max(self.now_us, until_us)

    def _close_second(self) -> None:
        longest_us, self._longest_us = self._longest_us, None
        self.outcome.seconds.append(
            Second(
                way_bps=self._way.rate_bps(self.now_us),
                estimate_bps=self.estimate_bps or 0,
                target_bps=int(self._control.target_bps),
                sent_bps=8 * self._sent_bytes,
                arrived_bps=8 * self._arrived_bytes,
                latency_ms=None if longest_us is None else longest_us / 1000,
            )
        )
        self._sent_bytes = self._arrived_bytes = 0


def _bits(at_32: float, qp: int) -> int:
    return int(at_32 * 2 ** ((32 - qp) / _QP_OCTAVE))


def share(calls: Sequence[RateCall], seconds: int) -> None:
    """Run streams that share a thin place at the same time, each for so long."""
    running = {index: call.frames(seconds) for index, call in enumerate(calls)}
    due = [(next(frames), index) for index, frames in running.items()]
    now_us = 0
    while due:
        at_us, index = min(due)
        due.remove((at_us, index))
        while now_us < at_us:  # together: nobody sends into the past of another
            now_us = min(now_us + _LOCKSTEP_US, at_us)
            for call in calls:
                call.advance(until_us=now_us)
        following = next(running[index], None)
        if following is not None:
            due.append((following, index))
