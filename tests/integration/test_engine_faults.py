"""An engine that fails, in every way that it can: sessions stay, and go on with another one."""

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from rtcodec.bundle import Bundle
from rtcodec.engine.api import EncodeJob, EncodeOutput, Engine
from rtcodec.engine.loader import group_engines
from rtcodec.engine.null import NullEngine
from rtcodec.errors import EngineCrashed, EngineError
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from support.relay import MovingTrack, RelayClient, until

SIZE = (160, 96)


class Device(NullEngine):
    """Works until it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, name="device")
        self.fault: Callable[[], None] = lambda: None

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        self.fault()
        return super().encode(jobs)


@asynccontextmanager
async def relay_with(
    device: Device, *, hang_s: float | None = None
) -> AsyncIterator[tuple[RunningServer, RelayClient]]:
    def factory(config: ServerConfig) -> tuple[Engine, Bundle]:
        return group_engines([device], hang_s=hang_s, fallback=NullEngine), device.bundle

    config = ServerConfig(port=0, engine="null", psnr="off", warm=(SIZE,))
    async with running_server(config, engine_factory=factory) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            yield server, client


def fails_with(error: Exception) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


@pytest.mark.parametrize(
    "error",
    [
        EngineCrashed("the device fell off the bus"),
        EngineError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("device lost"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_sessions_go_on_with_another_engine_when_theirs_is_gone(error: Exception) -> None:
    device = Device()
    async with relay_with(device) as (server, client):
        watches = [await client.watch("room") for _ in range(2)]
        await client.publish("room", MovingTrack(*SIZE))
        await until(lambda: all(len(watch.frames) >= 3 for watch in watches))
        n_sessions = server.relay.n_sessions
        device.fault = fails_with(error)
        frames = server.relay.stats.frames
        await until(lambda: frames.dropped.get("engine_error", 0) >= 1)
        n_coded = frames.encoded
        await until(lambda: frames.encoded >= n_coded + 5)
        n_seen = [len(watch.frames) for watch in watches]
        await until(lambda: all(len(w.frames) > n for w, n in zip(watches, n_seen, strict=True)))
        assert server.relay.n_sessions == n_sessions
        assert server.relay.is_ready
        async with client.http.get("/metrics") as response:
            text = await response.text()
        assert "rtcodec_engine_streams_moved_total 1.0" in text
        assert "rtcodec_engines_up 1.0" in text
        assert frames.in_flight <= 4


async def test_sessions_go_on_when_a_call_never_ends() -> None:
    device, for_ever = Device(), threading.Event()
    async with relay_with(device, hang_s=1.0) as (server, client):
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(*SIZE))
        await until(lambda: len(watch.frames) >= 3)

        def hang() -> None:
            for_ever.wait()

        device.fault = hang
        frames = server.relay.stats.frames
        await until(lambda: frames.dropped.get("engine_error", 0) >= 1)
        n_coded = frames.encoded
        await until(lambda: frames.encoded >= n_coded + 5)
        assert server.relay.n_sessions == 2
    for_ever.set()


async def test_a_failure_now_and_then_costs_its_frame_and_nothing_else() -> None:
    device = Device()
    async with relay_with(device) as (server, client):
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(*SIZE))
        await until(lambda: len(watch.frames) >= 3)
        frames = server.relay.stats.frames
        for n_failures in range(1, 5):
            failed = threading.Event()

            def fault(failed: threading.Event = failed) -> None:
                if not failed.is_set():
                    failed.set()
                    raise MemoryError

            device.fault = fault
            await until(lambda: frames.dropped.get("engine_error", 0) >= n_failures)  # noqa: B023
            n_coded = frames.encoded
            await until(lambda: frames.encoded > n_coded)  # noqa: B023 - awaited here
        assert server.relay.host is not None
        assert server.relay.host.group is not None
        assert server.relay.host.group.streams_moved == 0
        assert frames.dropped["engine_error"] == 4
