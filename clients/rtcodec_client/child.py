"""
`rtcodec` subcommands as child processes of the demo.

Each has a log of what it says; a failure becomes the child's own last line,
with the exit code that it chose. No child outlives its parent's `stop`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rtcodec.errors import ConfigError, EngineError, InputError, RtcodecError

_KILL_TIMEOUT_S = 5.0
_SINGLE_THREADED = {
    # Threads are given to the engines explicitly; BLAS pools would fight over the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Child:
    """
    One running subcommand.

    Args:
        name: For messages, such as `relay`.
        process: Just started.
        log: Where its stderr goes.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str], log: Path) -> Child:
        """Start `rtcodec ARGUMENTS`, apart from the terminal's signals."""
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "rtcodec.cli",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                env=child_environment(),
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    def check_running(self) -> None:
        """
        Raise if it has ended, for whatever reason.

        Raises:
            InputError, ConfigError, EngineError: By its exit code.
        """
        code = self._process.returncode
        if code is not None:
            raise self._failure(code)

    async def stop(self, *, timeout_s: float = 20.0) -> None:
        """Ask it to end, wait, and make sure. Once it has ended this does nothing."""
        for number, patience_s in (
            (signal.SIGTERM, timeout_s),
            (signal.SIGKILL, _KILL_TIMEOUT_S),
        ):
            self.signal(number)
            try:
                await asyncio.wait_for(self._process.wait(), patience_s)
            except TimeoutError:
                continue
            return

    async def finish(self, *, timeout_s: float) -> None:
        """
        Ask it to end and insist that it ends well.

        Raises:
            InputError, ConfigError, EngineError: By its exit code.
        """
        await self.stop(timeout_s=timeout_s)
        code = self._process.returncode
        if code != 0:
            raise self._failure(code if code is not None else -1)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.is_running:
            self._process.send_signal(number)

    def cpu_s(self) -> float | None:
        """Return the processor time it has used, in seconds, where the system tells."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text("ascii", errors="replace")
            user, system = text.rpartition(")")[2].split()[11:13]  # man 5 proc: utime, stime
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None

    def said(self) -> str:
        """Return what it wrote on standard error so far."""
        try:
            return self._log.read_text("utf-8", errors="replace")
        except OSError:
            return ""

    def _failure(self, code: int) -> RtcodecError:
        lines = [line.strip() for line in self.said().split("\n") if line.strip()]
        last = lines[-1].removeprefix("rtcodec: ") if lines else ""
        text = f"the {self.name} ended early: {last or 'no reason given'} (exit code {code})"
        kinds: dict[int, type[RtcodecError]] = {1: InputError, 2: ConfigError}
        return kinds.get(code, EngineError)(text)


def child_environment() -> dict[str, str]:
    """
    Return the environment for a Python of ours: it finds what this process found.

    Without RTCODEC_*: a relay of our own has nobody's keys and settings.
    """
    ours = {name: text for name, text in os.environ.items() if not name.startswith("RTCODEC_")}
    return _SINGLE_THREADED | ours | _import_path()


def _import_path() -> dict[str, str]:
    """Let a child find what this process found, installed or not."""
    own = (sys.prefix, sys.base_prefix)
    paths = [path for path in sys.path if path and not path.startswith(own)]
    return {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
