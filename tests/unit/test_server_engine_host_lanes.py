"""The engine's threads: several calls at a time, and frames stay in order."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.capacity import Capacity, TileCosts
from rtcodec.engine.null import NullEngine
from rtcodec.types import Planes
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.measure import MeasureGate
from support.engine_bench import Bench, ScriptedEngine, bench
from support.relay import until


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
