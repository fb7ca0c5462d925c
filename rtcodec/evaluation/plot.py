"""
`rd.png`: rate against PSNR.

Images, and more videos than `MOST_SEQUENCES`: a panel with the mean curves, and
small ones per clip. Fewer videos: a readable panel for each, in kb/s, since a
mean over sizes and frame rates would say little.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.panel import INK, Palette, style
from rtcodec.evaluation.result import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SEQUENCES = 12
"Videos that get a panel of their own."

_SMALL_COLUMNS = 4
_SIZES_INCHES = {1: 4.6, 2: 3.4, 3: 2.7}  # height of a row of so many sequences

_Draw = Callable[[Any], None]


def plot_curves(result: Evaluation, path: Path, *, title: str | None = None) -> None:
    """
    Write the rate-distortion plot as a PNG.

    Args:
        result: With at least one codec that has a curve; otherwise an empty
            panel says so.
        path: Of the file; its folder exists.
        title: Above the panels.

    Raises:
        OSError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    palette = Palette(result.descriptions)
    parts = [part for kind in result.kinds() for part in _parts(result, kind, palette)]
    heights = [height for height, _ in parts] or [1.0]
    figure = Figure(figsize=(9.5, sum(heights) + 0.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).ravel()
    for place, (_, draw) in zip(places, parts, strict=False):
        draw(place)
    if title is not None:
        figure.suptitle(title, fontsize=12, color=INK)
    figure.savefig(path, metadata={"Software": None})


def _parts(result: Evaluation, kind: Kind, palette: Palette) -> list[tuple[float, _Draw]]:
    """Return the parts of the figure for one kind of input: height in inches, what draws it."""
    n_clips = len(result.clips(kind))
    if kind == "video" and n_clips <= MOST_SEQUENCES:
        columns = _columns(n_clips)
        height = _SIZES_INCHES[columns] * math.ceil(n_clips / columns) + 0.4
        return [(height, lambda part: _sequences(part, result, palette))]
    parts: list[tuple[float, _Draw]] = [
        (4.6, lambda part: _mean_panel(part.subplots(), result, kind, palette))
    ]
    if n_clips > 1:
        height = 1.9 * math.ceil(n_clips / _SMALL_COLUMNS)
        parts.append((height, lambda part: _clip_panels(part, result, kind, palette)))
    return parts


def _columns(n_clips: int) -> int:
    return 1 if n_clips == 1 else 2 if n_clips <= 4 else 3


def _sequences(part: Any, result: Evaluation, palette: Palette) -> None:
    """Draw a panel for each video, in kb/s, and one legend below them."""
    clips = result.clips("video")
    columns = _columns(len(clips))
    panels = part.subplots(math.ceil(len(clips) / columns), columns, squeeze=False)
    lines: dict[str, Any] = {}
    for number, (axes, clip) in enumerate(zip(panels.flat, clips, strict=False)):
        for codec in result.codecs("video"):
            palette.draw(axes, result.kbps_curve(clip, codec), codec, small=columns > 2)
        style(axes, tick_size=9 if columns == 1 else 8)
        axes.set_title(Path(clip).stem, loc="left", fontsize=11 - columns, color=INK)
        if number % columns == 0:
            axes.set_ylabel("PSNR 6:1:1, dB", fontsize=9, color=INK)
        if number + columns >= len(clips):
            axes.set_xlabel("kb/s", fontsize=9, color=INK)
        handles, labels = axes.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    for axes in panels.flat[len(clips) :]:
        axes.axis("off")
    if lines:
        part.legend(
            lines.values(), lines, loc="outside lower center", ncols=5, frameon=False, fontsize=9
        )
    else:
        _say_no_curves(panels.flat[0])


def _mean_panel(axes: "Axes", result: Evaluation, kind: Kind, palette: Palette) -> None:
    n_clips = len(result.clips(kind))
    drawn = [
        palette.draw(axes, result.mean_curve(kind, codec), codec) for codec in result.codecs(kind)
    ]
    style(axes)
    axes.set_xlabel("bits per pixel", color=INK)
    axes.set_ylabel("PSNR 6:1:1, dB", color=INK)
    noun = kind if n_clips == 1 else f"{kind}s, mean of {n_clips}"
    axes.set_title(noun, loc="left", fontsize=11, fontweight="bold", color=INK)
    if any(drawn):
        axes.legend(loc="lower right", frameon=False, fontsize=9, ncols=1 + (sum(drawn) > 6))
    else:
        _say_no_curves(axes)


def _clip_panels(part: Any, result: Evaluation, kind: Kind, palette: Palette) -> None:
    clips = result.clips(kind)
    panels = part.subplots(math.ceil(len(clips) / _SMALL_COLUMNS), _SMALL_COLUMNS, squeeze=False)
    for axes, clip in zip(panels.flat, clips, strict=False):
        for codec in result.codecs(kind):
            curve = result.kbps_curve if kind == "video" else result.curve
            palette.draw(axes, curve(clip, codec), codec, small=True)
        style(axes, tick_size=6)
        unit = "kb/s" if kind == "video" else "bpp"
        axes.set_title(f"{Path(clip).stem[:28]}, {unit}", fontsize=7, color=INK)
    for axes in panels.flat[len(clips) :]:
        axes.axis("off")


def _say_no_curves(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "no curves", transform=axes.transAxes, ha="center", color=INK)
