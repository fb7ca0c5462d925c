"""Files of which parts have come: what can be shown, what is proven, what is damaged."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from rtcodec.bitstream.exact_file import ExactWriter
from rtcodec.bitstream.exact_format import (
    ALL_STEPS,
    COMMON_FITS,
    COMMON_REFINED_FITS,
    STEPS,
    Component,
    ExactFormat,
)
from rtcodec.bitstream.exact_index import Region, index_frames, read_header, step_spans
from rtcodec.errors import BitstreamError, Corrupt
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder, Samples
from rtcodec.exact.partial import PartialPicture, prove_fallback
from support.exact_pictures import draw_picture, plain_format

HEADER = ExactFormat(
    90, 70, 2, 12, True, False, 5, 0, (Component(-2048, 4095, None, COMMON_FITS),), b"{}"
)


def frames() -> list[Samples]:
    rng = np.random.default_rng(1)
    rows, columns = np.indices((70, 90))
    wave = 900 * np.sin(rows / 9) * np.cos(columns / 12)
    return [(wave + rng.normal(0, 5, wave.shape)).astype(np.int16)[..., None] for _ in range(2)]


def written(header: ExactFormat = HEADER, *, otherwise: bool = False) -> bytes:
    stream = io.BytesIO()
    writer, coder = ExactWriter(stream, header), FrameCoder(header)
    for frame in frames()[: header.frames]:
        coded = coder.encode(frame, encode_otherwise)
        writer.write(encode_otherwise(header, frame) if otherwise else coded)
    writer.close()
    return stream.getvalue()


DATA = written()
_, HEADER_BYTES = read_header(DATA)
SIZES = index_frames(HEADER, HEADER_BYTES, DATA)


def empty() -> PartialPicture:
    return PartialPicture(HEADER_BYTES, SIZES)


def test_bytes_in_any_order_make_the_file() -> None:
    part = empty()
    rng = np.random.default_rng(2)
    cuts = [0, *sorted(int(n) for n in rng.integers(1, len(DATA), 30)), len(DATA)]
    pieces = [(a, DATA[a:b]) for a, b in pairwise(cuts)]
    for k in rng.permutation(len(pieces)):
        part.put(*pieces[int(k)])
    assert part.data == DATA
    assert (part.n_frames, part.size_bytes, part.repeated_bytes) == (2, len(DATA), 0)
    for frame, samples in enumerate(frames()):
        assert np.array_equal(part.prove(frame), samples)
    part.put(5, DATA[5:9])
    assert part.repeated_bytes == 4


def test_steps_are_shown_as_far_as_they_have_come() -> None:
    part = empty()
    assert part.header() is None
    assert part.steps(0) == 0
    part.put(0, DATA[:HEADER_BYTES])
    assert part.header() == HEADER
    assert part.head(0) is None
    part.put(HEADER_BYTES, DATA[HEADER_BYTES : HEADER_BYTES + 200])
    head = part.head(0)
    assert head is not None
    samples = frames()[0]
    for step in range(STEPS):
        for start, end in step_spans(HEADER, head, step, None):
            part.put(HEADER_BYTES + start, DATA[HEADER_BYTES + start : HEADER_BYTES + end])
        assert part.steps(0) == step + 1
        spacing = 1 << (STEPS - 1 - step)
        assert np.array_equal(part.coarse(0, step + 1), samples[::spacing, ::spacing])
    assert part.steps(1) == 0


def test_every_sample_is_within_the_bound_before_it_is_exact() -> None:
    bound = 3
    header = replace(
        HEADER, bound=bound, components=(Component(-2048, 4095, None, COMMON_REFINED_FITS),)
    )
    data = written(header)
    _, header_bytes = read_header(data)
    part = PartialPicture(header_bytes, index_frames(header, header_bytes, data))
    part.put(0, data[: header_bytes + 300])
    head = part.head(0)
    assert head is not None
    *_, (last, end) = (span for step in range(7) for span in step_spans(header, head, step, None))
    part.put(0, data[: header_bytes + last])
    assert part.steps(0) == STEPS
    apart = np.abs(part.coarse(0, STEPS).astype(np.int64) - frames()[0])
    assert apart.max() == bound
    part.put(0, data[: header_bytes + end])
    assert part.steps(0) == ALL_STEPS
    assert np.array_equal(part.coarse(0, ALL_STEPS), frames()[0])
    assert np.array_equal(part.prove(0), frames()[0])


def test_a_region_can_be_there_before_the_rest() -> None:
    part, region = empty(), Region(1, 1, 2, 2)
    part.put(0, DATA[: HEADER_BYTES + 200])
    head = part.head(0)
    assert head is not None
    for step in range(STEPS):
        for start, end in step_spans(HEADER, head, step, region):
            part.put(HEADER_BYTES + start, DATA[HEADER_BYTES + start : HEADER_BYTES + end])
    assert part.steps(0, region) == STEPS
    assert part.steps(0) < STEPS


def test_a_byte_knows_its_frame() -> None:
    part = empty()
    second = HEADER_BYTES + SIZES[0]
    places = [0, HEADER_BYTES - 1, HEADER_BYTES, second - 1, second, len(DATA) - 5]
    assert [part.frame_at(place) for place in places] == [-1, -1, 0, 0, 1, 2]


def test_every_flipped_bit_of_a_frame_is_noticed() -> None:
    rng = np.random.default_rng(3)
    for place in rng.integers(HEADER_BYTES, HEADER_BYTES + SIZES[0], 40):
        part = empty()
        damaged = bytearray(DATA)
        damaged[place] ^= 1 << int(rng.integers(8))
        part.put(0, bytes(damaged))
        with pytest.raises(BitstreamError):
            part.prove(0)
        assert np.array_equal(part.prove(1), frames()[1])


def test_bytes_beyond_the_file_and_headers_of_another_are_refused() -> None:
    with pytest.raises(Corrupt):
        empty().put(len(DATA) - 1, b"ab")
    other = PartialPicture(HEADER_BYTES, SIZES[:1])
    other.put(0, DATA[:HEADER_BYTES])
    with pytest.raises(Corrupt, match="index"):
        other.header()
    longer = PartialPicture(HEADER_BYTES, (SIZES[0] + 9, SIZES[1]))
    longer.put(0, DATA)
    with pytest.raises(Corrupt, match="size"):
        longer.head(0)
    shorter = PartialPicture(HEADER_BYTES, (30, 30))
    shorter.put(0, DATA[: HEADER_BYTES + 60])
    with pytest.raises(BitstreamError):
        shorter.head(0)


def test_a_frame_coded_otherwise_is_there_when_it_is_whole() -> None:
    data = written(otherwise=True)
    part = PartialPicture(HEADER_BYTES, index_frames(HEADER, HEADER_BYTES, data))
    part.put(0, data[: HEADER_BYTES + 100])
    assert part.steps(0) == 0
    part.put(0, data)
    assert part.steps(0) == STEPS
    assert np.array_equal(part.prove(0), frames()[0])


def test_a_fallback_is_taken_only_if_it_is_what_was_promised() -> None:
    part = empty()
    part.put(0, DATA)
    first, second = part.head(0), part.head(1)
    assert first is not None
    assert second is not None
    one = replace(HEADER, frames=1, notes=b"")
    data = written(one, otherwise=True)
    assert np.array_equal(prove_fallback(data, HEADER, first), frames()[0])
    with pytest.raises(Corrupt, match="hash"):
        prove_fallback(data, HEADER, second)
    with pytest.raises(Corrupt, match="incomplete"):
        prove_fallback(data[:-9], HEADER, first)
    with pytest.raises(Corrupt, match="no fallback"):
        prove_fallback(written(one), HEADER, first)
    with pytest.raises(Corrupt, match="another picture"):
        prove_fallback(data, replace(HEADER, bits=13), first)
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 4
        try:
            samples = prove_fallback(bytes(damaged), HEADER, first)
        except BitstreamError:
            continue
        assert np.array_equal(samples, frames()[0])


def test_coarse_steps_of_any_picture_are_its_own_samples() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        picture = draw_picture(rng)
        header = plain_format(picture)
        stream = io.BytesIO()
        writer = ExactWriter(stream, header)
        coded = FrameCoder(header).encode(picture.frame, encode_otherwise)
        writer.write(coded)
        writer.close()
        data = stream.getvalue()
        _, header_bytes = read_header(data)
        part = PartialPicture(header_bytes, index_frames(header, header_bytes, data))
        part.put(0, data)
        assert np.array_equal(part.prove(0), picture.frame)
        for steps in range(1, STEPS + 1):
            spacing = 1 << (STEPS - steps)
            assert np.array_equal(part.coarse(0, steps), picture.frame[::spacing, ::spacing])
