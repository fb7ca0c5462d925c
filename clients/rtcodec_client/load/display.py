"""
What a load test shows while it runs: a table on a terminal, a line now and then elsewhere.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rtcodec_client.load.conductor import Conductor
from rtcodec_client.load.timeline import Row, timeline

_LINE_EVERY: Final = 5
"Looks between two lines where there is no terminal."

_STAGE_ROWS: Final = (
    ("total", "camera to picture"),
    ("arrive", "relay to peer"),
    ("send_lateness", "generator late"),
)


class LoadDisplay:
    """Shows a run on standard error; a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        if console.is_terminal and not quiet:
            self._live = Live(console=console, auto_refresh=False, transient=True)
        self._quiet = quiet
        self._phase = ""
        self._n_updates = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Say one thing that stays on the screen."""
        if self._live is not None:
            self._live.console.print(Text(text))
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def update(self, conductor: Conductor) -> None:
        """Show how it goes."""
        rows = timeline(conductor.record, conductor.marks, conductor.probe.samples[-3:])
        row = next((r for r in reversed(rows) if r["peers"]), rows[-1] if rows else {})
        states = Counter(peer.state for peer in conductor.record.steady)
        if self._live is not None:
            self._live.update(panel_of(conductor, row, states), refresh=True)
            return
        is_new = conductor.phase != self._phase
        self._phase = conductor.phase
        self._n_updates += 1
        if is_new or self._n_updates % _LINE_EVERY == 0:
            self.note(line_of(conductor.phase, row, states))


def line_of(phase: str, row: Row, states: Counter[str]) -> str:
    """Put a second into one line."""
    parts = [f"{phase:<6}", f"{states['in']} in"]
    for name, unit, form in (
        ("total_p95_ms", "ms total p95", ".0f"),
        ("arrive_p95_ms", "ms arrive p95", ".0f"),
        ("kbps", "kb/s", ".0f"),
        ("relay_cores", "relay cores", ".2f"),
        ("relay_rss_mb", "MiB", ".0f"),
    ):
        if row.get(name) is not None:
            parts.append(f"{row[name]:{form}} {unit}")
    parts += [f"{row[n]} {n}" for n in ("lost", "freezes") if row.get(n)]
    if states["failed"] or states["lost"]:
        parts.append(f"{states['failed'] + states['lost']} peers failed")
    return ", ".join(parts)


def panel_of(conductor: Conductor, row: Row, states: Counter[str]) -> Panel:
    """Draw a second."""
    settings = conductor.settings
    table = Table.grid(padding=(0, 3))
    table.add_column()
    for _ in range(3):
        table.add_column(justify="right")
    table.add_row(*_heads("", "p50 ms", "p95 ms", "p99 ms"))
    for stage, name in _STAGE_ROWS:
        values = [row.get(f"{stage}_{q}_ms") for q in ("p50", "p95", "p99")]
        table.add_row(Text(name), *[Text("-" if v is None else f"{v:.1f}") for v in values])
    table.add_row("")
    table.add_row(*_heads("frames/s", "published", "received", "decoded"))
    table.add_row("", *[_number(row.get(n)) for n in ("published", "units", "decoded")])
    table.add_row(*_heads("trouble", "dropped", "lost", "freezes"))
    table.add_row(
        "", *[_number(row.get(n), bad=True) for n in ("relay_dropped", "lost", "freezes")]
    )
    table.add_row(*_heads("relay", "cores", "MiB", "sessions"))
    table.add_row("", *[_number(row.get(n)) for n in ("relay_cores", "relay_rss_mb", "sessions")])
    of = f"{states['in']} of {settings.n_peers} peers in"
    if states["failed"] or states["lost"]:
        of += f", {states['failed'] + states['lost']} failed"
    if settings.churn_per_s:
        of += f", {conductor.record.churn['cycles']} cycles of churn"
    return Panel(
        table,
        title=f"rtcodec loadtest: {conductor.phase}",
        subtitle=of,
        title_align="left",
        subtitle_align="left",
        expand=False,
        padding=(0, 2),
    )


def _heads(*texts: str) -> list[Text]:
    return [Text(text, style="dim") for text in texts]


def _number(value: Any, *, bad: bool = False) -> Text:
    if value is None:
        return Text("-")
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return Text(text, style="bold red" if bad and value else "bold")
