"""
Send over ways whose rate changes, with and without congestion control, on a virtual clock.

    python -m benchmarks.congestion [--seeds 8] [--target-kbps 800]

Steps of 1 Mb/s to 300 kb/s and back, and ways that lose or delay packets whatever is sent. Frames
are sizes; packets, NACK, feedback, estimator, pacer and rate controller are the product's own
(`rtcodec.evaluation.rate_call`). Writes `benchmarks/congestion.json` and `docs/congestion.png`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from math import nan
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from benchmarks.entropy import machine
from benchmarks.rate_distortion import ROOT
from rtcodec.console import Progress
from rtcodec.evaluation.bottleneck import Bottleneck, Lane, RateStep
from rtcodec.evaluation.rate_call import RateCall, Steered, StreamOutcome, share

SECONDS: Final = 70
STEP_S: Final = (20, 40)
WIDE_BPS, THIN_BPS = 1_000_000, 300_000
STEPS: Final = (
    RateStep(at_us=0, bps=WIDE_BPS),
    RateStep(at_us=STEP_S[0] * 1_000_000, bps=THIN_BPS),
    RateStep(at_us=STEP_S[1] * 1_000_000, bps=WIDE_BPS),
)
STEADY: Final = (RateStep(at_us=0, bps=WIDE_BPS),)
CALM_MS: Final = 150.0
"A frame that takes no longer counts as in time: the way alone takes 25, its packets 14 to 50."

SHARED_S: Final = 120
RIVALS: Final = ((Steered.TWCC, Steered.TWCC), (Steered.TWCC, Steered.REMB))

MODES: Final = (Steered.OFF, Steered.REMB, Steered.TWCC, Steered.TWCC_UNPACED)
CASES: Final[dict[str, dict[str, Any]]] = {
    "steps": {"steps": STEPS},
    "steps, 2 % loss": {"steps": STEPS, "loss": 0.02},
    "steps, 200 ms round trip": {"steps": STEPS, "delay_us": 100_000},
    "steps, queue of 1 s": {"steps": STEPS, "queue_us": 1_000_000},
    "steps, queue of 50 ms": {"steps": STEPS, "queue_us": 50_000},
    "steady, 20 ms jitter": {"steps": STEADY, "jitter_us": 20_000},
    "steady, 5 % loss": {"steps": STEADY, "loss": 0.05},
    "steady, 20 % loss": {"steps": STEADY, "loss": 0.20},
}


def main() -> int:
    """Send, write the files, print a table."""
    args = _arguments()
    facts = machine()
    target_bps = args.target_kbps * 1000
    rows, shown = [], {}
    with Progress("streams", len(CASES) * len(MODES) * args.seeds) as bar:
        for case, way in CASES.items():
            for mode in MODES:
                outcomes = []
                for seed in range(1, args.seeds + 1):
                    call = RateCall(**way, mode=mode, target_bps=target_bps, seed=seed)
                    outcomes.append(call.run(SECONDS))
                    bar.step(f"{case}, {mode}")
                row = {"case": case, "mode": mode, **_mean(outcomes, target_bps)}
                rows.append(row)
                print(_line(row), flush=True)
                if case == "steps":
                    shown[mode] = outcomes[0]
    fairness = [_share(*modes, seed) for modes in RIVALS for seed in range(1, args.seeds + 1)]
    for row in fairness:
        print(f"{row['first']} beside {row['second']}: {row['kbps']} kb/s", flush=True)
    result = {
        "command": f"python -m benchmarks.congestion --seeds {args.seeds} "
        f"--target-kbps {args.target_kbps}",
        **facts,
        "seconds": SECONDS,
        "streams": rows,
        "sharing": fairness,
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(shown, args.plot)
    return 0


def _share(first: str, second: str, seed: int) -> dict[str, Any]:
    """Return what two streams get of one way, the second from ten seconds on."""
    way: Bottleneck[Any] = Bottleneck(STEADY, delay_us=25_000, jitter_us=2_000, seed=seed)
    calls = [
        RateCall(
            STEADY, mode=mode, target_bps=900_000, seed=seed + index, lane=Lane(way),
            start_us=index * 10_000_000,
        )
        for index, mode in enumerate((first, second))
    ]  # fmt: skip
    share(calls, SHARED_S)
    kbps = [
        round(fmean(s.arrived_bps for s in call.outcome.seconds[-SHARED_S // 2 :]) / 1000)
        for call in calls
    ]
    whole = [round(call.outcome.whole / call.outcome.frames, 4) for call in calls]
    return {"first": first, "second": second, "seed": seed, "kbps": kbps, "whole_share": whole}


def figures(outcome: StreamOutcome, target_bps: int) -> dict[str, float]:
    """Return what is worth keeping of one stream."""
    latencies = sorted(us / 1000 for _, us in outcome.latencies_us)

    def quantile(share: float) -> float:
        return latencies[min(int(share * len(latencies)), len(latencies) - 1)]

    used = [
        min(second.arrived_bps, second.way_bps) / min(second.way_bps, 1.15 * target_bps)
        for second in outcome.seconds[2:]
    ]
    thin_s, wide_s = STEP_S
    return {
        "whole_share": outcome.whole / outcome.frames,
        "freezes": outcome.freezes.freeze_count,
        "frozen_s": outcome.freezes.total_freeze_us / 1e6,
        "latency_p50_ms": quantile(0.5),
        "latency_p95_ms": quantile(0.95),
        "latency_p99_ms": quantile(0.99),
        "late_share": 1 - sum(ms <= CALM_MS for ms in latencies) / outcome.frames,
        "utilisation": min(1.0, fmean(used)),
        "calm_after_s": _calm_after(outcome, thin_s, wide_s),
        "wide_after_s": _wide_after(outcome, wide_s, 0.9 * target_bps),
        "lost_share": outcome.lost / outcome.packets,
        "feedback_kbps": outcome.feedback_bytes * 8 / 1000 / SECONDS,
    }


def _calm_after(outcome: StreamOutcome, since_s: int, until_s: int) -> float:
    """Return the seconds after which nine of ten frames of a second come whole and in time."""
    for second in range(since_s, until_s):
        in_time = sum(
            second * 10**6 <= captured_us < (second + 1) * 10**6 and us <= CALM_MS * 1000
            for captured_us, us in outcome.latencies_us
        )
        if in_time >= 27:
            return second - since_s
    return until_s - since_s


def _wide_after(outcome: StreamOutcome, since_s: int, wanted_bps: float) -> float:
    """Return the seconds after which the target is back."""
    for second, figures_of in enumerate(outcome.seconds[since_s:]):
        if figures_of.target_bps >= wanted_bps:
            return second
    return len(outcome.seconds) - since_s


def _mean(outcomes: Sequence[StreamOutcome], target_bps: int) -> dict[str, float]:
    made = [figures(outcome, target_bps) for outcome in outcomes]
    return {key: round(fmean(one[key] for one in made), 4) for key in made[0]}


def plot(shown: dict[str, StreamOutcome], path: Path) -> None:
    """Draw rates and latency over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    rates, latency = figure.subplots(2, 1, sharex=True)
    times = range(SECONDS)
    for mode in (Steered.OFF, Steered.REMB, Steered.TWCC):
        outcome = shown[mode]
        rates.plot(times, [s.sent_bps / 1000 for s in outcome.seconds], label=f"sent, {mode}")
        by_second: list[list[float]] = [[] for _ in times]
        for captured_us, us in outcome.latencies_us:
            by_second[min(captured_us // 10**6, SECONDS - 1)].append(us / 1000)
        medians = [median(values) if values else nan for values in by_second]
        latency.plot(times, medians, marker=".", label=mode)
    way = [s.way_bps / 1000 for s in shown[Steered.TWCC].seconds]
    rates.step(times, way, where="mid", color="black", linestyle=":", label="the way")
    rates.set_ylabel("kb/s")
    latency.set_ylabel("median latency of whole frames, ms")
    latency.set_xlabel("s")
    for panel in (rates, latency):
        panel.grid(alpha=0.25)
        panel.set_ylim(bottom=0)
        panel.legend(fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['case']:26} {row['mode']:16} whole {row['whole_share']:6.1%}"
        f"  freezes {row['freezes']:5.1f} ({row['frozen_s']:5.1f} s)"
        f"  p50 {row['latency_p50_ms']:4.0f}  p95 {row['latency_p95_ms']:4.0f}"
        f"  p99 {row['latency_p99_ms']:4.0f} ms  late {row['late_share']:5.1%}"
        f"  used {row['utilisation']:4.0%}  calm after {row['calm_after_s']:4.1f} s"
        f"  wide after {row['wide_after_s']:4.1f} s  lost {row['lost_share']:5.1%}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8, help="networks of a kind (default 8)")
    parser.add_argument("--target-kbps", type=int, default=800, help="the operator's (default 800)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "congestion.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "congestion.png")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
