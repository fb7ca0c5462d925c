"""`.rtc` streams: read while written, cut anywhere (spec 6)."""

import io

import pytest

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.cursor import Field
from rtcodec.bitstream.file import RtcReader, RtcWriter
from rtcodec.errors import BitstreamError, Corrupt, Truncated
from support.bitstreams import Trickle, rtc_of, sequence_of, unit_of

SEQUENCE = sequence_of()
UNITS = [unit_of(pts, bytes(pts * 100)) for pts in range(3)]
WIRE = rtc_of(SEQUENCE, UNITS)
HEADER_BYTES = 29


def read_all(wire: bytes) -> tuple[list[AccessUnit], BitstreamError | None]:
    units: list[AccessUnit] = []
    try:
        for unit in RtcReader(io.BytesIO(wire)):
            units.append(unit)
    except BitstreamError as error:
        return units, error
    return units, None


def test_what_is_written_is_read_whatever_the_stream_gives_at_once() -> None:
    assert read_all(WIRE) == (UNITS, None)
    reader = RtcReader(Trickle(WIRE))
    assert reader.sequence == SEQUENCE
    assert list(reader) == UNITS
    assert reader.offset == len(WIRE)


def test_a_stream_may_have_no_units_but_not_no_bytes() -> None:
    assert read_all(rtc_of(SEQUENCE, [])) == ([], None)
    units, error = read_all(b"")
    assert units == []
    assert str(error) == "the stream is empty (at byte 0)"


def test_a_unit_is_given_out_before_the_next_is_looked_at() -> None:
    stream = io.BytesIO(WIRE)
    reader = RtcReader(stream)
    assert reader.offset == HEADER_BYTES
    units = iter(reader)
    assert next(units) == UNITS[0]
    assert reader.offset == HEADER_BYTES + 10
    assert next(units) == UNITS[1]
    assert stream.tell() == reader.offset


def test_a_cut_at_any_byte_gives_complete_units_then_says_where() -> None:
    ends = [len(rtc_of(SEQUENCE, UNITS[:n])) - 5 for n in range(len(UNITS) + 1)]
    for cut in range(len(WIRE)):
        units, error = read_all(WIRE[:cut])
        assert isinstance(error, Truncated), cut
        assert error.offset == cut
        assert units == UNITS[: max(0, sum(end <= cut for end in ends) - 1)]


def test_a_flipped_bit_at_any_byte_is_noticed() -> None:
    for position in range(len(WIRE)):
        wire = bytearray(WIRE)
        wire[position] ^= 1 << position % 8
        units, error = read_all(bytes(wire))
        assert isinstance(error, BitstreamError), position
        assert len(units) <= len(UNITS)


def test_bytes_after_the_end_are_corrupt() -> None:
    units, error = read_all(WIRE + b"\x00")
    assert units == UNITS
    assert isinstance(error, Corrupt)
    assert error.offset == len(WIRE)


def test_a_wrong_crc_is_corrupt_after_all_units() -> None:
    units, error = read_all(WIRE[:-1] + bytes((WIRE[-1] ^ 1,)))
    assert units == UNITS
    assert isinstance(error, Corrupt)
    assert error.offset == len(WIRE) - 4


def test_a_huge_announced_size_costs_no_memory() -> None:
    class Counting(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1, /) -> bytes:
            Counting.most = max(Counting.most, size or 0)
            return super().read(size)

    with pytest.raises(Truncated):
        list(RtcReader(Counting(WIRE[:HEADER_BYTES] + b"\xff\xff\xff\x7f" + bytes(50))))
    assert Counting.most <= 1 << 20
    with pytest.raises(Corrupt):
        list(RtcReader(Counting(WIRE[:HEADER_BYTES] + b"\xff\xff\xff\xff" + bytes(50))))


def test_fields_are_named_by_unit() -> None:
    fields: list[Field] = []
    list(RtcReader(io.BytesIO(rtc_of(SEQUENCE, UNITS[:1])), fields=fields))
    named = {field.name: field for field in fields}
    assert named["sequence.version"].offset == 4
    assert named["unit[0].packet[0].payload"] == Field(39, 0, "unit[0].packet[0].payload", "")
    assert named["end.crc"].size_bytes == 4


def test_a_writer_counts_and_ends_once() -> None:
    stream = io.BytesIO()
    writer = RtcWriter(stream, SEQUENCE)
    assert writer.write(UNITS[0]) == 10
    writer.close()
    writer.close()
    assert writer.size_bytes == len(stream.getvalue()) == HEADER_BYTES + 10 + 5


def test_what_an_exception_leaves_reads_as_truncated() -> None:
    stream = io.BytesIO()

    def interrupted() -> None:
        with RtcWriter(stream, SEQUENCE) as writer:
            writer.write(UNITS[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    units, error = read_all(stream.getvalue())
    assert units == UNITS[:1]
    assert isinstance(error, Truncated)
