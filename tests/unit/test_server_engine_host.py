"""The engine's threads: every frame comes back once, whatever the engine does."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.capacity import Capacity, TileCosts
from rtcodec.engine.null import NullEngine
from rtcodec.errors import EngineError
from rtcodec.packet.payload import MAX_PACKET_BYTES
from rtcodec.quality import PlanePsnr
from rtcodec.size_model import Try
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_request import CodedFrame, FrameRequest, Retry
from rtcodec_server.measure import MeasureGate
from rtcodec_server.warming import warm
from support.relay import until

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


async def test_a_frame_comes_back_as_packets_that_say_what_they_are() -> None:
    async with bench() as b:
        await b.open(1)
        b.submit(1, number=65535)
        await until(lambda: b.results.count == 1)
        (coded,) = b.results.coded
        assert coded.taken_us <= coded.started_us <= coded.engine_us <= coded.coded_us
        assert coded.size_bytes == sum(map(len, coded.packets))
        assert all(len(packet) <= MAX_PACKET_BYTES for packet in coded.packets)
        packet = read_packet(coded.packets[0])
        assert isinstance(packet, Packet)
        assert packet.header.frame_number == 65535
        assert packet.header.description is not None
        assert packet.header.description.model_tag == int.from_bytes(
            b.host.info.model_id[:2], "big"
        )
        assert not coded.is_measured


async def test_a_newer_frame_replaces_the_one_that_waits() -> None:
    async with bench() as b:
        await b.open(1)
        b.engine.gate.clear()
        b.submit(1, number=0)
        await until(lambda: b.engine.is_running)
        for number in (1, 2, 3):
            b.submit(1, number=number)
        b.engine.gate.set()
        await until(lambda: b.results.count == 4)
        assert b.results.dropped == ["superseded", "superseded"]
        assert len(b.results.coded) == 2


async def test_frames_of_several_streams_run_together_while_the_engine_is_busy() -> None:
    async with bench() as b:
        await b.open(1, 2, 3, 4)
        b.engine.gate.clear()
        b.submit(1)
        await until(lambda: b.engine.is_running)
        for stream in (2, 3, 4):
            b.submit(stream)
        b.engine.gate.set()
        await until(lambda: b.results.count == 4)
        assert b.engine.batches == [1, 3]
        assert b.host.batch_size.count == 2


async def test_a_frame_that_came_out_too_big_runs_once_more_at_another_qp() -> None:
    seen: list[Try] = []

    def coarser(tries: Sequence[Try]) -> int:
        seen.extend(tries)
        return 50

    async with bench(psnr="all") as b:
        await b.open(1)
        b.submit(1, retry=coarser)
        await until(lambda: len(b.results.psnr) == 1)
        (coded,) = b.results.coded
        assert b.engine.batches == [1, 1]
        assert [tried.qp for tried in seen] == [10]
        assert coded.tries == (seen[0], Try(50, 8 * coded.size_bytes))
        packet = read_packet(coded.packets[0])
        assert isinstance(packet, Packet)
        assert packet.header.qp == 50
        assert not coded.is_delta
        (psnr,) = b.results.psnr
        assert psnr is not None


async def test_only_frames_that_came_out_too_big_run_again() -> None:
    async with bench() as b:
        await b.open(1, 2, 3)
        b.engine.gate.clear()
        b.submit(1)
        await until(lambda: b.engine.is_running)
        b.submit(2, retry=lambda tries: 20)
        b.submit(3, retry=lambda tries: None)
        b.engine.gate.set()
        await until(lambda: b.results.count == 3)
        assert b.engine.batches == [1, 2, 1]
        assert sorted(coded.tries[-1].qp for coded in b.results.coded) == [10, 10, 20]


async def test_a_frame_past_its_deadline_does_not_run_again() -> None:
    async with bench() as b:
        await b.open(1)
        b.engine.gate.clear()
        b.submit(1, in_us=50_000, retry=lambda tries: 20)
        await until(lambda: b.engine.is_running)
        await asyncio.sleep(0.06)
        b.engine.gate.set()
        await until(lambda: b.results.count == 1)
        assert b.engine.batches == [1]


async def test_an_engine_that_forgets_a_frame_has_failed() -> None:
    async with bench() as b:
        await b.open(1)
        b.engine.forgets = 1
        b.submit(1)
        await until(lambda: b.results.count == 1)
        assert b.results.dropped == ["engine_error"]
        assert b.host.failures == 1


async def test_a_frame_that_waited_too_long_is_dropped_as_late() -> None:
    async with bench() as b:
        await b.open(1, 2)
        b.engine.gate.clear()
        b.submit(1)
        await until(lambda: b.engine.is_running)
        b.submit(2, in_us=1_000)
        await asyncio.sleep(0.01)
        b.engine.gate.set()
        await until(lambda: b.results.count == 2)
        assert b.results.dropped == ["late"]


async def test_an_engine_that_fails_costs_its_frames_and_the_relay_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench(psnr="all") as b:
        await b.open(1)
        b.engine.fails = True
        for _ in range(3):
            b.submit(1)
            n_before = b.results.count
            await until(lambda: b.results.count > n_before)  # noqa: B023 - awaited here
        assert set(b.results.dropped) == {"engine_error"}
        assert b.host.failures == 3
        b.engine.fails = False
        b.submit(1)
        await until(lambda: len(b.results.coded) == 1)
    assert [record.getMessage() for record in caplog.records] == [
        "engine failure 1: the device is on fire",
        "engine failure 2: the device is on fire",
    ]


async def test_a_frame_that_cannot_be_packed_costs_only_itself() -> None:
    def fail(number: int) -> None:
        raise OSError("no space left")

    async with bench() as b:
        await b.open(1)
        b.submit(1, before_send=fail)
        await until(lambda: b.results.count == 1)
        b.submit(1)
        await until(lambda: b.results.count == 2)
        assert b.results.dropped == ["engine_error"]


async def test_every_coded_frame_is_measured_or_said_not_to_be() -> None:
    async with bench(psnr="auto") as b:
        await b.open(1)
        for number in range(10):
            b.submit(1, number=number)
            await until(lambda: b.results.count > number)  # noqa: B023 - awaited here
        b.host.close_stream(1)
        await until(lambda: len(b.results.psnr) == 10)
        measured = [psnr for psnr in b.results.psnr if psnr is not None]
        assert measured
        assert measured[0].y == 100.0  # grey is exact
        assert all(coded.is_measured for coded in b.results.coded)


async def test_a_measurement_that_fails_is_said_not_to_be_done() -> None:
    async with bench(psnr="all") as b:
        await b.open(1)
        b.engine.gate.clear()
        b.submit(1)
        await until(lambda: b.engine.is_running)
        b.engine.gate.set()
        b.engine.decode = fail_to_decode  # type: ignore[method-assign]
        await until(lambda: b.results.psnr == [None])
        assert b.host.failures == 1


async def test_a_stream_that_ends_while_it_is_measured_is_no_failure() -> None:
    async with bench(psnr="all") as b:
        started, go_on = threading.Event(), threading.Event()

        def decode(jobs: Sequence[DecodeJob]) -> list[Planes]:
            started.set()
            assert go_on.wait(10)
            raise EngineError("the state is not open")

        b.engine.decode = decode  # type: ignore[method-assign]
        await b.open(1)
        b.submit(1)
        await until(started.is_set)
        b.host.close_stream(1)
        await b.host.close_state(b.states[1])
        go_on.set()
        await until(lambda: b.results.psnr == [None])
        assert b.host.failures == 0


def fail_to_decode(jobs: Sequence[DecodeJob]) -> list[Planes]:
    raise EngineError("no")


async def test_closing_gives_back_what_waits_and_finishes_what_runs() -> None:
    engine = ScriptedEngine()
    host = EngineHost(engine, engine.bundle, max_batch=4, gate=MeasureGate("auto"))
    b = Bench(engine, host)
    await b.open(1, 2)
    engine.gate.clear()
    b.submit(1)
    await until(lambda: engine.is_running)
    b.submit(1)
    b.submit(2)
    closing = asyncio.ensure_future(host.close())
    await asyncio.sleep(0)
    engine.gate.set()
    await closing
    await asyncio.sleep(0)
    assert sorted(b.results.dropped) == ["closed", "closed"]
    assert len(b.results.coded) == len(b.results.psnr) == 1
    b.submit(1)
    await asyncio.sleep(0)
    assert b.results.dropped[-1] == "closed"
    assert engine.is_closed


async def test_warming_up_runs_a_frame_and_leaves_nothing() -> None:
    async with bench() as b:
        await warm(b.host, 70, 50)
        assert b.engine.batches == [1]
        assert b.engine.n_open == 0


async def test_warming_up_makes_all_batches_ready_where_there_are_any() -> None:
    class Batched(ScriptedEngine):
        ready: tuple[int, int] | None = None

        def warm_up(self, width: int, height: int) -> None:
            assert not self.batches  # before the first frame
            self.ready = width, height

    engine = Batched()
    host = EngineHost(engine, engine.bundle, max_batch=4, gate=MeasureGate("off"))
    await warm(host, 70, 50)
    assert engine.ready == (70, 50)
    await host.close()


async def test_frames_that_end_together_wake_the_loop_once() -> None:
    async with bench() as b:
        await b.open(1, 2, 3, 4)
        b.engine.gate.clear()
        for stream in (1, 2, 3, 4):
            b.submit(stream)
        before = b.host.calls.wakeups
        b.engine.gate.set()
        while b.host.calls.calls < 4:  # the loop is busy all the while
            pass
        assert b.host.calls.wakeups == before + 1
        await until(lambda: len(b.results.coded) == 4)


async def test_frames_of_a_batch_are_packed_on_all_cores() -> None:
    engine = ScriptedEngine()
    engine.info = replace(engine.info, batched=True)
    capacity = Capacity(TileCosts(1, 1, 1, 1), lanes=1, cores=3)
    host = EngineHost(
        engine, engine.bundle, max_batch=4, gate=MeasureGate("off"), capacity=capacity
    )
    b = Bench(engine, host)
    together = threading.Barrier(3)

    def wait(number: int) -> None:
        together.wait(60)

    await b.open(1, 2, 3)
    for stream in (1, 2, 3):
        b.submit(stream, before_send=wait)
    await until(lambda: len(b.results.coded) == 3, timeout_s=60.0)
    await host.close()


async def test_a_stream_that_is_closed_drops_what_waits() -> None:
    async with bench() as b:
        await b.open(1)
        b.engine.gate.clear()
        b.submit(1)
        await until(lambda: b.engine.is_running)
        b.submit(1)
        b.host.close_stream(1)
        b.engine.gate.set()
        await until(lambda: b.results.count == 2)
        assert b.results.dropped == ["closed"]
        await b.host.close_state(b.states[1])


# ---- lanes


async def test_an_engine_runs_as_many_calls_as_it_gains_from() -> None:
    together = threading.Barrier(2)

    class Meeting(NullEngine):
        """Goes on when two calls are there."""

        def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
            together.wait(30)
            return super().encode(jobs)

    engine = Meeting()
    engine.info = replace(engine.info, lanes=2)
    alone = Capacity(TileCosts(1, 1, 1, 1), lanes=2, cores=2, batches=((2, 2.0),))
    gate = MeasureGate("off")
    host = EngineHost(engine, engine.bundle, max_batch=4, gate=gate, capacity=alone)
    b = Bench(ScriptedEngine(), host)
    await b.open(1, 2)
    for number in range(3):
        b.submit(1, number=number)
        b.submit(2, number=number)
        await until(lambda: b.results.count == 2 * number + 2)  # noqa: B023 - awaited here
    await host.close()
    assert len(b.results.coded) == 6
    assert (host.tiles, host.busy_us > 0, host.core_us > 0) == (6, True, True)


async def test_frames_of_a_stream_leave_in_order_whichever_lane_they_had() -> None:
    sent: list[tuple[int, int]] = []

    async with bench(lanes=4) as b:
        await b.open(*range(6))
        for number in range(20):
            for stream in range(6):
                b.submit(
                    stream,
                    number=number,
                    before_send=lambda number, stream=stream: sent.append((stream, number)),  # type: ignore[misc]
                )
            await asyncio.sleep(0)
        await until(lambda: b.results.count == 120)
        assert len(sent) == len(b.results.coded)
        for stream in range(6):
            numbers = [number for other, number in sent if other == stream]
            assert numbers == sorted(numbers)


async def test_a_stream_runs_no_frame_while_one_of_it_is_decoded_to_be_measured() -> None:
    """They share an engine's state, and with an engine process its memory."""
    busy: set[StateId] = set()
    clashes: list[StateId] = []

    class Watchful(NullEngine):
        """Notices jobs of one state at a time."""

        def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
            with busy_with(jobs):
                return super().encode(jobs)

        def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
            with busy_with(jobs):
                return super().decode(jobs)

    @contextmanager
    def busy_with(jobs: Sequence[EncodeJob] | Sequence[DecodeJob]) -> Iterator[None]:
        states = {job.state for job in jobs}
        clashes.extend(states & busy)
        busy.update(states)
        time.sleep(0.001)  # a thread switch
        yield
        busy.difference_update(states)

    engine = Watchful()
    engine.info = replace(engine.info, lanes=3)
    host = EngineHost(engine, engine.bundle, max_batch=1, gate=MeasureGate("all"))
    b = Bench(ScriptedEngine(), host)
    await b.open(1, 2)
    for number in range(30):
        b.submit(1, number=number)
        b.submit(2, number=number)
        await until(lambda: b.results.count == 2 * number + 2)  # noqa: B023 - awaited here
    await host.close()
    assert [psnr for psnr in b.results.psnr if psnr is not None]
    assert not clashes


