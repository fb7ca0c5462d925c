"""A stream of another relay: who gets which frame, and what goes back."""

import asyncio
from typing import Any, cast

from rtcodec.bitstream.packet import Description, Geometry, write_packet
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.null import NullEngine
from rtcodec.packet.feedback import FrameReport, read_report
from rtcodec.packet.payload import FrameTiming
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentFrame, LatentSender, OutgoingFrame, monotonic_us
from rtcodec_server.edge_config import LegacyConfig
from rtcodec_server.latent_pictures import LatentPictures
from rtcodec_server.latent_stream import LatentStream
from rtcodec_server.legacy import LegacyAudience
from support.pictures import picture
from support.relay import until

SIZE = (64, 48)


class Upstream:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.n_asked = 0
        self.reports: list[FrameReport] = []

    def request_keyframe(self) -> None:
        self.n_asked += 1

    def send_feedback(self, data: bytes) -> None:
        self.reports.append(read_report(data))


class Subscriber:
    """Takes frames as a `LatentSender` does."""

    def __init__(self) -> None:
        self.frames: list[OutgoingFrame] = []

    def send(self, frame: OutgoingFrame) -> None:
        self.frames.append(frame)


def sender(subscriber: Subscriber) -> LatentSender:
    return cast(LatentSender, subscriber)


def opened(upstream: Upstream) -> LatentStream:
    def no_pictures() -> LatentPictures:
        raise AssertionError("nobody wants pictures")

    audience = LegacyAudience(LegacyConfig())
    return LatentStream(upstream, stats=StreamStats(), audience=audience, pictures=no_pictures)


_ENGINE = NullEngine()
_ENCODER = FrameEncoder(
    _ENGINE,
    FramePacker(_ENGINE.bundle.entropy_tables, Slicing()),
    *SIZE,
    description=Description(0, Geometry(*SIZE)),
)


def frame(number: int, *, is_keyframe: bool = True, **more: Any) -> LatentFrame:
    unit = _ENCODER.encode(picture(*SIZE, number), qp=20, pts=number, keyframe=True).unit
    values: dict[str, Any] = {
        "number": number,
        "packets": tuple(map(write_packet, unit.packets)),
        "is_keyframe": is_keyframe,
        "rtp_timestamp": 3000 * number,
        "timing": FrameTiming(pts=3000 * number, received_us=1),
        "n_payloads": 1,
        "n_payloads_missing": 0,
        "n_frames_lost_before": 0,
        "arrived_us": monotonic_us(),
        "released_us": monotonic_us(),
    }
    return LatentFrame(**(values | more))


async def test_a_subscriber_starts_with_a_key_frame_and_others_go_on_meanwhile() -> None:
    upstream, early, late = Upstream(), Subscriber(), Subscriber()
    stream = opened(upstream)
    stream.add_subscriber("early", sender(early))
    stream.receive(frame(0))
    stream.add_subscriber("late", sender(late))
    stream.receive(frame(1, is_keyframe=False))
    assert (len(early.frames), len(late.frames)) == (2, 0)
    stream.receive(frame(2))
    assert (len(early.frames), len(late.frames)) == (3, 1)
    stream.remove_subscriber("late")
    stream.receive(frame(3))
    assert (len(early.frames), len(late.frames)) == (4, 1)
    assert stream.size == SIZE
    await stream.close()


async def test_packets_and_times_are_passed_on_untouched_even_where_the_time_was_lost() -> None:
    stream, subscriber = opened(Upstream()), Subscriber()
    stream.add_subscriber("one", sender(subscriber))
    frames = [frame(0), frame(1, timing=None), frame(2)]
    for each in frames:
        stream.receive(each)
    assert [sent.packets for sent in subscriber.frames] == [each.packets for each in frames]
    assert subscriber.frames[0].timing == frames[0].timing
    stamps = [sent.pts for sent in subscriber.frames]
    assert stamps == sorted(stamps)
    assert stamps[2] - stamps[0] == 6000
    await stream.close()


async def test_key_frames_are_asked_for_until_one_comes_and_not_after() -> None:
    upstream = Upstream()
    stream = opened(upstream)
    stream.add_subscriber("one", sender(Subscriber()))
    stream.heed_subscribers()
    n_asked = upstream.n_asked
    assert n_asked >= 2
    stream.receive(frame(0))
    stream.heed_subscribers()
    assert upstream.n_asked == n_asked
    stream.restart("one")
    stream.restart("not there")
    assert upstream.n_asked == n_asked + 1
    await stream.close()


async def test_what_all_hold_goes_back_and_our_own_word_while_nobody_is_there() -> None:
    upstream = Upstream()
    stream = opened(upstream)
    stream.receive(frame(0))
    assert upstream.reports[-1].holds(0)
    upstream.reports.clear()
    for name in ("one", "other"):
        stream.add_subscriber(name, sender(Subscriber()))
    stream.receive(frame(1))
    await asyncio.sleep(0.1)
    assert upstream.reports == []  # what they hold is for them to say
    stream.report("one", FrameReport(7, 0b111, words=2))
    stream.report("other", FrameReport(7, 0b110, words=2, damage=9))
    stream.report("stranger", FrameReport(7, 0, words=2))
    await until(lambda: upstream.reports)
    assert upstream.reports[-1] == FrameReport(7, 0b110, words=2, damage=9)
    stream.remove_subscriber("other")
    stream.report("one", FrameReport(8, 0b1111, words=2))
    await until(lambda: upstream.reports[-1].newest == 8)
    assert upstream.reports[-1].held == 0b1111
    await stream.close()


async def test_a_frame_without_packets_or_after_the_end_is_counted_and_goes_nowhere() -> None:
    stream, subscriber = opened(Upstream()), Subscriber()
    stream.add_subscriber("one", sender(subscriber))
    stream.receive(frame(0, packets=()))
    await stream.close()
    stream.receive(frame(1))
    assert subscriber.frames == []
    assert stream.frames.dropped == {"incomplete": 1, "closing": 1}
    assert stream.frames.received == 2


async def test_bytes_that_are_no_packet_are_passed_on_for_decoders_to_judge() -> None:
    stream, subscriber = opened(Upstream()), Subscriber()
    stream.add_subscriber("one", sender(subscriber))
    stream.receive(frame(0, packets=(b"nonsense",)))
    assert subscriber.frames[0].packets == (b"nonsense",)
    assert stream.size is None
    await stream.close()
