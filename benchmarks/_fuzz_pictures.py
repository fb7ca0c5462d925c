"""
What `fuzz` throws at the readers of DICOM, of exact and of progressive pictures.

DICOM samples are small files that come with pydicom and a few that are drawn here; both kinds are
broken along their structure, too: values, lengths and depth of elements; headers and payloads
whose check words are made right again, so that what comes after those is reached.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from benchmarks import _mutate
from rtcodec.bitstream.exact_file import (
    TOGETHER_KINDS,
    ExactFrame,
    ExactReader,
    ExactWriter,
    FrameKind,
)
from rtcodec.bitstream.exact_format import write_exact_header
from rtcodec.bitstream.progressive_file import HEADER_BYTES, Transform, read_progressive
from rtcodec.bitstream.sequence import ColorRange
from rtcodec.codec.exact_codecs import encode_whole, whole_format
from rtcodec.codec.exact_files import decode_frames, read_notes
from rtcodec.dicom.multipart import read_boundary, read_parts
from rtcodec.dicom.picture import Picture
from rtcodec.dicom.reader import parse_dicom
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder
from rtcodec.exact.plan import plan_picture
from rtcodec.progressive.picture import decode_picture as decode_progressive_picture
from rtcodec.progressive.picture import encode_picture as encode_progressive_picture

HAS_DICOM: Final = find_spec("pydicom") is not None and find_spec("imagecodecs") is not None

_FILE_MAX_BYTES: Final = 16_000
_PIXELS_TRIED: Final = 1 << 14
_LONG_VRS: Final = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
_SIZES: Final = {  # group 0028: rows, columns, samples, planes, frames, bits
    (0x28, 0x02), (0x28, 0x04), (0x28, 0x06), (0x28, 0x08), (0x28, 0x10), (0x28, 0x11),
    (0x28, 0x100), (0x28, 0x101), (0x28, 0x102), (0x28, 0x103),
}  # fmt: skip
_LENGTHS: Final = (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_SYNTAXES: Final = (
    b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99",
    b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.50",
    b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.91",
    b"1.2.840.10008.1.2.4.201", b"1.2.840.10008.1.2.4.110", b"1.2.3",
)  # fmt: skip


# ---------------------------------------------------------------------- DICOM


@cache
def dicom_files() -> list[bytes]:
    """Return valid files with samples, of many transfer syntaxes."""
    from pydicom import data

    folder = Path(data.__file__).parent / "test_files"
    paths = sorted(path for path in folder.glob("*.dcm") if path.stat().st_size < _FILE_MAX_BYTES)
    found = [path.read_bytes() for path in paths]
    return [*filter(_is_read, found), *_drawn_files()]


def run_dicom(data: bytes) -> None:
    """Read a file as `rtcodec encode --lossless` does."""
    parse_dicom(data, keep_identity=len(data) % 2 == 0, allow_burned_in=True)


def mutate_dicom(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Return *sample* with elements that are changed, gone, repeated or nested; or broken bytes."""
    if rng.random() < 0.3:
        return _mutate.mutate_bytes(sample, others, rng)
    data = sample
    for _ in range(rng.choice((1, 1, 2, 3))):
        elements = list(_elements(data))
        if not elements:
            break
        sizes = [element for element in elements if element.tag in _SIZES]
        one = rng.choice(sizes if sizes and rng.random() < 0.6 else elements)
        data = _break_element(data, one, rng)
    return data[: _mutate.MAX_BYTES]


@dataclass(frozen=True, slots=True)
class _Element:
    """An element of explicit VR, little-endian: where it lies."""

    tag: tuple[int, int]
    start: int
    length_at: int
    length_form: str
    value_at: int
    end: int


def _elements(data: bytes) -> Iterator[_Element]:
    at = 132
    while at + 12 <= len(data):
        group, number, vr = struct.unpack_from("<HH2s", data, at)
        is_long = vr in _LONG_VRS
        length_at, form = (at + 8, "<I") if is_long else (at + 6, "<H")
        value_at = length_at + struct.calcsize(form)
        (length,) = struct.unpack_from(form, data, length_at)
        end = len(data) if length == 0xFFFFFFFF else value_at + length
        if not vr.isalpha() or end > len(data):
            return
        yield _Element((group, number), at, length_at, form, value_at, end)
        at = end


