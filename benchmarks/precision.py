"""
Measure what bf16 costs in each graph: PSNR against the same frame coded all in float32.

    python -m benchmarks.precision INPUT... [--output benchmarks/precision.json]

Runs on any CPU: where it has no bf16 instructions OpenVINO emulates them, slowly. A graph is safe
if it changes no frame by more than 0.02 dB at any qp.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.entropy import machine
from rtcodec.bundle import GRAPHS, Bundle, find_bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, StateId
from rtcodec.media.reader import MediaReader
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.openvino_engine import OpenVinoEngine

MODELS = ("n64", "s128")
QPS = (0, 16, 32, 48, 63)


def quality(engine: OpenVinoEngine, state: StateId, planes: Planes, qp: int) -> float:
    """Return the 6:1:1 PSNR of a frame that went through *engine* both ways."""
    output = engine.encode([EncodeJob(state, planes, qp, neural=True)])[0]
    job = DecodeJob(state, output.z, output.symbols, qp, planes.width, planes.height)
    return picture_psnr(planes, engine.decode([job])[0]).yuv


def measure(bundle: Bundle, pictures: list[Planes]) -> list[dict[str, Any]]:
    """Return, per graph and qp, the float32 PSNR and the worst change that bf16 makes."""
    exact = OpenVinoEngine(bundle, threads=2, bf16=())
    results = []
    for graph in GRAPHS:
        reduced = OpenVinoEngine(bundle, threads=2, bf16=(graph,))
        for qp in QPS:
            before, change = [], []
            for planes in pictures:
                size = planes.width, planes.height
                one, two = exact.open_state(*size), reduced.open_state(*size)
                before.append(quality(exact, one, planes, qp))
                change.append(quality(reduced, two, planes, qp) - before[-1])
                exact.close_state(one)
                reduced.close_state(two)
            results.append(
                {
                    "model": bundle.name,
                    "graph": graph,
                    "qp": qp,
                    "psnr_f32_db": round(sum(before) / len(before), 3),
                    "worst_change_db": round(min(change), 4),
                }
            )
            print(results[-1], file=sys.stderr, flush=True)
        reduced.close()
    exact.close()
    return results


def main(arguments: list[str]) -> int:
    """Run everything and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("input", type=Path, nargs="*", metavar="INPUT", help="images or videos")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--frames", type=int, default=2, help="of each input")
    options = parser.parse_args(arguments)
    if not options.input:
        print("precision: no INPUT, nothing measured", file=sys.stderr)
        return 0
    pictures = []
    for path in options.input:
        with MediaReader(path) as reader:
            pictures += [planes for _, planes in islice(reader.frames(), options.frames)]
    results = [row for model in MODELS for row in measure(find_bundle(model), pictures)]
    report = {"command": "python -m benchmarks.precision INPUT...", "machine": machine()}
    options.output.write_text(json.dumps({**report, "results": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
