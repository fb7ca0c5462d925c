"""
What it costs to have several processes, and how soon they are back.

    python -m benchmarks.workers [calls] [frames] [worker] [engine]

calls     one frame through the engine in this process and in one of its own, in turns: the same
          frames, the same engine settings; what is left is copies and two wake-ups
frames    `serve` in one process, with workers that have engines, with workers and one engine
          process: processor time of all of them for a frame, and its time in the relay
worker    kill -9 of a worker, with a spare and without: until its place is taken
engine    kill -9 of the engine process, likewise: until frames flow again

Writes `benchmarks/workers.json`, case by case; those not named keep what they had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.entropy import machine
from benchmarks.load import relay_process, run_test
from rtcodec.bundle import find_bundle
from rtcodec.engine.api import EncodeJob, Engine, StateId
from rtcodec.engine.loader import ENGINE_PROCESS, open_engine, remote_engine
from rtcodec.process import ControlChannel, Message, spawn
from rtcodec.types import Planes

OUTPUT = Path(__file__).with_suffix(".json")
SIZES = ((640, 360), (1280, 720))
MODEL = "s128"
KILLS = 5
FORMS = {
    "one process": ("--workers", "1"),
    "engine in each of 2 workers": ("--workers", "2", "--engine-in", "workers"),
    "engine process for 2 workers": ("--workers", "2", "--engine-in", "process"),
}

Row = dict[str, Any]


# ---- calls


def scene(width: int, height: int, n_frames: int) -> list[Planes]:
    """Return a picture that moves by three samples a frame, with some noise of its own."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 216, (height // 8 + 40, width // 8 + 40)).astype(np.uint8)
    big = coarse.repeat(8, 0).repeat(8, 1)
    frames = []
    for n in range(n_frames):
        y = big[3 * n : 3 * n + height, 2 * n : 2 * n + width].copy()
        y += rng.integers(0, 3, y.shape, dtype=np.uint8)
        chroma = np.ascontiguousarray(y[::2, ::2] // 2 + 64)
        frames.append(Planes(y, chroma, chroma.copy()))
    return frames


async def calls() -> list[Row]:
    """Encode the same frames here and there, in turns."""
    bundle = find_bundle(MODEL)
    process, end = await spawn(ENGINE_PROCESS)
    ready: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def hear(kind: str, fields: Message, _: list[int]) -> None:
        if kind == "ready":
            ready.set_result(fields["about"])

    def ended() -> None:
        if not ready.done():
            ready.set_exception(SystemExit("the engine process did not start"))

    channel = ControlChannel(end, on_message=hear, on_close=ended)
    channel.send(
        "start", engine="auto", model=MODEL, threads=1, lanes=1, max_batch=4,
        warm=[list(size) for size in SIZES], hang_s=60,
    )  # fmt: skip
    about = await ready
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    channel.send("client", *(theirs.fileno() for _, theirs in pairs))
    there = remote_engine(bundle)
    there.attach(about, [ours for ours, _ in pairs])
    for _, theirs in pairs:
        theirs.close()
    here = open_engine("auto", bundle, threads=1)
    rows = [await asyncio.to_thread(compare, here, there, process.pid, *size) for size in SIZES]
    there.close()
    here.close()
    channel.send("stop")
    await process.wait()
    channel.close()
    return rows


def compare(here: Engine, there: Engine, pid: int, width: int, height: int) -> Row:
    """Return times of both, and what was copied, for delta frames; *pid* is the engine process."""
    frames = scene(width, height, 80)
    states = {engine: engine.open_state(width, height) for engine in (here, there)}
    times: dict[Engine, list[float]] = {here: [], there: []}
    used_s, copied = {here: 0.0, there: -cpu_s([pid])}, 0
    for number, planes in enumerate(frames):
        for engine in (here, there) if number % 2 else (there, here):
            start_s, used_before_s = time.perf_counter(), time.process_time()
            coded = encode(engine, states[engine], planes, number)
            times[engine].append(1000 * (time.perf_counter() - start_s))
            used_s[engine] += time.process_time() - used_before_s
            copied = 2 * (coded.symbols.nbytes + coded.indices.nbytes + coded.z.nbytes)
    used_s[there] += cpu_s([pid])
    more = sorted(far - near for near, far in list(zip(times[here], times[there], strict=True))[2:])
    in_process, in_another = (sorted(times[engine][2:]) for engine in (here, there))
    return {
        "size": f"{width}x{height}",
        "frames": len(in_process),
        "in_process_ms": quantiles(in_process),
        "in_another_process_ms": quantiles(in_another),
        "more_for_the_same_frame_ms": quantiles(more),
        "in_process_cpu_ms": round(1000 * used_s[here] / len(frames), 2),
        "in_another_process_cpu_ms": round(1000 * used_s[there] / len(frames), 2),
        "copied_bytes_per_frame": copied + frames[0].y.size * 3 // 2,
    }


def encode(engine: Engine, state: StateId, planes: Planes, number: int) -> Any:
    """Encode one frame, predicted from the one before."""
    reference = None if number == 0 else (number - 1) % 2
    return engine.encode([EncodeJob(state, planes, 32, reference=reference, store=number % 2)])[0]


def quantiles(values: list[float]) -> dict[str, float]:
    """Return what sorted values are like."""
    return {
        "p50": round(statistics.median(values), 3),
        "p95": round(values[int(0.95 * (len(values) - 1))], 3),
        "mean": round(statistics.mean(values), 3),
    }


# ---- relays


@contextmanager
def serving(*options: str) -> Iterator[tuple[int, str]]:
    """Run a relay; yield its process id and its address once it is ready."""
    command = [sys.executable, "-m", "rtcodec.cli", "serve", "--port", "0", *options]
    with relay_process(command) as (pid, url):
        while ask(url, "/readyz") is None:
            time.sleep(0.05)
        yield pid, url


def ask(url: str, path: str) -> bytes | None:
    """Return the body of a good answer."""
    try:
        with urllib.request.urlopen(url + path, timeout=5) as response:
            body: bytes = response.read()
            return body
    except OSError:
        return None


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    listed = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return [pid, *map(int, listed.stdout.split())]


def cpu_s(pids: list[int]) -> float:
    """Return the processor time that processes have used."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def frames() -> list[Row]:
    """Two rooms of 360p at 15 frames per second, two rounds of each form in turns."""
    rows = []
    for _ in range(2):
        for form, options in FORMS.items():
            rows.append(await asyncio.to_thread(load, form, options))
    return rows


def load(form: str, options: tuple[str, ...]) -> Row:
    """Run one relay under load."""
    with serving(*options, "--model", MODEL, "--psnr", "off") as (pid, url):
        time.sleep(4)  # spares
        pids = family(pid)
        before_s = cpu_s(pids)
        found = run_test(
            url, "--publishers", "2", "--subscribers", "1", "--decode", "0", "--duration", "10",
            "--fps", "15", "--no-generator-check",
        )  # fmt: skip
        used_s = cpu_s(pids) - before_s
        total = json.loads(ask(url, "/api/rooms") or b"{}")["total"]
    n_encoded = total["frames"]["encoded"]
    return {
        "form": form,
        "encoded": n_encoded,
        "dropped": total["frames"]["dropped"],
        "cpu_ms_per_frame": round(1000 * used_s / max(1, n_encoded), 3),
        "frames_per_core_second": round(n_encoded / max(0.01, used_s), 1),
        "relay_ms": {stage: total["latency_ms"][stage] for stage in ("queue", "engine", "total")},
        "fps_at_subscribers": found["fps"],
    }


# ---- recovery


async def worker() -> list[Row]:
    """Kill workers."""
    return [await asyncio.to_thread(recover, "worker", n, ("--workers", "2")) for n in (1, 0)]


async def engine() -> list[Row]:
    """Kill engines."""
    options = ("--workers", "2", "--engine-in", "process")
    return [await asyncio.to_thread(recover, "engine", n, options) for n in (1, 0)]


def recover(kind: str, spares: int, options: tuple[str, ...]) -> Row:
    """Return how long each took."""
    taken_ms, flowing_ms = [], []
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f"[processes]\nspares = {spares}\nmax_restarts = 50\n")
        config.flush()
        with serving(*options, "--model", MODEL, "--config", config.name, "--warm", "320x180") as (
            _,
            url,
        ):
            peers = [start_peer(url, room, what) for room in "ab" for what in ("publish", "watch")]
            wait_for(lambda: n_encoded(url) > 20)
            for _ in range(KILLS):
                wait_for(lambda: is_whole(url, kind, spares))
                (old,) = [p for p in processes(url, kind) if p["slot"] == 0]
                encoded = n_encoded(url)
                start_s = time.perf_counter()
                os.kill(old["pid"], signal.SIGKILL)
                wait_for(
                    lambda: any(
                        p["slot"] == 0 and p["pid"] != old["pid"]  # noqa: B023
                        for p in processes(url, kind)
                    )
                )
                taken_ms.append(round(1000 * (time.perf_counter() - start_s)))
                if kind == "engine":  # the sessions are still there
                    wait_for(lambda: n_encoded(url) > encoded + 5)  # noqa: B023
                    flowing_ms.append(round(1000 * (time.perf_counter() - start_s)))
            for peer in peers:
                peer.kill()
                peer.wait()
    return {
        "killed": kind,
        "spares": spares,
        "slot_taken_ms": taken_ms,
        "frames_flow_ms": flowing_ms or None,
        "median_ms": statistics.median(flowing_ms or taken_ms),
        "worst_ms": max(flowing_ms or taken_ms),
    }


def start_peer(url: str, room: str, what: str) -> subprocess.Popen[bytes]:
    """Start a publisher or a subscriber."""
    where, rest = (
        ("whip", ["pattern:320x180@10"]) if what == "publish" else ("whep", ["--seconds", "600"])
    )
    return subprocess.Popen(
        [sys.executable, "-m", "rtcodec.cli", what, f"{url}/{where}/{room}", *rest],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def processes(url: str, kind: str) -> list[Row]:
    """Return what the relay says of its processes of a kind."""
    entries = json.loads(ask(url, "/api/processes") or b'{"processes": []}')["processes"]
    return [entry for entry in entries if entry["kind"] == kind]


def is_whole(url: str, kind: str, spares: int) -> bool:
    """Return whether all slots are taken and the spares wait."""
    states = [p["state"] for p in processes(url, kind)]
    return states.count("spare") == spares and "loading" not in states and "up" in states


def n_encoded(url: str) -> int:
    """Return the frames encoded in rooms that are there."""
    rooms = json.loads(ask(url, "/api/rooms") or b'{"rooms": []}')["rooms"]
    return sum(room["frames"]["encoded"] for room in rooms)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait, at most a minute."""
    end_s = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end_s:
            raise SystemExit("waited for a minute")
        time.sleep(0.005)


CASES = {"calls": calls, "frames": frames, "worker": worker, "engine": engine}


def main() -> int:
    """Run the cases named, or all; write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    args = parser.parse_args()
    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        print(f"no case {unknown[0]!r}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    result: Row = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for name in args.cases or CASES:
        facts = machine()
        rows = asyncio.run(CASES[name]())
        result[name] = {
            "command": f"python -m benchmarks.workers {name}",
            "machine": facts,
            "runs": rows,
        }
        OUTPUT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
