"""Engines that fail, hang and go, one way after the other: streams go on with what is left."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from socket import socket
from typing import Any

import numpy as np
import pytest

from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine, StateId
from rtcodec.engine.loader import GroupedEngine
from rtcodec.engine.null import NullEngine
from rtcodec.errors import EngineCrashed, EngineError, LocalProtocolError, Overloaded
from rtcodec.types import Planes
from rtcodec_engines.engine_group import MAX_FAILURES, EngineGroup, Member

SIZE = (64, 48)
FAR_S = 60.0


class Device(NullEngine):
    """A null engine that can be broken, and remembers what it was asked."""

    def __init__(self, name: str = "device") -> None:
        super().__init__()
        self.info = replace(self.info, name=name, references=8)
        self.fault: Callable[[], None] = lambda: None
        self.encoded: list[EncodeJob] = []
        self.opened: list[tuple[int, int]] = []
        self.n_open = 0
        self.is_closed = False

    def open_state(self, width: int, height: int) -> StateId:
        self.fault()
        self.opened.append((width, height))
        self.n_open += 1
        return super().open_state(width, height)

    def close_state(self, state: StateId) -> None:
        self.n_open -= 1
        super().close_state(state)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        self.fault()
        self.encoded += jobs
        return super().encode(jobs)

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        self.fault()
        return super().decode(jobs)

    def close(self) -> None:
        self.is_closed = True
        super().close()

    def breaks(self, error: BaseException) -> None:
        def fault() -> None:
            raise error

        self.fault = fault

    def waits(self, wait: Callable[[], object]) -> None:
        def fault() -> None:
            wait()

        self.fault = fault

    def works(self) -> None:
        self.fault = lambda: None


def picture() -> Planes:
    chroma = np.full((SIZE[1] // 2, SIZE[0] // 2), 128, np.uint8)
    return Planes(np.full((SIZE[1], SIZE[0]), 90, np.uint8), chroma, chroma)


def job(state: StateId, *, reference: int | None = None, store: int | None = None) -> EncodeJob:
    return EncodeJob(state, picture(), 20, reference, store)


class Changes:
    """What a group said, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, what: str, about: str) -> None:
        with self._changed:
            self.all.append((what, about))
            self._changed.notify_all()

    def wait_for(self, what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: what in [w for w, _ in self.all], FAR_S)


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def devices() -> list[Device]:
    return [Device("first"), Device("second")]


@pytest.fixture
def group(devices: list[Device], changes: Changes) -> Iterator[EngineGroup]:
    group = EngineGroup([Member(device) for device in devices], on_change=changes)
    yield group
    group.close()
    assert all(device.is_closed for device in devices)


# ---- placing


def test_streams_are_placed_where_there_is_least_to_do(
    group: EngineGroup, devices: list[Device]
) -> None:
    group.open_state(1280, 720)
    for _ in range(3):
        group.open_state(640, 360)
    assert [device.opened for device in devices] == [[(1280, 720)], [(640, 360)] * 3]
    group.open_state(64, 64)
    assert devices[1].opened[-1] == (64, 64)


def test_a_stream_that_ended_makes_room(group: EngineGroup, devices: list[Device]) -> None:
    large = group.open_state(1280, 720)
    group.open_state(640, 360)
    group.close_state(large)
    group.close_state(large)
    assert devices[0].n_open == 0
    group.open_state(640, 360)
    assert devices[0].n_open == 1


def test_a_full_engine_is_passed_over(group: EngineGroup, devices: list[Device]) -> None:
    devices[0].breaks(Overloaded("no room"))
    group.open_state(*SIZE)
    assert devices[1].n_open == 1
    devices[1].breaks(Overloaded("no room here either"))
    with pytest.raises(Overloaded, match="no room"):
        group.open_state(*SIZE)
    assert group.n_up == 2


