"""When a client takes its relay for gone, and when only the network."""

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest

from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.connection import RelayConnection, RelayLost
from rtcodec_client.signalling import RelayUnreachable, SignallingClient

S = 1_000_000


class Unreachable:
    """Signalling that fails in one way."""

    url = "http://127.0.0.1:1/whep/room"

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        self.n_asked = 0

    async def get_json(self, path: str) -> Any:
        self.n_asked += 1
        raise RelayUnreachable("cannot be reached") from self.cause


@pytest.fixture
async def connections() -> AsyncIterator[list[RelayConnection]]:
    made: list[RelayConnection] = []
    yield made
    for connection in made:
        await connection.peer.close()


def silent(connections: list[RelayConnection], cause: Exception, silence_us: int) -> Unreachable:
    client = Unreachable(cause)
    connection = RelayConnection(cast(SignallingClient, client))
    connection._alive_us = monotonic_us() - silence_us
    connections.append(connection)
    return client


CUT = [TimeoutError(), aiohttp.ServerTimeoutError(), OSError(errno.ENETUNREACH, "unreachable")]
GONE = [ConnectionRefusedError(errno.ECONNREFUSED, "refused"), aiohttp.ServerDisconnectedError()]


@pytest.mark.parametrize("cause", CUT, ids=repr)
async def test_a_network_that_is_gone_for_ten_seconds_is_waited_for(
    connections: list[RelayConnection], cause: Exception
) -> None:
    client = silent(connections, cause, 10 * S)
    await connections[0]._probe()
    assert client.n_asked == 1
    silent(connections, cause, 21 * S)
    with pytest.raises(RelayLost):
        await connections[1]._probe()


@pytest.mark.parametrize("cause", GONE, ids=repr)
async def test_a_relay_that_is_gone_is_believed_to_be_at_once(
    connections: list[RelayConnection], cause: Exception
) -> None:
    silent(connections, cause, 4 * S)
    with pytest.raises(RelayLost):
        await connections[0]._probe()


async def test_a_relay_that_was_just_heard_is_not_asked(connections: list[RelayConnection]) -> None:
    client = silent(connections, TimeoutError(), 1 * S)
    await connections[0]._probe()
    assert client.n_asked == 0
    await asyncio.sleep(0)
