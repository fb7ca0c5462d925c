"""aiortc's private parts are checked before they are touched."""

import asyncio
from collections.abc import Callable

import aioice
import aioice.ice
import aiortc.codecs
import aiortc.rtcrtpreceiver
import pytest

from rtcodec.webrtc import aiortc_patch
from rtcodec.webrtc.aiortc_patch import (
    LATENT_PAYLOAD_TYPE,
    MAX_DATAGRAMS_WAITING,
    UnsupportedAiortc,
    check,
    install,
)


def test_installing_twice_registers_the_codec_once() -> None:
    install()
    install()
    types = [codec.payloadType for codec in aiortc.codecs.CODECS["video"]]
    assert types.count(LATENT_PAYLOAD_TYPE) == types.count(LATENT_PAYLOAD_TYPE + 1) == 1


@pytest.mark.parametrize("version", ["1.15.0", "1.17.0", "2.0.0"])
def test_another_aiortc_is_refused_loudly(version: str) -> None:
    with pytest.raises(UnsupportedAiortc, match=f"aiortc is {version}, not 1.16"):
        check(version)


def test_this_aiortc_is_accepted() -> None:
    check("1.16.0")
    check("1.16.9")


def test_a_private_name_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def add() -> None:
        """Use nothing."""

    changed: tuple[tuple[Callable[..., object], tuple[str, ...]], ...] = ((add, ("_gone",)),)
    monkeypatch.setattr(aiortc_patch, "_RELIED_ON", changed)
    with pytest.raises(UnsupportedAiortc, match=r"add does not use _gone"):
        check("1.16.0")


def test_bit_rate_limits_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    import aiortc.codecs.h264 as h264
    import aiortc.codecs.vpx as vpx

    for module in (h264, vpx):
        for name in ("DEFAULT_BITRATE", "MIN_BITRATE", "MAX_BITRATE"):
            monkeypatch.setattr(module, name, getattr(module, name))
    aiortc_patch.raise_bitrate_limits(start_bps=100_000, max_bps=9_000_000)
    assert (vpx.DEFAULT_BITRATE, vpx.MIN_BITRATE, vpx.MAX_BITRATE) == (100_000, 100_000, 9_000_000)
    assert h264.MIN_BITRATE == 100_000


async def test_no_more_datagrams_wait_than_are_allowed() -> None:
    install()
    loop = asyncio.get_running_loop()
    receiver = aioice.ice.Connection(ice_controlling=False)
    with aiortc_patch.gathering(loopback_only=True):
        await receiver.gather_candidates()
    (local,) = receiver.local_candidates
    socket, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    protocol = receiver._protocols[0]
    here = socket.get_extra_info("sockname")
    try:
        for _ in range(100):
            protocol.datagram_received(b"\x80", here)
        assert receiver._queue.qsize() == 0  # nobody that was ever checked
        receiver.remote_username = receiver.remote_password = "x" * 22
        await receiver.add_remote_candidate(
            aioice.Candidate("1", 1, "udp", 1, here[0], here[1], "host")
        )
        receiver._pair_remote_candidate(receiver.remote_candidates[0])
        for _ in range(MAX_DATAGRAMS_WAITING + 100):
            protocol.datagram_received(b"\x80", here)
        assert receiver._queue.qsize() == MAX_DATAGRAMS_WAITING
        protocol.datagram_received(b"", here)  # too short to be anything
        protocol.datagram_received(b"\x80", ("127.0.0.1", local.port))
        assert receiver._queue.qsize() == MAX_DATAGRAMS_WAITING
    finally:
        socket.close()
        await receiver.close()
