"""Encryption without letting go of the interpreter: the same bytes as pylibsrtp's."""

import struct

import pylibsrtp
import pytest
from pylibsrtp import Policy, Session

from rtcodec.webrtc.aiortc_srtp import MAX_PACKET_BYTES, QuickSession

KEY = bytes(range(30))


def outgoing() -> Session:
    return Session(Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_OUTBOUND))


def incoming() -> Session:
    return Session(Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_INBOUND))


def rtp(seq: int, n_bytes: int = 100) -> bytes:
    return struct.pack("!BBHLL", 0x80, 96, seq, 1234, 0xABCD) + bytes(n_bytes)


def test_packets_are_encrypted_as_by_pylibsrtp() -> None:
    quick, stock = QuickSession(outgoing()), outgoing()
    for seq, n_bytes in enumerate((0, 1, 1200)):
        assert quick.protect(rtp(seq, n_bytes)) == stock.protect(rtp(seq, n_bytes))


def test_packets_come_back_whatever_came_before() -> None:
    sender, receiver, other = outgoing(), QuickSession(incoming()), QuickSession(outgoing())
    for seq in range(3):
        assert receiver.unprotect(sender.protect(rtp(seq, 50 * seq))) == rtp(seq, 50 * seq)
        other.protect(rtp(seq, 900))  # the buffer is one for all


def test_rtcp_comes_back() -> None:
    report = struct.pack("!BBHL", 0x80, 201, 1, 7)
    receiver = QuickSession(incoming())
    assert receiver.unprotect_rtcp(outgoing().protect_rtcp(report)) == report


def test_what_was_changed_repeated_or_cut_is_refused() -> None:
    sender, receiver = outgoing(), QuickSession(incoming())
    sealed = sender.protect(rtp(1))
    changed = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    for broken in (changed, sealed[:20], b"", b"\x80"):
        with pytest.raises(pylibsrtp.Error):
            receiver.unprotect(broken)
    assert receiver.unprotect(sealed) == rtp(1)
    with pytest.raises(pylibsrtp.Error):
        receiver.unprotect(sealed)
    with pytest.raises(pylibsrtp.Error):
        receiver.unprotect_rtcp(b"\x80\xc9")


def test_what_no_datagram_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        QuickSession(outgoing()).protect(bytes(MAX_PACKET_BYTES + 1))
