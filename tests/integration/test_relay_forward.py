"""A room that comes from another relay: the same bytes, asked for once, and only while watched."""

import asyncio
import signal
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.null import NullEngine
from rtcodec.webrtc import LatentFrame
from rtcodec_server import forward as forward_module
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.carrier import Carrier
from rtcodec_server.config import ServerConfig
from rtcodec_server.edge_config import ForwardConfig
from support import command
from support.ordinary import WaveTrack, best_psnr_db, view
from support.relay import KEYS, RelayClient, Watch, relay, token_for, until

PATIENCE_S = 60.0


def forward(server: RunningServer, room: str = "room", **more: Any) -> dict[str, ForwardConfig]:
    return {"copy": ForwardConfig(url=f"{server.url}/whep/{room}", **more)}


def by_number(frames: list[LatentFrame]) -> dict[int, tuple[bytes, ...]]:
    found = {}
    for frame in frames:
        packet = read_packet(frame.packets[0])
        assert isinstance(packet, Packet)
        found[packet.header.frame_number] = frame.packets
    return found


async def seen(watch: Watch, n_frames: int = 20) -> None:
    already = len(watch.frames)
    await until(lambda: len(watch.frames) >= already + n_frames, timeout_s=PATIENCE_S)


async def test_access_units_are_the_same_bytes_behind_the_second_relay() -> None:
    async with (
        relay(qp=0) as (near, near_client),
        relay(forward=forward(near)) as (far, far_client),
    ):
        await near_client.publish("room", WaveTrack())
        here = await near_client.watch("room")
        there = await far_client.watch("copy")
        await seen(there)
        await until(lambda: len(here.frames) >= len(there.frames))
        sent, got = by_number(here.frames), by_number(there.frames)
        both = sent.keys() & got.keys()
        assert len(both) >= 15
        assert all(sent[number] == got[number] for number in both)
        engine = NullEngine()
        decoder = PictureDecoder(engine, engine.bundle)
        pictures = [decoder.decode(frame.packets) for frame in there.frames]
        assert statistics.median(best_psnr_db(p.planes.y) for p in pictures) > 30
        assert far.relay.stats.frames.encoded == 0
        timing = there.frames[-1].timing
        assert timing is not None
        assert timing in [frame.timing for frame in here.frames]


async def test_the_other_relay_is_asked_once_for_all_and_only_while_somebody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward_module, "LINGER_US", 200_000)
    async with (
        relay() as (near, near_client),
        relay(forward=forward(near)) as (_, far_client),
    ):
        await near_client.publish("room", WaveTrack())
        await asyncio.sleep(0.3)
        assert near.relay.n_sessions == 1
        watches = [await far_client.watch("copy") for _ in range(3)]
        for watch in watches:
            await seen(watch, 5)
        assert len(near.relay.subscribers_of("room")) == 1
        for watch in watches:
            async with far_client.http.delete(watch.path) as response:
                assert response.status == 200
        await until(lambda: not near.relay.subscribers_of("room"))
        again = await far_client.watch("copy")
        await seen(again, 5)


async def test_viewers_without_our_codec_see_a_forwarded_room() -> None:
    async with (
        relay(qp=0) as (near, near_client),
        relay(forward=forward(near)) as (_, far_client),
    ):
        await near_client.publish("room", WaveTrack())
        viewer = await view(far_client, "copy", ["H264"])
        await until(lambda: len(viewer.frames) >= 30, timeout_s=PATIENCE_S)
        assert statistics.median(viewer.psnr_db) > 30


async def test_a_forwarded_room_takes_no_publisher_and_shows_where_it_comes_from() -> None:
    async with (
        relay() as (near, near_client),
        relay(forward=forward(near)) as (_, far_client),
    ):
        with pytest.raises(AssertionError, match="another relay's"):
            await far_client.publish("copy")
        await near_client.publish("room", WaveTrack())
        watch = await far_client.watch("copy")
        await seen(watch, 5)
        async with far_client.http.get("/api/rooms") as response:
            (room,) = (await response.json())["rooms"]
        assert room["live"] is True
        assert room["forward"]["from"] == f"{near.url}/whep/room"
        assert (room["forward"]["state"], room["forward"]["connections"]) == ("connected", 1)
        assert room["forward"]["frames"] >= 5
        assert (room["width"], room["height"]) == (160, 96)
        async with far_client.http.get("/metrics") as response:
            text = await response.text()
        assert 'rtcodec_forward_rooms{state="connected"} 1.0' in text


async def test_a_token_opens_the_other_relay_and_without_it_the_reason_is_told() -> None:
    async with relay(keys=KEYS, token=token_for(publish=True)) as (near, near_client):
        await near_client.publish("room", WaveTrack())
        async with relay(forward=forward(near)) as (far, far_client):
            await far_client.watch("copy")
            await until(lambda: far.relay.forwards["copy"].error)
            assert "answered 401" in str(far.relay.forwards["copy"].error)
        token = token_for("room", subscribe=True)
        async with relay(forward=forward(near, token=token)) as (_, far_client):
            await seen(await far_client.watch("copy"), 5)


