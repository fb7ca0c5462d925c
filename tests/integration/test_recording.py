"""Rooms are recorded as they were coded, and recordings played as if coded now."""

import asyncio
import json
import os
import signal
import statistics
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.bundle import find_bundle
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.loader import open_engine
from rtcodec.errors import Truncated
from rtcodec.webrtc import LatentFrame
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.client_limits import PublisherLimits
from rtcodec_server.config import ServerConfig
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.webhook_config import WebhookConfig
from support.command import outcome, relay_process, run, said, start
from support.ordinary import WaveTrack, view
from support.pictures import same_picture
from support.recordings import read_recording
from support.relay import KEYS, ROOMY, MovingTrack, RelayClient, Watch, relay, token_for, until
from support.webhook import SECRET, receiver

MODEL = "n64"


@asynccontextmanager
async def neural_relay(record: RecordConfig) -> AsyncIterator[tuple[RunningServer, RelayClient]]:
    """A relay with delta frames, small and quick."""
    config = ServerConfig(
        port=0,
        model=MODEL,
        threads=1,
        psnr="off",
        warm=((160, 96),),
        record=record,
        admission=ROOMY,
    )
    async with running_server(config) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            yield server, client


async def call(client: RelayClient, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with client.http.request(method, path, **request) as response:
        return response.status, json.loads(await response.text())


async def rooms_are(client: RelayClient, *, empty: bool) -> None:
    """Wait until there is a room, or none."""
    async with asyncio.timeout(60):
        while True:
            if empty != bool((await call(client, "GET", "/api/rooms"))[1]["rooms"]):
                return
            await asyncio.sleep(0.05)


async def play(client: RelayClient, room: str, file: str, **how: Any) -> tuple[int, Any]:
    return await call(client, "POST", f"/api/rooms/{room}/play", json={"file": file, **how})


def files_of(directory: Path, room: str) -> list[Path]:
    return sorted(directory.glob(f"{room}@*.rtc"))


def record_all(directory: Path, **more: Any) -> RecordConfig:
    return RecordConfig(directory=directory, min_free_mb=0, **more)


def packets(frames: list[LatentFrame]) -> list[tuple[bytes, ...]]:
    return [tuple(frame.packets) for frame in frames]


def overlap(recorded: list[tuple[bytes, ...]], watched: Watch) -> list[tuple[bytes, ...]]:
    """Return the frames that a watcher got and were recorded; they follow each other in both."""
    seen = packets(watched.frames)
    assert seen[0] in recorded
    start = recorded.index(seen[0])
    part = recorded[start : start + len(seen)]
    assert part == seen[: len(part)]
    return part


async def test_what_is_recorded_is_what_was_watched_and_plays_into_another_room(
    tmp_path: Path,
) -> None:
    """Publish, record, stop; decode; play: the same packets, the same pictures."""
    async with neural_relay(record_all(tmp_path, rooms=())) as (server, client):
        watch = await client.watch("live")
        path = await client.publish("live", MovingTrack(160, 96))
        await until(lambda: len(watch.frames) >= 5)
        status, begun = await call(client, "POST", "/api/rooms/live/recording")
        assert (status, begun["files"]) == (201, [])
        await until(lambda: server.relay.recordings.totals.frames >= 25)
        status, figures = await call(client, "DELETE", "/api/rooms/live/recording")
        await until(lambda: watch.frames[-1].number > 30)
        await call(client, "DELETE", path)
        (file,) = files_of(tmp_path, "live")
        recorded = read_recording(file)
        assert recorded.problem is None
        assert (status, figures["files"], figures["frames"]) == (
            200, [file.name], len(recorded.units),
        )  # fmt: skip
        assert figures["bytes"] == file.stat().st_size
        assert figures["dropped"] == 0

        # the very packets, from one on that can be started from, most of them predicted
        first = recorded.units[0].header
        assert first.keyframe
        assert any(unit.header.reference is not None for unit in recorded.units)
        live = packets(watch.frames)
        start = live.index(recorded.frames[0])
        assert live[start : start + len(recorded.units)] == recorded.frames

        # true times
        timings = [f.timing for f in watch.frames[start : start + len(recorded.units)] if f.timing]
        assert recorded.times == [timing.pts - timings[0].pts for timing in timings]

        # and again, in another room, to somebody who was there and somebody who comes later
        there = await client.watch("replay")
        await until(lambda: there.connection.connectionState == "connected")
        assert (await play(client, "replay", file.name))[0] == 201
        await until(lambda: len(there.frames) == len(recorded.units))
        assert packets(there.frames) == recorded.frames
        gaps = np.diff([f.timing.pts for f in there.frames if f.timing])
        assert np.abs(gaps - np.diff(recorded.times)).max() <= 1
        await until(lambda: server.relay.n_sessions == 2)  # both watchers: it has ended

    bundle = find_bundle(MODEL)
    engine = open_engine("auto", bundle, threads=1)
    seen_live, seen_again = PictureDecoder(engine, bundle), PictureDecoder(engine, bundle)
    n_same = 0
    for before, after in zip(live[start:], packets(there.frames), strict=False):
        a, b = seen_live.decode(before), seen_again.decode(after)
        assert a.is_complete
        assert same_picture(a.planes, b.planes)
        n_same += 1
    assert n_same == len(recorded.units)
    for decoder in (seen_live, seen_again):
        decoder.close()
    engine.close()


async def test_the_commands_record_decode_inspect_and_play(tmp_path: Path) -> None:
    """`serve --record`, `decode`, `inspect`, `play`: pictures equal those that `watch` decoded."""
    options = ("--engine", "auto", "--model", MODEL, "--threads", "1", "--psnr", "off",
               "--warm", "160x96", "--record", str(tmp_path))  # fmt: skip
    async with relay_process(*options) as (_, url):
        seen, again = tmp_path / "seen.npy", tmp_path / "again.npy"
        watching = await start("watch", f"{url}/whep/call", "--seconds", "3", "--output", str(seen))
        published = await run(
            "publish", f"{url}/whip/call", "pattern:160x96@15", "--seconds", "4", "--json"
        )
        assert published.code == 0, published.err
        assert (await outcome(watching)).code == 0
        async with RelayClient(url) as client:
            await rooms_are(client, empty=True)
            _, listed = await call(client, "GET", "/api/recordings")
        (file,) = files_of(tmp_path, "call")
        assert [entry["file"] for entry in listed["recordings"]] == [file.name]
        assert listed["recordings"][0]["room"] == "call"

        out = tmp_path / "out.npy"
        decoded = await run("decode", str(file), str(out), "--json", "--threads", "1")
        assert decoded.code == 0, decoded.err
        inspected = await run("inspect", str(file), "--json")
        assert inspected.code == 0, inspected.err
        n_frames = decoded.document["frames"]
        assert n_frames > 30
        assert decoded.document["damaged_frames"] == 0

        watching = await start(
            "watch", f"{url}/whep/again", "--seconds", "3", "--output", str(again)
        )
        await said(watching, "watching")  # it is connected
        played = await run("play", str(file), f"{url}/whip/again", "--json")
        assert played.code == 0, played.err
        assert played.document["frames_played"] == n_frames
        assert (await outcome(watching)).code == 0

    # a watcher that starts late or loses time conceals; every other picture of its is the file's
    pictures = [picture.tobytes() for picture in np.load(out)]
    live, replayed = (
        [pictures.index(p) for p in (w.tobytes() for w in np.load(watched)) if p in pictures]
        for watched in (seen, again)
    )
    assert len(live) > 10
    assert live == sorted(live)
    assert replayed[:11] == list(range(11))  # who is there in time misses nothing
    assert replayed == sorted(replayed)


async def test_a_gap_in_publishing_is_kept_as_time_and_another_size_is_another_file(
    tmp_path: Path,
) -> None:
    async with relay(record=record_all(tmp_path)) as (server, client):
        await client.watch("room")  # the room goes on while its publisher is away
        recordings = server.relay.recordings
        path = await client.publish("room", MovingTrack(64, 48))
        await until(lambda: recordings.totals.frames > 5)
        await call(client, "DELETE", path)
        before = recordings.totals.frames
        await asyncio.sleep(0.5)
        path = await client.publish("room", MovingTrack(64, 48))
        await until(lambda: recordings.totals.frames > before + 5)
        await call(client, "DELETE", path)
        before = recordings.totals.frames
        await client.publish("room", MovingTrack(96, 48))
        await until(lambda: recordings.totals.frames > before + 5)
        await call(client, "DELETE", "/api/rooms/room")
        await until(lambda: recordings.totals.ended == {"room_ended": 1})
    first, second = map(read_recording, files_of(tmp_path, "room"))
    assert first.problem is second.problem is None
    gaps = np.diff(first.times)
    assert gaps.min() > 0
    assert gaps.max() > 0.5 * 90_000  # nothing of it was made shorter
    assert first.sequence.geometry.width == 64
    assert second.sequence.geometry.width == 96
    assert second.times[0] > first.times[-1]


async def test_webhooks_and_metrics_tell_of_recordings(tmp_path: Path) -> None:
    async with receiver() as there:
        hook = WebhookConfig(url=there.url, secret=SECRET)
        async with relay(record=record_all(tmp_path), webhook=hook) as (server, client):
            path = await client.publish("room")
            await until(lambda: "recording_started" in there.names)
            (room,) = (await call(client, "GET", "/api/rooms"))[1]["rooms"]
            assert room["recording"]["files"] == [files_of(tmp_path, "room")[0].name]
            await call(client, "DELETE", path)
            await until(lambda: "recording_finished" in there.names)
            async with client.http.get("/metrics") as response:
                lines = (await response.text()).splitlines()
            totals = server.relay.recordings.totals
    started, finished = (e for e in there.events if e["event"].startswith("recording"))
    (file,) = files_of(tmp_path, "room")
    assert started["figures"] == {"file": file.name}
    assert finished["reason"] == "room_ended"
    assert finished["figures"]["files"] == [file.name]
    assert finished["figures"]["bytes"] == file.stat().st_size
    assert 'rtcodec_recordings_finished_total{reason="room_ended"} 1.0' in lines
    assert f'rtcodec_recorded_frames_total{{event="written"}} {totals.frames}.0' in lines
    assert f"rtcodec_recorded_bytes_total {float(file.stat().st_size)}" in lines
    assert "rtcodec_recordings 0.0" in lines
    assert any(line.startswith("rtcodec_recording_free_bytes ") for line in lines)


@pytest.mark.parametrize("attempt", range(4))
async def test_a_relay_killed_in_the_middle_leaves_what_plays(tmp_path: Path, attempt: int) -> None:
    """SIGKILL while it writes, as often as it takes to believe it."""
    options = ("--record", str(tmp_path), "--warm", "64x48")
    async with relay_process(*options) as (process, url), RelayClient(url) as client:
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(64, 48, fps=90))
        await until(lambda: len(watch.frames) > 20 + 7 * attempt)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        n_seen = len(watch.frames)
    (file,) = files_of(tmp_path, "room")
    recorded = read_recording(file)
    assert isinstance(recorded.problem, Truncated)
    assert len(recorded.units) >= n_seen - 3  # the last ones may have been on their way to the disk
    overlap(recorded.frames, watch)
    async with relay(record=record_all(tmp_path, rooms=())) as (_, client):
        there = await client.watch("again")
        await until(lambda: there.connection.connectionState == "connected")
        assert (await play(client, "again", file.name, speed=10))[0] == 201
        await until(lambda: len(there.frames) == len(recorded.units))
        assert packets(there.frames) == recorded.frames


