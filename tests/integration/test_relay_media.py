"""Video in, latents out: what arrives, what is counted, what is left behind."""

import asyncio
import random
import signal
import sys
import threading
from pathlib import Path

import aioice.ice
import numpy as np
import pytest
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import is_rtcp

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.engine.null import NullEngine
from rtcodec.session.lobby import Limits
from rtcodec.stats import FrameLedger
from rtcodec.types import Planes
from rtcodec.webrtc import LatentFrame
from rtcodec.webrtc.aiortc_transport import run_transport
from rtcodec.webrtc.tap import FrameTapReader, tap_path
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from support.relay import MovingTrack, RelayClient, Watch, relay, until

WIDTH, HEIGHT = 160, 96


def decode(frame: LatentFrame, width: int = WIDTH, height: int = HEIGHT) -> Planes:
    engine = NullEngine()
    bundle = engine.bundle
    decoder = FrameDecoder(engine, bundle, width, height)
    return decoder.decode([read_packet(packet) for packet in frame.packets]).planes


def settled(frames: FrameLedger) -> bool:
    return frames.in_flight == 0 and frames.received == frames.encoded + frames.n_dropped


async def finish(client: RelayClient, path: str, watch: Watch) -> dict[str, int]:
    """Let the publisher go, then the subscriber; return the subscriber's final figures."""
    async with client.http.delete(path) as response:
        assert response.status == 200
    async with client.http.delete(watch.path) as response:
        figures: dict[str, int] = await response.json()
    await asyncio.wait_for(watch.task, 60)
    return figures


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_what_is_published_is_watched_and_every_frame_is_accounted_for(codec: str) -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        track = MovingTrack(WIDTH, HEIGHT, n_frames=50)
        path = await client.publish("room", track, codec=codec)
        stats = server.relay.stats
        # who leaves amid a frame has it dropped as `closing` or `closed`: this one waits
        await until(lambda: stats.frames.received == 50 and settled(stats.frames))
        await until(lambda: len(watch.frames) == stats.frames.sent)
        figures = await finish(client, path, watch)

        assert settled(stats.frames)
        assert stats.frames.sent == figures["frames_sent"] == len(watch.frames)
        assert watch.receiver.frames_lost == watch.receiver.frames_dropped == 0
        assert {*stats.frames.dropped} <= {"starting", "superseded"}
        assert stats.bitstream_bytes >= figures["bitstream_bytes"]
        assert figures["bitstream_bytes"] == watch.receiver.bitstream_bytes

        # the picture is the one that was published, moving by four levels a frame
        frame = watch.frames[20]
        assert frame.timing is not None
        number = round(frame.timing.pts / 3000)
        rows, columns = np.ogrid[:HEIGHT, :WIDTH]
        expected = (rows + columns + 4 * number) & 0xFF
        error = np.abs(decode(frame).y.astype(int) - expected)
        assert np.median(error) < 12

        # and its time is told
        assert [frame.number for frame in watch.frames] == list(range(len(watch.frames)))
        assert frame.timing.engine_us > 0
        assert 0 < frame.timing.coded_us - frame.timing.received_us < 2_000_000
        assert stats.psnr_db["y"].count + stats.psnr_skipped == stats.frames.encoded
        assert stats.psnr_db["y"].count > 0
        for stage in ("receive", "decode", "queue", "batch", "engine", "entropy", "send", "total"):
            assert stats.latency_ms[stage].count > 0, stage


async def test_what_comes_before_the_receiver_is_ready_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_late = 0

    async def run_late(self: RTCDtlsTransport) -> None:
        nonlocal n_late
        if self._rtp_router.receivers:
            await until(lambda: self.transport._connection._queue.qsize() >= 3)
            n_late += 1
        await run_transport(self)

    monkeypatch.setattr(RTCDtlsTransport, "_RTCDtlsTransport__run", run_late)
    async with relay() as (server, client):
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(WIDTH, HEIGHT, n_frames=50))
        frames = server.relay.stats.frames
        await until(lambda: frames.received == 50 and settled(frames))
        await until(lambda: len(watch.frames) == frames.sent)
        assert n_late == 2
        assert {*frames.dropped} <= {"starting", "superseded"}
        assert [frame.number for frame in watch.frames] == list(range(len(watch.frames)))


async def test_a_subscriber_of_an_empty_room_waits_and_then_gets_video() -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        await until(lambda: watch.connection.connectionState == "connected")
        assert watch.frames == []
        await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: watch.frames)
        assert watch.frames[0].number == 0
        assert server.relay.is_live("room")


