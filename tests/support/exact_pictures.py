"""Pictures of every depth, sign and kind, and how they are coded."""

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactFrame, ExactWriter
from rtcodec.bitstream.exact_format import Component, ExactFormat, Fit, common_fits
from rtcodec.exact.frame import FrameCoder, sample_type
from rtcodec.exact.plan import plan_picture

KINDS = ("constant", "noise", "gradient", "padding", "extremes", "steps", "smooth")


@dataclass(frozen=True)
class Picture:
    """One frame [rows, columns, components] and what its samples are."""

    frame: NDArray[np.integer]
    bits: int
    signed: bool


def draw_picture(rng: np.random.Generator, *, most: int = 40) -> Picture:
    """Draw a picture of up to *most* rows and columns; one of eight is one row or column."""
    bits, signed = int(rng.integers(1, 17)), bool(rng.integers(2))
    height, width = (int(n) for n in rng.integers(1, most + 1, 2))
    narrow = rng.integers(8)
    height, width = (1 if narrow == 0 else height), (1 if narrow == 1 else width)
    components = int(rng.choice([1, 1, 1, 3]))
    least = -(1 << (bits - 1)) if signed else 0
    planes = [_draw_plane(rng, height, width, (1 << bits) - 1) for _ in range(components)]
    if components == 3 and rng.integers(2):  # nearly gray
        planes = [(planes[0] + k * (planes[1] & 1)) % (1 << bits) for k in range(3)]
    frame = np.stack(planes, -1) + least
    return Picture(frame.astype(sample_type(bits, signed=signed)), bits, signed)


def _draw_plane(rng: np.random.Generator, height: int, width: int, high: int) -> NDArray[np.int64]:
    shape = (height, width)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    rows, columns = np.indices(shape)
    noise = rng.integers(0, high + 1, shape)
    if kind == "constant":
        return np.full(shape, int(noise[0, 0]))
    if kind == "noise":
        return noise
    if kind == "gradient":
        return (rows * int(rng.integers(9)) + columns * int(rng.integers(9))) % (high + 1)
    if kind == "extremes":
        return np.where(rng.random(shape) < 0.5, 0, high)
    if kind == "steps":
        return (rows // 5 + columns // 7) % 2 * int(noise[0, 0])
    wave = 0.5 + 0.4 * np.sin(rows / 9.0) * np.cos(columns / 7.0)
    smooth = np.clip(high * wave + rng.normal(0, 1 + high / 200, shape), 0, high).astype(np.int64)
    if kind == "padding":
        outside = np.hypot(rows - height / 2, columns - width / 2) > min(shape) / 2
        return np.where(outside, int(noise[0, 0]), smooth)
    return smooth


def doppler(height: int = 200, width: int = 260) -> NDArray[np.uint8]:
    """Gray speckle in three components, with a patch in the colours of a map."""
    rng = np.random.default_rng(3)
    rows, columns = np.indices((height, width))
    speckle = 90 + 60 * np.sin(rows / 17) * np.cos(columns / 23) + rng.normal(0, 6, rows.shape)
    frame = np.repeat(np.clip(speckle, 0, 255).astype(np.uint8)[..., None], 3, -1)
    flow = np.hypot(rows - height / 2, columns - width / 2) < 40 + 8 * np.sin(rows / 3)
    heat = np.clip(np.hypot(rows - 90, columns - 120) / 3, 0, 31).astype(np.int64)
    frame[flow] = np.stack([heat * 8, heat * heat // 4, 31 - heat], -1)[flow]
    return frame


def plain_format(picture: Picture, *, max_error: int = 0, bound: int = 0) -> ExactFormat:
    """Return a header that suits any such picture, found without looking at it much."""
    frame = picture.frame
    least = -(1 << (picture.bits - 1)) if picture.signed else 0
    first = int(frame[0, 0, 0]) - least
    component = Component(least, (1 << picture.bits) - 1, first, common_fits(bound))
    return ExactFormat(
        frame.shape[1], frame.shape[0], 1, picture.bits, picture.signed, False, 5, max_error,
        (component,) * frame.shape[2], b"", bound,
    )  # fmt: skip


def palette_format(picture: Picture, rng: np.random.Generator) -> ExactFormat:
    """Return a header with all colours of a picture and two more, in any order."""
    most = (1 << picture.bits) - 1
    least = -(most + 1 >> 1) if picture.signed else 0
    pixels = picture.frame.reshape(-1, picture.frame.shape[2]).astype(np.int64)
    others = rng.choice([least, least + most], (2, pixels.shape[1]))
    colors = rng.permutation(np.unique(np.concatenate([pixels, others]), axis=0))
    pad = int(rng.integers(len(colors))) if rng.integers(2) else None
    numbers = Component(0, len(colors) - 1, pad, common_fits(0))
    header = replace(plain_format(picture), components=(numbers,))
    return replace(header, palette=tuple(tuple(color) for color in colors.tolist()))


def planned_format(picture: Picture, *, max_error: int = 0, bound: int = 0) -> ExactFormat:
    """Return the header that an encoder chooses."""
    return plan_picture(
        [picture.frame],
        bits=picture.bits,
        signed=picture.signed,
        max_error=max_error,
        bound=bound,
    )


def draw_fits(rng: np.random.Generator, *, bound: int = 0) -> tuple[tuple[Fit, ...], ...]:
    """Draw any fits that a header may hold."""
    return tuple(tuple(_draw_fit(rng) for _ in range(3)) for _ in common_fits(bound))


def _draw_fit(rng: np.random.Generator) -> Fit:
    n_classes = int(rng.integers(1, 9))
    thresholds = sorted(int(n) for n in rng.integers(0, 5000, n_classes - 1))
    reach = int(rng.choice([50, 400, 32767]))
    weights = rng.integers(-reach, reach + 1, (n_classes, 16))
    energies = rng.integers(0, int(rng.choice([300, 65535])) + 1, 11)
    return Fit(
        tuple(thresholds),
        tuple(tuple(int(w) for w in row) for row in weights),
        tuple(int(e) for e in energies),
    )


def with_fits(header: ExactFormat, fits: tuple[tuple[Fit, ...], ...]) -> ExactFormat:
    """Return *header*, its components with those fits."""
    components = tuple(replace(component, fits=fits) for component in header.components)
    return replace(header, components=components)


def file_of(header: ExactFormat, *frames: ExactFrame) -> bytes:
    """Return a file of these frames."""
    out = BytesIO()
    writer = ExactWriter(out, header)
    for frame in frames:
        writer.write(frame)
    writer.close()
    return out.getvalue()


def coded_file(picture: Picture, header: ExactFormat) -> bytes:
    """Return a file of one picture, coded as tiles."""

    def never(header: ExactFormat, frame: NDArray[np.integer]) -> ExactFrame:
        raise AssertionError("it came back otherwise")

    return file_of(header, FrameCoder(header).encode(picture.frame, never))
