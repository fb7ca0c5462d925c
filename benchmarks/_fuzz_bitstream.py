"""What `fuzz` throws at the bitstream: files, packets, and slices that are decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import _fuzz_folder
from benchmarks._web_decoder import WebDecoder
from rtcodec.bitstream import RtcReader, read_packet, write_packet
from rtcodec.bitstream.packet import Packet
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.decoder import FrameDecoder, unpack_frame
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.conformance.exact import EXACT, ExactPainter, exact_bundle
from rtcodec.conformance.spatial import (
    copied_frame,
    spatial_header,
    spatial_packets,
    spatial_stream,
    whole_header,
)
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.types import Planes

VECTORS: Final = Path(__file__).parents[1] / "tests" / "conformance" / "vectors"


@cache
def streams() -> list[bytes]:
    names = ("smallest", "odd_size", "described", "extensions", "references", "random_escapes",
             "times_and_color", "neural_n64_delta", "missing_slices", "spatial_delta",
             "across_delta")  # fmt: skip
    return [(VECTORS / name / "input.rtc").read_bytes() for name in names]


def packets_of(stream: bytes) -> list[list[Packet]]:
    units = RtcReader(io.BytesIO(stream))
    return [[p for p in unit.packets if isinstance(p, Packet)] for unit in units]


def run_container(data: bytes) -> None:
    for _ in RtcReader(io.BytesIO(data)):
        pass


def bitstream_packets() -> list[bytes]:
    return [
        write_packet(packet)
        for stream in streams()
        for packets in packets_of(stream)
        for packet in packets
    ]


_SIZES: Final = {"null": (128, 128), "n64": (97, 70), "exact": (97, 70)}


def run_slices(model: str) -> Callable[[bytes], None]:
    width, height = _SIZES[model]

    def run(data: bytes) -> None:
        bundle = _bundle(model)
        unpack_frame(
            [read_packet(data)],
            tables=bundle.entropy_tables,
            net=bundle.scale_net,
            width=width,
            height=height,
            delta=bundle.delta,
            spatial=bundle.spatial,
        )

    return run


@cache
def _exact_decoder() -> FrameDecoder:
    """Of the model whose frames need no networks; it keeps what it painted."""
    bundle = _bundle(EXACT)
    painter: Any = ExactPainter(bundle)  # the half of an engine that a decoder asks for
    return FrameDecoder(painter, bundle, *_SIZES[EXACT])


def run_spatial(data: bytes) -> None:
    _exact_decoder().decode([read_packet(data)])


@cache
def _bundle(model: str) -> Bundle:
    made: dict[str, Callable[[], Bundle]] = {"null": null_bundle, EXACT: exact_bundle}
    return made[model]() if model in made else find_bundle(model)


def intra_slices() -> list[bytes]:
    engine = NullEngine()
    packer = FramePacker(engine.bundle.entropy_tables, Slicing(slices=3, dispersed=True))
    encoder = FrameEncoder(engine, packer, *_SIZES["null"])
    made = []
    for number in range(4):
        width, height = _SIZES["null"]
        luma = np.random.default_rng(number).integers(0, 64 << number, (height, width))
        chroma = np.full((height // 2, width // 2), 90, np.uint8)
        planes = Planes((luma & 255).astype(np.uint8), chroma, chroma)
        coded = encoder.encode(planes, qp=number * 20, pts=number, keyframe=True)
        made += [write_packet(packet) for packet in coded.unit.packets]
    return made


def delta_slices() -> list[bytes]:
    stream = (VECTORS / "neural_n64_delta" / "input.rtc").read_bytes()
    return [write_packet(packet) for packets in packets_of(stream) for packet in packets]


def spatial_slices() -> list[bytes]:
    """Packets of the vector of that size, and packets that say what no vector does."""
    stream = (VECTORS / "spatial_modes" / "input.rtc").read_bytes()
    made = [write_packet(packet) for packets in packets_of(stream) for packet in packets]
    maker = spatial_stream(*_SIZES[EXACT])
    for number in range(4):
        header = spatial_header(number, qp=number * 20, lanes=1 << number)
        packets = spatial_packets(f"fuzz {number}", maker, header, 2, one_in=200, most=9)
        made += [write_packet(packet) for packet in packets]
        header = whole_header(number, qp=number * 20, lanes=1 << number)
        (whole,) = spatial_packets(f"fuzz whole {number}", maker, header, one_in=200, most=9)
        made.append(write_packet(whole))
        header = replace(header, has_copies=True)
        (copied,) = maker.code(copied_frame(f"fuzz {number}", *_SIZES[EXACT], header), header)
        made.append(write_packet(copied))
    return made


@cache
def _web_decoder() -> WebDecoder:
    return WebDecoder(find_bundle("n64"), _fuzz_folder.WORK)


def run_web_decoder(data: bytes) -> None:
    """Decode a packet in node, from what the packets before it left."""
    _web_decoder().decode([data], size=_SIZES["n64"])
