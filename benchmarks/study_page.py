"""
Measure studies in a browser: the first picture, the exact one, proven, and what the page weighs.

    python -m benchmarks.study_page [--data ../shared/data/dev/medical] [--runs 5]
                                    [--screenshot docs/study.png]

Headless Chromium on this machine opens `/view/{room}` of a relay whose pictures were prepared
before: over loopback, where times are the page's own, and with its data channel behind the load
test's simulated link, 2 Mb/s down and 60 ms there and back; what the page is made of comes by HTTP,
past it. A run is a page of its own, which opens one picture after the other, each once the one
before is proven; *first visit* is that of a browser that holds nothing, in the others scripts and
model come from its cache. Times are from the order to open to what the label over the picture says.
Writes `benchmarks/study_page.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import json
import re
import shutil
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks._thin_link import thin_front
from benchmarks.rate_distortion import commit
from benchmarks.study import (
    DATA,
    DELAY_US,
    MODEL,
    NUMBERS,
    RATE_BPS,
    ROOM,
    ROOT,
    make_mammogram,
    relay,
    summary,
)
from rtcodec.bundle import find_bundle
from rtcodec.console import say
from rtcodec.entropy.build import EXACT_WASM, WASM
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.models.web import web_model
from rtcodec.web_decoder import web_decoder_files
from rtcodec_server.page import page_files

sys.path.append(str(ROOT / "tests"))
from support.browser import CHROMIUM, Browser, Tab, browser
from support.studies import put_picture, smooth_frames

OUTPUT = Path(__file__).with_suffix(".json")
CINE: Final = "cine"
CINE_MS: Final = 40
"Between its frames: 20 of 512x512 in 12 bits, a made one."

CINE_S: Final = 4.0
SOURCES: Final = ("ct_512_16bit", "mammogram", "mr_1024_12bit", "mr_10frames_64x64_12bit")
BEFORE: Final = ("a", "b", "c")
"The one that the page opens by itself, a made one, and the two that it then fetches ahead."

ELLIPSES: Final = (  # of a head: level, center and half axes in halves of the picture, degrees
    (1000, 0, 0, 0.69, 0.92, 0), (-800, 0, -0.018, 0.66, 0.87, 0),
    (-150, 0.22, 0, 0.11, 0.31, -18), (-150, -0.22, 0, 0.16, 0.41, 18),
    (100, 0, 0.35, 0.21, 0.25, 0), (120, 0, 0.1, 0.046, 0.046, 0),
    (120, 0, -0.1, 0.046, 0.046, 0), (90, -0.08, -0.605, 0.046, 0.023, 0),
    (90, 0.06, -0.605, 0.023, 0.046, 0),
)  # fmt: skip
WATCH: Final = """(globalThis.said = [], new MutationObserver(() => {
  const text = document.querySelector("#quality").textContent;
  said.push([performance.now(), text]);
}).observe(document.querySelector("#quality"), { childList: true, characterData: true }), 0)"""
VERIFIED: Final = "document.querySelector('#quality').textContent === 'lossless, verified'"
OPEN: Final = """(globalThis.said.length = 0, globalThis.askedMs = performance.now(),
  document.querySelectorAll("#pictures button")[{number}].click())"""

WATCH_FRAMES: Final = """(globalThis.frames = [], new MutationObserver(() => {
  const number = document.querySelector("#numbers").innerText.match(/(\\d+) of 20/)?.[1];
  if (number !== frames.at(-1)?.[1]) frames.push([performance.now(), number]);
}).observe(document.querySelector("#numbers"), { childList: true }), 0)"""


async def open_picture(tab: Tab, number: int) -> dict[str, float]:
    """Open a picture of the list; return when what was said of it."""
    await tab.evaluate(OPEN.replace("{number}", str(number)))
    await tab.until(f"{VERIFIED} && said.length > 1")
    asked_ms = await tab.evaluate("askedMs")
    times: dict[str, float] = {}
    for at_ms, text in await tab.evaluate("said"):
        if text == "on its way":
            continue
        times.setdefault("first_ms", at_ms - asked_ms)
        if text.startswith("preview"):
            times.setdefault("preview_ms", at_ms - asked_ms)
        if text == "lossless, verified":
            times.setdefault("proven_ms", at_ms - asked_ms)
    return times


async def measure_visit(chromium: Browser, url: str) -> dict[str, Any]:
    """Open the page anew, then each picture."""
    tab = await chromium.open(f"{url}/view/{ROOM}")
    await tab.evaluate(WATCH)
    await tab.until(VERIFIED)
    verified_ms = await tab.evaluate("said.find(([, text]) => text === 'lossless, verified')?.[0]")
    # the last first: what follows a picture is fetched ahead
    order = sorted(SOURCES, key=NUMBERS.__getitem__, reverse=True)
    pictures = {name: await open_picture(tab, NUMBERS[name]) for name in order}
    await tab.send("Page.close")
    return {"page_to_first_verified_ms": verified_ms, "pictures": pictures}


async def measure_cine(chromium: Browser, url: str) -> dict[str, Any]:
    """Play a cine whose frames are all there; return what was shown of it."""
    tab = await chromium.open(f"{url}/view/{ROOM}")
    await tab.evaluate(WATCH)
    await tab.until(VERIFIED)
    await open_picture(tab, NUMBERS[CINE])
    button = f"document.querySelectorAll('#pictures button')[{NUMBERS[CINE]}]"
    await tab.until(
        f"{button}.innerText.includes('verified') && !{button}.innerText.includes('of')"
    )
    await tab.evaluate(WATCH_FRAMES)
    await tab.press("#play")
    await asyncio.sleep(CINE_S)
    shown = await tab.evaluate("frames")
    await tab.send("Page.close")
    steps = [(int(b[1]) - int(a[1])) % 20 for a, b in pairwise(shown)]
    fps = 1000 * (len(shown) - 1) / (shown[-1][0] - shown[0][0])
    gaps = [b[0] - a[0] for a, b in pairwise(shown)]
    return {
        "frame_ms": CINE_MS,
        "shown_fps": round(fps, 1),
        "left_out": sum(step - 1 for step in steps),
        "longest_ms": round(max(gaps), 1),
    }


def page_bytes() -> dict[str, int]:
    """Return what the page weighs as it is sent, and what it loads once for previews."""
    files = {path.name: path.read_bytes() for path in page_files()}
    wasm = web_decoder_files()[WASM.name].read_bytes()
    names, left = set(), ["view.html"]
    while left:
        name = left.pop()
        if name not in names:
            names.add(name)
            text = files[name].decode()
            left += re.findall(r'(?:(?:src|href)="/web/|(?:from |new URL\()"\./)([^"]+)"', text)
    listed = [files[name] for name in (*names, EXACT_WASM.name)]
    return {
        "page": sum(len(gzip.compress(data)) for data in listed),
        "decoder_of_previews": len(wasm),
        "model_of_previews": len(web_model(find_bundle(MODEL), stills=True)),
    }


def median(values: list[Any]) -> Any:
    """Return medians of numbers, by key where they have keys."""
    if isinstance(values[0], dict):
        return {key: median([v[key] for v in values if key in v]) for key in values[0]}
    return None if None in values else round(statistics.median(values), 1)


async def run(data: Path, n_runs: int, screenshot: Path | None) -> dict[str, Any]:
    """Measure first and later visits."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(tempfile.mkdtemp(dir=temporary))
        make_mammogram(data / "mr_1024_12bit.dcm", folder / "mammogram.npy")
        for name in set(SOURCES) - {"mammogram"}:
            shutil.copy(data / f"{name}.dcm", folder)
        make_phantom(folder / f"{BEFORE[0]}.npy")
        for name in BEFORE[1:]:
            shutil.copy(data / "ct_512_16bit.dcm", folder / f"{name}.dcm")
        frames = smooth_frames(20, 512, 512)
        put_picture(folder / f"{CINE}.dcm", frames, FrameTime=CINE_MS)
        NUMBERS.update({name: k for k, name in enumerate(sorted([*SOURCES, *BEFORE, CINE]))})
        async with (
            relay(folder) as url,
            thin_front(url, rate_bps=RATE_BPS, delay_us=DELAY_US) as thin_url,
            browser(Path(temporary) / "profile") as chromium,
        ):
            visits = await measure_visits(chromium, url, n_runs + 1)
            cine = await measure_cine(chromium, url)
            say(json.dumps(cine))
            thin_visits = await measure_visits(chromium, thin_url, n_runs + 1)
            if screenshot is not None:
                await take_screenshot(chromium, url, screenshot)
        return {
            "command": "python -m benchmarks.study_page",
            "commit": commit(),
            "hardware": hardware(),
            "versions": versions(),
            "model": MODEL,
            "bytes": page_bytes(),
            "runs": n_runs,
            "first_visit": median(visits[:1]),
            "later_visits": median(visits[1:]),
            "cine": cine,
            "thin_link": {
                "down_bps": RATE_BPS,
                "round_trip_ms": 2 * DELAY_US / 1000,
                "later_visits": summary([visit["pictures"] for visit in thin_visits[1:]]),
            },
        }


