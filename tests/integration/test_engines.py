"""The CPU engines run the shipped models, and read each other's streams."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine, StateId
from rtcodec.engine.loader import ENGINES, open_engine, probe_engine
from rtcodec.errors import ConfigError, EngineError, LocalProtocolError
from rtcodec.quality import picture_psnr
from rtcodec_engines import pipeline
from rtcodec_engines.graph_engine import GraphEngine
from support.pictures import noise, picture, same_picture
from support.spatial_model import with_spatial, without_spatial

USABLE = [name for name in ENGINES if probe_engine(name).usable]
MODELS = {
    "n64": without_spatial(find_bundle("n64")),
    "s128": without_spatial(find_bundle("s128")),
    "spatial": with_spatial(find_bundle("n64")),
}


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return MODELS[str(request.param)]


@pytest.fixture(scope="module")
def engines(bundle: Bundle) -> Iterator[dict[str, Engine]]:
    opened = {name: open_engine(name, bundle) for name in USABLE}
    yield opened
    for engine in opened.values():
        engine.close()


def test_both_engines_are_usable_here() -> None:
    assert list(ENGINES) == USABLE


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (200, 136)])
def test_outputs_keep_the_protocol(
    bundle: Bundle, engines: dict[str, Engine], size: tuple[int, int]
) -> None:
    width, height = size
    rows, columns = -(-height // 64), -(-width // 64)
    for engine, neural in product(engines.values(), {False, bundle.spatial is not None}):
        part = bundle if neural or bundle.spatial is None else bundle.spatial
        latents = (part.latent_channels, 4 * rows, 4 * columns)
        state = engine.open_state(width, height)
        job = EncodeJob(state, noise(width, height), 12, reconstruct=True, neural=neural)
        output = engine.encode([job])[0]
        assert output.is_spatial == (part is bundle.spatial)
        shown = engine.decode([_decoding(output, state, 12, width, height)])[0]
        engine.close_state(state)

        assert (output.z.dtype.name, output.z.shape) == (
            "int8",
            (bundle.hyper_channels, rows, columns),
        )
        assert np.abs(output.z).max() <= 15
        assert (output.symbols.dtype.name, output.symbols.shape) == ("int16", latents)
        assert np.array_equal(output.indices, part.scale_net.indices_reference(output.z, 12))
        if part is bundle:
            assert np.array_equal(output.indices, engine.scale_indices(output.z, 12))
        assert not output.symbols[output.indices == 0].any()
        assert output.reconstruction is not None
        assert same_picture(output.reconstruction, shown)


def _decoding(output: EncodeOutput, state: StateId, qp: int, width: int, height: int) -> DecodeJob:
    return DecodeJob(state, output.z, output.symbols, qp, width, height, spatial=output.is_spatial)


def test_engines_agree_closely(engines: dict[str, Engine]) -> None:
    source = picture(200, 136)
    shown = {}
    for name, engine in engines.items():
        state = engine.open_state(200, 136)
        output = engine.encode([EncodeJob(state, source, 20)])[0]
        shown[name] = engine.decode([_decoding(output, state, 20, 200, 136)])[0]
        engine.close_state(state)
    first, second = shown.values()
    assert picture_psnr(first, second).y > 40


def test_symbols_of_one_engine_parse_on_every_other(
    bundle: Bundle, engines: dict[str, Engine]
) -> None:
    tables = bundle.entropy_tables
    for engine in engines.values():
        packer = FramePacker(tables, Slicing(slices=2), spatial_tables=bundle.spatial_tables)
        encoder = FrameEncoder(engine, packer, 200, 136, neural=False)
        frame = encoder.encode(picture(200, 136), qp=16, pts=0, keyframe=True)
        encoder.close()
        pictures = []
        for other in engines.values():
            decoder = FrameDecoder(other, bundle, 200, 136)
            decoded = decoder.decode(frame.unit.packets)
            decoder.close()
            assert np.array_equal(decoded.frame.symbols, frame.output.symbols)
            assert np.array_equal(decoded.frame.z, frame.output.z)
            pictures.append(decoded.planes)
        # the same integers through two float libraries: at most a rounding apart
        most = 0 if frame.output.is_spatial else 1
        for one, two in zip(
            (pictures[0].y, pictures[0].u, pictures[0].v),
            (pictures[1].y, pictures[1].u, pictures[1].v),
            strict=True,
        ):
            assert np.abs(one.astype(int) - two).max() <= most


def test_the_sizes_of_one_batch_may_differ(engines: dict[str, Engine]) -> None:
    for engine in engines.values():
        sizes = [(64, 64), (100, 40), (64, 64)]
        states = [engine.open_state(*size) for size in sizes]
        jobs = [
            EncodeJob(state, noise(*size, seed), 5 + seed)
            for seed, (state, size) in enumerate(zip(states, sizes, strict=True))
        ]
        together = engine.encode(jobs)
        alone = [engine.encode([job])[0] for job in jobs]
        for one, two in zip(together, alone, strict=True):
            assert np.array_equal(one.symbols, two.symbols)


def test_threads_may_share_an_engine(engines: dict[str, Engine]) -> None:
    for engine in engines.values():
        states = [engine.open_state(64, 64) for _ in range(6)]
        jobs = [EncodeJob(state, noise(64, 64, seed), 9) for seed, state in enumerate(states)]
        alone = [engine.encode([job])[0].symbols for job in jobs]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(engine.encode, [[job] for job in jobs]))
        for one, two in zip(alone, together, strict=True):
            assert np.array_equal(one, two[0].symbols)


@pytest.mark.parametrize("name", USABLE)
def test_old_sizes_are_forgotten_and_come_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "KEPT_SIZES", 1)
    engine = open_engine(name, without_spatial(find_bundle("n64")))
    assert isinstance(engine, GraphEngine)
    for width in (64, 128, 64):
        state = engine.open_state(width, 64)
        engine.encode([EncodeJob(state, noise(width, 64), 30)])
        engine.close_state(state)
    engine.close()
    with pytest.raises(LocalProtocolError, match="the engine is closed"):
        engine.open_state(64, 64)


class CountingEngine(GraphEngine):
    """Compiles nothing, and remembers for which sizes it was asked to."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.compiled: list[tuple[int, int]] = []

    def _compile(self, size: tuple[int, int]) -> Any:
        self.compiled.append(size)
        return object()

    def _forget(self, size: tuple[int, int]) -> None:
        pass


