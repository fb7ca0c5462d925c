"""Prepared files of exact pictures: mapped into memory, indexed, and frames of them otherwise."""

import hashlib
import io
import mmap
from dataclasses import replace
from pathlib import Path

from rtcodec.bitstream.exact_file import ExactWriter, FrameKind
from rtcodec.bitstream.exact_format import HEADER_MAX_BYTES
from rtcodec.bitstream.exact_index import index_frames, read_header
from rtcodec.errors import Corrupt
from rtcodec.exact.fallback import decode_otherwise, encode_otherwise
from rtcodec.exact.frame import FrameCoder, is_proven
from rtcodec.session.study_message import VERSION_BYTES
from rtcodec.session.study_queue import StudyFile


def open_study_file(path: Path) -> StudyFile:
    """
    Map a file of exact pictures; it may be removed afterwards, but not changed.

    Raises:
        BitstreamError: If it is damaged.
    """
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header, header_bytes = read_header(data[:HEADER_MAX_BYTES])
    sizes = index_frames(header, header_bytes, data)
    version = hashlib.sha256(data).digest()[:VERSION_BYTES]
    return StudyFile(data, header, header_bytes, sizes, version)


def make_fallback(file: StudyFile, frame: int) -> bytes:
    """
    Return a file of one frame of *file*, coded by somebody else's codec.

    Raises:
        BitstreamError: If the frame cannot be decoded here either.
    """
    head = file.head(frame)
    coded = head.open_frame(file.data, file.offsets[frame])
    header = replace(file.header, frames=1, max_error=0, notes=b"")
    if coded.kind == FrameKind.TILES:
        samples = FrameCoder(file.header).decode(coded)
    else:
        samples = decode_otherwise(file.header, coded)
    if not is_proven(file.header, coded, samples):
        raise Corrupt(f"frame {frame} is not what was encoded: its hash differs", offset=0)
    stream = io.BytesIO()
    writer = ExactWriter(stream, header)
    writer.write(encode_otherwise(header, samples))
    writer.close()
    return stream.getvalue()
