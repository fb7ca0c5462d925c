"""
Decides which frames an engine runs next: plain data in, plain data out.

    submit(job) --> one queue per stream --> plan() --> Batch --> (engine) --> done(batch)
                          |
                          +--> next_drop(): every job that will never run, with the reason

Laws: earliest deadline first, and where there is more to do than can be done, no stream has more
of the engine than its share while others want theirs (`turns`); at most one frame of a stream in
flight; a free slot launches at once with what is ready, so batches form only while all slots are
busy, and only as large as is worth it; a newer frame to encode replaces the one that waits, and has
its turn; a frame to decode is never dropped for being late, because later ones need it. Every queue
is bounded. No clock, no threads: `now_us` is an argument, callers serialise.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from rtcodec.engine.batch_curve import BatchCurve
from rtcodec.engine.line import Line
from rtcodec.engine.turns import Turns
from rtcodec.errors import LocalProtocolError


class JobKind(Enum):
    """Which half of the codec a job runs; one batch holds one kind."""

    ENCODE = "encode"
    DECODE = "decode"


class DropReason(Enum):
    """Why a job never ran. The value is the label in metrics."""

    SUPERSEDED = "superseded"
    "A newer frame of the stream made it useless before a slot was free."

    LATE = "late"
    "Its deadline passed while it waited (encode only)."

    OVERLOADED = "overloaded"
    "There are too many streams, or too many of its stream's frames wait already."

    BROKEN_CHAIN = "broken_chain"
    "It needs a frame that was dropped; the stream waits for one that does not."

    CLOSED = "closed"
    "Its stream ended."


@dataclass(frozen=True, slots=True)
class FrameJob:
    """One frame waiting for the device."""

    job_id: int
    "The caller's; unique among jobs that are waiting or in flight."

    stream: int
    "Whose frame it is; one stream is one direction of one codec state."

    kind: JobKind

    shape: tuple[int, int]
    "Padded (height, width) in pixels; only equal shapes share a batch."

    deadline_us: int
    "When the result is wanted."

    starts_chain: bool = True
    "Whether it needs no earlier frame of its stream (decode)."


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs to run now, together; at most one of each stream."""

    batch_id: int
    jobs: tuple[FrameJob, ...]
    "Whose turn it is first; one kind and one shape."


@dataclass(frozen=True, slots=True)
class Dropped:
    """A job that will never run."""

    job: FrameJob
    reason: DropReason


@dataclass(slots=True)
class _Stream:
    kind: JobKind
    waiting: deque[FrameJob] = field(default_factory=deque)
    in_flight: bool = False
    broken: bool = True
    "A decode chain lacks a frame and waits for one that starts a chain."
    closed: bool = False

    @property
    def is_active(self) -> bool:
        """Whether something of it waits or runs."""
        return bool(self.waiting) or self.in_flight


