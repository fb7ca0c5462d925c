"""One process of ours: started, told things, heard from, killed if it must be."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rtcodec.errors import ConfigError
from rtcodec.process import ControlChannel, Message, spawn
from rtcodec.webrtc import monotonic_us

START_TIMEOUT_S: Final = 120.0
"From the start to the first word: imports, on a busy machine."


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used."""

    cpu_s: float
    resident_bytes: int


class ManagedProcess:
    """A child and its control channel. Belongs to the event loop."""

    def __init__(
        self,
        module: str,
        *,
        on_message: Callable[["ManagedProcess", str, Message, list[int]], None],
        on_end: Callable[["ManagedProcess"], None],
    ) -> None:
        """
        Args:
            module: To run.
            on_message: Gets kind, fields and descriptors.
            on_end: Called once, when it has ended and was waited for.
        """
        self.slot: int | None = None
        "Which one it is; None for a spare, and while it loads."
        self.is_ready = False
        self.started_us = self.heard_us = monotonic_us()
        self.has_spoken = False
        self._module = module
        self._on_message = on_message
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._channel: ControlChannel | None = None
        self._is_unwanted = False
        self._task: asyncio.Task[None] | None = None

    def start(self, **settings: Any) -> None:
        """Start it and tell it what to be; a process that cannot be started ends at once."""
        self._task = asyncio.ensure_future(self._run(settings))

    @property
    def pid(self) -> int | None:
        """Its process id, once it has one."""
        return None if self._process is None else self._process.pid

    def send(self, kind: str, *descriptors: int, **fields: Any) -> None:
        """Tell it something; nothing if it has ended."""
        if self._channel is not None:
            self._channel.send(kind, *descriptors, **fields)

    def kill(self) -> None:
        """End it now; `on_end` follows."""
        self._is_unwanted = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def wait(self) -> None:
        """Wait until it has ended."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def silent_us(self, now_us: int) -> int:
        """Return how long it has said nothing beyond what is allowed while it starts."""
        allowed_us = 0 if self.has_spoken else int(START_TIMEOUT_S * 1e6)
        return now_us - self.heard_us - allowed_us

    def usage(self) -> Usage | None:
        """Return what it has used, where the system tells."""
        return None if self.pid is None else usage_of(self.pid)

    async def _run(self, settings: dict[str, Any]) -> None:
        end: socket.socket | None = None
        try:
            self._process, end = await spawn(self._module)
            self._channel = ControlChannel(
                end, on_message=self._hear, on_close=self.kill
            )  # a process that nobody can talk to is of no use
            self._channel.send("start", **settings)
            if self._is_unwanted:
                self.kill()
            await self._process.wait()
        except ConfigError:
            pass
        finally:
            try:
                if self._channel is not None:
                    self._channel.hear_out()  # its end may be noticed before its last figures
            finally:
                self._on_end(self)

    def _hear(self, kind: str, fields: Message, descriptors: list[int]) -> None:
        self.heard_us, self.has_spoken = monotonic_us(), True
        self._on_message(self, kind, fields, descriptors)


def usage_of(pid: int) -> Usage | None:
    """Return what a process has used, where the system tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        fields = text.rpartition(")")[2].split()  # man 5 proc: from the third field on
        ticks = int(fields[11]) + int(fields[12])
        pages = int(fields[21])
    except (OSError, ValueError, IndexError):
        return None
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))
