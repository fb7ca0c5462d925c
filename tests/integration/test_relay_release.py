"""What is left of a peer that has gone, without the garbage collector."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from rtcodec_server.peer import Peer, PublisherPeer, SubscriberPeer
from support.relay import MovingTrack, RelayClient, relay, until


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
