"""
Codecs for still pictures; a video is coded as one file per frame.

    planes --(no colour conversion)--> file --(no colour conversion)--> planes

JPEG and WebP take and give YCbCr planes here, so nothing is lost to RGB. AVIF
through Pillow cannot: its figures include a conversion to RGB and back (about
0.2 dB at 40 dB).
"""

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.evaluation.codec import Encoded, Unprepared
from rtcodec.evaluation.frames import frame_to_planes, video_context
from rtcodec.media.color import rgb_to_planes
from rtcodec.media.writer import planes_to_frame
from rtcodec.types import Planes


class Still(Unprepared):
    """One file per picture; subclasses say how."""

    name: str
    description: str
    unit = "quality"
    settings: Sequence[int]
    kinds: frozenset[Kind] = frozenset({"image"})

    def encode(self, clip: Clip, setting: int) -> Encoded:
        return Encoded(tuple(self.write(planes, setting) for planes in clip.frames))

    def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
        for part in encoded.parts:
            yield self.read(part, clip.width, clip.height)

    def write(self, planes: Planes, setting: int) -> bytes:
        """Return one picture as a file."""
        raise AssertionError("subclasses write files")

    def read(self, data: bytes, width: int, height: int) -> Planes:
        """Return a file's picture."""
        raise AssertionError("subclasses read files")


class Jpeg(Still):
    """Baseline JPEG 4:2:0 with optimised Huffman tables."""

    name = "jpeg"
    description = "libjpeg-turbo through Pillow, 4:2:0, optimised, YCbCr planes in and out"
    settings = (8, 15, 25, 40, 55, 70, 80, 88, 95)

    def write(self, planes: Planes, setting: int) -> bytes:
        # repeated chroma comes out unchanged from the library's 2x2 average
        height, width = planes.y.shape
        image = Image.merge(
            "YCbCr",
            [
                Image.fromarray(planes.y),
                Image.fromarray(_double(planes.u, height, width)),
                Image.fromarray(_double(planes.v, height, width)),
            ],
        )
        out = io.BytesIO()
        image.save(out, "JPEG", quality=setting, subsampling="4:2:0", optimize=True)
        return out.getvalue()

    def read(self, data: bytes, width: int, height: int) -> Planes:
        chroma = (-(-height // 2), -(-width // 2))
        with Image.open(io.BytesIO(data)) as image:
            image.draft("L", (width, height))
            y = np.asarray(image)
        with Image.open(io.BytesIO(data)) as image:
            # at half size the library decodes chroma whole and does not interpolate it
            image.draft("YCbCr", (max(1, width // 2), max(1, height // 2)))
            half = np.asarray(image)
        if half.shape[:2] != chroma:  # one pixel wide or high: there is no half size
            half = half[::2, ::2]
        return Planes(y, half[..., 1].copy(), half[..., 2].copy())


class WebP(Still):
    """Lossy WebP."""

    name = "webp"
    description = "libwebp through FFmpeg, method 6, YCbCr planes in and out"
    settings = (1, 10, 25, 45, 60, 75, 85, 92, 97)

    def write(self, planes: Planes, setting: int) -> bytes:
        return _av_picture(
            "libwebp",
            planes_to_frame(planes),
            {"quality": str(setting), "compression_level": "6", "lossless": "0"},
        )

    def read(self, data: bytes, width: int, height: int) -> Planes:
        return frame_to_planes(_av_read("webp", data))


class Avif(Still):
    """AVIF, 4:2:0."""

    name = "avif"
    description = "AVIF through Pillow, speed 6, 4:2:0; includes a conversion to RGB and back"
    settings = (15, 30, 42, 54, 65, 75, 84, 92)

    def write(self, planes: Planes, setting: int) -> bytes:
        out = io.BytesIO()
        picture_of(planes).save(
            out, "AVIF", quality=setting, speed=6, subsampling="4:2:0", range="full", max_threads=1
        )
        return out.getvalue()

    def read(self, data: bytes, width: int, height: int) -> Planes:
        with Image.open(io.BytesIO(data)) as image:
            return rgb_to_planes(np.asarray(image.convert("RGB")))


class Png(Still):
    """PNG of the planes: lossless, so a size and no curve."""

    name = "png"
    description = "PNG through Pillow, the three planes stacked as one grey picture, lossless"
    unit = "lossless"
    settings = (0,)

    def write(self, planes: Planes, setting: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(stack_of(planes)).save(out, "PNG", optimize=True)
        return out.getvalue()

    def read(self, data: bytes, width: int, height: int) -> Planes:
        with Image.open(io.BytesIO(data)) as image:
            return planes_of_stack(np.asarray(image), width, height)


class JpegLs(Still):
    """JPEG-LS of the planes: lossless, so a size and no curve."""

    name = "jpegls"
    description = "JPEG-LS through FFmpeg, the three planes stacked as one grey picture, lossless"
    unit = "lossless"
    settings = (0,)

    def write(self, planes: Planes, setting: int) -> bytes:
        frame = av.VideoFrame.from_ndarray(stack_of(planes), format="gray")
        return _av_picture("jpegls", frame, {})

    def read(self, data: bytes, width: int, height: int) -> Planes:
        return planes_of_stack(_grey(_av_read("jpegls", data)), width, height)


def _double(plane: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width])


def stack_of(planes: Planes) -> NDArray[np.uint8]:
    """Return Y above U beside V, uint8 [H + ceil(H / 2), 2 ceil(W / 2)]."""
    width = 2 * planes.u.shape[1]
    luma = np.pad(planes.y, ((0, 0), (0, width - planes.width)), mode="edge")
    return np.vstack([luma, np.hstack([planes.u, planes.v])])


def planes_of_stack(stacked: NDArray[np.uint8], width: int, height: int) -> Planes:
    """Undo `stack_of`."""
    half = stacked.shape[1] // 2
    chroma = stacked[height:]
    return Planes(stacked[:height, :width].copy(), chroma[:, :half].copy(), chroma[:, half:].copy())


def picture_of(planes: Planes) -> Image.Image:
    """Undo `rgb_to_planes` as far as 8-bit RGB can: repeated chroma keeps its means."""
    height, width = planes.y.shape
    y = planes.y.astype(np.float32)
    u = _double(planes.u, height, width).astype(np.float32) - 128
    v = _double(planes.v, height, width).astype(np.float32) - 128
    r = y + v * np.float32(2 * (1 - 0.299))
    b = y + u * np.float32(2 * (1 - 0.114))
    g = (y - 0.299 * r - 0.114 * b) / np.float32(0.587)
    rgb = np.clip(np.rint(np.stack([r, g, b], axis=2)), 0, 255).astype(np.uint8)
    return Image.fromarray(rgb)


def _grey(frame: av.VideoFrame) -> NDArray[np.uint8]:
    [plane] = frame.planes
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return lines[: frame.height, : frame.width]


def _av_picture(codec: str, frame: av.VideoFrame, options: dict[str, str]) -> bytes:
    context = video_context(codec, "w")
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = frame.format.name
    context.time_base = Fraction(1, 25)
    context.options = options
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _av_read(codec: str, data: bytes) -> av.VideoFrame:
    context = video_context(codec, "r")
    [frame] = [*context.decode(av.Packet(data)), *context.decode(None)]
    return frame