# ------------------------------------------------------------------------ playing


async def a_recording(folder: Path, *, n_frames: int = 12) -> Path:
    async with relay(record=record_all(folder)) as (server, client):
        await client.publish("made", MovingTrack(64, 48))
        await until(lambda: server.relay.recordings.totals.frames >= n_frames)
    (file,) = files_of(folder, "made")
    return file


async def test_a_played_room_is_a_room_like_others(tmp_path: Path) -> None:
    file = await a_recording(tmp_path)
    n_frames = len(read_recording(file).units)
    async with relay(record=record_all(tmp_path, rooms=("tape",))) as (server, client):
        watch = await client.watch("tape")
        await until(lambda: watch.connection.connectionState == "connected")
        status, said = await play(client, "tape", file.name, loop=True, speed=2)
        assert status == 201
        await until(lambda: len(watch.frames) > 2 * n_frames + 3)  # over and over
        times = [frame.timing.pts for frame in watch.frames if frame.timing]
        assert min(np.diff(times)) > 0
        (room,) = (await call(client, "GET", "/api/rooms"))[1]["rooms"]
        assert room["live"]
        assert room["publisher"]["source"] == "recording"
        assert room["publisher"]["session"] == said["session"]
        assert (room["width"], room["height"]) == (64, 48)
        assert room["recording"]["frames"] > n_frames  # a copy, as it was coded
        late = await client.watch("tape")
        await until(lambda: late.frames)
        assert packets(late.frames)[0] in read_recording(file).frames
        _, offer = await client.publisher_offer()
        async with client.http.post(
            "/whip/tape", data=offer, headers={"Content-Type": "application/sdp"}
        ) as response:
            assert response.status == 409
        assert (await play(client, "tape", file.name))[0] == 409
        status, said = await call(client, "DELETE", "/api/rooms/tape/play")
        assert (status, said["state"], said["error"]) == (200, "ended", None)
        assert (await call(client, "DELETE", "/api/rooms/tape/play"))[0] == 404
        assert server.relay.source_of("tape") is None
        assert await play(client, "tape", file.name, speed=10) is not None
    (copy,) = files_of(tmp_path, "tape")
    frames = read_recording(copy).frames
    assert frames[:n_frames] == read_recording(file).frames


