"""
How many streams an engine carries, and what becomes of them when there are more.

    python -m benchmarks.saturation CLIP [--models n64 s128] [--seconds 6] [--streams 1 2 4 ...]

Cameras of 30 fps, one after the other, are coded as the relay codes them (`Stream`, `EngineHost`),
each recorded by something that loses nothing; without WebRTC and video decoding, so more fit than
into a relay. Once as many as there are come in, once those that admission lets in. Latency: from a
picture being there to its packets being there. Writes `benchmarks/saturation.json` and a plot.
`frame_us`, the engine's time for frames of CLIP one after the other, is what
`tests/sim/test_engine_load.py` simulates with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.entropy import machine
from benchmarks.latency import tiled
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.calm import calm_interpreter
from rtcodec.codec.self_test import measure_capacity
from rtcodec.console import CLOCKS, available_cores
from rtcodec.engine.api import EncodeJob
from rtcodec.engine.capacity import Capacity
from rtcodec.engine.loader import AUTO, ENGINE_NAMES, open_engine
from rtcodec.media.reader import MediaReader
from rtcodec.session.lobby import RelayFull
from rtcodec.stats import StreamStats
from rtcodec.types import Planes
from rtcodec.webrtc import DecodedFrame, monotonic_us
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.engine_load import EngineLoad
from rtcodec_server.measure import MeasureGate
from rtcodec_server.sink import PassingFrame
from rtcodec_server.stream import Stream
from rtcodec_server.warming import warm

OUTPUT = Path(__file__).with_suffix(".json")
PLOT = Path(__file__).parents[1] / "docs" / "saturation.png"
FPS = 30
DEADLINE_US = 200_000
QP = 32
STREAMS = (1, 2, 3, 4, 6, 8, 10, 12)
_JOIN_S = 0.35
"Between two cameras: time for what they cost to be seen."

_SETTLE_S = 2.0
_TICK_S = 0.1
_FRAMES = 31

Row = dict[str, Any]


@dataclass(eq=False)
class Camera:
    """One stream, its pictures and what came of them."""

    room: str
    stream: Stream
    stats: StreamStats
    latency_us: list[int] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def take(self, frame: PassingFrame) -> bool:
        """Note when a frame's packets were there."""
        self.latency_us.append(monotonic_us() - frame.at_us)
        return True

    async def run(self, pictures: list[av.VideoFrame]) -> None:
        """Send a picture thirty times a second; those that come too late come together."""
        start_us = monotonic_us()
        for number, picture in enumerate(cycle([*pictures, *pictures[-2:0:-1]])):
            due_us = start_us + number * 1_000_000 // FPS
            await asyncio.sleep(max(0, due_us - monotonic_us()) / 1e6)
            now_us = monotonic_us()
            self.stream.receive()
            pts = number * 90_000 // FPS
            self.stream.put(DecodedFrame(picture, pts, pts, True, now_us, now_us, now_us))


