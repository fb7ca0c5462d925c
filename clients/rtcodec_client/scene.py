"""
A moving scene drawn by code: the clip that needs no file.

Dusk over hills: a sky with drifting clouds, two ranges of hills and a meadow
that pass at different speeds, balloons, a windmill and a running clock. Every
frame follows from its index alone; nothing is read, nothing is random between
runs. Layers are painted once as periodic strips, so a frame costs a few
blends of numpy arrays (about 2 ms at 640x360).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rtcodec.types import Planes

_U8 = npt.NDArray[np.uint8]
_U16 = npt.NDArray[np.uint16]
_Floats = npt.NDArray[np.floating[Any]]

_REFERENCE_HEIGHT_PX = 360
"All speeds and sizes below are for this height and scale with it."

_SEED = 2024


@dataclass(frozen=True, slots=True)
class _Plane:
    """One colour plane of a layer, ready for `out = (ink + under * keep) >> 8`."""

    ink: _U16
    "[rows, columns], colour times opacity, 0..65280."

    keep: _U16
    "[rows, columns], 256 minus opacity."


@dataclass(frozen=True, slots=True)
class _Layer:
    """A strip or sprite with opacity, as three planes."""

    planes: tuple[_Plane, _Plane, _Plane]
    period_px: int
    "Columns after which the strip repeats."

    top_px: int
    "First row in the frame; even."

    speed_px_s: float


class Scene:
    """
    Draws frame *index* of the scene.

    Args:
        width, height: Size in pixels, at least 1.
        frame_rate: Frames per second; only sets how far things move.
    """

    def __init__(self, width: int, height: int, frame_rate: float = 30.0) -> None:
        self.width, self.height, self._frame_rate = width, height, frame_rate
        self._scale = height / _REFERENCE_HEIGHT_PX
        # Drawn on even sizes, cropped at the end.
        self._even = (max(2, width + width % 2), max(2, height + height % 2))
        paint = _Painter(*self._even, self._scale)
        self._sky = paint.sky()
        self._clouds = paint.clouds()
        self._hills = [paint.far_hills(), paint.near_hills()]
        self._meadow = paint.meadow()
        self._balloons = [paint.balloon(hue) for hue in (0, 1, 2)]
        self._mill = [paint.mill(step) for step in range(_MILL_STEPS)]
        self._glyphs = paint.glyphs()

    def planes(self, index: int) -> Planes:
        """Return frame *index* (any integer from 0) as yuv420p planes."""
        t_s = index / self._frame_rate
        canvas = tuple(plane.copy() for plane in self._sky)
        _blend_strip(canvas, self._clouds, t_s)
        _blend_strip(canvas, self._hills[0], t_s)
        self._fly(canvas, t_s)
        _blend_strip(canvas, self._hills[1], t_s)
        self._turn_mill(canvas, t_s)
        _blend_strip(canvas, self._meadow, t_s)
        self._write_clock(canvas, index)
        ch, cw = (self.height + 1) // 2, (self.width + 1) // 2
        return Planes(
            y=np.ascontiguousarray(canvas[0][: self.height, : self.width]),
            u=np.ascontiguousarray(canvas[1][:ch, :cw]),
            v=np.ascontiguousarray(canvas[2][:ch, :cw]),
        )

    def _fly(self, canvas: tuple[_U8, ...], t_s: float) -> None:
        span = self._even[0] + 160 * self._scale
        for i, balloon in enumerate(self._balloons):
            drift = (14 + 7 * i) * self._scale * t_s + (0.2 + 0.31 * i) * span
            x = drift % span - 80 * self._scale
            bob = math.sin(0.7 * t_s + 2 * i) * 9 + (34, 84, 16)[i]
            _blend_sprite(canvas, balloon, int(x), int(bob * self._scale))

    def _turn_mill(self, canvas: tuple[_U8, ...], t_s: float) -> None:
        near = self._hills[1]
        x = (0.7 * near.period_px - near.speed_px_s * t_s) % near.period_px
        x -= near.period_px - self._even[0]
        step = int(t_s * 24) % _MILL_STEPS
        _blend_sprite(canvas, self._mill[step], int(x), int(150 * self._scale))

    def _write_clock(self, canvas: tuple[_U8, ...], index: int) -> None:
        seconds, frame = divmod(index, max(1, round(self._frame_rate)))
        text = f"{seconds // 60:02d}:{seconds % 60:02d}.{frame:02d}"
        x = int(14 * self._scale)
        y = self._even[1] - int(34 * self._scale)
        for letter in text:
            glyph = self._glyphs[letter]
            _blend_sprite(canvas, glyph, x, y)
            x += glyph.period_px


_MILL_STEPS = 30
_BALLOON_COLOURS = (("#c8443c", "#f3e6cf"), ("#2f7f93", "#f5c75b"), ("#70508f", "#f0a35e"))


class _Painter:
    """Paints the layers; used once per scene."""

    def __init__(self, width: int, height: int, scale: float) -> None:
        self._w, self._h, self._s = width, height, scale
        self._rng = np.random.default_rng(_SEED)

    def sky(self) -> tuple[_U8, _U8, _U8]:
        w, h = self._w, self._h
        y = np.linspace(0, 1, h, dtype=np.float32)[:, None]
        stops = np.array([0, 0.35, 0.6, 1.0])
        colours = ((38, 58, 112), (118, 122, 168), (246, 176, 128), (255, 214, 150))
        rgb = np.empty((h, w, 3), np.float32)
        for channel in range(3):
            row = np.interp(y[:, 0], stops, [c[channel] for c in colours])
            rgb[..., channel] = row[:, None]
        grid_y, grid_x = np.mgrid[0:h, 0:w].astype(np.float32)
        distance = np.hypot(grid_x - 0.72 * w, grid_y - 0.46 * h) / h
        glow = np.exp(-((distance / 0.22) ** 2))[..., None]
        disc = np.clip((0.055 - distance) * h / 1.5 + 0.5, 0, 1)[..., None]
        rgb = rgb + glow * np.array((60, 44, 10), np.float32)
        rgb = rgb * (1 - disc) + disc * np.array((255, 246, 214), np.float32)
        return _to_yuv420(np.clip(rgb, 0, 255))

    def clouds(self) -> _Layer:
        rows, period = self._rows(0.5), self._period(1.6)
        cover = self._noise(rows, period, (10, 4), octaves=5)
        fade = np.linspace(1, 0.1, rows, dtype=np.float32)[:, None]
        alpha = np.clip((cover - 0.52) * 3.2, 0, 0.8) * fade
        shade = 210 + 45 * self._noise(rows, period, (18, 8), octaves=4)
        rgb = shade[..., None] * np.array((1.0, 0.93, 0.9), np.float32)
        return self._layer(rgb, alpha, speed=9, hangs=True)

    def far_hills(self) -> _Layer:
        return self._range(0.34, 0.26, (96, 104, 138), (150, 140, 160), 14, 24)

    def near_hills(self) -> _Layer:
        return self._range(0.52, 0.2, (44, 74, 66), (104, 122, 84), 38, 48)

    def meadow(self) -> _Layer:
        rows, period = self._rows(0.26), self._period(2.0)
        blades = self._noise(rows, period, (150, 16), octaves=3)
        patches = self._noise(rows, period, (12, 3), octaves=3)
        light = 0.55 + 0.75 * blades
        low = np.array((46, 72, 34), np.float32)
        high = np.array((150, 160, 62), np.float32)
        mix = patches[..., None]
        rgb = (low * (1 - mix) + high * mix) * light[..., None]
        flowers = self._rng.random((rows, period)) > 0.9985
        rgb[_grow(flowers)] = (236, 222, 214)
        edge = self._ridge(period, 0.12) * rows
        alpha = np.clip(np.arange(rows)[:, None] - edge, 0, 1).astype(np.float32)
        return self._layer(rgb, alpha, speed=120)

    def balloon(self, hue: int) -> _Layer:
        s, stripes = 4 * self._s, _BALLOON_COLOURS
        size = (max(4, int(56 * s)), max(4, int(80 * s)))
        image = Image.new("RGBA", size)
        draw = ImageDraw.Draw(image)
        for i in range(9):  # gores, widest first
            inset = i * 3.1 * s
            box = (inset, 0, size[0] - inset, 56 * s)
            if box[2] > box[0]:
                draw.ellipse(box, fill=stripes[hue][i % 2])
        draw.polygon(
            [(16 * s, 51 * s), (40 * s, 51 * s), (33 * s, 64 * s), (23 * s, 64 * s)],
            fill=stripes[hue][0],
        )
        draw.rectangle((22 * s, 68 * s, 34 * s, 78 * s), fill="#5b4030")
        for x in (23, 33):
            draw.line((x * s, 62 * s, x * s, 70 * s), fill="#3c2c22", width=max(1, int(s)))
        return self._sprite(image)

    def mill(self, step: int) -> _Layer:
        s = 4 * self._s
        size = (max(4, int(84 * s)), max(4, int(104 * s)))
        image = Image.new("RGBA", size)
        draw = ImageDraw.Draw(image)
        hub = (42 * s, 42 * s)
        draw.polygon(
            [(34 * s, 40 * s), (50 * s, 40 * s), (56 * s, 104 * s), (28 * s, 104 * s)],
            fill="#e8dccb",
        )
        draw.polygon([(32 * s, 42 * s), (42 * s, 28 * s), (52 * s, 42 * s)], fill="#8c3f35")
        draw.rectangle((39 * s, 84 * s, 45 * s, 104 * s), fill="#6b4a3a")
        for blade in range(4):
            angle = math.pi / 2 * blade + math.pi / 2 * step / _MILL_STEPS
            cos, sin = math.cos(angle), math.sin(angle)
            corners = [(4, -1), (38, -1), (38, 7), (8, 7)]
            turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]
            draw.polygon([(hub[0] + x * s, hub[1] + y * s) for x, y in turned], fill="#4a3b36")
        draw.ellipse((39 * s, 39 * s, 45 * s, 45 * s), fill="#2b211e")
        return self._sprite(image)

    def glyphs(self) -> dict[str, _Layer]:
        """Letters of the clock."""
        font = ImageFont.load_default(size=max(6, int(22 * self._s)) * 2)
        out = {}
        for letter in "0123456789:.":
            width = int(font.getlength("0" if letter.isdigit() else letter)) + 4
            image = Image.new("RGBA", (width + width % 4, int(60 * self._s) + 4))
            draw = ImageDraw.Draw(image)
            draw.text((4, 4), letter, font=font, fill=(20, 24, 30, 150))
            draw.text((2, 2), letter, font=font, fill="#fff6e6")
            out[letter] = self._sprite(image, shrink=2)
        return out

    def _range(
        self,
        top: float,
        ridge: float,
        dark: tuple[int, int, int],
        light: tuple[int, int, int],
        speed: float,
        grain: int,
    ) -> _Layer:
        rows, period = self._rows(1 - top), self._period(1.5)
        edge = self._ridge(period, ridge) * rows
        depth = (np.arange(rows, dtype=np.float32)[:, None] - edge) / rows
        alpha = np.clip(depth * rows, 0, 1)
        grainy = self._noise(rows, period, (grain, grain // 2), octaves=5)
        mix = np.clip(grainy * 1.1 - depth * 0.5, 0, 1)[..., None]
        rgb = np.array(dark, np.float32) * (1 - mix) + np.array(light, np.float32) * mix
        return self._layer(rgb, alpha, speed=speed)

    def _ridge(self, period: int, height: float) -> _Floats:
        x = np.arange(period) / period * 2 * np.pi
        line = np.zeros(period)
        for cycles in (1, 2, 3, 5, 8, 13, 21):
            line += np.sin(cycles * x + self._rng.random() * 6.28) / cycles**0.9
        line -= line.min()
        return np.asarray(line / line.max() * height, np.float32)

    def _noise(self, rows: int, period: int, cells: tuple[int, int], *, octaves: int) -> _Floats:
        """Smooth noise in 0..1 that repeats every *period* columns."""
        total = np.zeros((rows, period), np.float32)
        weight = 0.0
        for octave in range(octaves):
            nx, ny = cells[0] << octave, cells[1] << octave
            if nx > period or ny > rows * 2:
                break
            grid = self._rng.random((ny + 1, nx)).astype(np.float32)
            total += _stretch(grid, rows, period) / 2**octave
            weight += 1 / 2**octave
        return total / max(weight, 1.0)

    def _rows(self, share: float) -> int:
        return max(2, int(self._h * share) // 2 * 2)

    def _period(self, share: float) -> int:
        return max(4, int(self._w * share) // 2 * 2)

    def _layer(self, rgb: _Floats, alpha: _Floats, *, speed: float, hangs: bool = False) -> _Layer:
        """Wrap a strip that stands on the lower edge, or hangs from the upper."""
        top_px = 0 if hangs else self._h - rgb.shape[0]
        period = rgb.shape[1]
        columns = np.arange(period + self._w) % period
        rgb, alpha = rgb[:, columns], alpha[:, columns]
        return _Layer(_to_planes(rgb, alpha), period, top_px, speed * self._s)

    def _sprite(self, image: Image.Image, shrink: int = 4) -> _Layer:
        width = max(2, image.width // shrink // 2 * 2)
        height = max(2, image.height // shrink // 2 * 2)
        small = np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float32)
        return _Layer(_to_planes(small[..., :3], small[..., 3] / 255), width, 0, 0.0)


def _stretch(grid: _Floats, rows: int, period: int) -> _Floats:
    """Interpolate [ny+1, nx] to [rows, period], periodic along columns."""
    y = np.linspace(0, grid.shape[0] - 1, rows, endpoint=False)
    x = np.arange(period) * grid.shape[1] / period
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = _ease(y - y0)[:, None], _ease(x - x0)
    x1 = (x0 + 1) % grid.shape[1]
    top = grid[y0][:, x0] * (1 - fx) + grid[y0][:, x1] * fx
    low = grid[y0 + 1][:, x0] * (1 - fx) + grid[y0 + 1][:, x1] * fx
    return np.asarray(top * (1 - fy) + low * fy, np.float32)


def _ease(f: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return f * f * (3 - 2 * f)


def _grow(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Make each set pixel a 2x2 dot."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:, 1:] |= out[:, :-1].copy()
    return out


def _to_yuv_float(rgb: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """BT.601 limited range."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = 16 + 0.2568 * r + 0.5041 * g + 0.0979 * b
    u = 128 - 0.1482 * r - 0.2910 * g + 0.4392 * b
    v = 128 + 0.4392 * r - 0.3678 * g - 0.0714 * b
    return y, u, v


