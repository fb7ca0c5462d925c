"""Laws of the scheduler under any order of calls."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rtcodec.engine.scheduler import Batch, DeadlineScheduler, DropReason, FrameJob, JobKind

STREAMS = st.integers(0, 5)
MAX_BATCH, SLOTS, MAX_STREAMS, MAX_WAITING = 3, 2, 4, 3


class SchedulerMachine(RuleBasedStateMachine):
    """Streams with even numbers encode, odd ones decode."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = DeadlineScheduler(
            max_batch=MAX_BATCH,
            slots=SLOTS,
            max_streams=MAX_STREAMS,
            max_waiting_decode=MAX_WAITING,
        )
        self.now_us = 0
        self.jobs: dict[int, FrameJob] = {}
        self.batches: list[Batch] = []
        self.ended: set[int] = set()
        self.last_started: dict[int, int] = {}

    @rule(stream=STREAMS, slack_us=st.integers(0, 50), tall=st.booleans(), starts=st.booleans())
    def submit(self, stream: int, slack_us: int, tall: bool, starts: bool) -> None:
        kind = JobKind.DECODE if stream % 2 else JobKind.ENCODE
        job = FrameJob(
            len(self.jobs), stream, kind, (128 if tall else 64, 64), self.now_us + slack_us, starts
        )
        self.jobs[job.job_id] = job
        self.scheduler.submit(job)

    @rule(step_us=st.integers(0, 40))
    def plan(self, step_us: int) -> None:
        self.now_us += step_us
        while (batch := self.scheduler.plan(now_us=self.now_us)) is not None:
            self._check(batch)
            self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, SLOTS - 1), used_us=st.integers(0, 100))
    def done(self, which: int, used_us: int) -> None:
        self.scheduler.done(self.batches.pop(which % len(self.batches)), used_us=used_us)

    @rule(stream=STREAMS)
    def close(self, stream: int) -> None:
        self.scheduler.close_stream(stream)

    @rule()
    def drain(self) -> None:
        while (drop := self.scheduler.next_drop()) is not None:
            assert drop.job.job_id not in self.ended
            self.ended.add(drop.job.job_id)
            if drop.job.kind is JobKind.DECODE:
                assert drop.reason is not DropReason.LATE

    @invariant()
    def every_job_is_accounted_for(self) -> None:
        s = self.scheduler
        assert s.submitted == s.started + sum(s.dropped.values()) + s.waiting
        assert s.in_flight == len(self.batches) <= SLOTS

    @invariant()
    def no_stream_is_forgotten_in_line(self) -> None:
        """Work-conserving: with a free slot, what could run is planned."""
        if self.scheduler.in_flight == SLOTS:
            return
        running = {job.stream for batch in self.batches for job in batch.jobs}
        waiting = [j for j in self.jobs.values() if j.job_id not in self.ended]
        if not any(job.stream not in running for job in waiting if job.kind is JobKind.DECODE):
            return
        self.drain()
        waiting = [j for j in self.jobs.values() if j.job_id not in self.ended]
        if any(job.stream not in running for job in waiting if job.kind is JobKind.DECODE):
            n_before = len(self.batches)
            self.plan(0)
            assert len(self.batches) > n_before

    @invariant()
    def queues_are_bounded(self) -> None:
        assert self.scheduler.waiting <= MAX_STREAMS * MAX_WAITING

    def _check(self, batch: Batch) -> None:
        assert 1 <= len(batch.jobs) <= MAX_BATCH
        assert len({(job.kind, job.shape) for job in batch.jobs}) == 1
        running = [job.stream for other in self.batches for job in other.jobs]
        running += [job.stream for job in batch.jobs]
        assert len(running) == len(set(running))
        for job in batch.jobs:
            assert job.job_id not in self.ended
            self.ended.add(job.job_id)
            assert self.last_started.get(job.stream, -1) < job.job_id
            self.last_started[job.stream] = job.job_id
            if job.kind is JobKind.ENCODE:
                assert job.deadline_us >= self.now_us


SchedulerMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
TestScheduler = SchedulerMachine.TestCase
