"""Something that is done ten times a second, and how late that was."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

TICK_S: Final = 0.1


class Ticker:
    """Calls until it is closed; needs a running event loop."""

    def __init__(self, action: Callable[[], None]) -> None:
        """
        Args:
            action: Done at every tick; if it fails that is logged, and it is done again.
        """
        self.lag_s = 0.0
        "Longest delay of the event loop within the last second."
        self._action = action
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Tick no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        lags_s: deque[float] = deque(maxlen=round(1 / TICK_S))
        due_s = loop.time()
        while True:
            due_s = max(due_s + TICK_S, loop.time())
            await asyncio.sleep(due_s - loop.time())
            lags_s.append(max(loop.time() - due_s, 0.0))
            self.lag_s = max(lags_s)
            try:
                self._action()
            except Exception:  # without a tick nobody would ever be let out
                _log.exception("tick_failed")