def test_frames_of_several_members_run_together_and_come_back_in_order(
    group: EngineGroup, devices: list[Device]
) -> None:
    together = threading.Barrier(2)
    states = [group.open_state(*SIZE) for _ in range(4)]
    for device in devices:
        device.waits(lambda: together.wait(FAR_S))
    outputs = group.encode([replace(job(s), qp=10 * n) for n, s in enumerate(states)])
    assert [len(device.encoded) for device in devices] == [2, 2]
    alone = [NullEngine() for _ in states]
    for n, (output, engine) in enumerate(zip(outputs, alone, strict=True)):
        state = engine.open_state(*SIZE)
        expected = engine.encode([replace(job(state), qp=10 * n)])[0]
        assert np.array_equal(output.symbols, expected.symbols)


def test_a_group_has_the_lanes_of_all_and_is_an_engine(group: EngineGroup) -> None:
    engine: Engine = group
    assert engine.info.lanes == 2
    assert isinstance(group, GroupedEngine)
    assert not isinstance(NullEngine(), GroupedEngine)
    z = np.ones((3, 1, 1), np.int8)
    assert np.array_equal(engine.scale_indices(z, 5), NullEngine().scale_indices(z, 5))


def test_members_run_one_model() -> None:
    other = Device()
    other.info = replace(other.info, model_id=bytes(32))
    with pytest.raises(EngineError, match="different models"):
        EngineGroup([Member(Device()), Member(other)])


# ---- faults


@pytest.mark.parametrize(
    "error",
    [
        EngineError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("device lost"),
        MemoryError(),
        OSError("no such device"),
    ],
)
def test_one_failure_costs_one_frame_and_three_in_a_row_the_engine(
    error: Exception, group: EngineGroup, devices: list[Device], changes: Changes
) -> None:
    state = group.open_state(*SIZE)
    devices[0].breaks(error)
    with pytest.raises(EngineError, match="first: "):
        group.encode([job(state)])
    devices[0].works()
    group.encode([job(state)])  # it is where it was
    assert group.streams_moved == 0

    devices[0].breaks(error)
    for _ in range(MAX_FAILURES):
        with pytest.raises(EngineError):
            group.encode([job(state)])
    assert (group.n_up, group.n_members) == (1, 2)
    assert [what for what, _ in changes.all] == ["out"]
    assert len(group.encode([job(state)])) == 1
    assert (group.streams_moved, devices[1].n_open) == (1, 1)


def test_out_of_memory_says_so(group: EngineGroup, devices: list[Device]) -> None:
    state = group.open_state(*SIZE)
    devices[0].breaks(MemoryError())
    with pytest.raises(EngineError, match="first: out of memory"):
        group.encode([job(state)])


def test_an_engine_that_crashed_is_out_at_once(group: EngineGroup, devices: list[Device]) -> None:
    state = group.open_state(*SIZE)
    devices[0].breaks(EngineCrashed("gone"))
    with pytest.raises(EngineCrashed):
        group.encode([job(state)])
    group.encode([job(state)])
    assert group.streams_moved == 1


def test_a_caller_s_mistake_is_not_the_engine_s(group: EngineGroup, devices: list[Device]) -> None:
    state = group.open_state(*SIZE)
    devices[0].breaks(LocalProtocolError("nothing was stored in slot 3"))
    for _ in range(2 * MAX_FAILURES):
        with pytest.raises(LocalProtocolError):
            group.encode([job(state)])
    assert group.n_up == 2


def test_a_stream_that_moved_is_coded_alone_and_then_from_what_the_new_engine_has(
    group: EngineGroup, devices: list[Device]
) -> None:
    state = group.open_state(*SIZE)
    group.encode([job(state, store=0)])
    group.encode([job(state, reference=0, store=1)])
    assert [j.reference for j in devices[0].encoded] == [None, 0]

    devices[0].breaks(EngineCrashed("gone"))
    with pytest.raises(EngineCrashed):
        group.encode([job(state, reference=1, store=2)])
    group.encode([job(state, reference=1, store=2)])
    group.encode([job(state, reference=2, store=3)])
    group.encode([job(state, reference=0, store=0)])
    group.encode([job(state, reference=0)])
    assert [j.reference for j in devices[1].encoded] == [None, 2, None, 0]


