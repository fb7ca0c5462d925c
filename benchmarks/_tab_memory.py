"""
What a tab holds while it watches for long: one tab for each way that frames come in.

The relay plays a recording, so that next to nothing but the tabs works. Every ten seconds the
garbage of page and worker is collected and what is left is read, with WebAssembly's memory and what
all processes for tabs hold. Growth is the slope of a line through the last four fifths of that.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks._commands import start
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from rtcodec_server.record_config import RecordConfig
from support.browser import Browser, Tab, browser

CARRIERS = ("vp8", "data")
EVERY_S = 10
RECORDED_FRAMES = 200
SPEED = 0.5
"Of the recording: two tabs decode what one would otherwise."

_WORK = "viewer.figures?.work"
_OPEN = """(async (carrier) => {
  const { RtcodecViewer } = await import("/web/viewer.js");
  const canvas = document.createElement("canvas");
  document.body.replaceChildren(canvas);
  window.viewer = new RtcodecViewer("/whep/room", canvas, { carrier });
  viewer.start();
})"""


async def measure_memory(clip: Path, model: str, kbps: int, minutes: float) -> dict[str, Any]:
    """Watch for so long; return samples and growth of each tab, by carrier."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        recorded = RecordConfig(directory=Path(folder), rooms=("take",), min_free_mb=0)
        config = ServerConfig(
            port=0, model=model, bitrate_kbps=kbps, threads=1, psnr="off", record=recorded
        )
        async with (
            running_server(config) as server,
            browser(Path(folder) / "profile") as chromium,
        ):
            await server.ready
            await _record_and_play(server, clip)
            watched = [await _Watched.open(chromium, server.url, name) for name in CARRIERS]
            processes = []
            for _ in range(round(60 * minutes / EVERY_S)):
                await asyncio.sleep(EVERY_S)
                for one in watched:
                    await one.sample()
                processes.append(float(sum(map(resident_kib, await renderers(chromium)))))
            tabs = {one.carrier: await one.summary() for one in watched}
    conditions = {"minutes": minutes, "model": model, "kbps": kbps, "speed": SPEED}
    return {**conditions, "tabs": tabs, "processes": growth(processes)}


async def _record_and_play(server: RunningServer, clip: Path) -> None:
    """Record a few seconds of the clip, and play them over and over."""
    publisher = await start("publish", f"{server.url}/whip/take", clip, "--loop")
    while server.relay.recordings.totals.frames < RECORDED_FRAMES:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.1)
    async with aiohttp.ClientSession(server.url, raise_for_status=True) as http:
        async with http.delete("/api/rooms/take/recording") as response:
            (file,) = (await response.json())["files"]
        publisher.terminate()
        await publisher.wait()
        wish = {"file": file, "loop": True, "speed": SPEED}
        await (await http.post("/api/rooms/room/play", json=wish)).release()


class _Watched:
    """One tab, and what it was seen to hold."""

    def __init__(self, carrier: str, chromium: Browser, tab: Tab) -> None:
        self.carrier = carrier
        self._browser = chromium
        self._tab = tab
        self._heap: list[float] = []
        self._wasm: list[float] = []

    @classmethod
    async def open(cls, chromium: Browser, url: str, carrier: str) -> _Watched:
        tab = await chromium.open(f"{url}/web/style.css")
        await tab.send(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True
        )
        await tab.evaluate(f"({_OPEN})('{carrier}')")
        await tab.until(f"{_WORK}?.memoryBytes > 0")
        return cls(carrier, chromium, tab)

    async def sample(self) -> None:
        """Collect garbage and read what is left."""
        heap_bytes = 0.0
        (worker,) = self._tab.workers
        for session in (self._tab.session, worker):
            await self._browser.send("HeapProfiler.collectGarbage", session)
            used = await self._browser.send("Runtime.getHeapUsage", session)
            heap_bytes += used["usedSize"] + used["backingStorageSize"]
        self._heap.append(heap_bytes / 1024)
        self._wasm.append(await self._tab.evaluate(f"{_WORK}.memoryBytes") / 1024)

    async def summary(self) -> dict[str, Any]:
        """Return what the tab's scripts and WebAssembly held."""
        shown = await self._tab.evaluate(f"{_WORK}.shown")
        return {"frames_shown": shown, "heap": growth(self._heap), "wasm": growth(self._wasm)}


def growth(samples_kib: list[float]) -> dict[str, float]:
    """Return first, last and most of the last four fifths, and the slope of a line through them."""
    steady = np.array(samples_kib[len(samples_kib) // 5 :])
    slope = np.polyfit(np.arange(len(steady)) * EVERY_S / 60, steady, 1)[0]
    found = {
        "first_kib": steady[0],
        "last_kib": steady[-1],
        "most_kib": steady.max(),
        "growth_kib_per_minute": slope,
    }
    return {name: round(float(value), 1) for name, value in found.items()}


async def renderers(chromium: Browser) -> set[int]:
    """Return the ids of the processes that tabs run in, or may soon."""
    processes = (await chromium.send("SystemInfo.getProcessInfo"))["processInfo"]
    return {one["id"] for one in processes if one["type"] == "renderer"}


def resident_kib(process: int) -> int:
    """Return what a process holds, KiB, its shared libraries included; 0 if it is gone."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else ()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
