"""The neural stream in a tab of headless Chromium: decoded there, frame by frame, as elsewhere."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.bundle import find_bundle
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.loader import ENGINES, open_engine, probe_engine
from rtcodec.quality import picture_psnr, psnr
from rtcodec.types import Planes
from rtcodec.web_decoder import web_decoder_files
from rtcodec.webrtc import LatentFrame
from rtcodec_client.barcode import read_barcode
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import LinkSettings
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig
from support.browser import TIMEOUT_S, Browser, Tab, browser, needs_chromium
from support.coded_track import HEIGHT, WIDTH, CodedTrack, coded_picture
from support.impaired_front import impaired
from support.relay import RelayClient, relay, until

USABLE = [name for name in ENGINES if probe_engine(name).usable]

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not web_decoder_files(), reason="no wasm: clang and lld (.ci/interop)"),
    pytest.mark.skipif(not USABLE, reason="no engine for a trained model is usable here"),
]

CONFIG = ServerConfig(
    port=0, model="n64", engine=USABLE[0] if USABLE else "auto", threads=1, qp=24, psnr="off"
)
FPS = 10
"Two codecs and a browser share the machine: what is tested is not its speed."

TEN_SECONDS = 10 * FPS

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

carriers = pytest.mark.parametrize("carrier", ["vp8", "data"])

WORK = "window.viewer.figures?.work"
SHOWN = f"({WORK}?.shown ?? 0)"

GRAB = """(async () => {
  const text = (bytes) => {
    let made = "";
    for (let at = 0; at < bytes.length; at += 8192)
      made += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(made);
  };
  const { width, height, isComplete, y, u, v } = await viewer.grab();
  const copy = document.createElement("canvas").getContext("2d");
  [copy.canvas.width, copy.canvas.height] = [width, height];
  copy.drawImage(document.querySelector("canvas"), 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  return { width, height, isComplete, planes: [y, u, v].map(text), rgba: text(data) };
})()"""
"The planes of a picture that was decoded, and, a moment later, what the canvas shows."


@asynccontextmanager
async def room(config: ServerConfig = CONFIG) -> AsyncIterator[tuple[RunningServer, RelayClient]]:
    """Run a relay with a trained model."""
    async with running_server(config) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            yield server, client


async def open_viewer(chromium: Browser, url: str, carrier: str) -> Tab:
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


def decode_all(frames: list[LatentFrame]) -> dict[int, Planes]:
    """Decode as the Python watcher does; picture number, as it is drawn into it, to planes."""
    bundle = find_bundle(CONFIG.model)
    engine = open_engine(CONFIG.engine, bundle, threads=1)
    decoder = PictureDecoder(engine, bundle)
    pictures = (decoder.decode(frame.packets) for frame in frames)
    found = {}
    for picture in pictures:
        assert picture.is_complete
        number = read_barcode(picture.planes)
        assert number is not None
        found[number] = picture.planes
    decoder.close()
    engine.close()
    return found


@carriers
async def test_a_tab_shows_what_the_python_watcher_does_and_loses_nothing(
    tmp_path: Path, carrier: str
) -> None:
    async with room() as (server, client), browser(tmp_path) as chromium:
        track = CodedTrack(fps=FPS)
        watch = await client.watch("room")
        await client.publish("room", track)
        tab = await open_viewer(chromium, server.url, carrier)
        await tab.until(f"{SHOWN} >= 10")
        grabbed = [await tab.evaluate(GRAB) for _ in range(8)]
        track.may_go_on.clear()
        work = await all_accounted_for(tab, server)
        assert {work[fate] for fate in ("lost", "undecodable", "malformed")} == {0}
        assert work["keyframes"] == 1  # all others stand on frames that the tab said it holds
        report = sent_to_tab(server)
        # a machine that stands still for a moment may have frames pushed out by newer ones
        assert report["frames_sent"] == work["shown"] + work["dropped"]
        assert report["report_count"] > 0
        assert (report["carrier"], report["pli_count"]) == (carrier, 0)
        assert not await tab.evaluate("told.filter(([name]) => name === 'failed').length")
        assert [c for c in tab.complaints if "favicon" not in c] == []
    by_python = decode_all(watch.frames)
    whole = [one for one in grabbed if one["isComplete"]]
    assert len(whole) >= 4
    for one in whole:
        in_tab = planes_of(one)
        number = read_barcode(in_tab)
        assert number is not None
        source = coded_picture(number)
        wanted = picture_psnr(source, by_python[number])
        assert abs(picture_psnr(source, in_tab).yuv - wanted.yuv) < 0.2
        assert picture_psnr(by_python[number], in_tab).y > 45  # floats differ in the last bits
        on_canvas = luma_of(one)
        shown = read_barcode(Planes(on_canvas, in_tab.u, in_tab.v))
        assert shown is not None
        wanted_y = psnr(coded_picture(shown).y, by_python[shown].y)
        assert abs(psnr(coded_picture(shown).y, on_canvas) - wanted_y) < 0.2


@carriers
async def test_a_tab_goes_on_through_loss_without_key_frames(tmp_path: Path, carrier: str) -> None:
    five = Impairment(loss=0.05, delay_us=10_000)
    async with (
        room() as (server, client),
        impaired(server.url, LinkSettings(up=five, down=five, seed=3)) as (url, front),
        browser(tmp_path) as chromium,
    ):
        track = CodedTrack(fps=FPS)
        await client.publish("room", track)
        tab = await open_viewer(chromium, url, carrier)
        await tab.until(f"{SHOWN} >= 120")
        track.may_go_on.clear()
        work = await all_accounted_for(tab, server, least=0.9)
        assert front.links[0].counters["down_lost"] > 0
        assert work["malformed"] == 0
        assert work["keyframes"] <= 4  # of its own loss, if the first does not come in time
        assert work["shown"] > 0.8 * work["seen"]
        figures = await tab.evaluate("viewer.figures")
        assert figures["lost"] > 0
        if carrier == "vp8":
            assert sent_to_tab(server)["nack_count"] > 0


@carriers
async def test_a_tab_goes_on_after_an_outage_and_after_sleep(tmp_path: Path, carrier: str) -> None:
    nothing = Impairment()
    async with (
        room() as (server, client),
        impaired(server.url, LinkSettings(up=nothing, down=nothing, seed=3)) as (url, front),
        browser(tmp_path) as chromium,
    ):
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await open_viewer(chromium, url, carrier)
        await tab.until(f"{SHOWN} >= 5")
        gone = Impairment(loss=1.0)
        front.links[0].change(up=gone, down=gone)
        await frames_pass(server, TEN_SECONDS)
        await tab.until("viewer.figures.fps === 0")
        front.links[0].change(up=nothing, down=nothing)
        already = await tab.evaluate(SHOWN)
        await tab.until(f"viewer.figures.fps > 0 && {SHOWN} >= {already + 10}")

        await tab.send("Page.setWebLifecycleState", state="frozen")
        await frames_pass(server, TEN_SECONDS)
        await tab.send("Page.setWebLifecycleState", state="active")
        already = await tab.evaluate(SHOWN)
        await tab.until(f"{SHOWN} >= {already + 10}")
        grabbed = await tab.evaluate(GRAB)
        assert read_barcode(planes_of(grabbed)) is not None
        assert not await tab.evaluate("told.filter(([name]) => name === 'failed').length")


@carriers
async def test_a_tab_comes_back_when_the_relay_does(tmp_path: Path, carrier: str) -> None:
    async with browser(tmp_path) as chromium:
        async with room() as (server, client):
            port = int(server.url.rpartition(":")[2])
            await client.publish("room", CodedTrack(fps=FPS))
            tab = await open_viewer(chromium, server.url, carrier)
            await tab.until(f"{SHOWN} >= 3")
        await tab.until("told.some(([name, state]) => state === 'lost' || state === 'waiting')")
        await tab.evaluate("told.splice(0)")
        async with room(replace(CONFIG, port=port)) as (server, client):
            await client.publish("room", CodedTrack(fps=FPS))
            await tab.until("told.some(([name, state]) => state === 'connected')")
            await tab.until(f"{SHOWN} >= 10")
            work = await tab.evaluate(WORK)
            assert work["undecodable"] == 0
            assert server.relay.n_sessions == 2


async def test_the_page_shows_both_and_says_what_it_decodes(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Leaves a screenshot in $TEST_ARTEFACTS, or else beside the profile."""
    artefacts = Path(os.environ.get("TEST_ARTEFACTS", tmp_path))
    async with room() as (server, client), browser(tmp_path / "profile") as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await chromium.open(f"{server.url}/watch/room")
        # it says so and changes to VP8 where this machine is too slow just now
        await tab.press("input[value=neural]")
        numbers = "document.querySelector('#numbers').innerText"
        await tab.until(f"{numbers}.includes('rtcodec, wasm')")
        await tab.until("document.querySelector('#what').innerText.includes('WebAssembly')")
        await tab.until("document.querySelector('#stages').innerText.includes('decode here')")
        assert f"{WIDTH} \u00d7 {HEIGHT}" in await tab.evaluate(numbers)
        await tab.press("input[value=both]")
        await tab.until("/[0-9]/.test(document.querySelector('#right-label').innerText)")
        await tab.until("document.querySelector('video').videoWidth > 0")
        await tab.evaluate(
            "(() => { const s = document.querySelector('#split'); s.value = 25;"
            " s.dispatchEvent(new Event('input')); })()"
        )
        clip = "getComputedStyle(document.querySelector('canvas')).clipPath"
        assert "75%" in await tab.evaluate(clip)
        screenshot = artefacts / "page_watch_both.png"
        screenshot.write_bytes(await tab.screenshot())
        record_property("screenshot", str(screenshot))
        await tab.press("input[value=ordinary]")
        await until(lambda: not server.relay.subscribers_of("room"), timeout_s=TIMEOUT_S)
        await tab.until(f"{numbers}.includes('VP8')")
        assert not tab.complaints


SLOW_DECODER = """
import { createDecoder as create } from "/web/decoder.js";
export async function createDecoder(given) {
  const decoder = await create(given);
  const decode = decoder.decode.bind(decoder);
  decoder.decode = (packets) => {
    for (const untilMs = performance.now() + 250; performance.now() < untilMs; );
    return decode(packets);
  };
  return decoder;
}
"""


async def test_a_machine_that_is_too_slow_gets_vp8_unless_it_insists(tmp_path: Path) -> None:
    nothing = Impairment()
    async with (
        room() as (server, client),
        impaired(server.url, LinkSettings(up=nothing, down=nothing, seed=3)) as (url, front),
        browser(tmp_path) as chromium,
    ):
        worker = web_decoder_files()["worker.js"].read_text().replace("./decoder.js", "./slow.js")
        front.scripts = {"/web/worker.js": worker, "/web/slow.js": SLOW_DECODER}
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await chromium.open(f"{url}/watch/room")
        why = "document.querySelector('#why').innerText"
        await tab.until(f"/decodes [1-4] of [0-9]+ pictures a second/.test({why})")
        await tab.until("document.querySelector('input[value=ordinary]').checked")
        await tab.until("document.querySelector('#numbers').innerText.includes('VP8')")
        await tab.press("input[value=neural]")
        await tab.until(f"{why}.includes('It is late')")
        assert await tab.evaluate("document.querySelector('input[value=neural]').checked")


async def watch_without(chromium: Browser, url: str, lacks: str) -> Tab:
    """Open the watch page in a browser that has never heard of something."""
    tab = await chromium.open("about:blank#")
    script = f"delete globalThis.{lacks}"
    await tab.send("Page.addScriptToEvaluateOnNewDocument", source=script)
    await tab.send("Page.navigate", url=f"{url}/watch/room")
    return tab


async def test_a_browser_that_hands_no_frames_to_pages_gets_messages(tmp_path: Path) -> None:
    async with room() as (server, client), browser(tmp_path) as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await watch_without(chromium, server.url, "RTCRtpScriptTransform")
        numbers = "document.querySelector('#numbers')?.innerText"
        await tab.until(f"{numbers}?.includes('data channel')")
        await tab.press("input[value=neural]")  # where this machine was too slow just now
        await tab.until(f"/kb.s\\s+[1-9]/.test({numbers})")
        await tab.until("document.querySelector('#state').textContent === 'live'")
        assert sent_to_tab(server)["carrier"] == "data"
        assert not tab.complaints


async def test_a_browser_that_cannot_gets_vp8_and_is_told_why(tmp_path: Path) -> None:
    async with relay() as (server, client), browser(tmp_path) as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await watch_without(chromium, server.url, "WebAssembly")
        await tab.until("document.querySelector('#why')?.innerText.includes('this browser')")
        await tab.until("document.querySelector('#state').textContent === 'live'")
        assert await tab.evaluate("document.querySelector('input[value=neural]').disabled")


async def test_a_relay_without_a_model_for_pages_says_so(tmp_path: Path) -> None:
    async with relay() as (server, client), browser(tmp_path) as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await chromium.open(f"{server.url}/watch/room")
        await tab.until("document.querySelector('#why').innerText.includes('stand-in for tests')")
        await tab.until("document.querySelector('#state').textContent === 'live'")
        await tab.until("document.querySelector('#numbers').innerText.includes('VP8')")
        assert not tab.complaints
