"""Headless Chromium publishes its fake camera over WHIP, and watches what is made for it."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.null import NullEngine
from support.browser import TIMEOUT_S, chromium, needs_chromium
from support.ordinary import WaveTrack, best_psnr_db
from support.relay import relay, until

N_FRAMES = 20

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


VIEWER = """<!doctype html><body style="margin:0"><video autoplay muted playsinline></video><script>
(async () => {
  const video = document.querySelector("video");
  const peer = new RTCPeerConnection();
  const transceiver = peer.addTransceiver("video", {direction: "recvonly"});
  const known = RTCRtpReceiver.getCapabilities("video").codecs;
  transceiver.setCodecPreferences(known.filter(codec => codec.mimeType === "video/%(codec)s"
    || codec.mimeType === "video/rtx"));
  peer.ontrack = event => { video.srcObject = new MediaStream([event.track]); };
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== "complete") await new Promise(r => setTimeout(r, 50));
  const answer = await fetch("%(url)s", {method: "POST", body: peer.localDescription.sdp,
    headers: {"Content-Type": "application/sdp"}});
  if (answer.status !== 201) throw Error(answer.status + " " + await answer.text());
  await peer.setRemoteDescription({type: "answer", sdp: await answer.text()});
  while (true) {
    await new Promise(r => setTimeout(r, 200));
    const seen = {time: video.currentTime, width: video.videoWidth, height: video.videoHeight};
    for (const entry of (await peer.getStats()).values())
      if (entry.type === "inbound-rtp") seen.decoded = entry.framesDecoded;
    await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
    if (!seen.width || seen.decoded < 30) continue;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [seen.width, seen.height];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const png = await new Promise(r => canvas.toBlob(r));
    await fetch("/picture", {method: "POST", body: png});
  }
})().catch(error => fetch("/failed", {method: "POST", body: String(error)}));
</script>"""


@dataclass
class Told:
    """What a page told its site."""

    failures: list[str] = field(default_factory=list)
    seen: list[dict[str, float]] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def site(text: str) -> AsyncIterator[tuple[str, Told]]:
    """Serve a page; yield its address and what it tells."""
    told = Told()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    async def failed(request: web.Request) -> web.Response:
        told.failures.append(await request.text())
        return web.Response()

    async def seen(request: web.Request) -> web.Response:
        told.seen.append(json.loads(await request.text()))
        return web.Response()

    async def picture(request: web.Request) -> web.Response:
        told.pictures.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_post("/failed", failed)
    app.router.add_post("/seen", seen)
    app.router.add_post("/picture", picture)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", told
    finally:
        await runner.cleanup()


@needs_chromium
@pytest.mark.parametrize("audio", [False, True])
async def test_a_browser_publishes_its_camera(tmp_path: Path, audio: bool) -> None:
    engine = NullEngine()
    decoder = PictureDecoder(engine, engine.bundle)
    async with relay() as (server, client):
        watch = await client.watch("room")
        page = PAGE % {"url": f"{server.url}/whip/room", "audio": str(audio).lower()}
        async with (
            site(page) as (url, told),
            chromium(url, tmp_path),
        ):
            await until(lambda: len(watch.frames) >= N_FRAMES or told.failures, timeout_s=TIMEOUT_S)
        assert not told.failures
        decoded = decoder.decode(watch.frames[-1].packets)
    assert decoded.planes.width * 3 == decoded.planes.height * 4
    assert int(decoded.planes.y.max()) - int(decoded.planes.y.min()) > 50


@needs_chromium
@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_browser_watches_what_is_transcoded_for_it(
    tmp_path: Path, codec: str, record_property: Callable[[str, object], None]
) -> None:
    """Leaves what the browser showed in $TEST_ARTEFACTS, or else beside its profile."""
    async with relay(qp=0) as (server, client):
        await client.publish("room", WaveTrack(320, 240))
        page = VIEWER % {"url": f"{server.url}/whep/room", "codec": codec}
        async with site(page) as (url, told), chromium(url, tmp_path / "profile"):
            await until(lambda: len(told.pictures) >= 2 or told.failures, timeout_s=TIMEOUT_S)
    assert not told.failures
    first, last = (next(s for s in order if s["width"]) for order in (told.seen, told.seen[::-1]))
    assert (last["width"], last["height"]) == (320, 240)
    assert last["time"] > first["time"] > 0
    screenshot = Path(os.environ.get("TEST_ARTEFACTS", tmp_path)) / f"viewer_{codec}.png"
    screenshot.write_bytes(told.pictures[-1])
    record_property("screenshot", str(screenshot))
    rgb = np.asarray(Image.open(BytesIO(told.pictures[-1])).convert("RGB"), np.float64)
    luma = 16 + rgb.mean(axis=2) * 219 / 255  # grey, which the browser took for limited range
    assert best_psnr_db(luma.round().astype(np.uint8)) > 25