async def test_a_relay_that_would_get_its_own_stream_back_refuses() -> None:
    async with two_that_forward_to_each_other() as (one, other, client):
        await client.watch("room")
        ways = [server.relay.forwards["room"] for server in (one, other)]
        await until(lambda: any("508" in str(way.error) for way in ways), timeout_s=PATIENCE_S)
        assert one.relay.n_sessions + other.relay.n_sessions <= 4
        async with client.http.post("/whep/room", data="", headers={"RTC-Via": "nonsense"}) as got:
            assert got.status in (400, 415)


async def test_relays_that_asked_each_other_at_the_same_time_part() -> None:
    async with (
        two_that_forward_to_each_other() as (one, other, client),
        RelayClient(one.url) as there,
    ):
        await asyncio.gather(client.watch("room"), there.watch("room"))
        ways = [server.relay.forwards["room"] for server in (one, other)]
        await until(lambda: any("508" in str(way.error) for way in ways), timeout_s=PATIENCE_S)


@pytest.mark.parametrize("wait_s", [0.1, 0.12, 0.15, 0.2, 0.3])
async def test_a_relay_ends_at_whatever_point_of_getting_a_room(wait_s: float) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        relay() as (near, _),
        relay(forward=forward(near)) as (_, client),
    ):
        await client.watch("copy")
        await asyncio.sleep(wait_s)


async def test_for_whom_a_relay_asks_may_change_while_it_watches() -> None:
    async with relay() as (server, client):
        path = (await client.watch("room")).path
        for via, status in [("0" * 16, 200), (server.relay.name, 508), ("nonsense", 400)]:
            async with client.http.get(path, headers={"RTC-Via": via}) as response:
                assert response.status == status
        (session,) = server.relay.occupancy.subscribers("room")
        assert session.via == ("0" * 16,)


@asynccontextmanager
async def two_that_forward_to_each_other() -> AsyncIterator[
    tuple[RunningServer, RunningServer, RelayClient]
]:
    """Start one on a port that the other knows."""
    async with relay() as (probe, _):
        port = int(probe.url.rpartition(":")[2])
    config = ForwardConfig(url=f"http://127.0.0.1:{port}/whep/room")
    async with relay(forward={"room": config}) as (one, _):
        back = ServerConfig(
            port=port,
            engine="null",
            forward={"room": ForwardConfig(url=f"{one.url}/whep/room")},
        )
        async with running_server(back) as other:
            await other.ready
            async with RelayClient(other.url) as client:
                yield one, other, client


async def test_viewers_go_on_when_the_other_relay_comes_back() -> None:
    async with relay() as (probe, _):
        port = int(probe.url.rpartition(":")[2])
    config = ForwardConfig(url=f"http://127.0.0.1:{port}/whep/room")
    near = ServerConfig(port=port, engine="null")
    async with relay(forward={"copy": config}) as (far, far_client):
        async with running_server(near) as server, RelayClient(server.url) as client:
            await server.ready
            await client.publish("room", WaveTrack())
            watch = await far_client.watch("copy")
            await seen(watch, 5)
        await until(lambda: far.relay.forwards["copy"].state == "waiting", timeout_s=PATIENCE_S)
        async with running_server(near) as server, RelayClient(server.url) as client:
            await server.ready
            await client.publish("room", WaveTrack())
            await seen(watch, 5)
        assert far.relay.forwards["copy"].counters.connections == 2


async def test_the_forward_command_carries_a_room_to_a_relay_that_cannot_fetch_it() -> None:
    near_token, far_token = token_for("room", subscribe=True), token_for("copy", publish=True)
    async with (
        relay(qp=0, keys=KEYS, token=token_for(publish=True, subscribe=True)) as (near, client),
        relay(keys=KEYS, token=token_for(subscribe=True)) as (far, far_client),
    ):
        ends = (f"{near.url}/whep/room", f"{far.url}/whip/copy")
        words = (*ends, "--token", near_token, "--to-token", far_token, "--model", "null")
        process = await command.start("forward", *words)
        try:
            await client.publish("room", WaveTrack())
            here, there = await client.watch("room"), await far_client.watch("copy")
            await seen(there)
            await until(lambda: len(here.frames) >= len(there.frames))
            sent, got = by_number(here.frames), by_number(there.frames)
            both = sent.keys() & got.keys()
            assert len(both) >= 15
            assert all(sent[number] == got[number] for number in both)
            process.send_signal(signal.SIGINT)
            ended = await command.outcome(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert ended.code == 0, ended.err
        assert near_token not in ended.err
        await until(lambda: not near.relay.subscribers_of("room")[1:])


async def test_the_forward_command_asks_again_until_both_relays_are_there() -> None:
    async with relay() as (probe, _):
        port = int(probe.url.rpartition(":")[2])
    model_id = NullEngine().bundle.model_id.hex()
    async with relay() as (far, far_client):
        carrier = Carrier(
            ForwardConfig(url=f"http://127.0.0.1:{port}/whep/room"),
            ForwardConfig(url=f"{far.url}/whip/copy"),
            model_id=model_id,
        )
        carrying = asyncio.ensure_future(carrier.run())
        watch = await far_client.watch("copy")
        await until(lambda: carrier.failures, timeout_s=PATIENCE_S)
        near = ServerConfig(port=port, engine="null")
        async with running_server(near) as server, RelayClient(server.url) as client:
            await server.ready
            await client.publish("room", WaveTrack())
            await seen(watch, 5)
        await until(lambda: carrier.failures >= 2, timeout_s=PATIENCE_S)
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)
        assert carrier.connections == 1
