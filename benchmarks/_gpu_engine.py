"""
What `benchmarks.gpu` measures of the GPU engine as a whole; on a CPU the same, to rehearse.

    parity      delta frames against C, batches against frames alone, drift from ONNX Runtime
    operations  milliseconds of each operation by size and batch: on the device, and in all
    kernels     which of them take the time
    streams     how many streams at 30 fps, encoded and decoded both, and how late they come
    roofline    what an operation must move, at least, against what the memory could

Results are plain dictionaries. Nothing here reads arguments or writes files.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.batch_rows import (
    DECODE_DELTA,
    DECODE_INTRA,
    ENCODE_DELTA,
    ENCODE_INTRA,
    padded_size,
)
from rtcodec_engines.device import LISTED, Arrays
from rtcodec_engines.torch_engine import TorchEngine

OPERATIONS = (ENCODE_INTRA, DECODE_INTRA, ENCODE_DELTA, DECODE_DELTA)
FRAME_S = 1 / 30
PROFILED, MOST_KERNELS = 3, 12

PEAK_BYTES_PER_S = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "L4": 0.3e12, "T4": 0.32e12}
"Of the memories of GPUs, by a part of their name; the makers' figures."


def moving_frames(width: int, height: int, count: int, *, seed: int = 0) -> list[Planes]:
    """A clip: a textured background that pans by a sample a frame, and a part that stands still."""
    rng = np.random.default_rng(seed)
    planes = []
    for side in (1, 2, 2):
        h, w = -(-height // side), -(-width // side)
        coarse = rng.integers(40, 216, (h // 8 + 2, (w + count) // 8 + 2))
        smooth = np.kron(coarse, np.ones((8, 8)))
        smooth = (smooth + np.roll(smooth, 4, 0) + np.roll(smooth, 4, 1)) / 3
        planes.append((smooth + rng.normal(0, 2, smooth.shape)).clip(0, 255).astype(np.uint8))
    frames = []
    for t in range(count):
        moved = []
        for plane, side in zip(planes, (1, 2, 2), strict=True):
            h, w = -(-height // side), -(-width // side)
            view = plane[:h, t // side : t // side + w].copy()
            view[: h // 2, : w // 2] = plane[: h // 2, : w // 2]
            moved.append(view)
        frames.append(Planes(*moved))
    return frames


def encode_job(state: Any, planes: Planes, qp: int, t: int) -> EncodeJob:
    return EncodeJob(
        state, planes, qp, reference=(t - 1) % 2 if t else None, store=t % 2, reconstruct=True
    )


def _decode_job(state: Any, output: EncodeOutput, planes: Planes, qp: int, t: int) -> DecodeJob:
    return DecodeJob(
        state,
        output.z,
        output.symbols,
        qp,
        planes.width,
        planes.height,
        reference=(t - 1) % 2 if output.is_delta else None,
        store=t % 2,
        spatial=output.is_spatial,
    )


def drift(writer: Engine, reader: Engine, frames: Sequence[Planes], qp: int) -> dict[str, float]:
    """What one engine codes, decoded by another, frame after frame: how far pictures part."""
    width, height = frames[0].width, frames[0].height
    source, sink = writer.open_state(width, height), reader.open_state(width, height)
    worst, last, largest = 0.0, 0.0, 0
    for t, planes in enumerate(frames):
        output = writer.encode([encode_job(source, planes, qp, t)])[0]
        shown = reader.decode([_decode_job(sink, output, planes, qp, t)])[0]
        own = output.reconstruction
        assert own is not None
        last = abs(picture_psnr(planes, own).y - picture_psnr(planes, shown).y)
        worst = max(worst, last)
        largest = max(largest, int(np.abs(own.y.astype(np.int16) - shown.y).max()))
    writer.close_state(source)
    reader.close_state(sink)
    return {"frames": len(frames), "worst_db": worst, "last_db": last, "largest_sample": largest}


def delta_differences(bundle: Bundle, engine: Engine, other: Engine, *, frames: int) -> int:
    """Samples that differ after delta frames of random symbols on a grey picture: has to be 0."""
    assert bundle.delta is not None
    rng = np.random.default_rng(5)
    width, height = 250, 190
    z = np.zeros((bundle.hyper_channels, 3, 4), np.int8)
    states = [one.open_state(width, height) for one in (engine, other)]
    blank = np.zeros((bundle.latent_channels, 12, 16), np.int16)
    for one, state in zip((engine, other), states, strict=True):
        one.decode([DecodeJob(state, z, blank, 30, width, height, store=0)])
    wrong = 0
    for t in range(frames):
        symbols = _random_symbols(rng, bundle.delta.latent_channels, alone=t == 0)
        qp, reference, store = int(rng.integers(64)), t % 3, (t + 1) % 3
        shown = [
            one.decode(
                [DecodeJob(s, z, symbols, qp, width, height, reference=reference, store=store)]
            )[0]
            for one, s in zip((engine, other), states, strict=True)
        ]
        for name in ("y", "u", "v"):
            wrong += int((getattr(shown[0], name) != getattr(shown[1], name)).sum())
    for one, state in zip((engine, other), states, strict=True):
        one.close_state(state)
    return wrong


def _random_symbols(rng: np.random.Generator, channels: int, *, alone: bool) -> NDArray[np.int16]:
    symbols = np.zeros((channels, 12, 16), np.int16)
    some = rng.random((384, 12, 16)) < 0.01
    symbols[:384] = some * rng.integers(-9, 10, some.shape)
    if alone:
        symbols[386] = 1  # grey: nothing of the picture before is left
        return symbols
    symbols[384:393] = rng.integers(-40, 41, (9, 12, 16)) * (rng.random((9, 12, 16)) < 0.2)
    symbols[386] = rng.choice([-1, 0, 1], (12, 16), p=[0.02, 0.9, 0.08])
    symbols[393] = rng.random((12, 16)) < 0.4
    return symbols


def row_differences(engine: TorchEngine, width: int, height: int, batches: Sequence[int]) -> Any:
    """Frames in batches against the same frames alone: shares of symbols that are the same."""
    clips = [moving_frames(width, height, 2, seed=k) for k in range(max(batches))]
    qps = [round(k * 63 / max(1, len(clips) - 1)) for k in range(len(clips))]

    def coded(few: Sequence[int], *, together: bool) -> list[list[EncodeOutput]]:
        states = [engine.open_state(width, height) for _ in few]
        frames = []
        for t in range(2):
            jobs = [encode_job(s, clips[k][t], qps[k], t) for s, k in zip(states, few, strict=True)]
            frames.append(
                engine.encode(jobs) if together else [engine.encode([job])[0] for job in jobs]
            )
        for state in states:
            engine.close_state(state)
        return frames

    alone = coded(range(len(clips)), together=False)
    out = {}
    for size in batches:
        batch = coded(range(size), together=True)
        out[str(size)] = {
            name: min(
                float((a.symbols == b.symbols).mean())
                for a, b in zip(batch[t], alone[t], strict=False)
            )
            for t, name in enumerate(("intra", "delta"))
        }
    return out


def operation_times(
    engine: TorchEngine, width: int, height: int, batches: Sequence[int], passes: int
) -> list[dict[str, Any]]:
    """Milliseconds of each operation and batch; see the fields."""
    size = padded_size(width, height)
    state = engine.open_state(width, height)
    rows = []
    planes = moving_frames(width, height, 2)[1]
    for batch in batches:
        for operation in OPERATIONS:

            def measure(lanes: Any, operation: str = operation, batch: int = batch) -> Any:
                lane = lanes[0]
                begun = time.perf_counter()
                key = engine.prepare(lane, (operation, size), batch)
                prepared_s = time.perf_counter() - begun
                _fill(lane.inputs(key), planes)
                launches, walls = [], []
                for _ in range(passes):
                    begun = time.perf_counter()
                    lane.launch(key)
                    launches.append(time.perf_counter() - begun)
                    lane.wait()
                    walls.append(time.perf_counter() - begun)
                return prepared_s, launches, walls, lane.device_ms(key, passes)

            prepared_s, launches, walls, device_ms = engine.batching.call(measure)
            wall = statistics.median(walls) * 1e3
            rows.append(
                {
                    "width": width,
                    "height": height,
                    "batch": batch,
                    "operation": operation,
                    "wall_p50_ms": round(wall, 3),
                    "wall_p99_ms": round(_p99(walls) * 1e3, 3),
                    "launch_p50_ms": round(statistics.median(launches) * 1e3, 3),
                    "device_ms": None if device_ms is None else round(device_ms, 3),
                    "frames_per_s": round(1e3 * batch / wall, 1),
                    "prepared_s": round(prepared_s, 2),
                }
            )
    engine.close_state(state)
    return rows


def kernel_times(engine: TorchEngine, width: int, height: int, batch: int) -> dict[str, Any]:
    """The kernels, or on a CPU the operators, that take most of each operation's time."""
    from torch.profiler import ProfilerActivity, profile

    size = padded_size(width, height)
    state = engine.open_state(width, height)
    planes = moving_frames(width, height, 2)[1]
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    field = "self_device_time_total" if on_gpu else "self_cpu_time_total"

    def measure(lanes: Any, operation: str) -> list[dict[str, Any]]:
        lane = lanes[0]
        key = engine.prepare(lane, (operation, size), batch)
        _fill(lane.inputs(key), planes)
        with profile(activities=activities) as seen:
            for _ in range(PROFILED):
                lane.launch(key)
                lane.wait()
        found = seen.key_averages()
        total = sum(getattr(event, field) for event in found)
        found = sorted(found, key=lambda event: -getattr(event, field))[:MOST_KERNELS]
        return [
            {
                "name": event.key[:80],
                "launches": event.count // PROFILED,
                "ms": round(getattr(event, field) / 1e3 / PROFILED, 4),
                "part": round(getattr(event, field) / max(total, 1), 3),
            }
            for event in found
        ]

    results = {
        operation: engine.batching.call(partial(measure, operation=operation))
        for operation in OPERATIONS
    }
    engine.close_state(state)
    return results


