"""
What the GPU engine's motion search costs in bits, against that of the CPU engines.

    python -m benchmarks.search [CLIP...] [--frames 24] [--qp 28] [--output benchmarks/search.json]

Both code the same frames at the same qp, float32 on a CPU: ONNX Runtime with the search in C, and
torch with the one for batches. Bits are those of the delta frames' payloads, PSNR is 6:1:1 of all
frames; `said` is of their tiles those that say anything, which are what crosses to the host.
Without CLIP the frames are made up.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._gpu_engine import encode_job, moving_frames
from benchmarks.entropy import machine
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import coded_tiles
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import open_engine
from rtcodec.evaluation.clip import read_clip
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.torch_engine import CpuTorchEngine


def cost(
    engine: Engine, bundle: Bundle, frames: Sequence[Planes], qp: int
) -> tuple[int, float, float]:
    """Bits of the delta frames, PSNR in dB, and the share of tiles that say anything."""
    costs = FrameCosts(bundle.entropy_tables, bundle.delta_tables, bundle.spatial_tables)
    state = engine.open_state(frames[0].width, frames[0].height)
    bits, psnr, said = 0, 0.0, 0.0
    for t, planes in enumerate(frames):
        output = engine.encode([encode_job(state, planes, qp, t)])[0]
        if t:
            bits += costs.frame_bits(output, qp)
            said += float(coded_tiles(output.symbols).mean()) / (len(frames) - 1)
        assert output.reconstruction is not None
        seen = picture_psnr(planes, output.reconstruction)
        psnr += (6 * seen.y + seen.u + seen.v) / 8 / len(frames)
    engine.close_state(state)
    return bits, psnr, said


def main(arguments: list[str]) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.search")
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--qp", type=int, default=28)
    parser.add_argument("--model", default="s128")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(arguments)
    bundle = find_bundle(args.model)
    engines: dict[str, Engine] = {
        "c": open_engine("onnxruntime", bundle),
        "batches": CpuTorchEngine(bundle),
    }
    clips: dict[str, Sequence[Planes]] = {
        path.stem: read_clip(path, max_frames=args.frames).frames for path in args.clips
    }
    if not clips:
        clips["made up"] = moving_frames(192, 128, 6)
    rows = []
    for name, frames in clips.items():
        found = {key: cost(engine, bundle, frames, args.qp) for key, engine in engines.items()}
        row: dict[str, Any] = {"clip": name, "frames": len(frames), "qp": args.qp}
        for key, (bits, psnr, said) in found.items():
            row |= {f"{key}_bits": bits, f"{key}_psnr_db": round(psnr, 3)}
            row[f"{key}_said"] = round(said, 3)
        row["percent"] = round(100 * (found["batches"][0] / found["c"][0] - 1), 2)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    for engine in engines.values():
        engine.close()
    if args.output is not None:
        about = {"machine": machine(), "model": args.model, "rows": rows}
        args.output.write_text(json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
