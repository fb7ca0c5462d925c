"""
`rtcodec encode --progressive` and `decode` of what it writes: photographs to progressive pictures.

    image ─▶ planes ─▶ .rtc ─▶ its first N bytes ─▶ planes ─▶ image

A shell around `rtcodec.progressive`.
"""

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Final

from rtcodec.bitstream.progressive_file import ProgressiveHeader, read_progressive
from rtcodec.codec.denoiser import OFF
from rtcodec.console import Progress, StageTimes, print_json, say, tidy_on_terminate
from rtcodec.errors import BitstreamError, ConfigError, InputError
from rtcodec.media.atomic import atomic_file
from rtcodec.media.color import Color
from rtcodec.media.reader import MediaReader
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.progressive.picture import FINEST_STEP, decode_picture, encode_picture
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes

SUFFIXES: Final = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"Of what counts as an image in a folder."

_COARSEST_STEP: Final = 64.0
_FINEST_STEP: Final = 0.5


def add_progressive_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec encode --progressive`."""
    parser.add_argument(
        "--progressive",
        action="store_true",
        help="an image, or each of a folder, of which any first bytes decode: --bytes of decode",
    )
    parser.add_argument(
        "--finest",
        type=_step,
        default=FINEST_STEP,
        metavar="STEP",
        help=f"with --progressive: quantiser step of the whole file, {_FINEST_STEP:g} to "
        f"{_COARSEST_STEP:g} (default: {FINEST_STEP:g}, visually lossless)",
    )


def encode_progressive(args: argparse.Namespace) -> int:
    """
    Run `rtcodec encode --progressive`.

    Of a folder every image is coded, and those that cannot be are told at the end.

    Raises:
        ConfigError: If input and output do not go together.
        InputError: If the input, or one of a folder, is no image, or there is none.
    """
    if args.lossless or args.max_error:
        raise ConfigError("--lossless files can be read coarse to fine as they are")
    if isinstance(args.input, str):
        raise ConfigError("--progressive is for images on this machine")
    if args.denoise != OFF:
        raise ConfigError("--denoise is not there yet for --progressive")
    times = StageTimes()
    pairs = _pairs(args.input, args.output)
    reports, problems = [], []
    with tidy_on_terminate(), Progress(f"encoding {args.input.name}", len(pairs)) as progress:
        for source, target in pairs:
            try:
                report = _encode_one(source, target, args.finest, times)
            except InputError as error:
                if not args.input.is_dir():
                    raise
                problems.append(str(error))
                progress.step("no image")
                continue
            reports.append(report)
            progress.step(f"{report['size_bytes'] / 1000:.0f} kB")
    stages = times.quantiles()
    if args.json:
        whole = {"pictures": reports, "problems": problems, "stages": stages}
        print_json(whole if args.input.is_dir() else {**reports[0], "stages": stages})
    else:
        for report in reports:
            say(_summary(report))
    if problems:
        raise InputError(f"{len(problems)} of {len(pairs)} are not coded: {'; '.join(problems)}")
    return 0


def decode_progressive(args: argparse.Namespace, file: BinaryIO) -> int:
    """
    Run `rtcodec decode` of a progressive picture; of no more than the bytes asked for.

    Raises:
        BitstreamError: If what was read holds no header, or is damaged.
        ConfigError: If the output cannot hold it.
    """
    times = StageTimes()
    with tidy_on_terminate():
        try:
            with times.stage("decode"):
                data = file.read(-1 if args.bytes is None else args.bytes)
                read = read_progressive(data)
                planes = Planes(*decode_picture(read))
        except BitstreamError as error:
            raise type(error)(f"{args.input}: {error.message}", offset=error.offset) from None
        header = read.header
        with times.stage("write"), open_writer(args.output, _media(header)) as writer:
            writer.write(0, planes)
            writer.commit()
    report = {
        "input": str(args.input),
        "output": str(args.output),
        "width": header.width,
        "height": header.height,
        "bytes_read": len(data),
        "whole": read.is_whole,
    }
    if args.json:
        print_json({**report, "stages": times.quantiles()})
    else:
        part = "all" if read.is_whole else "the beginning"
        say(f"{args.output}: {header.width}x{header.height}, {part}: {len(data)} bytes")
    return 0


def _pairs(source: Path, target: Path) -> Sequence[tuple[Path, Path]]:
    """Return each image and the file that it becomes."""
    if not source.is_dir():
        if target.suffix.lower() != ".rtc":
            raise ConfigError(f"{target}: the output of encode is a .rtc file")
        return [(source, target)]
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: of a folder becomes a folder")
    images = [path for path in sorted(source.iterdir()) if path.suffix.lower() in SUFFIXES]
    if not images:
        raise InputError(f"{source}: no images; {' '.join(SUFFIXES)} count")
    target.mkdir(parents=True, exist_ok=True)
    stems = [path.stem for path in images]
    names = [path.stem if stems.count(path.stem) == 1 else path.name for path in images]
    return [(path, target / f"{name}.rtc") for path, name in zip(images, names, strict=True)]


def _encode_one(source: Path, target: Path, finest: float, times: StageTimes) -> dict[str, Any]:
    with times.stage("read"), MediaReader(source) as reader:
        if reader.frame_rate is not None:
            raise InputError(f"{source}: is a video; --progressive is for images")
        _, planes = next(reader.frames())
        color = reader.color
    with times.stage("encode"):
        try:
            data = encode_picture(
                (planes.y, planes.u, planes.v),
                color_range=color.color_range,
                color_matrix=color.matrix,
                finest_step=finest,
            )
        except ValueError as error:
            raise InputError(f"{source}: {error}") from None
    with atomic_file(target) as partial:
        partial.write_bytes(data)
    with times.stage("psnr"):
        file = read_progressive(data)
        psnr = picture_psnr(planes, Planes(*decode_picture(file)))
    return {
        "input": str(source),
        "output": str(target),
        "width": planes.width,
        "height": planes.height,
        "transform": file.header.transform.name.lower(),
        "size_bytes": len(data),
        "bpp": 8 * len(data) / planes.y.size,
        "psnr_db": psnr.as_dict(),
    }


def _media(header: ProgressiveHeader) -> MediaFormat:
    return MediaFormat(
        width=header.width,
        height=header.height,
        time_base=Fraction(1, 25),  # of one picture nobody asks
        frame_rate=None,
        color=Color(header.color_range, header.color_matrix),
    )


def _summary(report: dict[str, Any]) -> str:
    return (
        f"{report['output']}: {report['width']}x{report['height']}, {report['size_bytes']} bytes, "
        f"{report['bpp']:.3f} bpp, {report['psnr_db']['yuv']:.2f} dB, {report['transform']}"
    )


def _step(text: str) -> float:
    value = float(text)
    if not _FINEST_STEP <= value <= _COARSEST_STEP:
        raise argparse.ArgumentTypeError(f"{text} is not {_FINEST_STEP:g} to {_COARSEST_STEP:g}")
    return value