# ---- rungs


def rung_request(b: Bench, rung: int, size: tuple[int, int], **kwargs: object) -> FrameRequest:
    return FrameRequest(
        stream=1,
        state=b.states[rung],
        planes=grey_planes(64, 48),
        qp=10,
        deadline_us=monotonic_us() + FAR_US,
        on_coded=b.results.coded.append,
        on_dropped=b.results.dropped.append,
        on_psnr=b.results.psnr.append,
        frame_number=7,
        rung=rung,
        size=None if size == (64, 48) else size,
        **kwargs,  # type: ignore[arg-type]
    )


async def open_rungs(b: Bench, *sizes: tuple[int, int]) -> None:
    for rung, size in enumerate(sizes):
        b.states[rung] = await b.host.open_state(*size)


def layer_of(coded: CodedFrame) -> tuple[int, int, int, int]:
    """Rung, temporal layer and size that the packets of a frame say."""
    packet = read_packet(coded.packets[0])
    assert isinstance(packet, Packet)
    assert packet.header.description is not None
    layer, geometry = packet.header.layer, packet.header.description.geometry
    return layer.rung, layer.temporal, geometry.width, geometry.height


async def test_rungs_of_a_frame_run_in_one_batch_in_the_order_given() -> None:
    sizes = [(64, 48), (48, 36), (130, 98)]
    async with bench() as b:
        await open_rungs(b, *sizes)
        b.host.submit(*(rung_request(b, rung, sizes[rung]) for rung in (1, 2, 0)))
        await until(lambda: b.results.count == 3)
        assert [layer_of(coded) for coded in b.results.coded] == [
            (1, 0, 48, 36), (0, 0, 64, 48), (2, 0, 130, 98),
        ]  # fmt: skip
        assert b.engine.batches == [2, 1]  # those of one padded size in one call
        assert {coded.taken_us for coded in b.results.coded} == {b.results.coded[0].taken_us}
        assert {coded.frame_number for coded in b.results.coded} == {7}