def _break_element(data: bytes, one: _Element, rng: Random) -> bytes:
    whole, value = data[one.start : one.end], data[one.value_at : one.end]
    what = rng.randrange(7)
    if one.tag == (0x02, 0x10) and what < 4:
        new = rng.choice(_SYNTAXES)
        new += b"\0" * (len(new) % 2)
        return data[: one.length_at] + struct.pack("<H", len(new)) + new + data[one.end :]
    if what <= 1:  # a number, of as many bytes; digits where it is a string of them
        if value.strip(b" \0").isdigit():
            text = str(rng.choice(_mutate.EDGES)).encode()
            new = text[: len(value)].ljust(len(value))
        else:
            number = rng.choice(_mutate.EDGES) & ((1 << 8 * min(len(value), 4)) - 1)
            new = number.to_bytes(min(len(value), 4), "little") + value[4:]
        return data[: one.value_at] + new + data[one.end :]
    if what == 2:
        most = (1 << 8 * struct.calcsize(one.length_form)) - 1
        length = struct.pack(one.length_form, rng.choice(_LENGTHS) & most)
        return data[: one.length_at] + length + data[one.value_at :]
    if what == 3:
        return data[: one.start] + data[one.end :]
    if what == 4:
        return data[: one.end] + whole * rng.choice((1, 3)) + data[one.end :]
    if what == 5:
        return data[: one.start] + _nested(rng.choice((3, 60, 3000))) + data[one.start :]
    return data[: one.value_at] + _mutate.mutate_bytes(value, [value], rng) + data[one.end :]


