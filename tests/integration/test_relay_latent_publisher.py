"""Latents come into a relay by WHIP, from another relay or a recording, and pass as they are."""

from functools import partial

import pytest

from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.payload import FrameTiming
from rtcodec.webrtc import LatentSender, OutgoingFrame, accept_answer, create_offer, unix_us
from rtcodec_server.client_limits import PublisherLimits
from support.ordinary import WaveTrack, view
from support.relay import SDP, RelayClient, Watch, relay, until

PATIENCE_S = 60.0


class Publisher:
    """Sends latents over WHIP and hears what the relay asks for."""

    def __init__(self) -> None:
        self.plis = 0
        self.reports: list[FrameReport] = []
        self.sender = LatentSender(on_pli=self._on_pli, on_report=self.reports.append)

    def _on_pli(self) -> None:
        self.plis += 1

    async def connect(self, client: RelayClient, room: str, *models: str) -> None:
        connection = client.new_connection()
        self.sender.attach(connection)
        offer = await create_offer(connection, models=models, loopback_only=True)
        async with client.http.post(f"/whip/{room}", data=offer, headers=SDP) as response:
            body = await response.text()
            assert response.status == 201, body
        await accept_answer(connection, body)
        await until(lambda: connection.connectionState == "connected")

    def send(self, packets: tuple[bytes, ...], number: int) -> None:
        self.sender.send(
            OutgoingFrame(
                packets=packets,
                pts=3000 * number,
                timing=FrameTiming(pts=3000 * number, received_us=unix_us()),
                is_keyframe=True,
            )
        )


def watch_has(watch: Watch, n_frames: int) -> bool:
    return len(watch.frames) >= n_frames


async def recorded(n_frames: int) -> tuple[str, list[tuple[bytes, ...]]]:
    """Return the model and the packets of frames that a relay made."""
    async with relay(qp=0) as (_, client):
        watch = await client.watch("room")
        await client.publish("room", WaveTrack())
        await until(lambda: len(watch.frames) >= n_frames, timeout_s=PATIENCE_S)
        return watch.model, [frame.packets for frame in watch.frames[:n_frames]]


async def test_latents_that_are_published_reach_subscribers_of_every_kind_unchanged() -> None:
    model, frames = await recorded(40)
    async with relay() as (server, client):
        publisher = Publisher()
        watch = await client.watch("room")
        viewer = await view(client, "room")
        await publisher.connect(client, "room", model)
        for number, packets in enumerate(frames):
            publisher.send(packets, number)
            await until(partial(watch_has, watch, number + 1), timeout_s=PATIENCE_S)
        await until(lambda: len(viewer.frames) >= 5, timeout_s=PATIENCE_S)
        assert [frame.packets for frame in watch.frames] == frames
        assert max(viewer.psnr_db) > 30
        await until(lambda: publisher.reports)
        async with client.http.get("/api/rooms") as response:
            (room,) = (await response.json())["rooms"]
        assert (room["publisher"]["codec"], room["live"]) == ("X-RTC-LATENT", True)
        assert room["publisher"]["frames"]["received"] == len(frames)
        assert server.relay.stats.frames.encoded == 0


async def test_latents_of_another_model_are_refused() -> None:
    async with relay() as (_, client):
        with pytest.raises(AssertionError, match="which is not among those offered"):
            await Publisher().connect(client, "room", "ab" * 8)


async def test_latents_of_too_large_a_picture_end_the_session_and_too_many_are_thinned() -> None:
    model, frames = await recorded(10)
    async with relay(publisher=PublisherLimits(max_size=(64, 48))) as (server, client):
        publisher = Publisher()
        await publisher.connect(client, "room", model)
        publisher.send(frames[0], 0)
        await until(lambda: server.relay.sessions_closed == {"too_large": 1})
    async with relay(publisher=PublisherLimits(max_fps=1)) as (server, client):
        publisher = Publisher()
        await client.watch("room")
        await publisher.connect(client, "room", model)
        (room,) = server.relay.rooms
        publisher.send(frames[0], 0)  # two wait for the sender to run, no more
        await until(lambda: room.stats.frames.received == 1, timeout_s=PATIENCE_S)
        for number, packets in enumerate(frames[1:], 1):
            publisher.send(packets, number)
        await until(lambda: room.stats.frames.received == len(frames), timeout_s=PATIENCE_S)
        assert room.stats.frames.dropped["frame_rate"] >= 5
