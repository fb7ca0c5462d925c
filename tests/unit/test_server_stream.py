"""A stream's frames from picture to packets, with an engine that does as it is told."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import av
import pytest

from rtcodec.codec.denoiser import AUTO, OFF
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.null import NullEngine
from rtcodec.errors import EngineError
from rtcodec.media.scale import picture_of, planes_of_picture
from rtcodec.packet.packetizer import CutFrame
from rtcodec.session.ladder import read_rung
from rtcodec.session.layer import LayerWish
from rtcodec.stats import FrameLedger, StreamStats
from rtcodec.types import Planes
from rtcodec.webrtc import DecodedFrame, LatentSender, monotonic_us
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.measure import MeasureGate
from rtcodec_server.rung import LadderSetup
from rtcodec_server.stream import UNWATCHED, Stream
from support.pictures import noise, same_picture
from support.relay import until


class MoodyEngine(NullEngine):
    """A null engine that may refuse streams."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 0
        self.sizes: dict[StateId, tuple[int, int]] = {}
        self.coded: list[Planes] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.decodes_when_closed = False

    def open_state(self, width: int, height: int) -> StateId:
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("no room")
        state = super().open_state(width, height)
        self.sizes[state] = (width, height)
        return state

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        self.coded += [job.planes for job in jobs]
        assert self.may_go_on.wait(60)
        return super().encode(jobs)

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        while self.decodes_when_closed and jobs[0].state in self.sizes:
            time.sleep(0.001)
        if jobs[0].state not in self.sizes:
            raise EngineError("the state is not open")
        return super().decode(jobs)

    def close_state(self, state: StateId) -> None:
        del self.sizes[state]
        super().close_state(state)


def decoded(width: int = 64, height: int = 48, *, pts: int = 0) -> DecodedFrame:
    now_us = monotonic_us()
    picture = av.VideoFrame(width, height, "yuv420p")
    for plane in picture.planes:
        plane.update(bytes(plane.buffer_size))
    return DecodedFrame(picture, pts, pts, True, now_us - 300, now_us - 200, now_us - 100)


class StandInPort:
    """Takes frames as a connection would, or fails."""

    is_running = True
    media_bps = None

    def __init__(self) -> None:
        self.pts: list[int] = []
        self.error: Exception | None = None

    def send(
        self, frame: CutFrame, *, delivery: int, pts: int, on_left: Callable[[bool], None]
    ) -> None:
        if self.error is not None:
            raise self.error
        assert delivery == len(self.pts)
        self.pts.append(pts)
        on_left(True)

    def close(self) -> None:
        """Nothing is left to let go of."""


def connected_sender() -> LatentSender:
    """Make a sender whose connection stands and that tells the stream what it did."""
    sender = LatentSender(
        on_sent=lambda frame, at_us: frame.token[0].sent(frame.token[1], at_us),
        on_dropped=lambda frame: frame.token[0].unsent(frame.token[1]),
    )
    sender._port = StandInPort()  # type: ignore[assignment]
    return sender


class Bench:
    """A stream and its figures."""

    def __init__(
        self,
        engine: MoodyEngine,
        host: EngineHost,
        rate: LiveRate | None = None,
        rungs: LadderSetup | None = None,
        denoise: str = OFF,
    ) -> None:
        self.engine = engine
        self.host = host
        self.stats = StreamStats()
        self.stream = Stream(
            host,
            qp=10,
            frame_deadline_us=10_000_000,
            stats=(self.stats, StreamStats()),
            rate=rate,
            rungs=rungs,
            denoise=denoise,
        )
        if rungs is None:
            self.stream.subscribers["viewer"] = LatentSender()

    @property
    def frames(self) -> FrameLedger:
        return self.stats.frames

    def put(self, frame: DecodedFrame) -> None:
        self.stream.receive()
        self.stream.put(frame)


@asynccontextmanager
async def bench(
    rate: LiveRate | None = None,
    *,
    rungs: LadderSetup | None = None,
    denoise: str = OFF,
    references: int = 0,
    psnr: str = "off",
) -> AsyncIterator[Bench]:
    engine = MoodyEngine()
    engine.info = replace(engine.info, references=references)
    host = EngineHost(engine, engine.bundle, max_batch=4, gate=MeasureGate(psnr))
    b = Bench(engine, host, rate, rungs, denoise)
    try:
        yield b
    finally:
        await b.stream.close()
        await host.close()
        assert b.frames.in_flight == 0
        assert engine.sizes == {}


