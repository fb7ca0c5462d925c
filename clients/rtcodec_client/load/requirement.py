"""
What a run must reach: `latency.total.p95<=200` and the like, read and judged.

Strict: a name, a comparison and a number, nothing else. A figure that was not
measured meets nothing. Pure.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rtcodec.errors import ConfigError
from rtcodec_client.frame_record import STAGES

COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM: Final = re.compile(
    r"\s*(?P<name>[a-z_]\w*(?:\.\w+)*)\s*(?P<comparison><=|>=|==|!=|<|>)\s*(?P<number>[^\s<>=!]+)\s*"
)

PERCENTILES: Final = ("p50", "p95", "p99", "max")
LOAD_STAGES: Final = (*STAGES[:-1], "arrive", "gap", "total")

_COUNTS: Final = (
    "published", "skipped", "received", "encoded", "dropped", "sent", "units", "decoded", "lost",
)  # fmt: skip


def _known() -> dict[str, tuple[str, ...]]:
    known: dict[str, tuple[str, ...]] = {}
    for stage in LOAD_STAGES:
        for percentile in PERCENTILES:
            known[f"latency.{stage}.{percentile}"] = ("latency_ms", stage, percentile)
    for percentile in PERCENTILES:
        known[f"join.publisher.{percentile}"] = ("joins", "publisher_ms", percentile)
        known[f"join.subscriber.{percentile}"] = ("joins", "subscriber_ms", percentile)
        known[f"generator.lateness.{percentile}"] = ("generator", "lateness_ms", percentile)
    for count in _COUNTS:
        known[f"frames.{count}"] = ("frames", count)
    for plane in ("y", "u", "v", "yuv"):
        known[f"psnr.{plane}"] = ("psnr_db", plane)
        known[f"psnr_source.{plane}"] = ("psnr_source_db", plane)
    known |= {
        "frames.dropped_share": ("frames", "dropped_share"),
        "frames.lost_share": ("frames", "lost_share"),
        "fps": ("fps",),
        "fps.share": ("fps_share",),
        "kbps": ("kbps",),
        "freezes": ("freezes", "count"),
        "frozen.share": ("freezes", "share"),
        "joins.failed": ("joins", "failed"),
        "joins.ok": ("joins", "ok"),
        "peers.lost": ("joins", "lost"),
        "churn.cycles": ("churn", "cycles"),
        "relay.cpu": ("relay", "cpu_cores"),
        "relay.rss_slope": ("relay", "rss_slope_mb_per_min"),
        "relay.rss_growth": ("relay", "rss_growth_mb"),
        "relay.loop_lag.p95": ("relay", "loop_lag_ms", "p95"),
        "relay.loop_lag.max": ("relay", "loop_lag_ms", "max"),
        "relay.fds_left": ("relay", "fds_left"),
        "relay.threads_left": ("relay", "threads_left"),
        "relay.sessions_left": ("relay", "sessions_left"),
        "machine.others": ("machine", "others_cores"),
        "processes.died": ("generator", "died"),
    }
    return known


NAMES: Final = _known()
"Name -> where in the report the figure is."


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing a run must reach."""

    name: str
    "One of NAMES."

    comparison: str
    "One of COMPARISONS."

    bound: float

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"{self.name}{self.comparison}{self.bound:g}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A requirement beside what was measured."""

    requirement: Requirement
    measured: float | None
    "None if it was not measured."

    @property
    def is_met(self) -> bool:
        """Whether the run reached it."""
        if self.measured is None:
            return False
        return COMPARISONS[self.requirement.comparison](self.measured, self.requirement.bound)

    def report(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "require": str(self.requirement),
            "measured": self.measured,
            "met": self.is_met,
        }


def read_requirement(text: str) -> Requirement:
    """
    Read `NAME COMPARISON NUMBER`.

    Raises:
        ConfigError: If it has another form, or there is no figure of that name.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is not a name, one of {' '.join(COMPARISONS)} and a number, "
            "as in latency.total.p95<=200"
        )
    name = match["name"]
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no figure {name!r}{hint} There are: {', '.join(sorted(NAMES))}")
    try:
        bound = float(match["number"])
    except ValueError:
        raise ConfigError(f"{text!r}: {match['number']!r} is not a number") from None
    if bound != bound or bound in (float("inf"), float("-inf")):
        raise ConfigError(f"{text!r}: {match['number']} bounds nothing")
    return Requirement(name, match["comparison"], bound)


def judge(requirements: Sequence[Requirement], report: Mapping[str, Any]) -> list[Judgement]:
    """Put what was measured beside what is required."""
    return [Judgement(r, _measured(report, NAMES[r.name])) for r in requirements]


def _measured(report: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = report
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return float(value) if isinstance(value, int | float) else None