async def run_case(
    host: EngineHost, pictures: list[av.VideoFrame], n_streams: int, limit: float, seconds: float
) -> Row:
    """Let cameras come, one after the other; return what became of their frames afterwards."""
    load = EngineLoad(AdmissionConfig(limit=limit, shed=limit > 0), host=lambda: host)
    cameras: list[Camera] = []

    async def tick() -> None:
        while True:
            for camera in cameras:
                camera.stream.heed_subscribers()
            load.advance([(c.room, c.stream) for c in cameras], now_us=monotonic_us())
            await asyncio.sleep(_TICK_S)

    ticking = asyncio.ensure_future(tick())
    n_refused = 0
    for number in range(n_streams):
        try:
            load.check_publisher(str(number), now_us=monotonic_us())
        except RelayFull:
            n_refused += 1
            continue
        stats = StreamStats()
        stream = Stream(host, qp=QP, frame_deadline_us=DEADLINE_US, stats=(stats,))
        camera = Camera(str(number), stream, stats)
        stream.add_sink("recorder", camera)
        camera.task = asyncio.ensure_future(camera.run(pictures))
        cameras.append(camera)
        await asyncio.sleep(_JOIN_S)
    await asyncio.sleep(_SETTLE_S)
    before = [(c.stats.frames.received, dict(c.stats.frames.dropped)) for c in cameras]
    for camera in cameras:
        camera.latency_us.clear()
    busy_us, started_us = host.busy_us, monotonic_us()
    calls, wakeups = host.calls.calls, host.calls.wakeups
    await asyncio.sleep(seconds)
    elapsed_us = monotonic_us() - started_us
    row = _row(cameras, before)
    row |= {
        "offered": n_streams,
        "limit": limit,
        "admitted": len(cameras),
        "load": round(load.present, 3),
        "steps": dict(load.shed_steps),
        "loop_calls": host.calls.calls - calls,
        "loop_wakeups": host.calls.wakeups - wakeups,
        "engine_busy": round((host.busy_us - busy_us) / elapsed_us / host.n_lanes, 3),
        "load_average": round(os.getloadavg()[0], 2),
    }
    for camera in cameras:
        assert camera.task is not None
        camera.task.cancel()
    await asyncio.gather(*(c.task for c in cameras if c.task), return_exceptions=True)
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    await asyncio.gather(*(camera.stream.close() for camera in cameras))
    assert n_refused + len(cameras) == n_streams
    return row


def _row(cameras: list[Camera], before: list[tuple[int, dict[str, int]]]) -> Row:
    latency = np.array([us for camera in cameras for us in camera.latency_us]) / 1000
    dropped: dict[str, int] = {}
    received = 0
    parts = []
    for camera, (n_received, was) in zip(cameras, before, strict=True):
        frames = camera.stats.frames
        received += frames.received - n_received
        for reason, count in frames.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count - was.get(reason, 0)
        parts.append(len(camera.latency_us) / max(1, frames.received - n_received))
    fair = sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))
    return {
        "frames": received,
        "dropped": {reason: count for reason, count in dropped.items() if count},
        "dropped_part": round(sum(dropped.values()) / max(1, received), 4),
        "p50_ms": round(float(np.percentile(latency, 50)), 1),
        "p99_ms": round(float(np.percentile(latency, 99)), 1),
        "jain": round(fair, 4),
    }


async def saturate(
    model: str, engine_name: str, pictures: list[av.VideoFrame], counts: list[int], seconds: float
) -> Row:
    """Run all cases of one model."""
    bundle = find_bundle(model)
    cores = available_cores()
    engine = await asyncio.to_thread(partial(open_engine, engine_name, bundle, threads=cores))
    width, height = pictures[0].width, pictures[0].height
    size = (width, height)
    capacity = min(
        (measure_capacity(engine, bundle, clocks=CLOCKS, cores=cores, size=size) for _ in range(3)),
        key=lambda each: each.costs.encode_us,
    )
    host = EngineHost(engine, bundle, max_batch=4, gate=MeasureGate("off"), capacity=capacity)
    await warm(host, width, height)
    rows = []
    for n_streams in counts:
        for limit in (0.0, AdmissionConfig().limit):
            row = await run_case(host, pictures, n_streams, limit, seconds)
            print(model, json.dumps(row), flush=True)
            rows.append(row)
    await host.close()
    return {"model": model, "engine": engine.info.name, **_said(capacity), "rows": rows}


def _said(capacity: Capacity) -> Row:
    width, height = capacity.size
    return {
        "size": f"{width}x{height}",
        "lanes": capacity.lanes,
        "cores": capacity.cores,
        "self_test_streams": {k: round(v, 1) for k, v in capacity.streams(width, height).items()},
    }


