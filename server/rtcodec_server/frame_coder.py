"""
What is done to frames of a batch: planned, cleaned, scaled, run on the engine, once more where
they came out too big, and packed.

    requests --plan, clean, scale--> jobs --engine--> Coded --pack--> CodedFrame

Where and when is `engine_host`'s business: no threads here. One coder encodes on one thread and
packs on one thread, which may be two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtcodec.bitstream.packet import Description, Geometry, state_slot, write_packet
from rtcodec.bundle import Bundle
from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import FrameLabel, FramePacker
from rtcodec.codec.planner import FramePlan
from rtcodec.codec.reference import live_intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import EncodeJob, EncodeOutput, Engine
from rtcodec.errors import EngineError
from rtcodec.media.scale import PlanesScaler
from rtcodec.packet.payload import MAX_PACKET_BYTES
from rtcodec.size_model import Try
from rtcodec.types import LayerId, tile_grid
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.frame_request import CodedFrame, FrameRequest


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A frame as integers."""

    request: FrameRequest
    "With the qp and size that it was coded at."

    plan: FramePlan
    output: EncodeOutput
    times_us: tuple[int, int, int]
    "When it was put into a batch, when the engine started on it, and ended."


class FrameCoder:
    """Codes frames of one model."""

    def __init__(self, engine: Engine, bundle: Bundle, *, is_measured: bool) -> None:
        """
        Args:
            engine: Runs *bundle*.
            bundle: Whose tables the entropy coder uses.
            is_measured: Whether what decoders show is wanted where it costs nothing.
        """
        self._engine = engine
        self._is_measured = is_measured
        self._packer = FramePacker(
            bundle.entropy_tables,
            Slicing(target_bytes=MAX_PACKET_BYTES, dispersed=True),
            delta_tables=bundle.delta_tables,
            spatial_tables=bundle.spatial_tables,
        )
        self._scaler = PlanesScaler()
        self._costs = FrameCosts(bundle.entropy_tables, bundle.delta_tables, bundle.spatial_tables)
        self._model_tag = int.from_bytes(engine.info.model_id[:2], "big")

    def encode(
        self, requests: Sequence[FrameRequest], taken_us: int
    ) -> Iterator[tuple[list[FrameRequest], list[Coded] | Exception]]:
        """
        Code the frames of a batch, those of one padded size together.

        Yields:
            Frames that ran together, and what became of them: whatever the device does, the others
            go on.
        """
        plans = [_plan(request) for request in requests]
        finer = [_finer(*planned) for planned in zip(requests, plans, strict=True)]
        for places in _by_shape(finer):
            alike = [finer[i] for i in places]
            try:
                yield alike, self._encode_alike(alike, [plans[i] for i in places], taken_us)
            except Exception as error:  # as said above
                yield alike, error

    def pack(self, coded: Coded) -> CodedFrame:
        """Turn a frame's integers into packets."""
        request, plan, output = coded.request, coded.plan, coded.output
        planes = request.planes
        label = FrameLabel(
            frame_number=plan.frame_number & 0xFFFF,
            qp=request.qp,
            keyframe=plan.keyframe,
            reference=plan.reference,
            store=plan.store,
            layer=LayerId(request.rung, plan.temporal),
            description=Description(self._model_tag, Geometry(planes.width, planes.height)),
        )
        packets = self._packer.pack(output, label, planes.width, planes.height)
        written = tuple(write_packet(packet) for packet in packets)
        return CodedFrame(
            written,
            *coded.times_us,
            coded_us=monotonic_us(),
            is_measured=self._is_measured,
            tries=(*request.rejected, Try(request.qp, 8 * sum(map(len, written)))),
            is_delta=plan.reference is not None,
            is_keyframe=plan.keyframe,
            frame_number=label.frame_number,
            temporal=plan.temporal,
        )

    def _encode_alike(
        self, requests: list[FrameRequest], plans: Sequence[FramePlan], taken_us: int
    ) -> list[Coded]:
        started_us = monotonic_us()
        scaled = [self._scaled(_cleaned(request)) for request in requests]
        outputs = self._run_engine(scaled, plans)
        self._run_again(scaled, plans, outputs)
        times_us = (taken_us, started_us, monotonic_us())
        return [Coded(*each, times_us) for each in zip(scaled, plans, outputs, strict=True)]

    def _scaled(self, request: FrameRequest) -> FrameRequest:
        if request.size is None:
            return request
        return request._replace(planes=self._scaler.scale(request.planes, *request.size))

    def _run_engine(
        self, requests: Sequence[FrameRequest], plans: Sequence[FramePlan]
    ) -> list[EncodeOutput]:
        jobs = [self._job(*planned) for planned in zip(requests, plans, strict=True)]
        outputs = self._engine.encode(jobs)
        if len(outputs) != len(requests):
            raise EngineError(f"{len(outputs)} outputs for {len(requests)} frames")
        return list(outputs)

    def _job(self, request: FrameRequest, plan: FramePlan) -> EncodeJob:
        # Where a picture is stored it is painted anyway, and measuring costs no decoding. One that
        # is predicted and not stored could not be decoded later: what it stands on may be gone.
        is_painted = plan.store is not None or plan.reference is not None
        return EncodeJob(
            request.state,
            request.planes,
            request.qp,
            reference=_slot(plan.reference),
            store=_slot(plan.store),
            reconstruct=request.on_picture is not None or (is_painted and self._is_measured),
            neural=True,  # the other kind was not tried under loss yet: docs/adr/043
        )

    def _run_again(
        self,
        requests: list[FrameRequest],
        plans: Sequence[FramePlan],
        outputs: list[EncodeOutput],
    ) -> None:
        """Replace, in place, the frames of a batch that came out too big; each once at most."""
        again: dict[int, FrameRequest] = {}
        for place, (request, output) in enumerate(zip(requests, outputs, strict=True)):
            if request.retry is None or monotonic_us() > request.deadline_us:
                continue
            if plans[place].reference is not None and _slot(plans[place].store) == _slot(
                plans[place].reference
            ):
                continue  # what it was predicted from is gone
            tried = Try(request.qp, self._costs.frame_bits(output, request.qp))
            if (qp := request.retry([tried])) is not None:
                again[place] = request._replace(qp=qp, rejected=(tried,))
        if not again:
            return
        better = self._run_engine(list(again.values()), [plans[place] for place in again])
        for (place, request), output in zip(again.items(), better, strict=True):
            requests[place], outputs[place] = request, output


def _plan(request: FrameRequest) -> FramePlan:
    if request.prediction is None:
        temporal = request.frame_number & 1 if request.half_rate else 0
        return FramePlan(request.frame_number, None, None, keyframe=True, temporal=temporal)
    return request.prediction.plan(half_rate=request.half_rate)


def _cleaned(request: FrameRequest) -> FrameRequest:
    if request.denoiser is None:
        return request
    return request._replace(planes=request.denoiser.clean(request.planes))


def _by_shape(requests: Sequence[FrameRequest]) -> list[list[int]]:
    """Return the places of requests of one padded size, in the order of their first."""
    places: dict[tuple[int, int], list[int]] = {}
    for place, request in enumerate(requests):
        size = request.size or (request.planes.width, request.planes.height)
        places.setdefault(tile_grid(*size), []).append(place)
    return list(places.values())


def _finer(request: FrameRequest, plan: FramePlan) -> FrameRequest:
    """Code a frame finer that others will lean on, unless a rate decides on qp."""
    if request.prediction is None or plan.reference is not None or request.retry is not None:
        return request
    return request._replace(qp=live_intra_qp(request.qp, first=plan.frame_number == 0))


def _slot(state: int | None) -> int | None:
    return None if state is None else state_slot(state)
