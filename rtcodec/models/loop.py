"""
The loop of every training: steps until the time is up, with a curve, checkpoints and validation.

Reads the clock and catches signals; knows nothing of what is trained.
"""

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

from rtcodec.models.training import Training

Validation = Callable[[Any], object]
"What becomes of averaged networks on pictures never trained on, JSON."

Clock = Callable[[], float]

ROW_STEPS = 50
"Steps between two rows of the curve; its figures are means over about as many."


class Stop:
    """Set by the first SIGINT or SIGTERM, or at a deadline; a second signal ends the process."""

    def __init__(self, deadline_s: float = math.inf) -> None:
        """
        Args:
            deadline_s: When to stop, on the clock of `time.monotonic`.
        """
        self.signal = 0
        "Number of the signal; 0 while there was none."
        self._deadline_s = deadline_s

    def is_set(self) -> bool:
        """Whether to end after the current step."""
        return self.signal != 0 or time.monotonic() > self._deadline_s

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Catch the two signals in the body."""
        before = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def train_on(
    training: Training,
    validation: Validation | None,
    stop: Stop,
    *,
    clock: Clock = time.monotonic,
) -> None:
    """
    Train until the minutes of the settings are used up or *stop* is set; write all files.

    Args:
        training: What to train.
        validation: What the curve says besides, if anything.
        stop: What ends it early.
        clock: In seconds; `time.process_time` where others use the machine, too.
    """
    (training.out / "config.json").write_text(json.dumps(asdict(training.config), indent=2))
    with (training.out / "metrics.jsonl").open("a") as log:
        for row in _rows(training, validation, stop, clock):
            print(json.dumps(row), file=log, flush=True)
            print(_line(row), file=sys.stderr, flush=True)


def closing(training: Training, stop: Stop) -> int:
    """Say how far it came; return the exit code, 128 plus the signal's number if one ended it."""
    minutes = training.elapsed_s / 60
    print(f"{training.step} steps in {minutes:.1f} min, {training.out}", file=sys.stderr)
    return 128 + stop.signal if stop.signal else 0


def _rows(
    training: Training, validation: Validation | None, stop: Stop, clock: Clock
) -> Iterator[dict[str, object]]:
    config, budget_s = training.config, training.config.minutes * 60
    saved = validated = training.elapsed_s
    means: dict[str, float] = {}

    def row(**figures: object) -> dict[str, object]:
        return {"step": training.step, "elapsed_s": round(training.elapsed_s, 1), **figures}

    while training.elapsed_s < budget_s and not stop.is_set():
        begun = clock()
        figures = training.advance(training.elapsed_s / budget_s)
        training.elapsed_s += clock() - begun
        means = {k: 0.98 * means.get(k, v) + 0.02 * v for k, v in figures.items()}
        if training.step % ROW_STEPS == 0:
            yield row(**means)
        if training.elapsed_s - saved > config.save_every_s:
            training.save()
            saved = training.elapsed_s
        if validation and training.elapsed_s - validated > config.validate_every_s:
            yield row(validation=validation(training.averaged()))
            validated = training.elapsed_s
    training.save()
    if validation and not stop.is_set():
        yield row(validation=validation(training.averaged()))


def _line(row: dict[str, object]) -> str:
    return " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