def test_streams_of_others_notice_nothing(group: EngineGroup, devices: list[Device]) -> None:
    first, second = (group.open_state(*SIZE) for _ in range(2))
    group.encode([job(first, store=0), job(second, store=0)])
    devices[0].breaks(EngineCrashed("gone"))
    with pytest.raises(EngineCrashed):
        group.encode([job(first, reference=0)])
    group.encode([job(first, reference=0), job(second, reference=0)])
    assert [j.reference for j in devices[1].encoded] == [None, None, 0]
    assert group.streams_moved == 1


def test_a_decoder_is_told_that_its_pictures_are_gone(
    group: EngineGroup, devices: list[Device]
) -> None:
    state = group.open_state(*SIZE)
    z, symbols = np.zeros((3, 1, 1), np.int8), np.zeros((24, 4, 4), np.int16)
    group.decode([DecodeJob(state, z, symbols, 20, *SIZE, store=0)])
    devices[0].breaks(EngineCrashed("gone"))
    with pytest.raises(EngineCrashed):
        group.decode([DecodeJob(state, z, symbols, 20, *SIZE, reference=0)])
    with pytest.raises(EngineCrashed, match="predicted from is gone"):
        group.decode([DecodeJob(state, z, symbols, 20, *SIZE, reference=0)])
    assert len(group.decode([DecodeJob(state, z, symbols, 20, *SIZE, store=0)])) == 1


def test_a_state_that_is_not_open_is_the_caller_s_mistake(group: EngineGroup) -> None:
    with pytest.raises(LocalProtocolError, match="is not open"):
        group.encode([job(StateId(99))])


class Attached(Device):
    """Stands for an engine in another process, which may come back."""

    restarts = 0
    given_up: str | None = None
    is_attached = True

    def attach(self, about: Mapping[str, Any], ends: Sequence[socket]) -> None: ...
    def give_up(self, why: str) -> None: ...
    def wait_attached(self) -> None: ...


def test_an_engine_process_that_died_may_come_back(changes: Changes) -> None:
    device = Attached()
    group = EngineGroup([Member(device)], fallback=Device, on_change=changes)
    state = group.open_state(*SIZE)
    device.breaks(EngineCrashed("the engine process ended"))
    device.is_attached = False
    for _ in range(5):
        with pytest.raises(EngineCrashed):
            group.encode([job(state)])
    assert (group.n_up, changes.all) == (0, [])
    device.works()
    device.is_attached = True
    group.encode([job(state)])
    assert (group.n_up, group.streams_moved) == (1, 0)
    group.close()


def test_one_that_will_not_come_back_is_out(changes: Changes) -> None:
    device = Attached()
    group = EngineGroup([Member(device)], fallback=Device, on_change=changes)
    state = group.open_state(*SIZE)
    device.breaks(EngineCrashed("the engine process ended"))
    device.is_attached, device.given_up = False, "it died again and again"
    with pytest.raises(EngineCrashed):
        group.encode([job(state)])
    changes.wait_for("fallback")
    group.encode([job(state)])
    assert changes.all[0] == ("out", "device: it died again and again")
    group.close()


# ---- the fallback