def test_graphs_of_every_open_stream_are_kept_and_a_few_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "KEPT_SIZES", 2)
    engine = CountingEngine(without_spatial(find_bundle("n64")))
    widths = [64 * n for n in range(1, 7)]
    states = [engine.open_state(width, 64) for width in widths]
    for width in widths:
        engine.close_state(engine.open_state(width, 64))
    assert len(engine.compiled) == len(widths)
    for state in states:
        engine.close_state(state)
    for width in widths:
        engine.close_state(engine.open_state(width, 64))
    assert len(engine.compiled) > len(widths)
    engine.close()


@pytest.mark.parametrize("spatial", [False, True])
def test_graphs_are_compiled_before_the_first_frame_comes(spatial: bool) -> None:
    bundle = find_bundle("n64")
    engine = CountingEngine(with_spatial(bundle) if spatial else without_spatial(bundle))
    engine.open_state(100, 40)
    assert engine.compiled == [(64, 128)]
    engine.close()


def test_a_stream_without_graphs_is_not_opened() -> None:
    class Refusing(CountingEngine):
        def _compile(self, size: tuple[int, int]) -> Any:
            raise RuntimeError("no graphs here")

    engine = Refusing(with_spatial(find_bundle("n64")))
    with pytest.raises(EngineError, match="no graphs for 128x64: no graphs here"):
        engine.open_state(100, 40)
    engine.close()


