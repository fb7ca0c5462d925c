"""
Calls that may never end: each is made on a thread that can be given up.

A device that hangs keeps the thread that asked it. That thread is a daemon and is left behind;
whoever waits for it goes on after a while.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from rtcodec.errors import EngineCrashed

Result = TypeVar("Result")


class _Call(Generic[Result]):
    """One call and what came of it."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.work = work
        self.done = threading.Event()
        self.results: list[Result] = []
        self.error: BaseException | None = None


class WatchedCalls:
    """Makes calls on threads of its own, as many as there are calls at a time."""

    def __init__(self, name: str, hang_s: float) -> None:
        """
        Args:
            name: Of what is called, for messages.
            hang_s: A call that takes longer will never end.
        """
        self._name = name
        self._hang_s = hang_s
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._n_threads = self._n_busy = 0
        self._hangs = False

    def run(self, work: Callable[[], Result], *, patience: float = 1.0) -> Result:
        """
        Return what *work* returns, or raise what it raises.

        Args:
            work: What to call.
            patience: How many times `hang_s` it may take.

        Raises:
            EngineCrashed: If it does not end in time, or one before did not.
        """
        with self._lock:
            if self._hangs:
                raise EngineCrashed(f"{self._name} hangs")
            self._n_busy += 1
            if self._n_busy > self._n_threads:
                self._n_threads += 1
                threading.Thread(target=self._serve, name="watched", daemon=True).start()
        call = _Call(work)
        self._calls.put(call)
        if not call.done.wait(self._hang_s * patience):
            self._hangs = True
            raise EngineCrashed(f"{self._name} hangs: {self._hang_s * patience:g} s for a call")
        with self._lock:
            self._n_busy -= 1
        if call.error is not None:
            try:
                raise call.error
            finally:
                call.error = None
        return call.results[0]

    def close(self, work: Callable[[], None]) -> None:
        """Make a last call, unless one hangs, and end the threads that can end."""
        with suppress(EngineCrashed):
            self.run(work)
        for _ in range(self._n_threads):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.results.append(call.work())
            except BaseException as error:  # raised where somebody waits for it
                call.error = error
            call.done.set()
            del call  # or it would be kept until the next one comes
