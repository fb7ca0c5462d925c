"""`rtcodec eval`: rate-distortion of our models and others on the user's own files."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rtcodec.console import Progress, print_json, say
from rtcodec.errors import ConfigError
from rtcodec.types import QP_MAX

if TYPE_CHECKING:
    from rtcodec.evaluation.result import Evaluation, Failure


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
    from rtcodec.evaluation.report import as_json, table
    from rtcodec.evaluation.result import Evaluation
    from rtcodec.evaluation.runner import evaluate

    if args.frames < 0:
        raise ConfigError(f"--frames {args.frames} is negative")
    if args.threads < 1:
        raise ConfigError(f"--threads {args.threads} is less than 1")
    result = Evaluation()
    with ExitStack() as stack:
        bar: Progress | None = None

        def show(total: int, label: str) -> None:
            nonlocal bar
            if bar is None:
                bar = stack.enter_context(Progress("evaluating", total))
            bar.step(label)

        stack.callback(_save, result, args.out)  # an interrupted run keeps what it has
        evaluate(
            args.inputs,
            args.codecs,
            max_frames=args.frames or None,
            settings=_settings(args),
            threads=args.threads,
            progress=show,
            into=result,
        )
    plot_curves(result, args.out / "rd.png")
    if args.json:
        print_json(as_json(result))
    else:
        print(table(result))
    return _closing(result.failures, args.out)


def _save(result: "Evaluation", out: Path) -> None:
    from rtcodec.evaluation.report import write_results

    if result.points:
        write_results(result, out)


def _settings(args: argparse.Namespace) -> dict[str, list[int]] | None:
    """Return the qp values for our models, if some were given."""
    from rtcodec.evaluation.latent import installed_models
    from rtcodec.evaluation.registry import RIVALS

    if args.qps is None:
        return None
    ours = [name for name in args.codecs or installed_models() if name not in RIVALS]
    return dict.fromkeys(ours, args.qps)


def _closing(failures: "Sequence[Failure]", out: Path) -> int:
    """Say where the results are and what could not be done; return the exit code."""
    say(f"wrote {out / 'results.json'}, results.csv and rd.png")
    for each in failures:
        say(f"rtcodec: {each.clip}: {each.codec} at {each.setting} failed: {each.reason}")
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
