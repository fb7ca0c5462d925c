"""A relay lets in what its engine can carry, says so, and goes on when that was too much."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rtcodec.bundle import Bundle
from rtcodec.engine.api import EncodeJob, EncodeOutput, Engine
from rtcodec.engine.null import NullEngine
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from support.ordinary import view, viewer_offer
from support.relay import SDP, MovingTrack, RelayClient, until

SIZE = (160, 96)


class SlowEngine(NullEngine):
    """Takes its time, which can be changed."""

    def __init__(self, frame_s: float) -> None:
        super().__init__()
        self.frame_s = frame_s

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        time.sleep(self.frame_s * len(jobs))
        return super().encode(jobs)


@asynccontextmanager
async def slow_relay(
    frame_s: float, admission: AdmissionConfig | None = None
) -> AsyncIterator[tuple[RunningServer, RelayClient, SlowEngine]]:
    engine = SlowEngine(frame_s)

    def factory(config: ServerConfig) -> tuple[Engine, Bundle]:
        return engine, engine.bundle

    config = ServerConfig(
        port=0, engine="null", psnr="off", warm=(SIZE,), admission=admission or AdmissionConfig()
    )
    async with running_server(config, engine_factory=factory) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            yield server, client, engine


async def refusal(client: RelayClient, path: str, offer: str) -> tuple[int, str | None, str]:
    async with client.http.post(path, data=offer, headers=SDP) as response:
        return response.status, response.headers.get("Retry-After"), await response.text()


async def metrics(client: RelayClient) -> str:
    async with client.http.get("/metrics") as response:
        return await response.text()


async def test_a_publisher_that_the_engine_has_no_room_for_is_503_with_retry_after() -> None:
    """Frames take more than half of the time that there is, and so would the next publisher's."""
    async with slow_relay(0.06) as (server, client, _):
        watch = await client.watch("first")
        await client.publish("first", MovingTrack(*SIZE))
        await until(lambda: len(watch.frames) >= 3 and server.relay.load.present > 0.5)
        _, offer = await client.publisher_offer()
        status, retry_after, detail = await refusal(client, "/whip/second", offer)
        assert (status, retry_after) == (503, "10")
        assert "no room for another stream" in detail
        assert [room.name for room in server.relay.rooms] == ["first"]
        text = await metrics(client)
        assert "rtcodec_admission_refused_total 1.0" in text
        assert "rtcodec_engine_load " in text


async def test_what_ordinary_viewers_cost_is_load_and_the_first_in_a_codec_needs_room() -> None:
    async with slow_relay(0.001) as (server, client, _):
        load = server.relay.load
        await client.publish("room", MovingTrack(*SIZE))
        viewer = await view(client, "room", ["VP8"])
        await until(lambda: len(viewer.frames) >= 3 and load.aside.encode_s > 0)
        host = server.relay.host
        assert host is not None
        assert host.capacity is not None
        assert load.present >= host.capacity.load(0.0, aside=load.aside) > 0
        load.admission.limit = 1e-9  # full
        await view(client, "room", ["VP8"])  # costs no encoder more
        _, offer = await viewer_offer(client, ["H264"])
        status, _, detail = await refusal(client, "/whep/room", offer)
        assert (status, "no room" in detail) == (503, True)
        _, offer = await viewer_offer(client, ["VP8"])
        status, _, _ = await refusal(client, "/whep/room?rate=match", offer)  # its own encoder
        assert status == 503


async def test_who_watches_what_is_coded_already_is_let_in_and_what_is_not_needs_room() -> None:
    async with slow_relay(0.06) as (server, client, _):
        await client.publish("unwatched", MovingTrack(*SIZE))
        stats = server.relay.stats
        await until(lambda: stats.frames.dropped.get("unwatched", 0) >= 1)
        server.relay.load.admission.settle("unwatched")
        await client.publish("watched", MovingTrack(*SIZE))
        watch = await client.watch("watched")
        await until(lambda: len(watch.frames) >= 3 and server.relay.load.present > 0.5)
        await client.watch("watched")
        offer = (await client.publisher_offer())[1].replace("a=sendonly", "a=recvonly")
        status, retry_after, _ = await refusal(client, "/whep/unwatched", offer)
        assert (status, retry_after) == (503, "10")


async def test_the_first_publisher_is_let_in_however_slow_the_engine_is() -> None:
    async with slow_relay(0.12) as (server, client, _):
        assert server.relay.host is not None
        assert server.relay.host.capacity is not None
        assert server.relay.host.capacity.streams(*SIZE)["relay"] < 1
        watch = await client.watch("first")
        await client.publish("first", MovingTrack(*SIZE))
        await until(lambda: len(watch.frames) >= 2)


async def test_without_a_limit_everybody_is_let_in() -> None:
    async with slow_relay(0.03, AdmissionConfig(limit=0.0)) as (server, client, _):
        for room in ("a", "b", "c"):
            await client.publish(room, MovingTrack(*SIZE))
        assert len(server.relay.rooms) == 3


async def test_frames_are_left_out_when_the_engine_gets_slower_and_come_back() -> None:
    async with slow_relay(0.001) as (server, client, engine):
        load, frames = server.relay.load, server.relay.stats.frames
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(*SIZE))
        await until(lambda: len(watch.frames) >= 3)
        engine.frame_s = 0.05
        await until(lambda: load.shed_steps["rate"] >= 1, timeout_s=60)
        await until(lambda: frames.dropped.get("shed", 0) >= 3)
        assert 'rtcodec_load_steps_total{step="rate"}' in await metrics(client)
        engine.frame_s = 0.001
        await until(lambda: load.shed_steps["restored"] >= 1, timeout_s=60)
        n_coded = frames.encoded
        await until(lambda: frames.encoded >= n_coded + 5)
        assert frames.in_flight <= 4
