"""`rtcodec webmodel`: write a model as browsers load it."""

import argparse
from pathlib import Path

from rtcodec.bundle import find_bundle
from rtcodec.console import print_json
from rtcodec.media.atomic import atomic_file
from rtcodec.models.web import web_model, web_model_name
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec webmodel`."""
    parser.add_argument("model", metavar="MODEL", help="installed model, or path of a .rtcm file")
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="where to write it (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec webmodel`."""
    bundle = find_bundle(args.model)
    content = web_model(bundle, head=load_restorer_model(PERCEPTUAL).tensors)
    path = args.folder / web_model_name(bundle, content)
    with atomic_file(path) as target:
        target.write_bytes(content)
    if args.json:
        print_json({"path": str(path), "model": bundle.name, "size_bytes": len(content)})
    else:
        print(path)
    return 0
