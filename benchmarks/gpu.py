"""
One call on a machine with a GPU: parity, speed, and training for the time that is left.

    python -m benchmarks.gpu --out OUT --minutes 9 --stages parity,engine_parity,operations,profile
    python -m benchmarks.gpu --out OUT --minutes 9 --stages streams,switches,tensorrt
    python -m benchmarks.gpu --out OUT --minutes 9 --stages training --data data.npz --start RUN
    python -m benchmarks.gpu --out OUT --rehearse        the same on a CPU, tiny and quick
    python -m benchmarks.gpu --record OUT                to benchmarks/gpu.json and docs/gpu.png
    python -m benchmarks.gpu --join OUT                  make last.safetensors from its parts

Needs the checkout with its C built, torch, onnxruntime, safetensors, Pillow; neither PyAV nor a
network. `data.npz` comes from `rtcodec train --pack`. Adds to results.json after every stage, and
writes the trained weights in files below 16 MiB. A stage that fails is reported and the next one
goes on; one for which there is no time left says so.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCHES = (1, 2, 4, 8, 16)
SIZES = ((640, 360), (1280, 720), (1920, 1080))
PARITY_SIZE = (640, 384)
STAGES = (
    "parity", "speed", "engine_parity", "operations", "profile", "streams", "switches", "tensorrt",
    "training",
)  # fmt: skip
RESULTS = "results.json"
RESERVE_S = 45.0
"Left of the call for saving the weights after training."


@dataclass(frozen=True)
class Plan:
    """How much to do."""

    batches: tuple[int, ...] = BATCHES
    sizes: tuple[tuple[int, int], ...] = SIZES
    parity_size: tuple[int, int] = PARITY_SIZE
    "Width and height, multiples of 64."
    passes: int = 50
    "Timed passes of each benchmark."
    drift_frames: int = 300
    streams: tuple[int, ...] = (8, 16, 32, 48, 64, 80, 96)
    stream_frames: int = 120
    crop_px: int = 256
    screens: int = 120


REHEARSAL = Plan((1, 2), ((128, 64),), (128, 64), 2, 3, (1, 2), 6, 64, 0)


def main(arguments: list[str]) -> int:
    """Run the stages; 1 if one failed."""
    args = _parser().parse_args(arguments)
    if args.join is not None:
        from rtcodec.models.parts import join

        join(args.join)
        return 0
    if args.record is not None:
        from benchmarks._gpu_record import record

        record(args.record / RESULTS)
        return 0
    try:
        import torch
    except ModuleNotFoundError:
        print("no torch here: nothing measured", file=sys.stderr)
        return 0
    if not args.rehearse and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured (--rehearse runs on the CPU)", file=sys.stderr)
        return 0
    end_s = time.monotonic() + args.minutes * 60
    session = Session(args, torch.device("cpu" if args.rehearse else "cuda"), end_s)
    for name in args.stages.split(","):
        if name not in STAGES:
            print(f"no stage {name}; there are {', '.join(STAGES)}", file=sys.stderr)
            return 2
        if name != "training" or args.data is not None:
            session.stage(name, getattr(session, name))
    return 1 if session.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.gpu")
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/gpu"), help="folder for what comes back")
    add("--models", default="s128,n64", help="installed models to check and time")
    add("--stages", default=",".join(STAGES), help="what to do, in this order")
    add("--minutes", type=float, default=9.0, help="for everything together")
    add("--data", type=Path, help="packed training data; without it nothing is trained")
    add("--tier", default="s128", help="which to train")
    add("--start", type=Path, help="run folder to resume, or to start from its averages")
    add("--batch", type=int, default=32, help="crops per step")
    add("--workers", type=int, default=12, help="threads that cut crops")
    add("--schedule-minutes", type=float, help="training time that the cosine spans")
    add("--rehearse", action="store_true", help="on the CPU, with tiny settings")
    add("--record", type=Path, metavar="FOLDER", help="only keep the results of a call, with plot")
    add("--join", type=Path, metavar="FOLDER", help="only put a checkpoint together again")
    return parser


class Session:
    """The stages, their results and the time that is left."""

    def __init__(self, args: argparse.Namespace, device: Any, end_s: float) -> None:
        self.args, self.device, self.end_s = args, device, end_s
        self.plan = REHEARSAL if args.rehearse else Plan()
        self.failed = False
        args.out.mkdir(parents=True, exist_ok=True)
        kept = args.out / RESULTS
        self.results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        self.results["hardware"] = hardware(device)

    def stage(self, name: str, work: Callable[[], Any]) -> None:
        """Run one stage and write its results, or why there are none."""
        print(f"== {name}, {self.end_s - time.monotonic():.0f} s left", file=sys.stderr, flush=True)
        begun = time.monotonic()
        if begun > self.end_s:
            self.results.setdefault(name, {"skipped": "no time left"})
            return
        try:
            self.results[name] = work()
        except Exception as error:
            traceback.print_exc()
            self.failed = True
            self.results[name] = {"failed": f"{type(error).__name__}: {error}"}
        self.results.setdefault("seconds", {})[name] = round(time.monotonic() - begun, 1)
        (self.args.out / RESULTS).write_text(json.dumps(self.results, indent=1))

    def parity(self) -> dict[str, Any]:
        """The device against ONNX Runtime on the CPU, in float32 and with bf16 trunks."""
        import torch

        from rtcodec.bundle import find_bundle
        from rtcodec.models import parity

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        width, height = self.plan.parity_size
        count = max(self.plan.batches)
        planes = parity.made_up_frames(count, height, width, seed=1)
        results: dict[str, Any] = {}
        for name in self.args.models.split(","):
            bundle = find_bundle(name)
            reference = parity.Reference(bundle)
            frames = [
                reference.code(*pair) for pair in zip(planes, parity.spread_qps(count), strict=True)
            ]
            for label, kind in (("float32", None), ("bfloat16", torch.bfloat16)):
                networks = parity.networks_of(bundle).to(self.device)
                rows = list(
                    parity.differences(networks, bundle, frames, self.plan.batches, autocast=kind)
                )
                results[f"{name} {label}"] = parity.summary(rows)
                print(f"{name} {label}: {results[f'{name} {label}']}", file=sys.stderr)
        return results

    def speed(self) -> list[dict[str, Any]]:
        """Latency and throughput per size and batch; networks only, bf16 channels_last."""
        import torch

        from rtcodec.bundle import find_bundle
        from rtcodec.models.parity import networks_of

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        rows = []
        for name in self.args.models.split(","):
            bundle = find_bundle(name)
            networks: Any = networks_of(bundle).trunks_to(torch.bfloat16)
            networks = networks.to(device=self.device, memory_format=torch.channels_last)
            for (width, height), batch in itertools.product(self.plan.sizes, self.plan.batches):
                case = {"model": name, "width": width, "height": height, "batch": batch}
                calls = coding_calls(networks, bundle.gains, width, height, batch)
                for direction, call in calls.items():
                    times = time_call(call, self.device, self.plan.passes)
                    rate = round(1e3 * batch / times["p50_ms"], 1)
                    rows.append({**case, "direction": direction, **times, "frames_per_s": rate})
                    print(rows[-1], file=sys.stderr, flush=True)
        return rows

    def engine_parity(self) -> dict[str, Any]:
        """The whole engine: integers exact, rows of batches, drift against ONNX Runtime."""
        from benchmarks import _gpu_engine as gpu_engine
        from rtcodec.bundle import find_bundle
        from rtcodec.engine.loader import open_engine

        results: dict[str, Any] = {"versions": gpu_engine.versions()}
        width, height = self.plan.parity_size
        for name in self.args.models.split(","):
            bundle = find_bundle(name)
            engine, other = self._engine(bundle), open_engine("onnxruntime", bundle, threads=4)
            frames = gpu_engine.moving_frames(width, height, self.plan.drift_frames)
            own = results[name] = {
                "frames": type(engine.frames).__name__,
                "delta_samples_wrong": gpu_engine.delta_differences(
                    bundle, engine, other, frames=min(40, self.plan.drift_frames)
                ),
                "rows": gpu_engine.row_differences(engine, width, height, self.plan.batches),
                "written": gpu_engine.drift(engine, other, frames, 30),
                "read": gpu_engine.drift(other, engine, frames, 30),
            }
            engine.close()
            other.close()
            print(f"{name}: {own}", file=sys.stderr, flush=True)
            if own["delta_samples_wrong"]:
                raise AssertionError(f"{own['delta_samples_wrong']} samples of delta frames differ")
        return results

    def operations(self) -> dict[str, Any]:
        """Each operation by size and batch, and how far it is from the memory's speed."""
        from benchmarks import _gpu_engine as gpu_engine
        from rtcodec.bundle import find_bundle

        results: dict[str, Any] = {}
        for name in self.args.models.split(","):
            bundle = find_bundle(name)
            engine, rows = self._engine(bundle), []
            for width, height in self.plan.sizes:
                if time.monotonic() > self.end_s:
                    break
                rows += gpu_engine.operation_times(
                    engine, width, height, self.plan.batches, self.plan.passes
                )
                print(*rows[-4:], sep="\n", file=sys.stderr, flush=True)
            results[name] = {
                "frames": type(engine.frames).__name__,
                "rows": rows,
                "memory": gpu_engine.memory(engine, engine.memory_bytes()),
                "roofline": gpu_engine.roofline(rows, bundle, self.results["hardware"]["device"]),
            }
            engine.close()
        return results

    def profile(self) -> dict[str, Any]:
        """Which kernels the operations' time goes to."""
        from benchmarks import _gpu_engine as gpu_engine
        from rtcodec.bundle import find_bundle

        engine = self._engine(find_bundle(self.args.models.split(",")[0]))
        size = self.plan.sizes[min(1, len(self.plan.sizes) - 1)]
        batch = self.plan.batches[len(self.plan.batches) // 2]
        results = gpu_engine.kernel_times(engine, *size, batch)
        engine.close()
        return {"width": size[0], "height": size[1], "batch": batch, "operations": results}

    def streams(self) -> dict[str, Any]:
        """How many streams at 30 fps keep up, by size."""
        from benchmarks import _gpu_engine as gpu_engine
        from rtcodec.bundle import find_bundle

        results: dict[str, Any] = {}
        for name in self.args.models.split(","):
            engine, rows = self._engine(find_bundle(name)), []
            for width, height in self.plan.sizes[:2]:
                engine.warm_up(width, height, largest=max(self.plan.batches))
                rows += gpu_engine.most_streams(
                    engine, width, height, self.plan.streams, frames=self.plan.stream_frames,
                    may_go_on=lambda: time.monotonic() < self.end_s,
                )  # fmt: skip
                print(*rows, sep="\n", file=sys.stderr, flush=True)
            results[name] = rows
            engine.close()
        return results

    def switches(self) -> dict[str, Any]:
        """The same operations without CUDA graphs, and without kernels."""
        from benchmarks import _gpu_engine as gpu_engine
        from rtcodec.bundle import find_bundle

        bundle = find_bundle(self.args.models.split(",")[0])
        results = {}
        for off in ("", "graphs", "kernels", "graphs,kernels"):
            engine = self._engine(bundle, off=off)
            size, batch = self.plan.sizes[min(1, len(self.plan.sizes) - 1)], self.plan.batches[-2:]
            results[off or "nothing off"] = gpu_engine.operation_times(
                engine, *size, batch[:1], self.plan.passes
            )
            engine.close()
        return results

    def tensorrt(self) -> dict[str, Any]:
        """Build TensorRT's engines, if the library loads, and time the operations with them."""
        from benchmarks import _gpu_engine as gpu_engine
        from rtcodec.bundle import find_bundle
        from rtcodec.errors import RtcodecError
        from rtcodec_engines.plan_cache import PlanCache
        from rtcodec_engines.tensorrt_engine import TensorRtEngine
        from rtcodec_engines.tensorrt_networks import build_plans
        from rtcodec_engines.tensorrt_runtime import TensorRtRuntime

        bundle = find_bundle(self.args.models.split(",")[0])
        cache = PlanCache(self.args.out / "engines")
        try:
            runtime = TensorRtRuntime()
            built = [graph for graph, *_ in build_plans(bundle, runtime, cache)]
        except RtcodecError as error:
            return {"skipped": str(error)}
        engine = TensorRtEngine(bundle, runtime=runtime, cache=cache)
        rows = gpu_engine.operation_times(
            engine, *self.plan.sizes[-1], self.plan.batches, self.plan.passes
        )
        engine.close()
        return {"built": built, "name": engine.info.name, "problem": engine.problem, "rows": rows}

    def _engine(self, bundle: Any, *, off: str = "") -> Any:
        from rtcodec_engines.best_frames import best_frames, plain_frames
        from rtcodec_engines.cuda import CudaDevice
        from rtcodec_engines.device import CpuDevice
        from rtcodec_engines.torch_engine import TorchEngine

        cuda = self.device.type == "cuda"
        return TorchEngine(
            bundle,
            device=CudaDevice(graphs="graphs" not in off) if cuda else CpuDevice(),
            frames=plain_frames if "kernels" in off else best_frames,
            states=2 * max(self.plan.streams) + 2 * max(self.plan.batches),
        )

    def training(self) -> dict[str, Any]:
        """Train until the time is up; weights and what resuming needs go to the out folder."""
        from rtcodec.models.parts import bring_back
        from rtcodec.models.training import resumed

        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder)
            init = self._fetch_start(run)
            before = resumed(run)[0]
            try:
                done = self._train(run, init, compiled=None)
            except Exception:
                if resumed(run)[0] > before:
                    raise  # not the compiler's fault; what was saved comes back all the same
                traceback.print_exc()
                print("training again without torch.compile", file=sys.stderr)
                done = self._train(run, init, compiled=False)
            finally:
                bring_back(run, self.args.out)
            return {"steps": done.step, "elapsed_s": round(done.elapsed_s, 1)}

    def _fetch_start(self, run: Path) -> Path | None:
        """Put a checkpoint in *run* if there is one; else return weights to start from, if any."""
        from rtcodec.models.parts import PARTS, join
        from rtcodec.models.training import AVERAGES, CHECKPOINT

        start = self.args.start
        if start is None:
            return None
        if start.is_dir() and any(start.glob(PARTS)):
            join(start)
        if (start / CHECKPOINT).is_file():
            (run / CHECKPOINT).write_bytes((start / CHECKPOINT).read_bytes())
            return None
        averages: Path = start / AVERAGES if start.is_dir() else start
        return averages

    def _train(self, run: Path, init: Path | None, *, compiled: bool | None) -> Any:
        from rtcodec.models.config import TrainConfig
        from rtcodec.models.loop import Stop
        from rtcodec.models.train import train
        from rtcodec.models.training import resumed

        deadline_s = self.end_s - (1.0 if self.args.rehearse else RESERVE_S)
        left_s = max(1.0, deadline_s - time.monotonic())
        minutes = self.args.schedule_minutes
        config = TrainConfig(
            tier=self.args.tier,
            crop_px=self.plan.crop_px,
            batch=2 if self.args.rehearse else self.args.batch,
            screens=self.plan.screens,
            minutes=minutes or (resumed(run)[1] + left_s) / 60,
        )
        return train(
            config,
            self.args.data,
            None,
            run,
            self.device,
            init=init,
            stop=Stop(deadline_s),
            workers=2 if self.args.rehearse else self.args.workers,
            compiled=compiled,
        )


