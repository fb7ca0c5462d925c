"""
Read any video or image that PyAV or Pillow reads, as yuv420p planes.

    yuv420p                 the planes as they are
    other YUV, other depths brought to 8-bit yuv420p once; range and matrix stay
    RGB, palettes, gray     converted to full range BT.601 once

Every frame comes out, in order, with its time stamp. Bad files end in `InputError`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange as AvColorRange
from numpy.typing import NDArray

from rtcodec.bitstream.sequence import ColorRange
from rtcodec.errors import InputError
from rtcodec.media.color import (
    FULL_BT601,
    MATRIX_UNSPECIFIED,
    Color,
    gray_to_planes,
    known_matrix,
    rgb_to_planes,
)
from rtcodec.types import MAX_SIDE_PX, Planes

DEFAULT_RATE: Final = Fraction(25)
"Where a file has time stamps and no frame rate."

_PAGED: Final = (".tif", ".tiff")
"Images whose later pages PyAV does not see."

_STILL_FORMATS: Final = ("image2", "_pipe")
_MAX_TERM: Final = 0xFFFFFFFF
_FAILURES: Final = (av.error.FFmpegError, ValueError, OSError, EOFError, MemoryError)


class MediaReader:
    """
    One video or image, as frames.

    A context manager. The fields below hold once it is made; `frames` may be called once.
    """

    width: int
    height: int
    "In pixels, 1 to 16384."

    frame_rate: Fraction | None
    "Nominal frames per second; None for a still image."

    time_base: Fraction
    "Seconds per tick of the time stamps."

    source_format: str
    "Pixel format of the file as FFmpeg calls it."

    color: Color
    "Of the planes that come out."

    expected_frames: int | None
    "What the container claims; only good for a progress bar."

    damaged: int
    "Pieces of the file that could not be decoded so far."

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """
        Open a file and decode its first frame.

        Args:
            path: Of a regular file.
            threads: For the decoder.

        Raises:
            InputError: If it is missing, unreadable, has no video, or the first frame is no good.
        """
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if path.is_dir():
            raise InputError(f"{path}: is a folder")
        self.damaged = 0
        self._path = path
        self._stack = ExitStack()
        try:
            self._source = self._open(threads)
            first = next(self._source, None)
            if first is None:
                raise InputError(f"{path}: no frames")
            self._first = first
        except BaseException:
            self._stack.close()
            raise
        self.width, self.height = first[1].width, first[1].height

    def frames(self) -> Iterator[tuple[int, Planes]]:
        """
        Give out every frame as (time stamp in ticks of `time_base`, planes).

        Raises:
            InputError: If the size changes on the way.
        """
        yield self._first
        for number, (pts, planes) in enumerate(self._source, 1):
            if (planes.width, planes.height) != (self.width, self.height):
                raise InputError(
                    f"{self._path}: frame {number} is {planes.width}x{planes.height}, "
                    f"the first one {self.width}x{self.height}"
                )
            yield pts, planes

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, threads: int) -> Iterator[tuple[int, Planes]]:
        """Return the frames by PyAV, or by Pillow where PyAV finds none or only the first."""
        if self._path.suffix.lower() in _PAGED and (pages := self._open_pillow()) is not None:
            return pages
        try:
            frames = self._open_av(threads)
            first = next(frames, None)
            if first is None:
                raise InputError(f"{self._path}: no frames")
        except (InputError, *_FAILURES) as error:
            pictures = self._open_pillow()
            if pictures is None:
                raise self._refusal(error) from None
            return pictures
        return _chain(first, frames)

    def _refusal(self, error: BaseException) -> InputError:
        if isinstance(error, InputError):
            return error
        if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
            return InputError(f"{self._path}: not a video or an image")
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        return InputError(f"{self._path}: {reason or type(error).__name__}")

    def _open_av(self, threads: int) -> Iterator[tuple[int, Planes]]:
        container = self._stack.enter_context(av.open(f"file:{self._path}", "r"))
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise InputError(f"{self._path}: no video in it")
        stream.codec_context.thread_count = threads
        still = container.format.name.endswith(_STILL_FORMATS)
        rate = stream.average_rate or stream.guessed_rate
        self.frame_rate = None if still else _limited(rate) or DEFAULT_RATE
        self.time_base = _limited(stream.time_base) or 1 / (self.frame_rate or DEFAULT_RATE)
        self.expected_frames = stream.frames or _guess_frames(stream) or (1 if still else None)
        return self._av_frames(container, stream)

    def _av_frames(self, container: Any, stream: av.VideoStream) -> Iterator[tuple[int, Planes]]:
        step = max(1, round(1 / (self.time_base * (self.frame_rate or DEFAULT_RATE))))
        expected = 0
        first = True
        for frame in self._decoded(container, stream):
            planes, color = _convert(frame)
            if first:
                self.source_format, self.color = frame.format.name, color
                first = False
            pts = frame.pts if frame.pts is not None else expected
            expected = pts + step
            yield pts, planes

    def _decoded(self, container: Any, stream: av.VideoStream) -> Iterator[VideoFrame]:
        """Give out what can be decoded and count what cannot."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            except av.error.EOFError:
                return
            yield from frames

    def _open_pillow(self) -> Iterator[tuple[int, Planes]] | None:
        """Return the frames of an image, or None if it is none."""
        from PIL import Image, ImageSequence, UnidentifiedImageError

        try:
            image = self._stack.enter_context(Image.open(self._path))
        except UnidentifiedImageError:
            return None
        except (*_FAILURES, Image.DecompressionBombError, SyntaxError) as error:
            raise self._refusal(error) from None
        self.damaged = 0
        count = int(getattr(image, "n_frames", 1))
        self.time_base = Fraction(1, 1000)
        self.frame_rate = None if count == 1 else Fraction(10)
        self.expected_frames = count
        self.source_format = {"L": "gray", "RGBA": "rgba", "P": "pal8"}.get(image.mode, "rgb24")
        self.color = FULL_BT601

        def frames() -> Iterator[tuple[int, Planes]]:
            pts = 0
            try:
                for picture in ImageSequence.Iterator(image):
                    planes = _from_pillow(picture)
                    yield pts, planes
                    pts += max(1, round(picture.info.get("duration", 100)))  # known once loaded
            except (*_FAILURES, Image.DecompressionBombError, SyntaxError) as error:
                raise self._refusal(error) from None

        return frames()


