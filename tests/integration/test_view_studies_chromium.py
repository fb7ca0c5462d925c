"""Studies of a relay in headless Chromium: a preview, coarse to fine, proof; cuts and damage."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactFrame, FrameKind, place_of
from rtcodec.bitstream.exact_format import STEPS, ExactFormat
from rtcodec.bitstream.exact_index import read_header
from rtcodec.entropy.build import EXACT_WASM
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import Fallback, Samples
from rtcodec.exact.proof import frame_digest
from rtcodec.session.study_message import Data
from rtcodec.session.study_queue import Piece, SendIndex, SendRanges, StudyFile, StudyQueue
from rtcodec.web_decoder import web_decoder_files
from rtcodec_server import study_file, study_peer
from rtcodec_server.app import RunningServer
from rtcodec_server.study_config import StudyConfig
from rtcodec_server.study_library import StudyLibrary
from support.browser import Tab, browser, needs_chromium
from support.exact_pictures import Picture, doppler, file_of, planned_format
from support.relay import KEYS, RelayClient, relay, token_for, until
from support.studies import put_picture, smooth_frames
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

pytest.importorskip("pydicom", reason="the extra medical is not installed")
pytestmark = [
    needs_chromium,
    pytest.mark.skipif(
        EXACT_WASM.name not in web_decoder_files(), reason="no wasm: clang and lld (.ci/interop)"
    ),
]

VERIFIED = f"{QUALITY} === 'lossless, verified'"
STATE = "document.querySelector('#state').textContent"
MESSAGE = "document.querySelector('#message').innerText"
LIST = "document.querySelector('#pictures').innerText"


class Valve:
    """
    Lets so many messages of files out, and none once so many bytes are, over all sessions;
    previews always.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 40
        self.most_bytes = 1 << 40
        self.sent_bytes = 0
        next_piece = StudyQueue.next_piece

        def bounded(queue: StudyQueue, max_bytes: int, *, ahead: bool) -> Piece | None:
            is_open = self.left and self.sent_bytes < self.most_bytes
            piece = next_piece(queue, max_bytes, ahead=ahead) if is_open else None
            if isinstance(piece, SendRanges):
                self.sent_bytes += sum(end - start for start, end in piece.ranges)
            self.left -= isinstance(piece, SendRanges | SendIndex)
            return piece

        monkeypatch.setattr(StudyQueue, "next_piece", bounded)


@asynccontextmanager
async def studies(
    folder: Path, *, keys: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[tuple[RunningServer, RelayClient, StudyLibrary]]:
    """Offer a folder, and wait until what is in it is prepared."""
    config = StudyConfig(directory=folder, **settings)
    async with relay(studies=config, keys=keys or {}) as (server, client):
        library = server.relay.studies
        assert library is not None
        await until(lambda: not (library.states["waiting"] or library.states["preparing"]))
        yield server, client, library


@asynccontextmanager
async def viewer(server: RunningServer, folder: Path, room: str = "demo") -> AsyncIterator[Tab]:
    """Open the page of a room."""
    async with browser(folder / "profile") as chromium:
        tab = await chromium.open(f"{server.url}/view/{room}")
        await note_what_is_said(tab)
        yield tab


def first_file(library: StudyLibrary) -> StudyFile:
    """Return the file of the first picture."""
    instances = library.instances("demo")
    assert instances is not None
    assert instances[0].file is not None
    return instances[0].file


def size_of(library: StudyLibrary) -> int:
    """Return the bytes of that."""
    return len(first_file(library).data)


def shades(frame: NDArray[np.uint16], center: float, width: float) -> NDArray[np.int64]:
    return windowed(frame[..., 0].astype(np.float64), center, width)


async def test_colours_of_a_palette_are_shown_coarse_to_fine_and_have_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    frame = doppler(300, 420)
    np.save(tmp_path / "studies" / "a.npy", frame)
    valve = Valve(monkeypatch)
    async with studies(tmp_path / "studies", model="", within=0) as (server, _, library):
        assert read_header(bytes(first_file(library).data[:]))[0].palette
        valve.most_bytes = size_of(library) // 2
        async with viewer(server, tmp_path) as tab:
            await tab.until(f"{QUALITY}.startsWith('level ')")
            apart = np.abs(await shown_colors(tab) - frame)
            assert 0 < apart.mean() < 20
            valve.most_bytes = 1 << 40
            await press_key(tab, "+")  # another region is asked for
            await tab.until(VERIFIED)
            assert np.array_equal(await shown_colors(tab), frame)
            assert await tab.evaluate("document.querySelector('#window').hidden")
            assert "center" not in await tab.evaluate(NUMBERS)
            assert not complaints(tab)


async def test_a_preview_comes_first_and_in_the_end_samples_that_are_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    samples = put_picture(tmp_path / "studies" / "a.dcm", smooth_frames(1, 300, 400))
    valve = Valve(monkeypatch)
    valve.left = 1
    audit = tmp_path / "audit.jsonl"
    async with (
        studies(tmp_path / "studies", model="n64", audit=audit) as (server, _, library),
        viewer(server, tmp_path) as tab,
    ):
        await tab.until(f"{QUALITY} === 'preview, not for diagnosis'")
        assert "center" not in await tab.evaluate(NUMBERS)
        apart = np.abs(await shown(tab) - shades(samples[0], 2000, 4000))
        assert 0 < apart.mean() < 12
        valve.left = 1 << 40
        await press_key(tab, "+")  # another region is asked for
        await tab.until(VERIFIED)
        assert np.array_equal(await shown(tab), shades(samples[0], 2000, 4000))
        await press_key(tab, "d")
        assert "2,000 / 4,125" in await tab.evaluate(NUMBERS)
        assert np.array_equal(await shown(tab), shades(samples[0], 2000, 4125))
        said = await tab.evaluate("said")
        assert said.index("preview, not for diagnosis") < said.index("lossless, verified")
        assert "lossless, verified" not in said[: said.index("all levels, not verified yet")]
        await tab.until(f"{LIST}.includes('verified')")
        assert complaints(tab) == []
        qualities = [json.loads(line).get("quality") for line in audit.read_text().splitlines()]
        shown_order = [quality for quality in qualities if quality is not None]
        assert shown_order == ["preview", "coarse", "lossless, verified"]
        assert library.stats.alarms == 0


async def test_before_it_is_exact_every_sample_is_within_the_bound_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 400, 400))
    valve = Valve(monkeypatch)
    async with studies(tmp_path, within=3) as (server, _, library):
        file = first_file(library)
        last_step, _ = file.head(0).span(place_of(file.header, STEPS, 0, 0), -1)
        valve.most_bytes = file.offsets[0] + last_step
        async with viewer(server, tmp_path) as tab:
            await tab.until(f"{QUALITY} === 'every sample within ±3, not verified'")
            wanted = shades(samples[0], 2000, 4000)
            assert 0 < np.abs(await shown(tab) - wanted).max() <= 1
            assert "lossless, verified" not in await tab.evaluate("said")
            valve.most_bytes = 1 << 40
            await press_key(tab, "+")
            await tab.until(VERIFIED)
            assert np.array_equal(await shown(tab), wanted)
            assert complaints(tab) == []