async def test_subscribers_stay_when_the_publisher_changes() -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        path = await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(watch.frames) >= 5)
        await client.http.delete(path)
        n_before = len(watch.frames)
        assert not server.relay.is_live("room")
        await client.publish("room", MovingTrack(64, 48))
        await until(lambda: len(watch.frames) >= n_before + 5)
        assert watch.receiver.frames_lost == 0
        last = read_packet(watch.frames[-1].packets[0])
        assert isinstance(last, Packet)
        assert last.header.description is not None
        assert last.header.description.geometry.width == 64


async def test_all_subscribers_get_the_same_packets() -> None:
    async with relay() as (server, client):
        watches = [await client.watch("room") for _ in range(3)]
        await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: all(len(watch.frames) >= 10 for watch in watches))
        by_pts = [
            {frame.timing.pts: frame.packets for frame in watch.frames if frame.timing}
            for watch in watches
        ]
        shared = set(by_pts[0]) & set(by_pts[1]) & set(by_pts[2])
        assert len(shared) >= 5
        for pts in shared:
            assert by_pts[0][pts] == by_pts[1][pts] == by_pts[2][pts]
        await until(lambda: server.relay.stats.frames.sent >= 30)


async def test_two_rooms_do_not_mix() -> None:
    async with relay() as (server, client):
        one, two = await client.watch("one"), await client.watch("two")
        await client.publish("one", MovingTrack(64, 48))
        await client.publish("two", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(one.frames) >= 5 and len(two.frames) >= 5)
        for watch, width in ((one, 64), (two, WIDTH)):
            packet = read_packet(watch.frames[-1].packets[0])
            assert isinstance(packet, Packet)
            assert packet.header.description is not None
            assert packet.header.description.geometry.width == width
        async with client.http.get("/api/rooms") as response:
            rooms = {room["room"]: room for room in (await response.json())["rooms"]}
        assert set(rooms) == {"one", "two"}
        assert (rooms["one"]["width"], rooms["one"]["height"]) == (64, 48)
        assert rooms["two"]["live"]
        total = server.relay.stats.frames.received
        assert 0 <= total - sum(r["frames"]["received"] for r in rooms.values()) < 20


async def test_a_size_that_changes_in_the_middle_is_followed() -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        track = MovingTrack(WIDTH, HEIGHT)
        await client.publish("room", track)
        await until(lambda: len(watch.frames) >= 5)
        track.width, track.height = 70, 50
        await until(lambda: _width(watch.frames[-1]) == 70)
        n_frames = len(watch.frames)
        await until(lambda: len(watch.frames) >= n_frames + 5)
        assert decode(watch.frames[-1], 70, 50).width == 70
        assert server.relay.host is not None
        assert server.relay.host.failures == 0


def _width(frame: LatentFrame) -> int:
    packet = read_packet(frame.packets[0])
    assert isinstance(packet, Packet)
    assert packet.header.description is not None
    return packet.header.description.geometry.width


async def test_key_frame_requests_and_reports_are_counted() -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: watch.frames)
        watch.receiver.request_keyframe()
        watch.receiver.request_keyframe()  # too soon after the first
        await until(lambda: server.relay.stats.pli_count == 1)
        await until(lambda: server.relay.subscribers_of("room")[0].last_heard_us is not None)


@pytest.mark.parametrize("psnr", ["all", "off"])
async def test_psnr_is_measured_for_all_or_none_if_so_told(psnr: str) -> None:
    async with relay(psnr=psnr) as (server, client):
        watch = await client.watch("room")
        path = await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(watch.frames) >= 20)
        await finish(client, path, watch)
        stats = server.relay.stats
        expected = stats.frames.encoded if psnr == "all" else 0
        await until(lambda: stats.psnr_db["y"].count + stats.psnr_skipped >= expected)
        assert stats.psnr_db["y"].count == pytest.approx(expected, abs=1)
        assert stats.psnr_skipped <= 1


