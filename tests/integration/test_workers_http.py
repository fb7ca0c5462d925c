"""What one process does over HTTP several do as well: long bodies, lists, events, a full house."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rtcodec.bitstream.file import RtcWriter
from support.command import outcome, run, start
from support.recordings import read_recording
from support.relay import SDP, MovingTrack, RelayClient, until
from support.workers import PATIENCE_S, Crew, crew, eventually

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="worker processes need Linux"
)

TWO = ("--workers", "2", "--warm", "160x96", "--drain-s", "2")
SOURCE = "pattern:160x96@15"
BUFFERED_BYTES = 32 << 20
"More than the sockets between a sender and a worker hold, whatever the kernel grants them."


async def ask(client: RelayClient, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with client.http.request(method, path, **request) as response:
        return response.status, json.loads(await response.text())


async def rooms_of(it: Crew) -> list[dict[str, Any]]:
    rooms: list[dict[str, Any]] = (await ask(it.client, "GET", "/api/rooms"))[1]["rooms"]
    return rooms


async def record(it: Crew, client: RelayClient, room: str) -> None:
    """Publish to a room that is recorded, for a few frames."""
    path = await client.publish(room, MovingTrack(160, 96))

    async def has_enough() -> bool:
        rooms = {entry["room"]: entry for entry in await rooms_of(it)}
        recording = rooms[room]["recording"]
        return recording is not None and recording["frames"] >= 5

    await eventually(has_enough)
    assert (await ask(client, "DELETE", path))[0] == 200


def longer(file: Path) -> Iterator[bytes]:
    """Yield the parts of a recording of the frames of another, over and over."""
    recorded, part = read_recording(file), BytesIO()
    writer = RtcWriter(part, recorded.sequence)
    for number, unit in enumerate(cycle(recorded.units)):
        writer.write(replace(unit, pts=3000 * number))
        if part.tell() > 65536:
            yield part.getvalue()
            part.seek(0)
            part.truncate()


async def test_recordings_of_all_workers_are_listed_and_a_long_one_is_played(
    tmp_path: Path,
) -> None:
    async with crew(*TWO, "--record", str(tmp_path)) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        await client.watch("a")
        await client.watch("b")
        assert await it.worker_of("a") != await it.worker_of("b")
        await asyncio.gather(record(it, client, "a"), record(it, client, "b"))
        status, listed = await ask(client, "GET", "/api/recordings")
        assert status == 200
        assert [file["room"] for file in listed["recordings"]] == ["a", "b"]
        long = tmp_path / "long.rtc"
        parts = longer(tmp_path / listed["recordings"][0]["file"])
        long.write_bytes(next(parts) + next(parts))  # cut, but in no frame
        frames = read_recording(long).frames
        watch = await client.watch("again")
        await until(lambda: watch.connection.connectionState == "connected", timeout_s=PATIENCE_S)
        played = await run("play", str(long), f"{it.url}/whip/again", "--speed", "5", "--json")
        assert played.code == 0, played.err
        assert played.document["frames_played"] == len(frames)
        await until(lambda: len(watch.frames) == len(frames), timeout_s=PATIENCE_S)
        assert [tuple(frame.packets) for frame in watch.frames] == frames


async def test_what_is_sent_goes_by_as_it_is_played_and_ends_with_its_sender(
    tmp_path: Path,
) -> None:
    """Its sender has to wait: neither the front nor the worker keeps what is not played yet."""
    n_sent = 0
    async with crew(*TWO, "--record", str(tmp_path)) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        await record(it, client, "a")
        _, listed = await ask(client, "GET", "/api/recordings")
        file = tmp_path / listed["recordings"][0]["file"]

        async def endless() -> AsyncIterator[bytes]:
            nonlocal n_sent
            for part in longer(file):
                n_sent += len(part)
                yield part

        async def unfinished() -> AsyncIterator[bytes]:
            yield next(longer(file))
            await asyncio.Event().wait()

        def send(room: str, data: object) -> asyncio.Future[aiohttp.ClientResponse]:
            kind = {"Content-Type": "application/octet-stream"}
            path = f"/api/rooms/{room}/play?speed=0.5"
            return asyncio.ensure_future(client.http.post(path, data=data, headers=kind))

        watch = await client.watch("tape")
        sending = [send("tape", endless()), send("other", unfinished())]
        await until(lambda: len(watch.frames) > 10, timeout_s=PATIENCE_S)
        async with await send("tape", BytesIO(next(longer(file)))) as response:
            assert response.status == 409
        n_before = len(watch.frames)
        await until(lambda: len(watch.frames) > n_before + 10, timeout_s=PATIENCE_S)
        assert n_sent < BUFFERED_BYTES
        for request in reversed(sending):
            assert not request.done()
            request.cancel()

        async def is_over() -> bool:
            return "other" not in [entry["room"] for entry in await rooms_of(it)]

        await eventually(is_over)


async def test_events_come_through_the_front_when_they_happen(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text('rungs = ["source", "96p"]\n')
    async with crew(*TWO, "--config", str(config)) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        watch = await client.watch("room")
        async with client.http.post(f"{watch.path}/sse", json=["layers"]) as response:
            assert response.status == 201
            stream = response.headers["Location"]

        async with client.http.get(stream) as response:
            assert response.content_type == "text/event-stream"

            async def next_sizes() -> set[tuple[int, int]]:
                name, data, _ = [(await response.content.readline()).decode() for _ in range(3)]
                assert name == "event: layers\n"
                layers = json.loads(data.removeprefix("data: "))["0"]
                return {(layer["width"], layer["height"]) for layer in layers}

            assert await next_sizes() == set()
            await client.publish("room", MovingTrack(320, 192))
            assert await next_sizes() == {(320, 192), (160, 96)}
            assert (await client.http.delete(stream)).status == 200
            await response.content.read()  # it ends
        async with client.http.get(stream) as response:
            assert response.status == 404
            assert response.content_type == "application/problem+json"


async def test_in_a_full_house_the_place_of_a_silent_publisher_is_free(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[limits]\nmax_sessions = 2\npublisher_quiet_us = 500_000\n")
    async with crew(*TWO, "--config", str(config)) as it, RelayClient(it.url) as client:
        await it.until_complete("worker", 2, spares=1)
        watch = await client.watch("room")
        publisher = await start("publish", f"{it.url}/whip/room", SOURCE)
        await until(lambda: watch.frames, timeout_s=PATIENCE_S)
        for room, status in (("room", 409), ("other", 503)):
            _, offer = await client.publisher_offer()
            async with client.http.post(f"/whip/{room}", data=offer, headers=SDP) as response:
                assert response.status == status, await response.text()
        publisher.send_signal(signal.SIGKILL)
        await outcome(publisher)

        async def is_quiet() -> bool:
            return not any(entry["live"] for entry in await rooms_of(it))

        await eventually(is_quiet)
        n_before = len(watch.frames)
        await client.publish("room", MovingTrack(64, 48))
        await until(lambda: len(watch.frames) > n_before + 3, timeout_s=PATIENCE_S)
