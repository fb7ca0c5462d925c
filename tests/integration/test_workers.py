"""Several processes, killed in every way: what is theirs ends, the others notice nothing."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rtcodec_server.workers.link import CLIENT_HEADER
from support.command import outcome, run
from support.relay import KEYS, SDP, MovingTrack, RelayClient, Watch, token_for, until
from support.webhook import SECRET, receiver
from support.workers import (
    PATIENCE_S,
    children_of,
    crew,
    descriptors_of,
    eventually,
    is_there,
    until_gone,
)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="worker processes need Linux"
)

QUICK = ("--warm", "160x96", "--drain-s", "2")
TWO = ("--workers", "2", *QUICK)
WITH_ENGINE = (*TWO, "--engine-in", "process")


async def on_air(client: RelayClient, room: str) -> tuple[Watch, str]:
    """Publish to a room and watch it; return once frames come."""
    watch = await client.watch(room)
    path = await client.publish(room, MovingTrack(160, 96))
    await until(lambda: len(watch.frames) > 3, timeout_s=PATIENCE_S)
    return watch, path


async def flows(watch: Watch, n_frames: int = 10) -> None:
    """Wait for more frames."""
    there = len(watch.frames)
    await until(lambda: len(watch.frames) >= there + n_frames, timeout_s=PATIENCE_S)


async def status_of(client: RelayClient, method: str, path: str) -> int:
    async with client.http.request(method, path) as response:
        return response.status


async def is_status(client: RelayClient, path: str, status: int) -> bool:
    return await status_of(client, "GET", path) == status


async def test_rooms_go_to_the_emptiest_worker_and_stay_there() -> None:
    async with crew(*TWO) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        await client.watch("a")
        await client.watch("b")
        await client.publish("a", MovingTrack(160, 96))
        assert await it.worker_of("a") != await it.worker_of("b")
        refused = await client.publisher_offer()
        async with client.http.post("/whip/a", data=refused[1], headers=SDP) as response:
            assert response.status == 409  # the worker that has the room says so
        assert await it.metric('rtcodec_sessions{role="subscriber"}') == 2
        assert await status_of(client, "OPTIONS", "/whip/a") == 200
        assert await status_of(client, "GET", "/whep/a/nobody") == 404
        assert await status_of(client, "DELETE", "/api/rooms/a") == 200
        pretending = {CLIENT_HEADER: "203.0.113.5"}  # only the front may say who asks
        async with client.http.delete("/api/rooms/never", headers=pretending) as response:
            assert response.status == 404


async def test_a_killed_worker_takes_its_rooms_and_nobody_elses() -> None:
    async with crew(*TWO) as it, RelayClient(it.url) as client, AsyncExitStack() as later:
        await it.until_complete("worker", 2, spares=1)
        mine, path = await on_air(client, "a")
        theirs, _ = await on_air(client, "b")
        lost_before = theirs.receiver.frames_lost
        n_descriptors = descriptors_of(it.supervisor.pid)
        for _ in range(2):
            slot = await it.worker_of("a")
            n_frames, killed_s = len(theirs.frames), time.monotonic()
            pid = await it.kill("worker", slot)
            await eventually(lambda: it.is_replaced(pid, "worker", slot))  # noqa: B023
            assert time.monotonic() - killed_s < 10  # 2 s were promised; this machine is shared
            assert await status_of(client, "DELETE", path) == 404
            assert await status_of(client, "DELETE", mine.path) == 404
            again = await later.enter_async_context(RelayClient(it.url))
            mine, path = await on_air(again, "a")
            assert len(theirs.frames) > n_frames
            await flows(theirs)
            await it.until_complete("worker", 2, spares=1)
        assert theirs.receiver.frames_lost == lost_before
        numbers = [frame.number for frame in theirs.frames]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert await it.metric("rtcodec_worker_restarts_total") == 2
        assert await it.metric("rtcodec_sessions_lost_total") >= 2
        assert descriptors_of(it.supervisor.pid) <= n_descriptors + 2  # connections that are kept


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[processes]\nhang_s = 1.5\n")
    async with crew(*TWO, "--config", str(config)) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        watch, path = await on_air(client, "a")
        slot = await it.worker_of("a")
        pid = await it.kill("worker", slot, signal.SIGSTOP)
        deleting = asyncio.ensure_future(status_of(client, "DELETE", path))
        await until_gone(pid)
        assert await deleting == 404
        await eventually(lambda: it.is_replaced(pid, "worker", slot))
        await it.until_complete("worker", 2, spares=1)
        assert (await it.process("worker", slot))["deaths"] == 1
        watch, _ = await on_air(client, "b")
        await flows(watch)


async def test_sessions_outlive_the_engine() -> None:
    async with crew(*WITH_ENGINE) as it, RelayClient(it.url) as client:
        await it.until_complete("engine", 1, spares=1)
        await it.until_complete("worker", 2, spares=1)
        watches = [(await on_air(client, room))[0] for room in ("a", "b")]
        worker = (await it.process("worker", 0))["pid"]
        n_descriptors = descriptors_of(worker) + descriptors_of(it.supervisor.pid)
        for _ in range(2):
            pid = await it.kill("engine")
            await eventually(lambda: it.is_replaced(pid, "engine"))  # noqa: B023
            for watch in watches:
                await flows(watch)
            await it.until_complete("engine", 1, spares=1)
        assert await it.metric("rtcodec_engine_restarts_total") == 2
        assert await it.metric("rtcodec_sessions{") == 4
        assert await it.metric("rtcodec_worker_restarts_total") == 0
        # connections of HTTP come and go; those to two engines would be six
        assert descriptors_of(worker) + descriptors_of(it.supervisor.pid) <= n_descriptors + 3
        assert sum("memfd" in name for name in maps_of(worker)) <= 1  # a slot for each stream


def maps_of(pid: int) -> set[str]:
    """Return the names of what a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(None, 4)[4] for line in lines if len(line.split(None, 4)) > 4}


