"""`rtcodec decode`: a `.rtc` file to video or images. A shell around `FrameDecoder`."""

import argparse
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.exact_format import MAGIC
from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.progressive_file import MAGIC as PROGRESSIVE_MAGIC
from rtcodec.bitstream.sequence import SequenceHeader
from rtcodec.bundle import Bundle, find_bundle, find_bundle_by_id
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encode_command import MAX_PIXELS
from rtcodec.codec.exact_files import decode_exact
from rtcodec.codec.perceptual_head import HEADS, PSNR, PerceptualHead, open_head
from rtcodec.codec.progressive_files import decode_progressive
from rtcodec.console import (
    Progress,
    StageTimes,
    available_cores,
    integer_between,
    print_json,
    say,
    tidy_on_terminate,
)
from rtcodec.dicom.compress import SYNTAXES
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import AUTO, ENGINE_NAMES, open_engine
from rtcodec.errors import BitstreamError, ConfigError, InputError, Truncated, Unsupported
from rtcodec.media.color import Color
from rtcodec.media.writer import MediaFormat, MediaWriter, open_writer
from rtcodec.restorer_model import PERCEPTUAL
from rtcodec.types import Planes

_MODEL_ID_OFFSET: Final = 5  # of the sequence header, for messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec decode`."""
    parser.add_argument("input", type=Path, metavar="IN.rtc", help="a file that encode wrote")
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUT",
        help=".y4m .mkv .mp4 .png or .npy (RGB [N, H, W, 3]); "
        "exact pictures: .dcm .npy .png .tif .jxl",
    )
    parser.add_argument(
        "--model", help="installed model, or path of a .rtcm file (default: what the stream names)"
    )
    parser.add_argument(
        "--head",
        choices=HEADS,
        default=PSNR,
        help="what pictures aim at: the least error, or structure that eyes look for",
    )
    parser.add_argument(
        "--quality", choices=("preview", "full"), default="full", help="how much of it to decode"
    )
    parser.add_argument(
        "--bytes",
        type=integer_between(1, 1 << 31),
        metavar="N",
        help="read the first N bytes only, of a file of encode --progressive (default: all)",
    )
    parser.add_argument(
        "--syntax",
        choices=sorted(SYNTAXES),
        help="compress the samples of a .dcm so, without loss (default: not)",
    )
    parser.add_argument(
        "--engine", choices=ENGINE_NAMES, default=AUTO, help="what runs the networks"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="cores to use (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec decode`."""
    _check_options(args)
    threads = args.threads or available_cores()
    with tidy_on_terminate(), ExitStack() as stack:
        file = stack.enter_context(_opened(args.input))
        magic = file.peek(len(MAGIC))[: len(MAGIC)]  # type: ignore[attr-defined]
        if magic == PROGRESSIVE_MAGIC:
            _check_head(args, "files of encode --progressive")
            return decode_progressive(args, file)
        if args.bytes is not None:
            raise ConfigError(f"{args.input}: --bytes is for files of encode --progressive")
        if magic == MAGIC:
            _check_head(args, "exact pictures")
            return decode_exact(args, file)
        if args.syntax is not None:
            raise ConfigError(f"{args.input}: --syntax is for files of encode --lossless")
        reader = _reader(file, args.input)
        sequence = reader.sequence
        if sequence.width * sequence.height > MAX_PIXELS:
            raise InputError(
                f"{args.input}: {sequence.width}x{sequence.height} is more than {MAX_PIXELS} pixels"
            )
        bundle = _bundle(args, sequence)
        writer = stack.enter_context(open_writer(args.output, _media(sequence)))
        engine = open_engine(args.engine, bundle, threads=threads)
        stack.callback(engine.close)
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        job = _Job(args.input, reader, bundle, engine, open_head(args.head))
        job.decode(writer, pool)
        with job.times.stage("finish"):
            writer.commit()
    report = job.report(args.output)
    if args.json:
        print_json(report)
    elif job.problem is None:
        say(_summary(args.output, report))
    if job.problem is not None:
        done = f"{job.frames} frames are in {args.output}"
        raise type(job.problem)(
            f"{args.input}: {job.problem.message}; {done}", offset=job.problem.offset
        )
    return 0


@dataclass
class _Job:
    """One run of the command, frame by frame."""

    source: Path
    reader: RtcReader
    bundle: Bundle
    engine: Engine
    head: PerceptualHead | None
    times: StageTimes = field(default_factory=StageTimes)
    frames: int = 0
    damaged: int = 0
    "Frames with anything missing."

    missing_tiles: int = 0
    problem: BitstreamError | None = None
    "The first thing wrong with the stream."

    def decode(self, writer: MediaWriter, pool: ThreadPoolExecutor) -> None:
        """
        Decode every frame into *writer*, and as much as there is of a damaged stream.

        Raises:
            BitstreamError: If there is not one frame.
        """
        sequence = self.reader.sequence
        decoder = FrameDecoder(
            self.engine,
            self.bundle,
            sequence.width,
            sequence.height,
            references=sequence.references,
            parallel_map=pool.map,
        )
        last: Planes | None = None
        with Progress(f"decoding {self.source.name}", None) as progress:
            for offset, unit in self._units():
                last = self._frame(decoder, unit, offset, last)
                if last is not None:
                    with self.times.stage("write"):
                        writer.write(unit.pts, last)
                    self.frames += 1
                    progress.step()
        decoder.close()
        if not self.frames:
            problem = self.problem or Truncated("no frames", offset=self.reader.offset)
            raise _named(problem, self.source)

    def _units(self) -> Iterator[tuple[int, AccessUnit]]:
        """
        Give out the units of one rung with their offsets, while they can be read.

        That is the finest there is: of a frame it comes first. # spec 5.2
        """
        units = iter(self.reader)
        rung: int | None = None
        while True:
            offset = self.reader.offset
            try:
                with self.times.stage("read"):
                    unit = next(units, None)
            except BitstreamError as error:
                self.problem = self.problem or error
                return
            if unit is None:
                return
            if rung is None:
                rung = unit.header.layer.rung
            if unit.header.layer.rung == rung:
                yield offset, unit

    def _frame(
        self, decoder: FrameDecoder, unit: AccessUnit, offset: int, last: Planes | None
    ) -> Planes | None:
        """Return the picture of a unit; the one before where nothing of it can be decoded."""
        try:
            with self.times.stage("entropy"):
                frame = decoder.unpack(unit.packets)
        except BitstreamError as error:
            self._note(error, unit, offset)
            return last
        if not frame.complete:
            self.missing_tiles += int((~frame.present).sum())
            missing = Truncated("slices are missing", offset=0)
            self._note(frame.damage[0] if frame.damage else missing, unit, offset)
        with self.times.stage("engine"):
            painted = decoder.paint(frame)
        if self.head is None:
            return painted.planes
        with self.times.stage("head"):
            return self.head.show(painted.planes, painted.qps)

    def _note(self, error: BitstreamError, unit: AccessUnit, offset: int) -> None:
        self.damaged += 1
        if self.problem is None:
            number = unit.header.frame_number
            self.problem = type(error)(f"frame {number}: {error.message}", offset=offset)

    def report(self, output: Path) -> dict[str, Any]:
        """Return what `--json` prints."""
        sequence, info = self.reader.sequence, self.engine.info
        rate = sequence.frame_rate
        elapsed_s = self.times.elapsed_s
        return {
            "input": str(self.source),
            "output": str(output),
            "frames": self.frames,
            "width": sequence.width,
            "height": sequence.height,
            "fps": None if rate is None else float(rate),
            "source_format": sequence.source_format,
            "damaged_frames": self.damaged,
            "missing_tiles": self.missing_tiles,
            "error": None if self.problem is None else str(self.problem),
            "model": info.model,
            "model_id": sequence.model_id.hex(),
            "engine": info.name,
            "precision": info.precision,
            "head": PSNR if self.head is None else PERCEPTUAL,
            "hardware": info.device,
            "time_ms": self.times.quantiles(),
            "elapsed_s": round(elapsed_s, 3),
            "decoded_fps": round(self.frames / elapsed_s, 2),
            "versions": dict(info.versions),
        }


def _check_options(args: argparse.Namespace) -> None:
    if args.quality != "full":
        raise ConfigError(
            "--quality preview is not there yet; files of encode --progressive have --bytes"
        )
    if args.threads is not None and args.threads < 1:
        raise ConfigError(f"--threads {args.threads} is below 1")


def _check_head(args: argparse.Namespace, what: str) -> None:
    if args.head != PSNR:
        raise ConfigError(f"{args.input}: --head {args.head} is not for {what}")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _reader(file: BinaryIO, path: Path) -> RtcReader:
    if not file.peek(1):  # type: ignore[attr-defined]
        raise Truncated(f"{path}: is empty", offset=0)
    try:
        return RtcReader(file)
    except BitstreamError as error:
        raise _named(error, path) from None


def _bundle(args: argparse.Namespace, sequence: SequenceHeader) -> Bundle:
    """Return the stream's model, or the one asked for if it is that."""
    wanted = sequence.model_id
    if args.model is None:
        try:
            return find_bundle_by_id(wanted)
        except ConfigError as error:
            raise Unsupported(f"{args.input}: {error}", offset=_MODEL_ID_OFFSET) from None
    bundle = find_bundle(args.model)
    if not bundle.model_id.startswith(wanted):
        have = bundle.model_id[: len(wanted)].hex()
        raise ConfigError(f"{args.input} needs model {wanted.hex()}; {args.model} is {have}")
    return bundle


def _media(sequence: SequenceHeader) -> MediaFormat:
    return MediaFormat(
        width=sequence.width,
        height=sequence.height,
        time_base=sequence.time_base,
        frame_rate=sequence.frame_rate,
        color=Color(sequence.color_range, sequence.color_matrix),
    )


def _named(error: BitstreamError, path: Path) -> BitstreamError:
    """Return the same error with the file's name in front."""
    return type(error)(f"{path}: {error.message}", offset=error.offset)


def _summary(output: Path, report: Mapping[str, Any]) -> str:
    return (
        f"{output}: {report['frames']} frames {report['width']}x{report['height']}, "
        f"{report['decoded_fps']:.1f} frames/s, {report['model']} on {report['engine']}"
    )
