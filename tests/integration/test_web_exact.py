"""Exact pictures in the decoder for browsers, in node: what Python makes of the same files."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks._mutate import mutate_bytes
from benchmarks._web_decoder import MISSING, NODE
from rtcodec.bitstream.exact_file import ExactFrame, ExactReader, FrameKind
from rtcodec.bitstream.exact_format import BOUND_MAX, ExactFormat
from rtcodec.entropy import build
from rtcodec.errors import BitstreamError
from rtcodec.exact.fallback import decode_otherwise, encode_otherwise
from rtcodec.exact.frame import FrameCoder, is_proven, spacing_of, tile_spans
from rtcodec.exact.proof import frame_digest
from support.exact_pictures import (
    Picture,
    coded_file,
    draw_picture,
    file_of,
    palette_format,
    plain_format,
    planned_format,
)

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

OBSERVE = Path(__file__).parents[1] / "support" / "exact_observe.mjs"
N_DRAWN = 80
N_DAMAGED = 500


@pytest.fixture(scope="module")
def wasm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = tmp_path_factory.mktemp("wasm") / build.EXACT_WASM.name
    sources = build.EXACT_WASM_SOURCES
    return build.compile_wasm(module, build.inherited_environment(), ["-Werror"], sources)


def in_node(wasm: Path, folder: Path, files: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what the decoder for browsers makes of files."""
    assert NODE is not None
    paths = [folder / f"{number}.rtc" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    words = [NODE, OBSERVE, build.WEB / "src" / "exact.js", wasm]
    done = subprocess.run(
        list(map(str, words)),
        input="".join(f"{path}\n" for path in paths),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def in_python(data: bytes) -> dict[str, Any]:
    """Return the same of Python's."""
    frames: list[dict[str, Any]] = []
    try:
        reader = ExactReader(BytesIO(data))
        coder = FrameCoder(reader.header)
        for coded in reader:
            is_tiles = coded.kind == FrameKind.TILES
            frame = coder.decode(coded) if is_tiles else decode_otherwise(reader.header, coded)
            proven = is_proven(reader.header, coded, frame)
            coarse = [sha256(c) for c in coarser(reader.header, coder, coded)] if is_tiles else []
            frames.append({"sha256": sha256(frame), "proven": proven, "coarse": coarse})
    except BitstreamError as error:
        wrong = {"kind": type(error).__name__, "offset": error.offset}
        return {"frames": frames, "error": wrong}
    return {"frames": frames, "error": None}


def coarser(header: ExactFormat, coder: FrameCoder, coded: ExactFrame) -> list[NDArray[np.integer]]:
    """Return the frame after each step but the last, every sample that of its corner."""
    frames = []
    for steps in range(1, header.steps):
        spacing = spacing_of(steps)
        shape = (header.height, header.width, header.channels)
        frame: NDArray[np.integer] | None = None
        for span in tile_spans(header):
            tile = coder.decode_tile(coded, span, steps=steps)
            wide = tile.repeat(spacing, 0).repeat(spacing, 1)
            frame = np.empty(shape, tile.dtype) if frame is None else frame
            place = frame[span.rows, span.columns]
            place[...] = wide[: place.shape[0], : place.shape[1]]
        assert frame is not None
        frames.append(frame)
    return frames


def sha256(frame: NDArray[np.integer]) -> str:
    return hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()


def drawn_files(seed: int, n_files: int) -> list[bytes]:
    """Return files of every depth, sign, kind and promise; headers plain, fitted, with palettes."""
    rng = np.random.default_rng(seed)
    files = []
    for number in range(n_files):
        picture = draw_picture(rng, most=150 if number % 10 == 0 else 40)
        make = planned_format if number % 2 else plain_format
        bound = int(rng.integers(1, BOUND_MAX + 1)) if number % 5 > 2 else 0
        max_error = int(number % 5 == 0)
        header = make(picture, max_error=max_error, bound=bound)
        if number % 5 == 2:
            header = palette_format(picture, rng)
        files.append(coded_file(picture, header))
    return files


def files_of_jpeg_ls(seed: int, n_files: int) -> list[bytes]:
    """Return files whose frames are JPEG-LS images."""
    pytest.importorskip("imagecodecs", reason="the extra medical is not installed")
    rng = np.random.default_rng(seed)
    files: list[bytes] = []
    while len(files) < n_files:
        picture = draw_picture(rng)
        header = plain_format(picture)
        coded = encode_otherwise(header, picture.frame)
        if coded.kind == FrameKind.JPEG_LS:  # noise is as it is
            files.append(file_of(header, coded))
    return files


def test_every_file_is_the_same_in_a_browser_at_every_step_and_proven(
    wasm: Path, tmp_path: Path
) -> None:
    files = drawn_files(1, N_DRAWN)
    seen = in_node(wasm, tmp_path, files)
    assert len(seen) == N_DRAWN
    for report, data in zip(seen, files, strict=True):
        assert report == in_python(data)
        assert report["error"] is None
        assert [frame["proven"] for frame in report["frames"]] == [True]


def test_differences_that_do_not_wrap_are_the_same_in_a_browser(wasm: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    files = []
    for bits in (8, 12, 15):
        high = (1 << bits) - 1
        gray = np.clip(high / 2 + rng.normal(0, high / 90, (40, 50, 1)).cumsum(1), 0, high)
        frame = np.clip(np.repeat(gray, 3, 2) + rng.integers(0, 2, (40, 50, 3)), 0, high)
        picture = Picture(frame.astype(np.uint8 if bits == 8 else np.uint16), bits, False)
        for promise in ({"max_error": 2}, {"bound": 2}):
            header = planned_format(picture, **promise)
            assert header.differences
            files.append(coded_file(picture, header))
        frame = frame // 4
        frame[..., 0] += (1 << bits - 1) + rng.integers(-9, 9, frame.shape[:2])
        red = Picture(frame.astype(picture.frame.dtype), bits, False)
        header = planned_format(red)
        assert header.is_unwrapped
        files.append(coded_file(red, header))
    for report, data in zip(in_node(wasm, tmp_path, files), files, strict=True):
        assert report == in_python(data)
        assert [frame["proven"] for frame in report["frames"]] == [True]


def test_jpeg_ls_is_the_same_in_a_browser_and_proven(wasm: Path, tmp_path: Path) -> None:
    files = files_of_jpeg_ls(6, N_DRAWN)
    for report, data in zip(in_node(wasm, tmp_path, files), files, strict=True):
        assert report == in_python(data)
        assert [frame["proven"] for frame in report["frames"]] == [True]


def mutate_payloads(data: bytes, rng: Random) -> bytes:
    """Break payloads of a file of one frame, and put its check words right."""
    reader = ExactReader(BytesIO(data))
    [coded] = reader
    payloads = tuple(mutate_bytes(one, coded.payloads, rng) for one in coded.payloads)
    return file_of(reader.header, replace(coded, payloads=payloads))


@pytest.mark.parametrize("make", [drawn_files, files_of_jpeg_ls])
def test_damaged_files_come_to_the_same_in_a_browser(
    make: Callable[[int, int], list[bytes]], wasm: Path, tmp_path: Path
) -> None:
    whole = make(2, 30)
    rng = Random(3)
    files = [mutate_bytes(rng.choice(whole), whole, rng) for _ in range(N_DAMAGED // 2)]
    files += [mutate_payloads(rng.choice(whole), rng) for _ in range(N_DAMAGED // 2)]
    kinds = set()
    for report, data in zip(in_node(wasm, tmp_path, files), files, strict=True):
        assert report == in_python(data)
        kinds.add(report["error"] and report["error"]["kind"])
    assert {"Corrupt", "Truncated"} <= kinds


def test_others_codecs_are_refused_in_a_browser_once_the_header_is_whole(
    wasm: Path, tmp_path: Path
) -> None:
    picture = draw_picture(np.random.default_rng(5))
    header = replace(plain_format(picture), is_whole=True)
    data = file_of(header, ExactFrame(FrameKind.HTJ2K, bytes(32), (), (b"",)))
    torn = data[:4] + b"\x05" + data[5:]
    lossy = file_of(replace(header, max_error=1), ExactFrame(FrameKind.RAW, bytes(32), (), (b"",)))
    seen = in_node(wasm, tmp_path, [data, torn, lossy])
    refused, unknown, wrong = (report["error"] for report in seen)
    assert refused == unknown == {"kind": "Unsupported", "offset": 4}
    assert wrong == in_python(lossy)["error"]
    assert wrong["kind"] == "Corrupt"


def test_a_frame_that_is_raw_is_read_and_one_with_another_hash_is_not_proven(
    wasm: Path, tmp_path: Path
) -> None:
    picture = draw_picture(np.random.default_rng(5))
    header = plain_format(picture)
    least = -(1 << (picture.bits - 1)) if picture.signed else 0
    planes = np.moveaxis(picture.frame.astype(np.int32) - least, -1, 0).astype("<u2")
    payloads = tuple(plane.tobytes() for plane in planes)
    digest = frame_digest(picture.frame, picture.bits, signed=picture.signed)
    good = ExactFrame(FrameKind.RAW, digest, (), payloads)
    other = ExactFrame(FrameKind.RAW, bytes(32), (), payloads)
    files = [file_of(header, good), file_of(header, other)]
    seen = in_node(wasm, tmp_path, files)
    assert [report["frames"][0]["sha256"] for report in seen] == [sha256(picture.frame)] * 2
    assert [report["frames"][0]["proven"] for report in seen] == [True, False]
