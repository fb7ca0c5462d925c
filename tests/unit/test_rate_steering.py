"""A file's frames at a bit rate, over the stand-in engine."""

from typing import Any

from rtcodec.bitstream.packet import write_packet
from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import EncodedFrame, FrameEncoder, FramePacker
from rtcodec.codec.rate_steering import MAX_TRIES, RateSteering
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.rate_control import FrameKind, Plan, RateController
from rtcodec.size_model import Try
from rtcodec.types import Planes
from support.pictures import noise, picture

WIDTH, HEIGHT, FPS = 192, 128, 25
TABLES = null_bundle().entropy_tables


class Bench:
    """A stream of a file and its rate."""

    def __init__(self, target_bps: float, *, inter: bool = False) -> None:
        self.control = RateController(target_bps, FPS, n_pixels=WIDTH * HEIGHT)
        self.steering = RateSteering(self.control, TABLES)
        packer = FramePacker(TABLES, Slicing())
        chain = NewestReference() if inter else None
        self.encoder = FrameEncoder(NullEngine(), packer, WIDTH, HEIGHT, references=chain)
        self.number = 0

    def code(self, planes: Planes) -> tuple[EncodedFrame, int]:
        """Code one frame; return it and its bits."""
        keyframe = self.number == 0
        output, qp = self.steering.run(
            self.encoder, planes, time_s=self.number / FPS, keyframe=keyframe
        )
        coded = self.encoder.pack(output, qp=qp, pts=self.number, keyframe=keyframe)
        assert coded.unit.header.qp == qp
        n_bits = 8 * sum(len(write_packet(packet)) for packet in coded.unit.packets)
        self.steering.done(coded, n_bits)
        self.number += 1
        return coded, n_bits


def test_a_cost_without_packing_is_close_to_that_with_it() -> None:
    bench = Bench(400_000)
    coded, n_bits = bench.code(picture(WIDTH, HEIGHT))
    assert (
        abs(FrameCosts(TABLES, None).frame_bits(coded.output, coded.unit.header.qp) - n_bits) < 600
    )


def test_two_scenes_keep_the_rate() -> None:
    bench = Bench(FPS * 9_000)
    scenes = [picture(WIDTH, HEIGHT), noise(WIDTH, HEIGHT)]
    for number in range(4 * FPS):
        bench.code(scenes[number // 60])
    worst = bench.steering.record.worst_deviation(FPS * 9_000)
    assert worst is not None
    assert abs(worst) < 0.05
    assert bench.steering.n_retries <= 4 + MAX_TRIES
    assert len(bench.steering.record.bits) == 4 * FPS


def test_a_target_out_of_reach_is_counted() -> None:
    bench = Bench(1_000)
    for _ in range(10):
        bench.code(picture(WIDTH, HEIGHT))
    assert bench.steering.n_saturated >= 8


def test_a_frame_is_expected_to_be_of_the_kind_that_it_will_be() -> None:
    for inter, usual in ((False, FrameKind.INTRA), (True, FrameKind.DELTA)):
        bench = Bench(400_000, inter=inter)
        kinds: list[FrameKind] = []
        plan = bench.control.plan

        def spy(
            kind: FrameKind, elapsed_s: float, plan: Any = plan, kinds: list[FrameKind] = kinds
        ) -> object:
            kinds.append(kind)
            return plan(kind, elapsed_s)

        bench.control.plan = spy  # type: ignore[method-assign,assignment]
        for _ in range(3):
            bench.code(picture(WIDTH, HEIGHT))
        assert kinds == [FrameKind.KEY, usual, usual]


def test_a_frame_is_tried_until_it_is_no_larger_than_it_may_be() -> None:
    bench = Bench(FPS * 9_000, inter=True)
    for _ in range(5):
        bench.code(picture(WIDTH, HEIGHT))
    plans: list[Plan] = []
    plan = bench.control.plan

    def spy(kind: FrameKind, elapsed_s: float) -> Plan:
        plans.append(plan(kind, elapsed_s))
        return plans[-1]

    def size_up(output: object, qp: int) -> Try:
        """As a delta frame after a cut: nothing is said of it, or very much."""
        return Try(qp, 9_000 * (20 - qp // 4) // 2 if qp < 48 else 100)

    bench.control.plan = spy  # type: ignore[method-assign]
    bench.steering._size_up = size_up  # type: ignore[method-assign]
    for number in range(5, 8):
        output, qp = bench.steering.run(
            bench.encoder, noise(WIDTH, HEIGHT), time_s=number / FPS, keyframe=False
        )
        tried = size_up(output, qp)
        assert tried.n_bits <= plans[-1].max_bits
        bench.control.frame_done(plans[-1], [tried])
    assert bench.steering.n_retries > 3
