"""
Where decoded frames go besides the figures: files.

    x.rtc                       the bitstream as it came, exactly; x-2.rtc from another size on
    x.y4m x.mkv x.mp4 x.png     the decoded planes, by `rtcodec.media.writer`

Writing happens on its own thread; when it cannot keep up, decoding waits, for
a recording must not have holes.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.file import RtcWriter
from rtcodec.bitstream.packet import Geometry
from rtcodec.bitstream.sequence import MAX_REFERENCES, SequenceHeader
from rtcodec.codec.picture_decoder import DecodedPicture
from rtcodec.errors import ConfigError, InputError
from rtcodec.media.atomic import atomic_file
from rtcodec.media.scale import PlanesScaler
from rtcodec.media.writer import MediaFormat, MediaWriter, open_writer
from rtcodec.timebase import RTP_TIME_BASE, US_PER_S, ticks_to_us
from rtcodec.types import Planes

_PENDING_MAX = 16
_DEFAULT_RATE = Fraction(30)
_SUFFIXES = (".rtc", ".y4m", ".mkv", ".mp4", ".png", ".npy")


class FrameOutput(Protocol):
    """Takes the decoded frames of one stream, in order."""

    def write(self, pts: int, picture: DecodedPicture) -> None:
        """Take one frame; *pts* are unwrapped 90 kHz ticks."""

    def close(self) -> None:
        """Finish the file; without a frame there is none."""

    def abandon(self) -> None:
        """Leave nothing behind."""


def check_output(path: Path) -> None:
    """
    Refuse what could not be written, before any work is done.

    Raises:
        ConfigError: If the extension is unknown.
        InputError: If the folder does not exist.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{path}: unknown kind of output; use one of {' '.join(_SUFFIXES)}")
    if not path.resolve().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")


def open_output(
    path: Path, model_id: bytes, *, frame_rate: Fraction | None = None, spool: bool = False
) -> FrameOutput:
    """
    Make the output that the extension names; its file starts with the first frame.

    Args:
        path: Checked by `check_output`.
        model_id: Of the stream's model, 32 bytes.
        frame_rate: Nominal, or None to take it from the first two frames.
        spool: Encode after the stream, not during it.
    """
    if path.suffix.lower() == ".rtc":
        return _BitstreamOutput(path, model_id)
    output = _MediaOutput(path, frame_rate)
    return SpooledOutput(output) if spool else output


class _Abandoned(Exception):
    """Makes an atomic file undo itself; never leaves this module."""


class _BitstreamOutput:
    """One file; another beside it where the stream goes on at another size or rung."""

    def __init__(self, path: Path, model_id: bytes) -> None:
        self._path = path
        self._model_id = model_id
        self._stack = ExitStack()
        self._writer: RtcWriter | None = None
        self._written: tuple[Geometry, int] | None = None
        self._n_parts = 0

    def write(self, pts: int, picture: DecodedPicture) -> None:
        kind = picture.description.geometry, picture.rung
        if kind != self._written:
            self.close()
            self._open(*kind)
        assert self._writer is not None
        try:
            self._writer.write(AccessUnit(pts, picture.packets))
        except ValueError as error:  # such as packets of another model
            raise InputError(f"{self._path}: the stream cannot be kept: {error}") from error

    def _open(self, geometry: Geometry, rung: int) -> None:
        sequence = SequenceHeader(
            model_id=self._model_id[:8],
            geometry=geometry,
            time_base=RTP_TIME_BASE,
            rungs=rung + 1,
            references=MAX_REFERENCES,  # how many the sender uses shows in its packets
        )
        self._n_parts += 1
        path = self._path
        if self._n_parts > 1:
            path = path.with_stem(f"{path.stem}-{self._n_parts}")
        partial = self._stack.enter_context(atomic_file(path))
        self._writer = RtcWriter(self._stack.enter_context(partial.open("wb")), sequence)
        self._written = geometry, rung

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._stack.close()

    def abandon(self) -> None:
        with suppress(_Abandoned):
            self._stack.__exit__(_Abandoned, _Abandoned(), None)


