"""aiortc's private parts are checked before they are touched."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aioice
import aioice.ice
import aioice.stun
import aiortc.codecs
import aiortc.rtcrtpreceiver
import pytest
from aiortc.rtcdtlstransport import SRTP_PROFILES, RTCCertificate, generate_certificate
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL, crypto

from rtcodec.webrtc import aiortc_patch
from rtcodec.webrtc.aiortc_patch import (
    LATENT_PAYLOAD_TYPE,
    MAX_DATAGRAMS_WAITING,
    UnsupportedAiortc,
    check,
    install,
)
from rtcodec.webrtc.aiortc_sockets import MAX_PAIRS


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


def test_a_peer_with_an_rsa_certificate_is_taken_in_both_roles() -> None:
    install()
    ours = RTCCertificate.generateCertificate()
    key: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    theirs = RTCCertificate(key=key, cert=generate_certificate(key))
    for client, server in ((ours, theirs), (theirs, ours)):
        a, b = (SSL.Connection(_context(side), None) for side in (client, server))
        a.set_connect_state()
        b.set_accept_state()
        for _ in range(20):
            for one, other in ((a, b), (b, a)):
                with suppress(SSL.WantReadError):
                    one.do_handshake()
                with suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(65536))
        assert a.get_cipher_name() is not None
        certificate = (b if client is theirs else a).get_peer_certificate()
        assert certificate is not None
        assert certificate.get_pubkey().type() == crypto.TYPE_RSA


def _context(certificate: RTCCertificate) -> SSL.Context:
    context: SSL.Context = certificate._create_ssl_context(SRTP_PROFILES)
    return context


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


async def test_a_peer_that_checks_from_everywhere_is_not_followed() -> None:
    install()
    receiver = aioice.ice.Connection(ice_controlling=False)
    with aiortc_patch.gathering(loopback_only=True):
        await receiver.gather_candidates()
    protocol = receiver._protocols[0]
    seen: list[object] = []
    receiver.request_received = lambda message, addr, protocol: seen.append(addr)  # type: ignore[method-assign]
    check = bytes(
        aioice.stun.Message(
            message_method=aioice.stun.Method.BINDING, message_class=aioice.stun.Class.REQUEST
        )
    )
    try:
        protocol.datagram_received(check, ("192.0.2.1", 1))
        assert seen == [("192.0.2.1", 1)]
        receiver._early_checks.extend([(None, None, None)] * MAX_PAIRS)  # type: ignore[list-item]
        protocol.datagram_received(check, ("192.0.2.1", 2))
        assert len(seen) == 1
        vars(protocol)["rtcodec_peers"].add(("192.0.2.1", 3))
        protocol.datagram_received(check, ("192.0.2.1", 3))
        assert len(seen) == 2
    finally:
        receiver._early_checks.clear()
        await receiver.close()
