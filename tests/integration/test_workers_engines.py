"""Several engine processes for one relay: streams are shared out, and outlive each of them."""

from pathlib import Path

import pytest

from rtcodec_server.config import ServerConfig
from rtcodec_server.workers.cores import devices, engine_share, n_cores
from support.relay import MovingTrack, RelayClient, Watch, until
from support.workers import PATIENCE_S, Crew, crew, eventually, until_gone

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="worker processes need Linux"
)

TWO_ENGINES = (
    "--workers", "1", "--engine-in", "process", "--engine-processes", "2",
    "--warm", "160x96", "--drain-s", "2",
)  # fmt: skip
NO_SPARES = "[processes]\nspares = 0\nmax_restarts = 0\n"


async def on_air(client: RelayClient, room: str) -> Watch:
    """Publish to a room and watch it; return once frames come."""
    watch = await client.watch(room)
    await client.publish(room, MovingTrack(160, 96))
    await until(lambda: len(watch.frames) > 3, timeout_s=PATIENCE_S)
    return watch


async def flows(watch: Watch, n_frames: int = 10) -> None:
    """Wait for more frames."""
    there = len(watch.frames)
    await until(lambda: len(watch.frames) >= there + n_frames, timeout_s=PATIENCE_S)


def n_slots_of(pid: int) -> int:
    """Return how many streams an engine process has, by the memory that it shares."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return len({line.split()[4] for line in lines if "memfd:rtcodec-slot" in line})


async def pid_of(it: Crew, kind: str) -> int:
    return int((await it.process(kind))["pid"])


async def until_up(it: Crew) -> None:
    for kind in ("engine0", "engine1", "worker"):
        await it.until_complete(kind, 1, spares=0)


async def test_streams_are_shared_out_and_one_engine_s_death_is_nothing_to_the_others(
    tmp_path: Path,
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[processes]\nspares = 0\n")  # a spare may be there before the next frame
    options = (*TWO_ENGINES, "--config", str(config))
    async with crew(*options) as it, RelayClient(it.url) as client:
        await until_up(it)
        watches = [await on_air(client, room) for room in ("a", "b")]
        first, second = await pid_of(it, "engine0"), await pid_of(it, "engine1")
        await until(lambda: n_slots_of(first) == n_slots_of(second) == 1)
        assert await it.metric("rtcodec_engines_up") == 2

        await until_gone(await it.kill("engine0"))
        for watch in watches:
            await flows(watch)
        assert n_slots_of(second) == 2  # who lost its engine did not wait for the next one
        assert await it.metric("rtcodec_engine_streams_moved_total") == 1
        assert await it.metric("rtcodec_sessions{") == 4

        await eventually(lambda: it.is_replaced(first, "engine0"))
        watches.append(await on_air(client, "c"))
        third = await pid_of(it, "engine0")
        await until(lambda: n_slots_of(third) == 1)  # new streams go where there is least to do
        assert n_slots_of(second) == 2
        for watch in watches:
            await flows(watch)
        assert await it.metric("rtcodec_engine_restarts_total") == 1


async def test_sessions_outlive_all_engines_where_workers_have_one_to_fall_back_on(
    tmp_path: Path,
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(NO_SPARES)
    options = (*TWO_ENGINES, "--config", str(config))
    async with crew(*options) as it, RelayClient(it.url) as client:
        await until_up(it)
        watches = [await on_air(client, room) for room in ("a", "b")]
        await until_gone(await it.kill("engine0"), await it.kill("engine1"))
        for watch in watches:
            await flows(watch)
        assert await it.metric("rtcodec_engines_up") == 1
        assert await it.metric("rtcodec_processes_given_up") == 2
        assert await it.metric("rtcodec_worker_restarts_total") == 0
        await on_air(client, "c")


async def test_without_a_fallback_the_relay_ends_with_its_last_engine(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text('engine_fallback = "off"\n' + NO_SPARES)
    async with crew(*TWO_ENGINES, "--config", str(config)) as it:
        await until_up(it)
        await until_gone(await it.kill("engine0"))
        assert it.supervisor.returncode is None
        await it.kill("engine1")
        assert await it.supervisor.wait() == 3


def test_each_engine_process_sees_a_device_of_its_own() -> None:
    assert devices(3, {}) == ["0", "1", "2"]
    assert devices(2, {"CUDA_VISIBLE_DEVICES": "GPU-4f, 7"}) == ["GPU-4f", "7"]
    assert devices(3, {"CUDA_VISIBLE_DEVICES": "4,5"}) == ["4", "5", "4"]


def test_engine_processes_share_the_cores() -> None:
    config = ServerConfig(workers=1, engine_in="process", engine_processes=n_cores())
    assert engine_share(config) == (1, 1)
