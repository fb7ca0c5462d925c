"""The relay's own pages in headless Chromium: publish, watch, the dashboard."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rtcodec.session.lobby import Limits
from rtcodec_server.app import running_server
from rtcodec_server.config import ServerConfig
from support.browser import TIMEOUT_S, Browser, Tab, browser, needs_chromium
from support.ordinary import WaveTrack
from support.relay import KEYS, MovingTrack, relay, token_for, until
from support.workers import crew

pytestmark = needs_chromium

STATE = "document.querySelector('#state').textContent"
GRAFANA = "https://grafana.example.org/d/rtcodec?var-instance=a"
SIZE = "640 \u00d7 360"
OVER = "document.querySelector('#over').innerText"
MESSAGE = "document.querySelector('#message').innerText"

PICTURE = """(() => {
  const video = document.querySelector("video"), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const green = [...data].filter((_, index) => index % 4 === 1);
  return { width: canvas.width, height: canvas.height, green };
})()"""
"What a video element shows: size, and its green."


async def picture(tab: Tab) -> np.ndarray:
    """Return the green of what a tab's video shows, [H, W]."""
    shown = await tab.evaluate(PICTURE)
    return np.array(shown["green"], np.uint8).reshape(shown["height"], shown["width"])


async def publish(tab: Tab) -> None:
    await tab.press("#toggle")
    await tab.until(f"{STATE} === 'publishing'")


@asynccontextmanager
async def relay_url(n_workers: int, folder: Path) -> AsyncIterator[str]:
    """A relay of one process, or of several."""
    if n_workers == 1:
        async with relay(qp=10, grafana_url=GRAFANA) as (server, _):
            yield server.url
    else:
        config = folder / "relay.toml"
        config.write_text(f'qp = 10\nworkers = {n_workers}\ngrafana_url = "{GRAFANA}"\n')
        async with crew("--config", str(config)) as several:
            yield several.url


@pytest.mark.parametrize("n_workers", [1, 2])
async def test_a_tab_publishes_another_watches_and_the_dashboard_shows_it(
    tmp_path: Path, n_workers: int, record_property: Callable[[str, object], None]
) -> None:
    """Leaves screenshots in $TEST_ARTEFACTS, or else beside the profile."""
    artefacts = Path(os.environ.get("TEST_ARTEFACTS", tmp_path))
    async with relay_url(n_workers, tmp_path) as url, browser(tmp_path / "profile") as chromium:
        publisher = await chromium.open(f"{url}/publish/studio")
        await publish(publisher)
        watcher = await chromium.open(f"{url}/watch/studio")
        await watcher.until(f"{STATE} === 'live'")
        first = await picture(watcher)
        await watcher.until("document.querySelector('video').currentTime > 2")
        # the fake camera draws a bright part of a disc, growing, on a darker ground
        second = await picture(watcher)
        assert first.shape == second.shape == (360, 640)
        assert np.ptp(second) > 60
        assert 80 < second.mean() < 220
        assert (np.abs(first.astype(int) - second.astype(int)) > 40).mean() > 0.001
        numbers = await watcher.until("document.querySelector('#numbers').innerText")
        assert SIZE in numbers
        assert "VP8" in numbers or "H264" in numbers
        await publisher.until(f"document.querySelector('#tiles').innerText.includes('{SIZE}')")

        dashboard = await chromium.open(url)
        row = await dashboard.until("document.querySelector('#rooms tr')?.innerText")
        assert "studio" in row
        await dashboard.until(f"document.querySelector('#rooms tr').innerText.includes('{SIZE}')")
        await dashboard.until("document.querySelectorAll('#charts path').length >= 3")
        await dashboard.until("document.querySelector('#people').rows.length === 2")
        assert await dashboard.evaluate("document.querySelector('#grafana').href") == GRAFANA
        assert await dashboard.evaluate("document.querySelector('#grafana').checkVisibility()")
        if n_workers > 1:
            await dashboard.until("document.querySelector('#processes').innerText.includes('up')")
        for name, tab in (("publish", publisher), ("watch", watcher), ("dashboard", dashboard)):
            screenshot = artefacts / f"page_{name}_{n_workers}.png"
            screenshot.write_bytes(await tab.screenshot())
            record_property("screenshot", str(screenshot))
            assert Image.open(BytesIO(screenshot.read_bytes())).size == (1280, 800)

        await publisher.press("#toggle")
        await publisher.until(f"{STATE} === 'not publishing'")
        await watcher.until(f"{OVER}.includes('stands still')")
        await publish(publisher)
        await watcher.until(f"{STATE} === 'live'")
        for tab in (publisher, watcher, dashboard):
            assert not tab.complaints


