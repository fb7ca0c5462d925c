"""The trunk: VP8 into one relay, latents over the thin way, VP8 or H.264 out of the gateway."""

import asyncio
import json
import signal
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Packet, write_packet
from rtcodec.engine.loader import ENGINES, probe_engine
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from rtcodec_server.edge_config import ForwardConfig
from rtcodec_server.stream import Stream
from support import command
from support.ordinary import Viewer, WaveTrack, view
from support.relay import KEYS, ROOMY, RelayClient, relay, token_for, until

PATIENCE_S = 60.0
USABLE = [name for name in ENGINES if probe_engine(name).usable]


@asynccontextmanager
async def gateway(
    url: str, *options: str, token: str | None = None
) -> AsyncIterator[tuple[str, RelayClient]]:
    """Run `rtcodec gateway` in its own process; yield its address and one who watches there."""
    process = await command.start("gateway", url, "--port", "0", *options)
    try:
        where = (await command.said(process, r"http://\S+?(?=:? )"))[0]
        url = where.rstrip(":")
        async with RelayClient(url, token=token) as client:
            ready = False
            while not ready:
                async with client.http.get("/readyz") as response:
                    ready = response.status == 200
                await asyncio.sleep(0.05)
            yield url, client
        process.send_signal(signal.SIGINT)
        ended = await command.outcome(process)
        assert ended.code == 0, ended.err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def seen(viewer: Viewer, n_frames: int = 30) -> None:
    already = len(viewer.frames)
    await until(lambda: len(viewer.frames) >= already + n_frames, timeout_s=PATIENCE_S)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_an_ordinary_peer_sees_the_source_at_the_far_end(codec: str) -> None:
    async with (
        relay(qp=0) as (server, client),
        gateway(f"{server.url}/whep/room", "--engine", "null") as (_, far),
    ):
        await client.publish("room", WaveTrack())
        viewer = await view(far, "room", [codec])
        await seen(viewer)
        assert statistics.median(viewer.psnr_db) > 30
        async with far.http.get("/metrics") as response:
            text = await response.text()
        assert f'rtcodec_legacy_subscribers{{codec="{codec}"}} 1.0' in text
        async with far.http.get("/healthz") as response:
            assert await response.text() == "ok\n"


@pytest.mark.skipif(not USABLE, reason="no engine for a trained model is usable here")
async def test_delta_frames_of_a_trained_model_pass_the_trunk_and_are_acknowledged() -> None:
    config = ServerConfig(
        port=0, model="n64", engine=USABLE[0], threads=1, qp=16, warm=(), admission=ROOMY
    )
    model = ("--model", "n64", "--engine", USABLE[0], "--threads", "1")
    async with (
        _running(config) as (server, client),
        gateway(f"{server.url}/whep/room", *model) as (_, far),
    ):
        await client.publish("room", WaveTrack())
        viewer = await view(far, "room", ["VP8"])
        await seen(viewer, 60)
        assert statistics.median(viewer.psnr_db) > 30
        (trunk,) = server.relay.subscribers_of("room")
        assert trunk.report()["codec"] == "X-RTC-LATENT"
        stream = server.relay.rooms[0].stream
        assert isinstance(stream, Stream)
        assert stream._prediction is not None
        (receiver,) = stream._prediction._planner._receivers.values()
        assert receiver.held


@pytest.mark.skipif(not USABLE, reason="no engine for a trained model is usable here")
async def test_watch_writes_the_same_access_units_at_both_ends(tmp_path: Path) -> None:
    config = ServerConfig(
        port=0, model="n64", engine=USABLE[0], threads=1, qp=16, warm=(), admission=ROOMY
    )
    async with _running(config) as (near, client):
        way = {"copy": ForwardConfig(url=f"{near.url}/whep/room")}
        async with _running(replace(config, forward=way)) as (far, _):
            await client.publish("room", WaveTrack())
            watches = [
                await command.start(
                    *("watch", url, "--output", str(tmp_path / name), "--engine", USABLE[0])
                )
                for url, name in (
                    (f"{near.url}/whep/room", "near.rtc"),
                    (f"{far.url}/whep/copy", "far.rtc"),
                    (f"{far.url}/whep/copy", "far_too.rtc"),
                )
            ]
            await until(partial(_all_sent, near, far, 150), timeout_s=2 * PATIENCE_S)
            for watch in watches:
                watch.send_signal(signal.SIGINT)
            ended = [await command.outcome(watch, timeout_s=PATIENCE_S) for watch in watches]
    assert [each.code for each in ended] == [0, 0, 0], [each.err for each in ended]
    here, there, there_too = (_units(tmp_path / name) for name in
                              ("near.rtc", "far.rtc", "far_too.rtc"))  # fmt: skip
    for other in (there, there_too):
        both = here.keys() & other.keys()
        assert len(both) >= 15  # a busy machine skips frames: newest wins
        assert all(here[number] == other[number] for number in both)
    assert any(len(unit) < max(map(len, here.values())) / 2 for unit in here.values())


