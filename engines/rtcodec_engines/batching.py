"""
Batches of what many callers want, over the lanes of a device: one thread launches, one completes.

A free lane takes at once what waits and is alike; while all lanes are busy, requests gather. A
batch is as large as the next of a few sizes, for which programs are prepared when first needed.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final, Protocol

from rtcodec.errors import EngineCrashed, EngineError, LocalProtocolError
from rtcodec_engines.device import Arrays, Device, Fault, Lane, fault_of

BUCKETS: Final = (1, 2, 4, 8, 16)
"Sizes of batches."

Kind = Hashable
"What requests of one batch have in common: the operation and the size of frames."


class Programs(Protocol):
    """What makes programs for a batching."""

    def prepare(self, lane: Lane, kind: Kind, bucket: int) -> Hashable:
        """Have a lane ready for a batch of some kind and size; returns the program's key."""
        ...


def _never(outputs: Arrays, k: int) -> None:
    return None


@dataclass(eq=False, slots=True)
class Request:
    """One frame that somebody waits for."""

    kind: Kind
    state: int
    "No two requests of one state are in flight together."

    fill: Callable[[Arrays, int], None]
    "Writes the frame into row k of the inputs, on the launching thread."

    finish: Callable[[Arrays, int], Any]
    "Returns the result from row k of the outputs, on the thread that waits for it."

    again: Callable[[Arrays, int], "Again | None"] = _never
    "Says from row k of the outputs whether the request has to run once more, as another."

    done: threading.Event = field(default_factory=threading.Event)
    row: tuple[Arrays, int] | None = None
    "The outputs, and which row of them is its own."

    error: Exception | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Again:
    """What a request is to be instead: its first form came to nothing."""

    kind: Kind
    fill: Callable[[Arrays, int], None]
    finish: Callable[[Arrays, int], Any]


_Rows = list[tuple[int, Request]]
"Requests of a batch, by row."


