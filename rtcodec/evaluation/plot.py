"""`rd.png`: one panel per kind of input with the mean curves, and small ones per clip."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtcodec.evaluation.bd_rate import RatePoint
from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.registry import RIVALS
from rtcodec.evaluation.result import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS = ("#d1495b", "#edae49", "#7b2d8b", "#b5651d")
_RIVALS = (
    "#30638e", "#00798c", "#5c946e", "#6c757d", "#3d5a80", "#8d99ae", "#264653", "#74a892",
    "#457b9d", "#2a9d8f", "#52796f", "#adb5bd",
)  # fmt: skip
_INK = "#333333"
_COLUMNS = 4


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

    kinds = result.kinds()
    colours = _colours(result)
    clips = {kind: result.clips(kind) for kind in kinds}
    heights = [
        height
        for kind in kinds
        for height in (4.6, 1.9 * math.ceil(len(clips[kind]) / _COLUMNS) * (len(clips[kind]) > 1))
    ]
    figure = Figure(figsize=(9.5, sum(heights) + 0.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(
        len(heights), 1, squeeze=False, height_ratios=[h or 0.01 for h in heights]
    ).ravel()
    for number, kind in enumerate(kinds):
        mean_axes = parts[2 * number].subplots()
        _mean_panel(mean_axes, result, kind, colours)
        if len(clips[kind]) > 1:
            _clip_panels(parts[2 * number + 1], result, kind, clips[kind], colours)
    if title is not None:
        figure.suptitle(title, fontsize=12, color=_INK)
    figure.savefig(path, metadata={"Software": None})


def _colours(result: Evaluation) -> dict[str, str]:
    ours = [name for name in result.descriptions if name not in RIVALS]
    rivals = [name for name in result.descriptions if name in RIVALS]
    pairs = [(name, _OURS[i % len(_OURS)]) for i, name in enumerate(ours)]
    pairs += [(name, _RIVALS[i % len(_RIVALS)]) for i, name in enumerate(rivals)]
    return dict(pairs)


def _mean_panel(axes: "Axes", result: Evaluation, kind: Kind, colours: dict[str, str]) -> None:
    n_clips = len(result.clips(kind))
    shown = 0
    for codec in result.codecs(kind):
        curve = [point for point in result.mean_curve(kind, codec) if point[1] < 70]
        if len(curve) > 1:
            _line(axes, curve, codec, colours[codec])
            shown += 1
    _style(axes)
    axes.set_xlabel("bits per pixel", color=_INK)
    axes.set_ylabel("PSNR 6:1:1, dB", color=_INK)
    noun = kind if n_clips == 1 else f"{kind}s, mean of {n_clips}"
    axes.set_title(noun, loc="left", fontsize=11, fontweight="bold", color=_INK)
    if shown:
        axes.legend(loc="lower right", frameon=False, fontsize=9, ncols=1 + (shown > 6))
    else:
        axes.text(0.5, 0.5, "no curves", transform=axes.transAxes, ha="center", color=_INK)


def _clip_panels(
    part: Any, result: Evaluation, kind: Kind, clips: list[str], colours: dict[str, str]
) -> None:
    rows = math.ceil(len(clips) / _COLUMNS)
    panels = part.subplots(rows, _COLUMNS, squeeze=False).flat
    for axes, clip in zip(panels, clips, strict=False):
        for codec in result.codecs(kind):
            curve = [point for point in result.curve(clip, codec) if point[1] < 70]
            if len(curve) > 1:
                _line(axes, curve, codec, colours[codec], small=True)
        _style(axes, small=True)
        axes.set_title(Path(clip).stem[:28], fontsize=7, color=_INK)
    for axes in list(part.axes)[len(clips) :]:
        axes.axis("off")


def _line(
    axes: "Axes", curve: list[RatePoint], codec: str, colour: str, *, small: bool = False
) -> None:
    ours = codec not in RIVALS
    rates, psnr_db = zip(*curve, strict=True)
    axes.plot(
        rates,
        psnr_db,
        color=colour,
        label=Path(codec).stem if ours else codec,
        linewidth=(1.4 if ours else 0.8) if small else (2.4 if ours else 1.3),
        marker=None if small else "o",
        markersize=4.5 if ours else 3,
        zorder=3 if ours else 2,
    )


def _style(axes: "Axes", *, small: bool = False) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.grid(visible=True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.tick_params(labelsize=6 if small else 9, colors=_INK, length=2 if small else 3)
