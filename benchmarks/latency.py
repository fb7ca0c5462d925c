"""
Measure encoding and decoding of one frame at a time, stage by stage, on one core.

    python -m benchmarks.latency [INPUT] [--output benchmarks/latency.json] [--frames 60]

Without INPUT, a video, the frames are made up. The process is tied to one core. `min` is what the
code takes; p50 and p95 include whatever else the machine did meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.entropy import machine
from rtcodec.bitstream.packet import Description, Geometry, Packet, write_packet
from rtcodec.bitstream.sequence import model_tag
from rtcodec.bundle import find_bundle
from rtcodec.codec.decoder import unpack_frame
from rtcodec.codec.encoder import FrameLabel, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput
from rtcodec.engine.loader import AUTO, ENGINE_NAMES, open_engine
from rtcodec.media.reader import MediaReader
from rtcodec.types import Planes

SIZES = ((640, 360), (1280, 720))
MODELS = ("n64", "s128")
KINDS = ("intra", "spatial", "delta")
"""Of frames: by the networks, from themselves, from others."""
PACKET_BYTES = 1150
WARM_UP = 3

_Result = TypeVar("_Result")


class Stages:
    """Times of each stage, in milliseconds."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def run(self, name: str, work: Callable[[], _Result]) -> _Result:
        """Time one call."""
        started = time.perf_counter()
        result = work()
        self.times.setdefault(name, []).append((time.perf_counter() - started) * 1e3)
        return result

    def summary(self) -> dict[str, dict[str, float]]:
        """Return min, p50 and p95 of each stage, and of encode and decode as a whole."""
        times = {name: np.array(values[WARM_UP:]) for name, values in self.times.items()}
        times["encode"] = times["engine_encode"] + times["pack"]
        times["decode"] = times["unpack"] + times["engine_decode"]
        return {
            name: {
                "min": round(float(values.min()), 2),
                "p50": round(float(np.percentile(values, 50)), 2),
                "p95": round(float(np.percentile(values, 95)), 2),
            }
            for name, values in times.items()
        }


def measure(
    model: str, engine_name: str, frames: list[Planes], qp: int, runs: int, *, kind: str
) -> dict[str, Any]:
    """Send *runs* frames of one of `KINDS` through one model; time every stage."""
    bundle = find_bundle(model)
    delta = kind == "delta"
    tables, net = bundle.entropy_tables, bundle.scale_net
    engine = open_engine(engine_name, bundle, threads=1)
    width, height = frames[0].width, frames[0].height
    sender, receiver = (engine.open_state(width, height) for _ in range(2))
    packer = FramePacker(
        tables,
        Slicing(target_bytes=PACKET_BYTES),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    description = Description(model_tag(bundle.model_id), Geometry(width, height))
    stages = Stages()
    sizes: list[int] = []
    packets_per_frame: list[int] = []

    def pack(output: EncodeOutput, number: int, slot: int | None) -> tuple[Packet, ...]:
        label = FrameLabel(
            frame_number=number,
            qp=qp,
            keyframe=slot is None,
            reference=slot,
            description=description,
        )
        return packer.pack(output, label, width, height)

    # To and fro, so that every frame follows the one before it.
    order = [*frames, *frames[-2:0:-1]]
    for number, planes in enumerate(islice(cycle(order), runs + WARM_UP)):
        reference = (number - 1) % 2 if delta and number else None
        store = number % 2 if delta else None
        job = EncodeJob(sender, planes, qp, reference, store, neural=kind == "intra")
        output = stages.run("engine_encode", lambda job=job: engine.encode([job])[0])  # type: ignore[misc]
        packets = stages.run("pack", lambda o=output, n=number, r=reference: pack(o, n, r))  # type: ignore[misc]
        frame = stages.run(
            "unpack",
            lambda p=packets: unpack_frame(  # type: ignore[misc]
                p,
                tables=tables,
                net=net,
                width=width,
                height=height,
                delta=bundle.delta,
                spatial=bundle.spatial,
            ),
        )
        shown = DecodeJob(
            receiver, frame.z, frame.symbols, qp, width, height, reference, store,
            output.is_spatial,
        )  # fmt: skip
        stages.run("engine_decode", lambda job=shown: engine.decode([job]))  # type: ignore[misc]
        if kind == "intra":
            stages.run("scale_indices", lambda o=output: engine.scale_indices(o.z, qp))  # type: ignore[misc]
        sizes.append(sum(len(write_packet(packet)) for packet in packets))
        packets_per_frame.append(len(packets))
    engine.close()
    return {
        "model": model,
        "size": f"{width}x{height}",
        "frames": kind,
        "engine": engine.info.name,
        "precision": engine.info.precision,
        "versions": dict(engine.info.versions),
        "qp": qp,
        "bytes_per_frame": round(float(np.mean(sizes))),
        "packets_per_frame": round(float(np.mean(packets_per_frame)), 1),
        "ms": stages.summary(),
    }


def made_up(width: int, height: int, count: int = 4) -> Iterator[Planes]:
    """Give out pictures with edges, gradients and a little noise."""
    rng = np.random.default_rng(1)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    for n in range(count):
        luma = 120 + 50 * np.sin(rows / 31 + n) + 40 * np.cos(columns / 47 - n)
        luma += 30 * ((rows // 40 + columns // 60 + n) % 2) + rng.normal(0, 2, (height, width))
        chroma = luma[::2, ::2] * 0.3 + 90
        yield Planes(samples(luma), samples(chroma), samples(255 - chroma))


def fitted(path: Path, width: int, height: int, count: int = 8) -> Iterator[Planes]:
    """Give out frames of a video, repeated and cropped to a size."""
    with MediaReader(path) as reader:
        for _, planes in islice(reader.frames(), count):
            half = ((height + 1) // 2, (width + 1) // 2)
            yield Planes(
                tiled(planes.y, (height, width)), tiled(planes.u, half), tiled(planes.v, half)
            )


def tiled(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Repeat a plane until it covers *size*, and crop it."""
    times = [-(-want // have) for want, have in zip(size, plane.shape, strict=True)]
    return np.ascontiguousarray(np.tile(plane, times)[: size[0], : size[1]])


def samples(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Round to samples."""
    return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8))


def main(arguments: list[str]) -> int:
    """Run everything and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("input", type=Path, nargs="?", metavar="INPUT", help="a video")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--frames", type=int, default=60, help="frames of each kind")
    parser.add_argument("--qp", type=int, default=32)
    parser.add_argument("--engine", choices=ENGINE_NAMES, default=AUTO)
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results = []
    for width, height in SIZES:
        source = fitted(options.input, width, height) if options.input else made_up(width, height)
        frames = list(source)
        for model, kind in product(MODELS, KINDS):
            bundle = find_bundle(model)
            if (kind == "delta" and bundle.delta is None) or (
                kind == "spatial" and bundle.spatial is None
            ):
                continue
            result = measure(model, options.engine, frames, options.qp, options.frames, kind=kind)
            results.append(result)
            what = f"{model} {kind} {width}x{height}"
            for stage in ("encode", "decode"):
                print(f"{what} {stage}: {result['ms'][stage]}", file=sys.stderr, flush=True)
    report = {
        "command": " ".join(["python -m benchmarks.latency", *(Path(a).name for a in arguments)]),
        "machine": machine(),
        "frames": options.input.name if options.input else "made up",
        "results": results,
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