def _fill(inputs: Arrays, planes: Planes) -> None:
    """Give a program something like a call to do."""
    if "y" in inputs:
        inputs["y"][:, : planes.height, : planes.width] = planes.y
    if LISTED in inputs:
        inputs[LISTED][:, ::3] = True  # a third of the tiles


def streams_at_30_fps(
    engine: TorchEngine, width: int, height: int, count: int, *, frames: int
) -> dict[str, Any]:
    """
    Encode and decode *count* streams at 30 fps, each in a thread of its own, evenly apart.

    Returns:
        How late frames were, from when they were due to when they were decoded again.
    """
    clip = moving_frames(width, height, 8)
    clip = [*clip, *clip[-2:0:-1]]
    late: list[float] = []
    lock = threading.Lock()
    begin = time.perf_counter() + 0.2

    def stream(number: int) -> None:
        writer, reader = (engine.open_state(width, height) for _ in range(2))
        own = []
        for t in range(frames):
            due = begin + (t + number / count) * FRAME_S
            time.sleep(max(0.0, due - time.perf_counter()))
            planes = clip[t % len(clip)]
            output = engine.encode([encode_job(writer, planes, 30, t)])[0]
            engine.decode([_decode_job(reader, output, planes, 30, t)])
            own.append(time.perf_counter() - due)
        engine.close_state(writer)
        engine.close_state(reader)
        with lock:
            late.extend(own[frames // 4 :])  # after the first frames, which are intra

    before = dict(engine.batching.batches)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(stream, range(count)))
    batches = {k: n - before[k] for k, n in engine.batching.batches.items()}
    p99 = _p99(late)
    return {
        "streams": count,
        "p50_ms": round(statistics.median(late) * 1e3, 2),
        "p99_ms": round(p99 * 1e3, 2),
        "keeps_up": p99 < FRAME_S,
        "batches": {str(k): n for k, n in batches.items() if n},
    }


def most_streams(
    engine: TorchEngine,
    width: int,
    height: int,
    counts: Sequence[int],
    *,
    frames: int,
    may_go_on: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Try more and more streams until they do not keep up, or the time is over."""
    rows = []
    for count in counts:
        if not may_go_on():
            break
        rows.append({"width": width, "height": height})
        rows[-1] |= streams_at_30_fps(engine, width, height, count, frames=frames)
        if not rows[-1]["keeps_up"]:
            break
    return rows


def roofline(rows: Sequence[dict[str, Any]], bundle: Bundle, device: str) -> list[dict[str, Any]]:
    """
    What operations move, at least, against the memory's speed.

    Counted are the tensors that come in, go out or are stored, once each; what an operation writes
    and reads on its way is what keeps it from there.
    """
    peak = next((rate for part, rate in PEAK_BYTES_PER_S.items() if part in device), None)
    table = []
    for row in rows:
        bytes_moved = row["batch"] * least_bytes(
            bundle, row["operation"], row["width"], row["height"]
        )
        ms = row["device_ms"] or row["wall_p50_ms"]
        rate = bytes_moved / (ms / 1e3)
        table.append(
            {
                **{key: row[key] for key in ("width", "height", "batch", "operation")},
                "least_mb": round(bytes_moved / 1e6, 2),
                "gb_per_s": round(rate / 1e9, 6),
                "of_peak": None if peak is None else round(rate / peak, 4),
            }
        )
    return table


def least_bytes(bundle: Bundle, operation: str, width: int, height: int) -> int:
    """Bytes of one frame that an operation reads or writes whatever it does in between."""
    rows, columns = padded_size(width, height)
    samples = rows * columns * 3 // 2
    places = rows * columns // 256
    is_delta = operation in (ENCODE_DELTA, DECODE_DELTA) and bundle.delta is not None
    channels = (bundle.delta or bundle).latent_channels if is_delta else bundle.latent_channels
    moved = samples + 2 * samples  # shown, and stored in 12 bits
    moved += places * channels * 2  # symbols
    if is_delta:
        moved += 2 * samples  # what it is predicted from
    if operation in (ENCODE_INTRA, ENCODE_DELTA):
        moved += samples + places * channels  # the source, indices
    return moved


def _p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds, at most."""
    return sorted(values)[math.ceil(0.99 * (len(values) - 1))]


def memory(engine: TorchEngine, device_bytes: int) -> dict[str, int]:
    """Bytes of weights, and of the device in all."""
    kept = (*engine.frames.parameters(), *engine.frames.buffers())
    weights = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    return {"weights_bytes": weights, "device_bytes": device_bytes}


def versions() -> dict[str, str]:
    """Of the libraries that matter."""
    found: dict[str, str] = {"torch": str(torch.__version__)}
    for name in ("triton", "tensorrt", "onnxruntime"):
        try:
            found[name] = str(__import__(name).__version__)
        except Exception as error:  # what is not installed, or does not load here
            found[name] = type(error).__name__
    return found