@pytest.mark.parametrize(("denoise", "is_cleaned"), [(OFF, False), (AUTO, True)])
async def test_noise_is_taken_out_where_that_is_asked_for(denoise: str, is_cleaned: bool) -> None:
    shown = noise(64, 48)
    frame = decoded()._replace(picture=picture_of(shown))
    async with bench(denoise=denoise) as b:
        b.put(frame)
        await until(lambda: b.frames.encoded == 1)
        assert same_picture(b.engine.coded[-1], shown) is not is_cleaned


async def test_the_first_frame_waits_for_the_engine_and_the_newest_wins() -> None:
    async with bench() as b:
        assert b.stream.size is None
        for _ in range(3):
            b.put(decoded())
        await until(lambda: b.frames.encoded == 1)
        assert b.frames.dropped == {"starting": 2}
        assert b.stream.size == (64, 48)


async def test_nothing_is_encoded_for_nobody_and_the_first_subscriber_starts_at_once() -> None:
    async with bench() as b:
        del b.stream.subscribers["viewer"]
        for _ in range(3):
            b.put(decoded())
        await until(lambda: b.frames.in_flight == 0)
        assert b.frames.dropped == {"starting": 2, "unwatched": 1}
        assert b.engine.sizes  # ready
        b.put(decoded())
        assert b.frames.dropped["unwatched"] == 2
        assert b.stats.latency_ms["decode"].count == 4  # it was received and decoded
        b.stream.add_subscriber("first", LatentSender())
        b.put(decoded())
        await until(lambda: b.frames.encoded == 1)
        b.stream.remove_subscriber("first")
        b.put(decoded())
        assert b.frames.dropped["unwatched"] == 3
        assert b.frames.received == b.frames.encoded + b.frames.n_dropped == 6
        assert b.stats.psnr_skipped == b.stats.psnr_db["y"].count == 0


async def test_a_frame_whose_last_subscriber_left_meanwhile_is_timed_all_the_same() -> None:
    async with bench() as b:
        b.put(decoded())
        await until(lambda: b.stream.size is not None and b.engine.sizes)
        await until(lambda: b.frames.encoded == 1)
        b.put(decoded())
        b.stream.remove_subscriber("viewer")
        await until(lambda: b.frames.in_flight == 0)
        assert b.frames.encoded == 2
        assert b.stats.latency_ms["total"].count == 1


async def test_an_engine_that_refuses_is_asked_again_with_the_next_frame() -> None:
    async with bench() as b:
        b.engine.refusals = 2
        for _ in range(2):
            b.put(decoded())
            n_before = b.frames.n_dropped
            await until(lambda: b.frames.n_dropped > n_before)  # noqa: B023 - awaited here
        assert b.frames.dropped == {"engine_error": 2}
        b.put(decoded())
        await until(lambda: b.frames.encoded == 1)


async def test_a_new_size_opens_a_new_state_and_closes_the_old() -> None:
    async with bench() as b:
        b.put(decoded(64, 48))
        await until(lambda: b.frames.encoded == 1)
        b.put(decoded(32, 32))
        b.put(decoded(80, 40))  # changes its mind before the engine is ready
        await until(lambda: b.frames.encoded == 2)
        assert [*b.engine.sizes.values()] == [(80, 40)]
        assert b.frames.n_dropped == 1


async def end_amid_frames(b: Bench) -> asyncio.Future[None]:
    """Begin to close a stream of which the engine holds one frame and another waits."""
    b.put(decoded())
    await until(lambda: b.frames.encoded == 1)
    b.engine.may_go_on.clear()
    b.put(decoded(pts=1))
    await until(lambda: len(b.engine.coded) == 2)
    b.put(decoded(pts=2))
    return asyncio.ensure_future(b.stream.close())


async def test_what_waits_for_the_engine_when_a_stream_ends_is_encoded() -> None:
    async with bench() as b:
        closing = await end_amid_frames(b)
        await asyncio.sleep(0.02)
        b.engine.may_go_on.set()
        await closing
        assert b.frames.encoded == 3
        assert not b.frames.n_dropped


async def test_an_engine_that_stands_still_holds_a_stream_up_for_a_deadline_only() -> None:
    async with bench() as b:
        closing = await end_amid_frames(b)
        await until(lambda: b.frames.n_dropped == 1)
        b.engine.may_go_on.set()
        await closing
        assert b.frames.encoded == 2


