"""
`rtcodec engines`: the TensorRT engines of this machine.

    rtcodec engines build            build those of all installed models that are not there yet
    rtcodec engines list --json      what the cache holds
    rtcodec engines check s128       load them and compare every row of every batch with torch
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rtcodec.bundle import Bundle, find_bundle, installed_bundles
from rtcodec.console import print_json
from rtcodec.errors import ConfigError, EngineError
from rtcodec_engines.plan_cache import PlanCache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec engines`."""
    add = parser.add_argument
    add("action", choices=("build", "list", "check"), help="what to do")
    add("models", nargs="*", help="models; default: all that are installed")
    add("--cache", type=Path, help="folder of built engines (default: $XDG_CACHE_HOME/rtcodec)")
    add("--again", action="store_true", help="build what is there, too")
    add("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec engines`: 0, or 3 if an engine cannot be built or used."""
    cache = PlanCache(args.cache)
    if args.action == "list":
        return _list(cache, as_json=args.json)
    bundles = [find_bundle(name) for name in args.models]
    bundles = bundles or [Bundle.load(path) for path in installed_bundles()]
    return _act(args, cache, bundles)


def _list(cache: PlanCache, *, as_json: bool) -> int:
    found = [
        {"file": one.path.name, "bytes": one.size_bytes, "damaged": not one.about, **one.about}
        for one in cache.stored()
    ]
    if as_json:
        print_json({"folder": str(cache.folder), "engines": found})
        return 0
    for one in found:
        about = "damaged" if one["damaged"] else f"{one['library']} on {one['gpu']}"
        print(f"{one['file']}  {one['bytes'] / 2**20:.1f} MiB  {about}")
    print(f"{len(found)} engines in {cache.folder}", file=sys.stderr)
    return 0


def _act(args: argparse.Namespace, cache: PlanCache, bundles: list[Bundle]) -> int:
    # Torch and TensorRT take seconds to load, and `list` needs neither.
    from rtcodec_engines import tensorrt_runtime
    from rtcodec_engines.tensorrt_engine import checked_networks
    from rtcodec_engines.tensorrt_networks import build_plans

    runtime = tensorrt_runtime.TensorRtRuntime()
    results: list[dict[str, Any]] = []
    for bundle in bundles:
        result: dict[str, Any] = {"model": bundle.name, "problem": None}
        try:
            if args.action == "build":
                for graph, path, size in build_plans(bundle, runtime, cache, again=args.again):
                    print(f"{bundle.name} {graph}: {size / 2**20:.1f} MiB, {path}", file=sys.stderr)
            checked_networks(bundle, runtime.device, runtime, cache)
        except (ConfigError, EngineError) as error:
            result["problem"] = str(error)
        results.append(result)
        if not args.json:
            print(f"{bundle.name}: {result['problem'] or 'ok'}")
    if args.json:
        print_json({"folder": str(cache.folder), "models": results})
    return 3 if any(result["problem"] for result in results) else 0
