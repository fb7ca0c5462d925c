"""What is left of a peer that has gone, without the garbage collector."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtcodec_server.peer import Peer
from rtcodec_server.publisher_peer import PublisherPeer
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.subscriber_peer import SubscriberPeer
from support.relay import MovingTrack, RelayClient, relay, until
from support.tab import watch_as_tab, watch_by_channel


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def parts(peer: Peer) -> dict[str, Any]:
    """Return weak references to all that a peer is made of."""
    (transceiver,) = peer.connection.getTransceivers()
    dtls = transceiver.sender.transport
    found = {
        "peer": peer,
        "connection": peer.connection,
        "transceiver": transceiver,
        "sender": transceiver.sender,
        "receiver": transceiver.receiver,
        "dtls": dtls,
        "ice": dtls.transport,
        "gatherer": dtls.transport.iceGatherer,
        "sockets": dtls.transport._connection,
    }
    if isinstance(peer, PublisherPeer):
        found |= {"video": peer.video, "stream": peer.stream}
    if isinstance(peer, SubscriberPeer):
        found |= {"track": peer.sender, "port": peer.sender._port}
    assert None not in found.values()
    return {name: weakref.ref(part) for name, part in found.items()}


async def leave(client: RelayClient, path: str, left: dict[str, Any]) -> None:
    async with client.http.delete(path) as response:
        assert response.status == 200
    for _ in range(100):
        if not any(part() is not None for part in left.values()):
            break
        await asyncio.sleep(0.05)
    assert [name for name, part in left.items() if part() is not None] == []


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_a_peer_that_left_waits_for_the_garbage_collector() -> None:
    async with relay() as (server, client):
        publishing = await client.publish("room", MovingTrack(160, 96))
        watch = await client.watch("room")
        await until(lambda: len(watch.frames) >= 3)
        (subscriber,) = server.relay.subscribers_of("room")
        left = parts(subscriber)
        del subscriber
        await leave(client, watch.path, left)
        publisher = server.relay.publisher_of("room")
        assert publisher is not None
        left = parts(publisher)
        del publisher
        await leave(client, publishing, left)


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_a_tab_that_left_waits_for_the_garbage_collector() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack(160, 96))
        tab = await watch_as_tab(client, "room")
        await until(lambda: len(tab.frames) >= 3)
        (subscriber,) = server.relay.subscribers_of("room")
        left = parts(subscriber) | {"sctp": weakref.ref(subscriber.connection.sctp)}
        del subscriber
        await leave(client, tab.path, left)


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_a_data_channel_with_latents_waits_for_the_garbage_collector() -> None:
    async with relay() as (server, client):
        await client.publish("room", MovingTrack(160, 96))
        tab = await watch_by_channel(client, "room")
        await until(lambda: len(tab.frames) >= 3)
        (subscriber,) = server.relay.subscribers_of("room")
        found = (subscriber, subscriber.sender, subscriber.sender._port, subscriber._channel)
        sctp = subscriber.connection.sctp
        left = {type(part).__name__: weakref.ref(part) for part in (*found, sctp)}
        assert len(left) == 5
        del subscriber, found, sctp
        await leave(client, tab.path, left)


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_a_recording_is_left_with_its_room(tmp_path: Path) -> None:
    record = RecordConfig(directory=tmp_path, min_free_mb=0)
    async with relay(record=record) as (server, client):
        publishing = await client.publish("room", MovingTrack(160, 96))
        await until(lambda: server.relay.recordings.totals.frames >= 3)
        (recording,) = server.relay.recordings._open
        publisher = server.relay.publisher_of("room")
        assert publisher is not None
        left = parts(publisher)
        left |= {"recording": weakref.ref(recording), "writer": weakref.ref(recording._writer)}
        del publisher, recording
        await leave(client, publishing, left)
        (name,) = [file.name for file in server.relay.recordings.folder.files()]  # type: ignore[union-attr]
        session = await play(client, name)
        player = server.relay.source_of("room")
        left = {"player": weakref.ref(player), "stream": weakref.ref(player.stream)}  # type: ignore[union-attr]
        del player
        await leave(client, f"/api/rooms/room/sessions/{session}", left)
        assert server.relay.recordings._stays == {}


async def play(client: RelayClient, name: str) -> str:
    wish = {"file": name, "loop": True}
    async with client.http.post("/api/rooms/room/play", json=wish) as response:
        assert response.status == 201
        session: str = (await response.json())["session"]
        return session