def test_when_no_engine_is_left_another_takes_over(changes: Changes) -> None:
    device, spare = Device("torch"), Device("openvino")
    group = EngineGroup([Member(device)], fallback=lambda: spare, on_change=changes)
    state = group.open_state(*SIZE)
    group.encode([job(state, store=0)])
    device.breaks(RuntimeError("CUDA error: device-side assert triggered"))
    for _ in range(MAX_FAILURES):
        with pytest.raises(EngineError):
            group.encode([job(state, reference=0)])
    changes.wait_for("fallback")
    group.encode([job(state, reference=0, store=0)])
    group.encode([job(state, reference=0, store=0)])
    assert [j.reference for j in spare.encoded] == [None, 0]
    assert [what for what, _ in changes.all] == ["out", "fallback"]
    assert "device-side assert" in changes.all[0][1]
    group.close()
    assert spare.is_closed


def test_meanwhile_frames_fail_and_nothing_waits(changes: Changes) -> None:
    go_on = threading.Event()

    def slowly() -> Engine:
        assert go_on.wait(FAR_S)
        return Device()

    device = Device()
    group = EngineGroup([Member(device)], fallback=slowly, on_change=changes)
    state = group.open_state(*SIZE)
    device.breaks(EngineCrashed("gone"))
    for _ in range(5):
        with pytest.raises(EngineCrashed):
            group.encode([job(state)])
    with pytest.raises(EngineCrashed, match="no engine is left"):
        group.open_state(*SIZE)
    go_on.set()
    changes.wait_for("fallback")
    group.encode([job(state)])
    group.close()


def test_a_fallback_that_does_not_start_or_is_of_another_model_is_none(changes: Changes) -> None:
    def fails() -> Engine:
        raise EngineError("no library")

    other = Device()
    other.info = replace(other.info, model_id=bytes(32))
    for make, said in ((fails, "no library"), (lambda: other, "another model")):
        device = Device()
        heard = Changes()
        group = EngineGroup([Member(device)], fallback=make, on_change=heard)
        state = group.open_state(*SIZE)
        device.breaks(EngineCrashed("gone"))
        for _ in range(2):
            with pytest.raises(EngineCrashed):
                group.encode([job(state)])
        group.close()
        assert [about for what, about in heard.all if said in about]
    assert other.is_closed


# ---- calls that never end


def test_a_call_that_hangs_is_given_up_and_its_streams_go_on_elsewhere(changes: Changes) -> None:
    device, spare = Device("torch"), Device("openvino")
    for_ever = threading.Event()
    group = EngineGroup([Member(device, hang_s=0.2)], fallback=lambda: spare, on_change=changes)
    state = group.open_state(*SIZE)
    group.encode([job(state, store=0)])
    device.waits(for_ever.wait)
    with pytest.raises(EngineCrashed, match="torch hangs"):
        group.encode([job(state, reference=0)])
    changes.wait_for("fallback")
    assert len(group.encode([job(state, reference=0)])) == 1
    assert spare.encoded[0].reference is None
    group.close()  # does not wait for it
    assert spare.is_closed
    assert not device.is_closed
    for_ever.set()


def test_getting_ready_for_a_size_may_take_longer() -> None:
    device = Device()
    group = EngineGroup([Member(device, hang_s=2.0)])
    device.waits(lambda: threading.Event().wait(2.5))
    state = group.open_state(*SIZE)
    device.works()
    assert len(group.encode([job(state)])) == 1
    group.close()
    assert device.is_closed


def test_members_with_batches_get_ready_for_all_of_them() -> None:
    class Batched(Device):
        def warm_up(self, width: int, height: int) -> None:
            self.opened.append((width, height))

    batched, plain = Batched("batched"), Device("plain")
    group = EngineGroup([Member(plain), Member(batched)])
    group.warm_up(640, 360)
    assert (batched.opened, plain.opened) == ([(640, 360)], [])
    group.close()


def test_a_watched_engine_s_errors_are_its_own() -> None:
    device = Device()
    group = EngineGroup([Member(device, hang_s=FAR_S)])
    state = group.open_state(*SIZE)
    device.breaks(EngineError("once"))
    with pytest.raises(EngineError, match="once"):
        group.encode([job(state)])
    device.works()
    group.encode([job(state)])
    group.close()
