"""
Several engines of one model as one: shards that share the streams, a fallback when none is left.

    open_state --> the member with the least to do
    encode     --> each stream's member, those of several at a time
    member out --> its streams are opened elsewhere with their next frame

A stream's state never moves. Where its member is gone it starts again on another one: pictures
that it leaned on are lost, so its next frame is coded alone, as one of a new scene would be. What
becomes of a member is nothing to the streams of others.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine, EngineInfo, StateId
from rtcodec.engine.capacity import tiles_of
from rtcodec.engine.loader import AttachableEngine, WarmableEngine
from rtcodec.errors import EngineCrashed, EngineError, LocalProtocolError, Overloaded
from rtcodec.types import Planes
from rtcodec_engines.watched_call import WatchedCalls

MAX_FAILURES: Final = 3
"Calls in a row that a member may fail; then its device is taken for gone."

OPEN_PATIENCE: Final = 30.0
"Of `hang_s`, to get ready for a size: graphs are compiled."

_Job = TypeVar("_Job", EncodeJob, DecodeJob)
_Result = TypeVar("_Result")


class Member:
    """One engine of a group, and how it does."""

    def __init__(self, engine: Engine, *, hang_s: float | None = None) -> None:
        """
        Args:
            engine: Closed with the group.
            hang_s: A call that takes longer will never end; None where that cannot be.
        """
        self.engine = engine
        self.tiles = 0
        "Of the frames of streams that are open here."
        self.problem: str | None = None
        "Why it is not used any more."
        self._failures = 0
        self._remote = engine if isinstance(engine, AttachableEngine) else None
        self._calls = WatchedCalls(engine.info.name, hang_s) if hang_s is not None else None

    @property
    def is_up(self) -> bool:
        """Whether it can be asked; an engine of another process may come back."""
        if self._remote is not None:
            self.problem = self.problem or self._remote.given_up
            return self.problem is None and self._remote.is_attached
        return self.problem is None

    def call(self, work: Callable[[], _Result], *, patience: float = 1.0) -> _Result:
        """
        Let the engine do something.

        Args:
            work: What.
            patience: How many times `hang_s` it may take.

        Raises:
            EngineCrashed: If the member is out from now on, or its process died.
            EngineError: If it failed, and may do better the next time.
        """
        try:
            calls = self._calls
            result = work() if calls is None else calls.run(work, patience=patience)
        except (LocalProtocolError, Overloaded):  # the caller's fault, or nobody's
            raise
        except EngineCrashed as error:
            if self._remote is None:
                self.problem = str(error)
            raise
        except MemoryError as error:
            self._note_failure("out of memory")
            raise EngineError(f"{self.engine.info.name}: out of memory") from error
        except Exception as error:  # whatever a device's library raises
            problem = str(error) or type(error).__name__
            self._note_failure(problem)
            kind = EngineError if self.problem is None else EngineCrashed
            raise kind(f"{self.engine.info.name}: {problem}") from error
        self._failures = 0
        return result

    def close(self) -> None:
        """Let go of the engine, unless it hangs."""
        if self._calls is None:
            self.engine.close()
        else:
            self._calls.close(self.engine.close)

    def _note_failure(self, problem: str) -> None:
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self.problem = problem


@dataclass(slots=True, eq=False)
class _Stream:
    """A state here, and where it is."""

    width: int
    height: int
    member: Member
    state: StateId
    kept: set[int] = field(default_factory=set)
    "Where pictures are stored."

    lost: set[int] = field(default_factory=set)
    "Where pictures were, on a member that is gone."

    @property
    def tiles(self) -> int:
        return tiles_of(self.width, self.height)


class EngineGroup:
    """The `Engine` protocol over members that run the same model."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        fallback: Callable[[], Engine] | None = None,
        on_change: Callable[[str, str], None] = lambda what, about: None,
    ) -> None:
        """
        Args:
            members: At least one, that are up.
            fallback: Makes an engine for when no member is left for good; it may take seconds.
            on_change: Told `out` and why, or `fallback` and its name; on any thread.

        Raises:
            EngineError: If they do not run the same model.
        """
        first = members[0].engine.info
        if any(member.engine.info.model_id != first.model_id for member in members):
            raise EngineError("the engines of a group run different models")
        self.info: EngineInfo = replace(first, lanes=sum(m.engine.info.lanes for m in members))
        self.streams_moved = 0
        "Streams that started again on another member."
        self._members = list(members)
        self._fallback = fallback
        self._on_change = on_change
        self._streams: dict[StateId, _Stream] = {}
        self._ids = count()
        self._lock = threading.RLock()
        self._told: set[int] = set()
        self._starting: threading.Thread | None = None
        self._is_closed = False

    @property
    def n_members(self) -> int:
        """Engines in use or not, the fallback included."""
        return len(self._members)

    @property
    def n_up(self) -> int:
        """Those that can be asked."""
        return sum(member.is_up for member in self._members)

    def open_state(self, width: int, height: int) -> StateId:
        """Make room for one stream where there is least to do."""
        member, inner = self._open(width, height)
        with self._lock:
            state = StateId(next(self._ids))
            self._streams[state] = _Stream(width, height, member, inner)
        return state

    def warm_up(self, width: int, height: int) -> None:
        """Get the members ready for all batches of a size that have batches."""
        for member in self._usable():
            engine = member.engine
            if isinstance(engine, WarmableEngine):
                member.call(partial(engine.warm_up, width, height), patience=OPEN_PATIENCE)

    def close_state(self, state: StateId) -> None:
        """Forget a stream."""
        with self._lock:
            stream = self._streams.pop(state, None)
            if stream is None:
                return
            stream.member.tiles -= stream.tiles
        if stream.member.is_up:
            stream.member.call(lambda: stream.member.engine.close_state(stream.state))

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols, on each stream's member."""
        streams = [self._settled(job) for job in jobs]
        moved = [
            replace(job, state=stream.state, reference=_held(stream, job.reference))
            for job, stream in zip(jobs, streams, strict=True)
        ]
        return self._run(moved, streams, lambda engine, jobs: engine.encode(jobs))

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures, on each stream's member."""
        streams = [self._settled(job) for job in jobs]
        for job, stream in zip(jobs, streams, strict=True):
            if job.reference is not None and _held(stream, job.reference) is None:
                raise EngineCrashed("what the frame is predicted from is gone with its engine")
        moved = [
            replace(job, state=stream.state) for job, stream in zip(jobs, streams, strict=True)
        ]
        return self._run(moved, streams, lambda engine, jobs: engine.decode(jobs))

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Return the scale indices of z; exact integers are the same on every member."""
        return self._members[-1].engine.scale_indices(z, qp)

    def close(self) -> None:
        """Let go of all of them."""
        with self._lock:
            self._is_closed = True
            starting = self._starting
        if starting is not None:
            starting.join()
        for member in self._members:
            member.close()
        self._streams.clear()

    # ---- placing

    def _open(self, width: int, height: int) -> tuple[Member, StateId]:
        """Open a state on the member with the least to do; on the next one if it fails there."""
        problem: Exception | None = None
        for member in sorted(self._usable(), key=lambda member: member.tiles):
            with self._lock:
                member.tiles += tiles_of(width, height)
            try:
                return member, member.call(
                    lambda member=member: member.engine.open_state(width, height),  # type: ignore[misc]
                    patience=OPEN_PATIENCE,
                )
            except EngineError as error:
                problem = error
                with self._lock:
                    member.tiles -= tiles_of(width, height)
        self._notice()
        try:
            raise problem or EngineCrashed("no engine is left")
        finally:
            del problem

    def _usable(self) -> list[Member]:
        self._notice()
        return [member for member in self._members if member.is_up]

    def _settled(self, job: EncodeJob | DecodeJob) -> _Stream:
        """Return a job's stream, opened elsewhere first if its member is gone."""
        stream = self._streams.get(job.state)
        if stream is None:
            raise LocalProtocolError(f"state {job.state} is not open")
        if not stream.member.is_up:
            member, stream_state = self._open(stream.width, stream.height)
            with self._lock:
                stream.member.tiles -= stream.tiles
                stream.member, stream.state = member, stream_state
                stream.lost |= stream.kept
                stream.kept.clear()
                self.streams_moved += 1
        return stream

    def _notice(self) -> None:
        """Say which members went out, and begin to start the fallback when none is left."""
        with self._lock:
            for number, member in enumerate(self._members):
                if member.problem is not None and number not in self._told:
                    self._told.add(number)
                    self._on_change("out", f"{member.engine.info.name}: {member.problem}")
            are_gone = not any(m.is_up or m.problem is None for m in self._members)
            if are_gone and self._fallback is not None and not self._is_closed:
                make, self._fallback = self._fallback, None
                self._starting = threading.Thread(
                    target=self._start_fallback, args=(make,), name="fallback", daemon=True
                )
                self._starting.start()

    def _start_fallback(self, make: Callable[[], Engine]) -> None:
        try:
            engine = make()
        except Exception as error:  # then there is none, and frames go on being dropped
            self._on_change("out", f"no fallback: {error}")
            return
        if engine.info.model_id != self.info.model_id:
            engine.close()
            self._on_change("out", "no fallback: it runs another model")
            return
        with self._lock:
            self._members.append(Member(engine))
        self._on_change("fallback", engine.info.name)

    # ---- running

    def _run(
        self,
        jobs: list[_Job],
        streams: list[_Stream],
        work: Callable[[Engine, list[_Job]], Sequence[_Result]],
    ) -> list[_Result]:
        """Run jobs on their members, all members at a time; results in the order of jobs."""
        places: dict[Member, list[int]] = {}
        for place, stream in enumerate(streams):
            places.setdefault(stream.member, []).append(place)
        results: dict[int, _Result] = {}
        errors: list[Exception] = []

        def run_member(member: Member, mine: list[int]) -> None:
            try:
                done = member.call(lambda: work(member.engine, [jobs[place] for place in mine]))
                results.update(zip(mine, done, strict=True))
            except Exception as error:  # raised below, where somebody waits for it
                errors.append(error)
                return
            for place in mine:
                store = jobs[place].store
                if store is not None:
                    streams[place].kept.add(store)

        (last, its), *others = reversed(places.items())
        threads = [
            threading.Thread(target=run_member, args=other, name="member") for other in others
        ]
        for thread in threads:
            thread.start()
        run_member(last, its)
        for thread in threads:
            thread.join()
        if errors:
            self._notice()
            try:
                raise errors[0]
            finally:
                errors.clear()
        return [results[place] for place in range(len(jobs))]


def _held(stream: _Stream, reference: int | None) -> int | None:
    """Return a slot to predict from, or None if what was there is gone."""
    is_gone = reference in stream.lost and reference not in stream.kept
    return None if is_gone else reference
