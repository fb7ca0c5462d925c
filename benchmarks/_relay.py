"""
A relay to measure: as `rtcodec serve`, and it says how many tasks and how much memory it has.

    python -m benchmarks._relay TASKS_FILE [--engine null|free]

`free` is an engine that sees grey whatever comes: it costs nothing, nor does coding what
it says, so what is left is receiving, decoding and sending. Every second the number of tasks of the
event loop is appended to TASKS_FILE; every tenth also the resident memory in KiB, after the
allocator was made to give back what it only keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import itertools
import resource
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvloop

from rtcodec.bundle import Bundle
from rtcodec.calm import calm_interpreter
from rtcodec.engine.api import EncodeJob, EncodeOutput, Engine
from rtcodec.engine.null import NullEngine
from rtcodec.session.lobby import Limits
from rtcodec.types import Planes
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.app import RunningServer, serve
from rtcodec_server.config import ServerConfig


class FreeEngine(NullEngine):
    """Sees an even grey in every frame: next to nothing to compute, and to code."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[tuple[int, int], EncodeOutput] = {}

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Return what the null engine makes of grey, kept by size."""
        return [self._answer(job) for job in jobs]

    def _answer(self, job: EncodeJob) -> EncodeOutput:
        planes = job.planes
        size = (planes.width, planes.height)
        if size not in self._answers:
            grey = (np.full(plane.shape, 128, np.uint8) for plane in (planes.y, planes.u, planes.v))
            (self._answers[size],) = super().encode([replace(job, planes=Planes(*grey))])
        return self._answers[size]


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--engine", choices=("null", "free"), default="null")
    args = parser.parse_args()
    limits = Limits(max_rooms=512, max_subscribers_per_room=512, max_sessions=1024)
    everybody = AdmissionConfig(limit=0, shed=False)  # what is too much is to be seen
    config = ServerConfig(
        port=0, engine="null", psnr="off", threads=1, limits=limits, admission=everybody
    )

    def engine(config: ServerConfig) -> tuple[Engine, Bundle]:
        made = FreeEngine() if args.engine == "free" else NullEngine()
        return made, made.bundle

    def on_start(server: RunningServer) -> None:
        print(f"relay at {server.url}", file=sys.stderr, flush=True)
        server.ready.add_done_callback(lambda _: calm_interpreter())
        loop = asyncio.get_running_loop()
        with args.tasks.open("a") as file:
            file.write(f"{len(asyncio.all_tasks(loop))}\n")
        counting.append(asyncio.ensure_future(_count(args.tasks)))

    counting: list[asyncio.Task[None]] = []
    uvloop.run(serve(config, engine_factory=engine, on_start=on_start))
    return 0


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


async def _count(path: Path) -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    for second in itertools.count(1):
        await asyncio.sleep(1)
        line = str(len(asyncio.all_tasks()))
        if second % 10 == 0:
            if trim is not None:
                trim(0)
            line += f" {_resident_kib()}"
        with path.open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
