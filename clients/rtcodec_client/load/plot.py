"""
`load.png`: a run second by second, in the look of the other plots. Draws what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rtcodec.evaluation.panel import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WARM: Final = ("#d1495b", "#edae49", "#7b2d8b")
_COLD: Final = ("#30638e", "#00798c", "#6c757d")

Line = tuple[str, str, str, str]
"Column, label, colour, dash."

_LATENCY: Final[tuple[Line, ...]] = (
    ("total_p50_ms", "camera to picture, p50", _WARM[0], "-"),
    ("total_p95_ms", "p95", _WARM[0], "--"),
    ("arrive_p50_ms", "relay to peer, p50", _COLD[0], "-"),
    ("arrive_p95_ms", "p95", _COLD[0], "--"),
)
_TROUBLE: Final[tuple[Line, ...]] = (
    ("relay_dropped", "dropped by the relay", _WARM[0], "-"),
    ("lost", "lost on the way", _WARM[1], "-"),
    ("freezes", "freezes", _WARM[2], "-"),
    ("skipped", "skipped by the generator", _COLD[2], "--"),
)
_CORES: Final[tuple[Line, ...]] = (
    ("relay_cores", "relay", _WARM[0], "-"),
    ("generator_cores", "generator", _COLD[2], "--"),
)
_LAGS: Final[tuple[Line, ...]] = (
    ("relay_lag_ms", "relay's event loop, longest", _WARM[0], "-"),
    ("loop_lag_p95_ms", "generator's, p95", _COLD[2], "--"),
    ("send_lateness_p95_ms", "generator's frames, p95", _COLD[1], "--"),
)
_COUNTS: Final[tuple[Line, ...]] = (
    ("relay_fds", "descriptors", _WARM[0], "-"),
    ("relay_threads", "threads", _WARM[2], "-"),
    ("sessions", "sessions", _COLD[0], "-"),
)


def plot_run(
    rows: Sequence[Mapping[str, Any]], path: Path, *, title: str, fps: float, subscribers: int
) -> None:
    """
    Write the plot of a run as a PNG.

    Args:
        rows: As of `timeline.timeline`.
        path: Of the file; its folder exists.
        title: Above the panels.
        fps: What publishers send.
        subscribers: Of the soak.

    Raises:
        OSError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 10), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(4, 2, sharex=True)
    _draw(panels[0, 0], rows, "latency, ms", _LATENCY)
    watched = _with_fps(rows, subscribers)
    _draw(panels[0, 1], watched, "frames/s of a subscriber", [("fps", "mean", _COLD[0], "-")])
    panels[0, 1].axhline(fps, color="#999999", linewidth=0.8, linestyle=":")
    panels[0, 1].set_ylim(0, fps * 1.15)
    _draw(panels[1, 0], rows, "frames in a second that went wrong", _TROUBLE)
    _draw(panels[1, 1], rows, "kb/s to all subscribers", [("kbps", "bitstream", _COLD[0], "-")])
    _draw(panels[2, 0], rows, "processor cores", _CORES)
    _draw(panels[2, 1], rows, "lateness, ms", _LAGS)
    memory: Line = ("relay_rss_mb", "RSS", _WARM[0], "-")
    _draw(panels[3, 0], rows, "memory of the relay, MiB", [memory], zero=False)
    _draw(panels[3, 1], rows, "open in the relay", _COUNTS)
    for axes in panels[-1]:
        axes.set_xlabel("seconds", fontsize=9, color=INK)
    figure.suptitle(title, fontsize=12, color=INK)
    figure.savefig(path, metadata={"Software": None})


def _draw(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    title: str,
    lines: Sequence[Line],
    *,
    zero: bool = True,
) -> None:
    drawn = False
    for column, label, colour, dash in lines:
        points = [(row["second"], row[column]) for row in rows if row.get(column) is not None]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=colour, linestyle=dash, linewidth=1.4, label=label,
            )  # fmt: skip
            drawn = True
    soak = [row["second"] for row in rows if row["phase"] == "soak"]
    if soak:
        axes.axvspan(soak[0], soak[-1], color="#f2f2f2", zorder=0)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.grid(visible=True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.tick_params(labelsize=8, colors=INK, length=3)
    if zero:
        axes.set_ylim(bottom=0)
    if drawn and len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, loc="best")
    if not drawn:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=INK)


def _with_fps(rows: Sequence[Mapping[str, Any]], subscribers: int) -> list[dict[str, Any]]:
    """Add the mean rate of the soak's subscribers; its first and last seconds are not whole."""
    soak = [row["second"] for row in rows if row["phase"] == "soak"]
    whole = range(soak[0] + 1, soak[-1]) if soak and subscribers else range(0)
    return [
        {**row, "fps": row["soak_units"] / subscribers if row["second"] in whole else None}
        for row in rows
    ]
