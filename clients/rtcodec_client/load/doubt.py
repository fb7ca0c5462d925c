"""
Whether a run says anything of the relay: how the load was made, and who else used the machine.

Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final

from rtcodec_client.load.conductor import Marks
from rtcodec_client.load.plan import LoadSettings
from rtcodec_client.load.record import RunRecord

LATE_MS: Final = 10.0
"""A generator whose p95 is later than this was busy with itself: frames come in bunches, and what
subscribers measure is their own waiting."""

SKIPPED_SHARE: Final = 0.01
BUSY_CORES: Final = 0.9
"Of one core, for a peer process: its event loop has no more to give."

OTHERS_SHARE: Final = 0.2
"Of the machine's cores that somebody else may use."

_LATENESS: Final = ("feed_lateness", "send_lateness", "loop_lag")
_STAGES: Final = (*_LATENESS, "feed_encode")


def report_generator(settings: LoadSettings, record: RunRecord, marks: Marks) -> dict[str, Any]:
    """Say how the load was made."""
    stages = {name: record.stages[name].report() for name in _STAGES}
    lateness = {
        q: max((v for name in _LATENESS if (v := stages[name][q]) is not None), default=None)
        for q in ("p50", "p95", "p99", "max")
    }
    return {
        "lateness_ms": lateness,
        **{f"{name}_ms": stages[name] for name in _STAGES},
        "skipped_share": _skipped_share(record),
        "cpu_cores": round(_generator_cores(record, marks), 3),
        "processes": settings.processes,
        "died": len(record.deaths),
        "deaths": record.deaths,
    }


def _generator_cores(record: RunRecord, marks: Marks) -> float:
    """Return what the peer processes used within the whole seconds of the soak."""
    if "soak" not in marks.at_us or "leave" not in marks.at_us:
        return 0.0
    first, last = (record.second_of(marks.at_us[phase]) for phase in ("soak", "leave"))
    soak = [record.seconds[s].cpu_s for s in range(first + 1, last) if s in record.seconds]
    return statistics.fmean(soak) if soak else 0.0


def report_machine(report: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """Say who else used the machine that the test ran on."""
    begin, end = marks.soak_begin, marks.soak_end
    if begin is None or end is None or begin.machine is None or end.machine is None:
        return {"others_cores": None, "stolen_cores": None, "relay_wait_cores": None}
    elapsed_s = (end.at_us - begin.at_us) / 1e6
    busy = (end.machine.busy_s - begin.machine.busy_s) / elapsed_s
    ours = report["generator"]["cpu_cores"] + (report["relay"].get("cpu_cores") or 0.0)
    waits = [s.process.wait_s for s in (begin, end) if s.process and s.process.wait_s is not None]
    return {
        "others_cores": round(max(0.0, busy - ours), 3),
        "stolen_cores": round((end.machine.stolen_s - begin.machine.stolen_s) / elapsed_s, 3),
        "relay_wait_cores": round((waits[1] - waits[0]) / elapsed_s, 3) if len(waits) > 1 else None,
    }


def doubts(report: Mapping[str, Any], *, cores: int) -> list[str]:
    """
    Return why a run says little of the relay, if it does.

    Args:
        report: With `generator` and `machine`.
        cores: Of the machine that the test ran on.
    """
    generator, machine = report["generator"], report["machine"]
    reasons: list[str] = list(generator["deaths"])
    if (p95 := generator["lateness_ms"]["p95"]) is not None and p95 > LATE_MS:
        reasons.append(f"its timers or frames were {p95:.1f} ms late (p95), over {LATE_MS:g} ms")
    if (skipped := generator["skipped_share"]) > SKIPPED_SHARE:
        reasons.append(f"it skipped {skipped:.1%} of its frames, over {SKIPPED_SHARE:.0%}")
    n, used = generator["processes"], generator["cpu_cores"]
    if used > BUSY_CORES * n:
        reasons.append(f"its {n} process(es) used {used:.2f} cores, all that {n} can use")
    taken = (machine["others_cores"] or 0.0) + (machine["stolen_cores"] or 0.0)
    if taken > OTHERS_SHARE * cores:
        reasons.append(f"something else used {taken:.2f} of this machine's {cores} cores")
    return reasons


def _skipped_share(record: RunRecord) -> float:
    skipped, published = record.counts["skipped"], record.counts["published"]
    return round(skipped / (skipped + published), 6) if skipped else 0.0