METRICS = (
    'rtcodec_frame_latency_seconds_bucket{le="0.001",stage="engine"}',
    'rtcodec_frame_latency_seconds_count{stage="total"}',
    'rtcodec_frame_psnr_db_bucket{le="30.0",plane="y"}',
    'rtcodec_psnr_db_sum{plane="yuv"}',
    "rtcodec_psnr_measurements_total",
    'rtcodec_frames_total{event="received",reason=""}',
    'rtcodec_frames_total{event="encoded",reason=""}',
    'rtcodec_frames_total{event="sent",reason=""}',
    "rtcodec_bitstream_bytes_total",
    "rtcodec_bits_per_pixel_count",
    "rtcodec_batch_size_bucket",
    "rtcodec_deadline_misses_total",
    "rtcodec_event_loop_lag_seconds",
    'rtcodec_nack_total{asked="relay"}',
    'rtcodec_pli_total{asked="publisher"}',
    "rtcodec_bitrate_bits_per_second 0.0",
    "rtcodec_target_bitrate_bits_per_second 0.0",
    "rtcodec_saturated_streams 0.0",
    "rtcodec_engine_load ",
    "rtcodec_engine_busy_seconds_total ",
    "rtcodec_admission_refused_total 0.0",
    'rtcodec_load_steps_total{step="rung"} 0.0',
    "rtcodec_load_steps_in_force 0.0",
    "rtcodec_engine_streams_moved_total 0.0",
    "rtcodec_engines_up 1.0",
)


async def test_the_metrics_say_what_happened() -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        path = await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(watch.frames) >= 10)
        await finish(client, path, watch)
        async with client.http.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await response.text()
    for name in METRICS:
        assert name in text, name
    values = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if not line.startswith("#")
    }
    frames = server.relay.stats.frames
    dropped = sum(
        v for k, v in values.items() if k.startswith('rtcodec_frames_total{event="dropped"')
    )
    received = values['rtcodec_frames_total{event="received",reason=""}']
    assert received == values['rtcodec_frames_total{event="encoded",reason=""}'] + dropped
    assert received == frames.received
    assert values["rtcodec_bitstream_bytes_total"] == server.relay.stats.bitstream_bytes
    latency = values['rtcodec_frame_latency_seconds_count{stage="entropy"}']
    assert latency == frames.encoded
    assert values['rtcodec_frame_latency_seconds_bucket{le="+Inf",stage="entropy"}'] == latency
    assert 0 < values['rtcodec_frame_latency_seconds_sum{stage="total"}'] < 2 * latency


async def test_a_stream_keeps_its_target_and_the_relay_says_so() -> None:
    async with relay(bitrate_kbps=220) as (server, client):
        watch = await client.watch("room")
        path = await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(watch.frames) >= 90)
        async with client.http.get("/api/rooms") as response:
            (room,) = (await response.json())["rooms"]
        async with client.http.get("/metrics") as response:
            text = await response.text()
        await finish(client, path, watch)
        assert settled(server.relay.stats.frames)
    assert room["target_kbps"] == 220
    assert room["kbps"] == pytest.approx(220, rel=0.15)  # real time, on whatever machine this is
    assert 0 < room["qp"] < 63
    assert "rtcodec_target_bitrate_bits_per_second 220000.0" in text


PUBLISHER = """
import asyncio, sys
from support.relay import MovingTrack, RelayClient

async def main() -> None:
    async with RelayClient(sys.argv[1]) as client:
        await client.publish("room", MovingTrack(160, 96))
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_publishers_that_leave_at_any_moment_leave_balanced_books(codec: str) -> None:
    async with relay() as (server, client):
        watch = await client.watch("room")
        frames = server.relay.stats.frames
        for moment in range(6):
            n_before = frames.received
            await client.publish("room", MovingTrack(320, 192, fps=60), codec=codec)
            await until(lambda: frames.received > n_before)  # noqa: B023 - awaited here
            await asyncio.sleep(0.003 * moment)
            await client.connections.pop().close()  # without a DELETE
            await until(lambda: server.relay.n_sessions == 1)
            await until(lambda: settled(frames))
        await client.http.delete(watch.path)
        await asyncio.wait_for(watch.task, 60)
        assert frames.encoded == frames.sent + frames.unsent
        assert frames.sent == len(watch.frames) + watch.receiver.frames_lost


async def test_a_publisher_that_vanishes_is_cleaned_up(request: pytest.FixtureRequest) -> None:
    root = request.config.rootpath
    paths = [str(root / part) for part in ("", "server", "engines", "clients", "tests")]
    async with relay(limits=Limits(publisher_silence_us=600_000)) as (server, client):
        watch = await client.watch("room")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PUBLISHER, server.url, env={"PYTHONPATH": ":".join(paths)}
        )
        try:
            await until(lambda: len(watch.frames) >= 5, timeout_s=60)
            process.send_signal(signal.SIGKILL)
            await until(lambda: not server.relay.is_live("room"))
            assert server.relay.sessions_closed == {"silent": 1}
            await until(lambda: settled(server.relay.stats.frames))
            assert watch.connection.connectionState == "connected"
            n_before = len(watch.frames)
            await client.publish("room", MovingTrack(WIDTH, HEIGHT))
            await until(lambda: len(watch.frames) > n_before + 3)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Lose 3 % of the RTP packets that are sent in this process, retransmissions too."""
    chance = random.Random(7)
    switch = [False]
    send_data = aioice.ice.StunProtocol.send_data

    async def lose(self: object, data: bytes, addr: tuple[str, int]) -> None:
        is_media = 127 < data[0] < 192 and not is_rtcp(data)
        if not (switch[0] and is_media and chance.random() < 0.03):
            await send_data(self, data, addr)  # type: ignore[arg-type]

    monkeypatch.setattr(aioice.ice.StunProtocol, "send_data", lose)
    return switch


