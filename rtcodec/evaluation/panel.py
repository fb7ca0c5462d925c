"""What a panel of a plot looks like: lines, colours, axes. Draws what it is given."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtcodec.evaluation.bd_rate import MIN_POINTS, RatePoint, rising
from rtcodec.evaluation.registry import RIVALS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#333333"

_OURS = ("#d1495b", "#edae49", "#7b2d8b", "#b5651d", "#e07ab0")
_RIVALS = (
    "#30638e", "#00798c", "#5c946e", "#6c757d", "#3d5a80", "#8d99ae", "#264653", "#74a892",
    "#457b9d", "#2a9d8f", "#52796f", "#adb5bd",
)  # fmt: skip
_VIDEO = {
    "vp8": ("#4d4d4d", "-"),
    "vp9": ("#9c9c9c", "-"),
    "x264-veryfast": ("#5aa9e6", "--"),
    "x264-medium": ("#2374b5", "-"),
    "x265": ("#0a2f5c", "-"),
    "svtav1": ("#137a4b", "-"),
    "svtav1-p12": ("#5fbf8f", "--"),
}
"Families share a hue; the faster of two is dashed."

LOOKS_LOSSLESS_DB = 70
"A curve is drawn up to here: above, it says nothing to the eye."


class Palette:
    """A colour and a dash for each codec, ours warm and bold."""

    def __init__(self, codecs: Iterable[str]) -> None:
        self._styles: dict[str, tuple[str, str]] = {}
        n_ours = n_rivals = 0
        for codec in codecs:
            if codec not in RIVALS:
                self._styles[codec] = (_OURS[n_ours % len(_OURS)], "-")
                n_ours += 1
            elif codec in _VIDEO:
                self._styles[codec] = _VIDEO[codec]
            else:
                self._styles[codec] = (_RIVALS[n_rivals % len(_RIVALS)], "-")
                n_rivals += 1

    def draw(
        self, axes: "Axes", curve: list[RatePoint], codec: str, *, small: bool = False
    ) -> bool:
        """Draw a curve if it is one, points beside it hollow; say whether it was."""
        shown = [point for point in curve if point[1] < LOOKS_LOSSLESS_DB]
        line = rising(shown)
        if len(line) < MIN_POINTS:
            return False
        ours = codec not in RIVALS
        colour, dash = self._styles[codec]
        look: dict[str, Any] = {
            "color": colour,
            "marker": "o",
            "markersize": (2.6 if ours else 1.8) if small else (4.5 if ours else 3),
            "zorder": 3 if ours else 2,
        }
        axes.plot(
            *zip(*line, strict=True),
            linestyle=dash,
            label=Path(codec).stem if ours else codec,
            linewidth=(1.6 if ours else 1.0) if small else (2.4 if ours else 1.4),
            **look,
        )
        beside = [point for point in shown if point not in line]
        if beside:  # they cost more and look no better than another
            axes.plot(*zip(*beside, strict=True), linestyle="", fillstyle="none", **look)
        return True


def style(axes: "Axes", *, tick_size: int = 9) -> None:
    """Give axes a log rate with round figures, a light grid, and no box."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:g}" if value < 10_000 else f"{value / 1000:g}k"
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.tick_params(labelsize=tick_size, colors=INK, length=2 if tick_size < 8 else 3)
