"""The viewer of exact pictures in headless Chromium: full depth, nothing called proven too soon."""

import base64
import json
import os
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactFrame
from rtcodec.entropy.build import EXACT_WASM
from rtcodec.exact.frame import FrameCoder
from rtcodec.exact.plan import plan_picture
from rtcodec.web_decoder import web_decoder_files
from support.browser import Tab, browser, needs_chromium
from support.exact_pictures import file_of
from support.relay import relay
from support.view_page import (
    NUMBERS,
    QUALITY,
    complaints,
    note_what_is_said,
    press_key,
    shown,
    shown_colors,
    windowed,
)

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(
        EXACT_WASM.name not in web_decoder_files(), reason="no wasm: clang and lld (.ci/interop)"
    ),
]

WIDTH, HEIGHT, BITS = 300, 200, 12
TRANSFORM = "document.querySelector('#canvas').style.transform"


def scan(number: int = 0) -> NDArray[np.uint16]:
    """Return a frame of 12 bits whose shades eight bits do not tell apart, [H, W, 1]."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    return (2000 + (rows + 2 * columns + 9 * number) % 128).astype(np.uint16)[..., None]


def exact_file(
    n_frames: int = 1,
    *,
    max_error: int = 0,
    damage: Callable[[ExactFrame], ExactFrame] = lambda coded: coded,
    **display: Any,
) -> bytes:
    """Return a file with what DICOM would say of its display."""
    notes = {"kind": "dicom", "tags": {}, "photometric": "MONOCHROME2", **display}
    frames = [scan(number) for number in range(n_frames)]
    header = plan_picture(
        frames, bits=BITS, signed=False, max_error=max_error,
        notes=zlib.compress(json.dumps(notes).encode()),
    )  # fmt: skip

    def never(*_: object) -> ExactFrame:
        raise AssertionError("it came back otherwise")

    coder = FrameCoder(header)
    coded = [coder.encode(frame, never) for frame in frames]
    return file_of(header, *map(damage, coded))


def shades(frame: NDArray[np.uint16], center: float, width: float) -> NDArray[np.int64]:
    """Return what is shown of stored samples, of which 1000 are taken."""
    return windowed(frame[..., 0].astype(np.float64) - 1000, center, width)


def window(center: float, width: float) -> dict[str, Any]:
    tags = {"00281050": center, "00281051": width, "00281052": -1000.0, "00281053": 1.0}
    return {tag: {"vr": "DS", "Value": [value]} for tag, value in tags.items()}


@asynccontextmanager
async def viewer(folder: Path) -> AsyncIterator[tuple[Tab, Callable[[bytes], Any]]]:
    """Open the page; give what gives it a file."""
    async with relay() as (server, _), browser(folder / "profile") as chromium:
        tab = await chromium.open(f"{server.url}/view")
        n_files = 0

        async def give(data: bytes) -> None:
            nonlocal n_files
            path = folder / f"{(n_files := n_files + 1)}.rtc"
            path.write_bytes(data)
            await tab.give_file("#file", path)

        yield tab, give


async def test_a_scan_is_windowed_at_full_depth_and_called_lossless_once_its_hash_agrees(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Leaves a screenshot in $TEST_ARTEFACTS, or else beside the profile."""
    artefacts = Path(os.environ.get("TEST_ARTEFACTS", tmp_path))
    async with viewer(tmp_path) as (tab, give):
        await give(exact_file(tags=window(1064, 128)))
        await tab.until(f"{QUALITY} === 'lossless, verified'")
        assert "1,064 / 128" in await tab.evaluate(NUMBERS)
        picture = await shown(tab)
        assert np.abs(picture - shades(scan(), 1064, 128)).max() == 0
        assert len(np.unique(picture)) == 128  # of four that eight bits of the whole would leave
        screenshot = artefacts / "page_view.png"
        screenshot.write_bytes(await tab.screenshot())
        record_property("screenshot", str(screenshot))

        await press_key(tab, "i")
        assert np.array_equal(await shown(tab), 255 - picture)
        await press_key(tab, "i")
        await press_key(tab, "d")  # wider by 8 of 256 parts of 128
        assert np.abs(await shown(tab) - shades(scan(), 1064, 132)).max() == 0
        await press_key(tab, "s")
        assert "1,060 / 132" in await tab.evaluate(NUMBERS)
        await press_key(tab, "r")
        assert np.array_equal(await shown(tab), picture)

        before = await tab.evaluate(TRANSFORM)
        for name in ("+", "ArrowLeft"):
            await press_key(tab, name)
        assert await tab.evaluate(TRANSFORM) != before
        await press_key(tab, "0")
        assert await tab.evaluate(TRANSFORM) == before
        assert complaints(tab) == []


async def test_monochrome1_is_inverted_and_what_has_no_window_shows_all(tmp_path: Path) -> None:
    async with viewer(tmp_path) as (tab, give):
        await give(exact_file(photometric="MONOCHROME1", tags=window(1064, 128)))
        await tab.until(f"{QUALITY} === 'lossless, verified'")
        assert np.array_equal(await shown(tab), 255 - shades(scan(), 1064, 128))
        await give(exact_file())
        # the encoder may take the least sample for one that stands for nothing
        its_own = f"/2,06[45] . 12[78]/.test({NUMBERS})"
        await tab.until(f"{QUALITY} === 'lossless, verified' && {its_own}")
        picture = await shown(tab)
        assert (picture.min(), picture.max()) == (0, 255)


