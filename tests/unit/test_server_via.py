"""Names of the relays that a request was passed on by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import RemoteProtocolError
from rtcodec_server.via import MAX_HOPS, LoopRefused, check_via, read_via, write_via

ONE, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_what_is_written_is_read() -> None:
    assert read_via(write_via((ONE, OTHER))) == (ONE, OTHER)
    assert read_via(None) == read_via("") == ()


@pytest.mark.parametrize("text", ["x", ONE + ";", f"{ONE},,{OTHER}", ONE.upper(), "0" * 2000])
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_via(text)


def test_a_relay_refuses_itself_and_too_many_in_a_row() -> None:
    check_via((OTHER,), ONE)
    with pytest.raises(LoopRefused, match="its own stream"):
        check_via((OTHER, ONE), ONE)
    assert len(read_via(write_via([ONE] * MAX_HOPS))) == MAX_HOPS
    with pytest.raises(LoopRefused, match="more than 8"):
        read_via(write_via([ONE] * (MAX_HOPS + 1)))


@given(st.text(alphabet="0123456789abcdef, xA\t", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        names = read_via(text)
    except (RemoteProtocolError, LoopRefused):
        return
    assert read_via(write_via(names)) == names
