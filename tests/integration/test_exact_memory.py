"""A large frame takes a few times its samples, not more: no hidden copies in wider numbers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SIDE = 3000
RAW_BYTES = 2 * SIDE * SIDE

SCRIPT = """
import re, sys
from pathlib import Path
from rtcodec import cli

def peak():  # ru_maxrss would be the parent's, if that was larger
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small, *words = sys.argv[1:]
for first in (["encode", "--lossless", small, small + ".rtc"],
              ["decode", small + ".rtc", small + ".npy"]):
    assert cli.main(first) == 0  # imports
before = peak()
assert cli.main(words) == 0
print(peak() - before)
"""


def grown_bytes(*words: object) -> int:
    """Return by how much a process grew at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_a_large_frame_is_coded_and_decoded_in_bounded_memory(tmp_path: Path) -> None:
    rows, columns = np.indices((SIDE, SIDE), np.float32)
    wave = (2000 + 1500 * np.sin(rows / 300) * np.cos(columns / 200)).astype(np.uint16)
    large, small, coded = tmp_path / "in.npy", tmp_path / "small.npy", tmp_path / "out.rtc"
    np.save(large, wave + np.random.default_rng(1).integers(0, 16, wave.shape, np.uint16))
    np.save(small, wave[:800, :800])
    assert grown_bytes(small, "encode", "--lossless", large, coded) < 3 * RAW_BYTES
    assert grown_bytes(small, "decode", coded, tmp_path / "out.npy") < 3 * RAW_BYTES
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.load(large))
