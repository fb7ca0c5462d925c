"""Numbers, feedback and estimates over real connections on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rtcodec.packet.payload import FrameTiming
from rtcodec.webrtc import (
    LatentFrame,
    LatentReceiver,
    LatentSender,
    OutgoingFrame,
    accept_answer,
    accept_offer,
    add_latent_receiver,
    create_answer,
    create_offer,
    new_connection,
)
from rtcodec.webrtc.aiortc_patch import DirectSenderPort
from support.relay import MovingTrack, relay, until

TWCC_LINES = ("transport-wide-cc-extensions-01", "transport-cc")


def without_feedback(sdp: str) -> str:
    return "".join(
        line for line in sdp.splitlines(keepends=True) if not any(s in line for s in TWCC_LINES)
    )


@asynccontextmanager
async def call(*, feedback: bool = True) -> AsyncIterator[tuple[LatentSender, LatentReceiver]]:
    """Connect a sender with a receiver."""
    here, there = new_connection(), new_connection()
    try:
        ready = add_latent_receiver(there, max_frames=1000)
        sender = LatentSender()
        sender.attach(here)
        offer = await create_offer(there, loopback_only=True)
        assert all(line in offer for line in TWCC_LINES)
        await accept_offer(here, offer if feedback else without_feedback(offer))
        answer = await create_answer(here, loopback_only=True)
        assert all((line in answer) == feedback for line in TWCC_LINES)
        await accept_answer(there, answer)
        port = sender._port
        assert isinstance(port, DirectSenderPort)
        await until(lambda: port.is_running)  # only two frames wait for that
        yield sender, await ready
    finally:
        await here.close()
        await there.close()


def frame(number: int, n_bytes: int) -> OutgoingFrame:
    timing = FrameTiming(pts=number * 3000, received_us=0)
    packets = [bytes([n % 256]) * 1000 for n in range(max(1, n_bytes // 1000))]
    return OutgoingFrame(packets, timing.pts, timing, is_keyframe=number == 0)


async def send(sender: LatentSender, n_frames: int, n_bytes: int = 1000) -> None:
    for number in range(n_frames):
        sender.send(frame(number, n_bytes))
        await asyncio.sleep(1 / 30)


async def read(receiver: LatentReceiver, n_frames: int) -> list[LatentFrame]:
    async with asyncio.timeout(60):
        return [await receiver.recv() for _ in range(n_frames)]


async def test_the_sender_of_latents_learns_what_the_way_carries() -> None:
    async with call() as (sender, receiver):
        assert sender.available_bps is None
        assert sender.report_way() is None
        await send(sender, 10)
        await until(lambda: sender.available_bps is not None)
        way = sender.report_way()
        assert way is not None
        assert way["estimate_bps"] == sender.available_bps
        assert way["rtt_us"] < 10_000_000
        assert sender.counters.remb_bps is None  # told of every packet, it needs no REMB
        assert len(await read(receiver, 10)) == 10


async def test_a_receiver_without_feedback_is_heard_by_remb() -> None:
    async with call(feedback=False) as (sender, _):
        await send(sender, 10)
        await until(lambda: sender.available_bps is not None)
        assert sender.available_bps == sender.counters.remb_bps
        assert sender.report_way() is None


async def test_a_large_frame_comes_whole_and_is_reported_when_its_last_packet_left() -> None:
    async with call() as (sender, receiver):
        await send(sender, 2)
        sender.send(frame(2, 80_000))
        n_sent = sender.counters.frames_sent
        assert n_sent == 2
        await until(lambda: sender.counters.frames_sent == 3)
        assert [f.is_complete for f in await read(receiver, 3)] == [True] * 3


async def test_a_frame_that_has_not_left_when_the_track_ends_is_dropped() -> None:
    async with call() as (sender, _):
        await send(sender, 2)
        await until(lambda: sender.counters.frames_sent == 2)
        sender.send(frame(2, 200_000))
    assert (sender.counters.frames_sent, sender.counters.frames_dropped) == (2, 1)


async def test_feedback_that_is_none_changes_nothing() -> None:
    async with call() as (sender, _):
        await send(sender, 4)
        await until(lambda: sender.available_bps is not None)
        assert isinstance(sender._port, DirectSenderPort)
        way = sender._port.way
        before = way.estimator.bps
        way.hear(b"\0" * 8)
        assert (way.malformed, way.estimator.bps) == (1, before)


async def test_publishers_and_subscribers_of_a_relay_use_feedback() -> None:
    async with relay(bitrate_kbps=500) as (server, client):
        await client.publish("room", MovingTrack())
        watch = await client.watch("room")
        await until(lambda: len(watch.frames) >= 3)
        (subscriber,) = server.relay.subscribers_of("room")
        await until(lambda: subscriber.available_bps is not None)
        report = subscriber.report()
        assert report["available_bps"] is not None
        assert report["way"]["estimate_bps"] > 0
        assert report["remb_bps"] is None


async def test_a_lost_packet_is_rebuilt_where_asking_again_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with call() as (sender, receiver):
        await send(sender, 4)
        await until(lambda: sender.available_bps is not None)
        port = sender._port
        assert isinstance(port, DirectSenderPort)
        monkeypatch.setattr(type(port.way.estimator), "loss", 0.1)
        monkeypatch.setattr(type(port.way.estimator), "rtt_us", 300_000)
        await send(sender, 2)  # from the first parity on payloads are remembered
        before_bps = port.way.bps
        assert before_bps is not None
        assert sender.available_bps is not None
        assert sender.available_bps < before_bps
        transmit = port._outlet._transmit  # type: ignore[union-attr]

        def lose_the_second(packets: list[bytes]) -> None:
            transmit([packet for n, packet in enumerate(packets) if n != 1])

        monkeypatch.setattr(port._outlet, "_transmit", lose_the_second)
        monkeypatch.setattr(port._outlet, "send_again", lambda seq: None)
        sender.send(frame(6, 4_000))
        await until(lambda: receiver.frames_received >= 7)
        frames = await read(receiver, 7)
        assert frames[-1].is_complete
        assert frames[-1].packets == tuple(frame(6, 4_000).packets)
        assert receiver.packets_rebuilt == 1
        way = sender.report_way()
        assert way is not None
        assert way["parities"] == 3
        assert receiver.counters.packets_malformed == 0
