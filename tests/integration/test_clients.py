"""Publisher and watcher against a real relay, over real WebRTC on loopback."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.bundle import Bundle
from rtcodec.codec.perceptual_head import PerceptualHead
from rtcodec.codec.tile_qp import TileQp
from rtcodec.engine.api import Engine, StateId
from rtcodec.engine.null import NullEngine
from rtcodec.errors import InputError, RemoteProtocolError
from rtcodec.session.lobby import Limits
from rtcodec.types import Planes, tile_grid
from rtcodec_client.connection import RelayConnection
from rtcodec_client.output import OutputThread
from rtcodec_client.publish import Publisher, PublishOptions
from rtcodec_client.room_status import RoomStatus, fetch_room
from rtcodec_client.signalling import RelayBusy, SignallingClient
from rtcodec_client.source import SourceOptions, open_source
from rtcodec_client.watch import Watcher, WatchOptions
from rtcodec_server.app import load_engine, running_server
from rtcodec_server.config import ServerConfig
from support.command import outcome, relay_process, run, said, start
from support.relay import KEYS, relay, token_for, until

PATTERN = "pattern:160x96@30"


@asynccontextmanager
async def publisher(
    url: str,
    *,
    seconds: float | None = None,
    token: str | None = None,
    on_wait: Callable[[str], None] = lambda _reason: None,
    **options: Any,
) -> AsyncIterator[Publisher]:
    source = open_source(PATTERN, SourceOptions(seconds=seconds))
    async with SignallingClient(f"{url}/whip/room", token=token) as client:
        connection = RelayConnection(client, on_wait=on_wait)
        try:
            yield Publisher(connection, source, PublishOptions(**options))
        finally:
            await connection.peer.close()


@asynccontextmanager
async def watcher(
    url: str,
    *,
    model: str | None = None,
    engine: NullEngine | None = None,
    on_wait: Callable[[str], None] = lambda _reason: None,
    show: Callable[[Planes], None] = lambda _planes: None,
    head: PerceptualHead | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Watcher, SignallingClient]]:
    engine = engine or NullEngine()
    async with SignallingClient(f"{url}/whep/room") as client:
        models = [model or engine.info.model_id.hex()]
        connection = RelayConnection(client, models=models, on_wait=on_wait)
        outputs = OutputThread([])
        try:
            yield (
                Watcher(
                    connection,
                    engine,
                    engine.bundle,
                    WatchOptions(**options),
                    outputs=outputs,
                    show=show,
                    head=head,
                ),
                client,
            )
        finally:
            outputs.close()
            await connection.peer.close()


class SlowlyOpened(NullEngine):
    """Takes as long to open as a network on a busy machine."""

    def open_state(self, width: int, height: int) -> StateId:
        time.sleep(0.5)
        return super().open_state(width, height)


async def test_no_frame_is_lost_while_the_decoder_is_opened() -> None:
    """A watcher who was there first cannot know the size; later frames lean on the first ones."""
    async with (
        relay() as (server, client),
        watcher(server.url, engine=SlowlyOpened(), frames=30) as (watch, _),
    ):
        connected = asyncio.Event()
        watching = asyncio.ensure_future(watch.run(asyncio.Event(), on_connected=connected.set))
        await asyncio.wait_for(connected.wait(), 60)
        await client.publish("room")
        await asyncio.wait_for(watching, 60)
    assert watch.figures.decoded == 30
    assert watch.figures.lost["late"] == 0


class Darkening(PerceptualHead):
    """Shows black, and counts."""

    n_shown = 0

    def show(self, planes: Planes, qps: TileQp) -> Planes:
        """Note one picture."""
        self.n_shown += 1
        assert qps.shape == tile_grid(planes.width, planes.height)
        return Planes(np.zeros_like(planes.y), planes.u, planes.v)


async def test_every_picture_that_is_shown_comes_from_the_head() -> None:
    head, seen = Darkening.load(), list[Planes]()
    async with (
        relay() as (server, client),
        watcher(server.url, head=head, show=seen.append, frames=5) as (watch, _),
    ):
        connected = asyncio.Event()
        watching = asyncio.ensure_future(watch.run(asyncio.Event(), on_connected=connected.set))
        await asyncio.wait_for(connected.wait(), 60)
        await client.publish("room")
        await asyncio.wait_for(watching, 60)
    assert len(seen) == head.n_shown == 5
    assert not any(planes.y.any() for planes in seen)


async def test_every_frame_is_accounted_for_and_is_the_one_it_is_taken_for(
    tmp_path: Path,
) -> None:
    status: list[RoomStatus | None] = []
    async with (
        relay_process("--tap", str(tmp_path)) as (_, url),
        watcher(
            url, barcode=True, relay_tap=tmp_path / "room.tap", source_tap=tmp_path / "source.tap"
        ) as (
            watch,
            client,
        ),
        publisher(
            url, seconds=2.0, barcode=True, is_holding=True, tap_directory=tmp_path
        ) as publish,
    ):

        async def before_leaving(session: Any) -> None:
            status.append(await fetch_room(client, "room", subscriber=session.answer.session_id))

        ended, connected = asyncio.Event(), asyncio.Event()
        publish.on_ended = lambda _stats: ended.set()
        leave = asyncio.Event()
        watching = asyncio.ensure_future(
            watch.run(leave, on_connected=connected.set, before_leaving=before_leaving)
        )
        await asyncio.wait_for(connected.wait(), 60)  # the room is still empty
        publishing = asyncio.ensure_future(publish.run())
        await asyncio.wait_for(ended.wait(), 60)
        await _settled(client, watch)
        leave.set()
        await asyncio.wait_for(watching, 60)
        publish.stop.set()
        stats = await asyncio.wait_for(publishing, 60)

    figures, room = watch.figures, status[0]
    assert room is not None
    assert stats.frames + stats.skipped == 60
    assert room.received is not None
    assert stats.frames * 0.8 <= room.received <= stats.frames  # loopback may lose a few, too
    assert room.in_flight == 0
    assert room.sent == figures.decoded + figures.n_lost
    assert room.bytes_sent == watch.bytes_received
    assert figures.decoded >= 10  # a slow machine drops many, and says so
    # Pictures say themselves which frame they are; the time stamps agree.
    assert watch.measured.barcodes_checked >= figures.decoded * 0.9
    assert watch.measured.barcodes_wrong == 0
    report = figures.report()
    assert report["psnr_measurements"] >= figures.decoded * 0.9
    assert 20 < report["psnr_db"]["yuv"] < 60
    assert report["psnr_source_db"]["yuv"] < report["psnr_db"]["yuv"] + 1
    assert {"publish", "engine", "deliver", "peer_decode", "total"} <= set(report["latency_ms"])
    means = {name: sum(values) / len(values) for name, values in figures.latency_ms.items()}
    total = means.pop("total")
    assert sum(means.values()) == pytest.approx(total, rel=0.1)  # which medians are not bound to


async def _settled(client: SignallingClient, watch: Watcher) -> None:
    """Wait until relay and watcher have dealt with every frame and nothing moves any more."""
    previous: tuple[object, ...] = ()
    async with asyncio.timeout(60):
        while True:
            room = await fetch_room(client, "room")
            assert room is not None
            watched = watch.figures.decoded + watch.figures.n_lost
            state = (room.received, room.encoded, room.n_dropped, watched)
            is_done = room.in_flight == 0 and watched >= (room.encoded or 0)
            if is_done and state == previous:
                return
            previous = state
            await asyncio.sleep(0.3)


async def test_h264_goes_through_as_well() -> None:
    async with (
        relay() as (server, _),
        watcher(server.url, frames=10) as (watch, _client),
        publisher(server.url, codec="h264") as publish,
    ):
        publishing = asyncio.ensure_future(publish.run())
        await asyncio.wait_for(watch.run(asyncio.Event()), 60)
        publish.stop.set()
        await asyncio.wait_for(publishing, 60)
    assert watch.figures.decoded >= 10


async def test_a_watcher_stops_after_the_seconds_it_was_given() -> None:
    async with (
        relay() as (server, _),
        watcher(server.url, seconds=0.5) as (watch, _client),
        publisher(server.url) as publish,
    ):
        publishing = asyncio.ensure_future(publish.run())
        await asyncio.wait_for(watch.run(asyncio.Event()), 60)
        publish.finish.set()  # no more frames; then it leaves by itself
        await asyncio.wait_for(publishing, 60)
    assert 5 <= watch.figures.decoded <= 25


async def test_a_second_publisher_is_turned_away() -> None:
    async with relay() as (server, _), publisher(server.url) as first:
        publishing = asyncio.ensure_future(first.run())
        await until(lambda: first.stats.frames > 0)
        async with publisher(server.url) as second:
            with pytest.raises(RemoteProtocolError, match="409"):
                await second.run()
        first.stop.set()
        await asyncio.wait_for(publishing, 60)


async def test_a_token_opens_the_door_and_its_lack_does_not() -> None:
    token = token_for("*", publish=True)
    async with relay(keys=KEYS) as (server, _):
        async with publisher(server.url) as stranger:
            with pytest.raises(RemoteProtocolError, match="401"):
                await stranger.run()
        async with publisher(server.url, seconds=0.2, token=token) as friend:
            stats = await asyncio.wait_for(friend.run(), 60)
    assert stats.frames + stats.skipped == 6


async def test_a_watcher_without_the_model_is_told_why() -> None:
    async with relay() as (server, _), watcher(server.url, model="ab" * 32) as (watch, _client):
        with pytest.raises(RemoteProtocolError, match=r"4\d\d: .*model"):
            await watch.run(asyncio.Event())


@asynccontextmanager
async def loading_relay() -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Run a relay whose engine starts when the function given out is called."""
    release = threading.Event()

    def slow_engine(config: ServerConfig) -> tuple[Engine, Bundle]:
        release.wait(60)
        return load_engine(config)

    config = ServerConfig(port=0, engine="null", warm=((64, 48),))
    async with running_server(config, engine_factory=slow_engine) as server:
        try:
            yield server.url, release.set
        finally:
            release.set()


