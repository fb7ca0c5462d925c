"""Heads of HTJ2K and JPEG XL: what our encoders write is let through, nothing else is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rtcodec.codec.exact_streams import bare_jpeg_xl, check_htj2k, check_jpeg_xl
from rtcodec.errors import Corrupt

imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")

RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def stream_of(shape: tuple[int, ...], kind: str = "u1", **options: Any) -> bytes:
    options = {"lossless": True, "effort": 1, **options}
    data: bytes = imagecodecs.jpegxl_encode(np.zeros(shape, kind), **options)
    return bare_jpeg_xl(data)


def test_every_way_to_say_a_size_is_read() -> None:
    rng = np.random.default_rng(1)
    sizes = [(8 * k, 8 * j) for k, j in rng.integers(1, 40, (20, 2))]  # in eighths
    sizes += [(rows, rows * a // b) for rows in (8, 63, 250) for a, b in RATIOS]
    sizes += [(1, 1), (1, 512), (513, 3), (2, 8191), (8193, 1), (20000, 1)]
    for number, (rows, columns) in enumerate((int(a), int(b)) for a, b in sizes):
        for kind, components in (("u1", 3), ("u2", 1), ("u1", 1), ("u2", 3)):
            shape = (rows, columns, components)
            data = stream_of(shape if components > 1 else shape[:2], kind)
            depth = 8 * np.dtype(kind).itemsize
            check_jpeg_xl(data, shape, depth)
            other = [*shape]
            other[number % 2] += 1
            with pytest.raises(Corrupt, match="not an image of"):
                check_jpeg_xl(data, (other[0], other[1], other[2]), depth)
            with pytest.raises(Corrupt, match="not an image of"):
                check_jpeg_xl(data, (rows, columns, 4 - components), depth)
            with pytest.raises(Corrupt, match="not an image of"):
                check_jpeg_xl(data, shape, 24 - depth)


@pytest.mark.parametrize("bits", range(9, 17))
def test_every_depth_is_read(bits: int) -> None:
    check_jpeg_xl(stream_of((5, 9), "u2", bitspersample=bits), (5, 9, 1), bits)


@pytest.mark.parametrize(
    "make",
    [
        lambda: stream_of((8, 8, 4)),  # a further channel
        lambda: stream_of((8, 8, 3), "f4"),
        lambda: stream_of((8, 8, 3), lossless=False, distance=1.0),  # XYB
        lambda: imagecodecs.jpegxl_encode(np.zeros((2, 8, 8, 3), "u1"), lossless=True),  # frames
        lambda: b"\xff\x0a" + bytes([0b1, 0b10000010]),  # all by default: of loss
        lambda: b"\xff\x0a",
        lambda: b"\xff\x0a" + b"\xff" * 40,
    ],
)
def test_what_is_not_plain_is_refused(make: Callable[[], bytes]) -> None:
    data = bytes(make())
    assert data.startswith(b"\xff\x0a")
    with pytest.raises(Corrupt, match="not an image of"):
        check_jpeg_xl(data, (8, 8, 3), 8)


HEAD_BITS = {
    "all by default": 9,
    "orientation or animation": 10,
    "floats": 11,
    "a further channel": 15,
    "further channels": 16,
    "XYB": 17,
    "a profile": 19,
    "another space of colours": 21,
}


@pytest.mark.parametrize("place", HEAD_BITS.values(), ids=HEAD_BITS.keys())
def test_each_thing_that_a_head_may_say_beside_the_size_is_refused(place: int) -> None:
    plain = stream_of((8, 8), "u1")  # its size takes 9 bits
    check_jpeg_xl(plain, (8, 8, 1), 8)
    bits = int.from_bytes(plain, "little") ^ 1 << 16 + place
    with pytest.raises(Corrupt, match="not an image of"):
        check_jpeg_xl(bits.to_bytes(len(plain), "little"), (8, 8, 1), 8)


def test_a_container_gives_its_code_stream_and_nothing_else_is_taken_for_one() -> None:
    deep = np.arange(120, dtype=np.uint16).reshape(10, 12) * 500
    boxed = bytes(imagecodecs.jpegxl_encode(deep, lossless=True, usecontainer=True))
    assert not boxed.startswith(b"\xff\x0a")
    bare = bare_jpeg_xl(boxed)
    check_jpeg_xl(bare, (10, 12, 1), 16)
    np.testing.assert_array_equal(imagecodecs.jpegxl_decode(bare), deep)
    assert bare_jpeg_xl(bare) == bare
    at = boxed.index(b"jxlc") - 4
    to_the_end = boxed[:at] + bytes(4) + boxed[at + 4 :]
    assert bare_jpeg_xl(to_the_end) == bare
    with pytest.raises(Corrupt, match="not one code stream"):
        bare_jpeg_xl(boxed.replace(b"jxlc", b"jxlp"))
    with pytest.raises(Corrupt, match="not an image of"):
        check_jpeg_xl(boxed, (10, 12, 1), 16)
    with pytest.raises(Corrupt, match="not one code stream"):
        bare_jpeg_xl(b"neither")


def htj2k_of(shape: tuple[int, ...], kind: str = "u1", **options: Any) -> bytes:
    samples = np.arange(int(np.prod(shape))).reshape(shape).astype(kind)
    return bytes(imagecodecs.htj2k_encode(samples, **{"reversible": True, **options}))


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (70, 90, 3), (600, 700)])
def test_htj2k_is_let_through_at_its_own_size_alone(shape: tuple[int, ...], kind: str) -> None:
    data, depth = htj2k_of(shape, kind), 8 * np.dtype(kind).itemsize
    rows, columns, components = (*shape, 1)[:3]
    check_htj2k(data, (rows, columns, components), depth)
    for other in ((rows + 1, columns, components), (rows, columns + 1, components)):
        with pytest.raises(Corrupt, match="not an image of"):
            check_htj2k(data, other, depth)
    for wrong in (((rows, columns, 4 - components), depth), ((rows, columns, components), 12)):
        with pytest.raises(Corrupt, match="not an image of"):
            check_htj2k(data, *wrong)


@pytest.mark.parametrize(
    "options", [{"reversible": False}, {"tile": (32, 32)}, {"tlm": True}, {"resolutions": 12}]
)
def test_htj2k_of_loss_or_in_parts_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Corrupt):
        check_htj2k(htj2k_of((70, 90), **options), (70, 90, 1), 8)


HTJ2K = htj2k_of((24, 40))
MAIN = HTJ2K.index(b"\xff\x90")
COMMENT = range(HTJ2K.index(b"\xff\x64") + 4, MAIN)
FREE = {6, 7, 54, 60, 65, 66, *range(73, 90), *COMMENT}
"Capabilities, magnitudes, order, sides of code blocks, bit planes: within bounds the encoder's."


def test_a_main_header_that_is_broken_anywhere_is_refused() -> None:
    let_through = set()
    for place in range(MAIN + 14):
        for bit in range(8):
            broken = bytearray(HTJ2K)
            broken[place] ^= 1 << bit
            try:
                check_htj2k(bytes(broken), (24, 40, 1), 8)
            except Corrupt:
                continue
            let_through.add(place)
    assert let_through == FREE


@pytest.mark.parametrize("cut", [0, 2, 3, 30, 60, MAIN - 30, MAIN, MAIN + 5, MAIN + 14, -2, -1])
def test_htj2k_that_is_cut_is_refused(cut: int) -> None:
    with pytest.raises(Corrupt):
        check_htj2k(HTJ2K[:cut], (24, 40, 1), 8)


def test_a_quantiser_for_fewer_bands_than_there_are_is_refused() -> None:
    """OpenJPH ends the process over one of none."""
    at = HTJ2K.index(b"\xff\x5c") + 2
    length = int.from_bytes(HTJ2K[at : at + 2], "big")
    for kept in range(2, length):
        data = HTJ2K[:at] + kept.to_bytes(2, "big") + HTJ2K[at + 2 : at + kept]
        with pytest.raises(Corrupt):
            check_htj2k(data + HTJ2K[at + length :], (24, 40, 1), 8)