def _all_sent(near: RunningServer, far: RunningServer, n_frames: int) -> bool:
    """Whether three watchers and the forward between them have been sent so many frames."""
    peers = (*near.relay.subscribers_of("room"), *far.relay.subscribers_of("copy"))
    return len(peers) == 4 and all(p.sender.counters.frames_sent >= n_frames for p in peers)


def _units(path: Path) -> dict[int, bytes]:
    """Return the access units of a file by frame number, as bytes."""
    units = {}
    for unit in RtcReader(BytesIO(path.read_bytes())):
        packets = [packet for packet in unit.packets if isinstance(packet, Packet)]
        units[packets[0].header.frame_number] = b"".join(map(write_packet, packets))
    return units


@asynccontextmanager
async def _running(config: ServerConfig) -> AsyncIterator[tuple[RunningServer, RelayClient]]:
    async with running_server(config) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            yield server, client


async def test_tokens_are_asked_for_on_both_sides(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f"[keys]\n{json.dumps('main')} = {json.dumps(KEYS['main'])}\n")
    near_token = token_for("room", subscribe=True)
    far_token = token_for("lounge", subscribe=True)
    options = ("--engine", "null", "--room", "lounge", "--config", str(config))
    async with relay(keys=KEYS, token=token_for(publish=True)) as (server, client):
        await client.publish("room", WaveTrack())
        way = gateway(f"{server.url}/whep/room", *options, "--token", near_token, token=far_token)
        async with way as (far_url, far):
            await seen(await view(far, "lounge"), 5)
            async with (
                aiohttp.ClientSession(far_url) as nobody,
                nobody.post("/whep/lounge", data="", headers={"Content-Type": "application/sdp"})
                as response,
            ):  # fmt: skip
                assert response.status == 401


async def test_a_gateway_has_one_room_and_no_publishers() -> None:
    async with (
        relay() as (server, _),
        gateway(f"{server.url}/whep/room", "--engine", "null") as (_, far),
    ):
        with pytest.raises(AssertionError, match="another relay's"):
            await far.publish("room")
        await view(far, "room")
        with pytest.raises(AssertionError, match="503"):
            await far.publish("other")


async def test_viewers_go_on_when_the_near_relay_comes_back() -> None:
    async with relay() as (probe, _):
        port = int(probe.url.rpartition(":")[2])
    near = ServerConfig(port=port, engine="null", qp=0)
    async with gateway(f"http://127.0.0.1:{port}/whep/room", "--engine", "null") as (_, far):
        async with _running(near) as (_, client):
            await client.publish("room", WaveTrack())
            viewer = await view(far, "room")
            await seen(viewer)
        n_before = len(viewer.frames)
        async with _running(near) as (_, client):
            await client.publish("room", WaveTrack())
            await seen(viewer)
        assert len(viewer.frames) > n_before
        assert viewer.connection.connectionState == "connected"
        async with far.http.get("/metrics") as response:
            text = await response.text()
        assert "rtcodec_forward_connections_total 2.0" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://127.0.0.1:1/"], "names no room"),
        (["ftp://127.0.0.1/whep/room"], "not at an http or https URL"),
        (["http://127.0.0.1:1/whep/room", "--codec", "av1"], "'AV1' is none of VP8, H264"),
        (["http://127.0.0.1:1/whep/room", "--room", "a/b"], "forward 'a/b'"),
        (["http://127.0.0.1:1/whep/room", "--host", "192.0.2.1"], "would let everybody in"),
    ],
)
def test_settings_that_are_wrong_end_it_with_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    ended = command.run_here(capsys, "gateway", *words, "--engine", "null", "--port", "0")
    assert ended.code == 2
    assert message in ended.last_line
