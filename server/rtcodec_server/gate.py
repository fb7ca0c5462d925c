"""
Who is asking, and whether they may: client address, bearer token, rate limit.

RFC 6750: tokens come in the Authorization header and nowhere else; 401 for a
missing or bad one, 403 for one of another room or role.
"""

import ipaddress
import re
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from rtcodec.session.candidate import Address, Network
from rtcodec.session.lobby import Role
from rtcodec.session.rate_limit import RateLimiter
from rtcodec.webrtc import monotonic_us
from rtcodec_server.access import BadToken, Grant, Keyring
from rtcodec_server.config import ServerConfig
from rtcodec_server.config_check import is_loopback
from rtcodec_server.problem import Problem

_REALM: Final = 'Bearer realm="rtcodec"'
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 2.1
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


class Gate:
    """Lets requests through, or raises `Problem`."""

    def __init__(self, config: ServerConfig) -> None:
        self._keyring = Keyring(config.keys, issuer=config.issuer) if config.keys else None
        self._metrics_open = config.metrics_open
        self._proxies = [ipaddress.ip_network(network) for network in config.trusted_proxies]
        limits = config.requests
        self._limiter = RateLimiter(
            rate_per_s=limits.per_s, burst=limits.burst, max_clients=limits.max_clients
        )

    def check_rate(self, request: web.Request) -> None:
        """
        Count a request that costs something.

        Raises:
            Problem: 429, if there were too many from its address.
        """
        client = client_address(
            request.remote or "", request.headers.getall("X-Forwarded-For", ()), self._proxies
        )
        wait_us = self._limiter.take(_limited_as(client), now_us=monotonic_us())
        if wait_us:
            wait_s = -(-wait_us // 1_000_000)
            raise Problem(429, "too many requests", Retry_After=str(wait_s))

    def check_role(self, request: web.Request, role: Role, room: str) -> None:
        """
        Check that the request may be made by somebody in *room* as *role*.

        Raises:
            Problem: 401 or 403.
        """
        if self._keyring is None:
            return
        if not self._grant(request, self._keyring).allows(role, room):
            verb = "publish to" if role is Role.PUBLISHER else "watch"
            raise _insufficient(f"the token does not allow to {verb} room {room}")

    def check_reader(self, request: web.Request) -> Grant:
        """
        Check that the request may see what goes on; without keys everybody may.

        Returns:
            Its `covers` says in which rooms.

        Raises:
            Problem: 401 or 403.
        """
        if self._keyring is None:
            return Grant(room="*", admin=True)
        grant = self._grant(request, self._keyring)
        if not grant.admin:
            raise _insufficient("the token does not allow to administer")
        return grant

    def check_metrics(self, request: web.Request) -> None:
        """
        Check that the request may read the metrics.

        Raises:
            Problem: 401 or 403.
        """
        if not self._metrics_open and not self.check_reader(request).is_relay_admin:
            raise _insufficient("the metrics are of all rooms, the token is not")

    def check_admin(self, request: web.Request, room: str | None) -> None:
        """
        Check that the request may change something.

        Args:
            request: Without keys it has to come from this machine, and from no web page.
            room: The room it concerns; None is all of them.

        Raises:
            Problem: 401 or 403.
        """
        if self._keyring is None:
            if not is_local(request):
                raise Problem(403, "without keys only this machine may administer the relay")
            return
        grant = self.check_reader(request)
        if not (grant.is_relay_admin if room is None else grant.covers(room)):
            raise _insufficient("the token does not allow to administer that")

    def check_recorder(self, request: web.Request, room: str | None) -> None:
        """
        Check that the request may record a room, or play its recordings.

        Args:
            request: Without keys as for `check_admin`.
            room: The room it concerns; None is all of them.

        Raises:
            Problem: 401 or 403.
        """
        if self._keyring is None:
            self.check_admin(request, room)
            return
        grant = self.check_record_reader(request)
        if not (grant.room == "*" if room is None else grant.covers(room)):
            raise _insufficient("the token does not allow to record that")

    def check_record_reader(self, request: web.Request) -> Grant:
        """
        Check that the request may see which recordings there are; without keys everybody may.

        Returns:
            Its `covers` says of which rooms.

        Raises:
            Problem: 401 or 403.
        """
        if self._keyring is None:
            return Grant(room="*", admin=True)
        grant = self._grant(request, self._keyring)
        if not (grant.record or grant.admin):
            raise _insufficient("the token does not allow to record")
        return grant

    def check_viewer(self, request: web.Request, room: str) -> Grant:
        """
        Check that the request may see the studies of *room*; without keys everybody may.

        Returns:
            Whose token it is.

        Raises:
            Problem: 401 or 403.
        """
        if self._keyring is None:
            return Grant(room="*", study=True)
        grant = self._grant(request, self._keyring)
        if not (grant.study and grant.covers(room)):
            raise _insufficient(f"the token does not allow to see studies of room {room}")
        return grant

    def _grant(self, request: web.Request, keyring: Keyring) -> Grant:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise Problem(
                401, "a bearer token is needed in the Authorization header", WWW_Authenticate=_REALM
            )
        try:
            if not _TOKEN.fullmatch(given.strip()):
                raise BadToken("the token is malformed")
            return keyring.verify(given.strip(), now_s=time.time())
        except BadToken as error:
            reason = f'{_REALM}, error="invalid_token", error_description="{error}"'
            raise Problem(401, str(error), WWW_Authenticate=reason) from None


def client_address(remote: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """
    Return the address of who really asks.

    Args:
        remote: Whom the connection is with.
        forwarded: The X-Forwarded-For headers; each proxy adds at the end whom it got it from.
        proxies: Networks of those whose word is taken.
    """
    client = remote
    for word in reversed([part.strip() for line in forwarded for part in line.split(",")]):
        address = _address(client)
        if address is None or not any(address in network for network in proxies):
            break
        if _address(word) is None:
            break
        client = word
    return client


def is_local(request: web.Request) -> bool:
    """
    Return whether somebody on this machine asks for themselves.

    Not a proxy on it for others, and not a web page that makes its visitor's
    browser ask: that sends where the page is from.
    """
    if not is_loopback(request.remote or ""):
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    if not is_loopback(host_of(f"//{request.host}")):
        return False  # a name that somebody else has made point here
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def host_of(url: str) -> str:
    """Return the host of a URL, or nothing."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _insufficient(detail: str) -> Problem:
    reason = f'{_REALM}, error="insufficient_scope", error_description="{detail}"'
    return Problem(403, detail, WWW_Authenticate=reason)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _limited_as(client: str) -> str:
    """Return whom to count a client as: with IPv6 the /64, of which one machine has all."""
    address = _address(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return client if address is None else str(address)