def table(entries: NDArray[np.int64], first: int, bits: int) -> tuple[dict[str, Any], ...]:
    """Return descriptor and data of a table, as JSON of DICOM has them."""
    data = base64.b64encode(entries.astype("<u2").tobytes()).decode()
    descriptor = {"vr": "US", "Value": [len(entries), first, bits]}
    return descriptor, {"vr": "OW", "InlineBinary": data}


async def test_tables_and_functions_of_the_file_are_applied(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stored = scan()[..., 0].astype(np.int64)  # 2000 to 2127
    rescaled = window(1064, 128)
    voi = rng.integers(0, 1024, 100)
    descriptor, data = table(voi, 1010, 10)
    item = {"00283002": descriptor, "00283006": data}
    no_window = {tag: rescaled[tag] for tag in ("00281052", "00281053")}
    colors = [rng.integers(0, 65536, 120) for _ in range(3)]
    palette = {}
    for k, entries in enumerate(colors, 1):
        palette[f"0028110{k}"], palette[f"0028120{k}"] = table(entries, 2004, 16)
    async with viewer(tmp_path) as (tab, give):
        await give(exact_file(tags={**no_window, "00283010": {"vr": "SQ", "Value": [item]}}))
        await tab.until(f"{QUALITY} === 'lossless, verified'")
        assert "own table" in await tab.evaluate(NUMBERS)
        expected = voi[np.clip(stored - 1000 - 1010, 0, 99)] * 255 / 1023
        assert np.array_equal(await shown(tab), np.floor(expected + 0.5))
        await press_key(tab, "d")  # a window, in its place
        assert "own table" not in await tab.evaluate(NUMBERS)
        assert not np.array_equal(await shown(tab), np.floor(expected + 0.5))

        sigmoid = {"00281056": {"vr": "CS", "Value": ["SIGMOID"]}}
        await give(exact_file(tags={**rescaled, **sigmoid}))
        await tab.until(f"{QUALITY} === 'lossless, verified' && {NUMBERS}.includes('1,064 / 128')")
        expected = 255 / (1 + np.exp(-4 * (stored - 1000 - 1064) / 128))
        assert np.array_equal(await shown(tab), np.floor(expected + 0.5))

        await give(exact_file(tags=palette, photometric="PALETTE COLOR"))
        await tab.until(f"{QUALITY} === 'lossless, verified' && !{NUMBERS}.includes('center')")
        index = np.clip(stored - 2004, 0, 119)
        expected = np.stack([entries[index] * 255 / 65535 for entries in colors], -1)
        assert np.array_equal(await shown_colors(tab), np.floor(expected + 0.5))
        assert await tab.evaluate("document.querySelector('#window').hidden")


def with_other_checks(coded: ExactFrame) -> ExactFrame:
    return replace(coded, checks=tuple(check ^ 1 for check in coded.checks))


async def test_what_is_not_proven_is_never_called_so(tmp_path: Path) -> None:
    async with viewer(tmp_path) as (tab, give):
        await note_what_is_said(tab)
        await give(exact_file(max_error=2))
        await tab.until(f"{QUALITY} === 'within \u00b12, verified'")
        assert any("level" in text for text in await tab.evaluate("said"))
        await give(exact_file(damage=lambda one: replace(one, digest=bytes(32))))
        await tab.until(f"{QUALITY} === 'damaged: not what was encoded'")
        await give(exact_file(damage=with_other_checks))
        await tab.until("document.querySelector('#message').innerText.includes('is damaged')")
        assert not any("lossless" in text for text in await tab.evaluate("said"))
        await give(exact_file()[:-400])
        await tab.until("document.querySelector('#message').innerText.includes('bytes are needed')")
        await give(b"no picture")
        await tab.until("document.querySelector('#message').innerText.includes('Not an exact')")
        assert not any("lossless" in text for text in await tab.evaluate("said"))
        await give(exact_file())
        await tab.until(f"{QUALITY} === 'lossless, verified'")


async def test_a_cine_goes_round_and_every_frame_is_proven(tmp_path: Path) -> None:
    async with viewer(tmp_path) as (tab, give):
        await give(exact_file(4, tags=window(1064, 128)))
        await tab.until(f"{QUALITY} === 'lossless, verified' && {NUMBERS}.includes('1 of 4')")
        await press_key(tab, ".")
        await tab.until(f"{QUALITY} === 'lossless, verified' && {NUMBERS}.includes('2 of 4')")
        assert np.array_equal(await shown(tab), shades(scan(1), 1064, 128))
        await tab.evaluate(
            "(globalThis.seen = new Set(), new MutationObserver(() => seen.add("
            f"{NUMBERS}.match(/([1-4]) of 4/)?.[1])).observe(document.querySelector('#numbers'),"
            " {childList: true}), 0)"
        )
        await tab.press("#play")
        await tab.until("['1', '2', '3', '4'].every((number) => seen.has(number))")
        await tab.press("#play")
        await tab.until(f"{QUALITY} === 'lossless, verified'")
        assert complaints(tab) == []
