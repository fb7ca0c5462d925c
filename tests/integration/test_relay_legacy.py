"""Peers without our codec watch a room: VP8 or H.264, made once for all of them."""

import asyncio
import statistics
from typing import Any

import pytest

from rtcodec.session.ladder import read_rung
from rtcodec_server.app import RunningServer
from rtcodec_server.edge_config import LegacyConfig
from rtcodec_server.legacy import Encoding
from support.ordinary import Viewer, WaveTrack, view
from support.relay import RelayClient, relay, until

MATCH = "?rate=match"
VP8 = Encoding("VP8")
RUNGS = (read_rung("source"), read_rung("96p"))
N_FRAMES = 30
PATIENCE_S = 60.0
LEAST_PSNR_DB = 30.0
"Of the whole way: VP8 in, the null engine's blocks, VP8 or H.264 out; about 36 when all is well."


async def seen(viewer: Viewer, n_frames: int = N_FRAMES) -> None:
    already = len(viewer.frames)
    await until(lambda: len(viewer.frames) >= already + n_frames, timeout_s=PATIENCE_S)


async def room_report(client: RelayClient, room: str = "room") -> dict[str, Any]:
    async with client.http.get("/api/rooms") as response:
        rooms = (await response.json())["rooms"]
    found: dict[str, Any] = next(entry for entry in rooms if entry["room"] == room)
    return found


async def sender_report(viewer: Viewer) -> int:
    """Wait for a report of the sender; return how many packets it says it has sent."""
    (transceiver,) = viewer.connection.getTransceivers()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for entry in (await transceiver.receiver.getStats()).values():
                if entry.type == "remote-outbound-rtp" and entry.packetsSent:
                    return int(entry.packetsSent)
            await asyncio.sleep(0.1)


async def metric(client: RelayClient, line: str) -> float:
    async with client.http.get("/metrics") as response:
        text = await response.text()
    return float(next(row for row in text.splitlines() if row.startswith(line)).split()[-1])


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_peer_without_our_codec_sees_the_source(codec: str) -> None:
    async with relay(qp=0) as (_, client):
        await client.publish("room", WaveTrack())
        viewer = await view(client, "room", [codec])
        await seen(viewer)
        assert (viewer.frames[-1].width, viewer.frames[-1].height) == (160, 96)
        assert statistics.median(viewer.psnr_db) > LEAST_PSNR_DB
        assert await sender_report(viewer) > 0
        report = await room_report(client)
        assert [subscriber["codec"] for subscriber in report["subscribers"]] == [codec]
        assert report["subscribers"][0]["frames_sent"] >= N_FRAMES
        assert await metric(client, f'rtcodec_legacy_subscribers{{codec="{codec}"}}') == 1
        sent = f'rtcodec_legacy_frames_total{{codec="{codec}",event="encoded"}}'
        assert await metric(client, sent) >= N_FRAMES


async def test_the_answer_has_the_offers_payload_types_and_one_codec_with_retransmission() -> None:
    async with relay() as (_, client):
        viewer = await view(client, "room", ["H264", "VP8"])
        offer = viewer.connection.localDescription.sdp
        lines = viewer.answer.splitlines()
        codecs = [line for line in lines if line.startswith("a=rtpmap:")]
        assert {line.split(" ")[1] for line in codecs} == {"H264/90000", "rtx/90000"}
        assert all(line in offer.splitlines() for line in codecs)
        assert any("packetization-mode=1" in line for line in lines)
        assert any("profile-level-id=42" in line for line in lines)
        assert "a=sendonly" in lines