async def test_a_worker_lost_frees_what_the_engine_kept_for_it() -> None:
    async with crew(*WITH_ENGINE) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        await on_air(client, "a")
        theirs, _ = await on_air(client, "b")
        engine = (await it.process("engine"))["pid"]
        n_slots = sum("memfd" in name for name in maps_of(engine))
        await until_gone(await it.kill("worker", await it.worker_of("a")))
        await flows(theirs)
        await until(lambda: sum("memfd" in name for name in maps_of(engine)) < n_slots)


async def test_nothing_outlives_a_killed_supervisor() -> None:
    async with crew(*WITH_ENGINE) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        await it.until_complete("engine", 1, spares=1)
        await on_air(client, "a")
        family = children_of(it.supervisor.pid)
        assert len(family) == 5
        mapped = set().union(*map(maps_of, family))
        assert any("memfd:rtcodec-slot" in name for name in mapped)
        assert not any(name.startswith("/dev/shm") for name in mapped)  # what has a name stays
        it.supervisor.kill()
        await it.supervisor.wait()
        await until_gone(*family)


async def test_an_engine_that_hangs_is_replaced_and_sessions_stay(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[processes]\nhang_s = 1.5\n")
    async with crew(*WITH_ENGINE, "--config", str(config)) as it, RelayClient(it.url) as client:
        await it.until_complete("engine", 1, spares=1)
        await it.until_complete("worker", 2, spares=1)
        watch, _ = await on_air(client, "a")
        pid = await it.kill("engine", how=signal.SIGSTOP)
        await eventually(lambda: it.is_replaced(pid, "engine"))
        await flows(watch)
        assert await it.metric("rtcodec_worker_restarts_total") == 0


async def test_a_signal_to_a_child_means_nothing_for_its_supervisor_says_when() -> None:
    async with crew(*WITH_ENGINE) as it:
        await it.until_complete("worker", 2, spares=1)
        family = children_of(it.supervisor.pid)
        for pid in family:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        await it.until_complete("worker", 2, spares=1)
        assert set(children_of(it.supervisor.pid)) >= set(family)


async def test_sigterm_drains_all_workers() -> None:
    async with crew(*WITH_ENGINE, "--drain-s", "60", "--json") as it:
        async with RelayClient(it.url) as client:
            await it.until_complete("worker", 2, spares=1)
            watches = [await on_air(client, room) for room in ("a", "b")]
            family = children_of(it.supervisor.pid)
            it.supervisor.send_signal(signal.SIGTERM)
            await eventually(lambda: is_status(client, "/readyz", 503))
            _, offer = await client.publisher_offer()
            async with client.http.post("/whip/c", data=offer, headers=SDP) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "5")
            for watch, path in watches:
                await flows(watch)
                assert await status_of(client, "DELETE", path) == 200
                assert await status_of(client, "DELETE", watch.path) == 200
            n_seen = sum(len(watch.frames) + watch.receiver.frames_lost for watch, _ in watches)
        ended = await outcome(it.supervisor, timeout_s=PATIENCE_S)
    assert (ended.code, ended.err) == (0, "")
    assert not any(map(is_there, family))
    frames = ended.document["frames"]
    assert frames["sent"] == n_seen, frames
    assert frames["in_flight"] == 0, frames
    assert frames["received"] == frames["encoded"] + frames["dropped"]


