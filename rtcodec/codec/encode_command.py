"""`rtcodec encode`: a video or an image to a `.rtc` file. A shell around `FrameEncoder`."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rtcodec.bitstream.file import RtcWriter
from rtcodec.bitstream.packet import Geometry
from rtcodec.bitstream.sequence import MODEL_ID_BYTES, SequenceHeader, known_source_format
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.denoiser import Denoiser, looked_ahead
from rtcodec.codec.encode_options import TOKEN_VARIABLE
from rtcodec.codec.encode_options import add_arguments as add_arguments
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.exact_codecs import OWN
from rtcodec.codec.exact_files import DICOM_SUFFIXES, encode_exact
from rtcodec.codec.intra_choice import (
    CHEAPER,
    NEURAL,
    SPATIAL,
    intra_kind,
    is_neural_cheaper,
)
from rtcodec.codec.progressive_files import encode_progressive
from rtcodec.codec.rate_steering import RateSteering
from rtcodec.codec.reference import NewestReference, intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.codec.still_restorer import restoring
from rtcodec.console import (
    Progress,
    StageTimes,
    available_cores,
    print_json,
    say,
    tidy_on_terminate,
)
from rtcodec.engine.api import EncodeOutput, Engine
from rtcodec.engine.loader import open_engine
from rtcodec.errors import ConfigError, InputError
from rtcodec.media.atomic import atomic_file
from rtcodec.media.reader import MediaReader
from rtcodec.quality import PlanePsnr, mean_psnr, picture_psnr
from rtcodec.rate_control import RateController
from rtcodec.types import Planes

MAX_PIXELS: Final = 1 << 25
"Of one frame, 8K video included; a larger one would take more memory than most machines have."

SLICE_PIXELS: Final = 1 << 20
"A slice for about so many pixels: enough that a few cores can share a large frame."


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec encode`."""
    if args.progressive:
        return encode_progressive(args)
    is_exact = args.lossless or args.max_error
    if args.within and (args.max_error or not args.lossless):
        raise ConfigError(
            "--within is on the way to exact: it goes with --lossless, without --max-error"
        )
    if args.exact_codec != OWN and (args.within or args.max_error or not args.lossless):
        raise ConfigError(
            "--exact-codec goes with --lossless, without --within and --max-error: "
            "those are rtcodec's own"
        )
    if isinstance(args.input, str) or (is_exact and args.input.is_dir()):
        if not is_exact:
            raise ConfigError("pictures of a DICOMweb server are coded with --lossless")
        from rtcodec.codec.exact_study import encode_study  # HTTP and TLS, for nobody else

        return encode_study(args, token=os.environ.get(TOKEN_VARIABLE))
    _check_paths(args.input, args.output)
    if is_exact:
        if args.restore:
            raise ConfigError("--restore changes samples, --lossless and --max-error keep them")
        return encode_exact(args)
    if args.input.suffix.lower() in DICOM_SUFFIXES:
        raise ConfigError(f"{args.input}: DICOM pictures are coded with --lossless or --max-error")
    threads = args.threads or available_cores()
    restore = restoring(args.input, threads=threads) if args.restore else None
    bundle = find_bundle(args.model)
    with tidy_on_terminate(), ExitStack() as stack:
        reader = stack.enter_context(MediaReader(args.input, threads=threads))
        if reader.width * reader.height > MAX_PIXELS:
            raise InputError(
                f"{args.input}: {reader.width}x{reader.height} is more than {MAX_PIXELS} pixels"
            )
        intra = intra_kind(args.intra, bundle)
        control = _controller(args.bitrate, reader)
        steering = (
            None
            if control is None
            else RateSteering(
                control, bundle.entropy_tables, bundle.delta_tables, bundle.spatial_tables
            )
        )
        engine = open_engine(args.engine, bundle, threads=threads)
        stack.callback(engine.close)
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        partial = stack.enter_context(atomic_file(args.output))
        job = _Job(args, reader, bundle, engine, steering, intra, restore)
        with (
            partial.open("wb") as file,
            RtcWriter(file, _sequence(reader, bundle, engine)) as writer,
        ):
            job.encode(writer, pool)
    report = job.report()
    if args.json:
        print_json(report)
    else:
        say(_summary(args.output, report))
    return 0


