"""What a peer's data channel may bring, and what ends it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc.exceptions import InvalidStateError
from aiortc.rtcsctptransport import SackChunk
from pyee.asyncio import AsyncIOEventEmitter

from rtcodec.webrtc.aiortc_data import (
    MAX_HELD_CHUNKS,
    MAX_STREAMS,
    MAX_UNACKNOWLEDGED_CHUNKS,
    MessageChannel,
)


class Sctp:
    """What is touched of aiortc's transport."""

    def __init__(self) -> None:
        self._inbound_streams: dict[int, Any] = {}
        self._sack_misordered: set[int] = set()
        self._sack_duplicates: list[int] = []
        self._sent_queue: list[object] = []
        self.heard: list[bytes] = []
        self.acknowledged: list[SackChunk] = []
        self.handle: Callable[[bytes], None] = self.heard.append

    async def _handle_data(self, data: bytes) -> None:
        self.handle(data)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        self.acknowledged.append(chunk)


class Channel(AsyncIOEventEmitter):
    """What is touched of a data channel."""

    def __init__(self, sctp: Sctp) -> None:
        super().__init__()
        self.transport = sctp
        self.readyState = "open"
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> None:
        if self.readyState != "open":
            raise InvalidStateError
        self.sent.append(message)


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

    def open(self) -> Channel:
        channel = Channel(self.connection.sctp)
        self.connection.emit("datachannel", channel)
        return channel

    async def bring(self, data: bytes) -> None:
        await self.connection.sctp._handle_data(data)


@pytest.fixture
async def guarded() -> Guarded:
    return Guarded()


async def test_small_binary_messages_of_one_channel_are_taken(guarded: Guarded) -> None:
    channel = guarded.open()
    for message in (b"x" * 40, b"x" * 41, "text", b""):
        channel.emit("message", message)
    assert guarded.messages == [b"x" * 40, b""]
    assert guarded.n_misuses == 0


async def test_a_second_channel_is_misuse_said_once(guarded: Guarded) -> None:
    for _ in range(3):
        guarded.open()
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


async def test_it_says_when_the_peer_has_said_what_it_got(guarded: Guarded) -> None:
    told: list[str] = []
    guarded.channel.on_acknowledged = lambda: told.append("acknowledged")
    await guarded.connection.sctp._receive_sack_chunk(SackChunk())
    assert told == ["acknowledged"]
    sack = SackChunk()
    sack.gaps = [(1, MAX_UNACKNOWLEDGED_CHUNKS + 1)]
    await guarded.connection.sctp._receive_sack_chunk(sack)
    assert told == ["acknowledged"]


async def test_nothing_is_left_in_aiortc_afterwards(guarded: Guarded) -> None:
    channel = guarded.open()
    guarded.channel.close()
    assert not {"_handle_data", "_receive_sack_chunk"} & vars(guarded.connection.sctp).keys()
    channel.emit("message", b"x")
    assert guarded.messages == []


async def test_messages_go_out_while_there_is_an_open_channel(guarded: Guarded) -> None:
    with pytest.raises(ConnectionError):
        guarded.channel.send(b"early")
    assert not guarded.channel.is_open
    assert guarded.channel.last_heard_us is None
    told: list[str] = []
    guarded.channel.on_open = lambda: told.append("open")
    guarded.channel.on_sent = lambda: told.append("sent")
    channel = guarded.open()
    guarded.channel.send(b"one")
    channel.emit("bufferedamountlow")
    assert (channel.sent, told) == ([b"one"], ["open", "sent"])
    assert guarded.channel.last_heard_us is not None
    channel.readyState = "closing"
    assert not guarded.channel.is_open
    with pytest.raises(ConnectionError):
        guarded.channel.send(b"late")
    assert guarded.n_misuses == 0


async def test_a_peer_that_acknowledges_nothing_is_given_up(guarded: Guarded) -> None:
    channel = guarded.open()
    guarded.connection.sctp._sent_queue = [None] * MAX_UNACKNOWLEDGED_CHUNKS
    guarded.channel.send(b"one")
    guarded.connection.sctp._sent_queue.append(None)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            guarded.channel.send(b"two")
    assert channel.sent == [b"one"]
    assert guarded.n_misuses == 1


async def test_a_peer_that_closes_its_channel_is_given_up(guarded: Guarded) -> None:
    guarded.open().emit("close")
    assert guarded.n_misuses == 1


@pytest.mark.parametrize("gap", [(1, 65_535), (1, MAX_UNACKNOWLEDGED_CHUNKS + 1), (5, 4)])
async def test_what_nobody_sent_cannot_be_acknowledged(
    guarded: Guarded, gap: tuple[int, int]
) -> None:
    good, bad = SackChunk(), SackChunk()
    good.gaps = [(2, 3), (5, MAX_UNACKNOWLEDGED_CHUNKS)]
    bad.gaps = [(2, 3), gap]
    sctp = guarded.connection.sctp
    await sctp._receive_sack_chunk(good)
    assert guarded.n_misuses == 0
    await sctp._receive_sack_chunk(bad)
    assert sctp.acknowledged == [good]
    assert guarded.n_misuses == 1
