"""`rtcodec eval`: rate-distortion of our models and others on the user's own files."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rtcodec.console import Progress, print_json, say
from rtcodec.errors import ConfigError
from rtcodec.types import QP_MAX

if TYPE_CHECKING:
    from rtcodec.evaluation.result import Evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec eval`."""
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="INPUT", help="images, videos, or folders of them")
    add(
        "--codecs",
        type=_names,
        metavar="LIST",
        help="comma-separated: model names or .rtcm files, compressai:NAME[:FOLDER of weights], "
        "jpeg webp avif png jpegls jpeg2000 "
        "jpegxl jpegls-near progressive vp8 vp9 "
        "x264-veryfast x264-medium x264-intra x265 x265-intra svtav1 svtav1-p12; videos as a "
        "call codes them: one pass, one thread, no frame waits for a later one "
        "(default: our models and the usual rivals of each kind of input)",
    )
    add("--out", type=Path, default=Path("eval-out"), help="folder for the results")
    add("--frames", type=int, default=100, help="frames read of each video; 0 reads all")
    add(
        "--qps",
        type=_qps,
        metavar="LIST",
        help="qp values of our models, comma-separated (default: 10 values from 63 to 0)",
    )
    add("--json", action="store_true", help="print results.json on stdout")
    _add_how(add)


def _add_how(add: Callable[..., object]) -> None:
    """Declare how to measure and what to compare with."""
    add(
        "--keyframe-interval",
        type=int,
        metavar="N",
        help="frames from one key frame of a video to the next, for every codec that has others "
        "(default: the first frame alone is one)",
    )
    add(
        "--anchor",
        metavar="CODEC",
        help="compare each codec with this one, in Markdown (default: vp8 for videos; images are "
        "compared all with all)",
    )
    add(
        "--reuse",
        type=Path,
        metavar="results.json",
        help="take over the other codecs' points of an earlier run whose samples, settings and "
        "library versions are the same (default: measure all)",
    )
    add(
        "--threads",
        type=int,
        default=1,
        help="threads of our engine, and points of the others measured side by side",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, write the files and print the table."""
    from rtcodec.evaluation.plot import plot_curves
    from rtcodec.evaluation.report import as_json, table
    from rtcodec.evaluation.result import Evaluation
    from rtcodec.evaluation.reuse import Reuse
    from rtcodec.evaluation.runner import evaluate

    _check(args)
    result = Evaluation()
    reuse = None if args.reuse is None else Reuse.read(args.reuse)
    with ExitStack() as stack:
        bar: Progress | None = None

        def show(total: int, label: str) -> None:
            nonlocal bar
            if bar is None:
                bar = stack.enter_context(Progress("evaluating", total))
            bar.step(label)

        # an interrupted run keeps what it has
        stack.callback(_save, result, args.out, args.anchor)
        evaluate(
            args.inputs,
            args.codecs,
            max_frames=args.frames or None,
            settings=_settings(args),
            threads=args.threads,
            keyframe_interval=args.keyframe_interval,
            reuse=reuse,
            progress=show,
            into=result,
        )
    plot_curves(result, args.out / "rd.png")
    if args.json:
        print_json(as_json(result, anchor=args.anchor))
    else:
        print(table(result, anchor=args.anchor))
    return _closing(result, args.out)


def _check(args: argparse.Namespace) -> None:
    """
    Refuse arguments that do not go together.

    Raises:
        ConfigError: If one makes no sense.
    """
    from rtcodec.evaluation.registry import DEFAULTS

    if args.frames < 0:
        raise ConfigError(f"--frames {args.frames} is negative")
    if args.threads < 1:
        raise ConfigError(f"--threads {args.threads} is less than 1")
    if args.keyframe_interval is not None and args.keyframe_interval < 1:
        raise ConfigError(f"--keyframe-interval {args.keyframe_interval} is less than 1")
    compared = args.codecs or [name for names in DEFAULTS.values() for name in names]
    if args.anchor is not None and args.anchor not in compared:
        raise ConfigError(f"--anchor {args.anchor} is not among the codecs compared")


def _save(result: "Evaluation", out: Path, anchor: str | None) -> None:
    from rtcodec.evaluation.report import write_results

    if result.points:
        write_results(result, out, anchor=anchor)


def _settings(args: argparse.Namespace) -> dict[str, list[int]] | None:
    """Return the qp values for our models, if some were given."""
    from rtcodec.evaluation.compressai_model import PREFIX
    from rtcodec.evaluation.latent import installed_models
    from rtcodec.evaluation.registry import RIVALS

    if args.qps is None:
        return None
    ours = [
        name
        for name in args.codecs or installed_models()
        if name not in RIVALS and not name.startswith(PREFIX)
    ]
    return dict.fromkeys(ours, args.qps)


def _closing(result: "Evaluation", out: Path) -> int:
    """Say where the results are and what could not be done; return the exit code."""
    from rtcodec.evaluation.vmaf import why_not

    per_frame = any(point.frames and point.kind == "video" for point in result.points)
    frames = ", figures per frame in frames/" if per_frame else ""
    say(f"wrote {out / 'results.json'}, results.csv and rd.png{frames}")
    n_reused = sum(point.reused for point in result.points)
    if n_reused:
        say(f"{n_reused} of {len(result.points)} points are an earlier run's")
    reason = why_not()
    if reason is not None and "video" in result.kinds():
        say(f"the column vmaf is empty: {reason}")
    for each in result.failures:
        say(f"rtcodec: {each.clip}: {each.codec} at {each.setting} failed: {each.reason}")
    return 1 if result.failures else 0


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
