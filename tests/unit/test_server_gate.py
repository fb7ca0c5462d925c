"""Whom a request is from."""

import ipaddress

import pytest
from aiohttp.test_utils import make_mocked_request

from rtcodec_server.gate import client_address, is_local

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),  # nobody's proxy
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # its own word goes last
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["2001:db8::1"], ""),
    ],
)
def test_a_known_proxys_word_is_taken_as_far_as_it_goes(
    remote: str, forwarded: list[str], client: str
) -> None:
    assert client_address(remote, forwarded, PROXIES) == client


class Transport:
    """Where a request came from."""

    def __init__(self, remote: str) -> None:
        self._remote = remote

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._remote, 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("remote", "headers", "is_ours"),
    [
        ("127.0.0.1", {"Host": "127.0.0.1:8080"}, True),
        ("::1", {"Host": "[::1]:8080"}, True),
        ("127.0.0.1", {"Host": "localhost:8080", "Origin": "http://localhost:8080"}, True),
        ("192.0.2.1", {"Host": "127.0.0.1"}, False),
        ("127.0.0.1", {"Host": "localhost:8080", "Origin": "http://localhost:3000"}, False),
        ("127.0.0.1", {"Host": "localhost:8080", "Origin": "https://evil.example"}, False),
        ("127.0.0.1", {"Host": "localhost:8080", "Origin": "null"}, False),
        ("127.0.0.1", {"Host": "evil.example:8080"}, False),
        ("127.0.0.1", {"Host": "[bad"}, False),
        ("127.0.0.1", {"Host": "localhost", "X-Forwarded-For": "192.0.2.1"}, False),
        ("127.0.0.1", {"Host": "localhost", "Forwarded": "for=192.0.2.1"}, False),
        ("127.0.0.1", {"Host": "localhost", "Via": "1.1 proxy"}, False),
    ],
)
def test_local_is_who_asks_for_themselves_on_this_machine(
    remote: str, headers: dict[str, str], is_ours: bool
) -> None:
    request = make_mocked_request(
        "POST", "/api/drain", headers=headers, transport=Transport(remote)
    )
    assert is_local(request) is is_ours
