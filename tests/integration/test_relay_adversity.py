"""
What peers and networks do that they should not, and that nobody else notices.

In each of these a call in another room, or of others in the same one, goes on meanwhile: none of
its frames is lost. The outcomes are written down in docs/operating.md.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import aiohttp
import pytest
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpPsfbPacket, RtcpRtpfbPacket

from rtcodec.session.lobby import Limits
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings
from rtcodec_server.app import RunningServer
from rtcodec_server.client_limits import RequestLimits
from support.relay import MovingTrack, RelayClient, Watch, relay, until

NOTHING = LinkSettings(Impairment(), Impairment(), seed=1)
CUT = Impairment(loss=1.0)
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}

PEER = """
import asyncio, sys
from support.relay import MovingTrack, RelayClient

async def main() -> None:
    async with RelayClient(sys.argv[1]) as client:
        if sys.argv[2] == "publish":
            await client.publish("room", MovingTrack(160, 96))
        else:
            watch = await client.watch("room")
            while not watch.frames:
                await asyncio.sleep(0.02)
        print("ready", flush=True)
        await asyncio.sleep(120)

asyncio.run(main())
"""


@asynccontextmanager
async def peer_process(
    request: pytest.FixtureRequest, url: str, what: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a peer that can be killed; ready means that it publishes, or has seen a frame."""
    root = request.config.rootpath
    paths = [str(root / part) for part in ("", "server", "engines", "clients", "tests")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PEER, url, what,
        env={"PYTHONPATH": ":".join(paths)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Bystander:
    """A call of somebody else: every frame that the relay sent in it arrived."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._n_before = 0

    @classmethod
    async def start(cls, client: RelayClient, room: str = "other") -> "Bystander":
        watch = await client.watch(room)
        await client.publish(room, MovingTrack(160, 96))
        await until(lambda: watch.frames)
        return cls(watch)

    async def noticed_nothing(self) -> None:
        """Check what came so far, and that more comes."""
        frames = self._watch.frames
        n_frames = len(frames)
        await until(lambda: len(frames) >= n_frames + 5)
        assert [frame.number for frame in frames] == list(range(len(frames)))
        assert all(frame.is_complete for frame in frames)
        assert self._watch.receiver.frames_lost == 0
        assert self._watch.connection.connectionState == "connected"


def reasons(server: RunningServer) -> dict[str, int]:
    return server.relay.sessions_closed


# ---------------------------------------------------------------------- kill -9, stop


async def test_a_killed_publisher_leaves_a_quiet_room_that_another_may_take_over(
    request: pytest.FixtureRequest,
) -> None:
    async with relay(limits=Limits(publisher_quiet_us=500_000)) as (server, client):
        bystander = await Bystander.start(client)
        watch = await client.watch("room")
        async with peer_process(request, server.url, "publish") as process:
            await until(lambda: len(watch.frames) >= 5)
            process.send_signal(signal.SIGKILL)
            await until(lambda: not server.relay.is_live("room"))
            assert reasons(server) == {}  # it may come back
            n_before = len(watch.frames)
            await client.publish("room", MovingTrack(64, 48))
            assert reasons(server) == {"replaced": 1}
            await until(lambda: len(watch.frames) > n_before + 3)
            assert server.relay.is_live("room")
        await bystander.noticed_nothing()


async def test_a_killed_subscriber_is_let_go_and_the_others_see_every_frame(
    request: pytest.FixtureRequest,
) -> None:
    async with relay(limits=Limits(subscriber_silence_us=1_500_000)) as (server, client):
        bystander = await Bystander.start(client, "room")
        async with peer_process(request, server.url, "watch") as process:
            n_sessions = server.relay.n_sessions
            process.send_signal(signal.SIGKILL)
            await until(lambda: server.relay.n_sessions == n_sessions - 1)
            assert reasons(server) == {"silent": 1}
        await bystander.noticed_nothing()


async def test_a_subscriber_that_stops_reading_holds_nobody_up_and_can_go_on(
    request: pytest.FixtureRequest,
) -> None:
    async with relay(limits=Limits(subscriber_silence_us=8_000_000)) as (server, client):
        bystander = await Bystander.start(client, "room")
        async with peer_process(request, server.url, "watch") as process:
            stuck = server.relay.subscribers_of("room")[1]
            process.send_signal(signal.SIGSTOP)
            n_sent = stuck.sender.counters.frames_sent
            await until(lambda: stuck.sender.counters.frames_sent >= n_sent + 60)
            await bystander.noticed_nothing()
            process.send_signal(signal.SIGCONT)
            heard_us = stuck.last_heard_us or 0
            await until(lambda: (stuck.last_heard_us or 0) > heard_us)
            process.send_signal(signal.SIGSTOP)
            await until(lambda: reasons(server) == {"silent": 1}, timeout_s=60)
        await bystander.noticed_nothing()


# ---------------------------------------------------------------------- floods


async def flood(watch: Watch, server: RunningServer, packets: Callable[[int], list[bytes]]) -> None:
    """Send RTCP as fast as a link of some megabits would carry it, for 60 frames."""
    transport = watch.connection.getTransceivers()[0].receiver.transport
    (ssrc,) = (
        peer.sender._port._sender._ssrc  # type: ignore[union-attr]
        for peer in server.relay.subscribers_of("room")
        if peer.sender.counters.frames_sent and peer.connection.connectionState == "connected"
    )
    n_frames = len(watch.frames)
    turns = cycle(packets(ssrc))
    async with asyncio.timeout(60):
        while len(watch.frames) < n_frames + 60:
            for _ in range(5):
                await transport._send_rtp(next(turns))
            await asyncio.sleep(0.01)


async def sent_bytes(server: RunningServer) -> int:
    """Return what the relay sent to the last subscriber of the room, on the wire."""
    stats = await server.relay.subscribers_of("room")[-1].connection.getStats()
    return sum(entry.bytesSent for entry in stats.values() if entry.type == "transport")


def pli(ssrc: int) -> list[bytes]:
    return [bytes(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=ssrc))]


def nack(ssrc: int) -> list[bytes]:
    """Ask for five thousand packets again, in 1.2 KB; in turn for all that there can be."""
    most = 290 * 17
    return [
        bytes(RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=ssrc, lost=lost))
        for start in range(0, 1 << 16, most)
        if (lost := list(range(start, min(start + most, 1 << 16))))
    ]


@pytest.mark.parametrize("packet", [pli, nack])
async def test_a_flood_of_feedback_is_the_senders_own_loss(
    packet: Callable[[int], list[bytes]],
) -> None:
    async with relay(qp=10) as (server, client):
        bystander = await Bystander.start(client)
        watch = await client.watch("room")
        await client.publish("room", MovingTrack(160, 96))
        await until(lambda: watch.frames)
        await flood(watch, server, packet)
        stats = server.relay.stats
        asked = stats.pli_count if packet is pli else stats.nack_count
        assert asked > 300
        assert server.relay.occupancy.publisher_plis <= 2  # nothing of it went on to the publisher
        assert await sent_bytes(server) < 2.5 * watch.receiver.bitstream_bytes + 500_000
        await bystander.noticed_nothing()


async def test_a_flood_of_candidates_is_cut_off_and_nobody_else_notices() -> None:
    async with relay(requests=RequestLimits(per_s=5, burst=20)) as (server, client):
        bystander = await Bystander.start(client)
        _, offer = await client.publisher_offer()
        offer = offer.replace("a=end-of-candidates\r\n", "")
        headers = {"Content-Type": "application/sdp"}
        async with client.http.post("/whip/room", data=offer, headers=headers) as response:
            path, etag = response.headers["Location"], response.headers["ETag"]
        fragment = "".join(
            f"a=candidate:1 1 udp 1 192.0.2.{n + 1} 9 typ host\r\n" for n in range(32)
        )

        async def patch() -> int:
            async with client.http.patch(
                path, data=fragment, headers=FRAGMENT | {"If-Match": etag}
            ) as response:
                return response.status

        statuses = [await patch() for _ in range(200)]
        assert set(statuses) == {204, 429}
        assert statuses.count(204) < 60
        peer = server.relay.publisher_of("room")
        assert peer is not None
        transport = peer.connection.getTransceivers()[0].receiver.transport.transport
        assert len(transport.getRemoteCandidates()) <= 32
        await bystander.noticed_nothing()


# ---------------------------------------------------------------------- a network that goes away


@asynccontextmanager
async def link(name: str) -> AsyncIterator[Link]:
    made = await Link.open(NOTHING, name, loopback_only=True)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.slow
async def test_after_ten_seconds_without_a_network_both_ways_go_on() -> None:
    async with relay() as (server, client), link("publisher") as up, link("watcher") as down:
        bystander = await Bystander.start(client)
        steady = await Bystander.start(client, "fed")
        cut_off = await client.watch("fed", link=down)
        watch = await client.watch("cut")
        await client.publish("cut", MovingTrack(160, 96), link=up)
        await until(lambda: len(watch.frames) >= 5 and len(cut_off.frames) >= 5)
        for each in (up, down):
            each.change(up=CUT, down=CUT)
        went_quiet = asyncio.ensure_future(
            until(lambda: not server.relay.is_live("cut"), timeout_s=9)
        )
        await asyncio.sleep(10)
        await went_quiet
        n_seen, n_cut_off = len(watch.frames), len(cut_off.frames)
        for each in (up, down):
            each.change(up=Impairment(), down=Impairment())
        await until(lambda: len(watch.frames) >= n_seen + 10)
        await until(lambda: len(cut_off.frames) >= n_cut_off + 10)
        assert server.relay.is_live("cut")
        assert reasons(server) == {}
        await steady.noticed_nothing()
        await bystander.noticed_nothing()


# ---------------------------------------------------------------------- slow HTTP


async def closed_by_the_relay(
    url: str, first: bytes, drip: bytes = b""
) -> tuple[bytes, asyncio.StreamWriter]:
    """Open a connection, send little, and return what came until the relay closed it."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first)

    async def dribble() -> None:
        while drip:
            writer.write(drip)
            await asyncio.sleep(0.05)

    dribbling = asyncio.ensure_future(dribble())
    answer = b""
    try:
        async with asyncio.timeout(60):
            while chunk := await reader.read(1000):
                answer += chunk
    except ConnectionResetError:  # it closed while we went on
        pass
    finally:
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)
        writer.close()
    return answer, writer


HEAD = b"POST /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"

SLOW: dict[str, tuple[bytes, bytes, bytes]] = {
    "no request at all": (b"", b"", b""),
    "a line that never ends": (b"GET /he", b"a", b""),
    "headers that never end": (HEAD, b"X-A: b\r\n", b""),
    "a body that never ends": (HEAD + b"Content-Length: 9999\r\n\r\n", b"v", b"408"),
    "nothing after an answer": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"", b"200"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_slow_clients_are_hung_up_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcodec_server.app._IDLE_S", 0.5)
    monkeypatch.setattr("rtcodec_server.body._BODY_TIMEOUT_S", 0.5)
    first, drip, status = SLOW[name]
    async with relay() as (server, client):
        bystander = await Bystander.start(client)

        def many() -> list[Coroutine[Any, Any, tuple[bytes, asyncio.StreamWriter]]]:
            return [closed_by_the_relay(server.url, first, drip) for _ in range(20)]

        answers = await asyncio.gather(*many())
        for answer, _ in answers:
            assert answer[9:12] == status
        await bystander.noticed_nothing()


async def test_who_reads_no_answers_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcodec_server.crowd.UNREAD_MS", 500)
    async with relay() as (server, client):
        bystander = await Bystander.start(client)
        host, port = server.url.removeprefix("http://").split(":")
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        with peer:
            await loop.sock_connect(peer, (host, int(port)))
            request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

            async def ask_and_never_read() -> None:
                while True:
                    await loop.sock_sendall(peer, request * 100)
                    await asyncio.sleep(0.05)

            with pytest.raises(ConnectionError):  # sooner or later, and nothing piles up
                await asyncio.wait_for(ask_and_never_read(), 60)
        await bystander.noticed_nothing()


async def test_connections_beyond_the_limit_are_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtcodec_server.crowd.MAX_CONNECTIONS", 20)
    async with relay() as (server, client):
        bystander = await Bystander.start(client)
        host, port = server.url.removeprefix("http://").split(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
        await until(
            lambda: (
                sum(reader.at_eof() or reader.exception() is not None for reader, _ in opened) >= 20
            )
        )
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for _, w in opened), return_exceptions=True)

        async def answers() -> bool:
            try:
                async with client.http.get("/healthz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        async with asyncio.timeout(60):
            while not await answers():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.02)
        await bystander.noticed_nothing()
