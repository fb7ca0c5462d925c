"""Streams at several rungs, over real connections: who gets what, and how it changes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import pack_remb_fci

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.bundle import find_bundle
from rtcodec.engine.loader import open_engine
from rtcodec.packet.rtcp import APPLICATION_FORMAT, PAYLOAD_FEEDBACK, write_feedback
from rtcodec.session.ladder import read_rung
from rtcodec.session.rung_selector import RungPolicy
from rtcodec.types import Planes
from rtcodec.webrtc import LatentFrame
from rtcodec.webrtc.aiortc_private import RECEIVER
from rtcodec.webrtc.aiortc_transport import send_rtcp
from rtcodec_client.connection import RelayConnection
from rtcodec_client.output import OutputThread
from rtcodec_client.signalling import SignallingClient
from rtcodec_client.watch import Watcher, WatchOptions
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from support.relay import ROOMY, MovingTrack, RelayClient, Watch, relay, until

RUNGS = tuple(map(read_rung, ("source", "144p", "96p")))
RATED = tuple(map(read_rung, ("source@400", "144p@160", "96p@60")))
SIZES = [(320, 192), (240, 144), (160, 96)]
PATIENCE_S = 120.0
"Graphs are compiled for six sizes, on whatever of a machine others leave."

SWIFT = RungPolicy(hold_us=700_000, settle_us=400_000)


class ToldEstimate:
    """What a receiver says that the way to it carries: nothing until it is told."""

    def __init__(self) -> None:
        self.bps: int | None = None
        self.task: asyncio.Task[None] | None = None

    async def say(self, connection: RTCPeerConnection) -> None:
        """Send REMB ten times a second until *connection* ends."""
        receiver = connection.getTransceivers()[0].receiver
        while connection.connectionState != "closed":
            state = vars(receiver)
            ssrc, streams = state[f"{RECEIVER}__rtcp_ssrc"], state[f"{RECEIVER}__remote_streams"]
            if self.bps is not None and ssrc is not None and streams:
                remb = pack_remb_fci(self.bps, list(streams))
                data = write_feedback(
                    PAYLOAD_FEEDBACK, APPLICATION_FORMAT, ssrc=ssrc, media_ssrc=0, control=remb
                )
                send_rtcp(receiver.transport, data)
            await asyncio.sleep(0.1)


def tell_estimates(connection: RTCPeerConnection) -> ToldEstimate:
    """Have a receiver send REMB beside its feedback, of which a sender takes the lesser."""
    told = ToldEstimate()
    told.task = asyncio.ensure_future(told.say(connection))
    return told


def rung_of(frame: LatentFrame) -> tuple[int, int]:
    """Rung and temporal layer that a frame's packets say."""
    layers = {
        packet.header.layer
        for packet in map(read_packet, frame.packets)
        if isinstance(packet, Packet)
    }
    (layer,) = layers
    return layer.rung, layer.temporal


def size_of(frame: LatentFrame) -> tuple[int, int]:
    packet = read_packet(frame.packets[0])
    assert isinstance(packet, Packet)
    assert packet.header.description is not None
    geometry = packet.header.description.geometry
    return geometry.width, geometry.height


async def room_of(client: RelayClient) -> dict[str, Any]:
    async with client.http.get("/api/rooms") as response:
        (room,) = (await response.json())["rooms"]
    found: dict[str, Any] = room
    return found


async def test_only_rungs_that_somebody_gets_are_coded() -> None:
    async with relay(rungs=RUNGS) as (server, client):
        await client.publish("room", MovingTrack(*SIZES[0]))
        top = await client.watch("room", query="?rung=0")
        last = await client.watch("room", query="?rung=2")
        await until(lambda: len(top.frames) > 20 and len(last.frames) > 20)
        assert {rung_of(frame) for frame in top.frames} == {(0, 0)}
        assert {size_of(frame) for frame in top.frames} == {SIZES[0]}
        assert {rung_of(frame) for frame in last.frames} == {(2, 0)}
        assert {size_of(frame) for frame in last.frames} == {SIZES[2]}

        room = await room_of(client)
        rungs = room["rungs"]
        assert [(rung["width"], rung["height"]) for rung in rungs] == SIZES
        assert [rung["subscribers"] for rung in rungs] == [1, 0, 1]
        assert rungs[0]["encoded"] > 0
        assert rungs[1]["encoded"] == rungs[1]["sent"] == 0
        assert rungs[0]["bitstream_bytes"] > rungs[2]["bitstream_bytes"] > 0
        assert [peer["rung"] for peer in room["subscribers"]] == [0, 2]

        async with client.http.get("/metrics") as response:
            metrics = await response.text()
        assert 'rtcodec_rung_subscribers{rung="2"} 1.0' in metrics
        assert 'rtcodec_rung_frames_total{event="encoded",rung="1"} 0.0' in metrics
        frames = server.relay.stats.frames
        assert frames.received == frames.encoded + frames.n_dropped + frames.in_flight
        assert frames.encoded <= frames.received  # however many codings each has


