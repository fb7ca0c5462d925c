"""
What `fuzz` throws at the messages of studies: a viewer's at the relay's queue, a relay's at what a
viewer keeps. Samples are whole sessions in small: a message, or a file that has come in parts.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Final

import numpy as np

from rtcodec.bitstream.exact_file import ExactWriter
from rtcodec.bitstream.exact_format import ALL_STEPS, COMMON_FITS, STEPS, Component, ExactFormat
from rtcodec.bitstream.exact_index import index_frames, read_header
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder
from rtcodec.exact.partial import PartialPicture
from rtcodec.session.study_message import (
    Cancel,
    Data,
    Done,
    Fallback,
    Have,
    Index,
    Listing,
    Preview,
    Quality,
    Refusal,
    Request,
    Status,
    WantFallback,
    read_from_relay,
    read_from_viewer,
    write_from_relay,
    write_from_viewer,
)
from rtcodec.session.study_queue import StudyFile, StudyQueue

_VERSION: Final = b"\1" * 8
_FRAMES: Final = 2


@cache
def _file() -> StudyFile:
    component = Component(0, 255, None, COMMON_FITS)
    header = ExactFormat(50, 40, _FRAMES, 8, False, False, 5, 0, (component,), b"{}")
    stream = io.BytesIO()
    writer, coder = ExactWriter(stream, header), FrameCoder(header)
    rows, columns = np.indices((40, 50))
    for k in range(_FRAMES):
        frame = ((rows * 3 + columns * 2 + k) % 256).astype(np.uint8)[..., None]
        writer.write(coder.encode(frame, encode_otherwise))
    writer.close()
    data = stream.getvalue()
    found, header_bytes = read_header(data)
    sizes = index_frames(found, header_bytes, data)
    return StudyFile(data, found, header_bytes, sizes, _VERSION)


def viewer_messages() -> list[bytes]:
    """Return one of each kind that a viewer sends."""
    messages = (
        Request(1, 0, 1, ALL_STEPS, True, 0, 0),
        Request(2, 0, 0, 4, False, 1, 1, (5, 5, 20, 20)),
        Cancel(1),
        Have(0, _VERSION, ((0, 100), (150, 300))),
        WantFallback(0, 1),
        Status(0, 0, 2, Quality.VERIFIED),
    )
    return [write_from_viewer(message) for message in messages]


def run_viewer_message(data: bytes) -> None:
    """Read a message and let the relay's queue act on it."""
    message = read_from_viewer(data)
    queue = StudyQueue()
    queue.set_file(0, _file())
    if isinstance(message, Request):
        queue.add(message)
    elif isinstance(message, Have):
        queue.have(message)
        queue.add(Request(1, message.instance, 0, ALL_STEPS, False, 0, 0))
    while queue.next_piece(4640) is not None:
        pass


def relay_messages() -> list[bytes]:
    """Return one of each kind that a relay sends, and a whole file as one of them."""
    file = _file()
    messages = (
        Listing({"room": "a", "count": 1, "first": 0, "instances": []}, is_whole=True),
        Index(0, file.header_bytes, file.frame_bytes),
        Preview(0, 0, 50, 40, (b"abc", b"d")),
        Data(0, ((0, bytes(file.data[:])),)),
        Data(0, ((0, bytes(file.data[:900])), (900, bytes(file.data[900:])))),
        Fallback(0, 0, 10, 0, b"0123456789"),
        Done(1),
        Refusal({"code": "unknown", "detail": "no such frames"}),
    )
    return [write_from_relay(message) for message in messages]


def run_relay_message(data: bytes) -> None:
    """Read a message; show and prove what has come of a file by it."""
    message = read_from_relay(data)
    if isinstance(message, Index) and sum(message.frame_bytes) + message.header_bytes < 1 << 20:
        PartialPicture(message.header_bytes, message.frame_bytes)
    if not isinstance(message, Data):
        return
    part = PartialPicture(_file().header_bytes, _file().frame_bytes)
    for offset, some in message.parts:
        part.put(offset, some)
    for frame in range(_FRAMES):
        steps = part.steps(frame)
        if 0 < steps < STEPS:
            part.coarse(frame, steps)
        elif steps:
            part.prove(frame)
