"""
Which ICE candidates of a peer may be tried.

A candidate makes the relay send packets to an address that somebody else
chose. Those that only this machine, this link or the cloud's own services
answer at are left out: a peer that really is there is found by its own checks,
which come from the address they come from.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: Final[frozenset[Address]] = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google, DigitalOcean and most others
        "169.254.170.2",  # AWS, containers
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, the host
        "192.0.0.192",  # Oracle, earlier
    )
)
"Where machines in a cloud find their own secrets."

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 2.1
_HOST_FIELD: Final = 4  # RFC 8839 5.1: foundation component transport priority address port
_PORT_FIELD: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePolicy:
    """Which addresses a peer may send the relay to."""

    allowed: tuple[Network, ...] = ()
    "Let through whatever they are."

    loopback: bool = False
    "Whether loopback is let through: where the relay itself is there only."

    @classmethod
    def of(cls, networks: Sequence[str], *, loopback: bool) -> "CandidatePolicy":
        """Make a policy of networks such as `127.0.0.0/8`, each valid."""
        return cls(
            allowed=tuple(ipaddress.ip_network(network) for network in networks),
            loopback=loopback,
        )

    def permits(self, candidate: str) -> bool:
        """
        Return whether a candidate may be tried.

        A name never is: not `.local`, whose owner's own checks arrive without
        it being resolved, nor any other.

        Args:
            candidate: What follows `a=candidate:`; may be anything.
        """
        fields = candidate.split(maxsplit=_PORT_FIELD + 1)
        if len(fields) <= _PORT_FIELD or not _is_port(fields[_PORT_FIELD]):
            return False
        try:
            address = ipaddress.ip_address(fields[_HOST_FIELD])
        except ValueError:
            return False
        # With a zone, fe80::1%eth0, an address is equal to none without one, and only ever local.
        return "%" not in fields[_HOST_FIELD] and self._permits_address(address)

    def _permits_address(self, address: Address) -> bool:
        if any(address in network for network in self.allowed):
            return True
        inner = _embedded(address)
        if inner is not None:
            return self._permits_address(inner)
        if address.is_loopback:
            return self.loopback
        return not (
            address in METADATA
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved  # 240.0.0.0/4 with the broadcast address
            or _is_this_network(address)
        )


def filter_candidates(sdp: str, policy: CandidatePolicy) -> str:
    """
    Return *sdp* without the candidates that may not be tried.

    Where one is missing `a=end-of-candidates` is left out too: otherwise a
    peer without any other would be given up before its own checks arrive.
    """
    lines = sdp.split("\n")
    kept = [
        line
        for line in lines
        if not line.startswith("a=candidate:") or policy.permits(line[12:].rstrip("\r"))
    ]
    if len(kept) == len(lines):
        return sdp
    return "\n".join(line for line in kept if line.rstrip("\r") != "a=end-of-candidates")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address really go to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_this_network(address: Address) -> bool:
    """Return whether it is in 0.0.0.0/8, which Linux takes for itself, or an IPv4 one of old."""
    if isinstance(address, ipaddress.IPv4Address):
        return int(address) >> 24 == 0
    return int(address) >> 32 == 0  # ::a.b.c.d, RFC 4291 2.5.5.1
