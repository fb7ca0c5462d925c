"""
A run second by second, and peer by peer, as rows for CSV files and plots. Pure.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rtcodec_client.load.conductor import PHASES, Marks
from rtcodec_client.load.record import PeerRecord, RunRecord, Second
from rtcodec_client.load.relay_probe import RelaySample

_MIB: Final = 1 << 20
_STAGES: Final = ("total", "arrive", "gap", "deliver", "engine", "send_lateness", "loop_lag")
_COUNTS: Final = ("published", "skipped", "units", "soak_units", "decoded", "lost", "freezes")

Row = dict[str, Any]


def timeline(record: RunRecord, marks: Marks, samples: Sequence[RelaySample]) -> list[Row]:
    """Return a row for each second from the first join to the end."""
    relay = {record.second_of(sample.at_us): sample for sample in samples}
    seconds = sorted(set(record.seconds) | set(relay))
    began = {phase: record.second_of(at_us) for phase, at_us in marks.at_us.items()}
    rows = []
    previous: RelaySample | None = None
    for number in seconds:
        phases = [phase for phase in PHASES if began.get(phase, number) < number]
        row: Row = {"second": number, "phase": phases[-1] if phases else PHASES[0]}
        row |= _peers(record.seconds.get(number, Second()))
        sample = relay.get(number)
        if sample is not None:
            row |= _relay(sample, previous)
            previous = sample
        rows.append(row)
    return rows


def _peers(second: Second) -> Row:
    row: Row = {"peers": second.peers, "generator_cores": round(second.cpu_s, 3)}
    row |= {name: second.counts[name] for name in _COUNTS}
    row["kbps"] = round(second.counts["unit_bytes"] * 8e-3, 1)
    for stage in _STAGES:
        if stage in second.stages:
            report = second.stages[stage].report()
            row |= {f"{stage}_{q}_ms": report[q] for q in ("p50", "p95", "p99")}
    return row


def _relay(sample: RelaySample, previous: RelaySample | None) -> Row:
    row: Row = {"sessions": sample.n_sessions, "relay_lag_ms": _rounded(sample.loop_lag_ms)}
    if previous is not None:
        now, before = sample.frames(), previous.frames()
        row |= {f"relay_{name}": now[name] - before[name] for name in now}
    process = sample.process
    if process is not None:
        row["relay_rss_mb"] = round(process.rss_bytes / _MIB, 2)
        row["relay_fds"] = process.n_fds
        row["relay_threads"] = process.n_threads
        if previous is not None and previous.process is not None:
            elapsed_s = (sample.at_us - previous.at_us) / 1e6
            row["relay_cores"] = round((process.cpu_s - previous.process.cpu_s) / elapsed_s, 3)
    return row


def peer_rows(peers: Sequence[PeerRecord]) -> list[Row]:
    """Return a row for each peer of the soak."""
    rows = []
    for peer in peers:
        row: Row = {
            "peer": peer.spec.name,
            "role": peer.spec.role,
            "room": peer.spec.room,
            "process": peer.process,
            "decodes": peer.spec.decodes,
            "state": peer.state,
            "reason": peer.reason,
        }
        row |= {f"join_{name}_ms": value for name, value in peer.times.items()}
        for name, value in peer.figures.items():
            if isinstance(value, Mapping):
                row |= {f"{name.removesuffix('_ms')}_{key}": entry for key, entry in value.items()}
            elif not isinstance(value, list):
                row[name] = value
        rows.append(row)
    return rows


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """
    Write rows; columns in the order in which they first turn up.

    Raises:
        OSError: If it cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
