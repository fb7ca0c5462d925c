"""
Frozen progressive pictures: what whole files and their beginnings decode to never changes.

`expect.json` has, for each file, SHA-256 of Y, U and V after cuts; `plain.py` is held to the same.
"""

import json
from pathlib import Path

import pytest

from rtcodec.bitstream.progressive_file import read_progressive
from rtcodec.conformance.observe import planes_sha256
from rtcodec.errors import BitstreamError
from rtcodec.progressive.picture import decode_picture
from rtcodec.progressive.plain import decode_plainly
from rtcodec.types import Planes

FOLDER = Path(__file__).parent / "progressive"
EXPECTED = json.loads((FOLDER / "expect.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_files_and_their_beginnings_decode_as_they_always_did(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    for cut, expected in EXPECTED[name].items():
        if isinstance(expected, dict):
            with pytest.raises(BitstreamError) as caught:
                decode_picture(read_progressive(data[: int(cut)]))
            seen = {"error": type(caught.value).__name__, "offset": caught.value.offset}
            assert seen == expected
            continue
        file = read_progressive(data[: int(cut)])
        assert planes_sha256(Planes(*decode_picture(file))) == expected
        assert planes_sha256(Planes(*decode_plainly(file.header, file.payload))) == expected


def test_there_is_no_file_that_nothing_is_expected_of() -> None:
    assert {path.name for path in FOLDER.glob("*.rtc")} == set(EXPECTED)
