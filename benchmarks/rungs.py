"""
Measure what it costs to code a stream at two and at three rungs, and at half the frame rate.

    python -m benchmarks.rungs CLIP [--model s128] [--frames 60] [--output FILE]

The relay's own engine host on one thread of the engine, one frame at a time. One, two and three
rungs take turns, each on the same frames. Time is that of this process's threads, so others on the
machine disturb it less. Half the frame rate: the same clip with every other frame one that nothing
is predicted from, against all frames in one chain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.entropy import machine
from rtcodec.bundle import find_bundle
from rtcodec.engine.loader import open_engine
from rtcodec.media.reader import MediaReader
from rtcodec.media.scale import PlanesScaler
from rtcodec.packet.feedback import FrameReport
from rtcodec.quality import PlanePsnr
from rtcodec.session.ladder import ladder, read_rung
from rtcodec.types import Planes
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_request import CodedFrame, FrameRequest
from rtcodec_server.measure import MeasureGate
from rtcodec_server.prediction import FrameNumbers
from rtcodec_server.rung import StreamRung

SPECS = tuple(map(read_rung, ("source", "270p", "180p")))
QP = 32
FPS = 30
VIEWER = "viewer"
ROUNDS = 3


@dataclass
class Coder:
    """A stream at some rungs, that one viewer of each acknowledges."""

    host: EngineHost
    name: int
    rungs: Sequence[StreamRung]
    half_rate: bool = False
    cpu_ms: list[float] = field(default_factory=list)
    finest_ms: list[float] = field(default_factory=list)
    all_ms: list[float] = field(default_factory=list)
    coded: dict[int, list[CodedFrame]] = field(default_factory=dict)
    psnr_db: list[float] = field(default_factory=list)
    measured: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> Coder:
        """Get the engine ready."""
        numbers = FrameNumbers()
        for rung in self.rungs:
            await rung.open(self.host, numbers, lambda: [VIEWER])
        return self

    async def code(self, planes: Planes) -> None:
        """Code one frame at every rung, coarsest first, as streams do."""
        results: dict[int, asyncio.Future[CodedFrame]] = {
            rung.index: asyncio.get_running_loop().create_future() for rung in self.rungs
        }
        cpu_s, start_s = time.process_time(), time.perf_counter()
        self.host.submit(*(self._request(r, planes, results) for r in reversed(self.rungs)))
        await results[0]
        self.finest_ms.append((time.perf_counter() - start_s) * 1e3)
        await asyncio.gather(*results.values())
        self.all_ms.append((time.perf_counter() - start_s) * 1e3)
        self.cpu_ms.append((time.process_time() - cpu_s) * 1e3)
        for rung in self.rungs:
            coded = results[rung.index].result()
            self.coded.setdefault(rung.index, []).append(coded)
            if rung.prediction is not None:
                rung.prediction.report(VIEWER, FrameReport(coded.frame_number, 2**32 - 1, 1, 0))

    def _request(
        self, rung: StreamRung, planes: Planes, results: dict[int, asyncio.Future[CodedFrame]]
    ) -> FrameRequest:
        assert rung.state is not None
        size = (rung.rung.width, rung.rung.height)
        return FrameRequest(
            stream=self.name,
            state=rung.state,
            planes=planes,
            qp=QP,
            deadline_us=2**62,
            on_coded=results[rung.index].set_result,
            on_dropped=lambda reason: results[rung.index].set_exception(RuntimeError(reason)),
            on_psnr=self._note_psnr,
            frame_number=0,
            prediction=rung.prediction,
            rung=rung.index,
            size=None if size == (planes.width, planes.height) else size,
            half_rate=self.half_rate,
        )

    def _note_psnr(self, psnr: PlanePsnr | None) -> None:
        if psnr is not None:
            self.psnr_db.append(psnr.yuv)
        self.measured.set()

    def kbps(self, rung: int, *, temporal: int = 1) -> float:
        """Bit rate of the frames after the first, of which some may be left out."""
        frames = self.coded[rung][1:]
        n_bytes = sum(f.size_bytes for f in frames if f.temporal <= temporal)
        return n_bytes * 8 * FPS / len(frames) / 1000


def read_clip(path: Path, n_frames: int) -> list[Planes]:
    """Return the first frames of a clip."""
    with MediaReader(path) as reader:
        return [planes for _, planes in islice(reader.frames(), n_frames)]


async def measure(model: str, engine_name: str, clip: list[Planes]) -> dict[str, Any]:
    """Run everything."""
    bundle = find_bundle(model)
    engine = open_engine(engine_name, bundle, threads=1)
    size = clip[0].width, clip[0].height
    info = engine.info
    host = EngineHost(engine, bundle, max_batch=4, gate=MeasureGate("off"))
    rungs = ladder(SPECS, *size)

    def coder(name: int, count: int) -> Coder:
        return Coder(host, name, [StreamRung(rung, rate=None) for rung in rungs[:count]])

    coders = [await coder(count, count).open() for count in range(1, len(rungs) + 1)]
    order = [*clip, *clip[-2:0:-1]]
    for _ in range(ROUNDS):
        for planes in order:
            for each in coders:
                await each.code(planes)
    await host.close()
    one = statistics.median(coders[0].cpu_ms)
    rows = []
    for count, each in enumerate(coders, 1):
        cpu = statistics.median(each.cpu_ms)
        rows.append(
            {
                "rungs": count,
                "cpu_ms_per_frame": round(cpu, 2),
                "times_one_rung": round(cpu / one, 3),
                "finest_ready_ms": round(statistics.median(each.finest_ms), 2),
                "all_ready_ms": round(statistics.median(each.all_ms), 2),
            }
        )
    sizes = [
        {
            "rung": rung.index,
            "size": f"{rung.width}x{rung.height}",
            "kbps": round(coders[-1].kbps(rung.index), 1),
            "scale_ms": None
            if (rung.width, rung.height) == size
            else scale_ms(clip, rung.width, rung.height),
        }
        for rung in rungs
    ]
    return {"model": model, "engine": info.name, "qp": QP, "cost": rows, "rungs": sizes}


def scale_ms(clip: list[Planes], width: int, height: int) -> float:
    """Return the median time of scaling one frame."""
    scaler, times = PlanesScaler(), []
    for planes in clip:
        start_s = time.thread_time()
        scaler.scale(planes, width, height)
        times.append((time.thread_time() - start_s) * 1e3)
    return round(statistics.median(times), 3)


async def measure_half_rate(model: str, engine_name: str, clip: list[Planes]) -> dict[str, Any]:
    """Compare a stream with and without frames that nothing is predicted from."""
    bundle = find_bundle(model)
    engine = open_engine(engine_name, bundle, threads=1)
    size = clip[0].width, clip[0].height
    host = EngineHost(engine, bundle, max_batch=4, gate=MeasureGate("all"))
    full, half = [
        await Coder(
            host, name, [StreamRung(ladder((), *size)[0], rate=None)], half_rate=half_rate
        ).open()
        for name, half_rate in enumerate((False, True))
    ]
    for planes in clip:
        for each in (full, half):
            await each.code(planes)
            await each.measured.wait()
            each.measured.clear()
    await host.close()
    kbps, layered = full.kbps(0), half.kbps(0)
    return {
        "one_chain": {"kbps": round(kbps, 1), "psnr_db": mean(full.psnr_db)},
        "two_layers": {"kbps": round(layered, 1), "psnr_db": mean(half.psnr_db)},
        "two_layers_cost": round(layered / kbps, 3),
        "half_rate_part": round(half.kbps(0, temporal=0) / layered, 3),
    }


def mean(values: list[float]) -> float:
    """Return the mean, rounded."""
    return round(statistics.fmean(values), 2)


def main() -> int:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--model", default="s128")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    found = []
    for path in args.clips:
        clip = read_clip(path, args.frames)
        row: dict[str, Any] = {"clip": path.stem}
        row |= asyncio.run(measure(args.model, args.engine, clip))
        row["half_rate"] = asyncio.run(measure_half_rate(args.model, args.engine, clip))
        print(json.dumps(row))
        found.append(row)
    result = {
        "command": "python -m benchmarks.rungs CLIP... " + f"--frames {args.frames}",
        "machine": machine(),
        "clips": found,
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
