"""Packets to payloads and back, whole and with parts missing."""

import pytest

from rtcodec.errors import LocalProtocolError
from rtcodec.packet.depacketizer import Depacketizer, ReceivedFrame
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import (
    MAX_PACKET_BYTES,
    MAX_PAYLOAD_BYTES,
    FrameTiming,
    Payload,
    read_payload,
)

TIMING = FrameTiming(pts=1, received_us=2)


def make(*packets: bytes, packetizer: Packetizer | None = None) -> list[Payload]:
    made = (packetizer or Packetizer()).packetize(packets, timing=TIMING, is_keyframe=True)
    assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in made)
    return [read_payload(payload) for payload in made]


def assemble(*payloads: Payload) -> ReceivedFrame:
    frame = Depacketizer().depacketize(payloads)
    assert frame is not None
    return frame


def test_packets_that_fit_travel_alone() -> None:
    packets = [bytes([n]) * MAX_PACKET_BYTES for n in range(3)]
    payloads = make(*packets)
    assert [payload.data for payload in payloads] == packets
    assert all(payload.starts_packet and payload.ends_packet for payload in payloads)


def test_a_large_packet_is_cut_and_put_together_again() -> None:
    large, small = bytes(range(256)) * 20, b"small"
    payloads = make(large, small)
    assert [(p.starts_packet, p.ends_packet) for p in payloads] == [
        (True, False), (False, False), (False, False), (False, False), (False, True), (True, True),
    ]  # fmt: skip
    frame = assemble(*payloads)
    assert frame.packets == (large, small)
    assert frame.is_complete
    assert frame.timing == TIMING
    assert frame.is_keyframe


def test_only_the_first_payload_has_timing() -> None:
    assert [payload.timing is None for payload in make(b"a", b"b")] == [False, True]


def test_a_packet_with_a_missing_fragment_is_left_out_and_no_other() -> None:
    large = bytes(3000)
    payloads = make(b"first", large, b"last")
    for missing in (1, 2, 3):
        kept = [payload for payload in payloads if payload.index != missing]
        frame = assemble(*kept)
        assert frame.packets == (b"first", b"last")
        assert frame.n_payloads_missing == 1
        assert not frame.is_complete


def test_without_its_first_payload_a_frame_has_no_timing() -> None:
    frame = assemble(*make(b"a", b"b")[1:])
    assert frame.timing is None
    assert frame.packets == (b"b",)


def test_payloads_of_another_frame_are_left_out() -> None:
    packetizer = Packetizer()
    first, second = make(b"a", b"b", packetizer=packetizer), make(b"c", packetizer=packetizer)
    assert assemble(*first, *second).packets == (b"a", b"b")


def test_deliveries_are_counted_and_gaps_are_lost_frames() -> None:
    packetizer, depacketizer = Packetizer(), Depacketizer()
    frames = [make(b"x", packetizer=packetizer) for _ in range(6)]
    assert packetizer.deliveries == 6
    received = [depacketizer.depacketize(frames[n]) for n in (0, 1, 4, 5)]
    assert [(f.number, f.n_frames_lost_before) for f in received if f] == [
        (0, 0), (1, 0), (4, 2), (5, 0),
    ]  # fmt: skip


def test_an_older_or_repeated_frame_gives_nothing() -> None:
    packetizer, depacketizer = Packetizer(), Depacketizer()
    frames = [make(b"x", packetizer=packetizer) for _ in range(3)]
    assert depacketizer.depacketize(frames[1]) is not None
    assert depacketizer.depacketize(frames[1]) is None
    assert depacketizer.depacketize(frames[0]) is None
    assert depacketizer.depacketize(frames[2]) is not None


def test_delivery_numbers_wrap() -> None:
    depacketizer = Depacketizer()
    numbers = []
    for delivery in (65534, 65535, 0, 2):
        frame = depacketizer.depacketize([Payload(delivery, 0, 1, True, True, True, b"x")])
        assert frame is not None
        numbers.append((frame.number, frame.n_frames_lost_before))
    assert numbers == [(65534, 0), (65535, 0), (65536, 0), (65538, 1)]


@pytest.mark.parametrize("packets", [[], [b""], [b"a", b""]])
def test_a_frame_without_packets_or_with_an_empty_one_is_refused(packets: list[bytes]) -> None:
    with pytest.raises(LocalProtocolError, match="needs packets"):
        Packetizer().packetize(packets, timing=TIMING, is_keyframe=True)


def test_more_payloads_than_can_be_counted_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="65536 payloads"):
        Packetizer().packetize([b"x"] * 65536, timing=TIMING, is_keyframe=True)


def test_a_limit_without_room_for_data_is_refused() -> None:
    Packetizer(max_payload_bytes=51)
    with pytest.raises(ValueError, match="50 leaves no room"):
        Packetizer(max_payload_bytes=50)
