"""Which addresses a peer may send the relay to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.session.candidate import METADATA, CandidatePolicy, filter_candidates

OPEN = CandidatePolicy()
LOCAL = CandidatePolicy.of((), loopback=True)


def candidate(address: str) -> str:
    return f"1 1 udp 2130706431 {address} 5000 typ host"


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.1", "10.1.2.3", "172.16.0.1", "192.168.1.7", "100.64.0.1", "8.8.8.8",
        "2001:db8::1", "fd12:3456::1", "::ffff:192.168.1.7", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
)  # fmt: skip
def test_an_ordinary_address_may_be_tried(address: str) -> None:
    assert OPEN.permits(candidate(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "0.1.2.3", "::", "169.254.1.1", "fe80::1",
        "fe80::1%eth0", "224.0.0.251", "239.1.1.1", "ff02::fb", "255.255.255.255", "240.0.0.1",
        "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd00:ec2::254%eth0",
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254",
        # the same through IPv6
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b:1::1",
    ],
)  # fmt: skip
def test_what_only_this_machine_this_link_or_its_cloud_answers_at_may_not(address: str) -> None:
    assert not OPEN.permits(candidate(address))


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "1 1 udp 1", candidate("localhost"), candidate("internal.example"),
        candidate("2130706433"), candidate("0x7f.1"), candidate("127.1"), candidate("010.0.0.1"),
        candidate("3ec1f0a2-94fd-4b6e-a8c0-1f8a5e6c9d10.local"),
    ],
)  # fmt: skip
def test_what_is_no_address_may_not(text: str) -> None:
    assert not OPEN.permits(text)
    assert not LOCAL.permits(text)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "1e3", "99999999999", "", "²"])
def test_a_port_that_cannot_be_may_not(port: str) -> None:
    assert not OPEN.permits(f"1 1 udp 1 192.0.2.1 {port} typ host")


def test_loopback_may_where_the_relay_is_there_only() -> None:
    assert LOCAL.permits(candidate("127.0.0.1"))
    assert LOCAL.permits(candidate("::1"))
    assert not LOCAL.permits(candidate("169.254.169.254"))


def test_networks_can_be_allowed() -> None:
    policy = CandidatePolicy.of(("169.254.0.0/16", "ff00::/8"), loopback=False)
    for address in ("169.254.169.254", "::ffff:169.254.1.1", "ff02::1"):
        assert policy.permits(candidate(address))
    assert not policy.permits(candidate("127.0.0.1"))


@given(st.ip_addresses())
def test_every_address_is_judged(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    permitted = OPEN.permits(candidate(str(address)))
    if address in METADATA or address.is_loopback or address.is_multicast or address.is_link_local:
        assert not permitted


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    OPEN.permits(text)


def test_candidates_are_taken_out_of_an_offer_with_the_promise_that_there_are_no_more() -> None:
    lines = ["v=0", "m=video 9 X 96", f"a=candidate:{candidate('127.0.0.1')}"]
    lines += [f"a=candidate:{candidate('192.0.2.1')}", "a=end-of-candidates", "a=sendonly", ""]
    kept = [line for line in lines if "127" not in line and "end-of" not in line]
    assert filter_candidates("\r\n".join(lines), OPEN) == "\r\n".join(kept)
    assert filter_candidates("\n".join(lines), OPEN) == "\n".join(kept)


def test_an_offer_without_such_candidates_is_left_alone() -> None:
    offer = f"v=0\r\na=candidate:{candidate('192.0.2.1')}\r\na=end-of-candidates\r\n"
    assert filter_candidates(offer, OPEN) is offer
