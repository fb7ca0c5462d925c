"""
What a run found, as one JSON object: the contract's figures and those of a load test.

Pure: records and samples in, JSON values out.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from rtcodec.console import available_cores
from rtcodec.quality import PlanePsnr
from rtcodec_client.load.conductor import Marks
from rtcodec_client.load.doubt import doubts, report_generator, report_machine
from rtcodec_client.load.plan import LoadSettings
from rtcodec_client.load.record import PeerRecord, RunRecord
from rtcodec_client.load.relay_probe import RelaySample, latency_between
from rtcodec_client.load.requirement import LOAD_STAGES
from rtcodec_client.load.tally import Tally

_MIB: Final = 1 << 20


def make_report(
    settings: LoadSettings, record: RunRecord, marks: Marks, samples: Sequence[RelaySample]
) -> dict[str, Any]:
    """Return everything but what runs where: see `requirement.NAMES` for what is in it."""
    subscribers = [p for p in record.steady if p.spec.role == "subscriber" and p.figures]
    soak_s = marks.soak_s
    report: dict[str, Any] = {
        "frames": _frames(record, marks),
        "latency_ms": {
            stage: record.stages[stage].report() for stage in LOAD_STAGES if stage in record.stages
        },
        "psnr_db": _relay_psnr(marks),
        "psnr_source_db": _source_psnr(subscribers),
        **_rates(subscribers, settings, soak_s),
        "freezes": _freezes(subscribers, soak_s),
        "joins": _joins(record, settings),
        "churn": _churn(record, settings, soak_s),
        "transport": _transport(record),
        "relay": _relay(marks, samples),
        "relay_latency_ms": _relay_latency(marks),
        "generator": report_generator(settings, record, marks),
        "soak_s": round(soak_s, 3),
        "interrupted": marks.is_interrupted,
        "settings": _settings(settings),
    }
    report["machine"] = report_machine(report, marks)
    reasons = doubts(report, cores=available_cores())
    report["generator"] |= {"limited": bool(reasons), "reasons": reasons}
    return report


def _frames(record: RunRecord, marks: Marks) -> dict[str, Any]:
    """Return the books of the whole run: sent = units + lost + unfinished."""
    counts = record.counts
    first, last = marks.baseline, marks.after or marks.soak_end
    relay: dict[str, int | None] = dict.fromkeys(("received", "encoded", "dropped", "sent"))
    reasons: dict[str, int] = {}
    if first is not None and last is not None:
        before, now = first.frames(), last.frames()
        relay = {name: now[name] - before[name] for name in relay}
        was = Counter(first.dropped())
        reasons = {r: n - was[r] for r, n in last.dropped().items() if n - was[r]}
    units, lost = counts["units"], counts["lost"]
    received, dropped, sent = relay["received"], relay["dropped"], relay["sent"]
    return {
        "published": counts["published"],
        "skipped": counts["skipped"],
        **relay,
        "dropped_by_reason": reasons,
        "units": units,
        "decoded": counts["decoded"],
        "unstamped": counts["unstamped"],
        "lost": lost,
        "lost_by_reason": {
            name.removeprefix("lost_"): n for name, n in counts.items() if name.startswith("lost_")
        },
        "unfinished": None if sent is None else sent - units - lost,
        "dropped_share": _dropped_share(received, dropped, reasons),
        "lost_share": _share(lost, units + lost),
    }


def _dropped_share(
    received: int | None, dropped: int | None, reasons: dict[str, int]
) -> float | None:
    """Return the share of frames dropped of those that somebody watched."""
    if received is None or dropped is None:
        return None
    unwatched = reasons.get("unwatched", 0)
    return _share(dropped - unwatched, received - unwatched)


def _rates(
    subscribers: Sequence[PeerRecord], settings: LoadSettings, soak_s: float
) -> dict[str, Any]:
    if not subscribers or not soak_s:
        return {"fps": None, "fps_share": None, "fps_least": None, "kbps": None, "kbps_total": None}
    fps = [peer.figures["soak_units"] / soak_s for peer in subscribers]
    kbps = [peer.figures["soak_bytes"] * 8e-3 / soak_s for peer in subscribers]
    return {
        "fps": round(statistics.fmean(fps), 2),
        "fps_share": round(statistics.fmean(fps) / settings.feed.fps, 4),
        "fps_least": round(min(fps), 2),
        "kbps": round(statistics.fmean(kbps), 1),
        "kbps_total": round(sum(kbps), 1),
    }


def _freezes(subscribers: Sequence[PeerRecord], soak_s: float) -> dict[str, Any]:
    frozen_ms = sum(peer.figures["frozen_ms"] for peer in subscribers)
    watched_ms = len(subscribers) * soak_s * 1000
    return {
        "count": sum(peer.figures["freezes"] for peer in subscribers),
        "share": _share(frozen_ms, watched_ms),
        "longest_ms": round(max((p.figures["longest_gap_ms"] for p in subscribers), default=0), 1),
        "subscribers": sum(peer.figures["freezes"] > 0 for peer in subscribers),
    }


def _joins(record: RunRecord, settings: LoadSettings) -> dict[str, Any]:
    states = Counter(peer.state for peer in record.steady)
    times = {"publisher": Tally(), "subscriber": Tally()}
    for peer in record.steady:
        first_ms = peer.times.get("first_frame")
        if first_ms is not None:
            times[peer.spec.role].add(first_ms)
    return {
        "asked": settings.n_peers,
        "ok": states["in"] + states["left"] + states["lost"],
        "failed": settings.n_peers - states["in"] - states["left"] - states["lost"],
        "lost": states["lost"],
        "publisher_ms": times["publisher"].report(),
        "subscriber_ms": times["subscriber"].report(),
        "reasons": _reasons(peer.reason for peer in record.steady),
    }


def _churn(record: RunRecord, settings: LoadSettings, soak_s: float) -> dict[str, Any] | None:
    if not settings.churn_per_s:
        return None
    churn = record.churn
    return {
        "started": churn["started"],
        "cycles": churn["cycles"],
        "failed": churn["failed"],
        "held_back": churn["held_back"],
        "cycles_per_s": round(churn["cycles"] / soak_s, 2) if soak_s else None,
        "join_ms": record.churn_joins.report(),
        "reasons": dict(record.churn_reasons),
    }


def _transport(record: RunRecord) -> dict[str, int]:
    """Add up what the peers of the soak say of packets."""
    total: Counter[str] = Counter()
    for peer in record.steady:
        for name in ("packets", "packets_lost", "packets_recovered", "nacks", "plis"):
            total[name] += peer.figures.get(name, 0)
        for name, count in peer.figures.items():
            if name.startswith(("up_", "down_")):
                total[f"link_{name}"] += count
    return dict(total)


def _relay(marks: Marks, samples: Sequence[RelaySample]) -> dict[str, Any]:
    begin, end = marks.soak_begin, marks.soak_end
    if begin is None or end is None:
        return {"seen": False}
    soak = [sample for sample in samples if begin.at_us <= sample.at_us <= end.at_us]
    lags = [lag for sample in soak if (lag := sample.loop_lag_ms) is not None]
    return {
        "seen": True,
        "others": max((sample.n_foreign_rooms for sample in samples), default=0),
        "loop_lag_ms": _lags(lags),
        "sessions_left": None if marks.after is None else _sessions_left(marks),
        **_relay_process(marks, soak, samples),
    }


def _sessions_left(marks: Marks) -> int:
    assert marks.after is not None
    before = marks.baseline.n_sessions if marks.baseline is not None else 0
    return marks.after.n_sessions - before


def _relay_process(
    marks: Marks, soak: Sequence[RelaySample], samples: Sequence[RelaySample]
) -> dict[str, Any]:
    seen = [(s.at_us / 60e6, s.process) for s in soak if s.process is not None]
    if len(seen) < 2:
        return {"process": None}
    minutes = [at for at, _ in seen]
    looks = [look for _, look in seen]
    slope = float(np.polyfit(minutes, [look.rss_bytes / _MIB for look in looks], 1)[0])
    cpu_s = looks[-1].cpu_s - looks[0].cpu_s
    out: dict[str, Any] = {
        "process": "here",
        "cpu_cores": round(cpu_s / (minutes[-1] - minutes[0]) / 60, 3),
        "rss_slope_mb_per_min": round(slope, 3),
        "rss_soak_mb": [round(looks[0].rss_bytes / _MIB, 1), round(looks[-1].rss_bytes / _MIB, 1)],
    }
    before = marks.baseline.process if marks.baseline is not None else None
    after = marks.after.process if marks.after is not None else None
    if before is not None and after is not None:
        everything = [sample.process for sample in samples if sample.process is not None]
        out["rss_growth_mb"] = round((after.rss_bytes - before.rss_bytes) / _MIB, 2)
        out["fds"] = _course([before.n_fds, after.n_fds], [p.n_fds for p in everything])
        out["fds_left"] = _difference(after.n_fds, before.n_fds)
        threads = [p.n_threads for p in everything]
        out["threads"] = _course([before.n_threads, after.n_threads], threads)
        out["threads_left"] = after.n_threads - before.n_threads
    return out


def _relay_latency(marks: Marks) -> dict[str, Any]:
    if marks.soak_begin is None or marks.soak_end is None:
        return {}
    return latency_between(marks.soak_begin, marks.soak_end)


def _relay_psnr(marks: Marks) -> dict[str, float | None]:
    """Return the relay's own measurements within the soak."""
    begin, end = marks.soak_begin, marks.soak_end
    out: dict[str, float | None] = dict.fromkeys(("y", "u", "v", "yuv"))
    if begin is None or end is None:
        return out
    name = "rtcodec_psnr_measurements_total"
    n = end.metric_sum(name) - begin.metric_sum(name)
    for plane in out:
        last = end.metric("rtcodec_psnr_db_sum", plane=plane)
        if n > 0 and last is not None:
            before = begin.metric("rtcodec_psnr_db_sum", plane=plane) or 0.0
            out[plane] = round((last - before) / n, 3)
    return out