async def test_after_a_cut_the_page_goes_on_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 400, 400))
    valve = Valve(monkeypatch)
    valve.left = 8
    async with studies(tmp_path) as (server, client, library), viewer(server, tmp_path) as tab:
        await tab.until(f"{QUALITY}.startsWith('level')")
        await until(lambda: not valve.left)
        size = size_of(library)
        assert 0 < valve.sent_bytes < size
        async with client.http.delete("/api/rooms/demo") as response:
            assert response.status == 200
        await tab.until(f"{STATE} === 'reconnecting'")
        assert "lossless, verified" not in await tab.evaluate("said")
        valve.left = 1 << 40
        await tab.until(VERIFIED)
        assert np.array_equal(await shown(tab), shades(samples[0], 2000, 4000))
        await until(lambda: valve.sent_bytes >= size)
        assert valve.sent_bytes == size  # nothing twice
        assert library.stats.requests >= 2


async def test_what_is_looked_at_is_exact_before_the_rest_and_is_not_called_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 1024, 1024))
    valve = Valve(monkeypatch)
    valve.left = 10
    async with studies(tmp_path) as (server, _, library), viewer(server, tmp_path) as tab:
        await tab.until(f"{QUALITY}.startsWith('level')")
        await until(lambda: not valve.left)
        size = size_of(library)
        await press_key(tab, "+", times=7)
        await until(lambda: library.stats.requests >= 2)
        valve.left = size // 4 // 4600  # of 64 tiles 16 or fewer are seen
        await press_key(tab, "+")  # what it asks for now jumps the queue
        await tab.until(f"{QUALITY} === 'exact here, not verified'")
        assert valve.sent_bytes < size / 2
        picture = await shown(tab)
        wanted = shades(samples[0], 2000, 4000)
        middle = slice(480, 544)
        assert np.array_equal(picture[middle, middle], wanted[middle, middle])
        assert not np.array_equal(picture, wanted)
        assert "lossless, verified" not in await tab.evaluate("said")
        valve.left = 1 << 40
        await press_key(tab, "0")
        await tab.until(VERIFIED)
        assert np.array_equal(await shown(tab), wanted)


