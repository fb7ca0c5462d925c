"""Ordinary viewers: which codec they get, at which rate, and in whose time."""

from collections.abc import Iterator

import pytest

from rtcodec.webrtc.sdp import Media, read_sdp
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_server.edge_config import ORDINARY_CODECS, LegacyConfig
from rtcodec_server.legacy import LegacyAudience, Timeline
from rtcodec_server.video_format import can_decode, choose_codec
from support.pictures import picture
from support.relay import until

SECOND_US = 1_000_000


def video(*formats: str, order: str = "96 97 98 99") -> Media:
    lines = ["v=0", f"m=video 9 UDP/TLS/RTP/SAVPF {order}", *formats]
    return read_sdp("\r\n".join(lines) + "\r\n").media[0]


VP8 = "a=rtpmap:96 VP8/90000"
AV1 = "a=rtpmap:98 AV1/90000"
H264 = ("a=rtpmap:97 H264/90000", "a=fmtp:97 packetization-mode=1;profile-level-id=42e01f")
SINGLE_NAL = ("a=rtpmap:99 H264/90000", "a=fmtp:99 packetization-mode=0;profile-level-id=42e01f")


@pytest.mark.parametrize(
    ("media", "codec"),
    [
        (video(VP8, *H264), "VP8"),
        (video(VP8, *H264, order="97 96"), "H264"),
        (video(AV1, VP8, order="98 96"), "VP8"),
        (video(*SINGLE_NAL, VP8, order="99 96"), "VP8"),
        (video(*SINGLE_NAL), None),
        (video(AV1), None),
    ],
)
def test_a_viewer_gets_the_first_of_its_codecs_that_we_make(
    media: Media, codec: str | None
) -> None:
    assert choose_codec(media, ORDINARY_CODECS) == codec


@pytest.mark.parametrize(
    ("profile", "fits"),
    [
        ("42e01f", True),
        ("42001f", True),
        ("42C02A", True),
        ("4d001f", False),
        ("640c1f", False),
        ("nonsense", False),
        ("42e0ff", False),
    ],
)
def test_h264_fits_where_baseline_is_decoded(profile: str, fits: bool) -> None:
    fmtp = {"packetization-mode": "1", "profile-level-id": profile}
    assert can_decode("H264", fmtp) is fits


def test_time_goes_on_over_publishers_that_each_start_at_nought() -> None:
    timeline = Timeline()
    places = [timeline.place(pts, now_us=0) for pts in (5000, 8000, 11_000)]
    assert places == [0, 3000, 6000]
    assert timeline.place(0, now_us=SECOND_US) == 6000 + 90_000
    assert timeline.place(3000, now_us=SECOND_US) == 6000 + 93_000
    assert timeline.place(10_000_000, now_us=SECOND_US) == 6000 + 93_001  # a leap is no time


@pytest.fixture
def sender() -> Iterator[VideoSender]:
    made = VideoSender("VP8", on_keyframe_needed=lambda: None)
    yield made
    made.stop()


async def test_the_narrowest_way_lowers_the_rate_at_once_and_raises_it_slowly(
    sender: VideoSender,
) -> None:
    audience = LegacyAudience(LegacyConfig(bitrate_kbps=1000))
    audience.join("wide", VideoSender("VP8", on_keyframe_needed=lambda: None))
    audience.join("narrow", sender)

    def target_kbps(remb_bps: int, now_us: int) -> float:
        sender.target_bitrate = remb_bps
        audience.heed(now_us)
        (entry,) = audience.report()
        return float(entry["target_kbps"])

    assert target_kbps(400_000, 10 * SECOND_US) == 340
    assert target_kbps(200_000, 11 * SECOND_US) == 170
    assert target_kbps(900_000, 12 * SECOND_US) == 170
    assert target_kbps(900_000, 15 * SECOND_US) == 765
    audience.leave("narrow")
    audience.heed(20 * SECOND_US)
    (entry,) = audience.report()
    assert entry["target_kbps"] == 1000
    audience.leave("wide")
    audience.leave("never there")
    await audience.settle()
    assert not audience.is_wanted
    (entry,) = audience.report()
    assert entry["target_kbps"] is None


async def test_who_compares_has_an_encoder_that_follows_the_latents_and_changes_no_others(
    sender: VideoSender,
) -> None:
    audience = LegacyAudience(LegacyConfig(bitrate_kbps=1000))
    audience.join("ordinary", VideoSender("VP8", on_keyframe_needed=lambda: None))
    for tick in range(20):
        audience.note_coded(1, [bytes(2500)])
        audience.heed(tick * SECOND_US // 10)
    sender.target_bitrate = 50_000  # is no reason to compare less than there is
    audience.join("one", sender, matched_rung=1)
    audience.join("another", VideoSender("VP8", on_keyframe_needed=lambda: None), matched_rung=1)
    assert (audience.is_watched, audience.is_compared(0), audience.is_compared(1)) == (1, 0, 1)
    audience.note_coded(1, [bytes(2500)])
    audience.heed(2 * SECOND_US)
    ordinary, matched = audience.report()
    assert (ordinary["matched_rung"], ordinary["target_kbps"]) == (None, 1000)
    assert (matched["matched_rung"], matched["subscribers"]) == (1, 2)
    assert matched["target_kbps"] == pytest.approx(200, rel=0.1)
    planes = picture(64, 48, 0)
    for number in range(3):
        audience.compare(1, planes, 3000 * number)
        audience.compare(0, planes, 3000 * number)  # which nobody does
    await until(lambda: audience.report()[1]["frames_encoded"] > 0)
    assert audience.report()[0]["frames_encoded"] == 0
    for name in ("one", "another", "ordinary"):
        audience.leave(name)
    await audience.settle()
    assert {encoding.name for encoding in audience.gone} == {"VP8", "VP8-match"}


async def test_rates_stay_where_they_are_if_the_operator_wants_that(sender: VideoSender) -> None:
    audience = LegacyAudience(LegacyConfig(bitrate_kbps=1000, follow_remb=False))
    audience.join("narrow", sender)
    sender.target_bitrate = 100_000
    audience.heed(10 * SECOND_US)
    (entry,) = audience.report()
    assert entry["target_kbps"] == 1000
    audience.leave("narrow")
    await audience.settle()
