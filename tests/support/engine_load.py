"""
An engine under load on a virtual clock: cameras, a policy that plans, calls that take their time.

    cameras --frames--> policy --batches--> lanes, for as long as the cost curve says
                          +--> drops

No thread and no engine: what is simulated is who runs when. Two simple policies stand here to be
compared with `DeadlineScheduler`.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rtcodec.engine.batch_curve import BatchCurve
from rtcodec.engine.scheduler import Batch, Dropped, DropReason, FrameJob, JobKind

SECOND_US = 1_000_000
DEADLINE_US = 200_000


@dataclass(frozen=True)
class Camera:
    """One stream."""

    cost_us: Sequence[int]
    "Engine time of its frames, over and over; measured."

    fps: float = 30.0
    phase: float = 0.0
    "Of its first frame, in frame intervals."

    shape: tuple[int, int] = (384, 640)


@dataclass
class Outcome:
    """What became of the frames."""

    offered: list[int]
    "By camera."

    served: list[int]
    latency_us: list[int] = field(default_factory=list)
    "From a frame being there to its symbols being there."

    longest_gap_us: list[int] = field(default_factory=list)
    "By camera: between two frames that were served."

    busy_us: list[float] = field(default_factory=list)
    "By camera: its part of the engine's time."

    @property
    def drop_part(self) -> float:
        return 1 - sum(self.served) / sum(self.offered)

    def latency_ms(self, part: float) -> float:
        ordered = sorted(self.latency_us)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] / 1000

    @property
    def jain(self) -> float:
        """Jain's index of the parts of their frames that streams got; 1 is fair."""
        parts = [s / o for s, o in zip(self.served, self.offered, strict=True)]
        return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))


class Policy(Protocol):
    """The part of `DeadlineScheduler` that a simulation needs."""

    def submit(self, job: FrameJob) -> None: ...
    def plan(self, *, now_us: int) -> Batch | None: ...
    def done(self, batch: Batch, *, used_us: int = 0) -> None: ...
    def next_drop(self) -> Dropped | None: ...


def simulate(
    policy: Policy,
    cameras: Sequence[Camera],
    *,
    seconds: float,
    curve: BatchCurve | None = None,
    seed: int = 0,
    jitter: float = 0.0,
) -> Outcome:
    """
    Run cameras against a policy.

    Args:
        policy: Fresh.
        cameras: Stream n is camera n.
        seconds: Of frames.
        curve: What a batch of equal frames costs, one frame's time being 1; None adds them up.
        seed: Of the jitter.
        jitter: Of when frames come, in intervals.
    """
    rng = random.Random(seed)
    events: list[tuple[int, int, int]] = []  # when, job, camera or batch
    arrived: dict[int, int] = {}
    jobs: dict[int, FrameJob] = {}
    cost_of: dict[int, int] = {}
    n = len(cameras)
    outcome = Outcome([0] * n, [0] * n, [], [0] * n, [0.0] * n)
    last_us = [0] * n
    arrivals = []
    for stream, camera in enumerate(cameras):
        interval_us = SECOND_US / camera.fps
        for k in range(int(seconds * camera.fps)):
            at_us = interval_us * (k + camera.phase + jitter * rng.random())
            arrivals.append((int(at_us), stream, camera.cost_us[k % len(camera.cost_us)]))
    arrivals.sort()
    running: dict[int, tuple[Batch, int]] = {}
    for job_id, (at_us, stream, cost_us) in enumerate(arrivals):
        job = FrameJob(job_id, stream, JobKind.ENCODE, cameras[stream].shape, at_us + DEADLINE_US)
        jobs[job_id], cost_of[job_id], arrived[job_id] = job, cost_us, at_us
        events.append((at_us, 1, job_id))
    heapq.heapify(events)
    while events:
        now_us, kind, which = heapq.heappop(events)
        if kind == 1:
            outcome.offered[jobs[which].stream] += 1
            policy.submit(jobs[which])
        else:
            batch, used_us = running.pop(which)
            policy.done(batch, used_us=used_us)
            for job in batch.jobs:
                outcome.served[job.stream] += 1
                outcome.latency_us.append(now_us - arrived[job.job_id])
                outcome.busy_us[job.stream] += used_us / len(batch.jobs)
                gap_us = now_us - last_us[job.stream]
                outcome.longest_gap_us[job.stream] = max(outcome.longest_gap_us[job.stream], gap_us)
                last_us[job.stream] = now_us
        while (batch_ := policy.plan(now_us=now_us)) is not None:
            used_us = _cost_us(batch_, cost_of, curve)
            running[batch_.batch_id] = batch_, used_us
            heapq.heappush(events, (now_us + used_us, 0, batch_.batch_id))
        while policy.next_drop() is not None:
            pass
    return outcome


def _cost_us(batch: Batch, cost_of: dict[int, int], curve: BatchCurve | None) -> int:
    costs = [cost_of[job.job_id] for job in batch.jobs]
    if curve is None or len(costs) == 1:
        return sum(costs)
    times = dict(curve.points)
    return int(max(costs) * times.get(len(costs), float(len(costs))))


class SimplePolicy:
    """
    Frames in the order of a key, one at a time: what `DeadlineScheduler` is compared with.

    Newer frames may replace those that wait; late ones are dropped.
    """

    def __init__(
        self, key: Callable[[FrameJob], tuple[int, ...]], *, slots: int = 1, replaces: bool = True
    ) -> None:
        self._key = key
        self._free = slots
        self._replaces = replaces
        self._waiting: list[tuple[tuple[int, ...], int]] = []
        self._jobs: dict[int, FrameJob] = {}
        self._newest: dict[int, int] = {}
        self._busy: set[int] = set()
        self._drops: list[Dropped] = []
        self._ids = 0

    def submit(self, job: FrameJob) -> None:
        older = self._newest.get(job.stream)
        if self._replaces and older in self._jobs:
            self._drops.append(Dropped(self._jobs.pop(older), DropReason.SUPERSEDED))
        self._newest[job.stream] = job.job_id
        self._jobs[job.job_id] = job
        heapq.heappush(self._waiting, (self._key(job), job.job_id))

    def plan(self, *, now_us: int) -> Batch | None:
        if not self._free:
            return None
        aside = []
        found = None
        while self._waiting and found is None:
            entry = heapq.heappop(self._waiting)
            job = self._jobs.get(entry[1])
            if job is None:
                continue
            if job.deadline_us < now_us:
                self._drops.append(Dropped(self._jobs.pop(entry[1]), DropReason.LATE))
            elif job.stream in self._busy:
                aside.append(entry)
            else:
                found = self._jobs.pop(entry[1])
        for entry in aside:
            heapq.heappush(self._waiting, entry)
        if found is None:
            return None
        self._free -= 1
        self._busy.add(found.stream)
        self._ids += 1
        return Batch(self._ids, (found,))

    def done(self, batch: Batch, *, used_us: int = 0) -> None:
        self._free += 1
        for job in batch.jobs:
            self._busy.discard(job.stream)

    def next_drop(self) -> Dropped | None:
        return self._drops.pop(0) if self._drops else None


def fifo(slots: int = 1) -> SimplePolicy:
    """First come, first served; every frame waits its turn."""
    return SimplePolicy(lambda job: (job.job_id,), slots=slots, replaces=False)


def newest_by_deadline(slots: int = 1) -> SimplePolicy:
    """Earliest deadline first, newest frame of each stream, and nothing else."""
    return SimplePolicy(lambda job: (job.deadline_us, job.job_id), slots=slots)
