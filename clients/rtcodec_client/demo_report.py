"""
The demo's settings and its `report.json`: the watcher's report, completed.

Pure: values in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo shows and where it writes."""

    input: str
    "As of `rtcodec publish`."

    out: Path
    "Folder for the results; made if missing."

    seconds: float | None = None
    frame_rate: float | None = None
    size: tuple[int, int]
    "Of the frames, so that everything is warm when the first one comes."

    duration_s: float | None = None
    "How long the input lasts, if that is known."

    model: str = "s128"
    engine: str = "auto"
    codec: str = "vp8"
    bitrate_kbps: float | None = None
    qp: int | None = None
    relay_threads: int = 1
    watch_threads: int = 1
    port: int = 0
    "Of the relay; 0 takes a free one."


GOALS: dict[str, tuple[str, str, float]] = {
    "publish_to_decoded_p95_ms": ("latency_ms", "p95", 80.0),
    "relay_added_p50_ms": ("relay_latency_ms", "p50", 30.0),
    "relay_added_p99_ms": ("relay_latency_ms", "p99", 60.0),
}
"""
Name -> section of the report, percentile of its stage `total`, figure to reach
for 640x360 at 30 frames per second on 2 cores with nothing else running.
# design 10
"""

DROPPED_SHARE_GOAL = 0.01


def demo_report(
    watched: dict[str, Any],
    published: dict[str, Any],
    options: DemoOptions,
    *,
    cores: dict[str, float],
) -> dict[str, Any]:
    """
    Complete the watcher's report with what the publisher counted.

    Args:
        watched: What `rtcodec watch --json` prints.
        published: What `rtcodec publish --json` prints; may be empty.
        options: What was asked for.
        cores: Processor cores that relay, watcher and publisher used; may be empty.
    """
    frames = {**published.get("frames", {}), **watched["frames"]}
    report = {**watched, "frames": frames}
    report["publisher"] = {key: value for key, value in published.items() if key != "frames"}
    report["settings"] = {
        "input": options.input,
        "width": options.size[0],
        "height": options.size[1],
        "codec": options.codec,
        "qp": options.qp,
        "relay_threads": options.relay_threads,
        "watch_threads": options.watch_threads,
    }
    report["cpu_cores"] = {name: round(used, 3) for name, used in cores.items()}
    report["accounts"] = accounts(frames)
    report["goals"] = goals(report)
    return report


def accounts(frames: dict[str, Any]) -> dict[str, Any]:
    """
    Say whether every frame is accounted for.

    Returns:
        `relay`: received = encoded + dropped. `subscriber`: sent = decoded +
        lost. Null where a number is missing.
    """
    received, encoded, dropped = (frames.get(key) for key in ("received", "encoded", "dropped"))
    relay = None
    if received is not None and encoded is not None and dropped is not None:
        relay = received == encoded + dropped
    return {"relay": relay, "subscriber": frames["sent"] == frames["decoded"] + frames["lost"]}


def goals(report: dict[str, Any]) -> dict[str, Any]:
    """Put the figures of design section 10 that apply next to what was measured."""
    out: dict[str, Any] = {}
    for name, (section, percentile, goal) in GOALS.items():
        total = report.get(section, {}).get("total") or {}
        out[name] = {"measured": total.get(percentile), "reach": goal}
    received, dropped = report["frames"].get("received"), report["frames"].get("dropped")
    share = None
    if received is not None and dropped is not None:
        unwatched = report["frames"].get("dropped_by_reason", {}).get("unwatched", 0)
        if received > unwatched:
            share = (dropped - unwatched) / (received - unwatched)
    out["dropped_share"] = {
        "measured": None if share is None else round(share, 5),
        "reach": DROPPED_SHARE_GOAL,
    }
    return out


def summary_lines(report: dict[str, Any]) -> list[str]:
    """Say what the report says, for people."""
    frames, total = report["frames"], report["latency_ms"].get("total")
    psnr, source = report["psnr_db"], report["psnr_source_db"]
    lines = [
        "frames     "
        + ", ".join(
            f"{frames[name]} {name}"
            for name in ("published", "received", "encoded", "dropped", "sent", "decoded", "lost")
            if frames.get(name) is not None
        )
        + (f"; {frames['skipped']} skipped by a late publisher" if frames.get("skipped") else ""),
        f"rate       {report['fps']:.1f} frames/s, {report['kbps']:,.0f} kb/s",
    ]
    reasons = {**frames.get("dropped_by_reason", {}), **frames.get("lost_by_reason", {})}
    if reasons:
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        lines.insert(1, f"           because: {said}")
    if psnr["yuv"] is not None:
        planes = ", ".join(f"{plane.upper()} {psnr[plane]:.2f}" for plane in "yuv")
        lines.append(f"quality    {psnr['yuv']:.2f} dB against what the relay received ({planes})")
    if source["yuv"] is not None:
        lines.append(f"           {source['yuv']:.2f} dB against the source clip")
    if total is not None:
        lines.append(
            f"latency    publish to decoded {total['p50']:.1f} ms (p50), {total['p95']:.1f} ms "
            f"(p95), {total['p99']:.1f} ms (p99)"
        )
    added = report["relay_latency_ms"].get("total")
    if added and added.get("p50") is not None:
        lines.append(f"           of it in the relay {added['p50']:.1f} ms (p50)")
    if report.get("cpu_cores"):
        used = ", ".join(f"{name} {share:.2f}" for name, share in report["cpu_cores"].items())
        lines.append(f"processor  cores used: {used}")
    return lines