async def test_clients_wait_for_an_engine_that_loads() -> None:
    waiting: list[str] = []
    async with (
        loading_relay() as (url, release),
        watcher(url, frames=5, on_wait=waiting.append) as (watch, _client),
        publisher(url, on_wait=waiting.append) as publish,
    ):
        publishing = asyncio.ensure_future(publish.run())
        watching = asyncio.ensure_future(watch.run(asyncio.Event()))
        await until(lambda: len(waiting) == 2)
        assert all("503: the engine is not ready yet" in text for text in waiting)
        release()
        await asyncio.wait_for(watching, 60)
        publish.stop.set()
        await asyncio.wait_for(publishing, 60)
    assert len(waiting) == 2  # said once each, however often they asked
    assert watch.figures.decoded >= 5


async def test_who_is_told_to_stop_waits_no_longer() -> None:
    waiting: list[str] = []
    async with (
        loading_relay() as (url, _release),
        publisher(url, on_wait=waiting.append) as publish,
    ):
        publishing = asyncio.ensure_future(publish.run())
        await until(lambda: waiting)
        publish.stop.set()
        with pytest.raises(RelayBusy, match="503"):
            await asyncio.wait_for(publishing, 10)


async def test_a_relay_that_is_busy_for_long_is_not_waited_for() -> None:
    waiting: list[str] = []
    limits = Limits(max_rooms=1, retry_after_s=31)
    async with (
        relay(limits=limits) as (server, client),
        publisher(server.url, on_wait=waiting.append) as publish,
    ):
        await client.watch("other")
        with pytest.raises(RelayBusy, match="full: 1 rooms; try again in 31 s"):
            await asyncio.wait_for(publish.run(), 10)
    assert waiting == []