async def a_chain(tmp_path: Path, *, at_least: int) -> Path:
    """Record a room of which no frame but the first can be started from."""
    async with neural_relay(record_all(tmp_path, keyframe_s=0)) as (server, client):
        await client.publish("made", WaveTrack())
        await until(lambda: server.relay.recordings.totals.frames >= at_least)
    (file,) = files_of(tmp_path, "made")
    assert sum(unit.header.keyframe for unit in read_recording(file).units) == 1
    return file


async def test_whoever_comes_late_to_a_playback_sees_it_from_the_last_key_frame(
    tmp_path: Path,
) -> None:
    file = await a_chain(tmp_path, at_least=60)
    recorded = read_recording(file).frames
    async with neural_relay(record_all(tmp_path, rooms=())) as (_, client):
        early = await client.watch("tape")
        await until(lambda: early.connection.connectionState == "connected")
        await play(client, "tape", file.name, speed=0.2)
        await until(lambda: len(early.frames) > 20)
        late = await client.watch("tape")
        await until(lambda: len(late.frames) >= 40, timeout_s=60)
        seen = packets(late.frames)
        assert seen == recorded[: len(seen)]  # from the first on, and none is lost on the way
        times = [frame.timing.pts for frame in late.frames if frame.timing]
        assert min(np.diff(times)) > 0
        await until(lambda: len(late.frames) == len(early.frames), timeout_s=60)


