"""
Draws the contact sheet: source and decoded frames side by side, with figures.

    title, facts
    source | decoded | error x8      (one row per sampled frame)
    PSNR and size of every frame over time

Pillow only; no I/O but the file that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rtcodec.media.picture import rgb_of
from rtcodec_client.sample import FrameSample

_MARGIN = 28
_GAP = 14
_CELL_MAX_PX = (480, 400)
_ERROR_GAIN = 8
_CHART_HEIGHT = 120

_PAPER = (250, 249, 246)
_INK = (28, 32, 38)
_FAINT = (112, 118, 126)
_LINE = (214, 212, 206)
_BLUE = (36, 99, 174)
_ORANGE = (204, 108, 34)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Figures of every decoded frame, in order; equal lengths."""

    psnr_db: Sequence[float]
    "6:1:1, against the column called source."

    size_bytes: Sequence[int]


@dataclass(frozen=True, slots=True)
class SheetText:
    """What is written above the pictures."""

    title: str
    facts: Sequence[str]
    "One line each."

    original: str = "source"
    "Heading of the first column."


def draw_contact_sheet(
    samples: Sequence[FrameSample], timeline: Timeline, text: SheetText
) -> Image.Image:
    """
    Draw the sheet.

    Args:
        samples: At least one.
        timeline: May be empty; then there is no chart.
        text: Title, facts and headings.
    """
    cell = _cell_size(samples[0])
    width = 2 * _MARGIN + 3 * cell[0] + 2 * _GAP
    head = _MARGIN + 44 + 24 * len(text.facts) + 36
    row = cell[1] + 34
    chart = _CHART_HEIGHT + 70 if len(timeline.psnr_db) > 1 else 0
    sheet = Image.new("RGB", (width, head + row * len(samples) + chart + _MARGIN // 2), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_head(draw, text, cell, head)
    for index, sample in enumerate(samples):
        _draw_row(sheet, draw, sample, head + index * row, cell)
    if chart:
        top = head + row * len(samples) + 30
        _draw_chart(draw, timeline, (_MARGIN, top, width - _MARGIN, top + _CHART_HEIGHT))
    return sheet


def write_contact_sheet(
    path: Path, samples: Sequence[FrameSample], timeline: Timeline, text: SheetText
) -> None:
    """Draw the sheet into a PNG file."""
    draw_contact_sheet(samples, timeline, text).save(path, format="PNG", optimize=True)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _cell_size(sample: FrameSample) -> tuple[int, int]:
    """Fit the picture's shape into a cell; tiny pictures are enlarged."""
    width, height = sample.decoded.width, sample.decoded.height
    scale = min(_CELL_MAX_PX[0] / width, _CELL_MAX_PX[1] / height)
    if scale > 1:
        scale = max(1, int(scale))
    return max(120, round(width * scale)), max(16, round(height * scale))


def _draw_head(
    draw: ImageDraw.ImageDraw, text: SheetText, cell: tuple[int, int], head: int
) -> None:
    draw.text((_MARGIN, _MARGIN - 6), text.title, font=_font(30), fill=_INK)
    for index, fact in enumerate(text.facts):
        draw.text((_MARGIN, _MARGIN + 38 + 24 * index), fact, font=_font(17), fill=_FAINT)
    for column, name in enumerate((text.original, "decoded", f"error of luma x{_ERROR_GAIN}")):
        x = _MARGIN + column * (cell[0] + _GAP)
        draw.text((x, head - 30), name, font=_font(19), fill=_INK)


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    sample: FrameSample,
    top: int,
    cell: tuple[int, int],
) -> None:
    pictures = (rgb_of(sample.original), rgb_of(sample.decoded), _error_of(sample))
    for column, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        if image.size != cell:
            enlarging = cell[0] > image.width
            how = Image.Resampling.NEAREST if enlarging else Image.Resampling.LANCZOS
            image = image.resize(cell, how)
        sheet.paste(image, (_MARGIN + column * (cell[0] + _GAP), top))
    under = top + cell[1] + 5
    seconds = sample.time_us / 1e6
    draw.text(
        (_MARGIN, under), f"frame {sample.number}, {seconds:.2f} s", font=_font(16), fill=_FAINT
    )
    pixels = sample.decoded.width * sample.decoded.height
    label = (
        f"{sample.psnr_db.yuv:.2f} dB  (Y {sample.psnr_db.y:.2f})   "
        f"{sample.n_bytes:,} bytes, {sample.n_bytes * 8 / pixels:.3f} bit/pixel"
    )
    draw.text((_MARGIN + cell[0] + _GAP, under), label, font=_font(16), fill=_INK)


def _error_of(sample: FrameSample) -> npt.NDArray[np.uint8]:
    """Luma error around mid grey, amplified, as uint8 [H, W, 3]."""
    error = sample.decoded.y.astype(np.int16) - sample.original.y.astype(np.int16)
    grey = np.clip(128 + _ERROR_GAIN * error, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _draw_chart(
    draw: ImageDraw.ImageDraw, timeline: Timeline, box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    middle = (left + right) // 2
    halves = (
        ("PSNR of each frame, dB", timeline.psnr_db, _BLUE, (left, middle - _GAP), "{:.1f}"),
        (
            "size of each frame, kB",
            [n / 1000 for n in timeline.size_bytes],
            _ORANGE,
            (middle + _GAP, right),
            "{:.1f}",
        ),
    )
    for name, values, colour, (x0, x1), form in halves:
        low, high = _nice_range(values)
        draw.text((x0, top - 26), name, font=_font(17), fill=_INK)
        for share in (0.0, 0.5, 1.0):
            y = bottom - share * (bottom - top)
            draw.line((x0 + 48, y, x1, y), fill=_LINE)
            label = form.format(low + share * (high - low))
            draw.text((x0 + 42, y), label, font=_font(14), fill=_FAINT, anchor="rm")
        span = max(1, len(values) - 1)
        points = [
            (
                x0 + 50 + i * (x1 - x0 - 52) / span,
                bottom - (value - low) / (high - low) * (bottom - top),
            )
            for i, value in _thinned(values)
        ]
        draw.line(points, fill=colour, width=2, joint="curve")
        draw.text((x0 + 50, bottom + 6), "first frame", font=_font(14), fill=_FAINT)
        draw.text((x1, bottom + 6), f"frame {span}", font=_font(14), fill=_FAINT, anchor="ra")


def _nice_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max((high - low) * 0.1, 0.5)
    return max(0.0, low - room), high + room


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """At most some 2000 points."""
    step = -(-len(values) // 2000)
    return [(i, values[i]) for i in range(0, len(values), step)]
