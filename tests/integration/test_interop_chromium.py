"""Headless Chromium publishes its fake camera to the relay over WHIP."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from rtcodec.engine.null import NullEngine
from rtcodec_client.picture_decoder import PictureDecoder
from support.relay import relay, until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
N_FRAMES = 20
TIMEOUT_S = 90.0

PAGE = """<!doctype html><script>
(async () => {
  const stream = await navigator.mediaDevices.getUserMedia(
    {video: {width: 320, height: 240}, audio: %(audio)s});
  const peer = new RTCPeerConnection();
  for (const track of stream.getTracks()) peer.addTrack(track, stream);
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== "complete") await new Promise(r => setTimeout(r, 50));
  const answer = await fetch("%(url)s", {method: "POST", body: peer.localDescription.sdp,
    headers: {"Content-Type": "application/sdp"}});
  if (answer.status !== 201) throw Error(answer.status + " " + await answer.text());
  await peer.setRemoteDescription({type: "answer", sdp: await answer.text()});
})().catch(error => fetch("/failed", {method: "POST", body: String(error)}));
</script>"""


@asynccontextmanager
async def site(url: str, *, audio: bool) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve the publishing page; yield its address and what went wrong in it."""
    failures: list[str] = []

    async def page(request: web.Request) -> web.Response:
        text = PAGE % {"url": url, "audio": str(audio).lower()}
        return web.Response(text=text, content_type="text/html")

    async def failed(request: web.Request) -> web.Response:
        failures.append(await request.text())
        return web.Response()

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_post("/failed", failed)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", failures
    finally:
        await runner.cleanup()


@asynccontextmanager
async def chromium(url: str, profile: Path) -> AsyncIterator[None]:
    """Open a page in a headless browser with a fake camera and microphone."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--allow-loopback-in-peer-connection",
        "--disable-features=WebRtcHideLocalIpsWithMdns",
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("audio", [False, True])
async def test_a_browser_publishes_its_camera(tmp_path: Path, audio: bool) -> None:
    engine = NullEngine()
    decoder = PictureDecoder(engine, engine.bundle)
    async with relay() as (server, client):
        watch = await client.watch("room")
        async with (
            site(f"{server.url}/whip/room", audio=audio) as (url, failures),
            chromium(url, tmp_path),
        ):
            await until(lambda: len(watch.frames) >= N_FRAMES or failures, timeout_s=TIMEOUT_S)
        assert not failures
        decoded = decoder.decode(watch.frames[-1].packets)
    assert decoded.planes.width * 3 == decoded.planes.height * 4
    assert int(decoded.planes.y.max()) - int(decoded.planes.y.min()) > 50
