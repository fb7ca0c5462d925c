"""The GPU engine, on a CPU: the same integers as the other engines, whatever the batch."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from rtcodec.bundle import Bundle, find_bundle  # noqa: E402
from rtcodec.codec.decoder import FrameDecoder  # noqa: E402
from rtcodec.codec.encoder import FrameEncoder, FramePacker  # noqa: E402
from rtcodec.codec.reference import NewestReference  # noqa: E402
from rtcodec.codec.slicing import Slicing  # noqa: E402
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine  # noqa: E402
from rtcodec.engine.loader import ENGINES, open_engine  # noqa: E402
from rtcodec.entropy.native_tiles import scale_indices  # noqa: E402
from rtcodec.errors import EngineError, LocalProtocolError, Overloaded  # noqa: E402
from rtcodec.quality import picture_psnr  # noqa: E402
from rtcodec.types import Planes  # noqa: E402
from rtcodec_engines import torch_engine  # noqa: E402
from rtcodec_engines.batch_rows import KEEP  # noqa: E402
from rtcodec_engines.batching import Request  # noqa: E402
from rtcodec_engines.best_frames import plain_frames  # noqa: E402
from rtcodec_engines.device import Arrays, CpuDevice, CpuLane, Fault, Lane, fault_of  # noqa: E402
from rtcodec_engines.tensor.slab import Slab  # noqa: E402
from rtcodec_engines.torch_engine import CpuTorchEngine, TorchEngine  # noqa: E402
from support.pictures import noise, picture, same_picture  # noqa: E402
from support.spatial_model import with_spatial, without_spatial  # noqa: E402

WIDTH, HEIGHT, FRAMES = 200, 136, 5
MODELS = {
    "n64": without_spatial(find_bundle("n64")),
    "s128": without_spatial(find_bundle("s128")),
    "spatial": with_spatial(find_bundle("n64")),
}


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return MODELS[str(request.param)]


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[TorchEngine]:
    engine = CpuTorchEngine(bundle, states=12)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def others(bundle: Bundle) -> Iterator[dict[str, Engine]]:
    opened = {name: open_engine(name, bundle) for name in ENGINES}
    yield opened
    for engine in opened.values():
        engine.close()


def clip(seed: int = 0) -> list[Planes]:
    """A picture in which a part moves on and the rest stands still."""
    frames = []
    for t in range(FRAMES):
        still, moving = picture(WIDTH, HEIGHT, seed), picture(WIDTH, HEIGHT, seed + 5)
        planes = []
        for a, b, side in ((still.y, moving.y, 2), (still.u, moving.u, 1), (still.v, moving.v, 1)):
            plane = a.copy()
            plane[: 30 * side, : 30 * side] = np.roll(b, side * t, 1)[: 30 * side, : 30 * side]
            planes.append(plane)
        frames.append(Planes(*planes))
    return frames


def coded_alone(engine: Engine, frames: list[Planes], qp: int) -> list[EncodeOutput]:
    state = engine.open_state(WIDTH, HEIGHT)
    outputs = [engine.encode([_job(state, planes, qp, t)])[0] for t, planes in enumerate(frames)]
    engine.close_state(state)
    return outputs


def _job(state: Any, planes: Planes, qp: int, t: int) -> EncodeJob:
    reference = (t - 1) % 2 if t else None
    return EncodeJob(state, planes, qp, reference=reference, store=t % 2, reconstruct=True)


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (200, 136)])
def test_outputs_keep_the_protocol(
    bundle: Bundle, engine: TorchEngine, size: tuple[int, int]
) -> None:
    width, height = size
    rows, columns = -(-height // 64), -(-width // 64)
    state = engine.open_state(width, height)
    output = engine.encode([EncodeJob(state, noise(width, height), 12, reconstruct=True)])[0]
    shown = engine.decode(
        [DecodeJob(state, output.z, output.symbols, 12, width, height, spatial=output.is_spatial)]
    )[0]
    engine.close_state(state)

    part = bundle.spatial or bundle
    assert output.is_spatial == (bundle.spatial is not None)
    wanted = (bundle.hyper_channels, rows, columns)
    assert (output.z.dtype.name, output.z.shape) == ("int8", wanted)
    latents = (part.latent_channels, 4 * rows, 4 * columns)
    assert (output.symbols.dtype.name, output.symbols.shape) == ("int16", latents)
    assert np.array_equal(output.indices, scale_indices(part.scale_net, output.z, 12))
    assert not output.symbols[output.indices == 0].any()
    assert output.reconstruction is not None
    assert same_picture(output.reconstruction, shown)


@pytest.mark.parametrize("writer", ["torch", *ENGINES])
def test_streams_of_every_engine_are_read_by_every_other(
    bundle: Bundle, engine: TorchEngine, others: dict[str, Engine], writer: str
) -> None:
    every: dict[str, Engine] = {"torch": engine, **others}
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    encoder = FrameEncoder(
        every[writer], packer, WIDTH, HEIGHT, references=NewestReference(), neural=False
    )
    frames = [
        encoder.encode(planes, qp=20, pts=t, keyframe=t == 0, reconstruct=True)
        for t, planes in enumerate(clip())
    ]
    encoder.close()
    assert [frame.output.is_delta for frame in frames] == [False] + [True] * (FRAMES - 1)
    for name, reader in every.items():
        decoder = FrameDecoder(reader, bundle, WIDTH, HEIGHT, references=NewestReference.SLOTS)
        for frame, source in zip(frames, clip(), strict=True):
            decoded = decoder.decode(frame.unit.packets)
            assert np.array_equal(decoded.frame.symbols, frame.output.symbols)
            own = frame.output.reconstruction
            assert own is not None
            if name == writer:
                assert same_picture(decoded.planes, own)
            lost = picture_psnr(source, own).y - picture_psnr(source, decoded.planes).y
            assert abs(lost) < 0.1
        decoder.close()


def said_anywhere(rng: np.random.Generator, channels: int, *, alone: bool) -> NDArray[np.int16]:
    """Random symbols of a delta frame, [M, 12, 16]."""
    symbols = np.zeros((channels, 12, 16), np.int16)
    some = rng.random(symbols[:384].shape) < 0.01
    symbols[:384] = some * rng.integers(-9, 10, some.shape)
    if alone:
        symbols[386] = 1
        return symbols
    symbols[384:393] = rng.integers(-40, 41, (9, 12, 16)) * (rng.random((9, 12, 16)) < 0.2)
    symbols[386] = rng.choice([-1, 0, 1], (12, 16), p=[0.02, 0.9, 0.08])
    symbols[393] = rng.random((12, 16)) < 0.4
    symbols[:, :4, 4:8] = 0  # a tile at rest
    return symbols


def test_delta_frames_are_the_same_to_the_last_bit_on_every_engine(
    bundle: Bundle, engine: TorchEngine, others: dict[str, Engine]
) -> None:
    assert bundle.delta is not None
    every: list[Engine] = [engine, *others.values()]
    states = [one.open_state(250, 190) for one in every]
    rng = np.random.default_rng(3)
    z = np.zeros((bundle.hyper_channels, 3, 4), np.int8)
    blank = np.zeros((bundle.latent_channels, 12, 16), np.int16)
    for one, state in zip(every, states, strict=True):
        one.decode([DecodeJob(state, z, blank, 30, 250, 190, store=0)])  # anything; not leant on
    for t, qp in enumerate((20, 0, 63, 31, 45, 9)):
        symbols = said_anywhere(rng, bundle.delta.latent_channels, alone=t == 0)
        shown = [
            one.decode(
                [DecodeJob(state, z, symbols, qp, 250, 190, reference=t % 3, store=(t + 1) % 3)]
            )[0]
            for one, state in zip(every, states, strict=True)
        ]
        for other in shown[1:]:
            assert same_picture(shown[0], other), t
    for one, state in zip(every, states, strict=True):
        one.close_state(state)


def test_a_row_of_a_batch_equals_a_frame_alone(engine: TorchEngine) -> None:
    clips, qps = [clip(seed) for seed in range(5)], [4, 20, 30, 41, 60]
    alone = [coded_alone(engine, *pair) for pair in zip(clips, qps, strict=True)]
    states = [engine.open_state(WIDTH, HEIGHT) for _ in clips]
    readers = [engine.open_state(WIDTH, HEIGHT) for _ in clips]
    for t in range(FRAMES):
        outputs = engine.encode(
            [
                _job(state, frames[t], qp, t)
                for state, frames, qp in zip(states, clips, qps, strict=True)
            ]
        )
        for own, other in zip(outputs, alone, strict=True):
            assert own.is_delta == other[t].is_delta
            same = own.symbols == other[t].symbols
            assert same.mean() > 0.999  # products of floats come in another order
        shown = engine.decode(
            [
                DecodeJob(
                    state,
                    own.z,
                    own.symbols,
                    qp,
                    WIDTH,
                    HEIGHT,
                    reference=(t - 1) % 2 if t else None,
                    store=t % 2,
                    spatial=own.is_spatial,
                )
                for state, own, qp in zip(readers, outputs, qps, strict=True)
            ]
        )
        for own, seen in zip(outputs, shown, strict=True):
            assert own.reconstruction is not None
            assert same_picture(own.reconstruction, seen)
    assert engine.batching.batches[8] >= 2 * FRAMES
    for state in (*states, *readers):
        engine.close_state(state)


def test_a_new_scene_is_coded_alone_and_leant_on_then(engine: TorchEngine) -> None:
    scenes = [noise(WIDTH, HEIGHT), picture(WIDTH, HEIGHT), picture(WIDTH, HEIGHT)]
    writer, reader = (engine.open_state(WIDTH, HEIGHT) for _ in range(2))
    kinds = []
    for t, planes in enumerate(scenes):
        output = engine.encode([_job(writer, planes, 30, t)])[0]
        kinds.append(output.is_delta)
        reference = (t - 1) % 2 if output.is_delta else None
        shown = engine.decode(
            [
                DecodeJob(
                    reader,
                    output.z,
                    output.symbols,
                    30,
                    WIDTH,
                    HEIGHT,
                    reference=reference,
                    store=t % 2,
                    spatial=output.is_spatial,
                )
            ]
        )[0]
        assert output.reconstruction is not None
        assert same_picture(shown, output.reconstruction)
    assert kinds == [False, False, True]
    engine.close_state(writer)
    engine.close_state(reader)


def test_spatial_frames_are_the_same_on_every_engine_and_so_is_what_follows(
    others: dict[str, Engine], engine: TorchEngine, bundle: Bundle
) -> None:
    if bundle.spatial is None:
        pytest.skip("for the one of the three bundles that has spatial frames")
    every: list[Engine] = [engine, *others.values()]
    writers, readers = ([one.open_state(WIDTH, HEIGHT) for one in every] for _ in range(2))
    for t, planes in enumerate(clip()):
        outputs = [
            one.encode([_job(state, planes, 20, t)])[0]
            for one, state in zip(every, writers, strict=True)
        ]
        first = outputs[0]
        assert (first.is_spatial, first.is_delta) == (t == 0, t > 0)
        for other in outputs[1:] if t == 0 else ():
            assert np.array_equal(first.z, other.z)
            assert np.array_equal(first.symbols, other.symbols)
            assert np.array_equal(first.indices, other.indices)
        reference = (t - 1) % 2 if t else None
        job = DecodeJob(readers[0], first.z, first.symbols, 20, WIDTH, HEIGHT,
                        reference=reference, store=t % 2, spatial=t == 0)  # fmt: skip
        for one, state in zip(every, readers, strict=True):
            shown = one.decode([replace(job, state=state)])[0]
            assert first.reconstruction is not None
            assert same_picture(shown, first.reconstruction)
    for one, *states in zip(every, writers, readers, strict=True):
        for state in states:
            one.close_state(state)


def test_frames_of_all_kinds_may_come_in_one_call(bundle: Bundle, engine: TorchEngine) -> None:
    states = [engine.open_state(WIDTH, HEIGHT) for _ in range(4)]
    known, other = noise(WIDTH, HEIGHT), picture(WIDTH, HEIGHT)
    engine.encode([EncodeJob(state, known, 20, store=0) for state in states[:2]])
    jobs = [
        EncodeJob(states[0], known, 20, reference=0, store=1),
        EncodeJob(states[1], other, 20, reference=0, store=1),  # a new scene
        EncodeJob(states[2], known, 20, store=1),
        EncodeJob(states[3], known, 20, store=1, neural=True),
    ]
    outputs = engine.encode(jobs)
    assert [output.is_delta for output in outputs] == [True, False, False, False]
    spatial = bundle.spatial is not None
    assert [output.is_spatial for output in outputs] == [False, spatial, spatial, False]
    again = engine.encode([EncodeJob(state, other, 20, reference=1) for state in states])
    assert [output.is_delta for output in again] == [False, True, False, False]
    for state in states:
        engine.close_state(state)


def test_what_stands_still_costs_nothing(engine: TorchEngine) -> None:
    frames = [picture(WIDTH, HEIGHT)] * 3
    first, *rest = coded_alone(engine, frames, 20)
    assert not first.is_delta
    assert all(output.is_delta for output in rest)
    assert not rest[1].symbols.any()


def test_wrong_jobs_are_our_fault(engine: TorchEngine) -> None:
    state = engine.open_state(64, 64)
    with pytest.raises(LocalProtocolError, match="was not opened for 32x32"):
        engine.encode([EncodeJob(state, noise(32, 32), 0)])
    with pytest.raises(LocalProtocolError, match="nothing was stored in slot 2"):
        engine.encode([EncodeJob(state, noise(64, 64), 0, reference=2)])
    for slot in range(8):
        engine.encode([EncodeJob(state, noise(64, 64), 0, store=slot)])
    with pytest.raises(LocalProtocolError, match="more than 8 pictures"):
        engine.encode([EncodeJob(state, noise(64, 64), 0, store=8)])
    engine.close_state(state)
    engine.close_state(state)  # once more does no harm


def test_there_is_room_for_so_many_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "KEPT_SIZES", 1)
    engine = CpuTorchEngine(find_bundle("n64"), states=2)
    states = [engine.open_state(60, 60) for _ in range(2)]
    with pytest.raises(Overloaded, match="2 streams of 64x64 are open"):
        engine.open_state(64, 64)
    engine.close_state(states.pop())
    states.append(engine.open_state(64, 64))
    for state in states:
        engine.close_state(state)
    for width in (128, 192, 256, 64):  # sizes are forgotten, and come back
        state = engine.open_state(width, 64)
        engine.encode([EncodeJob(state, noise(width, 64), 30)])
        engine.close_state(state)
    assert len(engine.sizes) == 2
    assert not engine.closed
    engine.close()
    assert engine.closed
    with pytest.raises(LocalProtocolError, match="the engine is closed"):
        engine.open_state(64, 64)


def test_a_stream_closed_meanwhile_keeps_its_rows_until_its_jobs_are_done() -> None:
    engine = CpuTorchEngine(find_bundle("n64"), states=1)
    state = engine.open_state(64, 64)

    class Closing(Planes):
        """Closes the stream while it is looked at, as another thread might."""

        @property
        def width(self) -> int:
            engine.close_state(state)
            with pytest.raises(Overloaded):
                engine.open_state(64, 64)  # the job before this one may be running
            return 64

    still = noise(64, 64)
    jobs = [EncodeJob(state, planes, 30) for planes in (still, Closing(still.y, still.u, still.v))]
    with pytest.raises(LocalProtocolError, match="was not opened"):
        engine.encode(jobs)
    engine.open_state(64, 64)
    with pytest.raises(Overloaded):  # they were given back once
        engine.open_state(64, 64)
    engine.close()


def test_all_batches_may_be_made_ready_at_once() -> None:
    engine = CpuTorchEngine(find_bundle("n64"), states=1)
    engine.warm_up(64, 64, largest=4)
    state = engine.open_state(64, 64)
    engine.encode([EncodeJob(state, noise(64, 64), 30)])
    engine.close()


def test_weights_that_do_not_fit_are_told() -> None:
    def no_room(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EngineError, match="the model does not fit: CUDA out of memory"):
        TorchEngine(find_bundle("n64"), device=CpuDevice(), frames=no_room)
    assert fault_of(MemoryError()) is Fault.MEMORY


class FailingLane(CpuLane):
    """Fails when it is told to, with a batch half done."""

    error: Exception | None = None
    of: str | None = None
    "The operation that fails; None for all."

    def launch(self, key: Any) -> None:
        self._fails = self.error is not None and self.of in (None, key[0])
        super().launch(key)

    def wait(self) -> Arrays:
        if self.error is not None and self._fails:
            raise self.error
        return super().wait()


class FailingDevice(CpuDevice):
    """Has one such lane."""

    def __init__(self) -> None:
        super().__init__()
        self.its = FailingLane()

    def lane(self) -> Lane:
        return self.its


def test_what_a_failed_batch_was_to_store_is_leant_on_by_nobody(bundle: Bundle) -> None:
    device = FailingDevice()
    engine = TorchEngine(bundle, device=device, frames=plain_frames, states=2)
    still = picture(64, 64)
    writer, reader = (engine.open_state(64, 64) for _ in range(2))

    def encode(reference: int | None, store: int) -> EncodeOutput:
        return engine.encode([EncodeJob(writer, still, 30, reference, store)])[0]

    def decode(output: EncodeOutput, reference: int | None, store: int) -> None:
        job = DecodeJob(
            reader, output.z, output.symbols, 30, 64, 64, reference, store,
            spatial=output.is_spatial,
        )  # fmt: skip
        engine.decode([job])

    decode(encode(None, 0), None, 0)
    delta = encode(0, 1)
    decode(delta, 0, 1)
    device.its.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(EngineError, match="out of memory"):
        encode(0, 1)
    with pytest.raises(EngineError, match="out of memory"):
        decode(delta, 0, 1)
    device.its.error = None
    with pytest.raises(EngineError, match="lost in a failed batch"):
        decode(delta, 1, 2)
    assert not encode(1, 2).is_delta  # alone, as one of a new scene
    assert encode(0, 1).is_delta
    decode(delta, 0, 1)
    decode(delta, 1, 2)  # what was stored again is good again
    engine.close()


def test_a_new_scene_that_is_not_stored_is_leant_on_by_nobody() -> None:
    device = FailingDevice()
    bundle = with_spatial(find_bundle("n64"))
    engine = TorchEngine(bundle, device=device, frames=plain_frames, states=2)
    state = engine.open_state(64, 64)
    known, scene = noise(64, 64), picture(64, 64)
    engine.encode([EncodeJob(state, known, 30, store=0)])
    device.its.error, device.its.of = torch.OutOfMemoryError("CUDA out of memory"), KEEP
    with pytest.raises(EngineError, match="out of memory"):
        engine.encode([EncodeJob(state, scene, 30, reference=0, store=1)])
    device.its.error = None
    assert engine.encode([EncodeJob(state, scene, 30, reference=1, store=1)])[0].is_spatial
    assert engine.encode([EncodeJob(state, scene, 30, reference=1)])[0].is_delta
    engine.close()


def test_rows_of_a_stream_that_is_closed_wait_for_what_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = CpuTorchEngine(find_bundle("n64"), states=1)
    state = engine.open_state(64, 64)
    run = engine.batching.run

    def run_slowly(requests: Sequence[Request]) -> list[Any]:
        engine.close_state(state)
        with pytest.raises(Overloaded):
            engine.open_state(64, 64)
        return run(requests)

    monkeypatch.setattr(engine.batching, "run", run_slowly)
    engine.encode([EncodeJob(state, noise(64, 64), 30, store=0)])
    monkeypatch.undo()
    engine.open_state(64, 64)
    engine.close()


def test_sizes_that_nobody_uses_give_way_to_one_that_somebody_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = CpuTorchEngine(find_bundle("n64"), states=1)
    for width in (64, 128):
        engine.close_state(engine.open_state(width, 64))

    def slab(size: tuple[int, int], **given: Any) -> Slab:
        if len(engine.sizes) > n_fit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Slab(size, **given)

    monkeypatch.setattr(torch_engine, "Slab", slab)
    n_fit = 0
    used = engine.open_state(192, 64)
    assert engine.sizes == ((64, 192),)
    with pytest.raises(EngineError, match="out of memory"):
        engine.open_state(256, 64)
    engine.encode([EncodeJob(used, noise(192, 64), 30)])  # the others go on
    engine.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so() -> None:
    assert TorchEngine.probe().reason == "torch finds no CUDA device"
    with pytest.raises(EngineError, match="torch finds no CUDA device 0"):
        TorchEngine(find_bundle("n64"))
