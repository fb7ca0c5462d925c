"""A real clip through a camera of headless Chromium, the relay and a tab; every frame counted."""

import os
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest

from rtcodec.media.reader import MediaReader
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.types import Planes
from rtcodec_client.barcode import draw_barcode
from support.browser import TIMEOUT_S, browser
from support.coded_track import coded_picture
from support.relay import until
from support.tab_viewer import (
    GRAB,
    SHOWN,
    all_accounted_for,
    check_pictures,
    decode_all,
    needs_tab,
    open_viewer,
    room,
    sent_to_tab,
)

DATA = Path(__file__).parents[3] / "shared" / "data" / "dev" / "video"
CLIP = DATA / "talking_head_studio2_640x360_100f.mkv"
FPS = 10
"Three codecs and a browser share the machine."

N_FRAMES = 80

pytestmark = needs_tab


def pictures(source: str) -> list[Planes]:
    """Return what the camera shows, over and over; each says its number."""
    if source == "drawn":
        return [coded_picture(number) for number in range(N_FRAMES)]
    with MediaReader(CLIP) as reader:
        frames = islice(reader.frames(), N_FRAMES)
        return [draw_barcode(planes, number) for number, (_, planes) in enumerate(frames)]


def write_camera(path: Path, frames: list[Planes]) -> None:
    """Write what Chromium's fake camera reads."""
    height, width = frames[0].y.shape
    with open_writer(path, MediaFormat(width, height, Fraction(1, FPS), Fraction(FPS))) as writer:
        for number, planes in enumerate(frames):
            writer.write(number, planes)
        writer.commit()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            "real",
            marks=pytest.mark.skipif(not CLIP.is_file(), reason=f"no {CLIP.name} in shared/data"),
        ),
        pytest.param(
            "drawn", marks=pytest.mark.skipif(CLIP.is_file(), reason="the real clip is there")
        ),
    ],
)
async def test_what_a_camera_sees_is_on_the_canvas_of_a_tab(
    tmp_path: Path, source: str, record_property: Callable[[str, object], None]
) -> None:
    """Leaves a screenshot in $TEST_ARTEFACTS, or else beside the profile."""
    artefacts = Path(os.environ.get("TEST_ARTEFACTS", tmp_path))
    frames = pictures(source)
    write_camera(tmp_path / "camera.y4m", frames)
    options = (
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}",
    )
    async with room() as (server, client), browser(tmp_path / "profile", *options) as chromium:
        watch = await client.watch("room")
        publisher = await chromium.open(f"{server.url}/publish/room")
        await publisher.evaluate("document.querySelector('#bitrate').value = '3000'")
        await publisher.press("#toggle")
        await publisher.until("document.querySelector('#state').textContent === 'publishing'")
        tab = await open_viewer(chromium, server.url)
        await tab.until(f"{SHOWN} >= 30")
        grabbed = [await tab.evaluate(GRAB) for _ in range(8)]
        screenshot = artefacts / f"page_camera_{source}.png"
        screenshot.write_bytes(await tab.screenshot())
        record_property("screenshot", str(screenshot))
        counted = server.relay.stats.frames
        await publisher.press("#toggle")
        await publisher.until("document.querySelector('#state').textContent === 'not publishing'")
        await until(lambda: counted.in_flight == 0, timeout_s=TIMEOUT_S)
        work = await all_accounted_for(tab, server)
        assert counted.received == counted.encoded + sum(counted.dropped.values())
        assert work["seen"] == sent_to_tab(server)["frames_sent"]
        assert work["lost"] == work["malformed"] == 0
        assert work["shown"] + work["dropped"] + work["undecodable"] == work["seen"]
        assert work["undecodable"] <= 2  # coded when it came, before its key frame
        assert not publisher.complaints
    height, width = frames[0].y.shape
    whole_size = [one for one in grabbed if (one["width"], one["height"]) == (width, height)]
    by_python = {picture.frame_number: picture.planes for picture in decode_all(watch.frames)}
    found = check_pictures(whole_size, by_python, frames.__getitem__)
    record_property("psnr_db", found)
    assert len(found["tab"]) >= 4
