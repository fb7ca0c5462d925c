"""
Write yuv420p planes as what people open, by the extension of the file.

    .y4m   the planes as they are          .mkv  the planes as they are, FFV1
    .mp4   H.264, near-lossless            .png  RGB, one file or a numbered series
    .npy   RGB, uint8 [frames, H, W, 3]

Files appear whole or not at all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.sequence import ColorRange
from rtcodec.errors import ConfigError
from rtcodec.media.atomic import atomic_file, atomic_folder
from rtcodec.media.color import Color, planes_to_rgb
from rtcodec.types import Planes

DEFAULT_RATE: Final = Fraction(25)


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """What holds for every frame of a file."""

    width: int
    height: int
    "In pixels."

    time_base: Fraction
    "Seconds per tick of the time stamps."

    frame_rate: Fraction | None = None
    "Nominal; None for a still image."

    color: Color = field(default_factory=Color)
    "Of the planes."


class MediaWriter(Protocol):
    """A file being written. Nothing appears under its name before `commit`."""

    def write(self, pts: int, planes: Planes) -> None:
        """Append one frame; time stamps in ticks, increasing."""

    def commit(self) -> None:
        """Finish the file and give it its name."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove whatever was not committed."""


def open_writer(path: Path, media: MediaFormat) -> MediaWriter:
    """
    Start a file of the kind that the extension of *path* names.

    Raises:
        ConfigError: If the extension is not one of those above.
        InputError: If the folder does not exist.
    """
    kind = path.suffix.lower()
    if kind not in _WRITERS:
        known = " ".join(sorted(_WRITERS))
        if kind == ".dcm":
            raise ConfigError(f"{path}: only exact pictures become DICOM; use one of {known}")
        raise ConfigError(f"{path}: unknown kind of output {kind!r}; use one of {known}")
    return _WRITERS[kind](path, media)


class _Writer:
    """What the writers share: a stack that removes the partial file unless committed."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        self._path = path
        self._media = media
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            error = _NotCommitted()
            kind = _NotCommitted
        with suppress(_NotCommitted):
            self._stack.__exit__(kind, error, trace)

    def _enter(self, manager: AbstractContextManager[Path]) -> Path:
        return self._stack.enter_context(manager)


class _NotCommitted(Exception):
    """Tells the stack to undo; never leaves this module."""


class Y4mWriter(_Writer):
    """YUV4MPEG2: a line of text, then raw planes."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        super().__init__(path, media)
        self._file: BinaryIO = self._stack.enter_context(self._enter(atomic_file(path)).open("wb"))
        rate = media.frame_rate or DEFAULT_RATE
        siting, range_name = {
            ColorRange.FULL: ("420jpeg", " XCOLORRANGE=FULL"),
            ColorRange.LIMITED: ("420mpeg2", " XCOLORRANGE=LIMITED"),
            ColorRange.UNSPECIFIED: ("420jpeg", ""),
        }[media.color.color_range]
        header = (
            f"YUV4MPEG2 W{media.width} H{media.height} F{rate.numerator}:{rate.denominator}"
            f" Ip A1:1 C{siting}{range_name}\n"
        )
        self._file.write(header.encode("ascii"))

    def write(self, pts: int, planes: Planes) -> None:
        """Append the planes; the format has no time stamps."""
        self._file.write(b"FRAME\n")
        for plane in (planes.y, planes.u, planes.v):
            self._file.write(np.ascontiguousarray(plane).data)

    def commit(self) -> None:
        """Give the file its name."""
        self._stack.close()