def _chain(
    first: tuple[int, Planes], rest: Iterator[tuple[int, Planes]]
) -> Iterator[tuple[int, Planes]]:
    yield first
    yield from rest


def _limited(ratio: Fraction | None) -> Fraction | None:
    """Return a positive ratio that the sequence header can hold, or None."""
    if ratio is None or ratio <= 0:
        return None
    ratio = Fraction(ratio)
    if max(ratio.numerator, ratio.denominator) > _MAX_TERM:
        ratio = ratio.limit_denominator(1_000_000)
    return ratio if 0 < ratio.numerator <= _MAX_TERM else None


def _guess_frames(stream: av.VideoStream) -> int | None:
    rate = stream.average_rate
    if stream.duration is None or stream.time_base is None or not rate:
        return None
    return max(1, round(stream.duration * stream.time_base * rate))


def _convert(frame: VideoFrame) -> tuple[Planes, Color]:
    """Return the planes of a decoded frame and what they mean."""
    if not (1 <= frame.width <= MAX_SIDE_PX and 1 <= frame.height <= MAX_SIDE_PX):
        raise InputError(f"frames of {frame.width}x{frame.height} are beyond {MAX_SIDE_PX}")
    kind = frame.format
    if kind.is_rgb or kind.has_palette or kind.name.startswith(("mono", "bayer")):
        rgb = frame if kind.name == "rgb24" else frame.reformat(format="rgb24")
        return rgb_to_planes(_plane(rgb, 0, 3)), FULL_BT601
    full = kind.name.startswith(("yuvj", "gray", "ya")) or frame.color_range == AvColorRange.JPEG
    if kind.name.startswith(("gray", "ya")):
        gray = frame if kind.name == "gray" else frame.reformat(format="gray")
        limited = frame.color_range == AvColorRange.MPEG
        color = Color(ColorRange.LIMITED if limited else ColorRange.FULL, MATRIX_UNSPECIFIED)
        return gray_to_planes(_plane(gray, 0, 1)), color
    color_range = ColorRange.FULL if full else ColorRange(min(int(frame.color_range), 2))
    color = Color(color_range, known_matrix(int(frame.colorspace)))
    if kind.name not in ("yuv420p", "yuvj420p"):
        # the same range on both sides: only chroma and depth change
        side = AvColorRange.JPEG if full else AvColorRange.MPEG
        frame = frame.reformat(format="yuv420p", src_color_range=side, dst_color_range=side)
    return Planes(_plane(frame, 0, 1), _plane(frame, 1, 1), _plane(frame, 2, 1)), color


def _plane(frame: VideoFrame, index: int, channels: int) -> NDArray[np.uint8]:
    """Copy one plane, uint8 [H, W] or [H, W, channels]; chroma sizes round up."""
    plane = frame.planes[index]
    width, height = frame.width, frame.height
    if index:
        width, height = (width + 1) // 2, (height + 1) // 2
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    cut = rows[:height, : width * channels]
    return np.ascontiguousarray(cut if channels == 1 else cut.reshape(height, width, channels))


def _from_pillow(picture: Any) -> Planes:
    if max(picture.size) > MAX_SIDE_PX:
        raise InputError(f"frames of {picture.width}x{picture.height} are beyond {MAX_SIDE_PX}")
    if picture.mode == "L":
        return gray_to_planes(np.asarray(picture, np.uint8))
    if picture.mode.startswith("I;16"):
        return gray_to_planes((np.asarray(picture, np.uint16) >> 8).astype(np.uint8))
    return rgb_to_planes(np.asarray(picture.convert("RGB"), np.uint8))
