"""What a peer's data channel may bring, and what ends it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pyee.asyncio import AsyncIOEventEmitter

from rtcodec.webrtc.aiortc_data import MAX_HELD_CHUNKS, MAX_STREAMS, MessageChannel


class Sctp:
    """What is touched of aiortc's transport."""

    def __init__(self) -> None:
        self._inbound_streams: dict[int, Any] = {}
        self._sack_misordered: set[int] = set()
        self._sack_duplicates: list[int] = []
        self.heard: list[bytes] = []
        self.handle: Callable[[bytes], None] = self.heard.append

    async def _handle_data(self, data: bytes) -> None:
        self.handle(data)


class Connection(AsyncIOEventEmitter):
    """What is touched of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.sctp = Sctp()


class Guarded:
    """A guarded connection, and what came of it."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.messages: list[bytes] = []
        self.n_misuses = 0
        self.channel = MessageChannel(
            self.connection,  # type: ignore[arg-type]
            max_bytes=40,
            on_message=self.messages.append,
            on_misuse=self._misused,
        )
        self.channel.guard()

    def _misused(self) -> None:
        self.n_misuses += 1

    async def bring(self, data: bytes) -> None:
        await self.connection.sctp._handle_data(data)


@pytest.fixture
async def guarded() -> Guarded:
    return Guarded()


async def test_small_binary_messages_of_one_channel_are_taken(guarded: Guarded) -> None:
    channel = AsyncIOEventEmitter()
    guarded.connection.emit("datachannel", channel)
    for message in (b"x" * 40, b"x" * 41, "text", b""):
        channel.emit("message", message)
    assert guarded.messages == [b"x" * 40, b""]
    assert guarded.n_misuses == 0


async def test_a_second_channel_is_misuse_said_once(guarded: Guarded) -> None:
    for _ in range(3):
        guarded.connection.emit("datachannel", AsyncIOEventEmitter())
    assert guarded.n_misuses == 1


@pytest.mark.parametrize(
    "error", [AssertionError, IndexError, UnicodeDecodeError("a", b"", 0, 1, "b")]
)
async def test_what_aiortc_stumbles_over_ends_the_peer_and_nothing_else(
    guarded: Guarded, error: Any
) -> None:
    def stumble(data: bytes) -> None:
        raise error

    guarded.connection.sctp.handle = stumble
    await guarded.bring(b"malformed")
    assert guarded.n_misuses == 1
    guarded.connection.sctp.handle = guarded.connection.sctp.heard.append
    await guarded.bring(b"more")
    assert guarded.connection.sctp.heard == []


async def test_a_lost_connection_is_for_aiortc_to_deal_with(guarded: Guarded) -> None:
    def lose(data: bytes) -> None:
        raise ConnectionError

    guarded.connection.sctp.handle = lose
    with pytest.raises(ConnectionError):
        await guarded.bring(b"x")
    assert guarded.n_misuses == 0


@pytest.mark.parametrize("kept", ["misordered", "duplicates", "reassembly"])
async def test_a_peer_that_leaves_gaps_for_ever_is_given_up(guarded: Guarded, kept: str) -> None:
    sctp = guarded.connection.sctp
    stream = SimpleNamespace(reassembly=[])
    sctp._inbound_streams[1] = stream

    def keep(data: bytes) -> None:
        if kept == "misordered":
            sctp._sack_misordered.add(len(sctp._sack_misordered))
        elif kept == "duplicates":
            sctp._sack_duplicates.append(1)
        else:
            stream.reassembly.append(data)

    sctp.handle = keep
    for _ in range(MAX_HELD_CHUNKS):
        await guarded.bring(b"x")
    assert guarded.n_misuses == 0
    await guarded.bring(b"x")
    assert guarded.n_misuses == 1


async def test_a_peer_has_few_streams_and_datagrams_of_ordinary_size(guarded: Guarded) -> None:
    sctp = guarded.connection.sctp
    await guarded.bring(b"x" * 65_000)
    assert sctp.heard == []
    for stream in range(MAX_STREAMS + 1):
        assert guarded.n_misuses == 0
        sctp._inbound_streams[stream] = SimpleNamespace(reassembly=[])
        await guarded.bring(b"x")
    assert guarded.n_misuses == 1


async def test_nothing_is_left_in_aiortc_afterwards(guarded: Guarded) -> None:
    channel = AsyncIOEventEmitter()
    guarded.connection.emit("datachannel", channel)
    guarded.channel.close()
    assert "_handle_data" not in vars(guarded.connection.sctp)
    channel.emit("message", b"x")
    assert guarded.messages == []
