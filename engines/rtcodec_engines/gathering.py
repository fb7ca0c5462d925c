"""
Lets frames of several callers run together, without making one wait for the others.

A free lane takes at once what waits; while all lanes are busy, callers gather. No thread of its
own: whoever gets a lane runs for those that wait.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")
Output = TypeVar("Output")


class _Entry(Generic[Job, Output]):
    """What one caller wants, and got."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.outputs: list[Output] = []
        self.error: Exception | None = None
        self.is_taken = False
        self.done = threading.Event()


class Gathering(Generic[Job, Output]):
    """A function over many jobs, called with those of several callers at once."""

    def __init__(
        self, run: Callable[[list[Job]], list[Output]], *, lanes: int, max_jobs: int
    ) -> None:
        """
        Args:
            run: Returns an output for each job, in their order.
            lanes: How many calls of *run* may go on at a time.
            max_jobs: Jobs of several callers in one call; one caller's are never cut.
        """
        self._run = run
        self._max_jobs = max_jobs
        self._lanes = threading.Semaphore(lanes)
        self._lock = threading.Lock()
        self._waiting: deque[_Entry[Job, Output]] = deque()

    def __call__(self, jobs: Sequence[Job]) -> list[Output]:
        """Return the outputs of *jobs*; raises what *run* raised for them."""
        entry: _Entry[Job, Output] = _Entry(jobs)
        with self._lock:
            self._waiting.append(entry)
        with self._lanes:
            while not entry.is_taken:
                self._run_together(self._take())
        entry.done.wait()
        if entry.error is not None:
            try:
                raise entry.error
            finally:
                entry.error = None
        return entry.outputs

    def _take(self) -> list[_Entry[Job, Output]]:
        """Take the oldest that fit into one call; at least one, if there is any."""
        with self._lock:
            taken: list[_Entry[Job, Output]] = []
            n_jobs = 0
            while self._waiting:
                n_jobs += len(self._waiting[0].jobs)
                if taken and n_jobs > self._max_jobs:
                    break
                taken.append(self._waiting.popleft())
                taken[-1].is_taken = True
            return taken

    def _run_together(self, entries: list[_Entry[Job, Output]]) -> None:
        try:
            outputs = self._run([job for entry in entries for job in entry.jobs])
            for entry in entries:
                entry.outputs, outputs = outputs[: len(entry.jobs)], outputs[len(entry.jobs) :]
        except Exception as error:
            if len(entries) > 1:  # one caller's mistake is not the others'
                for entry in entries:
                    self._run_together([entry])
                return
            entries[0].error = error
        for entry in entries:
            entry.done.set()
