"""
How each malformed vector is made: one thing wrong in an otherwise valid stream.

Where the fault lies inside, the stream's closing CRC is made right again, so
that the fault itself is what a reader meets.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rtcodec.bitstream.cursor import Field, write_varint
from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Description, Extension, Geometry, Packet, write_packet
from rtcodec.bitstream.sequence import write_sequence_header
from rtcodec.bitstream.tiles import TileRange, split_tiles
from rtcodec.conformance.exact import EXACT
from rtcodec.conformance.model import NULL, RANDOM
from rtcodec.conformance.recipes import (
    Recipe,
    StreamMaker,
    header_of,
    null_frame,
    null_model,
    null_stream,
    random_frame,
    random_model,
    sequence_of,
)
from rtcodec.conformance.spatial import (
    spatial_header,
    spatial_packets,
    spatial_stream,
    whole_header,
)
from rtcodec.types import LayerId

_END_BYTES = 5
_WIDTH, _HEIGHT = 130, 70
_TILES = 6


def _base() -> bytes:
    return null_stream(_WIDTH, _HEIGHT, 2).stream()


def _resealed(data: bytes) -> bytes:
    """Return the stream with its closing CRC made right."""
    body = data[: 1 - _END_BYTES]
    return body + zlib.crc32(body).to_bytes(4, "big")


def _offset(data: bytes, name: str) -> int:
    fields: list[Field] = []
    list(RtcReader(io.BytesIO(data), fields=fields))
    return next(field.offset for field in fields if field.name == name)


def _put(name: str, new: bytes, *, header_crc: bool = False) -> Callable[[], bytes]:
    """Overwrite the bytes of a field."""

    def make() -> bytes:
        data = bytearray(_base())
        offset = _offset(_base(), name)
        data[offset : offset + len(new)] = new
        if header_crc:
            end = _offset(_base(), "sequence.crc")
            data[end : end + 4] = zlib.crc32(data[:end]).to_bytes(4, "big")
        return _resealed(bytes(data))

    return make


def _cut(where: Callable[[bytes], int]) -> Callable[[], bytes]:
    """End the stream early."""
    return lambda: _base()[: where(_base())]


def _header(body: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """Change the sequence header's bytes before its CRC, which is made right."""

    def make() -> bytes:
        maker = null_stream(_WIDTH, _HEIGHT, 1)
        changed = body(write_sequence_header(maker.sequence)[:-4])
        rest = maker.stream()[len(write_sequence_header(maker.sequence)) :]
        return _resealed(changed + zlib.crc32(changed).to_bytes(4, "big") + rest)

    return make


def _unit_of(body: bytes, *, sequence: StreamMaker | None = None) -> bytes:
    """Return a stream of one good frame and a unit with this body."""
    maker = sequence or null_stream(_WIDTH, _HEIGHT, 1)
    data = maker.stream()
    return _resealed(data[:-_END_BYTES] + write_varint(len(body)) + body + bytes(_END_BYTES))


def _packets(*packets: Packet | Extension) -> bytes:
    """Return a stream of one good frame and a unit of these packets, checked by nobody."""
    return _unit_of(write_varint(2) + b"".join(map(write_packet, packets)))


def _slices(second: Callable[[Packet], Packet]) -> Callable[[], bytes]:
    """Make a frame of two slices, the second one changed."""

    def make() -> bytes:
        maker = null_stream(_WIDTH, _HEIGHT, 1)
        header = header_of(1)
        frame = maker.code(null_frame(_WIDTH, _HEIGHT, 1), header, split_tiles(_WIDTH, _HEIGHT, 2))
        return _packets(frame[0], second(frame[1]))

    return make


def _two_slices_both_last() -> list[Packet]:
    maker = null_stream(_WIDTH, _HEIGHT, 1)
    runs = split_tiles(_WIDTH, _HEIGHT, 2)
    frame = null_frame(_WIDTH, _HEIGHT, 1)
    return [maker.code(frame, header_of(1), [run])[0] for run in runs]


def _whole(change: Callable[[Packet], Packet]) -> Callable[[], bytes]:
    """Make a frame of one slice, changed."""

    def make() -> bytes:
        maker = null_stream(_WIDTH, _HEIGHT, 1)
        return _packets(change(maker.code(null_frame(_WIDTH, _HEIGHT, 1), header_of(1))[0]))

    return make


