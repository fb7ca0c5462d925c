"""A supervisor and its children: messages, descriptors, and ends of every kind."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rtcodec.engine.loader import ENGINE_PROCESS
from rtcodec.errors import ConfigError, RemoteProtocolError
from rtcodec.process import ControlChannel, Message, spawn
from rtcodec.process.control import MAX_MESSAGE_BYTES, read_message, write_message
from support.relay import until
from support.workers import PATIENCE_S, is_there


class End:
    """One end, and what came."""

    def __init__(self, end: socket.socket) -> None:
        self.heard: list[tuple[str, Message]] = []
        self.descriptors: list[int] = []
        self.n_closed = 0
        self.channel = ControlChannel(end, on_message=self._hear, on_close=self._closed)

    def _hear(self, kind: str, fields: Message, descriptors: list[int]) -> None:
        self.heard.append((kind, fields))
        self.descriptors += descriptors

    def _closed(self) -> None:
        self.n_closed += 1


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[End, End, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first, second = End(ours), End(theirs)
    try:
        yield first, second, theirs
    finally:
        first.channel.close()
        second.channel.close()


async def test_messages_and_descriptors_arrive_in_order() -> None:
    reading, writing = os.pipe()
    async with ends() as (here, there, _):
        here.channel.send("first", number=1)
        here.channel.send("second", writing, text="é")
        os.close(writing)
        await until(lambda: len(there.heard) == 2)
    assert there.heard == [("first", {"number": 1}), ("second", {"text": "é"})]
    (given,) = there.descriptors
    os.write(given, b"x")
    assert os.read(reading, 1) == b"x"
    assert not os.get_inheritable(given)
    os.close(given)
    os.close(reading)


async def test_what_the_other_side_does_not_take_waits_and_then_arrives() -> None:
    async with ends() as (here, there, theirs):
        asyncio.get_running_loop().remove_reader(theirs.fileno())
        for number in range(40):
            here.channel.send("long", number=number, text="x" * 50_000)
        asyncio.get_running_loop().add_reader(theirs.fileno(), there.channel._read)
        await until(lambda: len(there.heard) == 40)
    assert [fields["number"] for _, fields in there.heard] == list(range(40))


async def test_somebody_who_takes_nothing_for_too_long_is_given_up() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with ends() as (here, _, theirs):
        asyncio.get_running_loop().remove_reader(theirs.fileno())
        for _ in range(600):
            here.channel.send("long", theirs.fileno(), text="x" * 50_000)
        assert here.n_closed == 1
        here.channel.send("nothing", more=1)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("data", [b"nonsense", b"[1]", b"{}", b'{"kind": 1}', b"[" * 100_000])
async def test_nonsense_ends_the_channel_once(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_message(data)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here = End(ours)
    with theirs:
        theirs.send(data)
        await until(lambda: here.n_closed)
    assert (here.n_closed, here.heard) == (1, [])


async def test_last_words_are_heard_though_the_end_is_noticed_first() -> None:
    async with ends() as (here, there, _):
        there.channel.send("figures", sent=1)
        there.channel.send("bye")
        there.channel.close()
        here.channel.hear_out()  # before the event loop has told of them
        assert here.heard == [("figures", {"sent": 1}), ("bye", {})]
        assert here.n_closed == 1


async def test_hearing_out_waits_for_nothing() -> None:
    async with ends() as (here, there, _):
        here.channel.hear_out()
        assert (here.heard, here.n_closed) == ([], 0)
        await until(lambda: there.n_closed)


async def test_an_end_that_is_gone_is_noticed_by_who_listens_and_by_who_talks() -> None:
    async with ends() as (here, there, _):
        there.channel.close()
        await until(lambda: here.n_closed)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    talker = End(ours)
    theirs.close()
    talker.channel.send("hello")
    await until(lambda: talker.n_closed)


def test_a_message_too_long_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="a message 'x'"):
        write_message("x", {"text": "x" * MAX_MESSAGE_BYTES})


async def test_a_child_ends_when_its_channel_does() -> None:
    process, end = await spawn(ENGINE_PROCESS)
    here = End(end)
    await until(lambda: here.heard, timeout_s=PATIENCE_S)
    assert is_there(process.pid)
    here.channel.close()  # this process lives on: no signal tells the child
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "RemoteProtocolError"),
        (
            {"engine": "auto", "model": "nothing", "threads": 1, "lanes": 1, "max_batch": 1,
             "warm": [], "hang_s": 5},
            "ConfigError",
        ),
    ],
)  # fmt: skip
async def test_an_engine_process_says_why_it_does_not_start(
    settings: dict[str, Any], error: str
) -> None:
    process, end = await spawn(ENGINE_PROCESS)
    here = End(end)
    here.channel.send("start", **settings)
    await until(lambda: [kind for kind, _ in here.heard if kind == "failed"], timeout_s=PATIENCE_S)
    assert [fields["error"] for kind, fields in here.heard if kind == "failed"] == [error]
    here.channel.send("stop")
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    here.channel.close()


async def test_elsewhere_than_on_linux_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigError, match="use workers = 1"):
        await spawn(ENGINE_PROCESS)
