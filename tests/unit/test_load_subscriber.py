"""What a subscriber that decodes nothing says it holds, and what it counts."""

import pytest

from rtcodec.bitstream import Description, Geometry, Packet, PacketHeader, state_id
from rtcodec.bitstream.packet import write_packet
from rtcodec_client.load.recorder import Recorder
from rtcodec_client.load.seen import HeldFrames

FIRST, SECOND, THIRD = state_id(0, 0), state_id(1, 0), state_id(0, 1)


def packet(number: int, *, reference: int | None, store: int | None) -> bytes:
    header = PacketHeader(
        frame_number=number,
        qp=30,
        keyframe=False,
        last=True,
        reference=reference,
        store=store,
        description=Description(7, Geometry(64, 64)),
    )
    return write_packet(Packet(header, b"x"))


def test_a_frame_is_held_if_it_came_whole_on_top_of_one_that_is_held() -> None:
    held = HeldFrames()
    frames = [
        (packet(0, reference=None, store=FIRST), True, True),
        (packet(1, reference=FIRST, store=SECOND), True, True),
        (packet(2, reference=SECOND, store=THIRD), False, False),  # came with a hole
        (packet(3, reference=THIRD, store=None), True, False),  # stands on it
        (packet(4, reference=FIRST, store=None), True, False),  # whose slot it took
        (packet(5, reference=SECOND, store=FIRST), True, True),  # an older one helps
        (packet(6, reference=FIRST, store=None), True, True),
    ]
    for number, (data, is_complete, is_held) in enumerate(frames):
        assert held.follow(data, is_complete=is_complete) == (number, is_held)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x00" * 40])
def test_bytes_that_are_no_packet_say_nothing(data: bytes) -> None:
    assert HeldFrames().follow(data, is_complete=True) is None


def test_durations_before_the_soak_show_only_in_the_time_series() -> None:
    recorder = Recorder()
    recorder.time("arrive", 5.0)
    recorder.count("units", 2)
    recorder.is_measuring = True
    recorder.time("arrive", 7.0)
    taken = recorder.take_interval()
    assert taken["counts"] == {"units": 2}
    assert sum(n for _, n in taken["stages"]["arrive"]["counts"]) == 2
    assert recorder.stages["arrive"].n == 1
    assert recorder.take_interval() == {"counts": {}, "stages": {}}
