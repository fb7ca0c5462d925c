"""
Noise to add to clean pictures, and FFmpeg's filters against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from rtcodec.media.color import Color, planes_to_rgb, rgb_to_planes
from rtcodec.media.scale import picture_of, planes_of_picture
from rtcodec.types import Planes

_TIME_BASE = Fraction(1, 25)


def gaussian(planes: Planes, sigma: float, rng: np.random.Generator) -> Planes:
    """Return a picture under white noise of one standard deviation in each plane."""
    return Planes(
        *(
            _to_uint8(plane + rng.normal(0, sigma, plane.shape))
            for plane in (planes.y, planes.u, planes.v)
        )
    )


def sensor(planes: Planes, gain: float, rng: np.random.Generator) -> Planes:
    """
    Return a picture as behind a sensor of one colour a pixel (RGGB), plainly interpolated.

    Its variance grows with what falls on a pixel, as that of photons; interpolation spreads it over
    neighbours and channels, so that it is not white. The conversion to RGB and back is in it, too.

    Args:
        planes: The clean picture, of even width and height.
        gain: Variance of photons for each step of a sample; that of reading is four times as much.
        rng: Draws.
    """
    rgb = planes_to_rgb(planes, Color()).astype(np.float64)
    noise = np.zeros_like(rgb)
    sites = {0: ((0, 0),), 1: ((0, 1), (1, 0)), 2: ((1, 1),)}
    for channel, places in sites.items():
        at_site = np.zeros(rgb.shape[:2])
        share = np.zeros(rgb.shape[:2])
        for y, x in places:
            level = rgb[y::2, x::2, channel]
            at_site[y::2, x::2] = rng.normal(0, np.sqrt(4 * gain + gain * level))
            share[y::2, x::2] = 1
        noise[..., channel] = _spread(at_site) / _spread(share)
    clean = rgb_to_planes(_to_uint8(rgb))
    loud = rgb_to_planes(_to_uint8(rgb + noise))
    pairs = zip(
        (planes.y, planes.u, planes.v),
        (clean.y, clean.u, clean.v),
        (loud.y, loud.u, loud.v),
        strict=True,
    )
    return Planes(*(_to_uint8(p + b.astype(np.float64) - a) for p, a, b in pairs))


def filtered(frames: Sequence[Planes], name: str, arguments: str) -> list[Planes]:
    """Return a clip as one of FFmpeg's filters leaves it."""
    graph = av.filter.Graph()
    first = frames[0]
    source = graph.add_buffer(
        width=first.width,
        height=first.height,
        format=av.VideoFormat("yuv420p", first.width, first.height),
        time_base=_TIME_BASE,
    )
    step, sink = graph.add(name, arguments), graph.add("buffersink")
    source.link_to(step)
    step.link_to(sink)
    graph.configure()
    out: list[Planes] = []

    def drain() -> None:
        while True:
            try:
                picture = graph.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(picture, av.VideoFrame)
            planes = planes_of_picture(picture)
            out.append(Planes(planes.y.copy(), planes.u.copy(), planes.v.copy()))

    for number, planes in enumerate(frames):
        picture = picture_of(planes)
        picture.pts, picture.time_base = number, _TIME_BASE
        graph.push(picture)
        drain()
    graph.push(None)
    drain()
    if len(out) != len(frames):
        raise RuntimeError(f"{name} made {len(out)} pictures of {len(frames)}")
    return out


def _spread(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights 1 2 1 both ways, edges mirrored."""
    for axis in (0, 1):
        padded = np.pad(plane, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], "reflect")
        n = plane.shape[axis]
        one, two, three = (padded.take(range(k, k + n), axis) for k in range(3))
        plane = one + 2 * two + three
    return plane


def _to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