async def measure_visits(chromium: Browser, url: str, count: int) -> list[dict[str, Any]]:
    """Visit a relay again and again."""
    visits = []
    for _ in range(count):
        visits.append(await measure_visit(chromium, url))
        say(json.dumps(visits[-1]))
    return visits


async def take_screenshot(chromium: Browser, url: str, path: Path) -> None:
    """Save what the page shows of the picture that is made: the others are not for everybody."""
    tab = await chromium.open(f"{url}/view/{ROOM}")
    await tab.until(VERIFIED)
    with Image.open(io.BytesIO(await tab.screenshot())) as image:
        small = image.convert("RGB").resize((960, 600), Image.Resampling.LANCZOS)
        small.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def make_phantom(path: Path, side: int = 512) -> None:
    """Write a picture of ellipses as a scanner would see a head, 12 bits in an array."""
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    values = np.full((side, side), 100.0)
    for level, x, y, width, height, degrees in ELLIPSES:
        angle = np.radians(degrees)
        along = (columns - x) * np.cos(angle) - (rows + y) * np.sin(angle)
        across = (columns - x) * np.sin(angle) + (rows + y) * np.cos(angle)
        values += level * ((along / width) ** 2 + (across / height) ** 2 <= 1)
    values += np.random.default_rng(1).normal(0, 6, values.shape)
    np.save(path, np.clip(np.round(values), 0, 4095).astype(np.uint16))


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    if CHROMIUM is None:
        print("needs Chromium", file=sys.stderr)
        return 1
    figures = asyncio.run(run(args.data, args.runs, args.screenshot))
    args.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
