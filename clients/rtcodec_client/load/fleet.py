"""
The peer processes, seen from the conductor: started, told, heard, and never waited for in vain.

A process that dies is reported with its last words, its peers count as lost, and
the test goes on with the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rtcodec.errors import ConfigError, EngineError, InputError, RtcodecError
from rtcodec_client.child import child_environment
from rtcodec_client.load.process import ProcessSettings

_LINE_MAX_BYTES: Final = 16 << 20
_START_TIMEOUT_S: Final = 120.0
_END_TIMEOUT_S: Final = 20.0
_MODULE: Final = "rtcodec_client.load.process"

OnEvent = Callable[[int, dict[str, Any]], None]
"Called with the number of the process and what it told."


class PeerProcessHandle:
    """One process full of peers."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, log: Path) -> None:
        self.number = number
        self.pid = process.pid
        self.peers: set[str] = set()
        "Names of those that were told to join and have not left."

        self.is_ready = asyncio.Event()
        self.has_ended = asyncio.Event()
        "Set when it has told its last, or died."

        self.death: str | None = None
        "Why it ended without being told to."

        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, number: int, settings: ProcessSettings, log: Path, cores: Sequence[int]
    ) -> PeerProcessHandle:
        """Start a process, on some cores only if any are given."""
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _MODULE,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=child_environment(),
                limit=_LINE_MAX_BYTES,
                start_new_session=True,
            )
        if cores:
            os.sched_setaffinity(process.pid, cores)
        handle = cls(number, process, log)
        handle.tell(settings.write())
        return handle

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    def tell(self, command: dict[str, Any]) -> None:
        """Write one command; a process that is gone hears nothing."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            stdin.write(json.dumps(command).encode() + b"\n")

    async def follow(self, on_event: OnEvent) -> None:
        """Hear what it tells until it has ended."""
        stdout = self._process.stdout
        assert stdout is not None
        has_told_end = False
        while line := await stdout.readline():
            event = json.loads(line)
            if event["event"] == "ready":
                self.is_ready.set()
            if event["event"] in ("left", "failed"):
                self.peers.discard(event["peer"])
            has_told_end = has_told_end or event["event"] == "ended"
            on_event(self.number, event)
        code = await self._process.wait()
        if not has_told_end or code:
            self.death = f"{self._last_words()} (exit code {code})"
            on_event(self.number, {"event": "died", "reason": self.death, "code": code})
            self.peers.clear()
        self.has_ended.set()
        self.is_ready.set()

    async def end(self) -> None:
        """Make it end, by force if need be."""
        self.tell({"do": "end"})
        with suppress(TimeoutError):
            await asyncio.wait_for(self.has_ended.wait(), _END_TIMEOUT_S)
            return
        if self.is_running:
            self._process.kill()
        await self.has_ended.wait()

    def failure(self) -> RtcodecError:
        """Return its death as an error of the kind that its exit code names."""
        kinds: dict[int, type[RtcodecError]] = {1: InputError, 2: ConfigError}
        kind = kinds.get(self._process.returncode or 0, EngineError)
        return kind(f"peer process {self.number} ended early: {self.death}")

    def _last_words(self) -> str:
        try:
            text = self._log.read_text("utf-8", errors="replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1].removeprefix("rtcodec: ") if lines else "no reason given"


class Fleet:
    """All peer processes of a run."""

    def __init__(self, on_event: OnEvent) -> None:
        self.handles: list[PeerProcessHandle] = []
        self._on_event = on_event
        self._following: list[asyncio.Task[None]] = []

    async def start(
        self, settings: Sequence[ProcessSettings], work: Path, cores: Sequence[int] = ()
    ) -> None:
        """
        Start a process for each of the settings and wait until all are ready.

        Raises:
            RtcodecError: If one ends before that.
        """
        for number, one in enumerate(settings):
            log = work / f"peers{number}.log"
            handle = await PeerProcessHandle.start(number, one, log, cores)
            self.handles.append(handle)
            self._following.append(asyncio.ensure_future(handle.follow(self._on_event)))
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                for handle in self.handles:
                    await handle.is_ready.wait()
        except TimeoutError:
            raise EngineError(
                f"the peer processes were not ready within {_START_TIMEOUT_S:g} s"
            ) from None
        for handle in self.handles:
            if handle.death is not None:
                raise handle.failure()

    @property
    def peers(self) -> set[str]:
        """Names of all that are in, or on their way."""
        return {name for handle in self.handles for name in handle.peers}

    def join(self, number: int, peer: dict[str, Any]) -> bool:
        """Let a peer join; say whether its process is there to do it."""
        handle = self.handles[number]
        if not handle.is_running:
            return False
        handle.peers.add(peer["name"])
        handle.tell({"do": "join", "peer": peer})
        return True

    def leave(self, number: int, name: str) -> None:
        """Let a peer leave."""
        self.handles[number].tell({"do": "leave", "peer": name})

    def measure(self, *, on: bool) -> None:
        """Begin or end the soak everywhere."""
        for handle in self.handles:
            handle.tell({"do": "measure", "on": on})

    async def end(self) -> None:
        """Make all end; what they measured comes as their last events."""
        await asyncio.gather(*(handle.end() for handle in self.handles))
        await asyncio.gather(*self._following)
