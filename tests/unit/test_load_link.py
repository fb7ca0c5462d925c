"""The link between a peer and the relay: on the media path, both ways, and nowhere else."""

import asyncio

import pytest

from rtcodec.errors import RemoteProtocolError
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings

OFFER = "\r\n".join(
    [
        "v=0",
        "m=video 40000 UDP/TLS/RTP/SAVPF 97",
        "a=candidate:1 1 udp 2130706431 10.0.0.5 40001 typ host",
        "a=candidate:2 1 udp 2130706431 127.0.0.1 {port} typ host",
        "a=candidate:3 1 udp 1694498815 1.2.3.4 40001 typ srflx raddr 10.0.0.5 rport 40001",
        "a=candidate:4 1 udp 2130706431 fe80::1 40003 typ host",
        "a=end-of-candidates",
        "",
    ]
)


class Peer(asyncio.DatagramProtocol):
    """A socket that keeps what it gets."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.put_nowait((data, addr))

    async def next(self) -> tuple[bytes, tuple[str, int]]:
        return await asyncio.wait_for(self.got.get(), 10)


async def socket_on_loopback() -> tuple[asyncio.DatagramTransport, Peer, int]:
    transport, peer = await asyncio.get_running_loop().create_datagram_endpoint(
        Peer, local_addr=("127.0.0.1", 0)
    )
    return transport, peer, transport.get_extra_info("sockname")[1]


def candidates(sdp: str) -> list[tuple[str, int]]:
    lines = [line.split() for line in sdp.split("\r\n") if line.startswith("a=candidate")]
    return [(words[4], int(words[5])) for words in lines]


async def test_neither_side_learns_where_the_other_is_and_everything_passes() -> None:
    peer_socket, peer, peer_port = await socket_on_loopback()
    relay_socket, relay, relay_port = await socket_on_loopback()
    settings = LinkSettings(Impairment(), Impairment(delay_us=1000), seed=1)
    link = await Link.open(settings, "s0", loopback_only=True)
    try:
        offer = link.lead_offer(OFFER.format(port=peer_port))
        relay_side = candidates(offer)
        assert [host for host, _ in relay_side] == ["10.0.0.5", "127.0.0.1"]
        assert len({port for _, port in relay_side}) == 1
        answer = link.lead_answer(OFFER.format(port=relay_port), "127.0.0.1")
        (peer_side,) = candidates(answer)
        assert peer_side[0] == "127.0.0.1"
        assert not {peer_side[1], relay_side[1][1]} & {peer_port, relay_port}
        assert answer.endswith("a=end-of-candidates\r\n")

        relay_socket.sendto(b"down", relay_side[1])
        assert await peer.next() == (b"down", peer_side)
        peer_socket.sendto(b"up", peer_side)
        assert await relay.next() == (b"up", relay_side[1])
        counters = link.counters
        assert (counters["up_sent"], counters["down_sent"]) == (1, 1)
    finally:
        link.close()
        peer_socket.close()
        relay_socket.close()


async def test_each_direction_has_a_network_of_its_own() -> None:
    peer_socket, peer, peer_port = await socket_on_loopback()
    relay_socket, relay, relay_port = await socket_on_loopback()
    link = await Link.open(
        LinkSettings(Impairment(loss=1.0), Impairment(), seed=1), "s0", loopback_only=True
    )
    try:
        relay_side = candidates(link.lead_offer(OFFER.format(port=peer_port)))[1]
        (peer_side,) = candidates(link.lead_answer(OFFER.format(port=relay_port), "127.0.0.1"))
        for _ in range(5):
            peer_socket.sendto(b"up", peer_side)
        relay_socket.sendto(b"down", relay_side)
        assert (await peer.next())[0] == b"down"
        async with asyncio.timeout(10):
            while link.counters["up_lost"] < 5:  # noqa: ASYNC110 - sockets, nothing to wait on
                await asyncio.sleep(0.01)
        assert relay.got.empty()
    finally:
        link.close()
        peer_socket.close()
        relay_socket.close()


async def test_an_answer_without_a_way_over_udp_is_refused() -> None:
    link = await Link.open(
        LinkSettings(Impairment(), Impairment(), seed=1), "s0", loopback_only=True
    )
    try:
        with pytest.raises(RemoteProtocolError, match="no UDP candidate"):
            link.lead_answer("v=0\r\na=candidate:1 1 tcp 1 1.2.3.4 9 typ host\r\n", "1.2.3.4")
        with pytest.raises(RemoteProtocolError, match="no candidate of ours"):
            link.lead_offer("v=0\r\n")
    finally:
        link.close()


async def test_the_relays_candidate_at_its_own_address_is_preferred() -> None:
    link = await Link.open(
        LinkSettings(Impairment(), Impairment(), seed=1), "s0", loopback_only=False
    )
    try:
        answer = link.lead_answer(OFFER.format(port=5), "10.0.0.5")
        assert len(candidates(answer)) == 1
        assert "a=candidate:1 1" in answer
        assert "a=candidate:1 1" in link.lead_answer(OFFER.format(port=5), "192.0.2.1")
        assert "a=candidate:2 1" in link.lead_answer(OFFER.format(port=5), "127.0.0.1")
    finally:
        link.close()
