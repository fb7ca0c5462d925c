"""The check word over header and symbols (spec 4.5)."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from rtcodec.bitstream.check import packet_check, seal_packet, verify_packet
from rtcodec.bitstream.packet import Packet, header_bytes
from rtcodec.errors import Corrupt
from support.bitstreams import header_of

Z = np.array([[-1, 2]], np.int8)
SYMBOLS = np.arange(-24, 24, dtype=np.int16).reshape(1, 3, 16)


def test_it_is_the_low_half_of_a_crc_over_header_z_and_little_endian_symbols() -> None:
    plain = b"head" + b"\xff\x02" + SYMBOLS.astype("<i2").tobytes()
    assert packet_check(b"head", Z, SYMBOLS) == zlib.crc32(plain) & 0xFFFF


def test_byte_order_and_memory_order_do_not_matter() -> None:
    big = SYMBOLS.astype(">i2")
    strided = np.repeat(SYMBOLS, 2, axis=2)[:, :, ::2]
    assert packet_check(b"", Z, big) == packet_check(b"", Z, SYMBOLS)
    assert packet_check(b"", Z, strided) == packet_check(b"", Z, SYMBOLS)


def test_a_sealed_packet_verifies() -> None:
    packet = seal_packet(replace(header_of(), check=99), b"payload", Z, SYMBOLS)
    assert packet.header.check == packet_check(header_bytes(packet, check=0), Z, SYMBOLS)
    verify_packet(packet, Z, SYMBOLS)


@pytest.mark.parametrize(("size", "offset"), [(7, 6), (200, 7)])
def test_other_symbols_or_another_header_do_not(size: int, offset: int) -> None:
    packet = seal_packet(header_of(), bytes(size), Z, SYMBOLS)
    with pytest.raises(Corrupt, match="check word") as caught:
        verify_packet(packet, Z, SYMBOLS + 1)
    assert caught.value.offset == offset
    with pytest.raises(Corrupt):
        verify_packet(packet, -Z, SYMBOLS)
    other = Packet(replace(packet.header, qp=21), packet.payload)
    with pytest.raises(Corrupt):
        verify_packet(other, Z, SYMBOLS)
