"""Latents in VP8, as a browser's page takes them: over real connections, without a browser."""

import asyncio
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection

from rtcodec.packet.feedback import KEYFRAME_REQUEST, FrameReport
from rtcodec.session.ladder import read_rung
from rtcodec.webrtc import accept_answer
from support.relay import SDP, MovingTrack, relay, until
from support.tab import TabPeer, number_of, offer_as_tab, same_frames, watch_as_tab
from support.workers import crew

RUNGS = tuple(map(read_rung, ("source", "144p", "96p")))


async def opened(tab: TabPeer) -> None:
    assert tab.channel is not None
    await until(lambda: tab.channel is not None and tab.channel.readyState == "open")


async def ended(connection: RTCPeerConnection) -> None:
    await until(lambda: connection.connectionState == "closed")


async def test_a_tab_gets_the_bytes_that_every_subscriber_gets() -> None:
    async with relay(qp=4) as (server, client):
        await client.publish("room", MovingTrack(320, 192))
        watch = await client.watch("room")
        tab = await watch_as_tab(client, "room")
        await until(lambda: len(tab.frames) >= 40)
        await until(lambda: len(watch.frames) >= 1 and watch.frames[-1].packets)
        both = same_frames(tab.frames, watch.frames)
        assert len(both) >= 30
        assert any(sum(map(len, frame.packets)) > 1200 for frame in both)  # several RTP packets
        assert [frame.delivery for frame in tab.frames] == list(range(len(tab.frames)))
        assert set(tab.sizes) == {(320, 192)}
        assert tab.frames[-1].timing.stages_us[4] > 0  # the engine's
        reports = [peer.report() for peer in server.relay.subscribers_of("room")]
        assert [report["carrier"] for report in reports] == ["own", "vp8"]


async def test_what_a_tab_reports_reaches_the_relay() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        tab = await watch_as_tab(client, "room")
        await opened(tab)
        await until(lambda: tab.frames)
        assert tab.channel is not None
        tab.channel.send("text")
        tab.channel.send(b"x" * 2000)
        tab.channel.send(b"RTCL but not a report")
        for frame in tuple(tab.frames):
            tab.report(FrameReport(number_of(frame.packets), held=1))
        (peer,) = server.relay.subscribers_of("room")
        await until(lambda: peer.report()["report_count"] >= 1)
        assert peer.report()["state"] == "connected"


async def test_a_tab_asks_for_a_key_frame_in_words_of_its_own() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        tab = await watch_as_tab(client, "room")
        await opened(tab)
        await until(lambda: tab.frames)
        (peer,) = server.relay.subscribers_of("room")
        assert tab.receiver is not None
        tab.receiver.request_keyframe()  # by RTCP, as a browser does when it likes
        last_us = peer.last_heard_us
        await until(lambda: peer.last_heard_us != last_us)
        assert tab.channel is not None
        tab.channel.send(KEYFRAME_REQUEST)
        await until(lambda: peer.report()["pli_count"] == 1)
        assert server.relay.rooms[0].stats.pli_count == 1


async def test_a_tab_chooses_its_rung_like_anybody_else() -> None:
    async with relay(rungs=RUNGS) as (_, client):
        await client.publish("room", MovingTrack(320, 192))
        tab = await watch_as_tab(client, "room", "&rung=2")
        await until(lambda: tab.sizes)
        assert set(tab.sizes) == {(160, 96)}
        body = {"rid": "0"}
        async with client.http.post(f"{tab.path}/layer", json=body) as response:
            assert response.status == 200
        await until(lambda: tab.sizes[-1] == (320, 192))


@pytest.mark.parametrize(
    ("query", "codec", "channel", "status", "detail"),
    [
        ("carrier=h264", "VP8", True, 400, "carrier is vp8, data or"),
        ("carrier=vp8", "H264", True, 422, "VP8"),
        ("carrier=vp8", "VP8", False, 422, "no data channel"),
        ("", "VP8", True, 422, "a data channel, for which there is no use"),
    ],
)
async def test_what_cannot_be_carried_is_refused_in_words(
    query: str, codec: str, channel: bool, status: int, detail: str
) -> None:
    async with relay() as (server, client):
        _, offer = await offer_as_tab(client, codec=codec, channel=channel)
        async with client.http.post(f"/whep/room?{query}", data=offer, headers=SDP) as response:
            assert response.status == status
            assert detail in (await response.json())["detail"]
        assert server.relay.n_sessions == 0


async def test_a_tab_that_opens_channel_after_channel_is_let_go() -> None:
    async with relay() as (server, client):
        tab, offer = await offer_as_tab(client)
        for number in range(5):
            tab.connection.createDataChannel(f"more {number}")
        url = "/whep/room?carrier=vp8"
        async with client.http.post(url, data=offer, headers=SDP) as response:
            await accept_answer(tab.connection, await response.text())
        await until(lambda: server.relay.sessions_closed.get("lost") == 1)
        assert server.relay.n_sessions == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="worker processes need Linux")
async def test_a_tab_of_a_relay_of_several_processes_gets_frames_too() -> None:
    async with crew("--qp", "20", "--workers", "2") as several:
        client = several.client
        await client.publish("room", MovingTrack())
        tab = await watch_as_tab(client, "room")
        await until(lambda: len(tab.frames) >= 10)
        async with client.http.delete(tab.path) as response:
            report = await response.json()
        assert report["carrier"] == "vp8"
        assert report["frames_sent"] >= 10


async def test_a_session_without_its_page_ends_with_the_connection() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        tab = await watch_as_tab(client, "room")
        await opened(tab)
        assert server.relay.n_sessions == 2
        await asyncio.gather(tab.connection.close(), ended(tab.connection))
        await until(lambda: server.relay.n_sessions == 1)
