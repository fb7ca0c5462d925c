"""The frame that a subscriber starts from: it comes first, and again where it is lost."""

import asyncio

import pytest

from rtcodec.bundle import find_bundle
from rtcodec.engine.loader import open_engine
from rtcodec.webrtc import OutgoingFrame
from rtcodec_client.connection import RelayConnection
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings
from rtcodec_client.output import OutputThread
from rtcodec_client.signalling import SignallingClient
from rtcodec_client.watch import Watcher, WatchOptions
from support.coded_track import CodedTrack
from support.relay import until
from support.tab_viewer import CONFIG, MOMENT_FRAMES, USABLE, room

pytestmark = pytest.mark.skipif(not USABLE, reason="no engine for a trained model is usable here")

FPS = 10


async def test_it_comes_first_however_long_the_connection_takes() -> None:
    far = Impairment(delay_us=100_000)  # several round trips until media can flow
    link = await Link.open(LinkSettings(up=far, down=far, seed=3), "far", loopback_only=True)
    try:
        async with room() as (server, client):
            near = await client.watch("room")
            await client.publish("room", CodedTrack(fps=2 * FPS))
            await until(lambda: len(near.frames) >= 5)
            n_before = len(near.frames)
            watch = await client.watch("room", link=link)
            await until(lambda: len(watch.frames) >= 20)
            assert [frame.is_keyframe for frame in watch.frames].index(True) == 0
            # who was there pays for one, and nobody had to ask
            assert sum(frame.is_keyframe for frame in near.frames[n_before:]) == 1
            assert server.relay.stats.pli_count == 0
    finally:
        link.close()


async def test_it_comes_again_to_a_watcher_that_missed_it(first_lost: list[OutgoingFrame]) -> None:
    bundle = find_bundle(CONFIG.model)
    engine = open_engine(CONFIG.engine, bundle, threads=1)
    outputs = OutputThread([])
    async with room() as (server, client), SignallingClient(f"{server.url}/whep/room") as whep:
        connection = RelayConnection(whep, models=[bundle.model_id.hex()])
        watcher = Watcher(connection, engine, bundle, WatchOptions(frames=5), outputs=outputs)
        watching = asyncio.ensure_future(watcher.run(asyncio.Event()))
        await client.publish("room", CodedTrack(fps=FPS))
        await asyncio.wait_for(watching, 60)
    outputs.close()
    engine.close()
    assert [frame.is_keyframe for frame in first_lost] == [True]
    assert 1 <= watcher.figures.lost["undecodable"] <= MOMENT_FRAMES
