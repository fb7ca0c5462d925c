"""Keeps what a machine with a GPU measured: benchmarks/gpu.json, and a plot in docs/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
JSON, PLOT = HERE / "gpu.json", HERE.parent / "docs" / "gpu.png"


def record(results: Path, *, to: Path = JSON, plot: Path = PLOT) -> None:
    """Copy *results* and draw them; InputError if they are none."""
    from rtcodec.errors import InputError

    try:
        found = json.loads(results.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{results}: {error}") from None
    to.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    draw(found, plot)


def draw(results: dict[str, Any], path: Path) -> None:
    """Milliseconds of a frame against the batch for each operation, and lateness of streams."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for model, found in results.get("operations", {}).items():
        rows = found["rows"]
        height = sorted({row["height"] for row in rows})[-1]
        for operation in dict.fromkeys(row["operation"] for row in rows):
            own = [r for r in rows if (r["operation"], r["height"]) == (operation, height)]
            label = f"{model} {operation.replace('_', ' ')}, {height} lines"
            frame_ms = [r["wall_p50_ms"] / r["batch"] for r in own]
            axes[0].plot([r["batch"] for r in own], frame_ms, marker="o", label=label)
    axes[0].set(xlabel="frames in a batch", ylabel="ms a frame", xscale="log", yscale="log")
    for model, rows in results.get("streams", {}).items():
        for height in sorted({row["height"] for row in rows}):
            own = [row for row in rows if row["height"] == height]
            label = f"{model}, {height} lines"
            axes[1].plot([r["streams"] for r in own], [r["p99_ms"] for r in own], "o-", label=label)
    axes[1].axhline(1e3 / 30, color="grey", linewidth=1)
    axes[1].set(xlabel="streams at 30 fps, both ways", ylabel="p99 of a frame, ms")
    for axis in axes:
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7)
    figure.suptitle(results["hardware"]["device"])
    figure.savefig(path, dpi=110)
    plt.close(figure)
