"""Pictures of delta frames and spatial frames: no numbers make C read or write outside."""

from pathlib import Path

from rtcodec.entropy.build import MOTION_SOURCES, SOURCES
from support.sanitizer import fuzz


def test_no_input_makes_c_read_or_write_outside(tmp_path: Path) -> None:
    copies = [source for source in SOURCES if "copies" in source.name]
    # other builds are of the same lines
    flags = ("-DRTC_PORTABLE", *map(str, (*MOTION_SOURCES, *copies)))
    painted, coded = fuzz("motion_fuzz.c", tmp_path, *flags, rounds=10)
    assert painted == 40  # not vacuous
    assert coded == 10