async def test_an_ordinary_viewer_sees_what_is_played_from_where_it_came_in(
    tmp_path: Path,
) -> None:
    """No frame but the first can be started from, and that has been played when it comes."""

    def is_decoding() -> bool:
        return any(thread.name == "latent-pictures" for thread in threading.enumerate())

    file = await a_chain(tmp_path, at_least=40)
    async with neural_relay(record_all(tmp_path, rooms=())) as (server, client):
        watch = await client.watch("tape")
        await until(lambda: watch.connection.connectionState == "connected")
        await play(client, "tape", file.name, speed=0.1)
        await until(lambda: len(watch.frames) > 5)
        assert not is_decoding()
        viewer = await view(client, "tape")
        await until(lambda: len(viewer.frames) >= 6, timeout_s=30)
        assert is_decoding()
        assert statistics.median(viewer.psnr_db) > 30
        await viewer.connection.close()
        await until(lambda: not is_decoding(), timeout_s=30)
        assert server.relay.source_of("tape") is not None  # still being played


@pytest.mark.parametrize(
    ("wish", "status", "detail"),
    [
        ({"file": "../secret.rtc"}, 404, "no such recording"),
        ({"file": "/etc/passwd"}, 404, "no such recording"),
        ({"file": "link.rtc"}, 404, "no such recording"),
        ({"file": "pipe.rtc"}, 404, "no such recording"),
        ({"file": "none@x.rtc"}, 404, "no such recording"),
        ({"file": "text.rtc"}, 422, "not a recording"),
        ({"file": "file.rtc"}, 422, "do not say their size"),
        ({"file": 7}, 400, "the name of a recording"),
        ({"file": "text.rtc", "speed": 99}, 400, "outside 0.1 to 10"),
        ({"file": "text.rtc", "loop": "yes"}, 400, "true or false"),
        ({"file": "text.rtc", "where": 1}, 400, "only file, loop and speed"),
    ],
)
async def test_what_cannot_be_played_is_refused(
    tmp_path: Path, wish: dict[str, Any], status: int, detail: str
) -> None:
    (tmp_path / "secret.rtc").write_bytes(b"x")
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "text.rtc").write_text("not a recording at all")
    (folder / "link.rtc").symlink_to(tmp_path / "secret.rtc")
    os.mkfifo(folder / "pipe.rtc")
    vector = Path(__file__).parents[1] / "conformance/vectors/smallest/input.rtc"
    (folder / "file.rtc").write_bytes(vector.read_bytes())
    async with relay(record=record_all(folder)) as (server, client):
        answer = await call(client, "POST", "/api/rooms/room/play", json=wish)
        assert answer[0] == status
        assert detail in answer[1]["detail"]
        assert server.relay.n_sessions == 0