class NpyWriter(_Writer):
    """A NumPy array of RGB frames; its length is filled in at the end."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        super().__init__(path, media)
        self._file: BinaryIO = self._stack.enter_context(self._enter(atomic_file(path)).open("wb"))
        self._count = 0
        self._write_header()
        self._start = self._file.tell()

    def write(self, pts: int, planes: Planes) -> None:
        """Append one frame."""
        self._file.write(planes_to_rgb(planes, self._media.color).data)
        self._count += 1

    def commit(self) -> None:
        """Write the number of frames and give the file its name."""
        self._file.seek(0)
        self._write_header()
        # numpy leaves room in the header for the first axis to grow
        assert self._file.tell() == self._start
        self._stack.close()

    def _write_header(self) -> None:
        shape = (self._count, self._media.height, self._media.width, 3)
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, head)


class PngWriter(_Writer):
    """
    RGB images: `OUT.png` for one frame, `OUT_000001.png` and so on for several.

    A name with a `%d` or `%06d` in it numbers even a single one.
    """

    def __init__(self, path: Path, media: MediaFormat) -> None:
        super().__init__(path, media)
        self._numbered = "%" in path.name
        if self._numbered:
            self._name(1)
        self._folder = self._enter(atomic_folder(path))
        self._parts: list[Path] = []

    def write(self, pts: int, planes: Planes) -> None:
        """Append one frame."""
        from PIL import Image

        part = self._folder / f"{len(self._parts) + 1}.png"
        rgb = planes_to_rgb(planes, self._media.color)
        Image.fromarray(rgb).save(part, compress_level=4)
        self._parts.append(part)

    def commit(self) -> None:
        """Give the files their names."""
        if len(self._parts) == 1 and not self._numbered:
            self._parts[0].replace(self._path)
        else:
            for number, part in enumerate(self._parts, 1):
                part.replace(self._name(number))
        self._stack.close()

    def _name(self, number: int) -> Path:
        if not self._numbered:
            return self._path.with_name(f"{self._path.stem}_{number:06d}{self._path.suffix}")
        try:
            return self._path.with_name(self._path.name % number)
        except (TypeError, ValueError):
            raise ConfigError(
                f"{self._path}: a numbered name has one %d, as in out_%06d.png"
            ) from None


class AvWriter(_Writer):
    """Containers by PyAV: FFV1 in Matroska (exact), H.264 in MP4 (near-lossless)."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        super().__init__(path, media)
        import av

        exact = path.suffix.lower() == ".mkv"
        odd = (media.width | media.height) & 1
        # H.264 crops 4:2:0 in steps of two samples
        self._pixel_format = "yuv420p" if exact or not odd else "yuv444p"
        partial = self._enter(atomic_file(path))
        container = self._stack.enter_context(av.open(f"file:{partial}", "w"))
        rate = media.frame_rate or DEFAULT_RATE
        options = _ffv1_options(media.height) if exact else _H264_OPTIONS
        stream: Any = container.add_stream(
            "ffv1" if exact else "libx264", rate=rate, options=dict(options)
        )
        stream.width, stream.height = media.width, media.height
        stream.pix_fmt = self._pixel_format
        stream.codec_context.time_base = media.time_base
        stream.codec_context.color_range = int(media.color.color_range)
        stream.codec_context.colorspace = media.color.matrix
        self._container, self._stream = container, stream
        self._last_pts: int | None = None

    def write(self, pts: int, planes: Planes) -> None:
        """Append one frame; a time stamp that does not grow is moved on by a tick."""
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1
        self._last_pts = pts
        frame = planes_to_frame(planes)
        if self._pixel_format != "yuv420p":
            frame = frame.reformat(format=self._pixel_format)
        frame.pts, frame.time_base = pts, self._media.time_base
        frame.color_range = int(self._media.color.color_range)
        self._container.mux(self._stream.encode(frame))

    def commit(self) -> None:
        """Flush the encoder and give the file its name."""
        self._container.mux(self._stream.encode(None))
        self._stack.close()


def planes_to_frame(planes: Planes) -> Any:
    """Return planes as an `av.VideoFrame` in yuv420p."""
    from av.video.frame import VideoFrame

    frame = VideoFrame(planes.width, planes.height, "yuv420p")
    for target, plane in zip(frame.planes, (planes.y, planes.u, planes.v), strict=True):
        height, width = plane.shape
        rows: NDArray[np.uint8] = np.zeros(
            (target.buffer_size // target.line_size, target.line_size), np.uint8
        )
        rows[:height, :width] = plane
        target.update(rows.tobytes())
    return frame


def _ffv1_options(height: int) -> dict[str, str]:
    """Version 3 has check sums, but cannot slice a wide picture of a few lines; version 1 can."""
    return {"level": "3", "slicecrc": "1"} if height >= 64 else {"level": "1"}


_H264_OPTIONS: Final = {"crf": "8", "preset": "veryfast"}

_WRITERS: Final[dict[str, Callable[[Path, MediaFormat], MediaWriter]]] = {
    ".y4m": Y4mWriter,
    ".mkv": AvWriter,
    ".mp4": AvWriter,
    ".png": PngWriter,
    ".npy": NpyWriter,
}
