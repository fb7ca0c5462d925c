"""
Processes of one kind: some at work, some loaded and waiting to take the place of one that dies.

    start -> loading -> ready -> a free slot takes it, or it waits as a spare
                                      |
                          dies, hangs +--> a spare takes the slot, another one is started
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from rtcodec.process import Message
from rtcodec.webrtc import monotonic_us
from rtcodec_server.logs import log_event
from rtcodec_server.workers.limits import ProcessLimits
from rtcodec_server.workers.managed import ManagedProcess
from rtcodec_server.workers.restart import RestartPolicy

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_STALL_US: Final = 1_000_000
"A tick so late says that this process was stopped, not the others."


class Pool:
    """So many slots, each with a process in it as often as can be."""

    def __init__(
        self,
        kind: str,
        module: str,
        n_slots: int,
        limits: ProcessLimits,
        *,
        settings: dict[str, Any],
        on_up: Callable[[ManagedProcess], None],
        on_down: Callable[[ManagedProcess], None],
        on_message: Callable[[ManagedProcess, str, Message, list[int]], None],
        on_given_up: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            kind: For logs, `worker` or `engine`.
            module: What a process runs.
            n_slots: How many are at work.
            limits: How they are looked after.
            settings: Told to each.
            on_up: A process took its `slot`.
            on_down: One that had a slot has ended.
            on_message: One said something but `failed`.
            on_given_up: None is started any more.
        """
        self.kind = kind
        self.slots: list[ManagedProcess | None] = [None] * n_slots
        self.deaths = [0] * n_slots
        "How often the process of a slot died."
        self.failure: tuple[str, str] | None = None
        "Name and text of what keeps a process from starting, if it says so."
        self.was_ready = False
        self._module = module
        self._limits = limits
        self._settings = settings
        self._on_up, self._on_down = on_up, on_down
        self._on_message = on_message
        self._on_given_up = on_given_up
        self._policy = RestartPolicy(
            max_restarts=limits.max_restarts * n_slots, window_us=int(limits.window_s * 1e6)
        )
        self._processes: set[ManagedProcess] = set()
        self._is_stopping = False
        self._change = asyncio.Event()
        self._watching = asyncio.ensure_future(self._watch())
        self._paused_until_us = 0

    @property
    def processes(self) -> tuple[ManagedProcess, ...]:
        """All that run, spares and those that load too."""
        return tuple(self._processes)

    @property
    def has_failed(self) -> bool:
        """Whether nothing runs and nothing will."""
        return not self._processes and (self._policy.has_given_up or self.failure is not None)

    @property
    def has_given_up(self) -> bool:
        """Whether nothing is started any more."""
        return self._policy.has_given_up

    def fill(self) -> None:
        """Start what is missing, unless it is too early or of no use."""
        is_idle = self._is_stopping or self._policy.has_given_up or self.failure is not None
        if is_idle or monotonic_us() < self._paused_until_us:
            return
        wanted = len(self.slots)
        if None not in self.slots:
            wanted += self._limits.spares
        while len(self._processes) < wanted:
            process = ManagedProcess(self._module, on_message=self._hear, on_end=self._ended)
            self._processes.add(process)
            process.start(**self._settings)

    def stop(self, how: str) -> None:
        """Start nothing any more, tell those at work how to end, and end the others."""
        self._is_stopping = True
        for process in self._processes:
            if process.slot is None:
                process.kill()
            else:
                process.send(how)

    def kill(self) -> None:
        """End them all, now."""
        self._is_stopping = True
        for process in self._processes:
            process.kill()

    async def until_ended(self) -> None:
        """Wait until none runs and none will."""
        while self._processes or not (self._is_stopping or self.has_failed):
            self._change.clear()
            await self._change.wait()

    async def close(self) -> None:
        """Kill what is left and wait for it."""
        self.kill()
        await asyncio.gather(*(process.wait() for process in self._processes))
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    # ---- what happens to them

    def _hear(
        self, process: ManagedProcess, kind: str, fields: Message, descriptors: list[int]
    ) -> None:
        if kind == "ready":
            process.is_ready = True
            self._on_message(process, kind, fields, descriptors)
            self._assign()
        elif kind == "failed":
            error, message = str(fields.get("error")), str(fields.get("message"))
            log_event(_log, f"{self.kind}_failed", level=logging.ERROR, problem=message)
            if not self.was_ready:
                self.failure = (error, message)
            process.kill()
        else:
            self._on_message(process, kind, fields, descriptors)

    def _assign(self) -> None:
        """Let processes that are ready take free slots."""
        for slot, process in enumerate(self.slots):
            waiting = [p for p in self._processes if p.is_ready and p.slot is None]
            if process is None and waiting and not self._is_stopping:
                chosen = min(waiting, key=lambda p: p.started_us)
                chosen.slot, self.slots[slot] = slot, chosen
                self.was_ready = True
                log_event(_log, f"{self.kind}_up", slot=slot, pid=chosen.pid)
                self._on_up(chosen)
        self.fill()

    def _ended(self, process: ManagedProcess) -> None:
        self._processes.discard(process)
        process.is_ready = False
        if process.slot is not None:
            self.slots[process.slot] = None
        if not self._is_stopping:
            self._mourn(process)
        if process.slot is not None:
            self._on_down(process)
        self._assign()
        self._change.set()

    def _mourn(self, process: ManagedProcess) -> None:
        if process.slot is not None:
            self.deaths[process.slot] += 1
        pause_us = self._policy.died(now_us=monotonic_us())
        log_event(
            _log, f"{self.kind}_died", level=logging.WARNING, slot=process.slot, pid=process.pid,
            again_in_s=None if pause_us is None else pause_us / 1e6,
        )  # fmt: skip
        if pause_us is None:
            log_event(
                _log, f"{self.kind}_given_up", level=logging.ERROR, slot=process.slot,
                deaths=sum(self.deaths),
            )  # fmt: skip
            self._on_given_up()
        else:
            self._paused_until_us = monotonic_us() + pause_us

    async def _watch(self) -> None:
        """Kill who is silent for too long; start again who has waited long enough."""
        last_us = monotonic_us()
        while True:
            await asyncio.sleep(_TICK_S)
            now_us = monotonic_us()
            if now_us - last_us > _STALL_US:
                for process in self._processes:
                    process.heard_us = now_us
            last_us = now_us
            for process in self.processes:
                if process.silent_us(now_us) > self._limits.hang_s * 1e6:
                    log_event(
                        _log, f"{self.kind}_hung", level=logging.WARNING, slot=process.slot,
                        pid=process.pid,
                    )  # fmt: skip
                    process.heard_us = now_us  # once is enough
                    process.kill()
            self.fill()
