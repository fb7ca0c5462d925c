"""A connection that is closed while it connects."""

import asyncio

import pytest
from aiortc import RTCPeerConnection

from rtcodec.webrtc.aiortc_connection import PeerConnection

LONG_S = 3600.0


async def test_closing_goes_on_where_connecting_forgets_that_it_was_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, n_forgotten = asyncio.Event(), 0

    async def connect(_: RTCPeerConnection) -> None:
        nonlocal n_forgotten
        started.set()
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            n_forgotten += 1
        await asyncio.sleep(LONG_S)

    monkeypatch.setattr(RTCPeerConnection, "_RTCPeerConnection__connect", connect)
    one, other = PeerConnection(), PeerConnection()
    one.addTransceiver("video", direction="recvonly")
    await one.setLocalDescription(await one.createOffer())
    await other.setRemoteDescription(one.localDescription)
    await other.setLocalDescription(await other.createAnswer())
    await started.wait()
    async with asyncio.timeout(60):
        await other.close()
        await one.close()
    assert n_forgotten > 0
