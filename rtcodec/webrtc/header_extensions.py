"""
The RTP header extensions of a stream as aiortc would write them, with gaps for what changes.
"""

import struct

from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap

from rtcodec.packet.rtp_stream import ExtensionBlock


def extension_block(known: HeaderExtensionsMap, mid: str | None) -> ExtensionBlock:
    """Let aiortc write the extensions three times: where they differ is the time, or the number."""
    plain = _write_extensions(known, mid, time=0, number=0)
    time_at = _first_difference(plain, _write_extensions(known, mid, time=0xFFFFFF, number=0))
    number_at = _first_difference(plain, _write_extensions(known, mid, time=0, number=0xFFFF))
    if time_at is None:
        return ExtensionBlock(plain, number_at=number_at)
    return ExtensionBlock(plain[:time_at], plain[time_at + 3 :], has_time=True, number_at=number_at)


def _write_extensions(
    known: HeaderExtensionsMap, mid: str | None, *, time: int, number: int
) -> bytes:
    profile, value = known.set(
        HeaderExtensions(mid=mid, abs_send_time=time, transport_sequence_number=number)
    )
    return struct.pack("!HH", profile, len(value) // 4) + value if value else b""


def _first_difference(one: bytes, other: bytes) -> int | None:
    return next(
        (i for i, pair in enumerate(zip(one, other, strict=True)) if len({*pair}) > 1), None
    )
