"""Room names and trickled candidates."""

import pytest

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.message import (
    MAX_CANDIDATES,
    MAX_FRAGMENT_BYTES,
    Candidate,
    IceFragment,
    check_room_name,
    read_ice_fragment,
)

CANDIDATE = "1 1 udp 2130706431 192.0.2.1 5000 typ host"


@pytest.mark.parametrize("name", ["a", "Room-1.b_c", "0", "x" * 64])
def test_a_room_may_be_called(name: str) -> None:
    assert check_room_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "../x", ".x", "-x", "ä", "a\n"])
def test_a_room_may_not_be_called(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="a room name is"):
        check_room_name(name)


def test_a_fragment_is_read() -> None:
    text = (
        "a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        f"a=candidate:{CANDIDATE}\r\na=end-of-candidates\r\n"
    )
    assert read_ice_fragment(text) == IceFragment("abcd", (Candidate("0", CANDIDATE),), True)


def test_a_candidate_of_a_section_without_mid_has_none() -> None:
    text = f"m=video 9 X 0\na=mid:0\nm=audio 9 X 0\na=candidate:{CANDIDATE}\n"
    assert read_ice_fragment(text).candidates == (Candidate(None, CANDIDATE),)


@pytest.mark.parametrize("text", ["", "hello", "a=candidate\x00", "a=mid:0\r\n", "{}"])
def test_what_is_no_fragment_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="fragment"):
        read_ice_fragment(text)


def test_too_long_a_fragment_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="longer than"):
        read_ice_fragment("a=x\n" * MAX_FRAGMENT_BYTES)


def test_too_many_candidates_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="more than 32"):
        read_ice_fragment(f"a=candidate:{CANDIDATE}\n" * (MAX_CANDIDATES + 1))
