"""`rtcodec models`: what models are installed."""

import argparse
from pathlib import Path
from typing import Any

from rtcodec.bitstream.sequence import MODEL_ID_BYTES
from rtcodec.bundle import DELTA, SPATIAL, WEIGHTS_DIR, Bundle, installed_bundles
from rtcodec.console import print_json
from rtcodec.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec models`."""
    parser.add_argument(
        "--folder", type=Path, default=WEIGHTS_DIR, help="where to look for .rtcm files"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec models`."""
    entries = [describe(path) for path in installed_bundles(args.folder)]
    if args.json:
        print_json({"folder": str(args.folder), "models": entries})
        return 0
    if not entries:
        raise ConfigError(f"no models in {args.folder}")
    for entry in entries:
        print(_line(entry))
    return 0


def describe(path: Path) -> dict[str, Any]:
    """Return what there is to say about one bundle file; `problem` if it is no good."""
    try:
        bundle = Bundle.load(path)
        problem = _problem(bundle)
    except ConfigError as error:
        return {"name": path.stem, "path": str(path), "problem": str(error)}
    files = [path, *(bundle.graph_path(graph) for graph in bundle.graph_sha256)]
    return {
        "name": bundle.name,
        "path": str(path),
        "model_id": bundle.model_id[:MODEL_ID_BYTES].hex(),
        "dims": dict(bundle.dims),
        "size_bytes": sum(file.stat().st_size for file in files if file.is_file()),
        "card": dict(bundle.card),
        "versions": dict(bundle.versions),
        "problem": problem,
    }


def _problem(bundle: Bundle) -> str | None:
    """Return why a bundle that loads cannot be used, or None."""
    try:
        for part in (bundle, bundle.delta, bundle.spatial):
            if part is not None:
                _ = part.entropy_tables, part.scale_net
        for graph in bundle.graphs:
            bundle.read_graph(graph)
    except ConfigError as error:
        return str(error)
    return None


def _line(entry: dict[str, Any]) -> str:
    if "model_id" not in entry:
        return f"{entry['name']:<8} unusable: {entry['problem']}"
    dims = entry["dims"]
    text = (
        f"{entry['name']:<8} {entry['model_id']}  {dims['M']} latent channels, "
        f"{entry['size_bytes'] / 1e6:.1f} MB"
    )
    steps = entry["card"].get("steps")
    if steps is not None:
        text += f", trained for {steps} steps"
    parts = {kind: entry["card"].get(kind, {}).get("steps") for kind in (DELTA, SPATIAL)}
    told = [f"{kind} frames {steps}" for kind, steps in parts.items() if steps is not None]
    if told:
        text += f" ({', '.join(told)})"
    return text if entry["problem"] is None else f"{text}; unusable: {entry['problem']}"
