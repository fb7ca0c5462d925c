"""`rtcodec eval`: rate-distortion of our models and others on the user's own files."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rtcodec.errors import ConfigError
from rtcodec.types import QP_MAX


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec eval`."""
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="images, videos, or folders of them"
    )
    parser.add_argument(
        "--codecs",
        type=_names,
        metavar="LIST",
        help="comma-separated: model names or .rtcm files, jpeg webp avif png jpegls vp8 vp9 "
        "x264-veryfast x264-medium x264-intra x265 x265-intra svtav1 "
        "(default: our models and the usual rivals of each kind of input)",
    )
    parser.add_argument("--out", type=Path, default=Path("eval-out"), help="folder for the results")
    parser.add_argument(
        "--frames", type=int, default=100, help="frames read of each video; 0 reads all"
    )
    parser.add_argument(
        "--qps",
        type=_qps,
        metavar="LIST",
        help="qp values of our models, comma-separated (default: 10 values from 63 to 0)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of our engine, and points of the others measured side by side",
    )
    parser.add_argument("--json", action="store_true", help="print results.json on stdout")


def run(args: argparse.Namespace) -> int:
    """Measure, write the files and print the table."""
    from rtcodec.evaluation.plot import plot_curves
    from rtcodec.evaluation.registry import RIVALS
    from rtcodec.evaluation.report import as_json, table, write_results
    from rtcodec.evaluation.result import Evaluation
    from rtcodec.evaluation.runner import evaluate

    if args.frames < 0:
        raise ConfigError(f"--frames {args.frames} is negative")
    if args.threads < 1:
        raise ConfigError(f"--threads {args.threads} is less than 1")
    result = Evaluation()
    settings = None
    if args.qps is not None:
        from rtcodec.evaluation.latent import installed_models

        ours = [name for name in args.codecs or installed_models() if name not in RIVALS]
        settings = dict.fromkeys(ours, args.qps)
    try:
        with _Bar() as bar:
            evaluate(
                args.inputs,
                args.codecs,
                max_frames=args.frames or None,
                settings=settings,
                threads=args.threads,
                progress=bar.show,
                into=result,
            )
    finally:  # an interrupted run keeps what it has
        if result.points:
            write_results(result, args.out)
    plot_curves(result, args.out / "rd.png")
    if args.json:
        print(json.dumps(as_json(result)))
    else:
        print(table(result))
    return _closing(result.failures, args.out)


def _closing(failures: Sequence[object], out: Path) -> int:
    print(f"wrote {out / 'results.json'}, results.csv, rd.png", file=sys.stderr)
    for failure in failures:
        print(f"rtcodec: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError("no codec is named")
    return names


def _qps(text: str) -> list[int]:
    try:
        values = sorted({int(part) for part in text.split(",")}, reverse=True)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of integers") from None
    if not all(0 <= qp <= QP_MAX for qp in values):
        raise argparse.ArgumentTypeError(f"a qp is 0 to {QP_MAX}")
    return values


class _Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            Remaining(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, done: int, total: int, label: str) -> None:
        """Advance to *done* of *total*."""
        self._progress.update(self._task, completed=done, total=total, description=label)
