"""
What a browser tab makes of the neural stream: frames a second, time by stage, memory.

    python -m benchmarks.tab CLIP [--models n64 s128] [--kbps 600] [--seconds 60] [--rounds 3]
    python -m benchmarks.tab CLIP --memory-minutes 10      # that alone; the rest of the file stays

In headless Chromium on this machine. *Alone*: the clip, coded to a file, decoded, converted and
drawn as fast as it goes, several times; of each frame the fastest counts. *Live*: a relay, a
publisher that loops the clip and a tab on the watch page, all sharing the machine, for so many
seconds. Memory is what the tab's process holds; for how it grows see `_tab_memory`. Writes
`benchmarks/tab.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks._commands import run, start
from benchmarks.rate_distortion import commit
from rtcodec.bundle import find_bundle
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.models.web import web_model
from rtcodec.web_decoder import web_decoder_files
from rtcodec_server.app import running_server
from rtcodec_server.config import ServerConfig

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from benchmarks._tab_memory import measure_memory, renderers, resident_kib  # noqa: E402
from support.browser import CHROMIUM, Browser, Tab, browser  # noqa: E402 - driven as tests do

WARM_FRAMES = 20  # while the browser compiles
NUMBERS = """[...document.querySelectorAll("#numbers dt")]
  .map((dt) => [dt.innerText, dt.nextSibling.innerText])"""
STAGES = """[...document.querySelectorAll("#stages tr")]
  .map((row) => [...row.cells].map((cell) => cell.innerText))"""
FIRST = "performance.getEntriesByName('rtcodec first picture')[0]?.startTime"

ALONE = """(async () => {
  const { createDecoder } = await import("/decoder.js");
  const { RtcReader } = await import("/file.js");
  const load = async (path) => (await fetch(path)).arrayBuffer();
  const [wasm, model, stream] = await Promise.all(["/rtcodec.wasm", "/model", "/stream"].map(load));
  const clock = () => performance.now();
  const startedMs = clock();
  const decoder = await createDecoder({ wasm, model, clock });
  const openMs = clock() - startedMs;
  const canvas = new OffscreenCanvas(16, 16);
  const context = canvas.getContext("2d", { alpha: false });
  const bytes = new Uint8Array(stream);
  const reader = new RtcReader(bytes);
  const { width, height } = reader.sequence.geometry;
  [canvas.width, canvas.height] = [width, height];
  const frames = [];
  for (const unit of reader) {
    const packets = unit.packets.map(({ payload, payloadOffset }, index) => {
      const at = unit.offsets[index];
      return bytes.subarray(at, at + payloadOffset + payload.length);
    });
    const fromMs = clock();
    const frame = decoder.decode(packets, { size: { width, height } });
    const decodedMs = clock();
    const pixels = decoder.toRgba(frame);
    context.putImageData(new ImageData(pixels, width, height), 0, 0);
    const times = { decode: decodedMs - fromMs, draw: clock() - decodedMs };
    frames.push({ isKey: frame.isKey, times, stages: { ...decoder.stages } });
    if (frames.length % 10 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  return { width, height, openMs, frames, memoryBytes: decoder.memoryBytes };
})()"""


async def main() -> int:
    """Measure every model and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("clip", type=Path)
    parser.add_argument("--models", nargs="+", default=["n64", "s128"])
    parser.add_argument("--kbps", type=int, default=600)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-minutes", type=float, help="watch how memory grows, no more")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "tab.json")
    args = parser.parse_args()
    if CHROMIUM is None or not web_decoder_files():
        print("needs Chromium, and clang with wasm-ld (.ci/interop)", file=sys.stderr)
        return 1
    known = json.loads(args.output.read_text()) if args.output.exists() else {}
    if args.memory_minutes:
        grown = await measure_memory(args.clip, args.models[0], args.kbps, args.memory_minutes)
        print(grown, file=sys.stderr)
        command = f"python -m benchmarks.tab CLIP --memory-minutes {args.memory_minutes:g}"
        memory = {"command": command, "clip": args.clip.name, "commit": commit(), **grown}
        _write(args.output, known | {"memory": memory})
        return 0
    results = {}
    for model in args.models:
        alone = await measure_alone(args.clip, model, args.kbps, args.rounds)
        print(f"{model} alone: {alone['fps']} fps, {alone['ms']}", file=sys.stderr, flush=True)
        live = await measure_live(args.clip, model, args.kbps, args.seconds)
        print(f"{model} live: {live}", file=sys.stderr, flush=True)
        results[model] = {"alone": alone, "live": live}
    report = {
        "command": f"python -m benchmarks.tab CLIP --kbps {args.kbps} --seconds {args.seconds}",
        "clip": args.clip.name,
        "commit": commit(),
        "hardware": hardware(),
        "versions": versions(),
        "models": results,
        "memory": known.get("memory"),
    }
    _write(args.output, report)
    return 0


def _write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n")


# ---- alone


async def measure_alone(clip: Path, model: str, kbps: int, rounds: int) -> dict[str, Any]:
    """Decode the clip in a tab, *rounds* times; figures of the fastest of each frame."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stream = Path(folder) / "clip.rtc"
        await run("encode", clip, stream, "--model", model, "--bitrate", kbps, "--no-psnr")
        async with browser(Path(folder) / "profile") as chromium, files(model, stream) as url:
            tab = await chromium.open(f"{url}/decoder.js")
            made = [await tab.evaluate(ALONE) for _ in range(rounds)]
    return summary(made)


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of the fastest of each frame, those before the browser compiled aside."""
    run = min(rounds, key=lambda one: one["openMs"])
    fastest = [
        min(same, key=_whole_ms) for same in zip(*(r["frames"] for r in rounds), strict=True)
    ]
    frames = fastest[WARM_FRAMES:]
    whole_ms = sorted(map(_whole_ms, frames))
    stages = {name for frame in frames for name in frame["stages"]}
    return {
        "size": f"{run['width']}x{run['height']}",
        "frames": len(frames),
        "fps": round(1000 * len(whole_ms) / sum(whole_ms), 1),
        "ms": {
            "p50": round(median(whole_ms), 2),
            "p95": round(whole_ms[int(0.95 * len(whole_ms))], 2),
            "decode": round(median(frame["times"]["decode"] for frame in frames), 2),
            "draw": round(median(frame["times"]["draw"] for frame in frames), 2),
            "key_frame": round(fastest[0]["times"]["decode"], 1),
            "open": round(run["openMs"], 1),
        },
        "stages_ms": {
            name: round(median(frame["stages"].get(name, 0.0) for frame in frames), 2)
            for name in sorted(stages)
        },
        "wasm_memory_mib": round(run["memoryBytes"] / 2**20, 1),
    }


def _whole_ms(frame: dict[str, Any]) -> float:
    return float(frame["times"]["decode"] + frame["times"]["draw"])


@asynccontextmanager
async def files(model: str, stream: Path) -> AsyncIterator[str]:
    """Serve the decoder, a model and a stream; gives the address."""
    bodies = await asyncio.to_thread(_read, model, stream)

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        kind = "text/javascript" if name.endswith(".js") else "application/octet-stream"
        status = 200 if name in bodies else 404
        return web.Response(status=status, body=bodies.get(name, b""), content_type=kind)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def _read(model: str, stream: Path) -> dict[str, bytes]:
    files = {name: path.read_bytes() for name, path in web_decoder_files().items()}
    return files | {"model": web_model(find_bundle(model)), "stream": stream.read_bytes()}


# ---- live


async def measure_live(clip: Path, model: str, kbps: int, seconds: int) -> dict[str, Any]:
    """Watch a room as people do, on the relay's own page."""
    config = ServerConfig(port=0, model=model, bitrate_kbps=kbps, threads=1, psnr="off")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with running_server(config) as server:
            await server.ready
            publisher = await start("publish", f"{server.url}/whip/room", clip, "--loop")
            try:
                while not server.relay.is_live("room"):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.1)
                await asyncio.sleep(2)  # until the encoder has its rate
                async with browser(Path(folder) / "profile") as chromium:
                    return await _watch(chromium, f"{server.url}/watch/room", seconds)
            finally:
                publisher.terminate()
                await publisher.wait()


async def _watch(chromium: Browser, url: str, seconds: int) -> dict[str, Any]:
    first_ms = []
    for _ in range(3):  # the files are in the browser's store from the second time on
        tab = await chromium.open(url)
        first_ms.append(round(await tab.until(FIRST)))
        await tab.send("Page.navigate", url="about:blank")
    tab = await chromium.open(url)
    await tab.until(FIRST)
    await tab.press("input[value=neural]")  # whatever the self-test says
    memory, fps = [], []
    for second in range(seconds):
        await asyncio.sleep(1)
        shown = dict(await tab.evaluate(NUMBERS)).get("fps", "")
        if shown[:1].isdigit():  # the first second has no rate
            fps.append(float(shown))
        if second % 10 == 9:
            memory.append(await memory_mib(chromium))
    return {
        "first_picture_ms": first_ms,
        "fps": {"p50": median(fps), "least": min(fps), "most": max(fps)},
        "memory_mib": memory,
        **await _figures(tab),
    }


async def _figures(tab: Tab) -> dict[str, Any]:
    """Return what the page shows, as it shows it."""
    numbers = dict(await tab.evaluate(NUMBERS))
    rows = await tab.evaluate(STAGES)
    stages = {name: {"p50": float(p50), "p95": float(p95)} for name, _, p50, p95 in rows}
    return {"numbers": numbers, "stages_ms": stages}


async def memory_mib(chromium: Browser) -> float:
    """Return what the largest process of a tab holds, MiB; its shared libraries count."""
    return round(max(map(resident_kib, await renderers(chromium))) / 1024, 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
