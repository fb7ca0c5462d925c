"""What is read from an SDP, and what is added to it."""

import pytest

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc.sdp import (
    check_latent_offer,
    is_same_model,
    read_sdp,
    with_exclusive_mux,
    write_latent_fmtp,
)

OFFER = "\r\n".join(
    [
        "v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 96", "a=recvonly", "a=mid:0", "a=rtpmap:96 opus/48000/2",
        "m=video 9 UDP/TLS/RTP/SAVPF 103 104 97", "a=mid:1", "a=rtcp-mux",
        "a=rtpmap:103 X-RTC-LATENT/90000", "a=fmtp:103 v=1;model=00112233aabbccdd",
        "a=rtpmap:104 rtx/90000", "a=fmtp:104 apt=103", "a=rtpmap:97 vp8/90000",
        "a=ice-ufrag:abcd", "a=ice-pwd:x", "",
    ]
)  # fmt: skip
MODEL = "00112233aabbccdd"


def test_an_offer_is_read() -> None:
    description = read_sdp(OFFER)
    assert description.ice_ufrag == "abcd"
    assert [media.kind for media in description.media] == ["audio", "video"]
    (video,) = description.of_kind("video")
    assert video.codecs == ("X-RTC-LATENT", "RTX", "VP8")
    assert video.direction == "sendrecv"
    assert video.latent_parameters == {"v": "1", "model": MODEL}
    (audio,) = description.of_kind("audio")
    assert (audio.direction, audio.latent_parameters) == ("recvonly", None)


def test_a_codec_without_parameters_has_none() -> None:
    text = OFFER.replace("a=fmtp:103 v=1;model=00112233aabbccdd\r\n", "")
    assert read_sdp(text).of_kind("video")[0].latent_parameters == {}


def test_bare_newlines_and_a_direction_for_all_are_fine() -> None:
    description = read_sdp("v=0\na=sendonly\nm=video 9 X 97\na=rtpmap:97 VP8/90000\n")
    assert description.media[0].direction == "sendonly"
    assert description.ice_ufrag is None
    assert read_sdp("v=0\n").media == ()


@pytest.mark.parametrize("text", ["", "\n", "v=1\n", "x", "v=0\nbad\n", "v=0\n\na=x\n", "v=0\nA=x"])
def test_what_is_no_sdp_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="SDP"):
        read_sdp(text)


def test_too_much_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="longer than"):
        read_sdp("v=0\n" + "a" * 65536)
    with pytest.raises(RemoteProtocolError, match="more than 2000 lines"):
        read_sdp("v=0\n" * 2001)


@pytest.mark.parametrize("n_more", [0, 1])
@pytest.mark.parametrize(
    ("line", "n_allowed", "message"),
    [
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0", 8, "more than 8 media sections"),
        ("a=candidate:1 1 udp 1 192.0.2.1 9 typ host", 32, "more than 32 candidates"),
        ("a=" + "x" * 2046, 1, "line 3 is longer than 2048 characters"),
    ],
)
def test_more_than_anybody_needs_is_refused(
    line: str, n_allowed: int, message: str, n_more: int
) -> None:
    long = line + "x" if n_allowed == 1 and n_more else line
    text = "v=0\r\ns=-\r\n" + f"{long}\r\n" * (n_allowed + (n_more if n_allowed > 1 else 0))
    if not n_more:
        read_sdp(text)
        return
    with pytest.raises(RemoteProtocolError, match=message):
        read_sdp(text)


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_that_others_would_take_for_two_is_refused(end: str) -> None:
    hidden = f"a=x{end}a=candidate:1 1 udp 1 127.0.0.1 9 typ host"
    assert len(hidden.splitlines()) == 2
    with pytest.raises(RemoteProtocolError, match="line 2 of the SDP is malformed"):
        read_sdp(f"v=0\r\n{hidden}\r\n")


def test_models_are_written_at_our_codec_only() -> None:
    bare = OFFER.replace(";model=00112233aabbccdd", "")
    written = write_latent_fmtp(bare, ["aa", "bb"])
    assert "a=fmtp:103 v=1;model=aa,bb\r\n" in written
    assert "a=fmtp:104 apt=103\r\n" in written
    assert write_latent_fmtp(bare, []) == bare
    assert "model=new\r\n" in write_latent_fmtp(OFFER, ["new"])


def test_exclusive_mux_is_added_once() -> None:
    once = with_exclusive_mux(OFFER)
    assert once.count("a=rtcp-mux-only\r\n") == 1
    assert with_exclusive_mux(once) == once


def test_an_offer_with_our_model_or_none_is_taken() -> None:
    for parameters in (
        {}, {"v": "1"}, {"model": MODEL}, {"model": f"ffffffffffffffff,{MODEL.upper()}"},
        {"model": MODEL + "00" * 24}, {"model": ""},
    ):  # fmt: skip
        check_latent_offer(parameters, MODEL)


def test_an_offer_with_another_model_or_version_is_refused_with_both_names() -> None:
    with pytest.raises(RemoteProtocolError, match=f"{MODEL}, which is not among .*: ffff"):
        check_latent_offer({"model": "f" * 16}, MODEL)
    with pytest.raises(RemoteProtocolError, match="version 2 is not spoken here, 1 is"):
        check_latent_offer({"v": "2"}, MODEL)


def test_models_are_the_same_if_what_both_say_is() -> None:
    assert is_same_model(MODEL, MODEL + "ee")
    assert not is_same_model(MODEL[:15], MODEL)
    assert not is_same_model("", "")
    assert is_same_model("null", "null")
