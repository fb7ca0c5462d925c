"""`rtcodec restore`: JPEG files without their artefacts, as PNG."""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image

from rtcodec.codec.still_restorer import SUFFIXES, RestoredStill, restore_still
from rtcodec.console import (
    Progress,
    StageTimes,
    available_cores,
    integer_between,
    print_json,
    say,
    tidy_on_terminate,
)
from rtcodec.engine.restorer import AUTO, RESTORER_NAMES, Restorer, open_restorer
from rtcodec.errors import ConfigError, InputError
from rtcodec.media.atomic import atomic_file
from rtcodec.restorer_model import JPEG, load_restorer_model

_OUTPUT = ".png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec restore`."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="a JPEG file, or a folder of them"
    )
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="the .png to write; of a folder, another folder"
    )
    parser.add_argument("--engine", choices=RESTORER_NAMES, default=AUTO, help="what runs it")
    parser.add_argument(
        "--threads", type=integer_between(1, 1024), metavar="N", help="cores to use (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec restore`."""
    pairs = _pairs(args.input, args.output)
    model = load_restorer_model(JPEG)
    restorer = open_restorer(model, args.engine, threads=args.threads or available_cores())
    rows, times = [], StageTimes()
    with tidy_on_terminate(), Progress(f"restoring {args.input.name}", len(pairs)) as progress:
        if args.input.is_dir():
            args.output.mkdir(parents=True, exist_ok=True)
        for source, target in pairs:
            rows.append(_restore(source, target, restorer, times))
            progress.step(source.name)
    if args.json:
        print_json(
            {
                "files": rows,
                "engine": restorer.name,
                "model": f"{model.name} {model.model_id[:16]}",
                "time_ms": times.quantiles(),
            }
        )
    else:
        say(f"{args.output}: {len(rows)} restored in {times.elapsed_s:.1f} s")
    return 0


def _restore(source: Path, target: Path, restorer: Restorer, times: StageTimes) -> dict[str, Any]:
    with times.stage("restore"):
        still = restore_still(source, restorer)
    with times.stage("write"), atomic_file(target) as partial:
        _write(source, partial, still)
    changed = (still.decoded.y != still.restored.y).mean()
    return {
        "input": str(source),
        "output": str(target),
        "width": still.decoded.width,
        "height": still.decoded.height,
        "changed_luma_percent": round(100 * float(changed), 1),
    }


def _write(source: Path, target: Path, still: RestoredStill) -> None:
    """Write the picture with the colour profile and the orientation of the file it was."""
    with Image.open(source) as image:
        profile, exif = image.info.get("icc_profile"), image.info.get("exif")
    extra = {"icc_profile": profile, "exif": exif}
    Image.fromarray(still.rgb).save(
        target, "PNG", **{key: value for key, value in extra.items() if value}
    )


def _pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return what is read and where it goes; a folder's subfolders are left alone."""
    if not source.exists():
        raise InputError(f"{source}: no such file")
    if not source.is_dir():
        if target.suffix.lower() != _OUTPUT:
            raise ConfigError(f"{target}: the output of restore is a {_OUTPUT} file")
        return [(source, target)]
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: the output for a folder is a folder")
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{source}: no {' or '.join(SUFFIXES)} files in it")
    pairs = [(path, target / f"{path.stem}{_OUTPUT}") for path in files]
    names = [output.name for _, output in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: two files would become {twice}")
    return pairs