async def test_an_empty_room_is_waited_for_only_so_long() -> None:
    async with relay() as (server, _), watcher(server.url, wait_s=0.3) as (watch, _client):
        with pytest.raises(InputError, match=r"no picture within 0\.3 s"):
            await watch.run(asyncio.Event())


# ---- as commands


async def test_a_watcher_asks_for_the_model_once_it_is_loaded() -> None:
    async with loading_relay() as (url, release):
        watch = await start("watch", f"{url}/whep/room", "--engine", "null", "--frames", "3")
        await said(watch, "the relay loads its model; waiting for up to 30 s")
        release()
        await said(watch, "watching")
        publish = await start("publish", f"{url}/whip/room", PATTERN, "--seconds", "2")
        watched = await outcome(watch)
        await outcome(publish)
    assert watched.code == 0, watched.err


async def test_a_relay_that_is_killed_ends_both_clients_with_one_line() -> None:
    async with relay_process() as (process, url):
        watch = await start("watch", f"{url}/whep/room", "--engine", "null", "--json")
        await said(watch, "watching")
        publish = await start("publish", f"{url}/whip/room", PATTERN)
        await said(watch, r"\d+ frames")
        process.send_signal(signal.SIGKILL)
        watched, published = await asyncio.gather(outcome(watch), outcome(publish))
    assert watched.code == published.code == 1
    assert watched.last_line.startswith("rtcodec: http://127.0.0.1:")
    assert "the relay" in watched.last_line
    assert "the relay" in published.last_line
    assert watched.document["frames"]["decoded"] > 0  # what was measured is not lost


