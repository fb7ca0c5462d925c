"""Batches form while lanes are busy, shrink without memory, and fail clearly without a device."""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from rtcodec.errors import EngineCrashed, EngineError, LocalProtocolError  # noqa: E402
from rtcodec_engines.batching import Again, Batching, Request  # noqa: E402
from rtcodec_engines.device import (  # noqa: E402
    Arrays,
    Call,
    CpuDevice,
    CpuLane,
    Fault,
    Lane,
    Shapes,
    fault_of,
)
from support.kept_errors import is_freed  # noqa: E402

WAIT_S = 60.0


class Faults:
    """What is to go wrong, and when lanes may go on."""

    def __init__(self) -> None:
        self.launch: Callable[[int], None] = lambda bucket: None
        self.wait: Callable[[], None] = lambda: None
        self.may_end = threading.Event()
        self.may_end.set()
        self.launched: list[int] = []


class FaultyLane(CpuLane):
    """A lane that fails as it is told."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def launch(self, key: Hashable) -> None:
        bucket = len(self.inputs(key)["x"])
        self._faults.launch(bucket)
        self._faults.launched.append(bucket)
        super().launch(key)

    def wait(self) -> Arrays:
        assert self._faults.may_end.wait(WAIT_S)
        self._faults.wait()
        return super().wait()


class FaultyDevice(CpuDevice):
    """A device of such lanes."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def lane(self) -> Lane:
        return FaultyLane(self._faults)


class Doubling:
    """Programs that double a number."""

    def prepare(self, lane: Lane, kind: Any, bucket: int) -> Hashable:
        shapes: Shapes = {"x": ((bucket,), torch.int64)}
        call: Call = lambda given: {"y": 2 * given["x"]}  # noqa: E731
        lane.prepare((kind, bucket), call, shapes)
        return kind, bucket


@contextmanager
def doubling(faults: Faults) -> Iterator[Batching]:
    batching = Batching(FaultyDevice(faults), Doubling(), reset=lambda inputs, k: None)
    try:
        yield batching
    finally:
        faults.may_end.set()
        batching.close()


def request(x: int, *, state: int | None = None, kind: str = "double") -> Request:
    def fill(inputs: Arrays, k: int) -> None:
        inputs["x"][k] = x

    return Request(
        kind, x if state is None else state, fill, lambda outputs, k: int(outputs["y"][k])
    )


def several(pool: ThreadPoolExecutor, batching: Batching, xs: Sequence[int]) -> list[Future[Any]]:
    return [pool.submit(batching.run, [request(x)]) for x in xs]


def taken_by(
    first: Request, pool: ThreadPoolExecutor, batching: Batching, faults: Faults
) -> Future[Any]:
    """Let a request have the only lane, until `may_end` is set."""
    faults.may_end.clear()
    running = pool.submit(batching.run, [first])
    while not faults.launched:
        running.done()
    return running


def out_of_memory(least: int) -> Callable[[int], None]:
    def launch(bucket: int) -> None:
        if bucket >= least:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return launch


def gone(*_: Any) -> None:
    raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")


def test_one_call_with_many_frames_is_one_batch() -> None:
    faults = Faults()
    with doubling(faults) as batching:
        assert batching.run([request(x) for x in range(5)]) == [0, 2, 4, 6, 8]
    assert faults.launched == [8]
    assert batching.batches[8] == 1


def test_what_comes_while_lanes_are_busy_goes_together() -> None:
    faults = Faults()
    with doubling(faults) as batching, ThreadPoolExecutor(16) as pool:
        first = taken_by(request(1), pool, batching, faults)
        rest = several(pool, batching, range(2, 8))
        while batching.waiting < 6:
            pass
        faults.may_end.set()
        assert [first.result(WAIT_S), *(f.result(WAIT_S) for f in rest)] == [
            [2 * x] for x in range(1, 8)
        ]
    assert faults.launched == [1, 8]


def test_two_frames_of_one_state_never_share_a_batch() -> None:
    faults = Faults()
    with doubling(faults) as batching:
        assert batching.run([request(x, state=7) for x in range(3)]) == [0, 2, 4]
    assert faults.launched == [1, 1, 1]


def test_other_kinds_have_batches_of_their_own() -> None:
    faults = Faults()
    with doubling(faults) as batching:
        mixed = [request(x, kind="even" if x % 2 == 0 else "odd") for x in range(6)]
        assert batching.run(mixed) == [0, 2, 4, 6, 8, 10]
    assert faults.launched == [4, 4]


def test_a_request_may_become_another() -> None:
    faults = Faults()

    def fill(inputs: Arrays, k: int) -> None:
        inputs["x"][k] = 50

    second = Again("other", fill, lambda outputs, k: int(outputs["y"][k]))
    first = Request("double", 1, fill, lambda outputs, k: None, again=lambda outputs, k: second)
    with doubling(faults) as batching:
        assert batching.run([first, request(2)]) == [100, 4]


def test_without_memory_batches_shrink_and_stay_small() -> None:
    faults = Faults()
    faults.launch = out_of_memory(4)
    with doubling(faults) as batching:
        for _ in range(2):
            assert batching.run([request(x) for x in range(6)]) == [0, 2, 4, 6, 8, 10]
        assert set(faults.launched) == {2}
        assert not batching.is_closed