class Batching:
    """Runs requests until it is closed, or the device is gone."""

    def __init__(self, device: Device, programs: Programs, *, reset: Callable[[Arrays, int], None]):
        """
        Args:
            device: Where.
            programs: What to run.
            reset: Writes into row k of the inputs that it only fills up the batch.
        """
        self._programs, self._reset = programs, reset
        self._wake = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._calls: deque[_Call] = deque()
        self._free = [device.lane() for _ in range(device.lanes)]
        self._lanes = tuple(self._free)
        self._busy: set[int] = set()
        self._most: dict[Kind, int] = {}
        self._launched: SimpleQueue[tuple[Lane, _Rows] | None] = SimpleQueue()
        self._ended: Exception | None = None
        self.batches: dict[int, int] = dict.fromkeys(BUCKETS, 0)
        "How many batches of each size there were."
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("launch", self._launch_all), ("complete", self._complete_all))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether nothing runs any more."""
        return self._ended is not None

    @property
    def waiting(self) -> int:
        """How many requests no lane has taken yet."""
        return len(self._waiting)

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """
        Block until all *requests* are done, and return their results.

        Raises:
            EngineError: If the device failed, or has not even memory for one.
        """
        with self._wake:
            if self._ended is not None:
                raise self._ended.with_traceback(None)
            self._waiting.extend(requests)
            self._wake.notify_all()
        for request in requests:
            request.done.wait()
        try:
            for request in requests:
                if request.error is not None:
                    raise request.error
        finally:
            for request in requests:
                request.error = None
        try:
            return [_finished(request) for request in requests]
        except Exception as error:
            raise _raised(error) from error

    def call(self, work: Callable[[Sequence[Lane]], Any]) -> Any:
        """Run *work* on the launching thread while nothing else runs, and return what it does."""
        call = _Call(work)
        with self._wake:
            if self._ended is not None:
                raise self._ended.with_traceback(None)
            self._calls.append(call)
            self._wake.notify_all()
        call.done.wait()
        if call.error is not None:
            try:
                raise call.error
            finally:
                call.error = None
        return call.result

    def close(self) -> None:
        """End both threads; what still waits is refused."""
        self._end(LocalProtocolError("the engine is closed"))
        for thread in self._threads:
            thread.join()
        for lane in self._lanes:
            lane.forget(lambda key: True)

    # ---- the launching thread -------------------------------------------------------------

    def _launch_all(self) -> None:
        while True:
            with self._wake:
                while not (self._ended or self._may_call() or self._next_kind() is not None):
                    self._wake.wait()
                if self._ended is not None:
                    break
                call = self._calls.popleft() if self._may_call() else None
                taken = [] if call else self._take()
                lane = None if call else self._free.pop()
            if call is not None:
                if call.run(self._lanes) is Fault.GONE:
                    self._end(call.error or EngineCrashed(Fault.GONE.value))
            elif lane is not None:
                self._launch(lane, taken)
        self._launched.put(None)

    def _may_call(self) -> bool:
        return bool(self._calls) and len(self._free) == len(self._lanes)

    def _next_kind(self) -> Kind | None:
        """Kind of the oldest request that may start; None without a lane, or while a call waits."""
        if not self._free or self._calls:
            return None
        return next((r.kind for r in self._waiting if r.state not in self._busy), None)

    def _take(self) -> list[Request]:
        """The oldest of a kind that fit into one batch."""
        kind = self._next_kind()
        most = self._most.get(kind, BUCKETS[-1])
        taken: list[Request] = []
        left: deque[Request] = deque()
        for request in self._waiting:
            alike = request.kind == kind and request.state not in self._busy
            if alike and len(taken) < most:
                taken.append(request)
                self._busy.add(request.state)
            else:
                left.append(request)
        self._waiting = left
        return taken

    def _launch(self, lane: Lane, taken: list[Request]) -> None:
        bucket = next(size for size in BUCKETS if size >= len(taken))
        rows: _Rows = []
        try:
            key = self._programs.prepare(lane, taken[0].kind, bucket)
            inputs = lane.inputs(key)
            for k, request in enumerate(taken):
                if self._filled(inputs, k, request):
                    rows.append((k, request))
            for k in range(len(taken), bucket):
                self._reset(inputs, k)
            if rows:
                lane.launch(key)
        except Exception as error:
            self._failed(lane, [request for request in taken if request.error is None], error)
            return
        if not rows:
            self._release(lane, (), ())
            return
        self.batches[bucket] += 1
        self._launched.put((lane, rows))

    def _filled(self, inputs: Arrays, k: int, request: Request) -> bool:
        """Fill a row; a request that cannot be filled in fails alone."""
        try:
            request.fill(inputs, k)
        except Exception as error:
            self._reset(inputs, k)
            request.error = _raised(error)
            with self._wake:
                self._busy.discard(request.state)
            request.done.set()
            return False
        return True

    # ---- the completing thread ------------------------------------------------------------

    def _complete_all(self) -> None:
        while (launched := self._launched.get()) is not None:
            lane, rows = launched
            taken = [request for _, request in rows]
            try:
                outputs = lane.wait()
                others = [(request, request.again(outputs, k)) for k, request in rows]
            except Exception as error:
                self._failed(lane, taken, error)
                continue
            for request, other in others:
                if other is not None:
                    request.kind, request.fill, request.finish = (
                        other.kind,
                        other.fill,
                        other.finish,
                    )
                    request.again = lambda outputs, k: None
            self._release(lane, taken, [request for request, other in others if other is not None])
            for (k, request), (_, other) in zip(rows, others, strict=True):
                if other is None:
                    request.row = outputs, k
                    request.done.set()

    def _release(self, lane: Lane, taken: Sequence[Request], again: Sequence[Request]) -> None:
        """Let a lane and its states go, and put requests back where they came from."""
        with self._wake:
            self._free.append(lane)
            self._busy.difference_update(request.state for request in taken)
            self._waiting.extendleft(reversed(again))
            ended = self._ended
            self._wake.notify_all()
        if ended is not None:
            self._end(ended)

    def _failed(self, lane: Lane, taken: list[Request], error: Exception) -> None:
        fault = fault_of(error)
        if fault is Fault.MEMORY and len(taken) > 1:
            with self._wake:  # and not more at once from now on
                self._most[taken[0].kind] = max(k for k in BUCKETS if k < len(taken))
            self._release(lane, taken, taken)
            return
        raised = _raised(error)
        self._release(lane, taken, ())
        for request in taken:
            request.error = raised
            request.done.set()
        if fault is Fault.GONE:
            self._end(raised)

    def _end(self, error: Exception) -> None:
        with self._wake:
            self._ended = self._ended or error
            refused: list[Request | _Call] = [*self._waiting, *self._calls]
            self._waiting.clear()
            self._calls.clear()
            self._wake.notify_all()
        for request in refused:
            request.error = error
            request.done.set()


class _Call:
    """Something to do between batches."""

    def __init__(self, work: Callable[[Sequence[Lane]], Any]) -> None:
        self._work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None

    def run(self, lanes: Sequence[Lane]) -> Fault | None:
        fault = None
        try:
            self.result = self._work(lanes)
        except Exception as error:
            fault, self.error = fault_of(error), _raised(error)
        self.done.set()
        return fault


def _finished(request: Request) -> Any:
    assert request.row is not None, "done without an error"
    return request.finish(*request.row)


def _raised(error: Exception) -> Exception:
    """What callers are told."""
    if isinstance(error, EngineError | LocalProtocolError):
        return error
    fault = fault_of(error)
    kind = EngineCrashed if fault is Fault.GONE else EngineError
    return kind(f"{fault.value}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