async def test_a_relay_that_closes_in_good_order_is_a_normal_end_for_a_watcher(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.rtc"
    async with relay_process() as (process, url):
        words = ("--engine", "null", "--output", str(path))
        watch = await start("watch", f"{url}/whep/room", *words)
        await said(watch, "watching")
        publish = await start("publish", f"{url}/whip/room", PATTERN)
        await said(watch, r"\d+ frames")
        process.send_signal(signal.SIGTERM)
        watched = await outcome(watch)
        await outcome(publish)
    assert watched.code == 0, watched.err
    assert path.stat().st_size > 100


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_both_clients_in_good_order(how: signal.Signals) -> None:
    async with relay_process() as (_, url):
        watch = await start("watch", f"{url}/whep/room", "--engine", "null", "--json")
        await said(watch, "watching")
        publish = await start("publish", f"{url}/whip/room", PATTERN, "--json")
        await said(watch, r"\d+ frames")
        watch.send_signal(how)
        watched = await outcome(watch)
        publish.send_signal(how)
        published = await outcome(publish)
    assert (watched.code, published.code) == (0, 0), watched.err + published.err
    frames = watched.document["frames"]
    assert frames["sent"] == frames["decoded"] + frames["lost"]
    assert published.document["frames"]["published"] > 0


async def test_a_file_is_published_to_its_end_and_no_further(tmp_path: Path) -> None:
    saved = tmp_path / "saved.mkv"
    async with relay_process() as (_, url):
        watch = await start(
            *("watch", f"{url}/whep/room", "--engine", "null", "--frames", "3"),
            *("--output", str(saved)),
        )
        await said(watch, "watching")
        first = await run("publish", f"{url}/whip/room", PATTERN, "--seconds", "0.6", "--json")
        watched = await outcome(watch)
        assert sum(first.document["frames"].values()) == 18  # published, or skipped when late
        assert watched.code == 0, watched.err
        again = await run("publish", f"{url}/whip/room", str(saved), "--json")
    assert again.code == 0, again.err
    assert sum(again.document["frames"].values()) == 3
    assert (again.document["width"], again.document["height"]) == (160, 96)


async def test_nothing_is_left_of_a_publisher_that_is_cancelled() -> None:
    async with relay() as (server, _), publisher(server.url) as publish:
        running = asyncio.ensure_future(publish.run())
        await until(lambda: publish.stats.frames > 3)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await until(lambda: server.relay.n_sessions == 0)
