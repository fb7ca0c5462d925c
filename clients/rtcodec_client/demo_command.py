"""
`rtcodec demo`: the main job on this machine, with no set-up.

Talks on stderr; `--json` prints the report on stdout as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rtcodec.bundle import find_bundle
from rtcodec.engine.loader import ENGINE_NAMES
from rtcodec.errors import ConfigError, InputError
from rtcodec.media.video_encoder import CODECS
from rtcodec_client.demo import Demo
from rtcodec_client.demo_report import DemoOptions, summary_lines
from rtcodec_client.display import open_display
from rtcodec_client.shell import run_async, say
from rtcodec_client.source import Source, SourceOptions, open_source, parse_size
from rtcodec_client.watch_command import DEFAULT_MODEL, NULL

_PATTERN_SECONDS = 10.0
_CAMERA_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec demo`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--input", metavar="FILE", help="any video; by default a scene is drawn")
    what.add_argument("--camera", action="store_true", help="use the webcam")
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"stop after this much (default {_PATTERN_SECONDS:g} drawn, {_CAMERA_SECONDS:g} of "
        "a camera, all of a file)",
    )
    parser.add_argument("--fps", type=float, help="play at this rate, whatever the file says")
    parser.add_argument("--size", metavar="WxH", help="of the drawn scene or the camera")
    parser.add_argument(
        "--out", type=Path, default=Path("rtcodec-demo"), metavar="DIR", help="for the results"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an installed model")
    parser.add_argument(
        "--engine", choices=(*ENGINE_NAMES, NULL), default="auto", help="what runs the networks"
    )
    parser.add_argument("--qp", type=int, help="quantiser, 0 (finest) to 63; default the relay's")
    parser.add_argument("--codec", choices=CODECS, default="vp8", help="of the first hop")
    parser.add_argument("--bitrate", type=float, metavar="KBPS", help="most of the first hop")
    parser.add_argument("--port", type=int, default=0, help="of the relay; 0 takes a free one")
    parser.add_argument("--threads", type=int, default=1, help="of each of the two engines")
    parser.add_argument("--json", action="store_true", help="print the report on stdout too")


def run(args: argparse.Namespace) -> int:
    """Run the demo and leave its results in a folder."""
    options = _options(args)
    with (
        tempfile.TemporaryDirectory(prefix="rtcodec-", dir=_memory_dir()) as work,
        open_display() as display,
    ):
        demo = Demo(options, display, Path(work))
        report = run_async(demo.run)
    demo.files.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for line in summary_lines(report):
        say(line)
    for path in demo.files.all():
        if path.exists():
            say(f"wrote      {path}")
    if args.json:
        print(json.dumps(report))
    if not report["frames"]["decoded"]:
        raise InputError("not one frame came through")
    return 0


def _options(args: argparse.Namespace) -> DemoOptions:
    if not 0 <= args.port <= 65535:
        raise ConfigError(f"port {args.port} is outside 0..65535")
    if not 1 <= args.threads <= 64:
        raise ConfigError(f"{args.threads} threads is outside 1..64")
    if args.qp is not None and not 0 <= args.qp <= 63:
        raise ConfigError(f"qp {args.qp} is outside 0..63")
    if args.engine != NULL:
        find_bundle(args.model)  # a wrong name should be said before anything starts
    name, seconds = _input(args)
    source = _try_source(args, name, seconds)
    size = next(iter(source)).planes.y.shape if source is not None else (360, 640)
    return DemoOptions(
        input=name,
        out=_made(args.out),
        seconds=seconds,
        frame_rate=args.fps,
        size=(size[1], size[0]),
        duration_s=source.duration_s if source is not None else seconds,
        model=args.model,
        engine=args.engine,
        codec=args.codec,
        bitrate_kbps=args.bitrate,
        qp=args.qp,
        relay_threads=args.threads,
        watch_threads=args.threads,
        port=args.port,
    )


def _input(args: argparse.Namespace) -> tuple[str, float | None]:
    """Return INPUT as `rtcodec publish` takes it, and how long to play it."""
    if args.camera:
        return "camera", args.seconds or _CAMERA_SECONDS
    if args.input is not None:
        return args.input, args.seconds
    size = parse_size(args.size) if args.size else (640, 360)
    return f"pattern:{size[0]}x{size[1]}", args.seconds or _PATTERN_SECONDS


def _try_source(args: argparse.Namespace, name: str, seconds: float | None) -> Source | None:
    """
    Open the input once, so that what is wrong with it is said at once.

    Not a camera: some do not open twice in a row.
    """
    if args.camera:
        return None
    return open_source(name, SourceOptions(frame_rate=args.fps, seconds=seconds))


def _made(path: Path) -> Path:
    """Make the folder for the results."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"{path}: exists and is not a folder") from None
    return path


def _memory_dir() -> str | None:
    """Rings of raw frames belong in memory, where the system has a folder for that."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None
