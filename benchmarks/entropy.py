"""
Measure the entropy coder, the scale network and the tile copies on one core.

    python -m benchmarks.entropy [--output FILE] [--seconds 1.0] [--image FILE ...]

The headline's latents are made up: channels fall off in energy, tiles differ,
and about 85 % of the scale indices are 0. With --image, the latents of the
shipped s128 at several qp are measured too. Every figure is the best of many
runs: what else the machine did does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import rtcodec
from rtcodec.bundle import find_bundle
from rtcodec.engine.api import EncodeJob
from rtcodec.entropy import build, native, native_tiles, tile
from rtcodec.entropy.cdf import Z_MAX, EntropyTables, example_tables
from rtcodec.entropy.rans import LANES
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.types import Planes

ROWS, COLUMNS = 6, 10  # tiles of 640x384
HYPER_CHANNELS, CHANNELS = 48, 320  # tier s128
QP = 30

Latents = tuple[NDArray[np.int8], NDArray[np.int16], NDArray[np.uint8]]


def make_latents(tables: EntropyTables, coded: float, seed: int = 1) -> Latents:
    """Draw z [T, Cz], symbols and indices [T, M, 16] with a share *coded* of indices above 0."""
    rng = np.random.default_rng(seed)
    n_tiles = ROWS * COLUMNS
    z = np.clip(rng.normal(0, 2, (n_tiles, HYPER_CHANNELS)).round(), -Z_MAX, Z_MAX)
    energy = (
        -np.arange(CHANNELS)[:, None] * (7 / CHANNELS)
        + rng.normal(0, 0.8, (n_tiles, 1, 1))
        + rng.normal(0, 0.3, (n_tiles, CHANNELS, 16))
    )
    above = energy - np.quantile(energy, 1 - coded)
    indices = np.clip(np.ceil(above * 9), 0, 63).astype(np.uint8)
    symbols = np.zeros(indices.shape, np.int16)
    for index in range(1, 64):  # drawn from the very tables that code them
        chosen = indices == index
        slots = rng.integers(0, 1 << 14, int(chosen.sum()))
        place = np.searchsorted(tables.y_cdf[index], slots, side="right") - 1
        symbols[chosen] = place - tables.radius[index]
    return z.astype(np.int8), symbols, indices


def make_scale_net(seed: int = 1) -> ScaleNet:
    """Draw a scale network of the size of s128."""
    rng = np.random.default_rng(seed)
    w = [
        rng.integers(-40, 41, shape).astype(np.int8)
        for shape in ((256, HYPER_CHANNELS), (384, 64), (CHANNELS, 96))
    ]
    b = [rng.integers(0, 1000, shape).astype(np.int32) for shape in ((64, 256), (384,))]
    b3 = rng.integers(-5, 20, (64, CHANNELS)).astype(np.int32)
    return ScaleNet(w[0], b[0], 4, w[1], b[1], 8, w[2], b3, 8)


def best_ms(work: Callable[[], object], seconds: float) -> float:
    """Return the shortest of the runs that fit into *seconds*, in milliseconds."""
    best_ns, end_ns = 1 << 62, time.perf_counter_ns() + round(seconds * 1e9)
    while time.perf_counter_ns() < end_ns:
        start_ns = time.perf_counter_ns()
        work()
        best_ns = min(best_ns, time.perf_counter_ns() - start_ns)
    return best_ns / 1e6


def measure_coder(
    tables: EntropyTables, latents: Latents, lanes: int, seconds: float, qp: int = QP
) -> dict[str, float]:
    """Measure one slice with one number of lanes."""
    z, symbols, indices = latents
    payload = native.encode_slice(tables, z, symbols, indices, qp, lanes)

    def decode() -> NDArray[np.int16]:
        decoder = native.SliceDecoder(tables, payload, len(z), qp, lanes)
        decoder.read_z()
        return decoder.read_y(indices)

    assert (decode() == symbols).all()
    decode_ms = best_ms(decode, seconds)
    encode_ms = best_ms(
        lambda: native.encode_slice(tables, z, symbols, indices, qp, lanes), seconds
    )
    n_all = z.size + indices.size
    n_coded = z.size + int(np.count_nonzero(indices))
    return {
        "coded_share": round(n_coded / n_all, 4),
        "not_zero_share": round((np.count_nonzero(z) + np.count_nonzero(symbols)) / n_all, 4),
        "lanes": lanes,
        "payload_bytes": len(payload),
        "decode_ms": round(decode_ms, 4),
        "encode_ms": round(encode_ms, 4),
        "decode_symbols_per_s": round(n_all / decode_ms * 1e3),
        "encode_symbols_per_s": round(n_all / encode_ms * 1e3),
        "decode_coded_symbols_per_s": round(n_coded / decode_ms * 1e3),
        "encode_coded_symbols_per_s": round(n_coded / encode_ms * 1e3),
    }


def measure_images(images: list[Path], seconds: float) -> list[dict[str, Any]]:
    """Measure the latents of the shipped s128 for images, scaled to 640x384."""
    if not images:
        return []
    from rtcodec_engines.openvino_engine import OpenVinoEngine

    bundle = find_bundle("s128")
    engine = OpenVinoEngine(bundle)
    state = engine.open_state(64 * COLUMNS, 64 * ROWS)
    tiles = np.arange(ROWS * COLUMNS, dtype=np.uint32)
    results: list[dict[str, Any]] = []
    for image in images:
        planes = read_planes(image)
        for qp in (8, 24, 32, 40, 56):
            job = EncodeJob(
                state=state, planes=planes, qp=qp, reference=None, store=None, neural=True
            )
            [output] = engine.encode([job])
            latents = (
                tile.gather_hyper(output.z, tiles),
                native_tiles.gather_tiles(output.symbols, tiles),
                native_tiles.gather_tiles(output.indices, tiles),
            )
            figures = measure_coder(bundle.entropy_tables, latents, 8, seconds, qp)
            results.append({"image": image.name, "qp": qp, **figures})
    engine.close()
    return results


def read_planes(image: Path) -> Planes:
    """Read an image as 4:2:0 planes of 640x384."""
    with Image.open(image) as opened:
        scaled = opened.convert("YCbCr").resize((64 * COLUMNS, 64 * ROWS))
    y, u, v = (np.asarray(band) for band in scaled.split())
    chroma = [
        band.reshape(32 * ROWS, 2, 32 * COLUMNS, 2).mean(axis=(1, 3)).round().astype(np.uint8)
        for band in (u, v)
    ]
    return Planes(np.ascontiguousarray(y), *chroma)


def measure_others(tables: EntropyTables, seconds: float) -> dict[str, float]:
    """Measure the scale network and the copies between frame and tile order, in ms a frame."""
    net = make_scale_net()
    z, symbols, indices = make_latents(tables, 0.15)
    tiles = np.arange(ROWS * COLUMNS, dtype=np.uint32)
    z_planes = np.zeros((HYPER_CHANNELS, ROWS, COLUMNS), np.int8)
    tile.scatter_hyper(z, tiles, z_planes)
    plane = np.zeros((CHANNELS, 4 * ROWS, 4 * COLUMNS), np.int16)
    index_plane = np.zeros(plane.shape, np.uint8)
    native_tiles.scatter_tiles(indices, tiles, index_plane)
    work: dict[str, Callable[[], object]] = {
        "scale_net_c": lambda: native_tiles.tile_indices(net, z, QP),
        "scale_net_c_plane_order": lambda: native_tiles.scale_indices(net, z_planes, QP),
        "scale_net_numpy_float32": lambda: net.indices(z_planes, QP),
        "gather_symbols": lambda: native_tiles.gather_tiles(plane, tiles),
        "gather_indices": lambda: native_tiles.gather_tiles(index_plane, tiles),
        "scatter_symbols": lambda: native_tiles.scatter_tiles(symbols, tiles, plane),
        "gather_symbols_numpy": lambda: tile.gather_tiles(plane, tiles),
    }
    return {f"{name}_ms": round(best_ms(run, seconds), 4) for name, run in work.items()}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    compiler = build.find_compiler(os.environ)
    cpu = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=True)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": version.stdout.splitlines()[0],
        "rtcodec": rtcodec.__version__,
        "commit": commit.stdout.strip() or "unknown",
    }


def main(arguments: list[str]) -> int:
    """Run everything and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.entropy", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--seconds", type=float, default=1.0, help="per figure (default: 1.0)")
    parser.add_argument("--image", type=Path, nargs="*", default=[], help="measure these as well")
    options = parser.parse_args(arguments)
    tables = example_tables(HYPER_CHANNELS)
    results = [
        measure_coder(tables, make_latents(tables, coded), lanes, options.seconds)
        for coded in (0.10, 0.15, 0.20, 0.50, 1.0)
        for lanes in LANES
    ]
    headline = next(r for r in results if r["lanes"] == 8 and 0.15 < r["coded_share"] < 0.18)
    report = {
        "command": " ".join(
            ["python -m benchmarks.entropy", *(["--image"] if options.image else [])]
            + [image.name for image in options.image]
        ),
        "machine": machine(),
        "frame": "640x384, s128: 307200 latents and 2880 hyper-latents, one slice, one core",
        "headline": headline,
        "coder": results,
        "other_ms": measure_others(tables, options.seconds),
        "shipped_model": measure_images(options.image, options.seconds),
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({"headline": headline, "other_ms": report["other_ms"]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