async def test_after_closing_frames_are_dropped() -> None:
    async with bench() as b:
        b.put(decoded())
        await b.stream.close()
        b.put(decoded())
        assert b.frames.encoded + b.frames.n_dropped == 2
        assert b.frames.dropped["closing"] >= 1


async def test_a_frame_that_outlives_its_stream_is_measured_in_time_or_not_at_all() -> None:
    async with bench(psnr="all") as b:
        b.engine.may_go_on.clear()
        b.put(decoded())
        await until(lambda: bool(b.engine.coded))
        b.engine.decodes_when_closed = True
        closing = asyncio.ensure_future(b.stream.close())
        await asyncio.sleep(0)
        b.engine.may_go_on.set()
        await closing
        await until(lambda: b.stats.psnr_skipped == 1)
        assert b.host.failures == 0


async def test_a_subscriber_that_is_not_connected_yet_gets_the_newest_and_holds_up_nobody() -> None:
    async with bench() as b:
        sender = LatentSender(
            max_frames=2,
            on_sent=lambda frame, at_us: frame.token[0].sent(frame.token[1], at_us),
            on_dropped=lambda frame: frame.token[0].unsent(frame.token[1]),
        )
        b.stream.subscribers.clear()
        b.stream.subscribers["slow"] = sender
        for n in range(6):
            b.put(decoded(pts=n * 3000))
            await until(lambda: b.frames.encoded == n + 1)  # noqa: B023 - awaited here
        assert b.frames.unsent == 4
        port = StandInPort()
        sender._port = port  # type: ignore[assignment]
        sender._send_waiting()  # the connection stands
        assert port.pts == [4 * 3000, 5 * 3000]
        assert b.frames.sent == 2
        assert b.stats.latency_ms["send"].count == 2
        b.put(decoded(pts=18_000))
        await until(lambda: b.frames.sent == 3)  # at once from now on
        port.error = ConnectionError("gone")
        b.put(decoded(pts=21_000))
        await until(lambda: b.frames.unsent == 5)
        port.error = None
        sender.stop()
        b.put(decoded(pts=24_000))
        await until(lambda: b.frames.unsent == 6)
        assert port.pts == [12_000, 15_000, 18_000]


async def test_who_joins_is_sent_nothing_that_it_cannot_start_from() -> None:
    async with bench(references=8) as b:
        b.put(decoded())
        await until(lambda: b.frames.encoded == 1)
        b.engine.may_go_on.clear()
        b.put(decoded(pts=3000))
        await until(lambda: len(b.engine.coded) == 2)
        sender = connected_sender()
        b.stream.add_subscriber("new", sender)  # that frame is under way, for others
        b.engine.may_go_on.set()
        for n in (2, 3):
            await until(lambda: b.frames.encoded == n)  # noqa: B023 - awaited here
            b.put(decoded(pts=n * 3000))
        await until(lambda: b.frames.encoded == 4)
        assert sender._port.pts == [6000, 9000]  # type: ignore[union-attr]


async def test_a_subscriber_that_cannot_be_sent_to_costs_the_others_nothing() -> None:
    async with bench() as b:
        senders = []
        for name in ("broken", "fine"):
            sender = connected_sender()
            b.stream.subscribers[name] = sender
            senders.append(sender)
        senders[0]._port.error = ValueError("packet is too long")  # type: ignore[union-attr]
        for n in range(3):
            b.put(decoded(pts=n * 3000))
            await until(lambda: b.frames.encoded == n + 1)  # noqa: B023 - awaited here
        assert (b.frames.sent, b.frames.unsent) == (3, 3)
        assert senders[1].counters.frames_sent == 3


async def test_a_rate_chooses_the_qp_and_hears_of_every_frame() -> None:
    rate = LiveRate(2_000, follows_remb=True)
    async with bench(rate) as b:
        assert b.stream.qp == 10
        for n in range(8):
            b.put(decoded(pts=n * 3000))
            await until(lambda: b.frames.encoded == n + 1)  # noqa: B023 - awaited here
        assert b.stream.qp == 63  # 8 bytes a frame are too few
        assert rate.is_saturated
        for n in range(8, 11):
            b.put(decoded(pts=n * 3000))  # those that wait too long are given back
        await until(lambda: b.frames.in_flight == 0)


