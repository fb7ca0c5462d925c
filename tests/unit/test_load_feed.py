"""The synthetic camera: frames say when they are due, publishers start where one can."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec_client.barcode import COUNTER_MAX, read_barcode
from rtcodec_client.load.feed import Feed, FeedSettings, FeedTrack, Pictures, frame_of_barcode
from rtcodec_client.load.recorder import Recorder

SETTINGS = FeedSettings(width=128, height=96, fps=30, codec="vp8", bitrate_bps=200_000)


@given(st.integers(0, 10**10), st.integers(-1000, 1000))
def test_a_barcode_that_wrapped_is_the_frame_close_by(near: int, off: int) -> None:
    number = max(0, near + off)
    assert frame_of_barcode(number & COUNTER_MAX, near=near) == number


@pytest.mark.parametrize("number", [0, 8999, 9000, COUNTER_MAX, COUNTER_MAX + 5])
def test_a_picture_says_its_number_and_is_the_same_whoever_draws_it(number: int) -> None:
    planes = Pictures(SETTINGS).planes(number)
    assert read_barcode(planes) == number & COUNTER_MAX
    assert (Pictures(SETTINGS).planes(number).y == planes.y).all()


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_every_publisher_starts_with_a_key_frame_and_counts_what_it_sent(codec: str) -> None:
    settings = FeedSettings(width=128, height=96, fps=30, codec=codec, bitrate_bps=200_000)
    recorder = Recorder()
    feed = Feed(settings, Pictures(settings), recorder)
    first_us: list[int] = []
    early = FeedTrack(0, recorder, on_first=first_us.append)
    feed.add(early)
    try:
        packets = [await asyncio.wait_for(early.recv(), 10) for _ in range(4)]
        late = FeedTrack(5000, recorder, on_first=first_us.append)
        feed.add(late)
        start = bytes(await asyncio.wait_for(late.recv(), 10))
    finally:
        await feed.close()
    assert is_keyframe(codec, bytes(packets[0]))
    assert not is_keyframe(codec, bytes(packets[3]))
    assert is_keyframe(codec, start)
    assert packets[1].pts is not None
    assert packets[0].pts is not None
    assert abs(packets[1].pts - packets[0].pts) % 3000 in (0, 1, 2999)  # whole frames of 90 kHz
    assert early.frames == 4
    assert early.size_bytes == sum(packet.size for packet in packets)
    assert len(first_us) == 2
    assert recorder.take_interval()["counts"]["published"] == 5


def is_keyframe(codec: str, data: bytes) -> bool:
    if codec == "vp8":
        return data[0] & 1 == 0  # RFC 6386 9.1
    return any(
        data[i + 3] & 0x1F == 5 for i in range(len(data) - 3) if data[i : i + 3] == b"\0\0\1"
    )


async def test_a_track_that_is_not_read_drops_the_oldest() -> None:
    recorder = Recorder()
    track = FeedTrack(0, recorder, on_first=lambda at_us: None)
    feed = Feed(SETTINGS, Pictures(SETTINGS), recorder)
    feed.add(track)
    try:
        async with asyncio.timeout(10):
            while track.skipped < 2:  # noqa: ASYNC110 - the feed's own clock
                await asyncio.sleep(0.01)
    finally:
        await feed.close()
    assert recorder.take_interval()["counts"]["skipped"] == track.skipped
