"""
Writes Grafana's dashboard of the relay from a table of panels.

    python docker/dashboard.py        # writes docker/grafana/dashboards/rtcodec.json

A new panel is a line in `ROWS`. In expressions `$I` is the choice of instances and `$R` the
interval of rates. `tests/packaging/test_docker.py` holds the file to this table, and every name in
it to what the relay exports.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TARGET: Final = Path(__file__).parent / "grafana" / "dashboards" / "rtcodec.json"

_COLUMNS: Final = 24
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    about: str
    "What it shows, for the tooltip."

    unit: str
    "As Grafana calls it."

    queries: tuple[tuple[str, str], ...]
    "Expression and legend."

    kind: str = "timeseries"
    width: int = 8
    "Of 24 columns."

    height: int = 8


def _quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{$I{where}}}[$R])))"


def _rate(metric: str, by: str = "", where: str = "") -> str:
    grouping = f"sum by ({by})" if by else "sum"
    return f"{grouping} (rate({metric}{{$I{where}}}[$R]))"


def _number(title: str, about: str, unit: str, query: str) -> Panel:
    return Panel(title, about, unit, ((query, ""),), "stat", 4, 4)


_LATENCY = "rtcodec_frame_latency_seconds"
_TOTAL = ', stage="total"'

ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Now",
        (
            _number("Ready", "Relays that let peers in.", "none", "sum(rtcodec_ready{$I})"),
            _number("Rooms", "With somebody in them.", "none", "sum(rtcodec_rooms{$I})"),
            _number("Sessions", "Peers inside.", "none", "sum(rtcodec_sessions{$I})"),
            _number(
                "Latency, p95", "In the relay, from the first packet in to the last out.", "s",
                _quantile(0.95, _LATENCY, where=_TOTAL),
            ),
            _number(
                "PSNR", "Mean of Y, U and V weighted 6, 1, 1, of measured frames.", "dB",
                'sum(rate(rtcodec_psnr_db_sum{$I, plane="yuv"}[$R]))'
                " / sum(rate(rtcodec_psnr_measurements_total{$I}[$R]))",
            ),
            _number("Recordings", "That go on.", "none", "sum(rtcodec_recordings{$I})"),
        ),
    ),
    (
        "Latency",
        (
            Panel(
                "In the relay", "From a frame's first packet in to its last packet out.", "s",
                tuple((_quantile(q, _LATENCY, where=_TOTAL), f"p{q:.0%}"[:-1])
                      for q in (0.5, 0.95, 0.99)),
            ),
            Panel(
                "By stage, p50", "Stages of a frame's way; they follow each other.", "s",
                ((_quantile(0.5, _LATENCY, "stage", ', stage!="total"'), "{{stage}}"),),
            ),
            Panel(
                "By stage, p95", "The same for the slowest of twenty.", "s",
                ((_quantile(0.95, _LATENCY, "stage", ', stage!="total"'), "{{stage}}"),),
            ),
        ),
    ),
    (
        "Frames",
        (
            Panel(
                "Frames", "Received, encoded, sent; each subscriber's is counted.", "fps",
                ((_rate("rtcodec_frames_total", "event"), "{{event}}"),),
            ),
            Panel(
                "Dropped", "Frames that were not encoded, by reason; `unwatched` costs nobody.",
                "fps",
                ((_rate("rtcodec_frames_total", "reason", ', event="dropped"'), "{{reason}}"),),
            ),
            Panel(
                "Late and unsent", "Too late for the engine or out of it; too many for a peer.",
                "fps",
                (
                    (_rate("rtcodec_deadline_misses_total"), "deadline missed"),
                    (_rate("rtcodec_frames_total", "", ', event="unsent"'), "unsent"),
                ),
            ),
        ),
    ),
    (
        "Quality and rate",
        (
            Panel(
                "PSNR", "Of measured frames, by plane.", "dB",
                ((
                    _rate("rtcodec_psnr_db_sum", "plane") + " / ignoring (plane) group_left () "
                    + _rate("rtcodec_psnr_measurements_total"),
                    "{{plane}}",
                ),),
            ),
            Panel(
                "PSNR, worst twentieth", "A frame in twenty is below that.", "dB",
                ((_quantile(0.05, "rtcodec_frame_psnr_db", "plane"), "{{plane}}"),),
            ),
            Panel(
                "Measured", "Share of coded frames whose PSNR there was time to measure.",
                "percentunit",
                ((
                    _rate("rtcodec_psnr_measurements_total") + " / ("
                    + _rate("rtcodec_psnr_measurements_total") + " + "
                    + _rate("rtcodec_psnr_skipped_total") + ")",
                    "measured",
                ),),
            ),
            Panel(
                "Bit rate", "Of all streams together, and what those with a target aim at.", "bps",
                (
                    ("sum(rtcodec_bitrate_bits_per_second{$I})", "bitstream"),
                    ("sum(rtcodec_target_bitrate_bits_per_second{$I})", "target"),
                    ("8 * " + _rate("rtcodec_bitstream_bytes_total"), "made"),
                ),
            ),
            Panel(
                "Bits per pixel", "Of coded frames.", "none",
                tuple((_quantile(q, "rtcodec_bits_per_pixel"), f"p{q:.0%}"[:-1])
                      for q in (0.5, 0.95)),
            ),
            Panel(
                "Out of range", "Streams whose target no qp reaches.", "none",
                (("sum(rtcodec_saturated_streams{$I})", "saturated"),),
            ),
        ),
    ),
    (
        "Engine and process",
        (
            Panel(
                "Batch", "Frames that ran together, on average.", "none",
                ((
                    _rate("rtcodec_batch_size_sum") + " / " + _rate("rtcodec_batch_size_count"),
                    "frames",
                ),),
            ),
            Panel(
                "Event loop", "Longest delay within the last second.", "s",
                (("max by (instance) (rtcodec_event_loop_lag_seconds{$I})", "{{instance}}"),),
            ),
            Panel(
                "Engine failures", "Calls that the engine failed.", "ops",
                ((_rate("rtcodec_engine_failures_total"), "failures"),),
            ),
            Panel(
                "Processor", "Cores in use by the relay's process.", "none",
                ((_rate("rtcodec_process_cpu_seconds_total", "instance"), "{{instance}}"),),
            ),
            Panel(
                "Memory", "Resident.", "bytes",
                (("rtcodec_process_resident_memory_bytes{$I}", "{{instance}}"),),
            ),
            Panel(
                "File descriptors", "Open; sockets are the most of them.", "none",
                (("rtcodec_process_open_fds{$I}", "{{instance}}"),),
            ),
        ),
    ),
    (
        "Peers",
        (
            Panel(
                "Sessions", "Peers inside, by role.", "none",
                (("sum by (role) (rtcodec_sessions{$I})", "{{role}}"),),
            ),
            Panel(
                "Sessions that ended", "By reason.", "ops",
                ((_rate("rtcodec_sessions_closed_total", "reason"), "{{reason}}"),),
            ),
            Panel(
                "Asked for again", "Packets (NACK) and key frames (PLI), by who was asked.", "ops",
                (
                    (_rate("rtcodec_nack_total", "asked"), "packets of the {{asked}}"),
                    (_rate("rtcodec_pli_total", "asked"), "key frames of the {{asked}}"),
                ),
            ),
            Panel(
                "Requests refused", "By HTTP status.", "reqps",
                ((_rate("rtcodec_requests_refused_total", "status"), "{{status}}"),),
            ),
            Panel(
                "Webhooks", "Events by what became of them.", "ops",
                ((_rate("rtcodec_webhooks_total", "outcome"), "{{outcome}}"),),
            ),
        ),
    ),
    (
        "Recording",
        (
            Panel(
                "Recorded frames", "Written, or dropped as the disk was too slow.", "fps",
                ((_rate("rtcodec_recorded_frames_total", "event"), "{{event}}"),),
            ),
            Panel(
                "Written", "Of all recordings together.", "Bps",
                ((_rate("rtcodec_recorded_bytes_total"), "bytes"),),
            ),
            Panel(
                "Free disk", "Where recordings go.", "bytes",
                (("min by (instance) (rtcodec_recording_free_bytes{$I})", "{{instance}}"),),
            ),
            Panel(
                "Recordings that ended", "By reason.", "ops",
                ((_rate("rtcodec_recordings_finished_total", "reason"), "{{reason}}"),),
            ),
        ),
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "rtcodec",
        "title": "rtcodec relay",
        "tags": ["rtcodec", "webrtc"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": [_datasource_choice(), _instance_choice()]},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def queries() -> list[str]:
    """Return every expression, with `$I` and `$R` in it."""
    return [query for _, row in ROWS for panel in row for query, _ in panel.queries]


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, row in ROWS:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in row:
            if left + panel.width > _COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": _filled(query),
                "legendFormat": legend or "__auto",
            }
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }
    if panel.unit == "dB":
        del made["fieldConfig"]["defaults"]["min"]
    if panel.kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    return made


def _filled(query: str) -> str:
    return query.replace("$I", 'instance=~"$instance"').replace("$R", "$__rate_interval")


def _datasource_choice() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}


def _instance_choice() -> dict[str, Any]:
    query = "label_values(rtcodec_ready, instance)"
    return {
        "name": "instance",
        "type": "query",
        "label": "Relay",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "instances"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def text() -> str:
    """Return the dashboard's file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), "utf-8")
