"""
`rtcodec encode --lossless` and `decode` of what it writes: files to exact pictures and back.

    DICOM, NumPy, PNG, TIFF ─▶ samples and notes ─▶ .rtc ─▶ samples and notes ─▶ the same kinds

A shell around `rtcodec.exact` and `rtcodec.dicom`.
"""

import argparse
import json
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from rtcodec.bitstream.exact_file import ExactReader, ExactWriter, FrameKind
from rtcodec.bitstream.exact_format import NOTES_MAX_BYTES, ExactFormat
from rtcodec.codec.exact_codecs import (
    EXACT_CODECS,
    OWN,
    decode_frame,
    encode_whole,
    whole_format,
)
from rtcodec.console import Progress, StageTimes, print_json, say, tidy_on_terminate
from rtcodec.dicom import plain
from rtcodec.dicom.picture import Picture, check_size
from rtcodec.dicom.reader import read_dicom
from rtcodec.dicom.writer import write_dicom
from rtcodec.errors import BitstreamError, ConfigError, Corrupt, InputError
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder, Samples, is_proven
from rtcodec.exact.plan import plan_picture
from rtcodec.media.atomic import atomic_file

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def encode_exact(args: argparse.Namespace) -> int:
    """
    Run `rtcodec encode --lossless` or `--max-error` of one file.

    Raises:
        InputError: If the input is no picture that can be kept exactly.
    """
    times = StageTimes()
    with tidy_on_terminate():
        with times.stage("read"):
            picture = read_picture(
                args.input, keep_identity=args.keep_identity, allow_burned_in=args.allow_burned_in
            )
        report = encode_picture(
            picture,
            args.output,
            max_error=args.max_error,
            bound=args.within,
            codec=args.exact_codec,
            times=times,
            title=args.input.name,
        )
    report["stages"] = times.quantiles()
    if args.json:
        print_json(report)
    else:
        say(summary(report))
    return 0


def encode_picture(
    picture: Picture,
    output: Path,
    *,
    max_error: int,
    bound: int = 0,
    codec: str = OWN,
    times: StageTimes,
    title: str,
) -> dict[str, Any]:
    """
    Write a picture to a file, every frame decoded again and compared; return what to say of it.

    Args:
        picture: What to write.
        output: The file; appears whole or not at all.
        max_error: Most by which a decoded sample may differ; 0: exact.
        bound: What every sample is within on the way to exact, or 0.
        codec: Of `EXACT_CODECS`; all but our own are exact, without a bound.
        times: Where stages are counted.
        title: What progress is shown of.

    Raises:
        InputError: If what belongs to the picture is too large, or *output* is in no folder.
        ConfigError: If the codec is not installed.
    """
    notes, kind = write_notes(picture, max_error), EXACT_CODECS[codec]
    with times.stage("fit"):
        if kind == FrameKind.TILES:
            header = plan_picture(
                picture.frames,
                bits=picture.bits,
                signed=picture.signed,
                max_error=max_error,
                bound=bound,
                notes=notes,
            )
        else:
            header = whole_format(picture, kind, notes)
    n_otherwise = 0
    with atomic_file(output) as partial, partial.open("wb") as file:
        writer, coder = ExactWriter(file, header), FrameCoder(header)
        with Progress(f"encoding {title}", header.frames) as progress:
            for frame in picture.frames:
                with times.stage("code and prove"):
                    if kind == FrameKind.TILES:
                        coded = coder.encode(frame, encode_otherwise)
                    else:
                        coded = encode_whole(header, frame, kind)
                writer.write(coded)
                n_otherwise += coded.kind != kind
                progress.step()
        writer.close()
    raw = sum(frame.nbytes for frame in picture.frames)
    return {
        **_described(output, header),
        "exact_codec": codec,
        "frames_otherwise": n_otherwise,
        "size_bytes": writer.size_bytes,
        "ratio": raw / writer.size_bytes,
        "identity_kept": bool(picture.notes.get("identity", False)),
    }


def decode_exact(args: argparse.Namespace, file: BinaryIO) -> int:
    """
    Run `rtcodec decode` of a file of exact pictures.

    Nothing is written unless every frame is whole and proven.

    Raises:
        BitstreamError: If *file* is damaged, or a frame is not what was encoded.
        InputError: If the output cannot hold it.
        ConfigError: If what writes it is not installed, or the output is not compressed DICOM.
    """
    if args.syntax is not None and args.output.suffix.lower() not in DICOM_SUFFIXES:
        raise ConfigError(f"{args.output}: --syntax is for .dcm")
    times = StageTimes()
    with tidy_on_terminate():
        try:
            with times.stage("decode and prove"):
                header, frames, size_bytes = decode_frames(file)
        except BitstreamError as error:
            raise type(error)(f"{args.input}: {error.message}", offset=error.offset) from None
        with times.stage("write"):
            save_picture(args.output, header, frames, size_bytes, syntax=args.syntax)
    if args.json:
        print_json({**_described(args.output, header), "stages": times.quantiles()})
    else:
        size = f"{header.frames} frames {header.width}x{header.height}"
        say(f"{args.output}: {size}, {header.bits} bits, {_claim(header)}")
    return 0