class DeadlineScheduler:
    """
    Fills an engine's slots with the most urgent frames.

    submitted == started + dropped + waiting, always. Streams appear with their first job. One that
    encodes goes when nothing of it waits or runs; one that decodes is kept until `close_stream`,
    because its chain goes on.
    """

    def __init__(
        self,
        *,
        max_batch: int,
        slots: int = 1,
        max_streams: int = 256,
        max_waiting_decode: int = 8,
        curve: BatchCurve | None = None,
    ) -> None:
        """
        Args:
            max_batch: Most jobs of one batch.
            slots: Batches that may be in flight together.
            max_streams: Streams that encode and have work, and streams that decode.
            max_waiting_decode: Frames of one stream that may wait to be decoded.
            curve: What a batch costs; by default no more than one frame.
        """
        if min(max_batch, slots, max_streams, max_waiting_decode) < 1:
            raise ValueError("the limits of a scheduler are at least 1")
        self._max_batch = max_batch
        self._curve = curve or BatchCurve()
        self._turns = Turns(slots)
        self._free_slots = slots
        self._max_streams = max_streams
        self._max_waiting_decode = max_waiting_decode
        self._streams: dict[int, _Stream] = {}
        self._ready: dict[tuple[JobKind, tuple[int, int]], Line] = {}  # by turn
        self._held: set[int] = set()
        self._expiring = Line()  # frames to encode, by deadline
        self._n_active = 0  # streams with something that waits or runs
        self._in_flight: dict[int, tuple[int, ...]] = {}  # batch id -> streams
        self._next_batch_id = 0
        self._drops: deque[Dropped] = deque()
        self._dropped: Counter[DropReason] = Counter()
        self._submitted = 0
        self._started = 0
        self._waiting = 0

    @property
    def submitted(self) -> int:
        """Jobs given to `submit` so far."""
        return self._submitted

    @property
    def started(self) -> int:
        """Jobs put into a batch so far."""
        return self._started

    @property
    def waiting(self) -> int:
        """Jobs in the queues now."""
        return self._waiting

    @property
    def in_flight(self) -> int:
        """Batches planned and not yet done."""
        return len(self._in_flight)

    @property
    def dropped(self) -> Mapping[DropReason, int]:
        """Jobs dropped so far, by reason."""
        return MappingProxyType(self._dropped)

    def submit(self, job: FrameJob) -> None:
        """
        Queue one job. Whatever this makes useless appears in `next_drop`.

        Raises:
            LocalProtocolError: If the stream's earlier jobs were of the other kind.
        """
        stream = self._streams.get(job.stream)
        if stream is not None and stream.kind is not job.kind:
            raise LocalProtocolError(f"stream {job.stream} is for {stream.kind.value} only")
        self._submitted += 1
        if stream is None:
            if len(self._streams) >= self._max_streams:
                self._drop(job, DropReason.OVERLOADED)
                return
            stream = self._streams[job.stream] = _Stream(job.kind)
        was_active = stream.is_active
        if job.kind is JobKind.ENCODE:
            self._replace_waiting(stream, job)
        elif not self._admit_to_chain(stream, job):
            return
        stream.waiting.append(job)
        self._waiting += 1
        self._n_active += not was_active
        if job.kind is JobKind.ENCODE:
            self._expiring.enter(job.stream, job.deadline_us, job.job_id)
        self._stand_in_line(job.stream, stream)

    def plan(self, *, now_us: int) -> Batch | None:
        """
        Say what to run at *now_us*, or None: no slot is free or nothing is ready.

        Call again until None. Frames to encode whose deadline has passed are dropped.
        """
        self._drop_late(now_us)
        if not self._free_slots:
            return None
        heads = {alike: line.head() for alike, line in self._ready.items()}
        for alike in [alike for alike, head in heads.items() if head is None]:
            del self._ready[alike], heads[alike]
        if not heads:
            return None
        line = self._ready[min(heads, key=lambda alike: heads[alike] or ())]
        size = self._curve.best(min(len(line), self._max_batch))
        return self._start(tuple(line.take(size)))

    def done(self, batch: Batch, *, used_us: int = 0) -> None:
        """
        Free the slot and the streams of a finished (or failed) batch.

        Args:
            batch: As planned.
            used_us: Engine time that it took; its streams wait for their turns accordingly.

        Raises:
            LocalProtocolError: If the batch is not in flight.
        """
        streams = self._in_flight.pop(batch.batch_id, None)
        if streams is None:
            raise LocalProtocolError(f"batch {batch.batch_id} is not in flight")
        self._free_slots += 1
        for name in streams:
            self._turns.charge(name, used_us / len(streams), n_active=self._n_active)
        for name in streams:
            stream = self._streams[name]
            stream.in_flight = False
            self._n_active -= not stream.is_active
            self._stand_in_line(name, stream)
            self._forget_if_idle(name, stream)

    def close_stream(self, name: int) -> None:
        """Drop what waits of a stream; a frame in flight still ends with `done`."""
        self._turns.forget(name)
        stream = self._streams.get(name)
        if stream is not None:
            self._empty(name, stream, DropReason.CLOSED)
            stream.closed = True
            self._forget_if_idle(name, stream)

    def hold(self, name: int) -> bool:
        """Keep a stream from running until `release`; return False if it runs already."""
        stream = self._streams.get(name)
        if name in self._held or (stream is not None and stream.in_flight):
            return False
        self._held.add(name)
        if stream is not None and stream.waiting:
            self._leave_line(name, stream)
        return True

    def release(self, name: int) -> None:
        """Let a stream run again; one that is not held is ignored."""
        self._held.discard(name)
        if (stream := self._streams.get(name)) is not None:
            self._stand_in_line(name, stream)

    def next_drop(self) -> Dropped | None:
        """Return the next job that will never run, oldest first, or None."""
        return self._drops.popleft() if self._drops else None

    def _admit_to_chain(self, stream: _Stream, job: FrameJob) -> bool:
        if job.starts_chain:
            stream.broken = False
            if len(stream.waiting) >= self._max_waiting_decode:
                # nothing later needs what waits: the new frame starts again
                self._drop_waiting(stream, DropReason.SUPERSEDED)
            return True
        if stream.broken:
            self._drop(job, DropReason.BROKEN_CHAIN)
            return False
        if len(stream.waiting) >= self._max_waiting_decode:
            stream.broken = True
            self._drop(job, DropReason.OVERLOADED)
            return False
        return True

    def _replace_waiting(self, stream: _Stream, job: FrameJob) -> None:
        """Drop the frame that waits for a newer one, which takes its place in line."""
        if stream.waiting and stream.waiting[0].shape != job.shape:
            self._leave_line(job.stream, stream)
        self._drop_waiting(stream, DropReason.SUPERSEDED)

    def _stand_in_line(self, name: int, stream: _Stream) -> None:
        """Let a stream wait for its turn, if it has a frame, and stand in line unless it runs."""
        if not stream.waiting:
            return
        first = stream.waiting[0]
        turn_us = self._turns.wait(name, first.deadline_us)
        if stream.in_flight or name in self._held:
            return
        line = self._ready.setdefault((first.kind, first.shape), Line())
        if name not in line:
            line.enter(name, turn_us, first.job_id)

    def _leave_line(self, name: int, stream: _Stream) -> None:
        first = stream.waiting[0]
        line = self._ready.get((first.kind, first.shape))
        if line is not None:
            line.leave(name)

    def _start(self, names: tuple[int, ...]) -> Batch:
        jobs = []
        for name in names:
            stream = self._streams[name]
            jobs.append(stream.waiting.popleft())
            stream.in_flight = True
            self._expiring.leave(name)
            self._turns.start(name)
        batch = Batch(self._next_batch_id, tuple(jobs))
        self._next_batch_id += 1
        self._in_flight[batch.batch_id] = names
        self._free_slots -= 1
        self._waiting -= len(jobs)
        self._started += len(jobs)
        return batch

    def _drop_late(self, now_us: int) -> None:
        while (head := self._expiring.head()) is not None and head[0] < now_us:
            stream = self._streams[head[2]]
            self._empty(head[2], stream, DropReason.LATE)
            self._forget_if_idle(head[2], stream)

    def _empty(self, name: int, stream: _Stream, reason: DropReason) -> None:
        """Drop all that waits of a stream."""
        if not stream.waiting:
            return
        self._leave_line(name, stream)
        self._expiring.leave(name)
        self._drop_waiting(stream, reason)
        self._n_active -= not stream.is_active

    def _drop_waiting(self, stream: _Stream, reason: DropReason) -> None:
        while stream.waiting:
            self._waiting -= 1
            self._drop(stream.waiting.popleft(), reason)

    def _drop(self, job: FrameJob, reason: DropReason) -> None:
        self._dropped[reason] += 1
        self._drops.append(Dropped(job, reason))

    def _forget_if_idle(self, name: int, stream: _Stream) -> None:
        kept = stream.kind is JobKind.DECODE and not stream.closed
        if not (kept or stream.is_active):
            del self._streams[name]
