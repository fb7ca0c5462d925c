"""
Take the picture of the pages that docs/pages.md shows: best where nothing else runs.

    python -m benchmarks.pages CLIP [--output docs/pages.png] [--dark]

In headless Chromium: a relay with `n64`, a publisher that loops the clip, the watch page side by
side and the dashboard below it, as they are after a while.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks._commands import start
from rtcodec_server.app import running_server
from rtcodec_server.config import ServerConfig

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from support.browser import CHROMIUM, Tab, browser  # noqa: E402 - driven as tests do

WIDTH_PX = 1280
WATCH_PX, DASHBOARD_PX = 1056, 604
SHOWN_PX = 900
WATCHED_S = 60
"Until charts have something to show."


async def main() -> int:
    """Take it and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("clip", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "pages.png")
    parser.add_argument("--dark", action="store_true", help="as who prefers dark pages sees them")
    args = parser.parse_args()
    if CHROMIUM is None:
        print("needs Chromium (.ci/interop)", file=sys.stderr)
        return 1
    picture = await take(args.clip, "dark" if args.dark else "light")
    picture.save(args.output, optimize=True)
    return 0


async def take(clip: Path, scheme: str) -> Image.Image:
    """Return both pages, one above the other."""
    config = ServerConfig(port=0, model="n64", bitrate_kbps=600, threads=1, psnr="auto")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with running_server(config) as server:
            await server.ready
            publisher = await start("publish", f"{server.url}/whip/studio", clip, "--loop")
            try:
                async with browser(Path(folder) / "profile") as chromium:
                    dashboard = await chromium.open(server.url, width=WIDTH_PX, height=DASHBOARD_PX)
                    watch = await chromium.open(
                        f"{server.url}/watch/studio", width=WIDTH_PX, height=WATCH_PX
                    )
                    await watch.press("input[value=both]")
                    await watch.until("document.querySelector('video').videoWidth > 0")
                    await asyncio.sleep(WATCHED_S)
                    return _stacked([await _picture(tab, scheme) for tab in (watch, dashboard)])
            finally:
                publisher.terminate()
                await publisher.wait()


async def _picture(tab: Tab, scheme: str) -> Image.Image:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    await tab.send("Emulation.setEmulatedMedia", features=[feature])
    await tab.send("Emulation.setScrollbarsHidden", hidden=True)
    await asyncio.sleep(1)  # until it was drawn so
    whole = Image.open(io.BytesIO(await tab.screenshot())).convert("RGB")
    height = round(whole.height * SHOWN_PX / whole.width)
    return whole.resize((SHOWN_PX, height), Image.Resampling.LANCZOS)


def _stacked(pictures: list[Image.Image]) -> Image.Image:
    stacked = Image.new("RGB", (SHOWN_PX, sum(picture.height for picture in pictures)))
    top = 0
    for picture in pictures:
        stacked.paste(picture, (0, top))
        top += picture.height
    return stacked


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
