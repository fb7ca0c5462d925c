"""Latents over a data channel, as pages without frames get them: connections without a browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rtcodec.packet.feedback import KEYFRAME_REQUEST, STILL_HERE, FrameReport, write_report
from rtcodec.session.ladder import read_rung
from rtcodec.webrtc import data_port
from rtcodec.webrtc.outgoing_frame import MAX_MESSAGE_BYTES
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings
from support.relay import SDP, MovingTrack, RelayClient, relay, until
from support.tab import (
    ChannelPeer,
    header_of,
    number_of,
    offer_channel,
    same_frames,
    watch_by_channel,
)

RUNGS = tuple(map(read_rung, ("source", "144p", "96p")))
NOTHING = Impairment()


def rung_of(packets: tuple[bytes, ...]) -> int:
    return header_of(packets).layer.rung


def goes_on_without_gaps(tab: ChannelPeer, *, n_frames: int) -> bool:
    numbers = [number_of(frame.packets) for frame in tab.frames[-n_frames:]]
    return numbers == list(range(numbers[0], numbers[0] + n_frames))


@asynccontextmanager
async def kept_awake(tab: ChannelPeer) -> AsyncIterator[None]:
    """Say that the page runs, as pages do, only more often."""

    async def tell() -> None:
        while True:
            if tab.channel.readyState == "open":
                tab.channel.send(STILL_HERE)
            await asyncio.sleep(0.2)

    telling = asyncio.ensure_future(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


@asynccontextmanager
async def linked(client: RelayClient) -> AsyncIterator[tuple[ChannelPeer, Link]]:
    """Watch through a network that can be changed."""
    link = await Link.open(LinkSettings(NOTHING, NOTHING, seed=1), "tab", loopback_only=True)
    try:
        tab = await watch_by_channel(client, "room", link=link)
        async with kept_awake(tab):
            yield tab, link
    finally:
        link.close()


async def test_a_channel_brings_the_bytes_that_every_subscriber_gets() -> None:
    async with relay(qp=4) as (server, client):
        await client.publish("room", MovingTrack(320, 192))
        watch = await client.watch("room")
        tab = await watch_by_channel(client, "room")
        async with kept_awake(tab):
            await until(lambda: len(tab.frames) >= 40)
        await until(lambda: len(watch.frames) >= 1 and watch.frames[-1].packets)
        both = same_frames(tab.frames, watch.frames)
        assert len(both) >= 30
        assert any(frame.n_payloads > 1 for frame in both)
        assert max(tab.sizes_bytes) <= MAX_MESSAGE_BYTES
        frames = tab.frames
        assert [frame.number for frame in frames] == list(range(len(frames)))
        assert frames[-1].timing is not None
        assert frames[-1].timing.stages_us[4] > 0  # the engine's
        reports = [peer.report() for peer in server.relay.subscribers_of("room")]
        assert [report["carrier"] for report in reports] == ["own", "data"]


async def test_reports_and_requests_come_over_the_same_channel() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        tab = await watch_by_channel(client, "room")
        await until(lambda: tab.frames)
        (peer,) = server.relay.subscribers_of("room")
        for frame in tab.frames:
            tab.channel.send(write_report(FrameReport(number_of(frame.packets), held=1)))
        await until(lambda: peer.report()["report_count"] >= 1)
        tab.channel.send(KEYFRAME_REQUEST)
        await until(lambda: peer.report()["pli_count"] == 1)
        already = len(tab.frames)
        await until(lambda: any(frame.is_keyframe for frame in tab.frames[already:]))


async def test_a_way_that_is_too_thin_gets_whole_frames_the_newest_ones() -> None:
    async with relay(qp=4) as (server, client):
        await client.publish("room", MovingTrack(320, 192))
        async with linked(client) as (tab, link):
            await until(lambda: len(tab.frames) >= 5)
            (peer,) = server.relay.subscribers_of("room")
            counters = peer.sender.counters
            full_bps = 8 * 25 * counters.payload_bytes / counters.frames_sent
            link.change(up=NOTHING, down=Impairment(rate_bps=int(full_bps / 4), queue_us=100_000))
            await until(lambda: counters.frames_dropped >= 30)
            already = len(tab.frames)
            await until(lambda: len(tab.frames) >= already + 10)
            # what was pushed out was never begun: no number is spent on it
            assert tab.frames[-1].number <= counters.frames_sent
            await until(lambda: peer.available_bps is not None)
            assert (peer.available_bps or 0) < full_bps
            link.change(up=NOTHING, down=NOTHING)
            await until(lambda: goes_on_without_gaps(tab, n_frames=20))


async def test_after_an_outage_frames_come_again_and_none_of_before() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        async with linked(client) as (tab, link):
            await until(lambda: len(tab.frames) >= 5)
            gone = Impairment(loss=1.0)
            link.change(up=gone, down=gone)
            (peer,) = server.relay.subscribers_of("room")
            dropped = peer.report()["frames_dropped"]
            await until(lambda: peer.report()["frames_dropped"] >= dropped + 60)
            newest = server.relay.stats.frames.encoded
            link.change(up=NOTHING, down=NOTHING)
            await until(lambda: number_of(tab.frames[-1].packets) >= newest)
            waited_for = [number_of(frame.packets) for frame in tab.frames]
            assert sum(newest - 50 <= number < newest for number in waited_for) <= 10


async def test_a_page_that_sleeps_gets_nothing_until_it_is_awake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_port, "SILENCE_US", 500_000)
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        tab = await watch_by_channel(client, "room")
        await until(lambda: tab.frames)
        (peer,) = server.relay.subscribers_of("room")
        await until(lambda: peer.report()["frames_dropped"] >= 20)
        asleep = peer.report()["frames_sent"]
        dropped = peer.report()["frames_dropped"]
        await until(lambda: peer.report()["frames_dropped"] >= dropped + 20)
        assert peer.report()["frames_sent"] == asleep
        async with kept_awake(tab):
            await until(lambda: peer.report()["frames_sent"] >= asleep + 20)
        numbers = [number_of(frame.packets) for frame in tab.frames]
        assert numbers == sorted(numbers)  # what waited while it slept does not come after the rest


async def test_a_channel_has_the_rung_that_it_chooses() -> None:
    async with relay(rungs=RUNGS) as (_, client):
        await client.publish("room", MovingTrack(320, 192))
        tab = await watch_by_channel(client, "room", "&rung=2")
        async with kept_awake(tab):
            await until(lambda: tab.frames)
            assert {rung_of(frame.packets) for frame in tab.frames} == {2}
            async with client.http.post(f"{tab.path}/layer", json={"rid": "0"}) as response:
                assert response.status == 200
            await until(lambda: rung_of(tab.frames[-1].packets) == 0)


async def test_an_offer_with_video_beside_the_channel_is_refused_in_words() -> None:
    async with relay() as (server, client):
        _, offer = await offer_channel(client, video=True)
        url = "/whep/room?carrier=data"
        async with client.http.post(url, data=offer, headers=SDP) as response:
            assert response.status == 422
            assert "over a data channel" in (await response.json())["detail"]
        assert server.relay.n_sessions == 0


async def test_a_page_that_closes_its_channel_is_let_go() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack())
        tab = await watch_by_channel(client, "room")
        await until(lambda: tab.frames)
        tab.channel.close()
        await until(lambda: server.relay.sessions_closed.get("lost") == 1)
        assert server.relay.n_sessions == 1
