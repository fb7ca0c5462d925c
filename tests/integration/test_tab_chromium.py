"""The neural stream in a tab of headless Chromium: decoded there, frame by frame, as elsewhere."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rtcodec.codec.perceptual_head import PerceptualHead
from rtcodec.quality import picture_psnr
from rtcodec.web_decoder import web_decoder_files
from rtcodec_client.barcode import read_barcode
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import LinkSettings
from support.browser import TIMEOUT_S, Browser, Tab, browser
from support.coded_track import HEIGHT, WIDTH, CodedTrack, coded_picture
from support.impaired_front import impaired
from support.relay import relay, until
from support.tab_viewer import (
    CONFIG,
    GRAB,
    MOMENT_FRAMES,
    SHOWN,
    WORK,
    all_accounted_for,
    check_pictures,
    decode_all,
    frames_pass,
    needs_tab,
    open_viewer,
    planes_of,
    room,
    sent_to_tab,
)

pytestmark = needs_tab

FPS = 10
"Two codecs and a browser share the machine: what is tested is not its speed."

TEN_SECONDS = 10 * FPS

carriers = pytest.mark.parametrize("carrier", ["vp8", "data"])


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
    by_python = {picture.frame_number: picture.planes for picture in decode_all(watch.frames)}
    assert len(check_pictures(grabbed, by_python, coded_picture)["tab"]) >= 4


async def test_a_viewer_changes_heads_while_it_watches(tmp_path: Path) -> None:
    async with room() as (server, client), browser(tmp_path) as chromium:
        watch = await client.watch("room")
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await open_viewer(chromium, server.url)
        await tab.until(f"{SHOWN} >= 5")
        grabbed = []
        for is_perceptual in (True, False, True):
            await tab.evaluate(f"(viewer.isPerceptual = {json.dumps(is_perceptual)})")
            shown = await tab.evaluate(SHOWN)
            await tab.until(f"{SHOWN} >= {shown + 4}")
            grabbed.append((is_perceptual, await tab.evaluate(GRAB)))
        assert not await tab.evaluate("told.filter(([name]) => name === 'failed').length")
    by_python = {picture.frame_number: picture for picture in decode_all(watch.frames)}
    head = PerceptualHead.load()
    for is_perceptual, one in grabbed:
        decoded = by_python[one["frameNumber"]]
        sharper = head.show(decoded.planes, decoded.qps)
        ours, other = (decoded.planes, sharper)[:: -1 if is_perceptual else 1]
        in_tab = planes_of(one)
        assert picture_psnr(ours, in_tab).y > picture_psnr(other, in_tab).y


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
@pytest.mark.usefixtures("first_lost")
async def test_a_tab_that_missed_the_frame_to_start_from_gets_another(
    tmp_path: Path, carrier: str
) -> None:
    async with room() as (server, client), browser(tmp_path) as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await open_viewer(chromium, server.url, carrier)
        await tab.until(f"{SHOWN} >= 5")
        assert 1 <= (await tab.evaluate(WORK))["undecodable"] <= MOMENT_FRAMES


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
        await tab.press("input[value=perceptual]")
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
