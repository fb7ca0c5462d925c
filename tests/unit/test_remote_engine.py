"""An engine behind sockets and shared memory: the same integers, and what happens when it dies."""

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.loader import remote_engine
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.errors import EngineCrashed, EngineError, LocalProtocolError, Overloaded
from rtcodec.types import Planes
from rtcodec_engines.engine_server import EngineServer
from rtcodec_engines.engine_wire import write_info
from rtcodec_engines.frame_slot import FrameSlot, SlotForm, new_memory
from rtcodec_engines.gathering import Gathering
from rtcodec_engines.remote_engine import RemoteEngine

SIZE = (90, 66)


class KeepingEngine(NullEngine):
    """A null engine that says it keeps pictures, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, references=2)
        self.asked: list[tuple[int | None, int | None]] = []
        "Reference and store of each job; its planes are not to be kept."
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.is_closed = False

    def open_state(self, width: int, height: int) -> StateId:
        if self.error is not None:
            raise self.error
        return super().open_state(width, height)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        self.batches.append(len(jobs))
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.asked += [(job.reference, job.store) for job in jobs]
        outputs = super().encode(jobs)
        return [replace(o, is_delta=j.reference is not None)
                for o, j in zip(outputs, jobs, strict=True)]  # fmt: skip

    def close(self) -> None:
        self.is_closed = True
        super().close()


class Bench:
    """A remote engine, and engine servers that may be replaced."""

    def __init__(self) -> None:
        self.remote = RemoteEngine(null_bundle())
        self.engine = KeepingEngine()
        self.server = self.new_server()

    def new_server(self) -> EngineServer:
        self.engine = KeepingEngine()
        server = EngineServer(self.engine, null_bundle(), lanes=1, max_batch=4)
        attach(self.remote, server)
        return server

    def replace_server(self) -> None:
        self.server.close()
        self.server = self.new_server()


def attach(remote: RemoteEngine, server: EngineServer) -> None:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    server.serve([theirs for _, theirs in pairs])
    remote.attach(write_info(server.engine.info), [ours for ours, _ in pairs])


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.remote.close()
    made.server.close()


def noise(seed: int = 0, size: tuple[int, int] = SIZE) -> Planes:
    rng = np.random.default_rng(seed)
    width, height = size
    chroma = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (rng.integers(0, 256, s, np.uint8) for s in ((height, width), chroma, chroma))
    return Planes(y, u, v)


def same(a: EncodeOutput, b: EncodeOutput) -> bool:
    pairs = ((a.z, b.z), (a.symbols, b.symbols), (a.indices, b.indices))
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def test_an_engine_that_makes_batches_is_asked_by_all_at_once() -> None:
    class Batched(KeepingEngine):
        def __init__(self) -> None:
            super().__init__()
            self.info = replace(self.info, lanes=2, batched=True)
            self.both = threading.Barrier(2)

        def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
            self.both.wait(60)  # for the other worker's call
            return super().encode(jobs)

    server = EngineServer(Batched(), null_bundle(), lanes=1, max_batch=1)
    remotes = [RemoteEngine(null_bundle()) for _ in range(2)]
    for remote in remotes:
        attach(remote, server)
    assert remotes[0].info.lanes == 2

    def encode(remote: RemoteEngine) -> int:
        state = remote.open_state(*SIZE)
        return len(remote.encode([EncodeJob(state, noise(), 20)]))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(encode, remotes)) == [1, 1]
    for remote in remotes:
        remote.close()
    server.close()


def test_it_gives_what_the_engine_gives(bench: Bench) -> None:
    near = NullEngine()
    there, here = bench.remote.open_state(*SIZE), near.open_state(*SIZE)
    for seed, qp in enumerate((0, 20, 63)):
        planes = noise(seed)
        (far,) = bench.remote.encode([EncodeJob(there, planes, qp, reconstruct=True)])
        (expected,) = near.encode([EncodeJob(here, planes, qp, reconstruct=True)])
        assert same(far, expected)
        assert far.reconstruction is not None
        assert expected.reconstruction is not None
        assert np.array_equal(far.reconstruction.y, expected.reconstruction.y)
        (seen,) = bench.remote.decode([DecodeJob(there, far.z, far.symbols, qp, *SIZE)])
        assert np.array_equal(seen.v, expected.reconstruction.v)
        assert np.array_equal(
            bench.remote.scale_indices(far.z, qp), near.scale_indices(expected.z, qp)
        )


def test_what_it_gave_stays_when_the_next_frame_comes(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    (first,) = bench.remote.encode([EncodeJob(state, noise(1), 20)])
    kept = first.symbols.copy()
    bench.remote.encode([EncodeJob(state, noise(2), 20)])
    assert np.array_equal(first.symbols, kept)


def test_a_layout_with_channels_last_stays_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        return [
            replace(
                o, symbols=np.ascontiguousarray(o.symbols.transpose(1, 2, 0)).transpose(2, 0, 1)
            )
            for o in NullEngine.encode(bench.engine, jobs)
        ]

    monkeypatch.setattr(bench.engine, "encode", encode)
    state = bench.remote.open_state(*SIZE)
    (output,) = bench.remote.encode([EncodeJob(state, noise(), 20)])
    assert output.symbols.transpose(1, 2, 0).flags.c_contiguous
    decode = DecodeJob(state, output.z, output.symbols, 20, *SIZE)
    (seen,) = bench.remote.decode([decode])
    (expected,) = bench.engine.decode([replace(decode, state=StateId(0))])
    assert np.array_equal(seen.y, expected.y)


def test_a_batch_of_many_streams_comes_back_in_order(bench: Bench) -> None:
    sizes = [(16 + 2 * n, 16) for n in range(70)]  # more than one request holds
    states = [bench.remote.open_state(*size) for size in sizes]
    jobs = [
        EncodeJob(state, noise(n, size), 30)
        for n, (state, size) in enumerate(zip(states, sizes, strict=True))
    ]
    near = NullEngine()
    outputs = bench.remote.encode(jobs)
    for job, size, output in zip(jobs, sizes, outputs, strict=True):
        (expected,) = near.encode([replace(job, state=near.open_state(*size))])
        assert same(output, expected)


def test_references_cross_and_pictures_that_died_with_the_engine_do_not(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)

    def encode(reference: int | None, store: int) -> bool:
        job = EncodeJob(state, noise(), 20, reference=reference, store=store)
        (output,) = bench.remote.encode([job])
        return output.is_delta

    assert [encode(None, 0), encode(0, 1)] == [False, True]
    assert bench.engine.asked == [(None, 0), (0, 1)]
    bench.replace_server()
    assert bench.remote.restarts == 1
    # 0 is lost: coded alone, and stored again in 1, from which the next is predicted
    assert [encode(0, 1), encode(1, 0), encode(0, 1)] == [False, True, True]
    with pytest.raises(LocalProtocolError, match="not open"):
        bench.remote.encode([EncodeJob(StateId(99), noise(), 20)])


def test_a_frame_that_leans_on_a_lost_picture_cannot_be_decoded(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    (output,) = bench.remote.encode([EncodeJob(state, noise(), 20, store=0)])
    bench.replace_server()
    with pytest.raises(EngineCrashed, match="predicted from"):
        bench.remote.decode([DecodeJob(state, output.z, output.symbols, 20, *SIZE, reference=0)])
    bench.remote.decode([DecodeJob(state, output.z, output.symbols, 20, *SIZE, store=0)])
    bench.remote.decode([DecodeJob(state, output.z, output.symbols, 20, *SIZE, reference=0)])


def test_kinds_of_frames_that_stand_alone_cross_both_ways(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that says what it was asked for, as the kind of what it returns."""
    encode, decode = bench.engine.encode, bench.engine.decode
    decoded: list[bool] = []

    def encode_kinds(jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        return [replace(o, is_spatial=not j.neural)
                for o, j in zip(encode(jobs), jobs, strict=True)]  # fmt: skip

    def decode_kinds(jobs: Sequence[DecodeJob]) -> list[Planes]:
        decoded.extend(job.spatial for job in jobs)
        return decode(jobs)

    monkeypatch.setattr(bench.engine, "encode", encode_kinds)
    monkeypatch.setattr(bench.engine, "decode", decode_kinds)
    state = bench.remote.open_state(*SIZE)
    for neural in (False, True):
        (far,) = bench.remote.encode([EncodeJob(state, noise(), 20, neural=neural)])
        assert far.is_spatial is not neural
        bench.remote.decode(
            [DecodeJob(state, far.z, far.symbols, 20, *SIZE, spatial=far.is_spatial)]
        )
    assert decoded == [True, False]


def test_while_there_is_none_calls_fail_at_once(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    bench.server.close()
    for _ in range(2):
        with pytest.raises(EngineCrashed):
            bench.remote.encode([EncodeJob(state, noise(), 20)])
    with pytest.raises(EngineCrashed):
        bench.remote.open_state(*SIZE)
    bench.remote.close_state(state)  # says nothing: it is gone anyway


def test_a_call_under_way_fails_when_the_engine_dies(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    bench.engine.gate.clear()
    failed: list[Exception] = []

    def call() -> None:
        try:
            bench.remote.encode([EncodeJob(state, noise(), 20)])
        except EngineError as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: bench.engine.batches)
    hung, server = bench.engine, bench.server
    wait_for(lambda: server.busy_s > 0.05)  # by which its process knows that the device hangs
    bench.server = bench.new_server()  # as the supervisor does
    thread.join(10)
    hung.gate.set()
    wait_for(lambda: server.busy_s == 0)
    assert [type(error) for error in failed] == [EngineCrashed]
    bench.remote.encode([EncodeJob(state, noise(), 20)])


def test_what_the_engine_raises_is_raised_here_and_it_goes_on(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    bench.engine.error = EngineError("on fire")
    with pytest.raises(EngineError, match="on fire"):
        bench.remote.encode([EncodeJob(state, noise(), 20)])
    bench.engine.error = Overloaded("no room")
    with pytest.raises(Overloaded, match="no room"):
        bench.remote.open_state(*SIZE)
    bench.engine.error = None
    with pytest.raises(LocalProtocolError, match="was not opened for"):
        bench.remote.encode([EncodeJob(state, noise(size=(16, 16)), 20)])
    bench.remote.encode([EncodeJob(state, noise(), 20)])


def test_an_error_that_is_kept_keeps_no_memory_of_a_state_that_was_not_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[FrameSlot]] = []

    class Noted(FrameSlot):
        def __init__(self, form: SlotForm, descriptor: int) -> None:
            super().__init__(form, descriptor)
            made.append(weakref.ref(self))

    monkeypatch.setattr("rtcodec_engines.remote_engine.FrameSlot", Noted)
    bench.engine.error = Overloaded("no room")
    with pytest.raises(Overloaded) as kept:
        bench.remote.open_state(*SIZE)
    assert [slot() for slot in made] == [None]
    assert kept.value.__traceback__ is not None


def test_failures_in_a_row_are_counted_but_not_a_caller_s_mistakes(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    for error, expected in (
        (EngineError("on fire"), 1),
        (MemoryError(), 2),
        (LocalProtocolError("nothing was stored in slot 1"), 2),
        (None, 0),
    ):
        bench.engine.error = error
        if error is None:
            bench.remote.encode([EncodeJob(state, noise(), 20)])
        else:
            with pytest.raises((EngineError, LocalProtocolError)):
                bench.remote.encode([EncodeJob(state, noise(), 20)])
        assert bench.server.failures_in_row == expected


def test_an_engine_that_never_comes_ends_the_waiting() -> None:
    remote = RemoteEngine(null_bundle())
    assert not remote.is_attached
    threading.Timer(0.05, lambda: remote.give_up("it died again and again")).start()
    with pytest.raises(EngineError, match="again and again"):
        remote.wait_attached()


def test_it_knows_whether_the_engine_is_there(bench: Bench) -> None:
    assert bench.remote.is_attached
    state = bench.remote.open_state(*SIZE)
    bench.server.close()
    with pytest.raises(EngineCrashed):
        bench.remote.encode([EncodeJob(state, noise(), 20)])
    assert not bench.remote.is_attached
    bench.server = bench.new_server()
    assert bench.remote.is_attached


def test_another_model_is_refused() -> None:
    remote = RemoteEngine(null_bundle())
    server = EngineServer(KeepingEngine(), null_bundle(), lanes=1, max_batch=1)
    server.engine.info = replace(server.engine.info, model_id=bytes(32))
    attach(remote, server)
    with pytest.raises(EngineError, match="another model"):
        remote.wait_attached()
    remote.close()
    server.close()


def test_waiting_for_the_first_engine_ends_with_close() -> None:
    remote = remote_engine(null_bundle())
    with pytest.raises(EngineCrashed):
        remote.open_state(*SIZE)
    threading.Timer(0.05, remote.close).start()
    with pytest.raises(EngineError, match="closed"):
        remote.wait_attached()


def test_a_worker_that_goes_leaves_nothing_in_the_engine(bench: Bench) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with ExitStack() as leaving:
        for _ in range(3):
            other = RemoteEngine(null_bundle())
            attach(other, bench.server)
            leaving.callback(other.close)
            state = other.open_state(*SIZE)
            other.encode([EncodeJob(state, noise(), 20)])
        assert bench.server.n_states == 3
    wait_for(lambda: bench.server.n_states == 0)
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_nonsense_ends_only_the_worker_that_says_it(bench: Bench) -> None:
    state = bench.remote.open_state(*SIZE)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bench.server.serve([theirs])
    with ours:
        ours.send(b"\xff nonsense")
        assert ours.recv(100) == b""
    bench.remote.encode([EncodeJob(state, noise(), 20)])


def test_one_workers_state_is_not_anothers(bench: Bench) -> None:
    bench.remote.open_state(*SIZE)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bench.server.serve([theirs])
    with ours:
        ours.send(bytes([3, 1, 0, 0, 0, 0, 20, 255, 255, 255, 255, 0]))
        assert b"state 0 is not open" in ours.recv(100)
        ours.send(bytes([1, 64, 0, 0, 0, 64, 0, 0, 0]))
        assert b"no memory came" in ours.recv(100)


def test_memory_that_could_change_its_size_is_refused() -> None:
    form = SlotForm.of(null_bundle(), *SIZE)
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(loose, form.size_bytes)
    with pytest.raises(LocalProtocolError, match="another size"):
        FrameSlot(form, loose)
    os.close(loose)
    with new_memory(replace(form, width=64)) as small, pytest.raises(LocalProtocolError):
        FrameSlot(form, small)
    with open("/dev/null", "rb") as file, pytest.raises(LocalProtocolError, match="no memory"):
        FrameSlot(form, file.fileno())
    with new_memory(form) as memory:
        slot = FrameSlot(form, memory)
    with pytest.raises(LocalProtocolError, match="99 channels"):
        slot.symbols(99, channels_last=False)
    with pytest.raises(LocalProtocolError, match="no frame has"):
        SlotForm.of(null_bundle(), 0, 5)


# ---------------------------------------------------------------------- gathering


@contextmanager
def callers(gathering: Gathering[int, int], *jobs: list[int]) -> Iterator[dict[int, object]]:
    """Call with each list on a thread of its own; yield what they got, complete at the end."""
    results: dict[int, object] = {}

    def call(number: int, own: list[int]) -> None:
        try:
            results[number] = gathering(own)
        except ValueError as error:
            results[number] = str(error)

    threads = [threading.Thread(target=call, args=args) for args in enumerate(jobs)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)  # in this order
    yield results
    for thread in threads:
        thread.join(10)


def test_what_waits_for_a_busy_engine_runs_together() -> None:
    gate, calls = threading.Event(), []

    def run(jobs: list[int]) -> list[int]:
        calls.append(jobs)
        assert gate.wait(10)
        return [-job for job in jobs]

    gathering = Gathering(run, lanes=1, max_jobs=4)
    with callers(gathering, [1], [2], [3, 4], [5, 6]) as results:
        wait_for(lambda: calls)
        gate.set()
    assert calls == [[1], [2, 3, 4], [5, 6]]
    assert results == {0: [-1], 1: [-2], 2: [-3, -4], 3: [-5, -6]}


def test_a_free_lane_makes_nobody_wait() -> None:
    gate, running = threading.Event(), []

    def run(jobs: list[int]) -> list[int]:
        running.append(jobs)
        assert gate.wait(10)
        return jobs

    with callers(Gathering(run, lanes=2, max_jobs=4), [1], [2], [3], [4]):
        wait_for(lambda: len(running) == 2)
        gate.set()
    assert sorted(running, key=len) == [[1], [2], [3, 4]]


def test_one_callers_mistake_is_its_own() -> None:
    gate, calls = threading.Event(), []

    def run(jobs: list[int]) -> list[int]:
        calls.append(jobs)
        assert gate.wait(10)
        if 0 in jobs:
            raise ValueError("a bad job")
        return jobs

    with callers(Gathering(run, lanes=1, max_jobs=4), [1], [2], [0], [3]) as results:
        wait_for(lambda: calls)
        gate.set()
    assert calls[:2] == [[1], [2, 0, 3]]
    assert results == {0: [1], 1: [2], 2: "a bad job", 3: [3]}


def wait_for(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)