async def test_a_recording_of_another_model_or_size_is_refused(tmp_path: Path) -> None:
    file = await a_recording(tmp_path)
    data = bytearray(file.read_bytes())
    data[5] ^= 1  # of the model id
    (tmp_path / "other.rtc").write_bytes(data)
    small = PublisherLimits(max_size=(64, 47))
    async with relay(record=record_all(tmp_path), publisher=small) as (server, client):
        status, said = await play(client, "room", "other.rtc")
        assert status == 422
        status, said = await play(client, "room", file.name)
        assert (status, said["detail"]) == (
            422, "the recording's pictures are larger than the relay takes",
        )  # fmt: skip
        assert server.relay.n_sessions == 0


async def test_bytes_that_are_sent_are_played_and_damage_is_told(tmp_path: Path) -> None:
    file = await a_recording(tmp_path)
    kind = {"Content-Type": "application/octet-stream"}
    data = file.read_bytes()
    async with relay() as (server, client):  # needs no folder
        watch = await client.watch("room")
        await until(lambda: watch.connection.connectionState == "connected")
        url = "/api/rooms/room/play?speed=10"
        status, said = await call(client, "POST", url, data=data, headers=kind)
        recorded = read_recording(file)
        assert (status, said["frames_played"]) == (200, len(recorded.units))
        await until(lambda: len(watch.frames) == len(recorded.units))
        assert packets(watch.frames) == recorded.frames
        broken = data[:-4] + bytes(4)  # the CRC
        status, said = await call(client, "POST", url, data=broken, headers=kind)
        assert status == 422
        assert "CRC" in said["detail"]
        status, said = await call(client, "POST", url, data=b"no", headers=kind)
        assert status == 422
        huge = recorded_with_a_claim(data)
        status, said = await call(client, "POST", url, data=huge, headers=kind)
        assert status == 422
        assert server.relay.n_sessions == 1


def recorded_with_a_claim(data: bytes) -> bytes:
    """Return the header of a recording and the size of a unit that nobody would want."""
    reader = RtcReader(BytesIO(data))
    return data[: reader.offset] + b"\xff\xff\xff\x7f" + bytes(1000)


