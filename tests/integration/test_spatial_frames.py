"""Spatial frames on the CPU engines: the same to the last bit on each, loss stays in its tiles."""

from collections.abc import Iterator

import numpy as np
import pytest

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import EncodedFrame
from rtcodec.codec.reference import NewestReference
from rtcodec.engine.api import DecodeJob, EncodeJob, Engine, StateId
from rtcodec.engine.loader import ENGINES, open_engine
from rtcodec.entropy.native_tiles import scale_indices
from rtcodec.errors import LocalProtocolError, Unsupported
from rtcodec.motion.hyper import HyperAnalysis
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.spatial import SpatialFrames
from support.pictures import picture, same_picture
from support.spatial_model import with_spatial, without_spatial
from support.streams import coded_stream

WIDTH, HEIGHT = 200, 136
SLICES = 4


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return with_spatial(find_bundle("n64"))


@pytest.fixture(scope="module")
def engines(bundle: Bundle) -> Iterator[dict[str, Engine]]:
    opened = {name: open_engine(name, bundle) for name in ENGINES}
    yield opened
    for engine in opened.values():
        engine.close()


def clip() -> list[Planes]:
    """Waves, of which the upper left drifts."""
    frames = [picture(WIDTH, HEIGHT) for _ in range(4)]
    moving = picture(WIDTH, HEIGHT, 3)
    for t, planes in enumerate(frames):
        planes.y[:70, :70] = moving.y[:70, 2 * t : 2 * t + 70]
    return frames


def encode(
    engine: Engine, bundle: Bundle, *, slices: int = 1, neural: bool = False
) -> list[EncodedFrame]:
    return coded_stream(engine, bundle, clip(), slices=slices, neural=neural)


def decoder(engine: Engine, bundle: Bundle) -> FrameDecoder:
    return FrameDecoder(engine, bundle, WIDTH, HEIGHT, references=NewestReference.SLOTS)


def test_tiles_of_which_nothing_is_said_have_the_indices_that_a_decoder_computes(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros(0, np.uint32), np.zeros((0, bundle.hyper_channels), np.int8)
    monkeypatch.setattr(HyperAnalysis, "describe", lambda *_: nothing)
    blocks = np.full((8, 12, 384), 90, np.uint8)
    output = SpatialFrames(bundle).encode(blocks, EncodeJob(StateId(0), picture(192, 128), qp=20))
    assert bundle.spatial is not None
    expected = scale_indices(bundle.spatial.scale_net, output.z, 20)
    assert expected.any()
    assert np.array_equal(output.indices, expected)


def test_a_stream_that_begins_with_one_is_the_same_everywhere(
    engines: dict[str, Engine], bundle: Bundle
) -> None:
    frames = {name: encode(engine, bundle, slices=2) for name, engine in engines.items()}
    first, *others = frames.values()
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert one.unit == two.unit
    assert [frame.output.is_spatial for frame in first] == [True, False, False, False]
    assert [frame.unit.header.spatial for frame in first] == [True, False, False, False]
    assert [frame.output.is_delta for frame in first] == [False, True, True, True]
    for engine in engines.values():
        receiver = decoder(engine, bundle)
        for frame, source in zip(first, clip(), strict=True):
            decoded = receiver.decode(frame.unit.packets)
            assert decoded.whole
            own = frame.output.reconstruction
            assert own is not None
            assert same_picture(decoded.planes, own)
            assert picture_psnr(decoded.planes, source).yuv > 35
        receiver.close()


def test_networks_code_what_they_are_asked_to(engines: dict[str, Engine], bundle: Bundle) -> None:
    engine = engines["onnxruntime"]
    frames = encode(engine, bundle, neural=True)
    assert not any(frame.output.is_spatial for frame in frames)
    receiver = decoder(engine, bundle)
    for frame in frames:
        assert receiver.decode(frame.unit.packets).whole
    receiver.close()


def test_a_lost_slice_costs_its_tiles_and_the_edges_beside_them(
    engines: dict[str, Engine], bundle: Bundle
) -> None:
    engine = engines["openvino"]
    key = encode(engine, bundle, slices=SLICES)[0]
    assert len(key.unit.packets) == SLICES
    receiver = decoder(engine, bundle)
    whole = receiver.decode(key.unit.packets).planes
    for lost in range(SLICES):
        packets = [p for number, p in enumerate(key.unit.packets) if number != lost]
        holed = receiver.decode(packets)
        assert not holed.whole
        missing = ~holed.frame.present
        assert missing.any()
        tiles = missing.repeat(64, 0).repeat(64, 1)
        far = np.pad(tiles, 8)  # smoothing and refinement look a few samples far
        spoilt = np.zeros_like(tiles)
        for down in range(17):
            for across in range(17):
                spoilt |= far[down : down + tiles.shape[0], across : across + tiles.shape[1]]
        spoilt = spoilt[:HEIGHT, :WIDTH]
        changed = holed.planes.y != whole.y
        assert not changed[~spoilt].any()
        assert changed[tiles[:HEIGHT, :WIDTH]].any()
    receiver.close()


def test_a_model_without_the_part_says_so(engines: dict[str, Engine], bundle: Bundle) -> None:
    engine = engines["onnxruntime"]
    key = encode(engine, bundle)[0]
    plain = without_spatial(bundle)
    receiver = decoder(engine, plain)
    with pytest.raises(Unsupported, match="predicts no frame from itself"):
        receiver.decode(key.unit.packets)
    receiver.close()
    other = open_engine("onnxruntime", plain)
    assert not encode(other, plain)[0].output.is_spatial
    output = key.output
    state = other.open_state(WIDTH, HEIGHT)
    job = DecodeJob(state, output.z, output.symbols, 20, WIDTH, HEIGHT, spatial=True)
    with pytest.raises(LocalProtocolError, match="predicts no frame from itself"):
        other.decode([job])
    other.close()
