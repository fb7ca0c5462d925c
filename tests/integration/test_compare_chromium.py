"""Neural and VP8 side by side in headless Chromium: at one rate, at nobody else's cost."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.app import RunningServer
from rtcodec_server.edge_config import LegacyConfig
from support.browser import TIMEOUT_S, Tab, browser
from support.coded_track import CodedTrack
from support.ordinary import view
from support.relay import until
from support.tab_viewer import CONFIG, needs_tab, room

pytestmark = needs_tab

FPS = 10
SETTLING_FRAMES = 6 * FPS
MEASURED_FRAMES = 10 * FPS
ROOMY = replace(
    CONFIG,
    admission=AdmissionConfig(limit=0.0, shed=False),
    legacy=LegacyConfig(follow_remb=False),
)
"A machine that does much else would refuse what is tested, and lower what ordinary viewers get."


async def pass_frames(server: RunningServer, n_frames: int) -> None:
    """Wait until so many more frames were compared."""
    end = compared(server)["frames_encoded"] + n_frames
    await until(lambda: compared(server)["frames_encoded"] >= end, timeout_s=2 * TIMEOUT_S)


def compared(server: RunningServer) -> dict[str, Any]:
    return transcoder(server, 0)


def transcoder(server: RunningServer, matched_rung: int | None) -> dict[str, Any]:
    reports = server.relay.rooms[0].audience.report()
    (report,) = (one for one in reports if one["matched_rung"] == matched_rung)
    return report


def sent_bytes(server: RunningServer) -> tuple[int, int]:
    """Return what the tab was sent of latents and, beside them, of VP8."""
    reports = server.relay.occupancy.report_subscribers("room")
    (latents,) = (one["payload_bytes"] for one in reports if "carrier" in one)
    (video,) = (one["payload_bytes"] for one in reports if one.get("matched_rung") == 0)
    return latents, video


async def shown_kbps(tab: Tab, side: str) -> float:
    text = await tab.until(f"document.querySelector('#{side}-label').innerText")
    found = re.search(r"([\d,]+) kb/s", text)
    return float(found[1].replace(",", "")) if found else 0.0


async def test_both_halves_cost_the_same_and_ordinary_viewers_notice_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Leaves a screenshot in $TEST_ARTEFACTS, or else beside the profile."""
    artefacts = Path(os.environ.get("TEST_ARTEFACTS", tmp_path))
    async with room(ROOMY) as (server, client), browser(tmp_path / "profile") as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        ordinary = await view(client, "room", ["VP8"])
        await until(lambda: len(ordinary.frames) >= 5, timeout_s=TIMEOUT_S)
        before = transcoder(server, None)
        tab = await chromium.open(f"{server.url}/watch/room")
        await tab.press("input[value=both]")
        await until(lambda: server.relay.rooms[0].audience.is_compared(0), timeout_s=TIMEOUT_S)
        await pass_frames(server, SETTLING_FRAMES)
        latents, video = sent_bytes(server)
        await pass_frames(server, MEASURED_FRAMES)
        now = sent_bytes(server)
        latents, video = now[0] - latents, now[1] - video
        record_property("bytes", {"latents": latents, "video": video})
        assert video == pytest.approx(latents, rel=0.15)
        on_page = [await shown_kbps(tab, side) for side in ("left", "right")]
        assert min(on_page) > 0
        screenshot = artefacts / "page_watch_compared.png"
        screenshot.write_bytes(await tab.screenshot())
        record_property("screenshot", str(screenshot))

        after = transcoder(server, None)
        assert after["frames_encoded"] > before["frames_encoded"]
        for figure in ("target_kbps", "keyframes", "subscribers"):
            assert after[figure] == before[figure]
        await tab.press("input[value=neural]")
        await until(lambda: not server.relay.rooms[0].audience.is_compared(0), timeout_s=TIMEOUT_S)
        already = len(ordinary.frames)
        await until(lambda: len(ordinary.frames) >= already + 5, timeout_s=TIMEOUT_S)
        assert not tab.complaints


async def test_a_relay_that_has_no_room_for_it_says_so_and_the_neural_half_goes_on(
    tmp_path: Path,
) -> None:
    async with room(ROOMY) as (server, client), browser(tmp_path) as chromium:
        await client.publish("room", CodedTrack(fps=FPS))
        tab = await chromium.open(f"{server.url}/watch/room")
        await tab.press("input[value=neural]")
        await tab.until("document.querySelector('#state').textContent === 'live'")
        server.relay.load.admission.limit = 1e-9  # full
        await tab.press("input[value=both]")
        await tab.until("document.querySelector('#why').innerText.includes('no room')")
        await tab.until("document.querySelector('#state').textContent === 'live'")
        server.relay.load.admission.limit = 0.0
        await tab.until("/[1-9]/.test(document.querySelector('#right-label').innerText)")
        await tab.until("document.querySelector('#why').innerText === ''")