def frame_costs(bundle: Bundle, engine_name: str, frames: list[Planes]) -> list[int]:
    """Return the engine's time for each delta frame, microseconds; the least of four passes."""
    engine = open_engine(engine_name, bundle, threads=1)
    state = engine.open_state(frames[0].width, frames[0].height)
    least = [float("inf")] * len(frames)
    for _ in range(4):
        for number, planes in enumerate(frames):
            job = EncodeJob(state, planes, QP, 0 if number else None, 0)
            started = time.perf_counter()
            engine.encode([job])
            least[number] = min(least[number], time.perf_counter() - started)
    engine.close()
    return [round(1e6 * took) for took in least[1:]]


def plot(models: list[Row], path: Path) -> None:
    """Draw p99 latency and dropped frames against streams offered."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(models), 6.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(models), sharex="col", sharey="row", squeeze=False)
    for column, result in enumerate(models):
        for limit, name in ((0.0, "all that come"), (AdmissionConfig().limit, "admission")):
            rows = [row for row in result["rows"] if row["limit"] == limit]
            offered = [row["offered"] for row in rows]
            style = {"marker": "o", "markersize": 4, "label": name}
            axes[0][column].plot(offered, [row["p99_ms"] for row in rows], **style)
            axes[1][column].plot(offered, [100 * row["dropped_part"] for row in rows], **style)
        axes[0][column].set_title(f"{result['model']}, {result['size']} at {FPS} fps")
        axes[1][column].set_xlabel("streams offered")
        axes[0][column].axhline(DEADLINE_US / 1000, color="grey", linewidth=0.8, linestyle="--")
        for line in (0, 1):
            axes[line][column].grid(alpha=0.25)
    axes[0][0].set_ylabel("latency p99, ms")
    axes[1][0].set_ylabel("frames dropped, %")
    axes[0][0].legend()
    figure.savefig(path)


def read_planes(path: Path) -> list[Planes]:
    """Return the first frames of a video."""
    with MediaReader(path) as reader:
        return [planes for _, planes in islice(reader.frames(), _FRAMES)]


def twice_as_large(planes: Planes) -> Planes:
    """Return a picture of four copies."""
    height, width = 2 * planes.height, 2 * planes.width
    half = (height // 2, width // 2)
    return Planes(tiled(planes.y, (height, width)), tiled(planes.u, half), tiled(planes.v, half))


def as_picture(planes: Planes) -> av.VideoFrame:
    """Return planes as a decoder of video would."""
    flat = np.concatenate([plane.reshape(-1) for plane in (planes.y, planes.u, planes.v)])
    return av.VideoFrame.from_ndarray(
        flat.reshape(planes.height * 3 // 2, planes.width), format="yuv420p"
    )


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description=__doc__)
    parser.add_argument("clip", type=Path, help="a video of even size, such as 640x360")
    parser.add_argument("--models", nargs="+", default=["n64", "s128"])
    parser.add_argument("--engine", default=AUTO, choices=ENGINE_NAMES)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case")
    parser.add_argument("--streams", nargs="+", type=int, default=list(STREAMS))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--plot", type=Path, default=PLOT)
    args = parser.parse_args()
    frames = read_planes(args.clip)
    pictures = [as_picture(planes) for planes in frames]
    size = f"{frames[0].width}x{frames[0].height}"
    larger = [twice_as_large(planes) for planes in frames]
    frame_us = {
        f"{m} {size}": frame_costs(find_bundle(m), args.engine, frames) for m in args.models
    }
    first = args.models[0]
    frame_us[f"{first} {larger[0].width}x{larger[0].height}"] = frame_costs(
        find_bundle(first), args.engine, larger
    )
    calm_interpreter()
    models = [
        asyncio.run(saturate(model, args.engine, pictures, args.streams, args.seconds))
        for model in args.models
    ]
    result = {"machine": machine(), "clip": args.clip.name, "frame_us": frame_us, "models": models}
    args.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    plot(models, args.plot)


if __name__ == "__main__":
    main()
