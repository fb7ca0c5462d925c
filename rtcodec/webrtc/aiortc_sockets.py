"""
What is mended of aioice's sockets: where they listen, and whose datagrams they take.
"""

import contextvars
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import aioice.ice

from rtcodec.webrtc.aiortc_private import TAKE

MAX_DATAGRAMS_WAITING: Final = 2048
"Datagrams that wait for DTLS and SRTP; aioice has no bound."

MAX_DATAGRAM_BYTES: Final = 1500
"pylibsrtp has room for so much; aiortc's connection ends with the exception about more."

MAX_PAIRS: Final = 100
"""Candidate pairs of a connection (RFC 8445 6.1.2.5); a peer that checks from every port it has
would add one for each."""

LOOPBACK_ADDRESS: Final = "127.0.0.1"

_loopback_only: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "rtcodec_loopback_only", default=False
)
stock_host_addresses = aioice.ice.get_host_addresses
stock_datagram_received = aioice.ice.StunProtocol.datagram_received


def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Return the addresses to offer as ICE host candidates, 127.0.0.1 among them."""
    if _loopback_only.get():
        return [LOOPBACK_ADDRESS]
    addresses = stock_host_addresses(use_ipv4, use_ipv6)
    return [*addresses, LOOPBACK_ADDRESS] if use_ipv4 else addresses


@contextmanager
def gathering(*, loopback_only: bool) -> Iterator[None]:
    """Choose the host candidates of connections that gather inside this context."""
    token = _loopback_only.set(loopback_only)
    try:
        yield
    finally:
        _loopback_only.reset(token)


def datagram_received(
    self: aioice.ice.StunProtocol, data: bytes | str, addr: tuple[Any, ...]
) -> None:
    """
    Take a datagram, if it is a check or comes from where one was exchanged with.

    aioice hands DTLS and RTP on from any address: whoever finds the port could
    end a handshake with an alert of his own, or fill a queue without end. What it
    cannot read ends the connection, or writes a traceback, so it does not get that. Media of a
    connection that stands go past its queue.
    """
    if not 0 < len(data) <= MAX_DATAGRAM_BYTES:
        return
    data = cast(bytes, data)
    receiver = self.receiver
    if data[0] > 3:  # no check, and no need to try it as one: RFC 7983 7
        if not _is_peer(self, (addr[0], addr[1])):
            return
        take = vars(receiver).get(TAKE)
        if take is not None and is_media(data):
            take(data)
        elif receiver._queue.qsize() < MAX_DATAGRAMS_WAITING:
            receiver.data_received(data, self.local_candidate.component)
        return
    n_pairs = len(receiver._check_list) + len(receiver._early_checks)
    if n_pairs >= MAX_PAIRS and not _is_peer(self, (addr[0], addr[1])):
        return
    with suppress(struct.error):  # of an attribute that is too short or too long
        stock_datagram_received(self, data, addr)


def is_media(datagram: bytes) -> bool:
    """Return whether a datagram that is not empty is of RTP or RTCP, RFC 7983 7."""
    return 127 < datagram[0] < 192


def _is_peer(protocol: aioice.ice.StunProtocol, address: tuple[str, int]) -> bool:
    """Return whether an address is of a candidate pair: offered, or found by a signed check."""
    known: set[tuple[str, int]] = vars(protocol).setdefault("rtcodec_peers", set())
    if address in known:
        return True
    is_peer = any(
        pair.protocol is protocol and pair.remote_addr == address
        for pair in protocol.receiver._check_list
    )
    if is_peer:
        known.add(address)
    return is_peer
