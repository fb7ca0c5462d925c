"""
Measure how fast the relay refuses what it refuses, and how long its loop stalls.

    python -m benchmarks.signalling [--output FILE] [--repeats 30]

A relay with the stand-in engine in this process, on loopback. The time is from
the request being sent to the answer being there; the stall is the longest
pause of the event loop, which client and relay share, meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiortc import VideoStreamTrack

from benchmarks.entropy import machine
from rtcodec.webrtc import add_video_track, create_offer, new_connection
from rtcodec_server.access import Grant, Keyring
from rtcodec_server.app import running_server
from rtcodec_server.client_limits import RequestLimits
from rtcodec_server.config import ServerConfig

KEYS = {"main": "0123456789abcdef" * 4}
ROOM = "/whip/room"


async def offer() -> str:
    """Return what an ordinary publisher offers."""
    connection = new_connection()
    try:
        add_video_track(connection, VideoStreamTrack())
        return await create_offer(connection, loopback_only=True)
    finally:
        await connection.close()


def cases(good: str) -> dict[str, tuple[str, str]]:
    """Return name -> token, body."""
    keys = Keyring(KEYS)
    now_s = int(time.time())
    token = keys.sign(Grant(room="*", publish=True), now_s=now_s, valid_s=600)
    other = keys.sign(Grant(room="other", publish=True), now_s=now_s, valid_s=600)

    def repeated(line: str, n_lines: int) -> tuple[str, str]:
        return token, good + f"{line}\r\n" * n_lines

    return {
        "no token": ("", good),
        "token of another room": (other, good),
        "over 64 KB": (token, "v=0\r\n" + "a" * 70_000),
        "64 KB of lines": (token, "v=0\r\n" + f"a=x:{'y' * 28}\r\n" * 1800),
        "64 KB of one line": (token, "v=0\r\na=" + "x" * 65_000),
        "33 candidates": repeated("a=candidate:1 1 udp 1 192.0.2.1 9 typ host", 33),
        "9 media sections": repeated("m=audio 9 UDP/TLS/RTP/SAVPF 0", 9),
        "1900 payload types": repeated("a=rtpmap:96 VP8/90000", 1900),
        "1900 sources": repeated("a=ssrc:1 cname:x", 1900),
        "an ordinary offer": (token, good),
    }


async def measure(url: str, token: str, body: str) -> tuple[int, float, float]:
    """Post once; return status, milliseconds, and those of the longest stall."""
    stall_s = 0.0

    async def beat() -> None:
        nonlocal stall_s
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now_s = time.perf_counter()
            stall_s = max(stall_s, now_s - last_s)
            last_s = now_s

    headers = {"Content-Type": "application/sdp"} | (
        {"Authorization": f"Bearer {token}"} if token else {}
    )
    async with aiohttp.ClientSession(url) as http:
        beating = asyncio.ensure_future(beat())
        await asyncio.sleep(0)
        start_s = time.perf_counter()
        async with http.post(ROOM, data=body, headers=headers) as answer:
            await answer.read()
        passed_s = time.perf_counter() - start_s
        beating.cancel()
        if answer.status == 201:
            await (await http.delete(answer.headers["Location"], headers=headers)).read()
    return answer.status, passed_s * 1000, stall_s * 1000


async def run(repeats: int) -> list[dict[str, Any]]:
    """Measure every case in turn, *repeats* times."""
    config = ServerConfig(port=0, engine="null", keys=KEYS, requests=RequestLimits(per_s=0))
    found: dict[str, list[tuple[int, float, float]]] = {}
    async with running_server(config) as server:
        await server.ready
        good = await offer()
        for _ in range(repeats):
            for name, (token, body) in cases(good).items():
                found.setdefault(name, []).append(await measure(server.url, token, body))
    return [
        {
            "case": name,
            "status": runs[0][0],
            "answer_ms": quantiles([passed for _, passed, _ in runs]),
            "stall_ms": quantiles([stall for _, _, stall in runs]),
        }
        for name, runs in found.items()
    ]


def quantiles(values: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum."""
    p95 = statistics.quantiles(values, n=20, method="inclusive")[-1]
    return {
        "p50": round(statistics.median(values), 2),
        "p95": round(p95, 2),
        "max": round(max(values), 2),
    }


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    rows = asyncio.run(run(args.repeats))
    for row in rows:
        answer, stall = row["answer_ms"], row["stall_ms"]
        print(
            f"{row['case']:>22} {row['status']}: p50 {answer['p50']:6.2f}  p95 {answer['p95']:6.2f}"
            f"  max {answer['max']:6.2f} ms   stall p50 {stall['p50']:6.2f} max {stall['max']:6.2f}"
        )
    result = {
        "command": "python -m benchmarks.signalling",
        "machine": machine(),
        "repeats": args.repeats,
        "cases": rows,
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