LATE_LEAVING = """(() => {
  const send = fetch;
  window.fetch = async (url, options) => {
    if (options?.method !== "DELETE") return send(url, options);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const answer = await send(url, options);
    window.left = answer.status;
    return answer;
  };
})()"""


async def test_a_page_hangs_up_after_it_has_left(tmp_path: Path) -> None:
    """A relay that sees a connection closed forgets its session: too late to leave it then."""
    async with relay() as (server, _), browser(tmp_path) as chromium:
        tab = await chromium.open(f"{server.url}/publish/room")
        await publish(tab)
        await tab.evaluate(LATE_LEAVING)
        await tab.press("#toggle")
        assert await tab.until("window.left") == 200
        await tab.until(f"{STATE} === 'not publishing'")
        assert not tab.complaints


async def test_who_watches_early_waits_and_is_told_so(tmp_path: Path) -> None:
    async with relay() as (server, client), browser(tmp_path) as chromium:
        watcher = await chromium.open(f"{server.url}/watch/room")
        await watcher.until(f"{OVER}.includes('Nobody publishes here yet')")
        await client.publish("room", WaveTrack(320, 240))
        await watcher.until(f"{STATE} === 'live'")
        assert (await picture(watcher)).shape == (240, 320)
        assert not watcher.complaints


async def test_a_token_is_asked_for_and_a_wrong_one_refused_in_words(tmp_path: Path) -> None:
    async with (
        relay(keys=KEYS, token=token_for(publish=True)) as (server, client),
        browser(tmp_path) as chromium,
    ):
        await client.publish("room", WaveTrack(320, 240))
        watcher = await chromium.open(f"{server.url}/watch/room")
        await watcher.until(f"{MESSAGE}.includes('A token is needed')")
        await enter_token(watcher, token_for("other", subscribe=True))
        await watcher.until(f"{MESSAGE}.includes('does not allow to watch room room')")
        await enter_token(watcher, token_for("room", subscribe=True))
        await watcher.until(f"{STATE} === 'live'")
        await watcher.until("document.querySelector('#relay-note').innerText.includes('tokens')")

        forged = await chromium.open(f"{server.url}/publish/another#token=no.such.token")
        assert await forged.evaluate("location.href") == f"{server.url}/publish/another"
        await forged.press("#toggle")
        await forged.until(f"{MESSAGE}.includes('The token was refused')")
        assert await forged.evaluate("document.querySelector('video').srcObject") is None

        good = token_for("another", publish=True)
        allowed = await chromium.open(f"{server.url}/publish/another#token={good}")
        assert good not in await allowed.evaluate("location.href")
        await publish(allowed)

        dashboard = await chromium.open(server.url)
        await dashboard.until("!document.querySelector('#ask').hidden")
        assert await dashboard.evaluate("document.querySelector('#rooms-card').hidden")
        await enter_token(dashboard, token_for(admin=True))
        await dashboard.until("document.querySelector('#rooms').rows.length === 2")
        await dashboard.until("!document.querySelector('#load-card').hidden")
        assert await dashboard.evaluate("document.querySelector('#grafana').hidden")


async def enter_token(tab: Tab, token: str) -> None:
    await tab.evaluate(f"document.querySelector('#token').value = '{token}'")
    await tab.press("#token-form button")


async def test_a_taken_room_and_a_full_relay_are_said(tmp_path: Path) -> None:
    limits = Limits(max_rooms=1, retry_after_s=30)
    async with relay(limits=limits) as (server, client), browser(tmp_path) as chromium:
        await client.publish("room", MovingTrack())
        taken = await chromium.open(f"{server.url}/publish/room")
        await taken.press("#toggle")
        await taken.until(f"{MESSAGE}.includes('The room is taken')")
        full = await chromium.open(f"{server.url}/publish/another")
        await full.press("#toggle")
        await full.until(f"{MESSAGE}.includes('1 rooms')")
        await full.until(f"{MESSAGE}.includes('Trying again in 30 s')")


