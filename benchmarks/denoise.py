"""
What denoising in the encoder saves, against denoisers behind the decoder and before the encoder.

    python -m benchmarks.denoise [--only call_,gb82_] [--sigmas 5,10,15,25,sensor] [--frames 5]

Noise is added to every clip and still of the development data, or to their middles where they are
larger than `--side`; real `.rtc` files are made of them at several qp, and what decodes is compared
with the clean source: 6:1:1 PSNR, BD-rate of `--denoise auto`. `after` are denoisers on the output
of the plain codec, `before filter` is the best of FFmpeg's on its input; ours, told the level, and
FFmpeg's filters, each at the strength that suits best. `clean` is the codec on the source without
noise: what a denoiser that knew the picture would save.
Where curves share no range of quality there is no BD-rate: then the other's best file is
compared with ours of its quality, or with our coarsest one if that is better still.

Writes `benchmarks/denoise.json` and `docs/denoise.png`. Skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._noise import filtered, gaussian, sensor
from benchmarks.entropy import machine
from benchmarks.rate_distortion import commit
from rtcodec.codec.denoiser import AUTO, Denoiser, looked_ahead
from rtcodec.console import Progress
from rtcodec.evaluation.bd_rate import RatePoint, bd_rate, rising
from rtcodec.evaluation.clip import Clip, read_clip
from rtcodec.evaluation.latent import Latent, open_latent_codec
from rtcodec.quality import mean_psnr, picture_psnr
from rtcodec.types import Planes

ROOT = Path(__file__).parents[1]
QPS = (50, 44, 38, 32, 26, 20, 14, 8)
"Close to each other: the kind of frame that is coded changes between some."
FILTERS = ("nlmeans", "bm3d", "fftdnoiz", "atadenoise")
"FFmpeg's, of those that PyAV brings along: no hqdn3d, whose licence is another."

CLEAN_FRAMES = 24
"Of each clip that is looked at without noise."

SHOWN = ("gb82_girl", "call_news")
"In the plot."

SENSOR = "sensor"
"Stands for noise as of a sensor, in place of a standard deviation."

SENSOR_GAIN = 2.0

Cure = Callable[[Sequence[Planes]], list[Planes]]


@dataclass(frozen=True, slots=True)
class Noisy:
    """A clip under noise, and without."""

    clip: Clip
    clean: tuple[Planes, ...]
    sigma: float
    "Standard deviation of the noise in luma."


def cures(noisy: Noisy) -> dict[str, list[Cure]]:
    """Denoisers by name, each at a few strengths."""
    sigma = noisy.sigma
    is_video = len(noisy.clip.frames) > 1
    ours = [partial(cured, noise=share * sigma) for share in (0.5, 1)]
    strengths = {
        "nlmeans": [f"s={max(1.0, share * sigma):g}" for share in (0.4, 0.8)],
        # its scale is its own: sigma=45 suits noise of 15
        "bm3d": [f"sigma={share * sigma:g}:block=16:bstep=4" for share in (1, 3)],
        "fftdnoiz": [f"sigma={share * sigma:g}:block=16:overlap=0.75" for share in (1, 2)],
    }
    if is_video:
        levels = [min(0.3, share * sigma) for share in (0.005, 0.015)]
        strengths["atadenoise"] = [
            ":".join(f"{k}a={a:g}:{k}b={2 * a:g}" for k in range(3)) + ":s=9" for a in levels
        ]
    found: dict[str, list[Cure]] = {"ours": list(ours)}
    for name, ways in strengths.items():
        found[name] = [partial(filtered, name=name, arguments=each) for each in ways]
    return found


def cured(frames: Sequence[Planes], noise: float | None) -> list[Planes]:
    """Return a clip as our denoiser leaves it, told the noise or not."""
    known = None if noise is None else (noise, noise, noise)
    denoiser = Denoiser(AUTO, thorough=True, noise=known)
    return [denoiser.clean(planes) for _, planes in looked_ahead(iter(enumerate(frames)), denoiser)]


def stream_ms(frames: Sequence[Planes]) -> float:
    """Return the median of the time that cleaning takes a stream, in ms of one core."""
    denoiser = Denoiser(AUTO, thorough=False)
    spent_s = []
    for planes in frames:
        started_s = time.thread_time()
        denoiser.clean(planes)
        spent_s.append(time.thread_time() - started_s)
    return 1000 * float(np.median(spent_s))


def quality(clean: Sequence[Planes], shown: Sequence[Planes]) -> float:
    """Return the 6:1:1 PSNR of a clip in dB."""
    return mean_psnr(map(picture_psnr, clean, shown)).yuv


def cropped(source: Clip, side: int) -> Clip:
    """Return the middle of a clip, of even width and height and at most *side* of each."""
    height, width = (min(side, n // 2 * 2) for n in (source.height, source.width))
    top, left = (source.height - height) // 4 * 2, (source.width - width) // 4 * 2

    def cut(plane: NDArray[np.uint8], share: int) -> NDArray[np.uint8]:
        rows = slice(top // share, (top + height) // share)
        return plane[rows, left // share : (left + width) // share].copy()

    frames = tuple(Planes(cut(p.y, 1), cut(p.u, 2), cut(p.v, 2)) for p in source.frames)
    return replace(source, frames=frames)


def left_alone(source: Clip) -> dict[str, Any]:
    """Say how many pictures without noise `--denoise auto` changes, and what most it measures."""
    denoiser = Denoiser(AUTO, thorough=True)
    changed, most = 0, 0.0
    for planes in source.frames:
        changed += denoiser.clean(planes) is not planes
        most = max(most, denoiser.noise[0])
    return {"pictures": len(source.frames), "changed": changed, "measured": round(most, 2)}


def curve(codec: Latent, noisy: Noisy, frames: Sequence[Planes]) -> list[RatePoint]:
    """Code *frames* and compare what decodes with the clean source."""
    return curves(codec, noisy, frames, {})["plain"]


def curves(
    codec: Latent, noisy: Noisy, frames: Sequence[Planes], after: dict[str, list[Cure]]
) -> dict[str, list[RatePoint]]:
    """Code *frames*; also with the best strength of each cure on what decodes."""
    clip = replace(noisy.clip, frames=tuple(frames))
    found: dict[str, list[RatePoint]] = {name: [] for name in ("plain", *after)}
    for qp in QPS:
        encoded = codec.encode(clip, qp)
        shown = [_copied(planes) for planes in codec.decode(encoded, clip)]
        found["plain"].append((encoded.size_bytes, quality(noisy.clean, shown)))
        for name, strengths in after.items():
            best = max(quality(noisy.clean, cure(shown)) for cure in strengths)
            found[name].append((encoded.size_bytes, best))
    return found


def compare(anchor: Sequence[RatePoint], test: Sequence[RatePoint]) -> dict[str, Any]:
    """Return how many more bits *test* takes than *anchor*, in percent; see above."""
    rate = bd_rate(anchor, test)
    if rate is not None:
        span = [round(rate.low_db, 2), round(rate.high_db, 2)]
        return {"percent": round(rate.percent, 1), "range_db": span}
    best_bytes, best_db = rising(anchor)[-1]
    sizes, decibels = zip(*rising(test), strict=True)
    size_bytes = float(np.exp(np.interp(best_db, decibels, np.log(sizes))))
    return {"percent": round(100 * (size_bytes / best_bytes - 1), 1), "range_db": None}


def measure(codec: Latent, noisy: Noisy, step: Callable[[str], None]) -> dict[str, Any]:
    """Return curves of one clip under one noise, and what ours saves against each other."""
    frames, others = noisy.clip.frames, cures(noisy)
    step("plain, and cleaned after")
    after = curves(codec, noisy, frames, others)
    found = {"plain": after.pop("plain"), **{f"after {name}": c for name, c in after.items()}}
    step("before")
    tried = {
        name: max((cure(frames) for cure in others[name]), key=partial(quality, noisy.clean))
        for name in FILTERS
        if name in others
    }
    name = max(tried, key=lambda one: quality(noisy.clean, tried[one]))
    found["before filter"] = curve(codec, noisy, tried[name])
    found["clean"] = curve(codec, noisy, noisy.clean)
    step("ours")
    started_s = time.thread_time()
    ours = cured(frames, None)
    spent_s = time.thread_time() - started_s
    test = curve(codec, noisy, ours)
    return {
        "input_db": round(quality(noisy.clean, frames), 2),
        "cleaned_db": round(quality(noisy.clean, ours), 2),
        "stream_ms_per_frame": round(stream_ms(frames), 1),
        "ms_per_frame": round(1000 * spent_s / len(frames), 1),
        "filter_before": name,
        "auto": _rounded(test),
        "others": {name: _rounded(points) for name, points in found.items()},
        "against": {name: compare(points, test) for name, points in found.items()},
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean saving against each other by kind and noise, in percent."""
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for noise in dict.fromkeys(row["noise"] for row in rows):
            alike = [row for row in rows if (row["kind"], row["noise"]) == (kind, noise)]
            if not alike:
                continue
            names = dict.fromkeys(name for row in alike for name in row["against"])
            found[f"{kind}, {noise}"] = {
                name: round(float(np.mean([row["against"][name]["percent"] for row in alike])), 1)
                for name in names
            }
    return found


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the curves of a still and a call, noise by noise."""
    from matplotlib.figure import Figure  # takes a second
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    names = [name for name in SHOWN if any(name in row["clip"] for row in rows)]
    rows = sorted(rows, key=lambda row: inf if row["noise"] == SENSOR else float(row["noise"]))
    shown = [row for name in names for row in rows if name in row["clip"]]
    if not shown:
        return
    columns = len(shown) // len(names)
    figure = Figure(figsize=(3.4 * columns, 6), layout="constrained")
    colors: dict[str, int] = {}
    axes = figure.subplots(len(names), columns, squeeze=False)
    for axis, row in zip(axes.ravel(), shown, strict=True):
        for name, points in (("--denoise auto", row["auto"]), *row["others"].items()):
            rates, decibels = zip(*rising([(b, db) for b, db in points]), strict=True)
            width = 2.2 if name.startswith("--") else 1
            color = f"C{colors.setdefault(name, len(colors))}"
            size_kb = np.array(rates) / 1000
            axis.semilogx(size_kb, decibels, ".-", label=name, linewidth=width, color=color)
        axis.set_title(f"{row['clip'].split('_640')[0].split('.')[0]}, {row['noise']}", fontsize=9)
        axis.set_xlabel("kB", fontsize=8)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("dB to the clean source")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[-1, -1].legend(handles, labels, fontsize=6)
    figure.savefig(path, dpi=80)


def main(arguments: list[str]) -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    parser.add_argument("--sigmas", default=f"5,10,15,25,{SENSOR}")
    parser.add_argument("--frames", type=int, default=5, help="of each clip (default 5)")
    parser.add_argument("--only", default="", help="names' beginnings, by commas (default: all)")
    parser.add_argument("--side", type=int, default=576, help="pixels at most (default 576)")
    parser.add_argument("--model", default="s128")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "denoise.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "denoise.png")
    args = parser.parse_args(arguments)
    if not args.data.is_dir():
        print(f"skipped: no clips in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    at = commit()
    codec = open_latent_codec(args.model)
    levels, only = args.sigmas.split(","), tuple(args.only.split(","))
    paths = [
        path
        for path in sorted((*args.data.glob("images/*.png"), *args.data.glob("video/*.mkv")))
        if path.name.startswith(only)
    ]
    document: dict[str, Any] = {
        "command": " ".join(("python -m benchmarks.denoise", *arguments)),
        "commit": at,
        "machine": machine(),
        "model": args.model,
        "qps": QPS,
    }
    document["clean"] = {
        path.name: left_alone(read_clip(path, max_frames=CLEAN_FRAMES)) for path in paths
    }
    rows: list[dict[str, Any]] = []
    with Progress("measuring", 3 * len(levels) * len(paths)) as bar:
        for level, path in product(levels, paths):
            source = cropped(read_clip(path, max_frames=args.frames), args.side)
            row = measure(codec, with_noise(source, level), bar.step)
            rows.append({"clip": source.name, "kind": source.kind, "noise": level, **row})
            print(source.name, level, row["against"], file=sys.stderr, flush=True)
            # after each: what was measured is not lost with a run that is stopped
            document |= {"summary": summary(rows), "rows": rows}
            args.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    codec.close()
    plot(rows, args.plot)
    print(json.dumps(document["summary"], indent=1))
    return 0


def with_noise(source: Clip, level: str) -> Noisy:
    """Return a clip under noise: of a standard deviation, or as of a sensor."""
    rng = np.random.default_rng(0)
    if level == SENSOR:
        frames = tuple(sensor(planes, SENSOR_GAIN, rng) for planes in source.frames)
        off = frames[0].y.astype(np.float64) - source.frames[0].y
        return Noisy(replace(source, frames=frames), source.frames, float(off.std()))
    frames = tuple(gaussian(planes, float(level), rng) for planes in source.frames)
    return Noisy(replace(source, frames=frames), source.frames, float(level))


def _rounded(points: Iterable[RatePoint]) -> list[list[float]]:
    return [[rate, round(db, 3)] for rate, db in points]


def _copied(planes: Planes) -> Planes:
    return Planes(planes.y.copy(), planes.u.copy(), planes.v.copy())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