async def test_loss_is_repaired_both_ways(lossy: list[bool]) -> None:
    async with relay(qp=0) as (server, client):
        watch = await client.watch("room")
        path = await client.publish("room", MovingTrack(320, 192))
        await until(lambda: len(watch.frames) >= 5)
        lossy[0] = True
        await until(lambda: len(watch.frames) >= 90)
        lossy[0] = False
        counters = watch.receiver.counters
        await finish(client, path, watch)
        assert counters.packets_recovered > 0
        assert watch.receiver.frames_lost <= 1
        assert sum(frame.is_complete for frame in watch.frames) >= 0.97 * len(watch.frames)
        assert server.relay.occupancy.publisher_nacks > 0
        assert server.relay.stats.nack_count > 0
        assert settled(server.relay.stats.frames)
        assert server.relay.stats.frames.sent == len(watch.frames) + watch.receiver.frames_lost


async def test_shutting_down_with_people_inside_loses_no_frame_from_the_books() -> None:
    server: RunningServer
    async with relay() as (server, client):
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(watch.frames) >= 10)
        n_threads = threading.active_count()
        await server.relay.close()
        await asyncio.wait_for(watch.task, 60)
        frames = server.relay.stats.frames
        assert settled(frames)
        assert frames.received > 0
        assert frames.sent == len(watch.frames) + watch.receiver.frames_lost
        assert frames.encoded >= frames.sent
        assert server.relay.n_sessions == 0
        assert server.relay.rooms == ()
        assert server.relay.sessions_closed == {"shutdown": 2}
        assert threading.active_count() < n_threads
        async with client.http.get("/readyz") as response:
            assert response.status == 503


async def test_shutting_down_closes_every_connection_of_a_room() -> None:
    async with relay() as (server, client):
        watches = [await client.watch("room") for _ in range(3)]
        await until(lambda: all(w.connection.connectionState == "connected" for w in watches))
        await server.relay.close()
        for watch in watches:  # the relay says goodbye to each
            await asyncio.wait_for(watch.task, 60)
        assert server.relay.sessions_closed == {"shutdown": 3}


@pytest.mark.parametrize("after_ms", range(0, 80, 8))
async def test_whoever_leaves_while_connecting_leaves_nothing_running(after_ms: int) -> None:
    before = asyncio.all_tasks()
    async with relay() as (_, client):
        await client.watch("room")
        await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await asyncio.sleep(after_ms / 1000)
    await asyncio.sleep(0)
    left = [task.get_coro().__qualname__ for task in asyncio.all_tasks() - before]  # type: ignore[union-attr]
    assert left == []


async def test_a_tap_keeps_the_frames_that_were_encoded(tmp_path: Path) -> None:
    config = ServerConfig(port=0, engine="null", tap=tmp_path)
    async with running_server(config) as server, RelayClient(server.url) as client:
        await server.ready
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(WIDTH, HEIGHT))
        await until(lambda: len(watch.frames) >= 10)
        packet = read_packet(watch.frames[-1].packets[0])
        assert isinstance(packet, Packet)
        with FrameTapReader(tap_path(tmp_path, "room")) as reader:
            tapped = reader.by_frame_number(packet.header.frame_number)
        assert tapped is not None
        assert (tapped.planes.width, tapped.planes.height) == (WIDTH, HEIGHT)
        assert tapped.sent_us >= tapped.received_us
