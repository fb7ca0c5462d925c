"""Delta frames on the CPU engines: streams that every engine reads, loss that is concealed."""

import socket
from collections.abc import Iterator

import numpy as np
import pytest

from rtcodec.bundle import Bundle, find_bundle, installed_bundles
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import EncodedFrame, FrameEncoder, FramePacker, coded_tiles
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import EncodeJob, Engine
from rtcodec.engine.loader import ENGINES, AttachableEngine, open_engine, remote_engine
from rtcodec.errors import EngineCrashed, LocalProtocolError, Unsupported
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from rtcodec_engines.engine_server import EngineServer
from rtcodec_engines.engine_wire import write_info
from support.pictures import picture, same_picture
from support.spatial_model import with_spatial, without_spatial
from support.streams import coded_stream

WIDTH, HEIGHT, FRAMES = 200, 136, 6


INSTALLED = [Bundle.load(path) for path in installed_bundles()]
MODELS = {
    **{one.name: without_spatial(one) for one in INSTALLED if one.delta is not None},
    "spatial": with_spatial(find_bundle("n64")),
}


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return MODELS[str(request.param)]


@pytest.fixture(scope="module")
def engines(bundle: Bundle) -> Iterator[dict[str, Engine]]:
    opened = {name: open_engine(name, bundle) for name in ENGINES}
    yield opened
    for engine in opened.values():
        engine.close()


def clip() -> list[Planes]:
    """A picture in which a part moves on and the rest stands still."""
    frames = []
    for t in range(FRAMES):
        still, moving = picture(WIDTH, HEIGHT), picture(WIDTH, HEIGHT, 5)
        planes = []
        for a, b, side in ((still.y, moving.y, 2), (still.u, moving.u, 1), (still.v, moving.v, 1)):
            plane = a.copy()
            area = np.roll(b, side * t, 1)[: 30 * side, : 30 * side]
            plane[: 30 * side, : 30 * side] = area
            planes.append(plane)
        frames.append(Planes(*planes))
    return frames


def encode(engine: Engine, bundle: Bundle, *, slices: int = 1) -> list[EncodedFrame]:
    return coded_stream(engine, bundle, clip(), slices=slices)


def decoder(engine: Engine, bundle: Bundle) -> FrameDecoder:
    return FrameDecoder(engine, bundle, WIDTH, HEIGHT, references=NewestReference.SLOTS)


def test_the_default_model_has_delta_frames() -> None:
    assert "s128" in MODELS


def test_frames_after_the_first_are_predicted(engines: dict[str, Engine], bundle: Bundle) -> None:
    for engine in engines.values():
        frames = encode(engine, bundle)
        headers = [frame.unit.header for frame in frames]
        assert [header.keyframe for header in headers] == [True] + [False] * (FRAMES - 1)
        assert [header.reference for header in headers[1:]] == [h.store for h in headers[:-1]]
        assert [frame.output.is_delta for frame in frames] == [False] + [True] * (FRAMES - 1)
        assert not frames[2].output.symbols[:, :, -4:].any()  # the right side stands still
        for frame in frames[1:]:
            said = coded_tiles(frame.output.symbols)
            assert frame.output.coded is None or np.array_equal(frame.output.coded, said)