@pytest.mark.parametrize("name", USABLE)
def test_a_model_without_spatial_frames_decodes_none(name: str) -> None:
    engine = open_engine(name, without_spatial(find_bundle("n64")))
    state = engine.open_state(64, 64)
    symbols = np.zeros((394, 4, 4), np.int16)
    z = np.zeros((96, 1, 1), np.int8)
    with pytest.raises(LocalProtocolError, match="model n64 predicts no frame from itself"):
        engine.decode([DecodeJob(state, z, symbols, 20, 64, 64, spatial=True)])
    engine.close()


@pytest.mark.parametrize("name", USABLE)
def test_a_job_of_another_size_is_our_fault(name: str) -> None:
    engine = open_engine(name, find_bundle("n64"))
    state = engine.open_state(64, 64)
    with pytest.raises(LocalProtocolError, match="was not opened for 32x32"):
        engine.encode([EncodeJob(state, noise(32, 32), 0)])
    engine.close()


@pytest.mark.parametrize("name", USABLE)
def test_a_model_without_its_graphs_is_refused(name: str, tmp_path: Path) -> None:
    whole = find_bundle("n64")
    lone = Bundle(name="lone", dims=whole.dims, tensors=whole.tensors).save(tmp_path / "lone.rtcm")
    with pytest.raises(ConfigError, match="graph analysis is not listed"):
        open_engine(name, lone)


_ENCODE = """
import hashlib, json, sys
from pathlib import Path
from rtcodec.bundle import find_bundle
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.loader import open_engine
from rtcodec.bitstream.packet import write_packet
from support.pictures import picture
name, out = sys.argv[1:]
bundle = find_bundle("n64")
packer = FramePacker(
    bundle.entropy_tables, Slicing(slices=2), spatial_tables=bundle.spatial_tables
)
encoder = FrameEncoder(open_engine(name, bundle), packer, 150, 90, neural=False)
frame = encoder.encode(picture(150, 90), qp=10, pts=0, keyframe=True)
Path(out).write_bytes(b"".join(map(write_packet, frame.unit.packets)))
digest = hashlib.sha256(frame.output.symbols.tobytes()).hexdigest()
print(json.dumps([len(frame.unit.packets), digest]))
"""

_DECODE = """
import hashlib, json, sys
from pathlib import Path
from rtcodec.bundle import find_bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.engine.loader import open_engine
from rtcodec.bitstream.cursor import Cursor
from rtcodec.bitstream.packet import read_packet_at
name, source = sys.argv[1:]
bundle = find_bundle("n64")
cursor = Cursor(Path(source).read_bytes())
packets = []
while cursor.remaining:
    packets.append(read_packet_at(cursor))
decoder = FrameDecoder(open_engine(name, bundle), bundle, 150, 90)
frame = decoder.decode(packets).frame
print(json.dumps([len(packets), hashlib.sha256(frame.symbols.tobytes()).hexdigest()]))
"""


@pytest.mark.parametrize(("writer", "reader"), [USABLE[:2], USABLE[1::-1]])
def test_engines_in_separate_processes_see_the_same_symbols(
    writer: str, reader: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "packets")
    results = [
        subprocess.run(
            [sys.executable, "-c", code, name, path],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        ).stdout
        for code, name in ((_ENCODE, writer), (_DECODE, reader))
    ]
    assert json.loads(results[0]) == json.loads(results[1])


_SIGNAL = """
import gc, os, signal, sys
from rtcodec.bundle import find_bundle
from rtcodec.engine.loader import open_engine, probe_engine

name, bundle = sys.argv[1], find_bundle("n64")
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
engines = [open_engine(name, bundle) for _ in range(2) if probe_engine(name).usable]
for engine in engines:
    engine.open_state(64, 64)
del engine
while engines:  # those that came first go first
    del engines[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("name", USABLE)
def test_a_signal_is_survived_when_engines_have_come_and_gone(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _SIGNAL, name],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
