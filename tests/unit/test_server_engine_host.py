"""The engine's threads: every frame comes back once, whatever the engine does."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.engine.capacity import Capacity, TileCosts
from rtcodec.packet.payload import MAX_PACKET_BYTES
from rtcodec.size_model import Try
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.measure import MeasureGate
from rtcodec_server.warming import warm
from support.engine_bench import Bench, ScriptedEngine, bench
from support.relay import until


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
