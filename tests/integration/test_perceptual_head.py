"""Heads of the decoder: the same bits and states, changed between frames, alike in a browser."""

import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks._web_decoder import MISSING, WebDecoder, build_wasm
from rtcodec.bitstream.packet import Description, Geometry, write_packet
from rtcodec.bitstream.sequence import model_tag
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.cli import main
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.perceptual_head import HEADS, PSNR, PerceptualHead
from rtcodec.codec.picture_decoder import DecodedPicture, PictureDecoder
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.loader import open_engine
from rtcodec.media.color import Color
from rtcodec.media.reader import MediaReader
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec.types import Planes, tile_grid
from support.pictures import picture, same_picture

WIDTH, HEIGHT = 202, 134  # neither of whole tiles, and odd chroma
FRAMES, SECOND_KEY = 12, 7

Unit = list[bytes]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """A model whose frames alone are integers on every machine: spatial ones."""
    return find_bundle("n64")


@pytest.fixture(scope="module")
def wasm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wasm(tmp_path_factory.mktemp("wasm"))


@pytest.fixture(scope="module")
def units(bundle: Bundle) -> list[Unit]:
    """Most of the picture stands still, at rates that change: each tile keeps its own qp."""
    engine = open_engine("onnxruntime", bundle)
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(slices=3),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(
        engine,
        packer,
        WIDTH,
        HEIGHT,
        references=NewestReference(),
        description=Description(model_tag(bundle.model_id), Geometry(WIDTH, HEIGHT)),
        neural=False,
    )
    made = []
    for t, planes in enumerate(clip()):
        qp, is_key = 24 + 5 * (t % 4), t in (0, SECOND_KEY)
        coded = encoder.encode(planes, qp=qp, pts=t, keyframe=is_key)
        made.append([write_packet(packet) for packet in coded.unit.packets])
    encoder.close()
    engine.close()
    return made


def clip() -> Iterator[Planes]:
    still, moving = picture(WIDTH, HEIGHT), picture(WIDTH, HEIGHT, 5)
    for t in range(FRAMES):
        y = still.y.copy()
        y[:60, :60] = np.roll(moving.y, 3 * t, 1)[:60, :60]
        yield Planes(y, still.u, still.v)


def decoded(bundle: Bundle, units: list[Unit]) -> list[DecodedPicture]:
    engine = open_engine("onnxruntime", bundle)
    decoder = PictureDecoder(engine, bundle)
    pictures = [decoder.decode(packets) for packets in units]
    decoder.close()
    engine.close()
    return pictures


def test_tiles_at_rest_keep_the_qp_that_they_were_last_coded_at(
    bundle: Bundle, units: list[Unit]
) -> None:
    seen = [picture.qps for picture in decoded(bundle, units)]
    for t, qps in enumerate(seen):
        assert qps[0, 0] == 24 + 5 * (t % 4)  # it moves
    for first, frames in ((0, seen[:SECOND_KEY]), (SECOND_KEY, seen[SECOND_KEY:])):
        of_key = 24 + 5 * (first % 4)
        assert (frames[0] == of_key).all()
        assert (frames[-1][2:, 3:] <= of_key).all()  # at rest, or coded again where that is finer


def test_what_stands_still_in_the_bits_stands_still_on_the_screen(
    bundle: Bundle, units: list[Unit]
) -> None:
    head = PerceptualHead.load()
    seen = decoded(bundle, units)[:SECOND_KEY]
    shown = [head.show(picture.planes, picture.qps) for picture in seen]
    rest = np.s_[72:, 136:]  # beyond what filters of the moving tiles reach
    assert not np.array_equal(shown[0].y[rest], seen[0].planes.y[rest])
    for before, after in pairwise(shown):
        assert np.array_equal(before.y[rest], after.y[rest])


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_heads_may_change_at_any_frame_and_a_browser_shows_the_same_to_the_last_bit(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path
) -> None:
    head = PerceptualHead.load()
    tensors = load_restorer_model(PERCEPTUAL).tensors
    faithful = decoded(bundle, units)
    changed = 0
    with WebDecoder(bundle, tmp_path, wasm=wasm, head=tensors) as web:
        for t, (packets, expected) in enumerate(zip(units, faithful, strict=True)):
            is_perceptual = t % 5 in (1, 2, 4)
            seen = web.decode(packets, perceptual=is_perceptual).planes
            sharper = head.show(expected.planes, expected.qps)
            assert same_picture(seen, sharper if is_perceptual else expected.planes)
            changed += not same_picture(sharper, expected.planes)
    assert changed == FRAMES


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_tiles_of_packets_that_are_lost_keep_their_qp_in_a_browser_too(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path
) -> None:
    head = PerceptualHead.load()
    tensors = load_restorer_model(PERCEPTUAL).tensors
    left = [packets if t == 0 else packets[t % 3 :] for t, packets in enumerate(units)]
    with WebDecoder(bundle, tmp_path, wasm=wasm, head=tensors) as web:
        for packets, expected in zip(left, decoded(bundle, left), strict=True):
            seen = web.decode(packets, perceptual=True).planes
            assert same_picture(seen, head.show(expected.planes, expected.qps))


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_model_without_a_head_shows_what_is_decoded(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path
) -> None:
    with WebDecoder(bundle, tmp_path, wasm=wasm) as web:
        seen = web.decode(units[0], perceptual=True).planes
    assert same_picture(seen, decoded(bundle, units[:1])[0].planes)


def frames_of(path: Path) -> list[Planes]:
    with MediaReader(path) as reader:
        return [planes for _, planes in reader.frames()]


def test_files_are_decoded_by_either_head(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, coded = tmp_path / "a.y4m", tmp_path / "a.rtc"
    media = MediaFormat(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25), Color())
    with open_writer(source, media) as writer:
        for number, planes in enumerate(islice(clip(), 3)):
            writer.write(number, planes)
        writer.commit()
    assert main(["encode", str(source), str(coded), "--model", "n64", "--qp", "40"]) == 0
    capsys.readouterr()
    shown = {}
    for head in HEADS:
        out = tmp_path / f"{head}.y4m"
        assert main(["decode", str(coded), str(out), "--head", head, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["head"] == head
        assert ("head" in report["time_ms"]) == (head == PERCEPTUAL)
        shown[head] = frames_of(out)
    sharpen = PerceptualHead.load().show
    qps = np.full(tile_grid(WIDTH, HEIGHT), 40, np.uint8)
    moved = np.s_[:52, :52]  # coded in each frame
    for before, after in zip(shown[PSNR][1:], shown[PERCEPTUAL][1:], strict=True):
        assert np.array_equal(sharpen(before, qps).y[moved], after.y[moved])


@pytest.mark.parametrize(
    ("how", "what"), [("--lossless", "exact pictures"), ("--progressive", "encode --progressive")]
)
def test_what_has_no_heads_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, what: str
) -> None:
    Image.fromarray(picture(64, 64).y).save(tmp_path / "a.png")
    coded = tmp_path / "a.rtc"
    assert main(["encode", str(tmp_path / "a.png"), str(coded), how]) == 0
    capsys.readouterr()
    words = ["decode", str(coded), str(tmp_path / "b.png"), "--head", "perceptual"]
    assert main(words) == 2
    assert what in capsys.readouterr().err
    assert main(words[:3]) == 0
