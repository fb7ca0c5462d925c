"""Messages of studies: written and read back; whatever else comes is refused in one way."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.study_message import (
    RELAY_MAX_BYTES,
    Cancel,
    Data,
    Done,
    Fallback,
    FromRelay,
    FromViewer,
    Have,
    Index,
    Listing,
    Preview,
    Quality,
    Refusal,
    Request,
    Status,
    WantFallback,
    listing_messages,
    read_from_relay,
    read_from_viewer,
    write_from_relay,
    write_from_viewer,
)

numbers = st.integers(0, 2**24 - 1)
offsets = st.integers(0, 2**40)
parts = st.binary(max_size=20)
objects = st.dictionaries(st.text(max_size=5), st.integers() | st.none() | st.text(max_size=5))
boxes = st.none() | st.tuples(*[st.integers(0, 65535)] * 4)


def ranges(gaps: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    out, last = [], 0
    for gap, size in gaps:
        out.append((last + gap, last + gap + size))
        last = out[-1][1]
    return tuple(out)


held = st.lists(st.tuples(st.integers(0, 2**30), st.integers(0, 2**30)), max_size=5).map(ranges)
from_viewer = st.one_of(
    st.builds(
        Request,
        number=st.integers(0, 2**31 - 1),
        instance=numbers,
        priority=st.integers(0, 255),
        steps=st.integers(0, 6),
        preview=st.booleans(),
        first_frame=numbers,
        frames=numbers,
        region=boxes,
    ),
    st.builds(Cancel, st.integers(0, 2**31 - 1)),
    st.builds(Have, numbers, st.binary(min_size=8, max_size=8), held),
    st.builds(WantFallback, numbers, numbers),
    st.builds(Status, numbers, numbers, numbers, st.sampled_from(Quality)),
)
from_relay = st.one_of(
    st.builds(Listing, objects, st.booleans()),
    st.builds(Index, numbers, offsets, st.lists(offsets, max_size=5).map(tuple)),
    st.builds(
        Preview,
        numbers,
        numbers,
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.lists(parts, max_size=4).map(tuple),
    ),
    st.builds(Data, numbers, st.lists(st.tuples(offsets, parts), max_size=4).map(tuple)),
    st.builds(Fallback, numbers, numbers, offsets, offsets, parts),
    st.builds(Done, st.integers(0, 2**31 - 1)),
    st.builds(Refusal, objects),
)


@given(from_viewer)
def test_what_a_viewer_says_is_read_as_it_was_written(message: FromViewer) -> None:
    assert read_from_viewer(write_from_viewer(message)) == message


@given(from_relay)
def test_what_a_relay_says_is_read_as_it_was_written(message: FromRelay) -> None:
    assert read_from_relay(write_from_relay(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Listing({"count": 0}, is_whole=True),
        Listing({"number": 1}, is_whole=False),
        Index(1, 900, (5, 70_000)),
        Preview(1, 2, 640, 480, (b"abc", b"")),
        Data(1, ((0, b"ab"), (300, b""))),
        Fallback(1, 2, 900, 300, b"abc"),
        Done(7),
        Refusal({"code": "busy"}),
    ],
)
def test_one_of_each_kind_of_a_relay_is_read_as_it_was_written(message: FromRelay) -> None:
    assert read_from_relay(write_from_relay(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Request(1, 2, 0, 6, True, 3, 4, (5, 6, 700, 800)),
        Request(1, 2, 255, 0, False, 0, 0),
        Cancel(1),
        Have(1, b"version1", ((0, 5), (9, 900))),
        WantFallback(1, 2),
        Status(1, 2, 3, Quality.PREVIEW),
    ],
)
def test_one_of_each_kind_of_a_viewer_is_read_as_it_was_written(message: FromViewer) -> None:
    assert read_from_viewer(write_from_viewer(message)) == message


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = read_from_viewer(data)
    except RemoteProtocolError:
        return
    assert write_from_viewer(message) == data  # there is one way to say it


@given(st.integers(0x80, 0x8F), st.binary(max_size=40))
def test_arbitrary_bytes_of_a_relay_are_a_message_or_refused(kind: int, data: bytes) -> None:
    try:
        read_from_relay(bytes([kind]) + data)
    except RemoteProtocolError:
        return


def test_types_of_later_versions_are_nothing() -> None:
    assert read_from_relay(b"\x99 whatever") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x01\x00\x00\x00\x08\x00\x00\x00",  # eight steps
        b"\x01\x00\x00\x00\x06\x04\x00\x00",  # an unknown flag
        b"\x02\x01\x01",  # something after it
        b"\x03\x01short",
        b"\x05\x00\x00\x01\x09",  # no such quality
        b"\x03\x01" + bytes(16383),  # too long
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="a message of a study"):
        read_from_viewer(data)


@pytest.mark.parametrize("data", [b"\x81[]", b"\x82{", b"\x88\xff"])
def test_json_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_from_relay(data)


def test_a_long_list_comes_in_several_messages() -> None:
    instances = [{"number": n, "id": "0" * 32, "more": "x" * 300} for n in range(500)]
    messages = list(listing_messages("room", instances))
    assert len(messages) > 2
    assert max(len(write_from_relay(message)) for message in messages) <= RELAY_MAX_BYTES
    seen: list[object] = []
    for message in messages:
        assert message.fields["first"] == len(seen)
        assert (message.fields["count"], message.fields["room"]) == (500, "room")
        seen += message.fields["instances"]
    assert seen == instances
    (empty,) = listing_messages("room", [])
    assert json.loads(write_from_relay(empty)[1:])["instances"] == []
