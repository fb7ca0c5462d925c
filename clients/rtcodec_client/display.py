"""
What the demo shows while it runs: a panel on a terminal, lines elsewhere.

Values in, text out; the demo decides what is measured.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rtcodec_client.frame_record import STAGES

STAGE_NAMES = {
    "publish": "publisher: encode, send",
    "receive": "relay: receive",
    "decode": "relay: decode video",
    "queue": "relay: wait for engine",
    "batch": "relay: form batch",
    "engine": "relay: neural encoder",
    "entropy": "relay: entropy coder",
    "deliver": "relay to peer: send",
    "peer_queue": "peer: wait for decoder",
    "peer_decode": "peer: neural decoder",
    "total": "publish to decoded",
}
_BAR_COLUMNS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of the demo at one moment."""

    headline: str
    "What is being done."

    page: str
    "Address of the watch page."

    elapsed_s: float = 0.0
    duration_s: float | None = None
    live: dict[str, Any] = field(default_factory=dict)
    "`WatchFigures.live`."

    frames: dict[str, int | None] = field(default_factory=dict)
    "received, encoded, dropped, decoded, lost; in this order."


class Display(Protocol):
    """Shows snapshots; a context manager."""

    def update(self, snapshot: Snapshot) -> None:
        """Show a new state."""

    def note(self, text: str) -> None:
        """Say one thing that stays on the screen."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing; what was noted stays."""


def open_display(*, quiet: bool = False) -> Display:
    """Choose what suits standard error."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not quiet:
        return TerminalDisplay(console)
    return LineDisplay(quiet=quiet)


class LineDisplay:
    """One line a second, for logs and pipes."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._next_s = 0.0
        self._headline = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def update(self, snapshot: Snapshot) -> None:
        """Print at most once a second, and whenever the headline changes."""
        if snapshot.headline != self._headline:
            self._headline = snapshot.headline
            self.note(snapshot.headline)
        if "fps" in snapshot.live and snapshot.elapsed_s >= self._next_s:
            self._next_s = snapshot.elapsed_s + 1.0
            self.note(line_of(snapshot))

    def note(self, text: str) -> None:
        """Print a line on standard error."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)


class TerminalDisplay:
    """A panel that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._live.update(panel_of(snapshot), refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the panel."""
        self._live.console.print(Text(text))


def line_of(snapshot: Snapshot) -> str:
    """Put the figures of a snapshot into one line."""
    live = snapshot.live
    latency = live.get("latency_ms", {})
    parts = [
        f"{snapshot.elapsed_s:5.1f} s",
        f"{live['fps']:5.1f} fps",
        f"{live['kbps']:6.0f} kb/s",
    ]
    if live.get("psnr_db"):
        parts.append(f"{live['psnr_db']['yuv']:5.2f} dB")
    if "total" in latency:
        parts.append(f"latency {latency['total']['p50']:3.0f} ms")
        shares = _grouped(latency)
        parts.append("(" + ", ".join(f"{name} {ms:.0f}" for name, ms in shares.items()) + ")")
    dropped, lost = snapshot.frames.get("dropped") or 0, live.get("lost", 0)
    parts.append(f"dropped {dropped} lost {lost}")
    return "  ".join(parts)


def panel_of(snapshot: Snapshot) -> Panel:
    """Draw a snapshot."""
    rows: list[RenderableType] = [Text(snapshot.headline, style="bold")]
    if snapshot.duration_s:
        done = min(snapshot.elapsed_s, snapshot.duration_s)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=snapshot.duration_s, completed=done, width=40),
            Text(f"{done:.1f} of {snapshot.duration_s:.1f} s", style="dim"),
        )
        rows.append(bar)
    if "fps" in snapshot.live:
        rows += [Text(""), _figures(snapshot), Text(""), _latency(snapshot.live["latency_ms"])]
        rows += [Text(""), _frames(snapshot.frames)]
    rows.append(Text(f"watch page: {snapshot.page}", style="cyan"))
    return Panel(Group(*rows), title="rtcodec demo", title_align="left", padding=(0, 2))


def _figures(snapshot: Snapshot) -> Table:
    live = snapshot.live
    table = Table.grid(padding=(0, 4))
    cells = [
        Text.assemble((f"{live['fps']:.1f}", "bold green"), " fps"),
        Text.assemble((f"{live['kbps']:.0f}", "bold green"), " kb/s"),
    ]
    psnr = live.get("psnr_db")
    if psnr:
        cells.append(Text.assemble(("PSNR ", ""), (f"{psnr['yuv']:.2f}", "bold green"), " dB"))
        parts = "  ".join(f"{plane.upper()} {psnr[plane]:.2f}" for plane in "yuv")
        cells.append(Text(parts, style="dim"))
    table.add_row(*cells)
    return table


def _latency(latency: dict[str, dict[str, float]]) -> Table:
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("latency", style="dim")
    table.add_column("p50 ms", justify="right")
    table.add_column("p95 ms", justify="right")
    table.add_column("")
    longest = max((values["p50"] for values in latency.values()), default=1.0) or 1.0
    for stage in STAGES:
        if stage in latency:
            p50, p95 = latency[stage]["p50"], latency[stage]["p95"]
            style = "bold" if stage == "total" else ""
            bar = "━" * max(0, round(p50 / longest * _BAR_COLUMNS))
            table.add_row(
                Text(STAGE_NAMES[stage], style=style),
                Text(f"{p50:.1f}", style=style),
                Text(f"{p95:.1f}", style=style),
                Text(bar, style="blue" if stage != "total" else "green"),
            )
    return table


def _frames(frames: dict[str, int | None]) -> Text:
    text = Text("frames  ", style="dim")
    for name, count in frames.items():
        if count is not None:
            bad = name in ("dropped", "lost") and count
            text.append(f"{name} ")
            text.append(f"{count}   ", style="bold red" if bad else "bold")
    return text


def _grouped(latency: dict[str, dict[str, float]]) -> dict[str, float]:
    """Add the stages up to publisher, relay, network and peer (of medians: roughly)."""
    groups = {
        "publish": ("publish",),
        "relay": ("receive", "decode", "queue", "batch", "engine", "entropy"),
        "deliver": ("deliver",),
        "peer": ("peer_queue", "peer_decode"),
    }
    return {
        name: sum(latency[stage]["p50"] for stage in stages if stage in latency)
        for name, stages in groups.items()
    }