async def test_a_file_is_published_and_goes_on_past_its_end(tmp_path: Path) -> None:
    clip = tmp_path / "clip.webm"
    write_clip(clip, n_frames=15)
    async with relay() as (server, client), browser(tmp_path / "profile") as chromium:
        watch = await client.watch("room")
        tab = await chromium.open(f"{server.url}/publish/room")
        await tab.press("input[value=file]")
        await tab.press("#toggle")
        await tab.until(f"{MESSAGE}.includes('No file was chosen')")
        await tab.give_file("#file", clip)
        await publish(tab)
        await until(lambda: len(watch.frames) > 30, timeout_s=TIMEOUT_S)
        assert not tab.complaints


def write_clip(path: Path, *, n_frames: int) -> None:
    """Write a moving gradient as a video that a browser plays."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=30, options={"deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(n_frames):
            planes = np.full((360, 320), 128, np.uint8)
            planes[:240] = (np.add.outer(np.arange(240), np.arange(320)) + 4 * index) % 200
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


WANTED = """(() => {
  const { setParameters } = RTCRtpSender.prototype;
  RTCRtpSender.prototype.setParameters = function (parameters) {
    window.wanted = parameters.encodings[0];
    return setParameters.call(this, parameters);
  };
})()"""
"Keeps what the page last asked of its sender."


async def test_size_and_rate_are_changed_while_a_camera_is_published(tmp_path: Path) -> None:
    async with relay() as (server, client), browser(tmp_path) as chromium:
        watch = await client.watch("room")
        tab = await chromium.open(f"{server.url}/publish/room")
        await tab.evaluate(WANTED)
        await publish(tab)
        tiles = "document.querySelector('#tiles').innerText"
        await tab.until(f"{tiles}.includes('{SIZE}')")
        assert await tab.evaluate("document.querySelector('#preview').videoWidth") == 640
        for field, value in (("height", "180"), ("bitrate", "300")):
            await tab.evaluate(
                f"(() => {{ const field = document.querySelector('#{field}');"
                f" field.value = '{value}';"
                " field.dispatchEvent(new Event('change', { bubbles: true })); })()"
            )
        await tab.until("window.wanted?.maxBitrate === 300_000")
        await tab.until(f"{tiles}.includes('320 \u00d7 180')")
        already = len(watch.frames)
        await until(lambda: len(watch.frames) >= already + 10, timeout_s=TIMEOUT_S)
        assert not tab.complaints


async def test_a_screen_is_published(tmp_path: Path) -> None:
    async with relay() as (server, client), browser(tmp_path) as chromium:
        watch = await client.watch("room")
        tab = await chromium.open(f"{server.url}/publish/room")
        await tab.press("input[value=screen]")
        await publish(tab)
        await tab.until("document.querySelector('#preview').videoWidth > 0")
        await until(lambda: len(watch.frames) >= 3, timeout_s=TIMEOUT_S)
        assert not tab.complaints


async def test_a_refused_camera_is_explained(tmp_path: Path) -> None:
    async with relay() as (server, _), browser(tmp_path, "--deny-permission-prompts") as chromium:
        tab = await chromium.open(f"{server.url}/publish/room")
        await tab.press("#toggle")
        await tab.until(f"{MESSAGE}.includes('The camera was refused')")
        assert await tab.evaluate(STATE) == "not publishing"
        assert not tab.complaints


async def test_both_pages_come_back_by_themselves_when_the_relay_does(tmp_path: Path) -> None:
    async with browser(tmp_path) as chromium:
        port, tabs = await open_both(chromium)
        config = ServerConfig(port=port, engine="null")
        for tab, state in tabs:
            await tab.until(f"{STATE} === 'reconnecting'")
            assert state
        async with running_server(config) as server:
            await server.ready
            for tab, state in tabs:
                await tab.until(f"{STATE} === '{state}'")


async def open_both(chromium: Browser) -> tuple[int, tuple[tuple[Tab, str], ...]]:
    """Publish and watch at a relay, which ends; return its port, and tabs with their states."""
    async with relay() as (server, _):
        publisher = await chromium.open(f"{server.url}/publish/room")
        await publish(publisher)
        watcher = await chromium.open(f"{server.url}/watch/room")
        await watcher.until(f"{STATE} === 'live'")
        port = int(server.url.rpartition(":")[2])
        return port, ((publisher, "publishing"), (watcher, "live"))