def test_without_memory_for_one_frame_it_is_refused_and_others_go_on() -> None:
    faults = Faults()
    faults.launch = out_of_memory(1)
    with doubling(faults) as batching:
        with pytest.raises(EngineError, match=r"out of memory: CUDA out of memory\. Tried to"):
            batching.run([request(1), request(2)])
        faults.launch = lambda bucket: None
        assert batching.run([request(3)]) == [6]


@pytest.mark.parametrize("when", ["launch", "wait"])
def test_a_device_that_goes_fails_everybody_at_once(when: str) -> None:
    faults = Faults()
    with doubling(faults) as batching, ThreadPoolExecutor(8) as pool:
        first = taken_by(request(1), pool, batching, faults)
        rest = several(pool, batching, range(2, 6))
        while batching.waiting < 4:
            pass
        setattr(faults, when, gone)
        faults.may_end.set()
        failed = [
            future.exception(WAIT_S) for future in (*rest, *([first] if when == "wait" else []))
        ]
        assert [type(error) for error in failed] == [EngineCrashed] * len(failed)
        assert "the device failed: CUDA error: unspecified launch failure" in str(failed[0])
        assert batching.is_closed
        with pytest.raises(EngineCrashed):
            batching.run([request(9)])
        with pytest.raises(EngineCrashed):
            batching.call(lambda lanes: None)


def test_a_device_may_go_while_a_program_is_prepared() -> None:
    with doubling(Faults()) as batching:
        with pytest.raises(EngineCrashed):
            batching.call(gone)
        while not batching.is_closed:
            pass
        with pytest.raises(EngineCrashed):
            batching.run([request(9)])


def wrong(state: int, *, when: str) -> Request:
    """A request that fails alone."""

    def fill(inputs: Arrays, k: int) -> None:
        inputs["x"][k] = np.zeros(3) if when == "fill" else 1

    def finish(outputs: Arrays, k: int) -> Any:
        return outputs["nothing"]

    return Request("double", state, fill, finish)


@pytest.mark.parametrize("when", ["fill", "finish"])
def test_one_wrong_frame_harms_none_of_its_batch(when: str) -> None:
    faults = Faults()
    with doubling(faults) as batching, ThreadPoolExecutor(4) as pool:
        taken_by(request(0), pool, batching, faults)
        alone = pool.submit(batching.run, [wrong(1, when=when)])
        while batching.waiting < 1:
            pass
        others = several(pool, batching, [2, 3])
        while batching.waiting < 3:
            pass
        faults.may_end.set()
        assert [f.result(WAIT_S) for f in others] == [[4], [6]]
        error = alone.exception(WAIT_S)
        assert type(error) is EngineError
        assert str(error).startswith("a program failed: ")
        assert batching.run([request(1)]) == [2]  # its state is free again
    assert faults.launched == [1, 4, 1]


def test_a_batch_of_nothing_but_wrong_frames_is_not_launched() -> None:
    faults = Faults()
    with doubling(faults) as batching:
        with pytest.raises(EngineError, match="a program failed: setting an array"):
            batching.run([wrong(1, when="fill"), wrong(2, when="fill")])
        assert batching.run([request(3)]) == [6]
    assert faults.launched == [1]


def test_rows_are_finished_by_those_who_wait_for_them() -> None:
    finished_on: list[str] = []

    def finish(outputs: Arrays, k: int) -> None:
        finished_on.append(threading.current_thread().name)

    with doubling(Faults()) as batching, ThreadPoolExecutor(1, "caller") as pool:
        given = Request("double", 1, request(1).fill, finish)
        pool.submit(batching.run, [given]).result(WAIT_S)
    assert finished_on == ["caller_0"]


def test_a_lane_keeps_nothing_once_it_is_closed() -> None:
    kept: list[CpuLane] = []

    class Kept(CpuDevice):
        def lane(self) -> Lane:
            kept.append(CpuLane())
            return kept[-1]

    batching = Batching(Kept(), Doubling(), reset=lambda inputs, k: None)
    assert batching.run([request(3)]) == [6]
    batching.close()
    with pytest.raises(KeyError):
        kept[0].inputs(("double", 1))


def test_errors_are_freed_with_what_they_were_raised_for() -> None:
    faults = Faults()
    faults.launch = out_of_memory(1)
    with doubling(faults) as batching:
        assert is_freed(lambda: batching.run([request(1), request(2)]), EngineError)
        assert is_freed(lambda: batching.call(lambda lanes: lanes[99]), EngineError)


def test_nothing_runs_once_it_is_closed() -> None:
    with doubling(Faults()) as batching:
        pass
    with pytest.raises(LocalProtocolError, match="the engine is closed"):
        batching.run([request(1)])


def test_faults_are_told_by_what_torch_says() -> None:
    assert fault_of(torch.OutOfMemoryError("no")) is Fault.MEMORY
    assert fault_of(RuntimeError("CUDA error: out of memory")) is Fault.MEMORY
    assert fault_of(RuntimeError("CUDA error: device-side assert triggered")) is Fault.GONE
    assert fault_of(torch.AcceleratorError("no device")) is Fault.GONE
    assert fault_of(RuntimeError("shape '[2]' is invalid")) is Fault.OTHER
    assert (
        fault_of(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
        is Fault.MEMORY
    )
    assert fault_of(RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")) is Fault.OTHER
    assert fault_of(RuntimeError("Triton Error [CUDA]: invalid argument")) is Fault.OTHER
    assert fault_of(RuntimeError("Triton Error [CUDA]: an illegal memory access was")) is Fault.GONE
