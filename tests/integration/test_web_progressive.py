"""Progressive pictures in the decoder for browsers, in node: what the frozen files say."""

import json
import subprocess
from pathlib import Path
from random import Random

import pytest

from benchmarks._fuzz_pictures import mutate_progressive, progressive_files
from benchmarks._web_decoder import MISSING, NODE
from rtcodec.bitstream.progressive_file import read_progressive
from rtcodec.conformance.observe import planes_sha256
from rtcodec.entropy import build
from rtcodec.errors import BitstreamError
from rtcodec.progressive.picture import decode_picture
from rtcodec.types import Planes

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

TESTS = Path(__file__).parents[1]
FROZEN = TESTS / "conformance" / "progressive"
N_DAMAGED = 300


def in_node(folder: Path, files: list[bytes]) -> list[dict[str, object]]:
    """Return what the decoder for browsers makes of files."""
    assert NODE is not None
    wasm = build.compile_wasm(
        folder / build.PROGRESSIVE_WASM.name, build.inherited_environment(), ["-Werror"],
        build.PROGRESSIVE_WASM_SOURCES,
    )  # fmt: skip
    paths = [folder / f"{number}.rtc" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    observe = TESTS / "support" / "progressive_observe.mjs"
    done = subprocess.run(
        [NODE, str(observe), str(build.WEB / "src" / "progressive.js"), str(wasm)],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_frozen_files_and_their_beginnings_decode_to_the_same_samples(tmp_path: Path) -> None:
    expected = json.loads((FROZEN / "expect.json").read_text())
    cuts = [(name, int(cut)) for name, of in expected.items() for cut in of]
    files = [(FROZEN / name).read_bytes()[:cut] for name, cut in cuts]
    for (name, cut), seen in zip(cuts, in_node(tmp_path, files), strict=True):
        wanted = expected[name][str(cut)]
        if isinstance(wanted, dict):
            assert seen == wanted, (name, cut)
        else:
            assert seen["digest"] == wanted, (name, cut)


def test_damaged_files_are_refused_alike_and_otherwise_decode_alike(tmp_path: Path) -> None:
    rng, samples = Random(4), progressive_files()
    files = [mutate_progressive(rng.choice(samples), samples, rng) for _ in range(N_DAMAGED)]
    files = [data for data in files if _is_small(data)]
    assert len(files) > N_DAMAGED // 2
    for data, seen in zip(files, in_node(tmp_path, files), strict=True):
        wanted: dict[str, object]
        try:
            file = read_progressive(data)
            planes = Planes(*decode_picture(file))
            wanted = {"digest": planes_sha256(planes), "isWhole": file.is_whole}
        except BitstreamError as error:
            wanted = {"error": type(error).__name__, "offset": error.offset}
        assert {key: seen[key] for key in wanted} == wanted


def _is_small(data: bytes) -> bool:
    try:
        header = read_progressive(data).header
    except BitstreamError:
        return True
    return header.width * header.height < 1 << 14
