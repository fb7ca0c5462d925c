"""The engine's threads: what is measured of coded frames."""

import threading
from collections.abc import Sequence

from rtcodec.engine.api import DecodeJob
from rtcodec.errors import EngineError
from rtcodec.types import Planes
from support.engine_bench import bench
from support.relay import until


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
