"""`rtcodec doctor`: what hardware, engines and models are usable here, and why not."""

import argparse
import os
import platform
import sys
from typing import Any

import numpy as np

import rtcodec
from rtcodec.bundle import Bundle, find_bundle, installed_bundles
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.models_command import describe
from rtcodec.codec.self_test import measure_capacity
from rtcodec.codec.slicing import Slicing
from rtcodec.console import CLOCKS, available_cores, print_json
from rtcodec.engine.api import EncodeOutput
from rtcodec.engine.capacity import tiles_of
from rtcodec.engine.loader import AUTO, ENGINE_NAMES, open_engine, probe_engine
from rtcodec.errors import RtcodecError
from rtcodec.types import Planes

_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "neon", "asimd")
_SIDE_PX = 100
_SIZES = ((640, 360), (1280, 720))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec doctor`: 0 if something can encode and decode here, else 3."""
    report = examine()
    if args.json:
        print_json(report)
    else:
        for line in _lines(report):
            print(line)
    return 0 if report["usable"] else 3


def examine() -> dict[str, Any]:
    """Try everything once and return what was found."""
    models = [describe(path) for path in installed_bundles()]
    coder = _coder_problem()
    good = [model["name"] for model in models if model["problem"] is None]
    bundle = find_bundle(good[0]) if good else None
    engines = [
        _examine_engine(name, bundle if coder is None else None)
        for name in ENGINE_NAMES
        if name != AUTO
    ]
    symbols = [engine.pop("symbols") for engine in engines]
    tried = [s for s in symbols if s is not None]
    return {
        "version": rtcodec.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "cpu_flags": [flag for flag in _CPU_FLAGS if flag in _cpu_flags()],
        "entropy_coder": {"usable": coder is None, "problem": coder},
        "models": models,
        "engines": engines,
        "capacity": [_examine_capacity(name) for name in good] if any(tried) else [],
        "round_trips_exact": all(tried) if tried else None,
        "usable": any(s is not None and s for s in symbols),
    }


def _examine_engine(name: str, bundle: Bundle | None) -> dict[str, Any]:
    report = probe_engine(name)
    found: dict[str, Any] = {
        "name": name,
        "usable": report.usable,
        "about": report.reason,
        "versions": dict(report.versions),
        "symbols": None,
    }
    if report.usable and bundle is not None:
        try:
            found["symbols"] = _round_trip(name, bundle)
        except RtcodecError as error:
            found.update(usable=False, about=str(error))
    return found


def _examine_capacity(model: str) -> dict[str, Any]:
    """Measure what frames of a model cost, and say how many streams that is."""
    bundle, cores = find_bundle(model), available_cores()
    engine = open_engine(AUTO, bundle, threads=cores)
    try:
        capacity = measure_capacity(engine, bundle, clocks=CLOCKS, cores=cores, size=_SIZES[0])
    except RtcodecError as error:
        return {"model": model, "engine": engine.info.name, "problem": str(error)}
    finally:
        engine.close()
    costs = capacity.costs
    return {
        "model": model,
        "engine": engine.info.name,
        "problem": None,
        "lanes": capacity.lanes,
        "cores": cores,
        "best_batch": capacity.curve.best(max(size for size, _ in capacity.batches)),
        "ms": {
            f"{width}x{height}": {
                "encode": _ms(costs.encode_us, width, height),
                "entropy_coder": _ms(costs.code_us, width, height),
                "decode": _ms(costs.decode_us, width, height),
            }
            for width, height in _SIZES
        },
        "streams": {
            f"{height}p30": {
                duty: round(count, 1) for duty, count in capacity.streams(width, height).items()
            }
            for width, height in _SIZES
        },
    }


def _ms(us_per_tile: float, width: int, height: int) -> float:
    return round(us_per_tile * tiles_of(width, height) / 1000, 2)


def _round_trip(name: str, bundle: Bundle) -> bool:
    """Code and decode a small frame, in every way; say whether the symbols came back."""
    engine = open_engine(name, bundle)
    ramp = np.add.outer(np.arange(_SIDE_PX), np.arange(_SIDE_PX)).astype(np.uint8)
    chroma = np.ascontiguousarray(ramp[::2, ::2])
    packer = FramePacker(bundle.entropy_tables, Slicing(), spatial_tables=bundle.spatial_tables)
    decoder = FrameDecoder(engine, bundle, _SIDE_PX, _SIDE_PX)
    came_back = []
    for neural in (True, False):
        encoder = FrameEncoder(engine, packer, _SIDE_PX, _SIDE_PX, neural=neural)
        coded = encoder.encode(Planes(ramp, chroma, chroma), qp=20, pts=0, keyframe=True)
        decoded = decoder.decode(coded.unit.packets)
        came_back.append(_same(coded.output, decoded.frame.z, decoded.frame.symbols))
    engine.close()
    return all(came_back)


def _same(output: EncodeOutput, z: np.ndarray[Any, Any], symbols: np.ndarray[Any, Any]) -> bool:
    return np.array_equal(output.z, z) and np.array_equal(output.symbols, symbols)


def _coder_problem() -> str | None:
    """Return why the compiled entropy coder cannot be used, or None."""
    from rtcodec.entropy.native_tiles import gather_tiles

    try:
        gather_tiles(np.zeros((1, 4, 4), np.uint8), np.zeros(1, np.uint32))
    except RtcodecError as error:
        return str(error)
    return None


def _cpu_flags() -> set[str]:
    """Return the instruction sets that the system names; empty where it names none."""
    if not os.path.exists("/proc/cpuinfo"):
        return set()
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return set(value.split())
    return set()


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"rtcodec {report['version']}, Python {report['python']}, {report['system']}",
        f"{report['cores']} cores ({', '.join(report['cpu_flags']) or 'no vector extensions'})",
        _verdict("entropy coder", report["entropy_coder"]["problem"], "compiled"),
    ]
    for engine in report["engines"]:
        versions = " ".join(f"{k} {v}" for k, v in engine["versions"].items())
        about = f"{engine['about']} {versions}".strip()
        lines.append(_verdict(engine["name"], None if engine["usable"] else about, about))
    for model in report["models"]:
        about = model.get("model_id", "")
        lines.append(_verdict(f"model {model['name']}", model["problem"], about))
    for capacity in report["capacity"]:
        about = capacity["problem"] or _capacity_line(capacity)
        lines.append(_verdict(f"room {capacity['model']}", capacity["problem"], about))
    if not report["models"]:
        lines.append(_verdict("models", "none are installed", ""))
    if report["round_trips_exact"] is False:
        lines.append("warning: symbols did not survive a round trip on some engine")
    if not report["usable"]:
        lines.append(f"nothing here can encode or decode; Python is {sys.executable}")
    return lines


def _capacity_line(capacity: dict[str, Any]) -> str:
    """Say how many streams of each size fit, where each does one thing."""
    sizes = [
        f"{name} " + ", ".join(f"{duty} {count:g}" for duty, count in duties.items())
        for name, duties in capacity["streams"].items()
    ]
    return f"{'; '.join(sizes)} ({capacity['engine']}, {capacity['cores']} cores)"


def _verdict(name: str, problem: str | None, about: str) -> str:
    return (
        f"{name:<16} {'ok' if problem is None else 'NO'}  {about if problem is None else problem}"
    )
