"""Ready-made and random structures of the bitstream."""

import io
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from rtcodec.bitstream import (
    AccessUnit,
    ColorRange,
    Description,
    Extension,
    Geometry,
    Packet,
    PacketHeader,
    RtcWriter,
    SequenceHeader,
    TileRange,
    split_tiles,
    state_id,
    state_slot,
)
from rtcodec.bitstream.packet import (
    TYPE_COPIED_SPATIAL,
    TYPE_SPATIAL_SLICE,
    TYPE_WHOLE_SPATIAL,
)
from rtcodec.types import LayerId, tile_grid

MODEL_ID = bytes.fromhex("0123456789abcdef")


def sequence_of(width: int = 130, height: int = 70, *, references: int = 0) -> SequenceHeader:
    """A header of 3 by 2 tiles unless said otherwise."""
    return SequenceHeader(
        model_id=MODEL_ID,
        geometry=Geometry(width, height),
        time_base=Fraction(1, 30),
        frame_rate=Fraction(30),
        references=references,
    )


def header_of(frame_number: int = 0, *, qp: int = 20, keyframe: bool = False) -> PacketHeader:
    """The shortest header: a whole frame in one packet."""
    return PacketHeader(frame_number=frame_number, qp=qp, keyframe=keyframe, last=True)


def unit_of(pts: int, payload: bytes = b"coded") -> AccessUnit:
    """A frame in one packet."""
    header = header_of(pts & 0xFFFF, keyframe=pts == 0)
    return AccessUnit(pts, (Packet(header, payload),))


def rtc_of(sequence: SequenceHeader, units: Iterable[AccessUnit]) -> bytes:
    """A whole `.rtc` stream."""
    stream = io.BytesIO()
    with RtcWriter(stream, sequence) as writer:
        for unit in units:
            writer.write(unit)
    return stream.getvalue()


class Trickle(io.BytesIO):
    """A stream that gives out at most three bytes at a time, as a pipe may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size is None or size < 0 else min(size, 3))


sides = st.one_of(st.integers(1, 300), st.integers(1, 16384))
geometries = st.builds(Geometry, sides, sides, st.integers(8, 16))
layers = st.builds(LayerId, st.integers(0, 15), st.integers(0, 15))
descriptions = st.builds(Description, st.integers(0, 0xFFFF), geometries)
payloads = st.binary(max_size=40)
extension_types = st.integers(1, 31).filter(
    lambda kind: kind not in (TYPE_SPATIAL_SLICE, TYPE_WHOLE_SPATIAL, TYPE_COPIED_SPATIAL)
)
extensions = st.builds(Extension, extension_types, payloads)
ratios = st.builds(Fraction, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))


@st.composite
def tile_ranges(draw: st.DrawFn) -> TileRange:
    first = draw(st.one_of(st.integers(0, 300), st.integers(0, 65535)))
    count = draw(st.integers(1, 65536 - first))
    return TileRange(first, count, draw(st.booleans()))


@st.composite
def packet_headers(draw: st.DrawFn) -> PacketHeader:
    keyframe, spatial = draw(st.booleans()), draw(st.booleans())
    states = st.none() | st.builds(state_id, st.integers(0, 14), st.integers(0, 15))
    tiles = draw(st.none() | tile_ranges())
    across_tiles = spatial and tiles is None and draw(st.booleans())
    return PacketHeader(
        frame_number=draw(st.integers(0, 65535)),
        qp=draw(st.integers(0, 63)),
        keyframe=keyframe,
        last=draw(st.booleans()),
        lanes=draw(st.sampled_from((1, 2, 4, 8))),
        check=draw(st.integers(0, 65535)),
        reference=None if keyframe or spatial else draw(states),
        store=draw(states),
        layer=draw(layers),
        description=draw(st.none() | descriptions),
        tiles=tiles,
        spatial=spatial,
        across_tiles=across_tiles,
        has_copies=across_tiles and draw(st.booleans()),
    )


packets = st.builds(Packet, packet_headers(), payloads)
any_packets = st.one_of(packets, extensions)


@st.composite
def sequence_headers(draw: st.DrawFn) -> SequenceHeader:
    return SequenceHeader(
        model_id=draw(st.binary(min_size=8, max_size=8)),
        geometry=draw(geometries),
        time_base=draw(ratios),
        frame_rate=draw(st.none() | ratios),
        color_range=draw(st.sampled_from(ColorRange)),
        color_matrix=draw(st.integers(0, 14)),
        source_format=draw(st.sampled_from(("yuv420p", "rgb24", "other", "code-200"))),
        rungs=draw(st.integers(1, 16)),
        references=draw(st.integers(0, 15)),
    )


@st.composite
def access_units(draw: st.DrawFn, sequence: SequenceHeader) -> AccessUnit:
    """Units that fit *sequence*: one frame, cut into slices, with extensions anywhere."""
    header = replace(
        draw(packet_headers()),
        layer=LayerId(draw(st.integers(0, sequence.rungs - 1)), draw(st.integers(0, 15))),
        description=draw(st.none() | st.just(Description(sequence.model_tag, sequence.geometry))),
        last=False,
    )
    if state_slot(header.reference or 0) >= sequence.references:
        header = replace(header, reference=None)
    if state_slot(header.store or 0) >= sequence.references:
        header = replace(header, store=None)
    rows, columns = tile_grid(sequence.width, sequence.height)
    slices = draw(st.integers(1, min(4, rows * columns)))
    runs: list[TileRange | None] = list(
        split_tiles(sequence.width, sequence.height, slices, dispersed=draw(st.booleans()))
    )
    if slices == 1 and draw(st.booleans()):
        runs = [None]
    if runs != [None]:
        header = replace(header, across_tiles=False, has_copies=False)
    headers = [replace(header, tiles=run, check=draw(st.integers(0, 65535))) for run in runs]
    headers[-1] = replace(headers[-1], last=draw(st.booleans()))
    parts: list[Packet | Extension] = []
    for each in headers:
        parts += draw(st.lists(extensions, max_size=1))
        parts.append(Packet(each, draw(payloads)))
    parts += draw(st.lists(extensions, max_size=1))
    pts = draw(st.one_of(st.integers(-5, 300), st.integers(-(2**62), 2**62 - 1)))
    return AccessUnit(pts, tuple(parts))


@st.composite
def streams(draw: st.DrawFn) -> tuple[SequenceHeader, list[AccessUnit]]:
    sequence = draw(sequence_headers())
    return sequence, draw(st.lists(access_units(sequence), max_size=3))