def test_a_new_scene_is_coded_alone(engines: dict[str, Engine], bundle: Bundle) -> None:
    rng = np.random.default_rng(4)
    noise = [rng.integers(0, 256, (HEIGHT // s, WIDTH // s), dtype=np.uint8) for s in (1, 2, 2)]
    scenes = [Planes(*noise), picture(WIDTH, HEIGHT), picture(WIDTH, HEIGHT)]
    for engine in engines.values():
        packer = FramePacker(
            bundle.entropy_tables,
            Slicing(),
            delta_tables=bundle.delta_tables,
            spatial_tables=bundle.spatial_tables,
        )
        encoder = FrameEncoder(
            engine, packer, WIDTH, HEIGHT, references=NewestReference(), neural=False
        )
        receiver = decoder(engine, bundle)
        frames = [
            encoder.encode(planes, qp=30, pts=t, keyframe=t == 0, reconstruct=True)
            for t, planes in enumerate(scenes)
        ]
        headers = [frame.unit.header for frame in frames]
        assert [h.keyframe for h in headers] == [True, False, False]
        assert [frame.output.is_delta for frame in frames] == [False, False, True]
        assert headers[1].reference is None
        assert headers[2].reference == headers[1].store is not None
        for frame in frames:
            own = frame.output.reconstruction
            assert own is not None
            assert same_picture(receiver.decode(frame.unit.packets).planes, own)
        encoder.close()
        receiver.close()


def test_every_engine_reads_what_another_wrote(engines: dict[str, Engine], bundle: Bundle) -> None:
    for writer, engine in engines.items():
        frames = encode(engine, bundle, slices=2)
        for reader, other in engines.items():
            receiver = decoder(other, bundle)
            for frame in frames:
                seen = receiver.decode(frame.unit.packets)
                assert seen.whole
                assert np.array_equal(seen.frame.symbols, frame.output.symbols)
                assert np.array_equal(seen.frame.z, frame.output.z)
                own = frame.output.reconstruction
                assert own is not None
                if writer == reader:
                    assert same_picture(seen.planes, own)
                else:
                    assert picture_psnr(seen.planes, own).yuv > 45
            receiver.close()


def test_a_lost_slice_is_concealed_and_said(engines: dict[str, Engine], bundle: Bundle) -> None:
    engine = engines["openvino"]
    frames = encode(engine, bundle, slices=2)
    receiver = decoder(engine, bundle)
    for frame in frames[:3]:
        assert receiver.decode(frame.unit.packets).whole
    holed = receiver.decode(frames[3].unit.packets[1:])
    assert holed.trusted
    assert not holed.whole
    own = frames[3].output.reconstruction
    assert own is not None
    assert picture_psnr(holed.planes, own).yuv > 25  # from the past, not from grey
    after = receiver.decode(frames[4].unit.packets)
    assert after.frame.complete
    assert not after.trusted  # what it leans on was damaged
    receiver.close()


def test_a_lost_frame_is_got_over(engines: dict[str, Engine], bundle: Bundle) -> None:
    engine = engines["openvino"]
    frames = encode(engine, bundle)
    receiver = decoder(engine, bundle)
    with pytest.raises(Unsupported, match="not held"):
        receiver.decode(frames[1].unit.packets)  # nothing to lean on at all
    assert receiver.decode(frames[0].unit.packets).whole
    late = receiver.decode(frames[2].unit.packets)  # frame 1 never came
    assert not late.trusted
    assert picture_psnr(late.planes, clip()[2]).yuv > 15
    assert not receiver.decode(frames[3].unit.packets).trusted
    assert receiver.decode(frames[0].unit.packets).whole  # a key frame heals everything
    assert receiver.decode(frames[1].unit.packets).whole
    receiver.close()


def test_a_slot_that_holds_nothing_is_our_fault(engines: dict[str, Engine]) -> None:
    engine = engines["openvino"]
    state = engine.open_state(WIDTH, HEIGHT)
    with pytest.raises(LocalProtocolError, match="nothing was stored in slot 3"):
        engine.encode([EncodeJob(state, clip()[0], 20, reference=3)])
    engine.close_state(state)


def long_clip(count: int, width: int, height: int) -> Iterator[Planes]:
    """Waves that drift, a square that crosses them, a corner at rest, and a little noise."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:height, :width]
    for t in range(count):
        luma = 120 + 40 * np.sin((rows + 0.7 * t) / 9) + 30 * np.cos((columns - 0.4 * t) / 13)
        luma[:64, :64] = 90 + 50 * np.sin(columns[:64, :64] / 5)
        left = 20 + (3 * t) % (width - 60)
        luma[70:100, left : left + 30] = 220 - (rows[:30, :30] * columns[:30, :30]) % 50
        luma = luma + rng.normal(0, 1, luma.shape)
        chroma = 0.3 * luma[::2, ::2] + 80
        y, u, v = (p.clip(0, 255).astype(np.uint8) for p in (luma, chroma, 255 - chroma))
        yield Planes(y, u, v)


def test_engines_stay_together_over_300_frames() -> None:
    """
    float32, bf16 as it is shipped, and ONNX Runtime, on a picture all in motion.

    Delta frames are integers: what differs is what the first frame left. (With bf16 in the
    synthesis of that frame as well, which is not shipped, the largest gap measured is 0.14 dB.)
    """
    from rtcodec_engines.openvino_engine import OpenVinoEngine

    size = (128, 128)
    bundle = find_bundle("s128")
    writer = open_engine("openvino", bundle)
    others: dict[str, Engine] = {
        "float32": writer,
        "bf16": OpenVinoEngine(bundle, bf16=("residual",)),
        "onnxruntime": open_engine("onnxruntime", bundle),
    }
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(writer, packer, *size, references=NewestReference(), neural=False)
    decoders = {
        name: FrameDecoder(engine, bundle, *size, references=NewestReference.SLOTS)
        for name, engine in others.items()
    }
    worst = dict.fromkeys(others, 0.0)
    for number, planes in enumerate(long_clip(300, *size)):
        coded = encoder.encode(planes, qp=30, pts=number, keyframe=number == 0)
        seen = {name: each.decode(coded.unit.packets) for name, each in decoders.items()}
        exact = picture_psnr(planes, seen["float32"].planes).yuv
        for name, frame in seen.items():
            assert np.array_equal(frame.frame.symbols, coded.output.symbols)
            gap = abs(picture_psnr(planes, frame.planes).yuv - exact)
            worst[name] = max(worst[name], gap)
    for engine in others.values():
        engine.close()
    assert max(worst.values()) < 0.1, worst


def test_a_picture_that_stands_still_costs_its_headers(
    engines: dict[str, Engine], bundle: Bundle
) -> None:
    engine = engines["openvino"]
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(slices=3, dispersed=True),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(
        engine, packer, WIDTH, HEIGHT, references=NewestReference(), neural=False
    )
    receiver = decoder(engine, bundle)
    first = receiver.decode(
        encoder.encode(picture(WIDTH, HEIGHT), qp=10, pts=0, keyframe=True).unit.packets
    )
    for number in range(1, 4):
        frame = encoder.encode(picture(WIDTH, HEIGHT), qp=60, pts=number, keyframe=False)
        seen = receiver.decode(frame.unit.packets)
        assert [len(packet.payload) for packet in frame.unit.slices] == [1, 1, 1]  # still maps
        assert seen.whole
        assert same_picture(seen.planes, first.planes)
    encoder.close()
    receiver.close()


def test_a_stream_goes_on_with_an_intra_frame_when_its_engine_process_dies(bundle: Bundle) -> None:
    engine = open_engine("auto", bundle)
    remote = remote_engine(bundle)
    servers = [attach_server(remote, engine, bundle)]
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(
        remote, packer, WIDTH, HEIGHT, references=NewestReference(), neural=False
    )
    reader = decoder(engine, bundle)
    kinds = []
    for t, planes in enumerate(clip()):
        if t == 3:
            servers[0].end_clients()
            with pytest.raises(EngineCrashed):
                encoder.encode(planes, qp=20, pts=t, keyframe=False)
            servers.append(attach_server(remote, engine, bundle))
        coded = encoder.encode(planes, qp=20, pts=t, keyframe=t == 0)
        seen = reader.decode(coded.unit.packets)
        kinds.append(coded.output.is_delta)
        assert seen.whole
        assert picture_psnr(planes, seen.planes).yuv > 30
    assert kinds == [False, True, True, False, True, True]
    remote.close()
    servers[1].close()


def attach_server(remote: AttachableEngine, engine: Engine, bundle: Bundle) -> EngineServer:
    """Let *remote* use *engine* over sockets, as a new process would."""
    server = EngineServer(engine, bundle, lanes=1, max_batch=1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.serve([theirs])
    remote.attach(write_info(engine.info), [ours])
    return server
