"""
This side as a peer of another relay: `upstream` gets a room's latents by WHEP, `downstream` gives
them by WHIP.

    POST offer -> 201, answer -> media -> (GET now and then: is the session still there?) -> DELETE
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiortc import RTCPeerConnection

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc import (
    LatentReceiver,
    LatentSender,
    accept_answer,
    add_latent_receiver,
    create_offer,
    is_same_model,
    monotonic_us,
    new_connection,
)
from rtcodec_server.config_check import is_loopback
from rtcodec_server.edge_config import ForwardConfig
from rtcodec_server.via import VIA_HEADER, write_via

_SDP: Final = {"Content-Type": "application/sdp"}
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, sock_connect=5)
_CONNECT_S: Final = 15.0
_LEAVE_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 1 << 16
_SILENCE_US: Final = 2_000_000
_PROBE_EVERY_S: Final = 1.0
_MAX_FRAMES: Final = 4


class UpstreamRefused(RemoteProtocolError):
    """The other relay said no, or something that makes no sense."""


class UpstreamLost(Exception):
    """The other relay cannot be reached, or was there and then was not."""


class UpstreamBusy(UpstreamLost):
    """The other relay asks to come again later."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """
        Args:
            message: One line.
            retry_after_s: When to ask again.
        """
        super().__init__(message)
        self.retry_after_s = retry_after_s


@asynccontextmanager
async def upstream(
    config: ForwardConfig,
    *,
    model_id: str,
    via: Callable[[], Sequence[str]],
    ice_servers: Sequence[str],
) -> AsyncIterator[LatentReceiver]:
    """
    Subscribe, yield what receives, and leave nothing behind.

    The iteration over the receiver ends when the other relay goes away.

    Args:
        config: Whom to ask and with what token.
        model_id: Of the model that subscribers here decode.
        via: Relays behind this one, and this one; who watches changes.
        ice_servers: STUN and TURN URLs.

    Raises:
        UpstreamRefused, UpstreamLost: If nothing can come from there.
    """
    connection = new_connection(ice_servers)
    ready = add_latent_receiver(connection, max_frames=_MAX_FRAMES)
    async with _session(connection, config, model_id=model_id, via=via()) as (http, session_url):
        receiver = await _first(ready)
        watching = asyncio.ensure_future(_watch(http, session_url, receiver, via))
        try:
            yield receiver
        finally:
            watching.cancel()
            (said,) = await asyncio.gather(watching, return_exceptions=True)
        if isinstance(said, UpstreamRefused):
            raise said


@asynccontextmanager
async def downstream(
    config: ForwardConfig, sender: LatentSender, *, model_id: str, ice_servers: Sequence[str]
) -> AsyncIterator[asyncio.Event]:
    """
    Publish what *sender* is given; yield what is set when the other relay goes away.

    Args:
        config: A WHIP endpoint and the token for it.
        sender: Not attached to anything yet.
        model_id: Of the model whose latents will be sent.
        ice_servers: STUN and TURN URLs.

    Raises:
        UpstreamRefused, UpstreamLost: If nothing can go there.
    """
    connection = new_connection(ice_servers)
    sender.attach(connection)
    changed, gone = asyncio.Event(), asyncio.Event()

    @connection.on("connectionstatechange")
    def on_state() -> None:
        changed.set()
        if connection.connectionState in ("failed", "closed"):
            gone.set()

    async with _session(connection, config, model_id=model_id, via=()):
        async with asyncio.timeout(_CONNECT_S):
            while connection.connectionState != "connected" and not gone.is_set():
                changed.clear()
                await changed.wait()
        if gone.is_set():
            raise UpstreamLost("the media connection failed")
        yield gone


@asynccontextmanager
async def _session(
    connection: RTCPeerConnection, config: ForwardConfig, *, model_id: str, via: Sequence[str]
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Negotiate what is on a connection; end session and connection at the end."""
    headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
    session_url: str | None = None
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as http:
        try:
            loopback_only = is_loopback(urlsplit(config.url).hostname or "")
            offer = await create_offer(connection, models=[model_id], loopback_only=loopback_only)
            answer, session_url = await _post(http, config.url, offer, via)
            description = await accept_answer(connection, answer)
            video = description.of_kind("video")
            parameters = (video[0].latent_parameters if video else None) or {}
            if not is_same_model(parameters.get("model", ""), model_id):
                raise UpstreamRefused("the other relay has another model")
            yield http, session_url
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamLost(f"cannot be reached ({type(error).__name__})") from error
        finally:
            if session_url is not None:
                with suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with asyncio.timeout(_LEAVE_S), http.delete(session_url) as response:
                        await response.read()
            await connection.close()


async def _post(
    http: aiohttp.ClientSession, url: str, offer: str, via: Sequence[str]
) -> tuple[str, str]:
    headers = {**_SDP, VIA_HEADER: write_via(via)}
    async with http.post(url, data=offer.encode(), headers=headers) as response:
        body = await _read(response)
        location = response.headers.get("Location", "")
        if response.status in (429, 503):
            after = response.headers.get("Retry-After", "")
            retry_s = (
                float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 1.0
            )
            raise UpstreamBusy(f"answered {response.status}", retry_after_s=retry_s)
        if response.status != 201 or not location:
            reason = body.strip().partition("\n")[0][:200]
            raise UpstreamRefused(f"answered {response.status}: {reason}")
        return body, urljoin(str(response.url), location)


async def _read(response: aiohttp.ClientResponse) -> str:
    data = await response.content.read(_MAX_ANSWER_BYTES)
    while chunk := await response.content.read(_MAX_ANSWER_BYTES):
        data += chunk
        if len(data) > _MAX_ANSWER_BYTES:
            raise UpstreamRefused("the answer is too long")
    return data.decode(errors="replace")


async def _first(ready: "asyncio.Future[LatentReceiver]") -> LatentReceiver:
    async with asyncio.timeout(_CONNECT_S):
        await asyncio.wait({ready})  # who is cancelled here does not cancel it
    if ready.cancelled():
        raise UpstreamLost("the media connection failed")
    return ready.result()


async def _watch(
    http: aiohttp.ClientSession,
    url: str,
    receiver: LatentReceiver,
    via: Callable[[], Sequence[str]],
) -> None:
    """
    End the reception when the session is gone; ask only after a while without a packet.

    Says as well on whose behalf it watches, when that has changed: relays that asked each other at
    the same time find out so.

    Raises:
        UpstreamRefused: If that is so.
    """
    born_us = monotonic_us()
    told: Sequence[str] | None = None
    while True:
        await asyncio.sleep(_PROBE_EVERY_S)
        names = via()
        is_heard = monotonic_us() - (receiver.last_heard_us or born_us) < _SILENCE_US
        if is_heard and names == told:
            continue
        try:
            async with http.get(url, headers={VIA_HEADER: write_via(names)}) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = None
        if status == 508:
            receiver.close()
            raise UpstreamRefused("answered 508: each would get its stream from the other")
        if status is not None and status < 400:
            told = names
        elif not is_heard and status != 429:
            receiver.close()
            return