def _nested(depth: int) -> bytes:
    """Return sequences within sequences of the kind that goes along."""
    opening = struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, 0xFFFFFFFF)
    return (opening + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


def _is_read(data: bytes) -> bool:
    try:
        run_dicom(data)
    except Exception:  # not a sample that others can be made of
        return False
    return True


def _drawn_files() -> Iterator[bytes]:
    """Give out files of all depths and signs, of one or more frames, gray and in colours."""
    rng = np.random.default_rng(5)
    for bits, signed, frames, components in (
        (8, 0, 1, 1), (12, 0, 4, 1), (16, 1, 2, 1), (8, 0, 2, 3), (16, 0, 1, 3), (10, 1, 1, 1),
    ):  # fmt: skip
        size = 1 if bits == 8 else 2
        shape = (frames, 9, 13, components)
        samples = rng.integers(0, 1 << bits, shape).astype(f"<u{size}")
        yield _drawn_file(samples, bits, signed)


def _drawn_file(samples: np.ndarray[Any, Any], bits: int, signed: int) -> bytes:
    import pydicom

    frames, rows, columns, components = samples.shape
    dataset: Any = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.Modality, dataset.PatientName = "CT", "A^B"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames, rows, columns
    dataset.SamplesPerPixel, dataset.PixelRepresentation = components, signed
    dataset.PhotometricInterpretation = "RGB" if components == 3 else "MONOCHROME2"
    if components == 3:
        dataset.PlanarConfiguration = 1
    dataset.BitsAllocated, dataset.BitsStored = 8 * samples.itemsize, bits
    dataset.HighBit = bits - 1
    dataset.add_new("PixelData", "OB" if bits == 8 else "OW", samples.tobytes())
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def web_answers() -> list[bytes]:
    """Return multipart answers, each after the line that says how they are parted."""
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    return [
        b"multipart/related; type=application/dicom; boundary=b\n" + part + b"x\r\n--b--\r\n",
        b'multipart/related; boundary="b"\n' + 3 * (part + bytes(300) + b"\r\n") + b"--b--",
    ]


def run_web_answer(data: bytes) -> None:
    """Take an answer apart as the DICOMweb client does."""
    kind, _, body = data.partition(b"\n")
    boundary = read_boundary(kind.decode("latin-1"))
    for _ in read_parts(io.BytesIO(body).read, boundary, part_max_bytes=1000):
        pass


# ---------------------------------------------------------------------- exact pictures


@cache
def exact_files() -> list[bytes]:
    """Return files of every kind of frame: gray, many colours and few, padding, within a bound."""
    rng = np.random.default_rng(6)
    rows, columns = np.indices((70, 45))
    wave = 0.5 + 0.3 * np.sin(rows / 9) * np.cos(columns / 7)
    made = []
    tiles, jpeg_ls = FrameKind.TILES, FrameKind.JPEG_LS
    for bits, components, max_error, bound, kind in (
        (12, 1, 0, 0, tiles), (8, 3, 0, 0, tiles), (16, 1, 0, 0, tiles), (12, 1, 3, 0, tiles),
        (12, 1, 0, 0, jpeg_ls), (8, 1, 0, 0, tiles), (12, 1, 0, 2, tiles), (8, 3, 0, 5, tiles),
        (8, 4, 0, 0, tiles), (12, 3, 0, 0, tiles),
    ):  # fmt: skip
        high = (1 << bits) - 1
        plane = np.clip(high * wave + rng.normal(0, 1 + high / 500, wave.shape), 0, high)
        plane[(rows - 35) ** 2 + (columns - 22) ** 2 > 500] = 0
        planes = [plane] * components
        if components == 3:  # too many colours for a palette
            noises = [rng.integers(0, 60, plane.shape) + red for red in (100, 0, 0)]
            planes = [np.clip(plane + noise, 0, high) for noise in noises]
        frame = np.stack(planes, -1).astype("u1" if bits == 8 else "u2")
        made.append(_exact_file([frame, frame[::-1]], bits, kind, max_error=max_error, bound=bound))
        if HAS_DICOM and not max_error and not bound:  # what others' codecs need is there
            made += [_whole_file(frame, bits, kind) for kind in sorted(TOGETHER_KINDS)]
    return made


def run_exact(data: bytes) -> None:
    """Decode all frames and read what goes along."""
    header, _, _ = decode_frames(io.BytesIO(data))
    read_notes(header)


def mutate_exact(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Return *sample* broken where it is; or in header or payloads, with check words put right."""
    if rng.random() < 0.3:
        return _mutate.mutate_bytes(sample, others, rng)
    reader = ExactReader(io.BytesIO(sample))
    frames = list(reader)
    head = write_exact_header(reader.header)
    if rng.random() < 0.5:
        broken = _mutate.mutate_bytes(head[:-4], [head], rng)
        body = broken + zlib.crc32(broken).to_bytes(4, "big") + sample[len(head) : -4]
        return (body + zlib.crc32(body).to_bytes(4, "big"))[: _mutate.MAX_BYTES]
    stream = io.BytesIO()
    writer = ExactWriter(stream, reader.header)
    for frame in frames:
        payloads = list(frame.payloads)
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.randrange(len(payloads))
            payloads[at] = _mutate.mutate_bytes(payloads[at], frame.payloads, rng)
        writer.write(ExactFrame(frame.kind, frame.digest, frame.checks, tuple(payloads)))
    writer.close()
    return stream.getvalue()[: _mutate.MAX_BYTES]


@cache
def progressive_files() -> list[bytes]:
    """Return files by both transforms, one of them the beginning of another."""
    rows, columns = np.indices((30, 41))
    luma = (128 + 90 * np.sin(rows / 5) * np.cos(columns / 7)).astype(np.uint8)
    chroma = luma[::2, ::2]
    made = [
        encode_progressive_picture(
            (luma, chroma, 255 - chroma),
            color_range=ColorRange.FULL,
            color_matrix=6,
            transform=transform,
        )
        for transform in Transform
    ]
    return [*made, made[0][: len(made[0]) // 2]]


def run_progressive(data: bytes) -> None:
    """Decode what there is of a picture, if it is small enough to be tried often."""
    file = read_progressive(data)
    if file.header.width * file.header.height <= _PIXELS_TRIED:
        decode_progressive_picture(file)


def mutate_progressive(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Return *sample* broken where it is; or in header or payload, with check words put right."""
    if rng.random() < 0.3:
        return _mutate.mutate_bytes(sample, others, rng)
    head, payload = sample[: HEADER_BYTES - 4], sample[HEADER_BYTES:]
    if rng.random() < 0.5:
        head = _mutate.mutate_bytes(head, [head], rng)
    else:
        payload = _mutate.mutate_bytes(payload, [payload], rng)
        head = head[:-4] + len(payload).to_bytes(4, "big")
        payload += zlib.crc32(payload).to_bytes(4, "big")
    return (head + zlib.crc32(head).to_bytes(4, "big") + payload)[: _mutate.MAX_BYTES]


def _whole_file(frame: Any, bits: int, kind: FrameKind) -> bytes:
    header = whole_format(Picture([frame], bits, False, {"kind": "npy"}), kind, b"")
    stream = io.BytesIO()
    writer = ExactWriter(stream, header)
    writer.write(encode_whole(header, frame, kind))
    writer.close()
    return stream.getvalue()


def _exact_file(
    frames: Sequence[Any], bits: int, kind: FrameKind, *, max_error: int, bound: int
) -> bytes:
    header = plan_picture(
        frames,
        bits=bits,
        signed=False,
        max_error=max_error,
        bound=bound,
        notes=zlib.compress(b'{"kind":"npy"}'),
    )
    stream, coder = io.BytesIO(), FrameCoder(header)
    writer = ExactWriter(stream, header)
    for frame in frames:
        if kind == FrameKind.TILES:
            writer.write(coder.encode(frame, encode_otherwise))
        else:
            writer.write(encode_otherwise(header, frame))
    writer.close()
    return stream.getvalue()
