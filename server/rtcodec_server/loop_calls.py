"""
Calls that other threads have for the event loop, in order, with few wake-ups.

What comes before the loop gets to it goes with the call that woke it: a batch of frames that end
together, on one thread or several, costs one wake-up, and nothing ever waits for others.
"""

import asyncio
import threading
from collections.abc import Callable


class LoopCalls:
    """Makes calls on one event loop, from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.calls = 0
        "That were made."
        self.wakeups = 0
        "Of the loop, for those."
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    def add(self, action: Callable[..., None], *arguments: object) -> None:
        """Have *action* called soon, after all that were added before."""
        with self._lock:
            self.calls += 1
            self._waiting.append((action, arguments))
            if len(self._waiting) > 1:  # whoever added the first has woken the loop
                return
            self.wakeups += 1
        self._loop.call_soon_threadsafe(self._make)

    def _make(self) -> None:
        with self._lock:
            taken, self._waiting = self._waiting, []
        for action, arguments in taken:
            try:
                action(*arguments)
            except Exception as error:  # one that fails must not keep the others
                self._loop.call_exception_handler(
                    {"message": f"{action!r} failed", "exception": error}
                )