def _halve(plane: _Floats) -> _Floats:
    h, w = plane.shape
    blocks = plane.reshape(h // 2, 2, w // 2, 2)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _to_yuv420(rgb: _Floats) -> tuple[_U8, _U8, _U8]:
    y, u, v = _to_yuv_float(rgb)
    planes = (y, _halve(u), _halve(v))
    y8, u8, v8 = (np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in planes)
    return y8, u8, v8


def _to_planes(rgb: _Floats, alpha: _Floats) -> tuple[_Plane, _Plane, _Plane]:
    rgb = np.clip(rgb, 0, 255)
    y, u, v = _to_yuv_float(rgb)
    small = _halve(alpha)
    with_alpha = np.maximum(small, 1e-6)  # colours weighted by opacity
    u, v = (_halve(c * alpha) / with_alpha for c in (u, v))

    def plane(colour: _Floats, opacity: _Floats) -> _Plane:
        a = np.rint(opacity * 255)
        ink = np.rint(np.clip(colour, 0, 255) * a)
        return _Plane(ink.astype(np.uint16), (256 - a).astype(np.uint16))

    return plane(y, alpha), plane(u, small), plane(v, small)


def _blend_strip(canvas: tuple[_U8, ...], layer: _Layer, t_s: float) -> None:
    offset = int(layer.speed_px_s * t_s) % layer.period_px
    for under, over, half in zip(canvas, layer.planes, (1, 2, 2), strict=True):
        x, y = offset // half, layer.top_px // half
        rows, columns = over.ink.shape[0], under.shape[1]
        part = under[y : y + rows]
        ink, keep = over.ink[:, x : x + columns], over.keep[:, x : x + columns]
        part[...] = (ink + part * keep) >> 8


def _blend_sprite(canvas: tuple[_U8, ...], sprite: _Layer, x: int, y: int) -> None:
    x, y = x // 2 * 2, y // 2 * 2
    for under, over, half in zip(canvas, sprite.planes, (1, 2, 2), strict=True):
        left, top = x // half, y // half
        rows = slice(max(0, top), min(under.shape[0], top + over.ink.shape[0]))
        columns = slice(max(0, left), min(under.shape[1], left + over.ink.shape[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        inside = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        part = under[rows, columns]
        part[...] = (over.ink[inside] + part * over.keep[inside]) >> 8
