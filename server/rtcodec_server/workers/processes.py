"""What the supervisor says of its processes, as JSON values."""

from typing import Any

from rtcodec.webrtc import monotonic_us
from rtcodec_server.workers.pool import Pool
from rtcodec_server.workers.supervisor import Supervisor


def summarise(supervisor: Supervisor) -> dict[str, Any]:
    """Return what `/healthz` says: no more than whoever asks may know."""
    pools = {pool.kind: _count(pool) for pool in supervisor.pools}
    is_whole = all(count["up"] == count["of"] for count in pools.values())
    return {"status": "ok" if is_whole else "degraded", **pools}


def report_processes(supervisor: Supervisor) -> list[dict[str, Any]]:
    """Return what there is to know of each process, those of slots first."""
    now_us = monotonic_us()
    reports = []
    for pool in supervisor.pools:
        processes = sorted(
            pool.processes, key=lambda p: (p.slot is None, p.slot or 0, p.started_us)
        )
        for process in processes:
            usage = process.usage()
            is_worker = pool is supervisor.workers
            report = supervisor.reports.get(process.slot or 0) if is_worker else None
            has_slot = process.slot is not None
            reports.append(
                {
                    "kind": pool.kind,
                    "slot": process.slot,
                    "pid": process.pid,
                    "state": "up" if has_slot else "spare" if process.is_ready else "loading",
                    "age_s": round((now_us - process.started_us) / 1e6, 1),
                    "deaths": pool.deaths[process.slot] if process.slot is not None else None,
                    "cpu_s": usage.cpu_s if usage else None,
                    "resident_bytes": usage.resident_bytes if usage else None,
                    "rooms": len(report.rooms) if report and has_slot else None,
                    "sessions": report.sessions if report and has_slot else None,
                }
            )
    return reports


def _count(pool: Pool) -> dict[str, Any]:
    return {
        "up": sum(process is not None for process in pool.slots),
        "of": len(pool.slots),
        "deaths": sum(pool.deaths),
        "given_up": pool.has_given_up,
    }