class _MediaOutput:
    """One file of the first picture's size; pictures of other sizes are scaled to it."""

    def __init__(self, path: Path, frame_rate: Fraction | None) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._held: tuple[int, Planes] | None = None
        self._writer: MediaWriter | None = None
        self._size: tuple[int, int] | None = None
        self._scaler = PlanesScaler()

    def write(self, pts: int, picture: DecodedPicture) -> None:
        planes = picture.planes
        if self._size is None:
            self._size = planes.width, planes.height
        planes = self._scaler.scale(planes, *self._size)
        if self._writer is None and self._held is None and self._frame_rate is None:
            self._held = (pts, planes)
            return
        if self._writer is None:
            self._start(planes, self._frame_rate or self._rate_until(pts))
        assert self._writer is not None
        self._writer.write(pts, planes)

    def close(self) -> None:
        if self._writer is None and self._held is not None:
            self._start(self._held[1], _DEFAULT_RATE)
        if self._writer is not None:
            self._writer.commit()
            self._writer.__exit__(None, None, None)

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.__exit__(None, None, None)

    def _rate_until(self, pts: int) -> Fraction:
        assert self._held is not None
        interval_us = ticks_to_us(max(1, pts - self._held[0]), RTP_TIME_BASE)
        return Fraction(US_PER_S, max(1, interval_us)).limit_denominator(1001)

    def _start(self, planes: Planes, rate: Fraction) -> None:
        self._writer = open_writer(
            self._path, MediaFormat(planes.width, planes.height, RTP_TIME_BASE, rate)
        )
        if self._held is not None:
            self._writer.write(*self._held)
            self._held = None


class SpooledOutput:
    """
    Keeps the decoded planes in a temporary file; the real one is written at the end.

    For files whose encoder would take the processor away from a live decoder.
    """

    def __init__(self, target: FrameOutput) -> None:
        self._target = target
        self._file = tempfile.TemporaryFile(prefix="rtcodec-")  # noqa: SIM115 - closed in close()
        self._frames: list[tuple[int, tuple[int, int], DecodedPicture]] = []

    def write(self, pts: int, picture: DecodedPicture) -> None:
        """Spool one frame."""
        planes = picture.planes
        for plane in (planes.y, planes.u, planes.v):
            self._file.write(np.ascontiguousarray(plane).data)
        stub = replace(picture, planes=_STUB, packets=())
        self._frames.append((pts, (planes.width, planes.height), stub))

    def close(self) -> None:
        """Write the real file and forget the temporary one."""
        with self._file:
            self._file.seek(0)
            for pts, size, picture in self._frames:
                self._target.write(pts, replace(picture, planes=_read_planes(self._file, *size)))
            self._target.close()

    def abandon(self) -> None:
        """Forget both files."""
        self._file.close()
        self._target.abandon()


_STUB = Planes(*(np.zeros((1, 1), np.uint8) for _ in range(3)))


def _read_planes(file: BinaryIO, width: int, height: int) -> Planes:
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (
        np.frombuffer(file.read(rows * columns), np.uint8).reshape(rows, columns)
        for rows, columns in ((height, width), half, half)
    )
    return Planes(y=y, u=u, v=v)


class OutputThread:
    """Writes to several outputs in the order of arrival, off the caller's thread."""

    def __init__(self, outputs: Sequence[FrameOutput]) -> None:
        self._outputs = list(outputs)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="output")
        self._pending: deque[Future[None]] = deque()

    def write(self, pts: int, picture: DecodedPicture) -> None:
        """
        Hand over one frame; waits only when 16 are waiting already.

        Raises:
            RtcodecError, OSError: If an earlier frame could not be written.
        """
        if not self._outputs:
            return
        self._pending.append(self._pool.submit(self._write, pts, picture))
        while self._pending and (self._pending[0].done() or len(self._pending) > _PENDING_MAX):
            self._pending.popleft().result()

    def close(self) -> None:
        """
        Write what is left and finish the files.

        Raises:
            RtcodecError, OSError: If something could not be written.
        """
        try:
            try:
                while self._pending:
                    self._pending.popleft().result()
            finally:
                self._pool.shutdown()
            for output in self._outputs:
                output.close()
        except BaseException:
            for output in self._outputs:
                output.abandon()
            raise

    def _write(self, pts: int, picture: DecodedPicture) -> None:
        for output in self._outputs:
            output.write(pts, picture)
