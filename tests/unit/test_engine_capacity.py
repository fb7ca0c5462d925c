"""What frames cost, and how many streams that is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rtcodec.codec.self_test import call_planes, measure_capacity
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.capacity import REST_US, Capacity, Clocks, TileCosts, tiles_of
from rtcodec.engine.null import NullEngine
from rtcodec.errors import EngineError
from rtcodec.types import Planes

SIZE = (640, 360)
TILES = 60


class TimedEngine(NullEngine):
    """A null engine on a clock that only it moves."""

    def __init__(self, *, first_us: float = 0, lanes: int = 1, batched: bool = False) -> None:
        super().__init__()
        self.info = replace(self.info, lanes=lanes, batched=batched)
        self.now_us = self.busy_us = 0.0
        self.first_us = first_us
        "More that each call takes, whatever it has to do."
        self.hiccups = [5000.0, 0.0, 900.0, 0.0, 0.0]
        self.n_calls = 0
        self.open: set[StateId] = set()

    def open_state(self, width: int, height: int) -> StateId:
        state = super().open_state(width, height)
        self.open.add(state)
        return state

    def close_state(self, state: StateId) -> None:
        self.open.discard(state)
        super().close_state(state)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        took_us = self.first_us + 6000 * len(jobs)
        self.now_us += took_us + self.hiccups[self.n_calls % len(self.hiccups)]
        self.busy_us += took_us / 2
        self.n_calls += 1
        return super().encode(jobs)

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        self.now_us += 3000 * len(jobs)
        return super().decode(jobs)


def measured(engine: TimedEngine, *, budget_us: float = 1e6) -> Capacity:
    clocks = Clocks(lambda: engine.now_us, lambda: engine.busy_us)
    return measure_capacity(
        engine, engine.bundle, clocks=clocks, cores=4, size=SIZE, budget_us=budget_us
    )


def test_a_cost_is_the_least_of_several_tries() -> None:
    engine = TimedEngine()
    capacity = measured(engine)
    costs = capacity.costs
    assert costs.encode_us == pytest.approx(6000 / TILES)
    assert costs.encode_core_us == pytest.approx(3000 / TILES)
    assert costs.decode_us == pytest.approx(3000 / TILES)
    assert costs.code_us == 0.0  # it moved no clock
    assert (capacity.lanes, capacity.cores, capacity.size) == (1, 4, SIZE)
    assert measured(engine).costs == costs


def test_nothing_is_left_of_the_test() -> None:
    engine = TimedEngine()
    measured(engine)
    assert engine.open == set()


def test_it_ends_soon_where_frames_take_long() -> None:
    engine = TimedEngine()
    measured(engine, budget_us=1.0)
    assert engine.n_calls < 12


def test_batches_are_tried_as_long_as_they_pay() -> None:
    pays = measured(TimedEngine(first_us=60_000), budget_us=1e7)
    assert [size for size, _ in pays.batches] == [2, 4, 8]
    assert pays.curve.best(8) == 8
    pays_not = measured(TimedEngine())
    assert [size for size, _ in pays_not.batches] == [2]
    assert pays_not.curve.best(8) == 1


def test_an_engine_with_lanes_needs_no_batches() -> None:
    assert measured(TimedEngine(first_us=60_000, lanes=2)).curve.best(8) == 1


def test_an_engine_may_have_both() -> None:
    engine = TimedEngine(first_us=60_000, lanes=2, batched=True)
    assert measured(engine, budget_us=1e7).curve.best(8) == 8


def test_an_engine_that_fails_the_test_is_let_go() -> None:
    class Broken(TimedEngine):
        def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
            raise EngineError("no")

    engine = Broken()
    with pytest.raises(EngineError, match="no"):
        measured(engine)
    assert engine.open == set()


def test_the_scarcer_of_lanes_and_cores_counts() -> None:
    costs = TileCosts(encode_us=100, encode_core_us=100, code_us=33, decode_us=60)
    on_cpu = Capacity(costs, lanes=2, cores=2)
    assert on_cpu.load(1000) == pytest.approx(1000 * (133 + REST_US) / 2 / 1e6)
    on_gpu = Capacity(replace(costs, encode_core_us=5), lanes=1, cores=16)
    assert on_gpu.load(1000) == pytest.approx(1000 * 100 / 1e6)


def test_what_is_known_better_by_now_counts_instead() -> None:
    capacity = Capacity(TileCosts(100, 100, 33, 60), lanes=1, cores=1)
    assert capacity.load(1000, encode_us=400, core_us=10) == pytest.approx(0.4)
    assert capacity.load(1000, core_us=400) == pytest.approx(1000 * (400 + REST_US) / 1e6)


def test_streams_by_what_is_done_with_them() -> None:
    capacity = Capacity(TileCosts(100, 100, 33, 60), lanes=2, cores=2)
    assert tiles_of(*SIZE) == TILES
    small, large = capacity.streams(*SIZE), capacity.streams(1280, 720)
    assert small == {
        "encode": pytest.approx(2e6 / 133 / TILES / 30),
        "decode": pytest.approx(2e6 / 60 / TILES / 30),
        "relay": pytest.approx(2e6 / (133 + REST_US) / TILES / 30),
    }
    assert small["relay"] == pytest.approx(4 * large["relay"])


def test_a_part_of_the_picture_moves_and_the_rest_stands_still() -> None:
    first, second = call_planes(*SIZE, 0), call_planes(*SIZE, 1)
    moved = (first.y != second.y).any(axis=1)
    assert not moved[:60].any()
    assert moved[100:260].all()
    assert (first.width, first.height) == SIZE
    assert np.unique(first.y).size > 50
