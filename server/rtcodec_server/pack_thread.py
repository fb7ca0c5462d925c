"""
A thread that does one thing after the other.

What an executor of one thread does without a future, a work item and three locks for each thing:
nobody waits for frames that are packed. It may not be used for what can fail.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class PackThread:
    """Does what it is given, in order, until it is closed."""

    def __init__(self, name: str) -> None:
        """Start; *name* is the thread's."""
        self._tasks: SimpleQueue[tuple[Callable[..., None], tuple[object, ...]] | None] = (
            SimpleQueue()
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return how many things wait."""
        return self._tasks.qsize()

    def submit(self, action: Callable[..., None], *arguments: object) -> None:
        """Have *action*, which must not raise, called after all that was given before."""
        self._tasks.put((action, arguments))

    def close(self) -> None:
        """Wait until all is done; nothing may be given afterwards."""
        self._tasks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            action, arguments = task
            action(*arguments)
            del task, action, arguments  # or a frame would be held until the next one