async def test_rungs_of_a_frame_are_dropped_together() -> None:
    async with bench() as b:
        await open_rungs(b, (64, 48), (32, 24))
        b.engine.gate.clear()
        b.host.submit(rung_request(b, 0, (64, 48)))
        await until(lambda: b.engine.is_running)
        for _ in range(2):
            b.host.submit(rung_request(b, 0, (64, 48)), rung_request(b, 1, (32, 24)))
        await until(lambda: len(b.results.dropped) == 2)
        assert b.results.dropped == ["superseded"] * 2
        b.engine.gate.set()
        await until(lambda: len(b.results.coded) == 3)


async def test_an_engine_that_fails_at_rungs_fails_at_each() -> None:
    async with bench() as b:
        await open_rungs(b, (64, 48), (256, 128))
        b.engine.fails = True
        b.host.submit(rung_request(b, 0, (64, 48)), rung_request(b, 1, (256, 128)))
        await until(lambda: b.results.count == 2)
        assert b.results.dropped == ["engine_error"] * 2


async def test_every_rung_is_measured() -> None:
    async with bench("all") as b:
        await open_rungs(b, (64, 48), (32, 24))
        b.host.submit(rung_request(b, 0, (64, 48)), rung_request(b, 1, (32, 24)))
        await until(lambda: len(b.results.psnr) == 2)
        assert None not in b.results.psnr


async def test_without_references_every_other_frame_may_be_left_out() -> None:
    async with bench() as b:
        await open_rungs(b, (64, 48))
        b.host.submit(rung_request(b, 0, (64, 48), half_rate=True))
        await until(lambda: b.results.count == 1)
        assert layer_of(b.results.coded[0])[:2] == (0, 1)  # frame 7
        assert b.results.coded[0].temporal == 1
        assert b.results.coded[0].is_clean
