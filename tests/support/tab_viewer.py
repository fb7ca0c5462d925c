"""A tab that watches the neural stream, and what a test wants to know of it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from rtcodec.bundle import find_bundle
from rtcodec.codec.picture_decoder import DecodedPicture, PictureDecoder
from rtcodec.engine.loader import ENGINES, open_engine, probe_engine
from rtcodec.quality import picture_psnr, psnr
from rtcodec.types import Planes
from rtcodec.web_decoder import web_decoder_files
from rtcodec.webrtc import LatentFrame
from rtcodec_client.barcode import read_barcode
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from support.browser import TIMEOUT_S, Browser, Tab, needs_chromium
from support.relay import RelayClient, until

USABLE = [name for name in ENGINES if probe_engine(name).usable]
"Engines that run a trained model here."

needs_tab = [
    needs_chromium,
    pytest.mark.skipif(not web_decoder_files(), reason="no wasm: clang and lld (.ci/interop)"),
    pytest.mark.skipif(not USABLE, reason="no engine for a trained model is usable here"),
]
"Marks of a test whose tab decodes."

CONFIG = ServerConfig(
    port=0, model="n64", engine=USABLE[0] if USABLE else "auto", threads=1, qp=24, psnr="off"
)

MOMENT_FRAMES = 10
"""Frames that a decoder may miss until it gets another to start from; one of which nothing is heard
gets one in 30."""

OPEN = """(async (carrier) => {
  const { RtcodecViewer } = await import("/web/viewer.js");
  const canvas = document.createElement("canvas");
  document.body.replaceChildren(canvas);
  window.told = [];
  window.viewer = new RtcodecViewer("/whep/room", canvas, { carrier });
  for (const name of ["state", "failed", "first", "speed"])
    viewer.addEventListener(name, ({ detail }) => told.push([name, detail.state ?? detail]));
  viewer.start();
})"""

WORK = "window.viewer.figures?.work"
SHOWN = f"({WORK}?.shown ?? 0)"

GRAB = """(async () => {
  const text = (bytes) => {
    let made = "";
    for (let at = 0; at < bytes.length; at += 8192)
      made += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(made);
  };
  const { width, height, frameNumber, isComplete, y, u, v } = await viewer.grab();
  const copy = document.createElement("canvas").getContext("2d");
  [copy.canvas.width, copy.canvas.height] = [width, height];
  copy.drawImage(document.querySelector("canvas"), 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  return { width, height, frameNumber, isComplete, planes: [y, u, v].map(text), rgba: text(data) };
})()"""
"The planes of a picture that was decoded, and, a moment later, what the canvas shows."


@asynccontextmanager
async def room(config: ServerConfig = CONFIG) -> AsyncIterator[tuple[RunningServer, RelayClient]]:
    """Run a relay with a trained model."""
    async with running_server(config) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            yield server, client


async def open_viewer(chromium: Browser, url: str, carrier: str = "vp8") -> Tab:
    """Watch by the package alone, on a page that has nothing else."""
    tab = await chromium.open(f"{url}/web/style.css")
    await tab.evaluate(f"({OPEN})('{carrier}')")
    return tab


def plane(text: str, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)


def planes_of(grabbed: dict[str, Any]) -> Planes:
    height, width = grabbed["height"], grabbed["width"]
    y, u, v = grabbed["planes"]
    half = (height // 2, width // 2)
    return Planes(plane(y, height, width), plane(u, *half), plane(v, *half))


def luma_of(grabbed: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the luma of what the canvas shows, BT.601, limited range."""
    data = np.frombuffer(base64.b64decode(grabbed["rgba"]), np.uint8)
    rgb = data.reshape(grabbed["height"], grabbed["width"], 4)[..., :3].astype(np.float64)
    luma = 16 + 219 / 255 * (rgb @ (0.299, 0.587, 0.114))
    return luma.round().astype(np.uint8)


def sent_to_tab(server: RunningServer) -> dict[str, Any]:
    """Return what the relay says of its only subscriber that is a tab."""
    reports = [peer.report() for peer in server.relay.subscribers_of("room")]
    (report,) = (report for report in reports if report["carrier"] != "own")
    return report


async def all_accounted_for(tab: Tab, server: RunningServer, *, least: float = 1.0) -> Any:
    """Wait, while nothing is published, until it is known what became of every frame sent."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            n_sent = sent_to_tab(server)["frames_sent"]
            work = await tab.evaluate(WORK)
            fates = sum(work[fate] for fate in ("shown", "lost", "dropped", "undecodable"))
            if fates == work["seen"] and least * n_sent <= work["seen"] <= n_sent:
                return work
            await asyncio.sleep(0.1)


async def frames_pass(server: RunningServer, n_frames: int) -> None:
    """Wait until so many more frames were there for the tab, whether they were sent or not."""

    def n_passed() -> int:
        report = sent_to_tab(server)
        return int(report["frames_sent"]) + int(report["frames_dropped"])

    end = n_passed() + n_frames
    await until(lambda: n_passed() >= end, timeout_s=TIMEOUT_S)


def decode_all(frames: list[LatentFrame]) -> list[DecodedPicture]:
    """Decode as the Python watcher does."""
    bundle = find_bundle(CONFIG.model)
    engine = open_engine(CONFIG.engine, bundle, threads=1)
    decoder = PictureDecoder(engine, bundle)
    found = [decoder.decode(frame.packets) for frame in frames]
    assert all(picture.is_complete for picture in found)
    decoder.close()
    engine.close()
    return found


def check_pictures(
    grabbed: list[dict[str, Any]],
    by_python: dict[int, Planes],
    source_of: Callable[[int], Planes],
) -> dict[str, list[float]]:
    """
    Hold what a tab decoded, and what its canvas showed, to what Python made of the same frames.

    Args:
        grabbed: As `GRAB` returns it; those that are not whole are left out.
        by_python: What `decode_all` returns, by frame number.
        source_of: Returns the picture that has a number drawn into it.

    Returns:
        PSNR against the source, dB: `tab` and `python` of all planes, `canvas` of luma alone.
    """
    codes = {frame: read_barcode(planes) for frame, planes in by_python.items()}
    found: dict[str, list[float]] = {"tab": [], "python": [], "canvas": []}
    for one in grabbed:
        if not one["isComplete"]:
            continue
        in_tab, decoded = planes_of(one), by_python[one["frameNumber"]]
        number = read_barcode(in_tab)
        assert number is not None
        source = source_of(number)
        wanted = picture_psnr(source, decoded).yuv
        reached = picture_psnr(source, in_tab).yuv
        assert abs(reached - wanted) < 0.2
        assert picture_psnr(decoded, in_tab).y > 45  # floats differ in the last bits
        on_canvas = luma_of(one)
        shown = read_barcode(Planes(on_canvas, in_tab.u, in_tab.v))
        assert shown is not None
        # the frame before or after: a canvas is shown a moment after the worker has drawn it
        same = [frame for frame, code in codes.items() if code == shown]
        nearest = min(same, key=lambda frame: abs(frame - one["frameNumber"]))
        source_y = source_of(shown).y
        canvas_y = psnr(source_y, on_canvas)
        assert abs(canvas_y - psnr(source_y, by_python[nearest].y)) < 0.2
        for name, value in (("tab", reached), ("python", wanted), ("canvas", canvas_y)):
            found[name].append(value)
    return found
