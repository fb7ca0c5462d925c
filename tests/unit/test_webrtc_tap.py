"""The ring of raw frames that relay and publisher leave for measurements."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rtcodec.errors import ConfigError
from rtcodec.types import Planes
from rtcodec.webrtc.tap import FrameTapReader, FrameTapWriter, tap_path


def flat(width: int, height: int, value: int) -> Planes:
    half = (-(-height // 2), -(-width // 2))
    return Planes(
        y=np.full((height, width), value, np.uint8),
        u=np.full(half, value + 1, np.uint8),
        v=np.full(half, value + 2, np.uint8),
    )


def put(tap: FrameTapWriter, number: int, planes: Planes) -> None:
    tap.put(frame_number=number, rtp_timestamp=number * 3000, received_us=number + 7, planes=planes)


def test_a_frame_is_found_by_either_of_its_names(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room")
    put(tap, 5, flat(17, 23, 40))
    with FrameTapReader(tap_path(tmp_path, "room")) as reader:
        for frame in (reader.by_frame_number(5), reader.by_rtp_timestamp(15_000)):
            assert frame is not None
            assert (frame.frame_number, frame.rtp_timestamp, frame.received_us) == (5, 15_000, 12)
            assert np.array_equal(frame.planes.y, flat(17, 23, 40).y)
            assert np.array_equal(frame.planes.u, flat(17, 23, 40).u)
            assert np.array_equal(frame.planes.v, flat(17, 23, 40).v)
        assert reader.by_frame_number(6) is None
    tap.close()


def test_the_time_of_sending_is_noted_once(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room")
    tap.mark_sent(1, sent_us=5)  # nothing there yet
    put(tap, 1, flat(4, 4, 1))
    tap.mark_sent(1, sent_us=50)
    tap.mark_sent(1, sent_us=60)
    tap.mark_sent(2, sent_us=70)
    with FrameTapReader(tap_path(tmp_path, "room")) as reader:
        frame = reader.by_frame_number(1)
        assert frame is not None
        assert frame.sent_us == 50
    tap.close()


def test_the_newest_frames_overwrite_the_oldest(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room", slots=4)
    for number in range(6):
        put(tap, number, flat(8, 8, number))
    with FrameTapReader(tap_path(tmp_path, "room")) as reader:
        there = [number for number in range(6) if reader.by_frame_number(number)]
    assert there == [2, 3, 4, 5]
    tap.close()


def test_a_larger_frame_starts_the_ring_anew_under_the_readers_eyes(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room", slots=4)
    put(tap, 0, flat(8, 8, 10))
    with FrameTapReader(tap_path(tmp_path, "room")) as reader:
        assert reader.by_frame_number(0) is not None
        put(tap, 1, flat(32, 32, 20))
        frame = reader.by_frame_number(1)
        assert frame is not None
        assert frame.planes.width == 32
        assert reader.by_frame_number(0) is None
        put(tap, 2, flat(6, 2, 30))  # a smaller one fits
        assert reader.by_frame_number(1) is not None
    tap.close()


def test_the_ring_may_grow_while_another_thread_notes_what_was_sent(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room")
    is_done = threading.Event()

    def note() -> None:
        while not is_done.is_set():
            tap.mark_sent(0, sent_us=1)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            noting = pool.submit(note)
            for side in range(2, 200, 2):
                put(tap, 0, flat(side, side, 1))
            is_done.set()
            noting.result(10)
    finally:
        sys.setswitchinterval(interval_s)
    tap.close()


def test_numbers_and_time_stamps_wrap_as_on_the_wire(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room", slots=4)
    tap.put(
        frame_number=(1 << 16) + 3,
        rtp_timestamp=(1 << 32) + 9,
        received_us=1,
        planes=flat(2, 2, 0),
    )
    with FrameTapReader(tap_path(tmp_path, "room")) as reader:
        assert reader.by_frame_number(3) is not None
        assert reader.by_rtp_timestamp(9) is not None
    tap.close()


def test_memory_is_bounded_whatever_the_size_of_the_frames(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room", slots=4096)
    put(tap, 0, flat(640, 360, 0))
    assert tap_path(tmp_path, "room").stat().st_size < 65_000_000
    tap.close()


def test_a_ring_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    with FrameTapReader(tap_path(tmp_path, "room")) as reader:
        assert reader.by_frame_number(0) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a frame tap"), (b"x" * 100, "not a frame tap"), (b"RTCTAP01" + b"\0" * 92, "dam")],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tap_path(tmp_path, "room")
    path.write_bytes(content)
    with FrameTapReader(path) as reader, pytest.raises(ConfigError, match=message):
        reader.by_frame_number(0)


def test_a_slot_with_an_impossible_size_is_absent(tmp_path: Path) -> None:
    tap = FrameTapWriter(tmp_path, "room", slots=4)
    put(tap, 0, flat(4, 4, 1))
    tap.close()
    path = tap_path(tmp_path, "room")
    data = bytearray(path.read_bytes())
    data[64 + 16 : 64 + 20] = (60_000).to_bytes(4, "little")  # its width
    path.write_bytes(data)
    with FrameTapReader(path) as reader:
        assert reader.by_frame_number(0) is None


def test_what_makes_no_sense_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="slots"):
        FrameTapWriter(tmp_path, "room", slots=0)
    with pytest.raises(ConfigError, match="no such directory"):
        FrameTapWriter(tmp_path / "missing", "room")
