"""A bounded queue for one event loop in which the newest items win."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class QueueClosed(Exception):
    """Nothing more will come out of the queue."""


class NewestQueue(Generic[Item]):
    """
    Holds at most *capacity* items; a new one pushes the oldest out.

    Only for use on the event loop's thread. One reader at a time.
    """

    def __init__(self, capacity: int, *, on_drop: Callable[[Item], None]) -> None:
        """
        Start empty and open.

        Args:
            capacity: Items held, at least 1.
            on_drop: Called with every item that was pushed out.
        """
        self._capacity = self._limit = capacity
        self._on_drop = on_drop
        self._items: deque[Item] = deque()
        self._ready = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def put(self, item: Item) -> None:
        """Add *item*, or drop it if the queue is closed."""
        if self._is_closed:
            self._on_drop(item)
            return
        while len(self._items) >= self._limit:
            self._on_drop(self._items.popleft())
        self._items.append(item)
        self._ready.set()

    def widen(self, n_items: int) -> None:
        """
        Hold up to *n_items* for a while: one fewer with each that is read, down to the capacity.

        A reader that was held up can so read all that came meanwhile, and one that is always too
        slow soon gets the newest again.
        """
        self._limit = max(self._capacity, n_items)

    async def get(self) -> Item:
        """
        Wait for the oldest item that is left.

        Raises:
            QueueClosed: When the queue is closed and empty.
        """
        while not self._items:
            if self._is_closed:
                raise QueueClosed
            self._ready.clear()
            await self._ready.wait()
        self._limit = max(self._capacity, self._limit - 1)
        return self._items.popleft()

    def close(self) -> None:
        """Take no more items; those inside can still be read."""
        self._is_closed = True
        self._ready.set()

    def drain(self) -> None:
        """Drop what is inside."""
        while self._items:
            self._on_drop(self._items.popleft())