async def test_a_cine_goes_round_and_frames_are_proven(tmp_path: Path) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(4, 90, 120), FrameTime=40)
    put_picture(tmp_path / "b.dcm", smooth_frames(1, 64, 64, seed=2))
    async with studies(tmp_path) as (server, _, _), viewer(server, tmp_path) as tab:
        await tab.until(f"{VERIFIED} && {NUMBERS}.includes('1 of 4')")
        await press_key(tab, ".")
        await tab.until(f"{VERIFIED} && {NUMBERS}.includes('2 of 4')")
        assert np.array_equal(await shown(tab), shades(samples[1], 2000, 4000))
        await tab.until(f"{LIST}.includes('verified')")  # all four, looked at or not
        await tab.evaluate(
            "(globalThis.seen = new Set(), new MutationObserver(() => seen.add("
            f"{NUMBERS}.match(/([1-4]) of 4/)?.[1])).observe(document.querySelector('#numbers'),"
            " {childList: true}), 0)"
        )
        await tab.press("#play")
        await tab.until("['1', '2', '3', '4'].every((number) => seen.has(number))")
        await tab.press("#play")
        await tab.until(VERIFIED)
        await press_key(tab, "PageDown")
        await tab.until(f"{VERIFIED} && {NUMBERS}.includes('64 \u00d7 64')")
        assert complaints(tab) == []


def encode_raw(header: ExactFormat, frame: Samples) -> ExactFrame:
    """Code a frame without sign as it is."""
    planes = np.moveaxis(frame.astype("<u2"), -1, 0)
    digest = frame_digest(frame, header.bits, signed=False)
    return ExactFrame(FrameKind.RAW, digest, (), tuple(plane.tobytes() for plane in planes))


def encode_damaged(header: ExactFormat, frame: Samples) -> ExactFrame:
    """Code a frame otherwise, and break that."""
    coded = encode_otherwise(header, frame)
    assert coded.kind == FrameKind.JPEG_LS
    broken = bytearray(coded.payloads[0])
    broken[len(broken) // 2] ^= 8
    return replace(coded, payloads=(bytes(broken), *coded.payloads[1:]))


@pytest.mark.parametrize("encode", [encode_otherwise, encode_raw, encode_damaged])
async def test_what_is_damaged_is_asked_for_otherwise_and_never_called_lossless_too_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Fallback
) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 100, 120))

    def damaged(instance: int, parts: tuple[tuple[int, bytes], ...]) -> Data:
        (offset, data), *rest = parts
        if offset > 1000:  # in the second message
            data = bytes([data[0] ^ 8]) + data[1:]
        return Data(instance, ((offset, data), *rest))

    monkeypatch.setattr(study_peer, "Data", damaged)
    monkeypatch.setattr(study_file, "encode_otherwise", encode)
    async with studies(tmp_path) as (server, _, library), viewer(server, tmp_path) as tab:
        if encode is encode_damaged:
            await tab.until(f"{QUALITY} === 'damaged, not verified'")
            assert "lossless, verified" not in await tab.evaluate("said")
        else:
            await tab.until(VERIFIED)
            assert np.array_equal(await shown(tab), shades(samples[0], 2000, 4000))
        assert "damaged: asked for once more" in await tab.evaluate("said")
        assert (library.stats.alarms, library.stats.fallbacks) == (1, 1)


async def test_what_our_codec_did_not_bring_back_is_a_jpeg_ls_image_and_is_proven(
    tmp_path: Path,
) -> None:
    frame = np.moveaxis(smooth_frames(3, 70, 90) >> 4, 0, -1).astype(np.uint8)
    header = planned_format(Picture(frame, 8, signed=False))
    coded = encode_otherwise(header, frame)
    assert coded.kind == FrameKind.JPEG_LS
    (tmp_path / "a.rtc").write_bytes(file_of(header, coded))
    async with studies(tmp_path) as (server, _, library), viewer(server, tmp_path) as tab:
        await tab.until(VERIFIED)
        assert np.array_equal(await shown_colors(tab), frame)
        assert (library.stats.alarms, library.stats.fallbacks) == (0, 0)


async def test_a_token_is_asked_for_and_a_room_without_studies_is_said(tmp_path: Path) -> None:
    (tmp_path / "studies" / "ward").mkdir(parents=True)
    put_picture(tmp_path / "studies" / "ward" / "a.dcm", smooth_frames(1, 40, 50))
    async with (
        studies(tmp_path / "studies", keys=KEYS) as (server, _, _),
        viewer(server, tmp_path, "ward") as tab,
    ):
        await tab.until(f"{MESSAGE}.includes('A token is needed')")
        assert await tab.evaluate("!document.querySelector('#token-form').hidden")
        allowed = token_for("*", study=True)
        await tab.evaluate(f"document.querySelector('#token').value = '{allowed}'")
        await tab.press("#token-form button")
        await tab.until(VERIFIED)
        assert await tab.evaluate("document.querySelector('#token-form').hidden")
        other = await tab.browser.open(f"{server.url}/view/nothing#token={allowed}")
        await other.until(f"{MESSAGE}.includes('No studies are offered there')")
