"""
When a network becomes another one: `--step 6:loss=30%,rate=200`. Pure.

A step names what is different from what the run began with; nothing named goes back to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from rtcodec.errors import ConfigError
from rtcodec_client.load.impairment import Impairment


@dataclass(frozen=True, slots=True)
class Step:
    """What both directions of a peer's network do from some moment on."""

    at_us: int
    "Since the peer joined."

    up: Impairment
    down: Impairment


def read_step(document: Mapping[str, Any]) -> Step:
    """Undo `dataclasses.asdict`."""
    up, down = (Impairment(**document[name]) for name in ("up", "down"))
    return Step(document["at_us"], up, down)


def parse_step(
    text: str, *, up: Impairment, down: Impairment, direction: str, share: Callable[[str], float]
) -> Step:
    """
    Read `SECONDS:NAME=VALUE,...`.

    Args:
        text: From the command line.
        up: What the run begins with, to the relay.
        down: The same, from it.
        direction: both, up or down: which of them is changed.
        share: Reads a loss.

    Raises:
        ConfigError: If it is something else.
    """
    at_s, colon, rest = text.partition(":")
    changes: dict[str, Any] = {}
    try:
        at_us = round(float(at_s) * 1_000_000)
        for part in filter(None, rest.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                raise ValueError(part)
            if name == "loss":
                changes["loss"] = share(value)
            else:
                field, factor = _FIELDS[name]
                changes[field] = round(float(value) * factor)
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(
            f"a step is SECONDS:NAME=VALUE,... of loss, delay, jitter, rate, queue; not {text!r}"
        ) from None
    if not colon or at_us < 0:
        raise ConfigError(f"a step begins with its time and a colon, not {text!r}")
    return Step(
        at_us,
        replace(up, **changes) if direction != "down" else up,
        replace(down, **changes) if direction != "up" else down,
    )


_FIELDS: Final = {
    "delay": ("delay_us", 1000),
    "jitter": ("jitter_us", 1000),
    "rate": ("rate_bps", 1000),
    "queue": ("queue_us", 1000),
}