async def test_the_viewers_of_a_codec_share_one_encoder_and_it_ends_with_the_last() -> None:
    async with relay(qp=0) as (server, client):
        await client.publish("room", WaveTrack())
        viewers = [await view(client, "room", ["VP8"]) for _ in range(3)]
        others = [await view(client, "room", ["H264"]) for _ in range(2)]
        for viewer in (*viewers, *others):
            await seen(viewer, 5)
        report = await room_report(client)
        by_codec = {entry["codec"]: entry for entry in report["transcoders"]}
        assert (by_codec["VP8"]["subscribers"], by_codec["H264"]["subscribers"]) == (3, 2)
        assert await metric(client, 'rtcodec_legacy_encoders{codec="VP8"}') == 1
        encoded = by_codec["VP8"]["frames_encoded"]
        sent = sum(s["frames_sent"] for s in report["subscribers"] if s["codec"] == "VP8")
        assert sent > encoded
        for viewer in (*viewers, *others):
            async with client.http.delete(viewer.path) as response:
                assert response.status == 200
        await until(lambda: not server.relay.rooms[0].audience.is_wanted)
        assert await metric(client, 'rtcodec_legacy_encoders{codec="VP8"}') == 0


async def test_a_player_that_offers_audio_first_gets_the_video() -> None:
    async with relay() as (_, client):
        await client.publish("room", WaveTrack())
        await seen(await view(client, "room", audio=True), 5)


async def test_nobody_is_transcoded_for_before_somebody_comes_nor_after() -> None:
    async with relay() as (server, client):
        await client.publish("room", WaveTrack())
        watch = await client.watch("room")
        await until(lambda: len(watch.frames) >= 5)
        assert (await room_report(client))["transcoders"] == []
        viewer = await view(client, "room")
        await seen(viewer, 5)
        async with client.http.delete(viewer.path) as response:
            assert response.status == 200
        await until(lambda: _is_closed(server))
        (entry,) = (await room_report(client))["transcoders"]
        await until(lambda: len(watch.frames) >= 30, timeout_s=PATIENCE_S)
        (later,) = (await room_report(client))["transcoders"]
        assert later == entry


def _is_closed(server: RunningServer) -> bool:
    return server.relay.n_sessions == 2 and bool(server.relay.rooms[0].audience.gone)


async def test_a_publisher_that_comes_back_goes_on_for_those_who_stayed() -> None:
    async with relay(qp=0) as (_, client):
        path = await client.publish("room", WaveTrack())
        viewer = await view(client, "room")
        await seen(viewer)
        async with client.http.delete(path) as response:
            assert response.status == 200
        await client.publish("room", WaveTrack(208, 112))
        await until(lambda: viewer.frames[-1].width == 208, timeout_s=PATIENCE_S)
        await seen(viewer, 5)
        stamps = [frame.pts for frame in viewer.frames if frame.pts is not None]
        assert stamps == sorted(stamps)


async def test_where_there_are_rungs_ordinary_viewers_see_the_finest_whatever_others_get() -> None:
    async with relay(qp=0, rungs=RUNGS) as (_, client):
        await client.publish("room", WaveTrack(320, 192))
        viewer = await view(client, "room")
        await seen(viewer)
        watch = await client.watch("room", query="?rung=1")
        await until(lambda: len(watch.frames) >= 5, timeout_s=PATIENCE_S)
        await seen(viewer)
        assert (viewer.frames[-1].width, viewer.frames[-1].height) == (320, 192)
        assert statistics.median(viewer.psnr_db) > LEAST_PSNR_DB
        room = await room_report(client)
        assert [rung["subscribers"] for rung in room["rungs"]] == [0, 1]
        async with client.http.get(f"{viewer.path}/layer") as response:
            assert response.status == 404

        async with client.http.delete(viewer.path) as response:
            assert response.status == 200
        before = (await room_report(client))["rungs"][0]["encoded"]
        already = len(watch.frames)
        await until(lambda: len(watch.frames) >= already + 10, timeout_s=PATIENCE_S)
        last = (await room_report(client))["rungs"][0]["encoded"]
        assert last <= before + 2  # what was under way


