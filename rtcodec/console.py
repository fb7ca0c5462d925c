"""
What commands share: a progress bar where there is a terminal, stage times, a line of JSON.

Talk goes to stderr, data to stdout. Only shells import this: it reads the clock.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np

from rtcodec.engine.capacity import Clocks

QUANTILES = (50, 95, 99)

CLOCKS = Clocks(
    wall_us=lambda: time.perf_counter() * 1e6, core_us=lambda: time.process_time() * 1e6
)


class Progress:
    """A bar on stderr while there is a terminal to show it; a context manager."""

    def __init__(self, title: str, total: int | None) -> None:
        """
        Args:
            title: What goes on.
            total: Steps if known.
        """
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, note: str = "") -> None:
        """Count one step and show a few words beside the bar."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1, note=note)


class StageTimes:
    """How long each stage of each frame took."""

    def __init__(self) -> None:
        self._times_ms: dict[str, list[float]] = {}
        self._started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since this was made."""
        return time.perf_counter() - self._started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as one pass of stage *name*."""
        started = time.perf_counter()
        yield
        self._times_ms.setdefault(name, []).append((time.perf_counter() - started) * 1e3)

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Return p50, p95 and p99 of each stage in milliseconds."""
        return {
            name: {f"p{q}": round(float(np.percentile(times, q)), 3) for q in QUANTILES}
            for name, times in self._times_ms.items()
        }


@contextmanager
def tidy_on_terminate() -> Iterator[None]:
    """Let SIGTERM unwind the body, so that half-written files go, and end with 143."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def integer_between(least: int, most: int) -> Callable[[str], int]:
    """Return what reads an argument that is an integer from *least* to *most*."""

    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    parse.__name__ = "integer"
    return parse


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print one line of talk on stderr."""
    print(text, file=sys.stderr)