async def test_whoever_sends_and_goes_takes_the_playback_along(tmp_path: Path) -> None:
    file = await a_recording(tmp_path, n_frames=40)
    async with relay_process() as (_, url):
        player = await start("play", str(file), f"{url}/whip/room", "--loop", "--speed", "0.1")
        async with RelayClient(url) as client:
            await rooms_are(client, empty=False)
            player.send_signal(signal.SIGTERM)
            ended = await outcome(player)
            assert ended.code == 0, ended.err
            await rooms_are(client, empty=True)


async def test_the_command_says_what_the_relay_refuses(tmp_path: Path) -> None:
    file = await a_recording(tmp_path)
    (tmp_path / "text.rtc").write_text("nothing")
    options = ("--record", str(tmp_path))
    async with relay_process(*options) as (_, url), RelayClient(url) as client:
        await client.publish("busy", MovingTrack(64, 48))
        taken = await run("play", str(file), f"{url}/whip/busy")
        stored = await run("play", "--stored", "none.rtc", f"{url}/whip/room")
        text = await run("play", str(tmp_path / "text.rtc"), f"{url}/whip/room")
        missing = await run("play", str(tmp_path / "no.rtc"), f"{url}/whip/room")
        good = await run("play", "--stored", file.name, f"{url}/whip/room", "--json")
    assert (taken.code, stored.code, text.code, missing.code) == (1, 1, 1, 1)
    assert "409: room busy has a publisher already" in taken.last_line
    assert "404: no such recording" in stored.last_line
    assert "text.rtc" in text.last_line
    assert "no such file" in missing.last_line.lower()
    assert good.code == 0, good.err
    assert good.document["room"] == "room"


# ------------------------------------------------------------------------ who may


async def test_recording_takes_a_token_that_allows_it(tmp_path: Path) -> None:
    file = await a_recording(tmp_path)
    config = record_all(tmp_path, rooms=())
    token = token_for("made", publish=True, subscribe=True)
    async with relay(keys=KEYS, record=config, token=token) as (_, client):
        await client.publish("made")

        def bearer(room: str, **may: bool) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {token_for(room, **may)}"}}

        async def start(**who: Any) -> int:
            return (await call(client, "POST", "/api/rooms/made/recording", **who))[0]

        async def stop(**who: Any) -> int:
            return (await call(client, "DELETE", "/api/rooms/made/recording", **who))[0]

        assert await start() == 403
        assert await start(**bearer("other", record=True)) == 403
        assert await start(**bearer("made", record=True)) == 201
        assert await start(**bearer("made", record=True)) == 409
        assert await stop(**bearer("made", admin=True)) == 200
        assert await stop(**bearer("made", admin=True)) == 409
        ghost = "/api/rooms/ghost/recording"
        assert (await call(client, "POST", ghost, **bearer("*", record=True)))[0] == 404

        # a list of what one may see, and no playing of others' rooms into one's own
        mine = await call(client, "GET", "/api/recordings", **bearer("made", record=True))
        assert file.name in [entry["file"] for entry in mine[1]["recordings"]]
        theirs = await call(client, "GET", "/api/recordings", **bearer("other", record=True))
        assert theirs == (200, {"recordings": []})
        wish = {"json": {"file": file.name}}
        into_mine = "/api/rooms/other/play"
        for who, status in (("other", 403), ("*", 201)):
            may = bearer(who, record=True)
            assert (await call(client, "POST", into_mine, **wish, **may))[0] == status
        upload = {"data": b"", "headers": {"Content-Type": "application/octet-stream"}}
        assert (await call(client, "POST", "/api/rooms/third/play", **upload))[0] == 403


async def test_without_a_folder_nothing_is_recorded_and_says_so() -> None:
    async with relay() as (_, client):
        await client.publish("room")
        status, said = await call(client, "POST", "/api/rooms/room/recording")
        assert (status, said["detail"]) == (409, "no directory for recordings is set")
        assert await call(client, "GET", "/api/recordings") == (200, {"recordings": []})
        assert (await play(client, "other", "x.rtc"))[0] == 409


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Via": "1.1 proxy"}])
async def test_without_keys_only_this_machine_records(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with relay(record=record_all(tmp_path, rooms=())) as (_, client):
        await client.publish("room")
        answer = await call(client, "POST", "/api/rooms/room/recording", headers=headers)
        assert answer[0] == 403
