"""
How well `rtcodec encode --bitrate` keeps its rate: the worst two seconds after the first.

    python -m benchmarks.bitrate [--data ../shared/data/dev/video] [--model s128] [--output FILE]

Sequences of 640x360 at 25 frames a second: a call, forth and back; two calls cut into each other
every 30 frames; a call and a ride through trees, likewise. `largest` is a frame's size in even
shares. Frames that wanted a qp beyond the coarsest are counted (`saturated`): where there are many,
no control could have kept the rate. Writes `benchmarks/bitrate.json`. Skips itself where the data
is not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from benchmarks.entropy import machine
from benchmarks.rate_distortion import commit
from rtcodec.bitstream import RtcReader, write_packet
from rtcodec.media.reader import MediaReader
from rtcodec.media.scale import PlanesScaler
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.types import Planes

SIZE: Final = (640, 360)
RATE: Final = Fraction(25)
SHOT: Final = 30
"Frames between two cuts."

CALL, OTHER_CALL, RIDE = "call_two_people*", "call_news*", "bmx_trees*"


def clip(data: Path, pattern: str) -> list[Planes]:
    """Return the frames of the video of that name, at `SIZE`."""
    (path,) = data.glob(pattern)
    scaler = PlanesScaler()
    with MediaReader(path) as reader:
        return [scaler.scale(planes, *SIZE) for _, planes in reader.frames()]


def cut(one: Sequence[Planes], other: Sequence[Planes]) -> list[Planes]:
    """Return shots of both, by turns."""
    shots: list[Planes] = []
    for start in range(0, min(len(one), len(other)), SHOT):
        shots += [*one[start : start + SHOT], *other[start : start + SHOT]]
    return shots


def measure(frames: Sequence[Planes], kbps: int, model: str) -> dict[str, Any]:
    """Encode at a rate; return how it was kept."""
    with tempfile.TemporaryDirectory() as folder:
        source, coded = Path(folder) / "in.y4m", Path(folder) / "out.rtc"
        with open_writer(source, MediaFormat(*SIZE, 1 / RATE, RATE)) as writer:
            for pts, planes in enumerate(frames):
                writer.write(pts, planes)
            writer.commit()
        command = [sys.executable, "-m", "rtcodec.cli", "encode", str(source), str(coded)]
        options = ["--bitrate", str(kbps), "--model", model, "--json"]
        done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE)
        with coded.open("rb") as stream:
            sizes = [
                sum(len(write_packet(packet)) for packet in unit.packets)
                for unit in RtcReader(stream)
            ]
    rate = json.loads(done.stdout)
    return {
        "kbps": kbps,
        "frames": len(sizes),
        "worst_2s_percent": round(100 * rate["worst_2s_deviation"], 2),
        "mean_kbps": round(float(8 * sum(sizes) * RATE / len(sizes) / 1000), 1),
        "largest": round(max(sizes) * len(sizes) / sum(sizes), 2),
        "saturated": rate["saturated_frames"],
    }


def main(arguments: list[str]) -> int:
    """Measure, print, write."""
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bitrate", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=root.parent / "shared" / "data" / "dev" / "video"
    )
    parser.add_argument("--model", default="s128")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args(arguments)
    if not args.data.is_dir():
        print(f"skipped: no clips in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    call, other, ride = (clip(args.data, pattern) for pattern in (CALL, OTHER_CALL, RIDE))
    sequences = {
        "call": ([*call, *reversed(call)], (150, 400)),
        "calls": (cut(other, call), (200, 300, 450, 600)),
        "call and ride": (cut(call, ride), (200, 300, 450, 600)),
    }
    rows = []
    for name, (frames, rates) in sequences.items():
        for kbps in rates:
            rows.append({"sequence": name, **measure(frames, kbps, args.model)})
            print(rows[-1], flush=True)
    document = {
        "command": " ".join(("python -m benchmarks.bitrate", *arguments)),
        "commit": commit(),
        "machine": machine(),
        "model": args.model,
        "rows": rows,
    }
    args.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
