"""A CUDA lane keeps its order and leaves nothing behind: what it asks of CUDA, without one."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from torch import Tensor  # noqa: E402

from rtcodec_engines.cuda import WARM_UPS, CudaLane  # noqa: E402
from rtcodec_engines.device import Fault, fault_of  # noqa: E402

CPU = torch.device("cpu")
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class FakeStream:
    def __init__(self, cuda: "Cuda", name: str, priority: int) -> None:
        self._cuda, self.name, self.priority = cuda, name, priority

    def wait_event(self, event: "FakeEvent") -> None:
        self._cuda.log.append(f"{self.name} waits for {event.name}")

    def wait_stream(self, stream: "FakeStream") -> None:
        self._cuda.log.append(f"{self.name} waits for {stream.name}")

    def synchronize(self) -> None:
        self._cuda.log.append(f"synchronize {self.name}")


class FakeEvent:
    def __init__(self, cuda: "Cuda", name: str, *, blocking: bool) -> None:
        self._cuda, self.name, self.blocking = cuda, name, blocking

    def record(self, stream: FakeStream) -> None:
        assert self._cuda.current == stream.name
        self._cuda.log.append(f"{self.name} on {stream.name}")

    def synchronize(self) -> None:
        self._cuda.log.append(f"synchronize {self.name}")


class FakeGraph:
    """Replays nothing: what was computed while it was recorded stands."""

    def __init__(self, cuda: "Cuda") -> None:
        self._cuda = cuda

    def replay(self) -> None:
        self._cuda.log.append(f"replay on {self._cuda.current}")


class Cuda:
    """Stands for `torch.cuda`: says in which order what was asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.streams: list[FakeStream] = []
        self.events: list[FakeEvent] = []
        self.current = "default"
        self.capture_ends: Callable[[], None] = lambda: None

    def Stream(self, device: Any, priority: int = 0) -> FakeStream:
        names = ("ready", "in", "out", "run")
        self.streams.append(FakeStream(self, names[len(self.streams)], priority))
        return self.streams[-1]

    def Event(self, *, blocking: bool = False) -> FakeEvent:
        self.events.append(
            FakeEvent(self, ("arrived", "ran", "left")[len(self.events) % 3], blocking=blocking)
        )
        return self.events[-1]

    def CUDAGraph(self) -> FakeGraph:
        return FakeGraph(self)

    def graph_pool_handle(self) -> object:
        return object()

    def synchronize(self, device: Any) -> None:
        self.log.append("synchronize device")

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before

    @contextmanager
    def graph(
        self, graph: FakeGraph, *, pool: object, stream: FakeStream, capture_error_mode: str
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        before, self.current = self.current, f"recorded on {stream.name}"
        try:
            yield
        finally:
            self.current = before
            self.capture_ends()


class HostMemory(CudaLane):
    """A lane whose host has so much memory; it cannot be pinned here."""

    n_left = 1000

    def pinned(self, like: Tensor) -> Tensor:
        self.n_left -= 1
        if self.n_left < 0:
            raise NO_MEMORY
        memory: Tensor = torch.empty(like.shape, dtype=like.dtype)
        return memory


def lane_of(cuda: Cuda, *, graphs: bool = True) -> HostMemory:
    return HostMemory(CPU, cuda.Stream(CPU), graphs=graphs, cuda=cuda)


def prepared(lane: CudaLane, cuda: Cuda, key: Hashable = "double") -> Hashable:
    def double(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        cuda.log.append(f"call on {cuda.current}")
        assert not given["x"].any()  # nothing but zeros before somebody fills it
        return {"y": 2 * given["x"]}

    lane.prepare(key, double, {"x": ((3,), torch.int64)})
    return key


def test_copies_and_programs_follow_each_other_by_events() -> None:
    cuda = Cuda()
    lane = lane_of(cuda)
    key = prepared(lane, cuda)
    cuda.log.clear()
    lane.inputs(key)["x"][:] = 4
    lane.launch(key)
    assert lane.wait()["y"].tolist() == [0, 0, 0]  # of the recording: nothing was replayed
    assert cuda.log == [
        "arrived on in", "run waits for arrived", "replay on run", "ran on run",
        "out waits for ran", "left on out", "synchronize left",
    ]  # fmt: skip


def test_what_runs_comes_before_what_is_prepared() -> None:
    cuda = Cuda()
    prepared(lane_of(cuda), cuda)
    calls = [line for line in cuda.log if line.startswith("call")]
    low = ["call on ready"] * (WARM_UPS - 1)
    assert calls == [*low, "call on run", "call on recorded on run"]
    assert {stream.name: stream.priority for stream in cuda.streams} == {
        "ready": 0, "in": 0, "out": 0, "run": -1,
    }  # fmt: skip


def test_the_thread_that_waits_does_not_spin() -> None:
    cuda = Cuda()
    lane_of(cuda)
    assert [event.name for event in cuda.events if event.blocking] == ["left"]


def test_a_launch_that_fails_ends_before_the_lane_is_free() -> None:
    cuda = Cuda()
    lane = lane_of(cuda)
    key = prepared(lane, cuda)
    lane.n_left = 0
    with pytest.raises(torch.OutOfMemoryError):
        lane.launch(key)
    assert cuda.log[-3:] == ["synchronize in", "synchronize run", "synchronize out"]


def test_a_program_that_fails_while_it_warms_up_ends_before_its_memory_goes() -> None:
    cuda = Cuda()
    lane = lane_of(cuda)

    def fail(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise NO_MEMORY

    with pytest.raises(torch.OutOfMemoryError):
        lane.prepare("no", fail, {"x": ((3,), torch.int64)})
    assert cuda.log[-2:] == ["synchronize ready", "synchronize run"]
    assert prepared(lane, cuda, "no") == "no"  # nothing was kept of the first


def test_what_cannot_be_recorded_runs_without_a_graph() -> None:
    cuda = Cuda()
    lane = lane_of(cuda)

    def fail() -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    cuda.capture_ends = fail
    key = prepared(lane, cuda)
    lane.launch(key)
    assert cuda.log.count("call on run") == 2  # to warm up, and when it was launched
    assert "replay on run" not in cuda.log


def test_memory_that_runs_out_in_a_recording_is_told_as_that() -> None:
    cuda = Cuda()
    lane = lane_of(cuda)

    def fail() -> None:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def call(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if cuda.current.startswith("recorded"):
            raise NO_MEMORY
        return {}

    cuda.capture_ends = fail
    with pytest.raises(RuntimeError, match="previous error") as raised:
        lane.prepare("large", call, {"x": ((3,), torch.int64)})
    assert fault_of(raised.value) is Fault.MEMORY


def test_of_lists_only_what_is_of_use_is_moved() -> None:
    cuda = Cuda()
    lane = lane_of(cuda, graphs=False)
    came: list[Any] = []

    def turn(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        came.append(given["list_x"].tolist())
        return {"listed": ~given["listed"], "list_y": given["list_x"] + 100}

    lane.prepare("turn", turn, {"listed": ((2, 2), torch.bool), "list_x": ((4,), torch.int64)})
    inputs = lane.inputs("turn")
    for given, listed, wanted in (
        ([1, 2, 3, 4], [[1, 1], [1, 0]], [101]),
        ([5, 6, 7, 8], [[0, 0], [1, 0]], [105, 102, 103]),
        ([9, 9, 9, 9], [[1, 1], [1, 1]], []),
    ):
        inputs["list_x"][:] = given
        inputs["listed"][:] = listed
        lane.launch("turn")
        assert lane.wait()["list_y"].tolist() == wanted
    assert came[WARM_UPS:] == [[1, 2, 3, 0], [5, 2, 3, 0], [9, 9, 9, 9]]
