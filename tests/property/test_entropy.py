"""Properties of the entropy coder that hold for every slice and every payload."""

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcodec.entropy import build, native, rans
from rtcodec.entropy.cdf import EntropyTables, tables_from_histograms, y_tables_from_histograms
from rtcodec.entropy.rans import LANES
from rtcodec.errors import BitstreamError
from support.latents import Slice, make_slice
from support.sanitizer import fuzz

NO_DEADLINE = settings(deadline=None)  # the reference is slow, and machines are busy
LANE_COUNTS = st.sampled_from(LANES)
SEEDS = st.integers(0, 1 << 32)

slices = st.builds(
    make_slice,
    st.integers(0, 4),
    seed=SEEDS,
    hyper_channels=st.integers(1, 5),
    channels=st.integers(0, 6),
    coded=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    escapes=st.sampled_from([0.0, 0.05, 1.0]),
    qp=st.integers(0, 63),
)


def decode(coder: ModuleType, made: Slice, payload: bytes, lanes: int) -> Slice:
    decoder = coder.SliceDecoder(made.tables, payload, len(made.z), made.qp, lanes)
    z = decoder.read_z()
    return Slice(made.tables, z, decoder.read_y(made.indices), made.indices, made.qp)


def encode(coder: ModuleType, made: Slice, lanes: int) -> bytes:
    payload: bytes = coder.encode_slice(
        made.tables, made.z, made.symbols, made.indices, made.qp, lanes
    )
    return payload


@given(slices, LANE_COUNTS)
@NO_DEADLINE
def test_c_and_reference_write_the_same_bytes_and_read_them_back(made: Slice, lanes: int) -> None:
    payload = encode(rans, made, lanes)
    assert encode(native, made, lanes) == payload
    for coder in (rans, native):
        back = decode(coder, made, payload, lanes)
        assert (back.z == made.z).all()
        assert (back.symbols == made.symbols).all()


@given(st.integers(0, 1 << 32), st.integers(1, 127), LANE_COUNTS)
@settings(max_examples=25, deadline=None)
def test_any_tables_do(seed: int, reach: int, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 1 << rng.integers(1, 30, (64, 1)), (64, 2 * reach + 1))
    z_counts = rng.integers(0, 1 << rng.integers(1, 30, (64, 3, 1)), (64, 3, 31))
    tables = EntropyTables(y_tables_from_histograms(counts), tables_from_histograms(z_counts))
    drawn = make_slice(2, seed=seed, hyper_channels=3, channels=8, coded=0.8)
    made = Slice(tables, drawn.z, drawn.symbols, drawn.indices, drawn.qp)
    payload = encode(native, made, lanes)
    assert payload == encode(rans, made, lanes)
    assert (decode(native, made, payload, lanes).symbols == made.symbols).all()


@given(slices, LANE_COUNTS, st.binary(max_size=80))
@NO_DEADLINE
def test_arbitrary_bytes_are_refused_or_the_only_way_to_write_their_symbols(
    made: Slice, lanes: int, payload: bytes
) -> None:
    outcomes: list[object] = []
    for coder in (rans, native):
        try:
            back = decode(coder, made, payload, lanes)
        except BitstreamError as error:
            outcomes.append((type(error), error.offset))
        else:
            assert encode(coder, back, lanes) == payload
            outcomes.append((back.z.tobytes(), back.symbols.tobytes()))
    assert outcomes[0] == outcomes[1]


@given(SEEDS, LANE_COUNTS, st.data())
@settings(max_examples=50, deadline=None)
def test_a_damaged_payload_gives_both_the_same_outcome(
    seed: int, lanes: int, data: st.DataObject
) -> None:
    made = make_slice(3, seed=seed, channels=12, coded=0.6, escapes=0.01)
    payload = bytearray(encode(native, made, lanes))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    outcomes: list[object] = []
    for coder in (rans, native):
        try:
            back = decode(coder, made, bytes(payload), lanes)
        except BitstreamError as error:
            outcomes.append((type(error), error.offset))
        else:
            outcomes.append((back.z.tobytes(), back.symbols.tobytes()))
    assert outcomes[0] == outcomes[1]


# ---- the C source under tools -------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("-DRTC_PORTABLE",)], ids=["dispatched", "portable"])
def test_no_input_makes_c_read_or_write_outside(flags: tuple[str, ...], tmp_path: Path) -> None:
    decoded, refused = fuzz("rans_fuzz.c", tmp_path, *flags, rounds=60)
    assert decoded > 1000  # not vacuous
    assert refused > 1000


def test_the_same_sources_compile_to_wasm(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed")
    flags = ["--target=wasm32", "-std=c11", "-O1", "-ffreestanding", "-msimd128", "-c"]
    probe = tmp_path / "probe.c"
    probe.write_text("int one(void) { return 1; }\n")
    output = tmp_path / "coder.o"
    compile_to_wasm = [clang, *flags, "-o", str(output)]
    if subprocess.run([*compile_to_wasm, str(probe)], capture_output=True, check=False).returncode:
        pytest.skip("this clang has no wasm32 target")
    for source in (*build.SOURCES, *build.MOTION_SOURCES, *build.EXACT_SOURCES):
        subprocess.run([*compile_to_wasm, "-Wall", "-Werror", str(source)], check=True)
        assert output.read_bytes()[:4] == b"\0asm"