async def test_the_target_follows_the_subscribers() -> None:
    rate = LiveRate(2_000_000, follows_remb=True)
    async with bench(rate) as b:
        for name, remb_bps in (("a", None), ("b", 1_000_000), ("c", 3_000_000)):
            sender = b.stream.subscribers[name] = LatentSender()
            sender.counters.remb_bps = remb_bps
        b.stream.heed_subscribers()
        assert rate.target_bps == 900_000
        del b.stream.subscribers["b"]
        b.stream.heed_subscribers()
        assert rate.target_bps == 2_000_000
    async with bench() as b:
        b.stream.heed_subscribers()


async def test_a_picture_of_another_format_is_dropped() -> None:
    async with bench() as b:
        b.put(decoded())
        await until(lambda: b.frames.encoded == 1)
        rgb = decoded()._replace(picture=av.VideoFrame(64, 48, "rgb24"))
        b.put(rgb)
        assert b.frames.dropped == {"unusable_picture": 1}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 23), (64, 1), (33, 2)])
async def test_odd_sizes_are_encoded(width: int, height: int) -> None:
    picture = av.VideoFrame(width, height, "yuv420p")
    planes = planes_of_picture(picture)
    assert planes.y.shape == (height, width)
    assert planes.u.shape == ((height + 1) // 2, (width + 1) // 2)
    async with bench() as b:
        b.put(decoded(width, height))
        await until(lambda: b.frames.encoded == 1)
    await asyncio.sleep(0)


# ---- rungs

RUNGS = LadderSetup(
    specs=tuple(map(read_rung, ("source@800", "48p@200"))),
    new_rate=lambda bps, n_pixels: LiveRate(bps, n_pixels=n_pixels),
)


async def test_a_frame_at_two_rungs_is_one_frame_in_the_books() -> None:
    async with bench(rungs=RUNGS) as b:
        for name, rung in (("a", 0), ("b", 1)):
            b.stream.add_subscriber(name, connected_sender(), LayerWish(rung=rung))
        b.put(decoded(128, 96))
        await until(lambda: all(rung.is_open for rung in b.stream.rungs))
        for n in range(1, 6):
            b.put(decoded(128, 96, pts=3000 * n))
            await until(lambda: b.frames.in_flight == 0)
        assert b.frames.received == b.frames.encoded + b.frames.n_dropped == 6
        rungs = b.stream.describe_rungs()
        assert [(rung["width"], rung["height"]) for rung in rungs] == [(128, 96), (64, 48)]
        assert [rung["subscribers"] for rung in rungs] == [1, 1]
        assert rungs[1]["encoded"] == rungs[1]["sent"] >= 5
        assert b.frames.sent == sum(rung["sent"] for rung in rungs)
        assert [rate.target_bps for rate in b.stream.rates] == [200_000, 800_000]


async def test_a_rung_that_the_engine_refuses_leaves_the_others() -> None:
    async with bench(rungs=RUNGS) as b:
        b.stream.add_subscriber("a", connected_sender(), LayerWish(rung=1))
        b.engine.refusals = 1
        b.put(decoded(128, 96))
        await until(lambda: len(b.stream.rungs) == 2 and b.stream.rungs[1].is_open)
        assert not b.stream.rungs[0].is_open
        b.put(decoded(128, 96, pts=3000))
        await until(lambda: b.frames.encoded >= 1)
        b.stream.choose_layer("a", LayerWish(rung=0))
        b.put(decoded(128, 96, pts=6000))
        await until(lambda: b.frames.in_flight == 0)
        assert b.stream.describe_subscriber("a")["rung"] == 1


async def test_who_leaves_a_rung_lets_it_rest() -> None:
    async with bench(rungs=RUNGS) as b:
        b.stream.add_subscriber("a", connected_sender(), LayerWish(rung=1))
        b.put(decoded(128, 96))
        await until(lambda: all(rung.is_open for rung in b.stream.rungs))
        b.put(decoded(128, 96, pts=3000))
        await until(lambda: b.frames.encoded >= 1)
        b.stream.remove_subscriber("a")
        b.put(decoded(128, 96, pts=6000))
        assert b.frames.dropped[UNWATCHED] == 1


async def test_without_rungs_there_is_nothing_to_choose_or_tell() -> None:
    async with bench() as b:
        b.stream.choose_layer("viewer", LayerWish(rung=1))
        assert b.stream.describe_subscriber("viewer") == {}
        assert b.stream.describe_rungs() == []
        assert b.stream.rungs == ()
        assert b.stream.rates == []