async def test_who_compares_shares_an_encoder_of_its_own_and_it_ends_with_the_last() -> None:
    async with relay(qp=0) as (server, client):
        await client.publish("room", WaveTrack())
        ordinary = await view(client, "room", ["VP8"])
        await seen(ordinary, 5)
        (before,) = (await room_report(client))["transcoders"]
        comparing = [await view(client, "room", ["H264", "VP8"], query=MATCH) for _ in range(2)]
        for viewer in comparing:
            await seen(viewer)
        plain, matched = (await room_report(client))["transcoders"]
        assert (matched["codec"], matched["matched_rung"], matched["subscribers"]) == ("VP8", 0, 2)
        assert (plain["matched_rung"], plain["subscribers"]) == (None, 1)
        assert [plain[key] for key in ("target_kbps", "keyframes")] == [
            before[key] for key in ("target_kbps", "keyframes")
        ]
        assert await metric(client, 'rtcodec_legacy_encoders{codec="VP8-match"}') == 1
        for viewer in comparing:
            async with client.http.delete(viewer.path) as response:
                assert response.status == 200
        assert not server.relay.rooms[0].audience.is_compared(0)
        await seen(ordinary, 5)
        assert await metric(client, 'rtcodec_legacy_encoders{codec="VP8-match"}') == 0


async def test_what_is_compared_is_what_was_published_at_the_size_of_its_rung() -> None:
    async with relay(qp=0, rungs=RUNGS) as (_, client):
        await client.publish("room", WaveTrack(320, 192))
        watch = await client.watch("room", query="?rung=1")
        await until(lambda: len(watch.frames) >= 5, timeout_s=PATIENCE_S)
        viewer = await view(client, "room", query=f"{MATCH}&rung=1")
        await seen(viewer, 5)
        assert (viewer.frames[-1].width, viewer.frames[-1].height) == (160, 96)
        whole = await view(client, "room", query=MATCH)  # has the finest coded
        await seen(whole, 5)
        assert (whole.frames[-1].width, whole.frames[-1].height) == (320, 192)


async def test_a_rate_is_matched_with_vp8_only() -> None:
    async with relay() as (_, client):
        with pytest.raises(AssertionError, match="none of the codecs"):
            await view(client, "room", ["H264"], query=MATCH)
        with pytest.raises(AssertionError, match="rate is match or not given"):
            await view(client, "room", query="?rate=300")
        with pytest.raises(AssertionError, match="latents were asked for"):
            await client.watch("room", query=MATCH)


async def test_a_relay_that_makes_no_ordinary_video_refuses() -> None:
    async with relay(legacy=LegacyConfig(codecs=())) as (_, client):
        with pytest.raises(AssertionError, match="none of the codecs sent here: X-RTC-LATENT"):
            await view(client, "room")
    async with relay(legacy=LegacyConfig(codecs=("H264",))) as (_, client):
        with pytest.raises(AssertionError, match="none of the codecs"):
            await view(client, "room", ["VP8"])


async def test_a_key_frame_comes_when_it_is_asked_for_but_not_more_often_than_allowed() -> None:
    async with relay(legacy=LegacyConfig(keyframe_interval_ms=60_000)) as (server, client):
        await client.publish("room", WaveTrack())
        viewer = await view(client, "room")
        await seen(viewer, 5)
        audience = server.relay.rooms[0].audience
        for _ in range(10):
            audience.need_keyframe(VP8)
            await seen(viewer, 2)
        (entry,) = audience.report()
        assert entry["keyframes"] == 1
    async with relay(legacy=LegacyConfig(keyframe_interval_ms=0)) as (server, client):
        await client.publish("room", WaveTrack())
        viewer = await view(client, "room")
        await seen(viewer, 5)
        audience = server.relay.rooms[0].audience
        (before,) = audience.report()
        audience.need_keyframe(VP8)
        await seen(viewer, 10)
        (after,) = audience.report()
        assert after["keyframes"] == before["keyframes"] + 1
