"""
Our own codec in a call: dispersed slices, concealment, and recovery by choice of reference.

A short way is waited for; on a long one what is missing is made up at once, and the report of it is
what mends the chain. Key frames are for the start and for when nothing else is held.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rtcodec.bitstream.packet import (
    Description,
    Extension,
    Geometry,
    Packet,
    read_packet,
    state_slot,
    write_packet,
)
from rtcodec.bundle import Bundle
from rtcodec.codec.conceal import conceal_tiles
from rtcodec.codec.damage import DamageTracker
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameLabel, FramePacker
from rtcodec.codec.planner import ReferencePlanner, ReferencePolicy
from rtcodec.codec.reference import live_intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import EncodeJob, Engine
from rtcodec.errors import BitstreamError
from rtcodec.evaluation.call import CallReceiver, CallSender, CodedFrame, SeenFrame
from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.network import Network
from rtcodec.packet.depacketizer import ReceivedFrame
from rtcodec.packet.feedback import FrameReporter, read_report, write_report
from rtcodec.packet.payload import MAX_PACKET_BYTES
from rtcodec.types import Planes

_PATIENCE_US = 100_000
_IMPATIENCE_US = 10_000
_RECEIVER = "receiver"


class LatentCall:
    """One model on one engine."""

    settings: Sequence[float] = tuple(range(63, -1, -1))

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        name: str | None = None,
        target_bytes: int = MAX_PACKET_BYTES,
        patience_us: int | None = None,
        policy: ReferencePolicy | None = None,
        parity_every: int | None = None,
    ) -> None:
        """
        Args:
            bundle: The model.
            engine: Runs it; kept by the caller.
            name: In tables; that of the bundle by default.
            target_bytes: Size that packets keep under.
            patience_us: How long a gap is waited for; by the round trip if not given.
            policy: Of the choice of references.
            parity_every: As in `CallCodec`.
        """
        self.name = name or bundle.name
        self.bundle = bundle
        self.engine = engine
        self._slicing = Slicing(target_bytes=target_bytes, dispersed=True)
        self.policy = policy
        self.parity_every = parity_every
        self._patience_us = patience_us

    def patience_us(self, network: Network) -> int:
        """Wait for a retransmission where it comes in time and later frames need it."""
        if self._patience_us is not None:
            return self._patience_us
        is_in_time = network.rtt_us * 5 // 4 < _PATIENCE_US and self.engine.info.references
        return _PATIENCE_US if is_in_time else _IMPATIENCE_US

    def open(self, clip: Clip, setting: float, network: Network) -> tuple[CallSender, CallReceiver]:
        """Start a call."""
        packer = FramePacker(
            self.bundle.entropy_tables,
            self._slicing,
            delta_tables=self.bundle.delta_tables,
            spatial_tables=self.bundle.spatial_tables,
        )
        sender = _LatentSender(self, packer, clip, int(setting))
        return sender, _LatentReceiver(self, clip)


class _LatentSender:
    def __init__(self, codec: LatentCall, packer: FramePacker, clip: Clip, qp: int) -> None:
        self._engine = codec.engine
        self._packer = packer
        self._size = (clip.width, clip.height)
        self._description = Description(
            int.from_bytes(codec.bundle.model_id[:2], "big"), Geometry(*self._size)
        )
        self._qp = qp
        self._state = codec.engine.open_state(*self._size)
        self._planner = ReferencePlanner(codec.engine.info.references, codec.policy)
        self._planner.join(_RECEIVER)

    def encode(self, planes: Planes, *, now_us: int) -> CodedFrame:
        plan = self._planner.plan()
        leans = self._engine.info.references > 0
        qp = self._qp
        if leans and plan.reference is None:
            qp = live_intra_qp(qp, first=plan.frame_number == 0)
        slots = _slot(plan.reference), _slot(plan.store)
        job = EncodeJob(self._state, planes, qp, *slots, neural=True)
        label = FrameLabel(
            frame_number=plan.frame_number & 0xFFFF,
            qp=qp,
            keyframe=plan.keyframe,
            reference=plan.reference,
            store=plan.store,
            description=self._description,
        )
        packets = self._packer.pack(self._engine.encode([job])[0], label, *self._size)
        self._planner.sent(plan)
        return CodedFrame([write_packet(packet) for packet in packets], plan.keyframe)

    def hear(self, message: bytes, *, now_us: int) -> None:
        self._planner.report(_RECEIVER, read_report(message))


class _LatentReceiver:
    def __init__(self, codec: LatentCall, clip: Clip) -> None:
        self._decoder = FrameDecoder(
            codec.engine,
            codec.bundle,
            clip.width,
            clip.height,
            references=codec.engine.info.references,
        )
        self._reporter = FrameReporter()
        self._damage = DamageTracker()
        self._last: Planes | None = None

    @property
    def deadline_us(self) -> int | None:
        return self._reporter.deadline_us

    def decode(self, frame: ReceivedFrame, *, now_us: int) -> SeenFrame:
        packets = [read_packet(packet) for packet in frame.packets]
        try:
            decoded = self._decoder.decode(packets)
        except BitstreamError:
            return self._nothing(frame, packets, now_us=now_us)
        header, present = decoded.frame.header, decoded.frame.present
        concealed = 1.0 - float(np.mean(present))
        is_held = decoded.whole
        self._reporter.decided(
            header.frame_number, is_held=is_held, concealed=concealed, now_us=now_us
        )
        shown = self._damage.decoded(
            header.frame_number,
            concealed=concealed,
            is_reference_held=decoded.trusted,
            keyframe=header.keyframe,
            reference=header.reference,
            store=header.store,
        )
        planes = decoded.planes
        if self._last is not None and not is_held and header.reference is None:
            planes = conceal_tiles(planes, present, self._last)
        self._last = planes
        return SeenFrame(planes, shown)

    def say(self, *, now_us: int) -> bytes | None:
        report = self._reporter.take_due(now_us=now_us)
        return None if report is None else write_report(report)

    def _nothing(
        self, frame: ReceivedFrame, packets: Sequence[Packet | Extension], *, now_us: int
    ) -> SeenFrame:
        """Leave the last picture: the frame cannot be painted, or nothing of it came."""
        # one whose packets are all lost is numbered as it was delivered: one frame each
        numbers = [p.header.frame_number for p in packets if isinstance(p, Packet)]
        number = numbers[0] if numbers else frame.number & 0xFFFF
        self._reporter.decided(number, is_held=False, concealed=1.0, now_us=now_us)
        return SeenFrame(None, self._damage.lost(number))


def _slot(state: int | None) -> int | None:
    return None if state is None else state_slot(state)


def pretend_references(engine: Engine, references: int) -> Engine:
    """
    Let an engine that codes every frame alone say that it keeps references.

    For simulations: headers then name references, and decoders refuse what they miss, as with a
    model that predicts.
    """
    engine.info = replace(engine.info, references=references)
    return engine