def _source_psnr(subscribers: Iterable[PeerRecord]) -> dict[str, float | None]:
    """Return the mean over the pictures that subscribers compared with what was drawn."""
    seen = [psnr for peer in subscribers for psnr in peer.figures["psnr_source"]]
    if not seen:
        return dict.fromkeys(("y", "u", "v", "yuv"))
    y, u, v = (statistics.fmean(column) for column in zip(*seen, strict=True))
    return {name: round(value, 3) for name, value in PlanePsnr(y, u, v).as_dict().items()}


def _settings(settings: LoadSettings) -> dict[str, Any]:
    return {
        "publishers": settings.publishers,
        "subscribers_per_publisher": settings.subscribers,
        "decoding": settings.n_decoding,
        "ramp_s": settings.ramp_s,
        "duration_s": settings.duration_s,
        "churn_per_s": settings.churn_per_s,
        "churn_roles": list(settings.churn_roles),
        "feed": asdict(settings.feed),
        "impairment": {
            "up": asdict(settings.up),
            "down": asdict(settings.down),
            "steps": [asdict(step) for step in settings.steps],
            "of": list(settings.impaired_roles),
            "seed": settings.seed,
        }
        if settings.is_impaired
        else None,
    }


def _lags(lags: Sequence[float]) -> dict[str, float | None]:
    if not lags:
        return dict.fromkeys(("p50", "p95", "max"))
    p50, p95 = np.percentile(lags, (50, 95))
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "max": round(max(lags), 3)}


def _course(ends: Sequence[int | None], between: Sequence[int | None]) -> dict[str, int | None]:
    peak = max((n for n in between if n is not None), default=None)
    return {"before": ends[0], "peak": peak, "after": ends[1]}


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def _share(part: float, whole: float | None) -> float | None:
    return round(part / whole, 6) if whole else None


def _reasons(reasons: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(reason for reason in reasons if reason is not None))