async def test_a_subscriber_moves_down_at_once_and_up_again_when_it_can() -> None:
    async with relay(rungs=RUNGS) as (server, client):
        make_swift(server)
        await client.publish("room", MovingTrack(*SIZES[0]))
        watch = await client.watch("room")
        told = tell_estimates(watch.connection)
        await until(lambda: len(watch.frames) > 15)
        assert {rung_of(frame)[0] for frame in watch.frames} == {0}

        told.bps = 20_000
        await until(lambda: rung_of(watch.frames[-1])[0] == 2)
        n_low = len(watch.frames)
        told.bps = 50_000_000
        await until(lambda: rung_of(watch.frames[-1])[0] == 0)

        rungs = [rung_of(frame)[0] for frame in watch.frames]
        assert set(rungs[:n_low]) == {0, 2}  # down at once, past the one between
        ups = [rungs.index(rung, n_low) for rung in (1, 0)]
        assert ups[0] < ups[1]  # up step by step
        assert_every_frame_once(watch)
        assert server.relay.ladder is not None
        assert server.relay.ladder.switches == {"down": 1, "up": 2}


async def test_the_others_notice_nothing_of_one_that_moves() -> None:
    async with relay(rungs=RUNGS) as (server, client):
        make_swift(server)
        await client.publish("room", MovingTrack(*SIZES[0]))
        still, moving = await client.watch("room"), await client.watch("room")
        told = tell_estimates(moving.connection)
        tell_estimates(still.connection).bps = 50_000_000
        await until(lambda: len(moving.frames) > 5)
        for bps, rung in ((20_000, 2), (50_000_000, 0), (20_000, 2)):
            told.bps = bps
            await until(partial(is_on, moving, rung))
        assert {rung_of(frame)[0] for frame in still.frames} == {0}
        assert_every_frame_once(still)
        assert_every_frame_once(moving)


async def test_half_the_frame_rate_is_every_other_frame() -> None:
    async with relay(rungs=RUNGS) as (_, client):
        await client.publish("room", MovingTrack(*SIZES[0]))
        full = await client.watch("room", query="?rung=1")
        half = await client.watch("room", query="?rung=1&temporal=0")
        await until(lambda: len(half.frames) > 20)
        n_full, n_half = len(full.frames), len(half.frames)
        await until(lambda: len(half.frames) > n_half + 20)
        layers = Counter(rung_of(frame) for frame in full.frames[n_full:])
        assert layers[1, 0] == pytest.approx(layers[1, 1], abs=6)
        assert {rung_of(frame) for frame in half.frames[n_half:]} == {(1, 0)}
        assert_every_frame_once(half)


async def test_the_layer_extension_pins_a_rung_and_lets_go() -> None:
    async with relay(rungs=RUNGS) as (_, client):
        await client.publish("room", MovingTrack(*SIZES[0]))
        watch = await client.watch("room")
        links = watch.links
        layer = f'<{watch.path}/layer>; rel="urn:ietf:params:whep:ext:core:layer"'
        assert layer in links
        await until(lambda: watch.frames)

        async with client.http.post(f"{watch.path}/layer", json={"rid": "1"}) as response:
            assert response.status == 200, await response.text()
        await until(lambda: rung_of(watch.frames[-1])[0] == 1)
        async with client.http.post(f"{watch.path}/layer", json={"maxHeight": 100}) as response:
            assert response.status == 200
            layers = (await response.json())["layers"]
        assert [layer["rid"] for layer in layers] == ["0", "0", "1", "1", "2", "2"]
        await until(lambda: rung_of(watch.frames[-1])[0] == 2)
        for body, status in (({"rid": "7"}, 400), ({"maxWidth": -1}, 400), ([], 400)):
            async with client.http.post(f"{watch.path}/layer", json=body) as response:
                assert response.status == status
        async with client.http.post(f"{watch.path}x/layer", json={}) as response:
            assert response.status == 404
        assert_every_frame_once(watch)


async def test_the_layers_are_told_as_server_sent_events() -> None:
    async with relay(rungs=RUNGS) as (_, client):
        await client.publish("room", MovingTrack(*SIZES[0]))
        watch = await client.watch("room")
        await until(lambda: watch.frames)
        async with client.http.post(f"{watch.path}/sse", json=["layers"]) as response:
            assert response.status == 201
            stream = response.headers["Location"]
        for body, status in ("{", 400), ("{}", 400), ("", 201), ("", 403):
            headers = {"Content-Type": "application/json"}
            async with client.http.post(
                f"{watch.path}/sse", data=body, headers=headers
            ) as response:
                assert response.status == status, body
        async with client.http.get(stream) as response:
            assert response.content_type == "text/event-stream"
            name, data = [(await response.content.readline()).decode() for _ in range(2)]
            assert name == "event: layers\n"
            layers = json.loads(data.removeprefix("data: "))["0"]
            assert {(layer["width"], layer["height"]) for layer in layers} == set(SIZES)
            async with client.http.delete(stream) as gone:
                assert gone.status == 200
            await asyncio.wait_for(response.content.read(), 60)  # it ends
        async with client.http.get(stream) as response:
            assert response.status == 404