def read_picture(path: Path, *, keep_identity: bool, allow_burned_in: bool) -> Picture:
    """
    Read a picture of any kind that can be kept exactly.

    Args:
        path: Of the file; what is in it says of what kind it is.
        keep_identity: As `read_dicom`.
        allow_burned_in: As `read_dicom`.

    Raises:
        InputError: If it is of none, damaged or too large.
        ConfigError: If what reads it is not installed.
    """
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    # DICOM first: what is before its mark may be the beginning of a TIFF file, PS3.10 7.1
    if head[128:] == b"DICM" or path.suffix.lower() in DICOM_SUFFIXES:
        return read_dicom(path, keep_identity=keep_identity, allow_burned_in=allow_burned_in)
    if head.startswith(b"\x93NUMPY"):
        return plain.read_npy(path)
    if head.startswith((b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return plain.read_image(path)
    raise InputError(f"{path}: exact are DICOM (.dcm), NumPy, PNG and TIFF files only")


def save_picture(
    output: Path,
    header: ExactFormat,
    frames: list[Samples],
    size_bytes: int,
    *,
    syntax: str | None = None,
) -> None:
    """
    Write frames that were decoded to a file of the kind that its name says.

    Args:
        output: .dcm, .npy, .png, .tif or .jxl; appears whole or not at all.
        header: Of the file that they are from.
        frames: All of them.
        size_bytes: Of that file.
        syntax: As of `write_dicom`, for .dcm.

    Raises:
        InputError: If such a file cannot hold it.
        ConfigError: If what writes it is not installed.
    """
    picture = Picture(frames, header.bits, header.signed, read_notes(header))
    with atomic_file(output) as partial:
        _write_picture(partial, output, picture, header, size_bytes, syntax)


def decode_frames(file: BinaryIO) -> tuple[ExactFormat, list[Samples], int]:
    """
    Return the header, all frames, proven, and how many bytes they took.

    Raises:
        BitstreamError: If *file* is damaged, or a frame is not what was encoded.
        InputError: If it is too large.
        ConfigError: If what decodes its frames is not installed.
    """
    reader = ExactReader(file)
    header = reader.header
    check_size(header.frames, header.height, header.width, header.channels)
    coder = FrameCoder(header)
    frames = []
    with Progress("decoding", header.frames) as progress:
        for number, coded in enumerate(reader):
            frame = decode_frame(header, coder, coded)
            if not is_proven(header, coded, frame):
                raise Corrupt(f"frame {number} is not what was encoded: its hash differs", offset=0)
            frames.append(frame)
            progress.step()
    return header, frames, reader.offset


def _write_picture(
    partial: Path,
    output: Path,
    picture: Picture,
    header: ExactFormat,
    size_bytes: int,
    syntax: str | None,
) -> None:
    suffix = output.suffix.lower()
    if suffix in DICOM_SUFFIXES:
        samples = header.width * header.height * header.channels * header.frames
        ratio = samples * (1 if header.bits <= 8 else 2) / size_bytes
        uid = str(picture.notes.get("new_uid", ""))
        write_dicom(
            partial, picture, max_error=header.max_error, ratio=ratio, uid=uid, syntax=syntax
        )
    elif suffix == ".npy":
        with partial.open("wb") as file:
            plain.write_npy(file, picture)
    elif suffix in plain.WRITTEN_SUFFIXES:
        plain.write_image(partial, picture, suffix)
    else:
        raise InputError(f"{output}: an exact picture becomes .dcm, .npy, .png, .tif or .jxl")


def write_notes(picture: Picture, max_error: int) -> bytes:
    """
    Return a picture's notes as a header holds them.

    Raises:
        InputError: If there is too much of them.
    """
    notes = dict(picture.notes)
    if max_error and notes["kind"] == "dicom":
        import pydicom.uid

        notes["new_uid"] = str(pydicom.uid.generate_uid())
    data = json.dumps(notes, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > NOTES_MAX_BYTES:
        raise InputError(f"{len(data)} bytes beside its samples are more than {NOTES_MAX_BYTES}")
    return zlib.compress(data, 9)


def read_notes(header: ExactFormat) -> dict[str, Any]:
    """Return the notes of a header; nothing if they are damaged."""
    inflater = zlib.decompressobj()
    try:
        notes = json.loads(inflater.decompress(header.notes, NOTES_MAX_BYTES))
    except (ValueError, RecursionError, zlib.error):
        notes = None
    return notes if isinstance(notes, dict) else {}


def _claim(header: ExactFormat) -> str:
    if header.max_error:
        return f"verified, no sample further off than {header.max_error}"
    return "lossless, verified"


def _described(output: Path, header: ExactFormat) -> dict[str, Any]:
    """Return what `--json` prints of a picture that was proven."""
    return {
        "output": str(output),
        "frames": header.frames,
        "width": header.width,
        "height": header.height,
        "components": header.channels,
        "bits": header.bits,
        "signed": header.signed,
        "max_error": header.max_error,
        "lossless": header.max_error == 0,
        "within": header.bound,
        "verified": True,
    }


def summary(report: dict[str, Any]) -> str:
    """Say what `encode_picture` returned in one line."""
    loss = f"within {report['max_error']}" if report["max_error"] else "lossless"
    loss = f"within {report['within']}, then lossless" if report["within"] else loss
    by = "" if report["exact_codec"] == OWN else f" of {report['exact_codec']}"
    words = (
        f"{report['output']}: {report['frames']} frames{by} {report['width']}x{report['height']}, "
        f"{report['size_bytes']} bytes, {report['ratio']:.2f}:1, {loss}, verified"
    )
    if report["frames_otherwise"]:
        why = "did not come back" if report["exact_codec"] == OWN else "did not come back smaller"
        words += f"; {report['frames_otherwise']} frames {why} and are stored otherwise"
    return words