def hardware(device: Any) -> dict[str, str]:
    """What the figures were measured on."""
    import torch

    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}


def coding_calls(
    networks: Any, gains: Any, width: int, height: int, batch: int
) -> dict[str, Callable[[], None]]:
    """
    Encoding and decoding of a batch on fixed tensors.

    The scale indices are ready-made: the exact network that computes them is not timed here.
    """
    import torch

    device = next(networks.parameters()).device
    tier = networks.tier
    h, w = (-(-side // 64) * 64 for side in (height, width))
    at_16 = (batch, tier.latents, h // 16, w // 16)

    def random(shape: tuple[int, ...], low: int, high: int) -> Any:
        return torch.randint(low, high, shape, device=device)

    y = random((batch, 1, h, w), 0, 256).to(torch.uint8)
    u, v = (random((batch, 1, h // 2, w // 2), 0, 256).to(torch.uint8) for _ in range(2))
    rows = torch.from_numpy(gains[[24] * batch]).to(device)
    indices = random(at_16, 0, 64).to(torch.uint8)
    symbols = random(at_16, -2, 3).float()
    z = random((batch, tier.hyper_latents, h // 64, w // 64), -5, 6).float()
    # Without a cache of cast weights: a graph must not hold tensors of another context.
    mixed = {"device_type": device.type, "dtype": torch.bfloat16, "cache_enabled": False}

    def encode() -> None:
        with torch.no_grad(), torch.autocast(**mixed):
            latents, own_z = networks.analyse(y, u, v, rows)
            networks.residual(latents, own_z, indices)

    def decode() -> None:
        with torch.no_grad(), torch.autocast(**mixed):
            networks.synthesise(z, symbols, rows)

    return {"encode": encode, "decode": decode}


def time_call(call: Callable[[], None], device: Any, passes: int) -> dict[str, float]:
    """Milliseconds of one pass: eager, and (`p50_ms`, `p99_ms`) as a CUDA graph if there is one."""
    import torch

    def measure(work: Callable[[], None]) -> list[float]:
        times = []
        for _ in range(passes):
            begun = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - begun))
        return sorted(times)

    def figures(times: list[float]) -> dict[str, float]:
        p99 = times[min(len(times) - 1, round(0.99 * len(times)))]
        return {"p50_ms": round(statistics.median(times), 3), "p99_ms": round(p99, 3)}

    for _ in range(3):
        call()
    eager = measure(call)
    if device.type != "cuda":
        return figures(eager)
    new_stream: Any = torch.cuda.Stream
    side = new_stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    return {**figures(measure(graph.replay)), "eager_p50_ms": figures(eager)["p50_ms"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