def _payload(change: Callable[[bytes], bytes], *, lanes: int = 2) -> Callable[[], bytes]:
    """Damage the payload of the middle frame of three: the others still decode."""

    def make() -> bytes:
        maker = StreamMaker(random_model(), sequence_of(random_model(), 128, 64))
        for number in range(3):
            frame = random_frame(f"damaged {number}", 128, 64, qp=30)
            packet = maker.code(frame, header_of(number, qp=30, lanes=lanes))[0]
            if number == 1:
                packet = Packet(packet.header, change(packet.payload))
            maker.add(number, (packet,))
        return maker.stream()

    return make


def _spatial_payload(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """Damage a slice of the second spatial frame of three: what there is otherwise is painted."""

    def make() -> bytes:
        maker = spatial_stream(97, 70)
        for number in range(3):
            header = spatial_header(number, qp=30)
            first, second = spatial_packets(f"damaged {number}", maker, header, 2)
            if number == 1:
                second = Packet(second.header, change(second.payload))
            maker.add(number, (first, second))
        return maker.stream()

    return make


def _across_payload(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """Damage the second of three frames that are predicted across their tiles."""

    def make() -> bytes:
        maker = spatial_stream(97, 70)
        for number in range(3):
            header = whole_header(number, qp=30)
            (packet,) = spatial_packets(f"damaged across {number}", maker, header)
            if number == 1:
                packet = Packet(packet.header, change(packet.payload))
            maker.add(number, (packet,))
        return maker.stream()

    return make


def _spatial_slices(second: Callable[[Packet], Packet]) -> Callable[[], bytes]:
    """Make a spatial frame of two slices, the second one changed."""

    def make() -> bytes:
        maker = spatial_stream(97, 70)
        maker.add(0, spatial_packets("whole", maker, spatial_header()))
        frame = spatial_packets("in two", maker, spatial_header(1), 2)
        body = write_varint(2) + write_packet(frame[0]) + write_packet(second(frame[1]))
        return _unit_of(body, sequence=maker)

    return make


def _with(packet: Packet, **changes: object) -> Packet:
    return Packet(replace(packet.header, **changes), packet.payload)  # type: ignore[arg-type]


def _wrong_model() -> bytes:
    maker = null_stream(_WIDTH, _HEIGHT, 1)
    other = bytes(byte ^ 0xFF for byte in maker.sequence.model_id)
    return StreamMaker(null_model(), replace(maker.sequence, model_id=other), maker.units).stream()


def _escape_beyond_reach() -> bytes:
    """A lane that always says: escape, 15 more bits, all of them set."""

    def change(payload: bytes) -> bytes:
        return payload[:8] + b"\xff" * (len(payload) - 8)

    return _payload(change)()


def _other_words(payload: bytes) -> bytes:
    words = np.frombuffer(payload[8:], "<u2")
    return payload[:8] + (words ^ 1).astype("<u2").tobytes()


_TAG = int.from_bytes(null_model().model_id[:2], "big")


def _malformed(name: str, about: str, make: Callable[[], bytes], model: str = NULL) -> Recipe:
    return Recipe(f"malformed/{name}", about, model, make)


MALFORMED_RECIPES = (
    _malformed("empty", "no bytes at all (spec 3)", lambda: b""),
    _malformed("one_byte", "the first byte of the magic (spec 3)", lambda: b"\x89"),
    _malformed("another_format", "a PNG file's first bytes (spec 3)", lambda: b"\x89PNG\r\n\x1a\n"),
    _malformed("header_cut", "ends inside the sequence header (spec 3)", _cut(lambda _: 20)),
    _malformed("header_version", "a future sequence header (spec 3)",
               _put("sequence.version", b"\x02", header_crc=True)),
    _malformed("header_crc", "a sequence header with one bit changed (spec 3)",
               _put("sequence.model_id", b"\x00")),
    _malformed("bit_depth_of_7", "fewer bits than 8 (spec 3.1)",
               _put("sequence.geometry", b"\x60", header_crc=True)),
    _malformed("time_base_of_zero", "a time base without ticks (spec 3)",
               _put("sequence.time_base_numerator", b"\x00", header_crc=True)),
    _malformed("rate_not_in_lowest_terms", "30/3 frames per second (spec 3)",
               _put("sequence.frame_rate_denominator", b"\x03", header_crc=True)),
    _malformed("varint_not_shortest", "a numerator in two bytes that fits one (spec 1)",
               _header(lambda body: body[:17] + b"\x81\x00" + body[18:])),
    _malformed("varint_beyond_limit", "a numerator of 33 bits (spec 1)",
               _header(lambda body: body[:17] + b"\xff\xff\xff\xff\x1f" + body[18:])),
    _malformed("unknown_pixel_format", "pixel format 1 (spec 3)",
               _put("sequence.layout", b"\x01", header_crc=True)),
    _malformed("unknown_color_range", "color range 3 (spec 3.3)",
               _put("sequence.color", b"\x32", header_crc=True)),
    _malformed("too_many_references", "16 references (spec 3)",
               _put("sequence.references", b"\x10", header_crc=True)),
    _malformed("wrong_model", "a stream of a model that is not there (spec 3.2)", _wrong_model),
    _malformed("cut_between_units", "no end after a complete unit (spec 6.1)",
               _cut(lambda data: _offset(data, "unit[1].size"))),
    _malformed("cut_in_unit", "ends inside the second unit (spec 6.1)",
               _cut(lambda data: _offset(data, "unit[1].packet[0].payload") + 9)),
    _malformed("cut_in_end", "ends inside the closing CRC (spec 6.1)",
               _cut(lambda data: len(data) - 1)),
    _malformed("end_crc", "a changed time that only the closing CRC shows (spec 6)",
               lambda: _put("unit[1].pts", b"\x04")()[:-4] + _base()[-4:]),
    _malformed("bytes_after_the_end", "one byte too many (spec 6)", lambda: _base() + b"\x00"),
    _malformed("unit_too_large", "an access unit of 2**28 bytes (spec 5)",
               _put("unit[1].size", b"\xff\xff\xff\xff")),
    _malformed("unit_without_slice", "a unit with an extension only (spec 5)",
               lambda: _packets(Extension(1, b"tail"))),
    _malformed("packet_version", "a future packet (spec 4.1)",
               _put("unit[1].packet[0].version_type", b"\x40")),
    _malformed("packet_beyond_unit", "a packet larger than its unit (spec 4.1)",
               _put("unit[1].packet[0].size", b"\xff\x7f")),
    _malformed("header_beyond_packet", "a packet that ends in its header (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 20 04 02 18 0001"))),
    _malformed("keyframe_with_reference", "flags that contradict each other (spec 4.2)",
               _put("unit[1].packet[0].flags", b"\x07")),
    _malformed("dispersed_whole_frame", "an order without tiles (spec 4.2)",
               _put("unit[1].packet[0].flags", b"\x82")),
    _malformed("layer_of_zero", "a layer byte that must be left out (spec 4.3)",
               lambda: _unit_of(bytes.fromhex("02 20 07 12 18 0001 0000 00"))),
    _malformed("slot_of_15", "a state without a slot (spec 4.4)",
               lambda: _unit_of(bytes.fromhex("02 20 07 0a 18 0001 0000 1f"))),
    _malformed("undeclared_slot", "a store in a stream without references (spec 5.1)",
               _whole(lambda packet: _with(packet, store=0))),
    _malformed("undeclared_rung", "rung 1 of a stream with one rung (spec 5.1)",
               _whole(lambda packet: _with(packet, layer=LayerId(1)))),
    _malformed("tag_of_another_model", "a packet of another model (spec 5.1)",
               _whole(lambda packet: _with(
                   packet, description=Description(_TAG ^ 1, Geometry(_WIDTH, _HEIGHT))))),
    _malformed("another_size", "rung 0 in another size (spec 5.1)",
               _whole(lambda packet: _with(
                   packet, description=Description(_TAG, Geometry(_WIDTH, _HEIGHT + 1))))),
    _malformed("tiles_beyond_frame", "a seventh of six tiles (spec 4.2)",
               _whole(lambda packet: _with(packet, tiles=TileRange(0, _TILES + 1)))),
    _malformed("slice_after_the_last", "a slice that should not be there (spec 5.1)",
               lambda: _packets(*_two_slices_both_last())),
    _malformed("overlapping_slices", "a tile that two slices bring (spec 5.1)",
               _slices(lambda packet: _with(packet, tiles=TileRange(2, 4)))),
    _malformed("slices_in_two_orders", "a raster and a dispersed slice (spec 4.2)",
               _slices(lambda packet: _with(packet, tiles=TileRange(3, 3, True)))),
    _malformed("slices_of_two_qp", "slices that differ in qp (spec 4.2)",
               _slices(lambda packet: _with(packet, qp=25))),
    _malformed("slices_of_two_frames", "slices that differ in frame number (spec 4.2)",
               _slices(lambda packet: _with(packet, frame_number=2))),
    _malformed("slice_beside_whole_frame", "a slice, then all tiles again (spec 5.1)",
               _slices(lambda packet: _with(packet, tiles=None))),
    _malformed("payload_without_states", "fewer bytes than lane states (spec 7)",
               _payload(lambda payload: payload[:7]), RANDOM),
    _malformed("payload_state_too_small", "a lane state below 2**16 (spec 7)",
               _payload(lambda payload: payload[:6] + b"\x00\x00" + payload[8:]), RANDOM),
    _malformed("payload_cut", "a payload without its last word (spec 7)",
               _payload(lambda payload: payload[:-2]), RANDOM),
    _malformed("payload_too_long", "a payload with a word too many (spec 7)",
               _payload(lambda payload: payload + b"\x00\x00"), RANDOM),
    _malformed("payload_changed_state", "a lane state with one bit changed (spec 7)",
               _payload(lambda payload: bytes((payload[0] ^ 1,)) + payload[1:]), RANDOM),
    _malformed("payload_changed_words", "every word with one bit changed (spec 7)",
               _payload(_other_words), RANDOM),
    _malformed("payload_all_ones", "words of all ones (spec 7)", _escape_beyond_reach, RANDOM),
    _malformed("payload_all_zeros", "words of all zeros, eight lanes (spec 7)",
               _payload(lambda payload: payload[:32] + bytes(len(payload) - 32), lanes=8), RANDOM),
    _malformed("spatial_with_reference", "a frame predicted from two things (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 23 08 06 18 0001 0000 00 00"))),
    _malformed("spatial_without_part", "a spatial frame of a model without (spec 4.1)",
               _whole(lambda packet: _with(packet, spatial=True))),
    _malformed("slices_of_two_kinds", "a spatial slice, then an intra slice (spec 4.2)",
               _spatial_slices(lambda packet: _with(packet, spatial=False)), EXACT),
    _malformed("spatial_payload_cut", "a spatial payload without its last word (spec 7)",
               _spatial_payload(lambda payload: payload[:-2]), EXACT),
    _malformed("spatial_payload_changed", "a spatial payload with one bit changed (spec 7)",
               _spatial_payload(lambda payload: bytes((payload[0] ^ 1,)) + payload[1:]), EXACT),
    _malformed("across_with_tiles", "a frame across its tiles that names some (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 24 09 42 18 0001 0000 00 05 00"))),
    _malformed("across_dispersed", "a frame across its tiles in dispersed order (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 24 09 c2 18 0001 0000 00 05 00"))),
    _malformed("across_with_reference", "a frame across its tiles with a reference (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 24 08 06 18 0001 0000 00 00"))),
    _malformed("across_keyframe_with_reference", "the same that a decoder may start at (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 24 08 07 18 0001 0000 00 00"))),
    _malformed("across_header_cut", "a frame across its tiles that ends in its header (spec 4.2)",
               lambda: _unit_of(bytes.fromhex("02 24 04 02 18 0001"))),
    _malformed("across_without_part", "a frame across tiles of a model without (spec 4.1)",
               _whole(lambda packet: _with(packet, spatial=True, across_tiles=True))),
    _malformed("across_beside_slice", "a spatial slice, then the frame across tiles (spec 5.1)",
               _spatial_slices(lambda packet: _with(packet, across_tiles=True, tiles=None)), EXACT),
    _malformed("across_payload_cut", "a frame across tiles without its last word (spec 7)",
               _across_payload(lambda payload: payload[:-2]), EXACT),
    _malformed("across_payload_changed", "a frame across tiles with one bit changed (spec 7)",
               _across_payload(lambda payload: bytes((payload[0] ^ 1,)) + payload[1:]), EXACT),
    _malformed("check_word", "right symbols under a changed check word (spec 4.5)",
               _whole(lambda packet: _with(packet, check=packet.header.check ^ 1))),
    _malformed("changed_qp", "a qp that the symbols were not coded with (spec 4.5)",
               _put("unit[1].packet[0].lanes_qp", b"\x19")),
)  # fmt: skip