@dataclass
class _Job:
    """One run of the command, frame by frame."""

    args: argparse.Namespace
    reader: MediaReader
    bundle: Bundle
    engine: Engine
    steering: RateSteering | None
    intra: str
    "Of `INTRA_KINDS`."

    restore: Callable[[Planes], Planes] | None
    "What is done to a picture first."

    times: StageTimes = field(default_factory=StageTimes)
    leans: bool = False
    "Whether frames are predicted from those before."

    psnr: list[PlanePsnr] = field(default_factory=list)
    qps: list[int] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    noise: list[tuple[float, float, float]] = field(default_factory=list)
    "Measured in Y, U and V of each frame that it was taken out of."

    size_bytes: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.denoiser = Denoiser(self.args.denoise, thorough=True)

    def encode(self, writer: RtcWriter, pool: ThreadPoolExecutor) -> None:
        """Code every frame into *writer*."""
        reader, args = self.reader, self.args
        # a still in one packet is predicted across its tiles: bits before cores
        pixels = reader.width * reader.height if reader.frame_rate is not None else SLICE_PIXELS
        self.packer = FramePacker(
            self.bundle.entropy_tables,
            Slicing(slices=-(-pixels // SLICE_PIXELS)),
            delta_tables=self.bundle.delta_tables,
            spatial_tables=self.bundle.spatial_tables,
            parallel_map=pool.map,
        )
        self.leans = _is_inter(reader, self.engine) and args.keyframe_interval != 1
        chain = NewestReference() if self.leans else None
        encoder = FrameEncoder(
            self.engine, self.packer, reader.width, reader.height, references=chain,
            neural=self.intra == NEURAL, thorough=True,
        )  # fmt: skip
        total = _least(reader.expected_frames, args.frames)
        frames = looked_ahead(islice(reader.frames(), args.frames), self.denoiser)
        with Progress(f"encoding {args.input.name}", total) as progress:
            while True:
                with self.times.stage("read"):
                    frame = next(frames, None)
                if frame is None:
                    break
                if self.restore is not None:
                    with self.times.stage("restore"):
                        frame = frame[0], self.restore(frame[1])
                size_bytes = self._frame(encoder, writer, *frame)
                progress.step(f"{size_bytes / 1000:.1f} kB")
        encoder.close()
        writer.close()
        self.size_bytes = writer.size_bytes

    def _frame(self, encoder: FrameEncoder, writer: RtcWriter, pts: int, source: Planes) -> int:
        number = len(self.qps)
        planes = source
        if not self.denoiser.is_off:
            with self.times.stage("denoise"):
                planes = self.denoiser.clean(source)
            if self.denoiser.is_active:
                self.noise.append(self.denoiser.noise)
        interval = self.args.keyframe_interval
        keyframe = number == 0 or (interval is not None and number % interval == 0)
        if number == 0 and self.intra == CHEAPER:
            with self.times.stage("choice"):
                qp = self._first_qp(neural=True)
                encoder.neural = is_neural_cheaper(encoder, self.bundle, planes, qp)
        with self.times.stage("engine"):
            output, qp = self._run(encoder, planes, pts, keyframe=keyframe)
        with self.times.stage("entropy"):
            coded = encoder.pack(output, qp=qp, pts=pts, keyframe=keyframe)
        with self.times.stage("write"):
            size_bytes = writer.write(coded.unit)
        if self.steering is not None:
            self.steering.done(coded, 8 * size_bytes)
        if output.reconstruction is not None:
            with self.times.stage("psnr"):
                self.psnr.append(picture_psnr(source, output.reconstruction))
        self.kinds[_kind_of(output)] += 1
        self.qps.append(qp)
        self.pts.append(pts)
        return size_bytes

    def _run(
        self, encoder: FrameEncoder, planes: Planes, pts: int, *, keyframe: bool
    ) -> tuple[EncodeOutput, int]:
        if self.steering is None:
            is_delta = encoder.is_delta(keyframe=keyframe)
            qp: int = self.args.qp if is_delta else self._first_qp(neural=encoder.neural)
            reconstruct: bool = self.args.psnr
            output = encoder.run(planes, qp=qp, keyframe=keyframe, reconstruct=reconstruct)
            return output, qp
        return self.steering.run(
            encoder,
            planes,
            time_s=float(pts * self.reader.time_base),
            keyframe=keyframe,
            reconstruct=self.args.psnr,
        )

    def _first_qp(self, *, neural: bool) -> int:
        """Of frames that stand alone; with a bit rate, where the choice of their kind is made."""
        qp: int = self.args.qp
        return intra_qp(qp, neural=neural) if self.leans else qp

    def _rate_report(self) -> dict[str, Any]:
        """Return how the target was kept; the worst two seconds begin after the first one."""
        steering, target_kbps = self.steering, self.args.bitrate
        if steering is None:
            return {"target_kbps": None}
        return {
            "target_kbps": target_kbps,
            "worst_2s_deviation": steering.record.worst_deviation(1000 * target_kbps),
            "retries": steering.n_retries,
            "saturated_frames": steering.n_saturated,
        }

    def _noise_report(self) -> dict[str, Any]:
        """Return of how many frames noise was taken out, and how much they had."""
        n_noisy = len(self.noise)
        means = [sum(plane) / n_noisy for plane in zip(*self.noise, strict=True)]
        sigma = dict(zip("yuv", means, strict=True)) if n_noisy else None
        return {"mode": self.args.denoise, "frames": n_noisy, "sigma": sigma}

    def report(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        reader, info = self.reader, self.engine.info
        frames = len(self.qps)
        pixels = frames * reader.width * reader.height
        rate = reader.frame_rate
        span_s = (max(self.pts) - min(self.pts)) * reader.time_base  # frames may be missing
        duration_s = None if rate is None else float(span_s + 1 / rate)
        elapsed_s = self.times.elapsed_s
        return {
            "input": str(self.args.input),
            "output": str(self.args.output),
            "frames": frames,
            "width": reader.width,
            "height": reader.height,
            "fps": None if rate is None else float(rate),
            "source_format": reader.source_format,
            "damaged_input": reader.damaged,
            "model": info.model,
            "model_id": info.model_id[:MODEL_ID_BYTES].hex(),
            "engine": info.name,
            "precision": info.precision,
            "hardware": info.device,
            "kinds": dict(self.kinds),
            "qp": {"min": min(self.qps), "mean": sum(self.qps) / frames, "max": max(self.qps)},
            "denoise": self._noise_report(),
            **self._rate_report(),
            "size_bytes": self.size_bytes,
            "bpp": 8 * self.size_bytes / pixels,
            "kbps": None if duration_s is None else self.size_bytes * 8e-3 / duration_s,
            "psnr_db": mean_psnr(self.psnr).as_dict() if self.psnr else None,
            "time_ms": self.times.quantiles(),
            "elapsed_s": round(elapsed_s, 3),
            "encoded_fps": round(frames / elapsed_s, 2),
            "versions": dict(info.versions),
        }


def _kind_of(output: EncodeOutput) -> str:
    return "delta" if output.is_delta else SPATIAL if output.is_spatial else NEURAL


def _check_paths(source: Path, target: Path) -> None:
    if source.suffix.lower() == ".rtc":
        raise ConfigError(f"{source}: is coded already; rtcodec decode turns it back")
    plain = not target.exists() or target.is_file()
    if plain and target.suffix.lower() != ".rtc":
        raise ConfigError(f"{target}: the output of encode is a .rtc file")


def _controller(kbps: float | None, reader: MediaReader) -> RateController | None:
    if kbps is None:
        return None
    if reader.frame_rate is None:
        raise ConfigError("--bitrate needs a video: a still image has no frame rate; use --qp")
    n_pixels = reader.width * reader.height
    return RateController(kbps * 1000, reader.frame_rate, n_pixels=n_pixels)


def _is_inter(reader: MediaReader, engine: Engine) -> bool:
    """Whether frames are predicted from those before: in videos, if the model can."""
    return reader.frame_rate is not None and engine.info.references >= NewestReference.SLOTS


def _sequence(reader: MediaReader, bundle: Bundle, engine: Engine) -> SequenceHeader:
    return SequenceHeader(
        model_id=bundle.model_id[:MODEL_ID_BYTES],
        geometry=Geometry(reader.width, reader.height),
        time_base=reader.time_base,
        frame_rate=reader.frame_rate,
        color_range=reader.color.color_range,
        color_matrix=reader.color.matrix,
        source_format=known_source_format(reader.source_format),
        references=NewestReference.SLOTS if _is_inter(reader, engine) else 0,
    )


def _summary(output: Path, report: Mapping[str, Any]) -> str:
    parts = [
        f"{output}: {report['frames']} frames {report['width']}x{report['height']}",
        f"{report['size_bytes']} bytes",
        f"{report['bpp']:.4f} bpp",
    ]
    if report["kbps"] is not None:
        parts.append(f"{report['kbps']:.1f} kb/s")
    if report["psnr_db"] is not None:
        parts.append(f"{report['psnr_db']['yuv']:.2f} dB")
    if report["damaged_input"]:
        parts.append(f"{report['damaged_input']} damaged pieces of the input left out")
    parts.append(f"{report['encoded_fps']:.1f} frames/s, {report['model']} on {report['engine']}")
    return ", ".join(parts)


def _least(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None
