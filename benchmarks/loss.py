"""
Make calls over lossy networks: our models beside x264 and VP8, each with its own recovery.

    python -m benchmarks.loss [CLIP] [--seconds 6] [--kbps 400] [--codecs x264-veryfast vp8 s128]

A virtual clock, seeded networks, real bitstreams and packets: loss of 0 to 30 %, at random and in
bursts, round trips of 60 and 200 ms. Every codec is set to the same rate without loss. `s128+4` is
`s128` with one parity for every four payloads of a frame, its bits counted. Writes
`benchmarks/loss.json` and `docs/loss.png`. Skips itself where the clip is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.entropy import machine
from benchmarks.rate_distortion import ROOT
from rtcodec.bundle import find_bundle
from rtcodec.console import Progress
from rtcodec.engine.loader import open_engine
from rtcodec.evaluation.call import Call, CallCodec, ping_pong
from rtcodec.evaluation.call_latent import LatentCall
from rtcodec.evaluation.call_rivals import VP8, X264
from rtcodec.evaluation.clip import Clip, read_clip
from rtcodec.evaluation.network import Network

CLIP = ROOT.parent / "shared" / "data" / "dev" / "video" / "call_two_people_640x360_90f.mkv"
RIVALS = {codec.name: codec for codec in (X264, VP8)}
LOSSES = (0.0, 0.01, 0.03, 0.05, 0.10, 0.20, 0.30)
RTTS_MS = (60, 200)
BURST_PACKETS = 4.0
PANELS = (
    ("psnr_db", "PSNR 6:1:1, dB", 1.0),
    ("frozen_share", "frozen, % of time", 100.0),
    ("recovery_mean_ms", "mean recovery, ms", 1.0),
    ("kbps", "kb/s, retransmissions included", 1.0),
)
LOG_SCALE = ("recovery_mean_ms",)


def main() -> int:
    """Make the calls, write the files, print a table."""
    args = _arguments()
    if not args.clip.is_file():
        print(f"skipped: no clip {args.clip}", file=sys.stderr)
        return 0
    source = read_clip(args.clip)
    clip = ping_pong(source, int(args.seconds * source.frame_rate))
    networks = list(_networks(args.losses, args.rtts_ms))
    facts = machine()  # before the calls: the commit that they are made with
    rows = []
    settings = {}
    with Progress("calls", len(args.codecs) * len(networks) * args.seeds) as bar:
        for codec in _codecs(args.codecs):
            settings[codec.name] = calibrate(codec, clip, args.kbps)
            for network in networks:
                rows.append(_measure(codec, clip, settings[codec.name], network, args.seeds, bar))
                print(_line(rows[-1]), flush=True)
    result = {
        "command": f"python -m benchmarks.loss {clip.name} --seconds {args.seconds:g} "
        f"--kbps {args.kbps:g} --seeds {args.seeds}",
        **facts,
        "frames": len(clip.frames),
        "frame_rate": float(clip.frame_rate),
        "size": [clip.width, clip.height],
        "settings": settings,
        "calls": rows,
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(rows, args.plot, title=f"{clip.name}, {args.kbps:g} kb/s without loss")
    return 0


def calibrate(codec: CallCodec, clip: Clip, kbps: float) -> float:
    """Return the setting whose rate without loss is closest to *kbps*."""
    network = Network()
    rates: dict[int, float] = {}

    def rate(index: int) -> float:
        if index not in rates:
            outcome = Call(codec, clip, codec.settings[index], network, seed=0).run()
            rates[index] = outcome.sent_bytes * 8 / 1000 / float(clip.seconds)
        return rates[index]

    low, high = 0, len(codec.settings) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rate(middle) < kbps else (low, middle)
    return codec.settings[min((low, high), key=lambda index: abs(rate(index) - kbps))]


def _measure(
    codec: CallCodec, clip: Clip, setting: float, network: Network, seeds: int, bar: Progress
) -> dict[str, Any]:
    """Return the mean figures of one codec on one network."""
    outcomes = []
    for seed in range(1, seeds + 1):
        outcomes.append(Call(codec, clip, setting, network, seed=seed).run().as_dict())
        bar.step(f"{codec.name} {network.loss:.0%}")
    mean = {key: round(sum(o[key] for o in outcomes) / seeds, 4) for key in outcomes[0]}
    facts = asdict(network)
    del facts["outages_us"]
    return {"codec": codec.name, **facts, **mean}


def _networks(losses: Sequence[float], rtts_ms: Sequence[int]) -> Iterator[Network]:
    for rtt_ms in rtts_ms:
        for burst_packets in (1.0, BURST_PACKETS):
            for loss in losses:
                if loss or burst_packets == 1.0:
                    yield Network(rtt_us=rtt_ms * 1000, loss=loss, burst_packets=burst_packets)


def _codecs(names: Sequence[str]) -> Iterator[CallCodec]:
    for name in names:
        if name in RIVALS:
            yield RIVALS[name]
            continue
        model, _, parity_every = name.partition("+")  # such as s128+4
        bundle = find_bundle(model)
        engine = open_engine("auto", bundle, threads=1)
        try:
            yield LatentCall(
                bundle, engine, name=name, parity_every=int(parity_every) if parity_every else None
            )
        finally:
            engine.close()


def plot(rows: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw each figure against loss, one column for each way of losing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ways = sorted({(row["rtt_us"], row["burst_packets"]) for row in rows})
    names = list(dict.fromkeys(row["codec"] for row in rows))
    figure = Figure(figsize=(2.9 * len(ways) + 0.6, 9.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(PANELS), len(ways), sharex=True, sharey="row", squeeze=False)
    for column, way in enumerate(ways):
        for line, (key, label, factor) in enumerate(PANELS):
            panel = axes[line][column]
            log = key in LOG_SCALE
            for name in names:
                points = [(x, y) for x, y in _curve(rows, name, way, key) if y or not log]
                panel.plot(
                    [100 * x for x, _ in points],
                    [factor * y for _, y in points],
                    marker="o",
                    markersize=3.5,
                    label=name,
                )
            panel.grid(alpha=0.25)
            if log:
                panel.set_yscale("log")
            if column == 0:
                panel.set_ylabel(label)
        axes[0][column].set_title(f"{way[0] // 1000} ms, {_pattern(way[1])}", fontsize=10)
        axes[-1][column].set_xlabel("packets lost, %")
    axes[0][0].legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, metadata={"Software": None})


def _curve(
    rows: Sequence[dict[str, Any]], name: str, way: tuple[int, float], key: str
) -> list[tuple[float, float]]:
    """Return (loss, figure) of one codec; without loss bursts are no different."""
    return [
        (row["loss"], row[key])
        for row in rows
        if row["codec"] == name
        and row["rtt_us"] == way[0]
        and (row["burst_packets"] == way[1] or not row["loss"])
    ]


def _pattern(burst_packets: float) -> str:
    return "at random" if burst_packets <= 1 else f"bursts of {burst_packets:g}"


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['codec']:14} {row['rtt_us'] // 1000:4} ms {_pattern(row['burst_packets']):11}"
        f" {row['loss']:4.0%}  {row['psnr_db']:6.2f} dB  p5 {row['psnr_p5_db']:6.2f}"
        f"  clean {row['clean_share']:4.0%}  freezes {row['freezes']:5.1f}"
        f"  frozen {row['frozen_share']:4.0%}  recovery {row['recovery_mean_ms']:5.0f} ms"
        f"  {row['kbps']:6.1f} kb/s ({row['rtx_kbps']:.1f} again)  {row['keyframes']:g} key"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP, metavar="CLIP")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a call (default 6)")
    parser.add_argument("--kbps", type=float, default=400.0, help="without loss (default 400)")
    parser.add_argument("--seeds", type=int, default=1, help="networks of a kind (default 1)")
    parser.add_argument("--codecs", nargs="+", default=[*RIVALS, "s128"], metavar="NAME")
    parser.add_argument("--losses", nargs="+", type=float, default=LOSSES, metavar="SHARE")
    parser.add_argument("--rtts-ms", nargs="+", type=int, default=RTTS_MS, metavar="MS")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "loss.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "loss.png")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