async def test_processes_that_die_again_and_again_are_given_up(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[processes]\nspares = 0\nmax_restarts = 1\n")
    async with crew(*TWO, "--config", str(config), "--log-level", "error") as it:
        await it.until_complete("worker", 2, spares=0)
        for _ in range(2):
            pid = await it.kill("worker", 0)
            await eventually(lambda: it.is_replaced(pid, "worker", 0))  # noqa: B023
        await it.kill("worker", 0)
        await eventually(lambda: it.metric('rtcodec_processes_given_up{kind="worker"}'))
        async with it.client.http.get("/healthz") as response:
            health = await response.json()
        assert health["status"] == "degraded"
        assert health["worker"] == {"up": 1, "of": 2, "deaths": 3, "given_up": True}
        async with RelayClient(it.url) as client:
            await on_air(client, "a")  # the other worker has all the rooms now
        await it.kill("worker", 1)
        ended = await outcome(it.supervisor, timeout_s=PATIENCE_S)
    assert ended.code == 3
    assert "worker_given_up" in ended.err
    assert ended.last_line == "rtcodec: every worker process died again and again"


async def test_a_model_that_is_not_there_is_said_as_with_one_process() -> None:
    for place in ("workers", "process"):
        ended = await run(
            "serve", "--port", "0", "--workers", "2", "--model", "nothing", "--engine-in", place
        )
        assert ended.code == 2
        assert "nothing" in ended.last_line


@pytest.mark.parametrize("workers", ["0", "1"])
async def test_up_to_one_worker_is_one_process(workers: str) -> None:
    async with crew("--workers", workers, *QUICK) as it:
        assert children_of(it.supervisor.pid) == []


async def test_tokens_are_asked_for_as_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", f"main:{KEYS['main']}")
    monkeypatch.setenv("RTCODEC_REQUESTS_PER_S", "0.01")
    monkeypatch.setenv("RTCODEC_REQUESTS_BURST", "4")
    async with crew(*TWO) as it:
        for path in ("/api/rooms", "/api/processes", "/metrics"):
            assert await status_of(it.client, "GET", path) == 401
        assert await status_of(it.client, "POST", "/whip/a") == 401
        assert await status_of(it.client, "POST", "/api/drain") == 401
        async with RelayClient(it.url, token=token_for("a", publish=True)) as publisher:
            assert await status_of(publisher, "GET", "/api/processes") == 403
            assert await status_of(publisher, "GET", "/whip/b") == 403
            await publisher.publish("a", MovingTrack(160, 96))
            async with RelayClient(it.url, token=token_for(admin=True)) as admin:
                assert await status_of(admin, "GET", "/api/processes") == 200
                async with admin.http.get("/metrics") as response:
                    text = await response.text()
                assert 'rtcodec_requests_refused_total{status="401"} 5.0' in text
                assert 'rtcodec_sessions{role="publisher"} 1.0' in text
                assert await status_of(admin, "DELETE", "/api/rooms/a") == 200
        # whichever worker they are for, requests of an address are counted together
        statuses = [await status_of(it.client, "POST", f"/whip/{room}") for room in "bcd"]
        assert statuses == [401, 401, 429]


async def test_what_a_dead_worker_cannot_tell_its_supervisor_tells(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    async with receiver() as hook:
        config.write_text(f'[webhook]\nurl = "{hook.url}"\nsecret = "{SECRET}"\n')
        async with crew(*TWO, "--config", str(config)) as it, RelayClient(it.url) as client:
            await it.until_complete("worker", 2, spares=1)
            await on_air(client, "a")
            await until(lambda: "subscriber_joined" in hook.names)
            await it.kill("worker", await it.worker_of("a"))
            await until(lambda: "room_ended" in hook.names)
    told = [(e["event"], e["room"], e.get("reason")) for e in hook.events]
    assert sorted(told[-3:]) == [
        ("publisher_left", "a", "crashed"),
        ("room_ended", "a", "crashed"),
        ("subscriber_left", "a", "crashed"),
    ]
    assert told[-1][0] == "room_ended"