async def test_a_relay_without_rungs_has_no_layers_to_choose() -> None:
    async with relay() as (_, client):
        await client.publish("room", MovingTrack(*SIZES[0]))
        watch = await client.watch("room", query="?rung=2")
        await until(lambda: watch.frames)
        assert watch.links == []
        assert {rung_of(frame) for frame in watch.frames} == {(0, 0)}
        async with client.http.post(f"{watch.path}/layer", json={}) as response:
            assert response.status == 404
        room = await room_of(client)
        assert room["rungs"] == []
        assert "rung" not in room["subscribers"][0]


async def test_rungs_follow_a_source_that_changes_its_size() -> None:
    async with relay(rungs=RUNGS) as (_, client):
        path = await client.publish("room", MovingTrack(*SIZES[0]))
        watch = await client.watch("room", query="?rung=1")
        await until(lambda: len(watch.frames) > 5)
        async with client.http.delete(path):
            pass
        await client.publish("room", MovingTrack(480, 320))
        await until(lambda: size_of(watch.frames[-1]) == (216, 144))


@asynccontextmanager
async def real_relay(tmp_path: Path) -> AsyncIterator[RunningServer]:
    config = ServerConfig(
        port=0, engine="auto", model="n64", threads=1, psnr="off", tap=tmp_path,
        warm=(SIZES[0],), rungs=RATED, frame_deadline_ms=1000, admission=ROOMY,
    )  # fmt: skip
    async with running_server(config) as server:
        await server.ready
        make_swift(server)
        yield server


async def test_the_picture_stays_whole_while_a_watcher_moves(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs an engine with delta frames")
    bundle = find_bundle("n64")
    engine = open_engine("auto", bundle, threads=1)
    seen: list[Planes] = []
    stop = asyncio.Event()
    try:
        async with real_relay(tmp_path) as server, RelayClient(server.url) as client:
            await client.publish("room", MovingTrack(*SIZES[0], fps=10))
            async with SignallingClient(f"{server.url}/whep/room") as signalling:
                connection = RelayConnection(signalling, models=[bundle.model_id.hex()])
                watcher = Watcher(
                    connection,
                    engine,
                    bundle,
                    WatchOptions(relay_tap=tmp_path / "room.tap", warm=SIZES[0]),
                    outputs=OutputThread([]),
                    show=seen.append,
                )
                running = asyncio.ensure_future(watcher.run(stop))
                await until(connection.peer.getTransceivers, timeout_s=PATIENCE_S)
                told = tell_estimates(connection.peer)
                await asyncio.wait_for(watcher.prepared.wait(), PATIENCE_S)
                for bps, size in ((70_000, SIZES[2]), (50_000_000, SIZES[0]), (70_000, SIZES[2])):
                    told.bps = bps
                    await until(partial(shows, seen, size), timeout_s=PATIENCE_S)
                told.bps = 30_000  # half of the last rung
                n_seen = len(seen)
                await until(lambda: len(seen) > n_seen + 12, timeout_s=PATIENCE_S)
                assert (await room_of(client))["subscribers"][0]["half_rate"]
                stop.set()
                await running
                await connection.peer.close()
    finally:
        engine.close()
    passed = [size for size, _ in groupby(map(size_of_planes, seen))]
    rungs = [SIZES.index(size) for size in passed]
    assert (rungs[:2], rungs[-2:]) == ([0, 2], [0, 2])  # down at once, past the one between
    ups = [(one, other) for one, other in pairwise(rungs) if other < one]
    # one at a time; a busy machine looks like a thin way, and a step up may be taken back
    assert (2, 1) in ups
    assert all(one - other == 1 for one, other in ups)
    figures = watcher.figures
    if not figures.lost["late"]:  # or the machine was too busy to decode every frame
        assert figures.damaged == 0
        assert figures.lost["undecodable"] == 0
        assert min(watcher.measured.timeline.psnr_db) > 30
    psnr_db = watcher.measured.timeline.psnr_db
    assert len(psnr_db) >= 0.9 * figures.decoded
    assert median(psnr_db) > 30


def size_of_planes(planes: Planes) -> tuple[int, int]:
    return planes.width, planes.height


def is_on(watch: Watch, rung: int) -> bool:
    return rung_of(watch.frames[-1])[0] == rung


def shows(seen: list[Planes], size: tuple[int, int]) -> bool:
    """Whether the last ten pictures had a size."""
    return [size_of_planes(planes) for planes in seen[-10:]] == [size] * 10


def make_swift(server: RunningServer) -> None:
    """Make subscribers of a relay go up sooner than they should."""
    assert server.relay.ladder is not None
    server.relay.feeds.ladder = replace(server.relay.ladder, policy=SWIFT)


def assert_every_frame_once(watch: Watch) -> None:
    """Check that frames came in order, none twice."""
    numbers = []
    for frame in watch.frames:
        packet = read_packet(frame.packets[0])
        assert isinstance(packet, Packet)
        numbers.append(packet.header.frame_number)
    assert numbers == sorted(set(numbers))
    assert [frame.number for frame in watch.frames] == list(range(len(watch.frames)))
