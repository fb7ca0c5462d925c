"""
The check word: do the decoded symbols equal the encoded ones (spec 4.5).

It catches what a parse cannot: a payload that was damaged and still decodes,
a wrong model, an entropy coder that differs. Computed where symbols are known.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.packet import Packet, PacketHeader, header_bytes
from rtcodec.errors import Corrupt

_CHECK_OFFSET_AFTER_SIZE = 4  # flags, lanes and qp, frame number


def packet_check(header: bytes, z: NDArray[np.int8], symbols: NDArray[np.int16]) -> int:
    """
    Compute the check word: the low 16 bits of a CRC-32 (ISO-HDLC, as in zlib).

    Args:
        header: Everything before the entropy coded part, check word zero.
        z: int8 [T, Cz], hyper-latents in coding order.
        symbols: int16 [T, M, 16], latents in coding order.

    Returns:
        0 to 65535.
    """
    crc = zlib.crc32(header)
    crc = zlib.crc32(np.ascontiguousarray(z, np.int8).data, crc)
    crc = zlib.crc32(np.ascontiguousarray(symbols, "<i2").data, crc)
    return crc & 0xFFFF


def seal_packet(
    header: PacketHeader,
    payload: bytes,
    z: NDArray[np.int8],
    symbols: NDArray[np.int16],
    front: bytes = b"",
) -> Packet:
    """
    Make a packet whose check word is right.

    Args:
        header: Its check word is ignored.
        payload: *front*, and the coded form of *z* and *symbols*.
        z: int8 [T, Cz], of the coded tiles.
        symbols: int16 [T, M, 16], of the coded tiles.
        front: What comes before it: the still map of a delta slice, copies of a spatial one.
    """
    packet = Packet(header, payload)
    check = packet_check(header_bytes(packet, check=0) + front, z, symbols)
    return Packet(header.with_check(check), payload)


def verify_packet(
    packet: Packet, z: NDArray[np.int8], symbols: NDArray[np.int16], front: bytes = b""
) -> None:
    """
    Check decoded symbols against the packet's check word.

    Args:
        packet: What was decoded.
        z: int8 [T, Cz], as decoded.
        symbols: int16 [T, M, 16], as decoded.
        front: As for `seal_packet`.

    Raises:
        Corrupt: If they do not match.
    """
    header = header_bytes(packet, check=0)
    check = packet_check(header + front, z, symbols)
    if check != packet.header.check:
        size = 1 + _varint_bytes(header)
        raise Corrupt(
            f"check word is {packet.header.check:#06x}, symbols give {check:#06x}",
            offset=size + _CHECK_OFFSET_AFTER_SIZE,
        )


def _varint_bytes(header: bytes) -> int:
    return next(n for n in range(1, len(header)) if not header[n] & 0x80)
