"""An engine that does as told, behind the relay's host of engines, and what came back."""

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.null import NullEngine
from rtcodec.errors import EngineError
from rtcodec.quality import PlanePsnr
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_request import CodedFrame, FrameRequest, Retry
from rtcodec_server.measure import MeasureGate

FAR_US = 60_000_000


def grey_planes(width: int, height: int) -> Planes:
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return Planes(np.full((height, width), 128, np.uint8), chroma, chroma)


class ScriptedEngine(NullEngine):
    """A null engine that waits, fails or remembers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False
        self.forgets = 0
        self.batches: list[int] = []
        self.jobs: list[EncodeJob] = []
        self.is_running = False
        self.is_closed = False
        self.n_open = 0

    def open_state(self, width: int, height: int) -> StateId:
        self.n_open += 1
        return super().open_state(width, height)

    def close_state(self, state: StateId) -> None:
        self.n_open -= 1
        super().close_state(state)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        self.is_running = True
        assert self.gate.wait(10)
        if self.fails:
            raise EngineError("the device is on fire")
        self.batches.append(len(jobs))
        self.jobs += jobs
        return super().encode(jobs)[self.forgets :]

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        if self.fails:
            raise EngineError("the device is on fire")
        return super().decode(jobs)

    def close(self) -> None:
        self.is_closed = True
        super().close()


@dataclass
class Results:
    """What came back."""

    coded: list[CodedFrame] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    psnr: list[PlanePsnr | None] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.coded) + len(self.dropped)


class Bench:
    """A host, its engine and what came back."""

    def __init__(self, engine: ScriptedEngine, host: EngineHost) -> None:
        self.engine = engine
        self.host = host
        self.results = Results()
        self.states: dict[int, StateId] = {}

    async def open(self, *streams: int) -> None:
        for stream in streams:
            self.states[stream] = await self.host.open_state(64, 48)

    def submit(
        self,
        stream: int,
        *,
        number: int = 0,
        in_us: int = FAR_US,
        before_send: Callable[[int], None] = lambda number: None,
        retry: Retry | None = None,
    ) -> None:
        self.host.submit(
            FrameRequest(
                stream=stream,
                state=self.states[stream],
                planes=grey_planes(64, 48),
                qp=10,
                deadline_us=monotonic_us() + in_us,
                on_coded=self.results.coded.append,
                on_dropped=self.results.dropped.append,
                on_psnr=self.results.psnr.append,
                frame_number=number,
                before_send=before_send,
                retry=retry,
            )
        )


@asynccontextmanager
async def bench(psnr: str = "off", max_batch: int = 4, lanes: int = 1) -> AsyncIterator[Bench]:
    engine = ScriptedEngine()
    engine.info = replace(engine.info, lanes=lanes)
    host = EngineHost(engine, engine.bundle, max_batch=max_batch, gate=MeasureGate(psnr))
    try:
        yield Bench(engine, host)
    finally:
        engine.gate.set()
        await host.close()
        assert engine.is_closed
