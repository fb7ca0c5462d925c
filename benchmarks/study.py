"""
Measure studies over a thin link: first picture, exact and proven, a region, a cut.

    python -m benchmarks.study [--data ../shared/data/dev/medical] [--runs 5] [--output FILE]

A relay of its own (`rtcodec serve --studies`), its pictures prepared before; a viewer in this
process behind the load test's simulated link: 2 Mb/s down, 60 ms there and back, nothing lost but
what overflows a queue of 200 ms. Each run is a session of its own. Times are from the request to
what is named, decoding included: the preview by the engine, coarse steps and proof by the codec of
exact pictures. Of several runs the median and the worst are given.

Bytes are those of all messages of the data channel, beside those of the exact file alone. The
mammogram is made: the largest MR of the folder, seven times as many samples by cubic interpolation,
half of it empty, with noise of a standard deviation of 6 in 12 bits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from rtcodec.bitstream.exact_format import STEPS
from rtcodec.bitstream.exact_index import region_of
from rtcodec.bundle import find_bundle
from rtcodec.codec.exact_files import read_picture
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.console import say
from rtcodec.engine.loader import open_engine
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.connection import RelayConnection
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings, PeerSignalling
from rtcodec_client.study import StudySession
from rtcodec_client.study_store import HeldPicture, StudyStore

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "dev" / "medical"
OUTPUT = Path(__file__).with_suffix(".json")

RATE_BPS: Final = 2_000_000
DELAY_US: Final = 30_000
MODEL: Final = "n64"
ROOM: Final = "demo"
MAMMOGRAM: Final = (3000, 2400)
_PATIENCE_S: Final = 300.0

Condition = Callable[[], object]


@dataclass
class Viewer:
    """One session behind the link."""

    session: StudySession
    decoder: PictureDecoder
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Condition) -> None:
        """Wait until *condition* holds."""
        async with asyncio.timeout(_PATIENCE_S):
            while not condition():
                if self.session.failed.done():
                    self.session.failed.result()
                self.changed.clear()
                await self.changed.wait()

    async def first_ms(self, picture: HeldPicture, began_us: int) -> float:
        """Wait for the first picture; decode it, and return when that was done."""
        await self.until(lambda: picture.preview is not None or _has_steps(picture, 2))
        if picture.preview is not None:
            await asyncio.to_thread(self.decoder.decode, picture.preview.packets)
        else:
            part = picture.part
            assert part is not None
            await asyncio.to_thread(part.coarse, 0, part.steps(0))
        return (monotonic_us() - began_us) / 1000


@asynccontextmanager
async def viewer(url: str, store: StudyStore, decoder: PictureDecoder) -> AsyncIterator[Viewer]:
    """Connect through the link."""
    up = Impairment(delay_us=DELAY_US)
    down = Impairment(delay_us=DELAY_US, rate_bps=RATE_BPS)
    link = await Link.open(LinkSettings(up, down, seed=1), "viewer", loopback_only=True)
    try:
        async with PeerSignalling(
            f"{url}/study/{ROOM}", token=None, link=link, relay_host="127.0.0.1"
        ) as client:
            connection = RelayConnection(client)
            session = StudySession(connection, store)
            one = Viewer(session, decoder)
            session.on_change = lambda _: one.changed.set()
            async with connection.established(asyncio.Event()):
                await session.listed.wait()
                yield one
                await session.close()
    finally:
        link.close()


async def measure_view(url: str, name: str, decoder: PictureDecoder) -> dict[str, Any]:
    """Ask for a picture, all of it, the preview first."""
    store = StudyStore()
    async with viewer(url, store, decoder) as one:
        picture = one.session.pictures[NUMBERS[name]]
        before = store.received_bytes
        began_us = monotonic_us()
        one.session.request(picture, preview=True)
        first_ms = await one.first_ms(picture, began_us)
        coarse_ms = {}
        for steps in range(2, STEPS):
            await one.until(partial(_has_steps, picture, steps))
            coarse_ms[f"1/{1 << (STEPS - steps)}"] = (monotonic_us() - began_us) / 1000
        await one.until(partial(_has_steps, picture, STEPS))
        within_ms = (monotonic_us() - began_us) / 1000
        await one.until(lambda: picture.is_settled)
        exact_ms = (monotonic_us() - began_us) / 1000
        assert picture.is_verified, picture.claim
        part = picture.part
        assert part is not None
        await one.until(lambda: part.held.size_bytes == part.size_bytes)
        received = store.received_bytes - before
        preview = picture.preview
        return {
            "first_ms": first_ms,
            "coarse_ms": coarse_ms,
            "within": picture.about["within"],
            "within_ms": within_ms,  # all but proven, where nothing is on the way to exact
            "proven_ms": exact_ms,
            "preview_bytes": 0 if preview is None else sum(map(len, preview.packets)),
            "exact_bytes": part.size_bytes,
            "received_bytes": received,
            "above_exact": received / part.size_bytes - 1,
        }


def _has_steps(picture: HeldPicture, steps: int) -> bool:
    return picture.part is not None and picture.part.steps(0) >= steps


async def measure_region(
    url: str, name: str, box: tuple[int, int, int, int], decoder: PictureDecoder
) -> dict[str, Any]:
    """Ask for all, and for a region once there is something to see."""
    store = StudyStore()
    async with viewer(url, store, decoder) as one:
        picture = one.session.pictures[NUMBERS[name]]
        before = store.received_bytes
        whole_us = monotonic_us()
        one.session.request(picture, preview=True)
        await one.first_ms(picture, whole_us)
        began_us = monotonic_us()
        one.session.request(picture, priority=0, region=box)

        def is_there() -> bool:
            part = picture.part
            header = None if part is None else part.header()
            if part is None or header is None:
                return False
            return part.steps(0, region_of(header, *box)) == header.steps

        await one.until(is_there)
        region_ms = (monotonic_us() - began_us) / 1000
        received = store.received_bytes - before
        size = picture.about["bytes"]
        return {
            "region": box,
            "region_ms": region_ms,
            "received_bytes": received,
            "share": received / size,
        }


async def measure_cut(url: str, name: str, decoder: PictureDecoder) -> dict[str, Any]:
    """Cut the connection halfway, and go on with another."""
    store = StudyStore()
    async with viewer(url, store, decoder) as one:
        picture = one.session.pictures[NUMBERS[name]]
        one.session.request(picture)
        half = picture.about["bytes"] // 2
        await one.until(lambda: picture.part and picture.part.held.size_bytes >= half)
    part = picture.part
    assert part is not None
    held = part.held.size_bytes
    before = store.received_bytes
    async with viewer(url, store, decoder) as one:
        began_us = monotonic_us()
        one.session.request(picture)
        await one.until(lambda: picture.is_settled)
        assert picture.is_verified, picture.claim
        assert picture.part is part
        await one.until(lambda: part.held.size_bytes == part.size_bytes)
        return {
            "held_bytes": held,
            "missing_bytes": part.size_bytes - held,
            "received_bytes": store.received_bytes - before,
            "repeated_bytes": part.repeated_bytes,
            "rest_ms": (monotonic_us() - began_us) / 1000,
        }


def make_mammogram(source: Path, target: Path) -> None:
    """Write a large picture made of a smaller one, 12 bits in an array."""
    picture = read_picture(source, keep_identity=False, allow_burned_in=False)
    small = picture.frames[0][..., 0].astype(np.float32)
    height, width = MAMMOGRAM
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    large = np.asarray(image, np.float32) * (4095 / max(float(small.max()), 1.0))
    rng = np.random.default_rng(1)
    large += rng.normal(0, 6, large.shape).astype(np.float32)
    rows, columns = np.ogrid[:height, :width]
    outside = (rows / height - 0.5) ** 2 / 0.2 + (columns / width) ** 2 / 0.4 > 1
    large[np.broadcast_to(outside, large.shape)] = 0
    np.save(target, np.clip(np.round(large), 0, 4095).astype(np.uint16))


NUMBERS: dict[str, int] = {}
"Name of a picture to its number in the room: by the order of paths."


@asynccontextmanager
async def relay(folder: Path) -> AsyncIterator[str]:
    """Run a relay of the pictures in a folder, until all are prepared."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder.with_suffix(".toml")
    config.write_text(f'[studies]\nmodel = "{MODEL}"\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rtcodec.cli", "serve", "--port", str(port), "--engine", "null",
        "--config", str(config), "--studies", str(folder),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        await prepared(url)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def prepared(url: str) -> None:
    """Wait until the relay has prepared everything."""
    import aiohttp

    async with asyncio.timeout(_PATIENCE_S), aiohttp.ClientSession() as http:
        while True:
            await asyncio.sleep(0.5)
            try:
                async with http.get(f"{url}/metrics") as response:
                    text = await response.text()
            except aiohttp.ClientError:
                continue
            states = {
                line.split('"')[1]: float(line.split()[-1])
                for line in text.splitlines()
                if line.startswith("rtcodec_study_pictures{")
            }
            if states.get("ready") == len(NUMBERS):
                return


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure, and of times the worst too."""
    out: dict[str, Any] = {}
    for key, value in runs[0].items():
        values = [run[key] for run in runs]
        if isinstance(value, dict):
            out[key] = summary(values)
        elif isinstance(value, float):
            out[key] = round(statistics.median(values), 4 if abs(value) < 2 else 1)
            if key.endswith("_ms"):
                out[f"{key}_worst"] = round(max(values), 1)
        else:
            out[key] = statistics.median(values) if isinstance(value, int) else value
    return out


async def run(data: Path, n_runs: int) -> dict[str, Any]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(tempfile.mkdtemp(dir=temporary))
        sources = ("ct_512_16bit", "mr_1024_12bit", "mr_10frames_64x64_12bit")
        for name in sources:
            shutil.copy(data / f"{name}.dcm", folder)
        make_mammogram(data / "mr_1024_12bit.dcm", folder / "mammogram.npy")
        NUMBERS.update({name: k for k, name in enumerate(sorted([*sources, "mammogram"]))})
        bundle = find_bundle(MODEL)
        engine = open_engine("auto", bundle)
        decoder = PictureDecoder(engine, bundle)
        figures: dict[str, Any] = {}
        async with relay(folder) as url:
            for name in NUMBERS:
                await measure_view(url, name, decoder)  # sizes that the engine gets ready for
                views = [await measure_view(url, name, decoder) for _ in range(n_runs)]
                figures[name] = {"view": summary(views)}
                say(f"{name}: {json.dumps(figures[name]['view'])}")
            for name, box in (
                ("mammogram", (560, 1300, 300, 300)),
                ("mr_1024_12bit", (530, 530, 200, 200)),
            ):
                regions = [await measure_region(url, name, box, decoder) for _ in range(n_runs)]
                figures[name]["region"] = summary(regions)
                say(f"{name}: {json.dumps(figures[name]['region'])}")
            for name in ("ct_512_16bit", "mr_1024_12bit"):
                cuts = [await measure_cut(url, name, decoder) for _ in range(n_runs)]
                figures[name]["cut"] = summary(cuts)
                say(f"{name}: {json.dumps(figures[name]['cut'])}")
        decoder.close()
        engine.close()
        return {
            "command": "python -m benchmarks.study",
            "machine": hardware(),
            "versions": versions(),
            "link": {"down_bps": RATE_BPS, "round_trip_ms": 2 * DELAY_US / 1000},
            "model": MODEL,
            "runs": n_runs,
            "pictures": figures,
        }


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    figures = asyncio.run(run(args.data, args.runs))
    args.output.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
