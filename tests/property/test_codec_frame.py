"""Frames and packets: a pair, whatever is lost or damaged on the way."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcodec.bitstream.packet import Extension, Packet, read_packet, write_packet
from rtcodec.codec.decoder import unpack_frame
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import EncodeOutput
from rtcodec.engine.null import NullEngine
from rtcodec.errors import BitstreamError
from support.pictures import noise, picture

ENGINE = NullEngine()
TABLES, NET = ENGINE.bundle.entropy_tables, ENGINE.bundle.scale_net
WIDTH, HEIGHT = 200, 130

slicings = st.builds(
    Slicing,
    target_bytes=st.none() | st.integers(64, 2000),
    slices=st.integers(1, 14),
    dispersed=st.booleans(),
)


@cache
def coded(slicing: Slicing) -> tuple[EncodeOutput, tuple[Packet, ...]]:
    encoder = FrameEncoder(ENGINE, FramePacker(TABLES, slicing), WIDTH, HEIGHT)
    frame = encoder.encode(picture(WIDTH, HEIGHT), qp=35, pts=0, keyframe=True)
    encoder.close()
    return frame.output, frame.unit.slices


@given(
    slicing=slicings,
    qp=st.integers(0, 63),
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_frame_comes_back_as_it_was_coded(
    slicing: Slicing, qp: int, width: int, height: int, seed: int
) -> None:
    encoder = FrameEncoder(ENGINE, FramePacker(TABLES, slicing), width, height)
    frame = encoder.encode(noise(width, height, seed), qp=qp, pts=seed, keyframe=True)
    wire = [write_packet(packet) for packet in frame.unit.packets]
    got = unpack_frame(map(read_packet, wire), tables=TABLES, net=NET, width=width, height=height)

    assert np.array_equal(got.z, frame.output.z)
    assert np.array_equal(got.symbols, frame.output.symbols)
    assert got.complete
    encoder.close()


@given(slicing=slicings, data=st.data())
@settings(max_examples=60, deadline=None)
def test_lost_packets_cost_their_own_tiles_only(slicing: Slicing, data: st.DataObject) -> None:
    output, packets = coded(slicing)
    kept = data.draw(st.lists(st.sampled_from(packets), unique_by=id, min_size=1))
    got = unpack_frame(kept, tables=TABLES, net=NET, width=WIDTH, height=HEIGHT)

    there = np.kron(got.present, np.ones((4, 4), bool))
    assert np.array_equal(got.symbols[:, there], output.symbols[:, there])
    assert not got.symbols[:, ~there].any()
    assert np.array_equal(got.z[:, got.present], output.z[:, got.present])
    assert got.damage == ()


@given(slicing=slicings, data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_packets_end_in_a_frame_or_a_bitstream_error(
    slicing: Slicing, data: st.DataObject
) -> None:
    packets = coded(slicing)[1]
    at = data.draw(st.integers(0, len(packets) - 1))
    wire = bytearray(write_packet(packets[at]))
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged: Packet | Extension
    try:
        damaged = read_packet(bytes(wire))
        mixed = [*packets[:at], damaged, *packets[at + 1 :]]
        unpack_frame(mixed, tables=TABLES, net=NET, width=WIDTH, height=HEIGHT)
    except BitstreamError:
        return


@given(payload=st.binary(max_size=200), at=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_arbitrary_payloads_never_pass(payload: bytes, at: int) -> None:
    packets = coded(Slicing(slices=4))[1]
    mixed = [*packets[:at], Packet(packets[at].header, payload), *packets[at + 1 :]]
    got = unpack_frame(mixed, tables=TABLES, net=NET, width=WIDTH, height=HEIGHT)
    if payload != packets[at].payload:
        assert len(got.damage) == 1
        assert not got.complete
