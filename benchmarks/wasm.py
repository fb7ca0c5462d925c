"""
Measure the decoder for browsers, in node on one core, beside the native one in the same run.

    python -m benchmarks.wasm [INPUT] [--output benchmarks/wasm.json] [--frames 60] [--models n64]

Without INPUT, a video, the frames are made up. `read` is everything up to the symbols, `paint` the
networks of intra frames or the integers of the others, `finish` storing and refining, `rgba` what
showing takes on top. `min` is what the code takes; p50 and p95 include what else was going on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._web_decoder import MISSING, NODE, WebDecoder, build_wasm
from benchmarks.entropy import machine
from benchmarks.latency import PACKET_BYTES, Stages, fitted, made_up
from rtcodec.bitstream.packet import Description, Geometry, Packet, write_packet
from rtcodec.bitstream.sequence import model_tag
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.loader import AUTO, open_engine
from rtcodec.entropy import build
from rtcodec.models.web import web_model
from rtcodec.types import Planes

SIZE = (640, 360)
MODELS = ("n64", "s128")
WARM_UP = 20
"Frames until a browser's compiler has done what it will."

Unit = list[Packet]


def encoded(bundle: Bundle, frames: list[Planes], qp: int, runs: int, *, kind: str) -> list[Unit]:
    """Encode *runs* frames of a kind, to and fro."""
    engine = open_engine(AUTO, bundle, threads=1)
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(target_bytes=PACKET_BYTES),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(
        engine,
        packer,
        *SIZE,
        references=NewestReference(),
        description=Description(model_tag(bundle.model_id), Geometry(*SIZE)),
        neural=kind == "intra",
    )
    order = [*frames, *frames[-2:0:-1]]
    units = []
    for number, planes in enumerate(islice(cycle(order), runs)):
        keyframe = kind != "delta" or not number
        coded = encoder.encode(planes, qp=qp, pts=number, keyframe=keyframe)
        units.append([packet for packet in coded.unit.packets if isinstance(packet, Packet)])
    encoder.close()
    engine.close()
    return units


def native_ms(bundle: Bundle, units: list[Unit]) -> dict[str, Any]:
    """Times of this machine's own decoder, by stage."""
    engine = open_engine(AUTO, bundle, threads=1)
    decoder = FrameDecoder(engine, bundle, *SIZE, references=NewestReference.SLOTS)
    stages = Stages()
    for unit in units:
        frame = stages.run("read", lambda unit=unit: decoder.unpack(unit))  # type: ignore[misc]
        stages.run("paint", lambda frame=frame: decoder.paint(frame))  # type: ignore[misc]
    decoder.close()
    engine.close()
    stages.times["decode"] = [sum(both) for both in zip(*stages.times.values(), strict=True)]
    return {"engine": engine.info.name, "ms": _summary(stages.times)}


def web_ms(bundle: Bundle, units: list[Unit], folder: Path, wasm: Path) -> dict[str, Any]:
    """Times of the decoder for browsers, by stage, and the memory that it took."""
    times: dict[str, list[float]] = {}
    with WebDecoder(bundle, folder, wasm=wasm) as web:
        for unit in units:
            seen = web.decode([write_packet(packet) for packet in unit], color={})
            assert seen.facts["isComplete"]
            for stage, ms in seen.ms.items():
                times.setdefault(stage, []).append(ms)
        return {"ms": _summary(times), "memory_bytes": web.memory_bytes}


def _summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        stage: {
            "min": round(float(np.min(values[WARM_UP:])), 2),
            "p50": round(float(np.percentile(values[WARM_UP:], 50)), 2),
            "p95": round(float(np.percentile(values[WARM_UP:], 95)), 2),
        }
        for stage, values in times.items()
    }


def measure(
    bundles: list[Bundle], frames: list[Planes], qp: int, runs: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """Each model, frames of each kind that it has, in a browser's way and natively."""
    wasm = build_wasm(folder)
    for bundle, kind in product(bundles, ("delta", "intra", "spatial")):
        if kind == "spatial" and bundle.spatial is None:
            continue
        units = encoded(bundle, frames, qp, runs + WARM_UP, kind=kind)
        sizes = [sum(len(write_packet(packet)) for packet in unit) for unit in units]
        yield {
            "model": bundle.name,
            "frames": kind,
            "qp": qp,
            "bytes_per_frame": round(float(np.mean(sizes[WARM_UP:]))),
            "wasm": web_ms(bundle, units, folder, wasm),
            "native": native_ms(bundle, units),
        }


def sizes(bundles: list[Bundle], folder: Path) -> dict[str, int]:
    """What a page loads, in bytes."""
    scripts = (build.WEB / "src").glob("*.js")
    return {
        "wasm": build_wasm(folder).stat().st_size,
        "scripts": sum(path.stat().st_size for path in scripts),
        **{f"model {bundle.name}": len(web_model(bundle)) for bundle in bundles},
    }


def main(arguments: list[str]) -> int:
    """Run everything and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wasm", description=__doc__)
    parser.add_argument("input", type=Path, nargs="?", metavar="INPUT", help="a video")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--frames", type=int, default=60, help="frames of each kind")
    parser.add_argument("--qp", type=int, default=32)
    parser.add_argument(
        "--models", nargs="+", default=MODELS, help="names, or paths of .rtcm files"
    )
    options = parser.parse_args(arguments)
    if MISSING is not None or NODE is None:
        print(MISSING, file=sys.stderr)
        return 3
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    source = fitted(options.input, *SIZE) if options.input else made_up(*SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = [find_bundle(model) for model in options.models]
        results = []
        for result in measure(bundles, list(source), options.qp, options.frames, folder):
            results.append(result)
            decode = {key: result[key]["ms"]["decode"] for key in ("wasm", "native")}
            print(f"{result['model']} {result['frames']}: {decode}", file=sys.stderr, flush=True)
        version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True)
        report = {
            "command": " ".join(["python -m benchmarks.wasm", *(Path(a).name for a in arguments)]),
            "machine": machine() | {"node": version.stdout.strip()},
            "frames": options.input.name if options.input else "made up",
            "size": "x".join(map(str, SIZE)),
            "bytes": sizes(bundles, folder),
            "results": results,
        }
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
