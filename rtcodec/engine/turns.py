"""
Whose turn it is on the engine: deadlines while it keeps up, equal shares of its time when not.

    turn = deadline of the first frame that waits, and not before the last turn + n * time used / m

for n streams that want something of m slots. A stream that needs less than its share never meets
the second part, so its frames go by their deadlines. One that needs more comes after those that
do not. Without the first part, streams whose frames are replaced just before their turn would never
have one. No clock: all times are microseconds of the caller's.
"""

from dataclasses import dataclass
from typing import Final

MAX_DEBT_US: Final = 2_000_000
"""How far behind others a stream can fall by having used more than its share: time that nobody else
wanted is not held against it for longer."""

_KEPT: Final = 1024
"Accounts of streams that are not heard of any more, before the stale ones are forgotten."


@dataclass(slots=True)
class _Account:
    due_us: int | None = None
    "Deadline of the first frame that waits; one that replaces another has the other's."

    ran_due_us: int = 0
    "The same of what ran last."

    started_us: int = 0
    "Its turn."

    not_before_us: int = 0
    "Of its next turn."


class Turns:
    """The accounts of all streams."""

    def __init__(self, slots: int) -> None:
        """
        Args:
            slots: Calls of the engine that go on at a time.
        """
        self._slots = slots
        self._accounts: dict[int, _Account] = {}

    def __len__(self) -> int:
        """Return how many streams have an account."""
        return len(self._accounts)

    def wait(self, stream: int, deadline_us: int) -> int:
        """Return the turn of a stream, one of whose frames is due at *deadline_us*."""
        account = self._accounts.get(stream)
        if account is None:
            self._tidy(deadline_us)
            account = self._accounts[stream] = _Account()
        if account.due_us is None:
            account.due_us = deadline_us
        return max(account.due_us, account.not_before_us)

    def start(self, stream: int) -> None:
        """Note that a stream has its turn."""
        account = self._accounts.get(stream)
        if account is not None and account.due_us is not None:
            account.started_us = max(account.due_us, account.not_before_us)
            account.ran_due_us, account.due_us = account.due_us, None

    def charge(self, stream: int, used_us: float, *, n_active: int) -> None:
        """
        Note what a stream's turn took.

        Args:
            stream: Nothing happens if it has gone.
            used_us: Engine time.
            n_active: Streams that wanted something of the engine.
        """
        account = self._accounts.get(stream)
        if account is not None:
            owed_us = account.started_us + int(used_us * n_active / self._slots)
            account.not_before_us = min(owed_us, account.ran_due_us + MAX_DEBT_US)

    def forget(self, stream: int) -> None:
        """Forget a stream that ended."""
        self._accounts.pop(stream, None)

    def _tidy(self, now_us: int) -> None:
        if len(self._accounts) < _KEPT:
            return
        gone = [
            stream
            for stream, account in self._accounts.items()
            if account.due_us is None and account.not_before_us < now_us
        ]
        for stream in gone:
            del self._accounts[stream]
