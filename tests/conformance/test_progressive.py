"""
Frozen progressive pictures: what whole files and their beginnings decode to never changes.

`expect.json` has, for each file, SHA-256 of Y, U and V after cuts; `plain.py` is held to the same.
"""

import hashlib
import json
from pathlib import Path

import pytest

from rtcodec.bitstream.progressive_file import read_progressive
from rtcodec.errors import BitstreamError
from rtcodec.progressive.native import Plane
from rtcodec.progressive.picture import decode_picture
from rtcodec.progressive.plain import decode_plainly

FOLDER = Path(__file__).parent / "progressive"
EXPECTED = json.loads((FOLDER / "expect.json").read_text())


def digest(planes: tuple[Plane, ...]) -> str:
    return hashlib.sha256(b"".join(plane.tobytes() for plane in planes)).hexdigest()


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
        assert digest(decode_picture(file)) == expected
        assert digest(decode_plainly(file.header, file.payload)) == expected


def test_there_is_no_file_that_nothing_is_expected_of() -> None:
    assert {path.name for path in FOLDER.glob("*.rtc")} == set(EXPECTED)
