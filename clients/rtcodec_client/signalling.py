"""
The HTTP half of WHIP and WHEP, seen from the client.

    POST offer -> 201 answer, Location     (RFC 9725 4.2, WHEP draft 4.2)
    DELETE Location                        ends the session

Nothing here knows aiortc: SDP in, SDP out. Whatever the relay refuses becomes
one line with its own words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp

from rtcodec.errors import ConfigError, InputError, RemoteProtocolError

_SDP = "application/sdp"
_LAYER = "urn:ietf:params:whep:ext:core:layer"
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)
_BODY_MAX_BYTES = 1 << 20
_REASON_MAX_CHARS = 200
_SIZES_MAX = 4


class RelayUnreachable(InputError):
    """Nobody answers at the relay's address."""


class RelayBusy(RemoteProtocolError):
    """The relay has no place now, or is not ready yet."""

    def __init__(self, message: str, *, retry_after_s: int | None) -> None:
        """
        Args:
            message: One line.
            retry_after_s: When it is worth asking again, if the relay said so.
        """
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Answer:
    """What the relay said to an offer."""

    sdp: str

    session_url: str
    "Where DELETE ends the session."

    layer_url: str | None = None
    "Where the layers of the stream are told, if it has any to choose from."

    @property
    def session_id(self) -> str:
        """The last part of the session's path."""
        return urlsplit(self.session_url).path.rstrip("/").rpartition("/")[2]


def check_url(url: str, *, kind: str) -> str:
    """
    Return *url* if it can be an endpoint.

    Args:
        url: What the user typed; a bare relay address gets `/{kind}/demo`.
        kind: `whip` or `whep`.

    Raises:
        ConfigError: If it is not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError(f"{url!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        raise ConfigError(
            f"{url!r} is not an http or https URL such as http://host:8080/{kind}/demo"
        )
    if parts.path in ("", "/"):
        return urlunsplit(parts._replace(path=f"/{kind}/demo"))
    return url


def base_of(url: str) -> str:
    """Return the relay's address without a path."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def room_of(url: str) -> str:
    """Return the room that an endpoint names: the last part of its path."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2]


class SignallingClient:
    """
    Speaks HTTP to one relay.

    Args:
        url: A WHIP or WHEP endpoint.
        token: Bearer token, or None.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def offer(self, sdp: str) -> Answer:
        """
        Post an offer.

        Raises:
            RelayUnreachable: If nobody answers.
            RelayBusy: If the relay answers 503, or 429 to too many requests.
            RemoteProtocolError: If the relay refuses, or answers nonsense.
        """
        try:
            async with self._http.post(
                self.url, data=sdp.encode(), headers={"Content-Type": _SDP}
            ) as response:
                body = await _read(response)
                if response.status in (429, 503):
                    raise RelayBusy(_refusal(response, body), retry_after_s=_retry_after(response))
                if response.status != 201:
                    raise RemoteProtocolError(_refusal(response, body))
                location = response.headers.get("Location")
                if response.content_type != _SDP or not location:
                    raise RemoteProtocolError(f"{self.url}: not a WHIP or WHEP endpoint")
                layer = response.links.get(_LAYER)
                return Answer(
                    body,
                    urljoin(str(response.url), location),
                    None if layer is None else str(layer["url"]),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RelayUnreachable(f"{self.url}: {_unreachable(error)}") from error

    async def layer_sizes(self, url: str) -> list[tuple[int, int]]:
        """Return the sizes that a stream may come in, as its relay tells; none if it does not."""
        try:
            async with self._http.get(url) as response:
                text = await _read(response) if response.status == 200 else ""
            layers = json.loads(text)["layers"]
            sizes = {(int(layer["width"]), int(layer["height"])) for layer in layers}
        except (aiohttp.ClientError, TimeoutError, OSError, RemoteProtocolError):
            return []
        except (ValueError, TypeError, KeyError, LookupError):
            return []
        return sorted(sizes, reverse=True)[:_SIZES_MAX]

    async def delete(self, session_url: str) -> None:
        """End a session; a relay that is gone already is fine."""
        try:
            async with self._http.delete(session_url) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return

    async def is_ok(self, path: str) -> bool:
        """
        Whether the relay answers 200 there.

        Raises:
            RelayUnreachable: If nobody answers.
        """
        status, _ = await self._get(path)
        return status == 200

    async def get_text(self, path: str) -> str | None:
        """
        Fetch a text of the relay, or None where it has none.

        Raises:
            RelayUnreachable: If nobody answers.
        """
        status, body = await self._get(path)
        return body if status == 200 else None

    async def get_json(self, path: str) -> Any:
        """
        Fetch a JSON document of the relay, or None where it has none or shows none.

        Raises:
            RelayUnreachable: If nobody answers.
        """
        status, body = await self._get(path)
        if status != 200:
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None

    async def check_admin(self, path: str) -> None:
        """
        Check that the token lets us read what an operator may.

        Raises:
            RelayUnreachable: If nobody answers.
            RemoteProtocolError: If it does not.
        """
        status, body = await self._get(path)
        if status in (401, 403):
            reason = reason_of(body)[:_REASON_MAX_CHARS]
            raise RemoteProtocolError(f"{base_of(self.url)}{path}: {status}: {reason}")

    async def _get(self, path: str) -> tuple[int, str]:
        url = base_of(self.url) + path
        try:
            async with self._http.get(url) as response:
                return response.status, await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RelayUnreachable(f"{url}: {_unreachable(error)}") from error


async def _read(response: aiohttp.ClientResponse) -> str:
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > _BODY_MAX_BYTES:
            raise RemoteProtocolError(f"{response.url}: answer is over {_BODY_MAX_BYTES} bytes")
    return data.decode("utf-8", errors="replace")


def _refusal(response: aiohttp.ClientResponse, body: str) -> str:
    reason = reason_of(body) or (response.reason or "").lower()
    text = f"{response.url}: the relay answered {response.status}"
    if reason:
        text += f": {reason[:_REASON_MAX_CHARS]}"
    retry = response.headers.get("Retry-After")
    return f"{text}; try again in {retry} s" if retry else text


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    """Return the seconds that the relay asks for; a date is as good as nothing."""
    text = response.headers.get("Retry-After", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def reason_of(body: str) -> str:
    """Find the line for people in a problem document or a plain text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        lines = [line.strip() for line in body.splitlines() if line.strip()]
        return lines[0] if lines and not lines[0].startswith("<") else ""
    if isinstance(document, dict):
        for key in ("error", "detail", "title", "message"):
            if isinstance(document.get(key), str):
                return str(document[key])
    return ""


def _unreachable(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == 111:
        return "connection refused; is the relay running?"
    return f"cannot be reached ({' '.join(str(error).split()) or type(error).__name__})"
