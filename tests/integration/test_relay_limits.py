"""What is too much is refused, clearly and at once; what is left goes on."""

import asyncio
import logging
import random
import re
import socket

import aiohttp
import aioice.stun
import pytest
from aiortc import RTCPeerConnection
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from benchmarks import handshake
from benchmarks._mutate import mutate_bytes
from rtcodec.session.lobby import Limits
from rtcodec.webrtc import accept_answer
from rtcodec.webrtc.aiortc_patch import new_decoder
from rtcodec_client.connection import RelayConnection
from rtcodec_client.signalling import SignallingClient
from rtcodec_server.app import RunningServer
from rtcodec_server.client_limits import PublisherLimits, RequestLimits
from support.relay import SDP, MovingTrack, RelayClient, relay, until

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
SEED = 21
METADATA = "a=candidate:7 1 udp 2130706431 169.254.169.254 80 typ host\r\n"
MDNS = "a=candidate:8 1 udp 2130706431 3ec1f0a2-94fd-4b6e-a8c0-1f8a5e6c9d10.local 9 typ host\r\n"


async def post(client: RelayClient, path: str, body: str) -> tuple[int, str]:
    async with client.http.post(path, data=body, headers=SDP) as response:
        return response.status, await response.text()


def dropped(server: RunningServer) -> dict[str, int]:
    return dict(server.relay.stats.frames.dropped)


# ---------------------------------------------------------------------- requests


async def test_too_many_requests_are_429_with_retry_after() -> None:
    async with relay(requests=RequestLimits(per_s=0.01, burst=2)) as (_, client):
        assert [(await post(client, "/whip/a", ""))[0] for _ in range(2)] == [400, 400]
        async with client.http.patch("/whip/a/b", data="", headers=FRAGMENT) as response:
            assert response.status == 429
            assert 90 <= int(response.headers["Retry-After"]) <= 100
            assert "too many requests" in await response.text()
        for path in ("/healthz", "/api/rooms", "/whip/a"):
            async with client.http.get(path) as response:
                assert response.status == 200
        async with client.http.get("/metrics") as response:
            text = await response.text()
            assert 'rtcodec_requests_refused_total{status="429"} 1.0' in text


async def test_an_unknown_proxys_word_for_who_asks_is_not_taken() -> None:
    limits = RequestLimits(per_s=0.01, burst=1)

    async def statuses(client: RelayClient) -> list[int]:
        found = []
        for number in range(3):
            headers = SDP | {"X-Forwarded-For": f"192.0.2.{number}"}
            async with client.http.post("/whip/a", data="", headers=headers) as response:
                found.append(response.status)
        return found

    async with relay(requests=limits) as (_, client):
        assert await statuses(client) == [400, 429, 429]
    async with relay(requests=limits, trusted_proxies=("127.0.0.0/8",)) as (_, client):
        assert await statuses(client) == [400, 400, 400]


async def test_our_own_clients_wait_as_long_as_they_are_told() -> None:
    async with relay(requests=RequestLimits(per_s=0.5, burst=1)) as (server, client):
        assert (await post(client, "/whip/room", ""))[0] == 400
        said: list[str] = []
        async with SignallingClient(f"{server.url}/whep/room") as signalling:
            connection = RelayConnection(signalling, on_wait=said.append)
            connection.peer.addTransceiver("video", direction="recvonly")
            async with connection.established(asyncio.Event()):
                assert "429: too many requests" in said[0]


# ---------------------------------------------------------------- too much signalling


@pytest.mark.parametrize(
    ("line", "n_lines", "detail"),
    [
        ("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 33, "more than 32 candidates"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", 9, "more than 8 media sections"),
        ("a=x\r\n", 2001, "more than 2000 lines"),
        ("a=" + "x" * 2100 + "\r\n", 1, "longer than 2048 characters"),
    ],
)
async def test_an_sdp_of_too_much_is_400(line: str, n_lines: int, detail: str) -> None:
    async with relay() as (_, client):
        _, offer = await client.publisher_offer()
        status, text = await post(client, "/whip/room", offer + line * n_lines)
        assert status == 400
        assert detail in text
        assert (await post(client, "/whip/room", offer))[0] == 201


async def test_a_body_that_breaks_off_or_is_no_body_is_refused_in_few_words() -> None:
    async with relay() as (server, _):
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /whip/room HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nnonsense-secret\r\n"
        )
        answer = (await asyncio.wait_for(reader.read(), 60)).decode()
        writer.close()
        await writer.wait_closed()
    assert answer.split(" ")[1] == "400"
    assert "nonsense-secret" not in answer


async def test_whatever_is_wrong_with_an_offer_is_the_offerers_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = random.Random(SEED)
    seen = set()
    async with relay(limits=Limits(connect_us=60_000_000), requests=RequestLimits(per_s=0)) as (
        server,
        client,
    ):
        _, offer = await client.publisher_offer()
        for _ in range(150):
            status, text = await post(client, "/whip/room", mutated(offer, rng))
            assert status in (201, 400, 413, 422), text
            seen.add(status)
            for room in server.relay.rooms:
                await server.relay.occupancy.end(room.name)
        assert (await post(client, "/whip/room", offer))[0] == 201
    assert {201, 400, 422} <= seen
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def mutated(text: str, rng: random.Random) -> str:
    """Break a document in a few places, as a fuzzer would."""
    lines = text.split("\r\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        what = rng.randrange(6)
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(at, rng.choice(lines))
        elif what == 2:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        elif what == 3:
            words = lines[at].split(" ")
            words[rng.randrange(len(words))] = rng.choice(["-1", "99999999999", "", "x", "*/*"])
            lines[at] = " ".join(words)
        elif what == 4:
            lines[at] = re.sub(r"\d+", lambda _: str(rng.randrange(1 << 33)), lines[at])
        else:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "\r\n".join(lines)


# ---------------------------------------------------------------------- candidates


def remote_addresses(connection: RTCPeerConnection) -> list[str]:
    """Return where a connection was told to look for its peer."""
    transport = connection.getTransceivers()[0].receiver.transport.transport
    return [candidate.ip for candidate in transport.getRemoteCandidates()]


async def test_a_peer_whose_candidates_may_not_be_tried_is_found_by_its_own_checks() -> None:
    async with relay(host="0.0.0.0", open=True) as (server, client):
        connection, offer = await client.publisher_offer()
        assert " 127.0.0.1 " in offer
        end = "a=end-of-candidates\r\n"
        assert end in offer
        status, answer = await post(
            client, "/whip/room", offer.replace(end, f"{METADATA}{MDNS}{end}")
        )
        assert status == 201
        peer = server.relay.publisher_of("room")
        assert peer is not None
        assert remote_addresses(peer.connection) == []
        await accept_answer(connection, answer)
        await until(lambda: dropped(server).get("unwatched", 0) > 3)


async def test_trickled_candidates_are_held_to_the_same_rule() -> None:
    async with relay() as (server, client):
        _, offer = await client.publisher_offer()
        offer = offer.replace("a=end-of-candidates\r\n", "")
        async with client.http.post("/whip/room", data=offer, headers=SDP) as response:
            path, etag = response.headers["Location"], response.headers["ETag"]
        peer = server.relay.publisher_of("room")
        assert peer is not None
        here = remote_addresses(peer.connection)
        assert set(here) == {"127.0.0.1"}  # where the relay is there only
        for number in range(4):  # of 32 that may be tried, however many are sent
            fine = "".join(
                f"a=candidate:1 1 udp 1 192.0.2.{number * 16 + n} 9 typ host\r\n" for n in range(16)
            )
            async with client.http.patch(
                path, data=METADATA + MDNS + fine, headers=FRAGMENT | {"If-Match": etag}
            ) as response:
                assert response.status == 204
        addresses = remote_addresses(peer.connection)
        assert "169.254.169.254" not in addresses
        assert len(addresses) == 32


# ---------------------------------------------------------------------- datagrams


async def test_strangers_cannot_end_a_handshake_or_fill_a_queue() -> None:
    rows = await handshake.run(5)  # python -m benchmarks.handshake makes a hundred
    assert [row["connected"] for row in rows] == [True] * 5
    assert all(row["forged"] > 0 for row in rows)


def broken_checks() -> list[bytes]:
    """Return connectivity checks, broken in some way each, as a fuzzer makes them."""
    check = aioice.stun.Message(
        message_method=aioice.stun.Method.BINDING, message_class=aioice.stun.Class.REQUEST
    )
    check.attributes |= {"USERNAME": "abcd:efgh", "PRIORITY": 1, "ICE-CONTROLLING": 5}
    check.add_message_integrity(b"secret")
    rng = random.Random(SEED)
    return [mutate_bytes(bytes(check), [bytes(check)], rng) for _ in range(2000)]


async def test_datagrams_that_nobody_can_read_end_and_log_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = broken_checks()
    async with relay() as (server, client):
        connection, offer = await client.publisher_offer()
        _, answer = await post(client, "/whip/room", offer)
        (port,) = handshake.ports_of(answer)
        await accept_answer(connection, answer)
        await until(lambda: connection.connectionState == "connected")
        ice = connection.getTransceivers()[0].sender.transport.transport._connection
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for n, data in enumerate((b"", b"\x80" * 1501, b"\x80" * 9000, b"\x00" * 3, *broken)):
                stranger.sendto(data, ("127.0.0.1", port))
                if n < 4 or n % 10 == 0:
                    await ice.sendto(data, 1)  # from where the peer is: anybody on its network can
                if n % 100 == 0:
                    await asyncio.sleep(0.01)
        n_before = dropped(server).get("unwatched", 0)
        await until(lambda: dropped(server).get("unwatched", 0) > n_before + 3)
        assert connection.connectionState == "connected"
        assert server.relay.sessions_closed == {}
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


# ---------------------------------------------------------------------- publishers


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_picture_that_is_too_large_is_not_decoded_and_ends_the_session(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders = []

    def noted(parameters: RTCRtpCodecParameters) -> object:
        decoders.append(parameters.name)
        return new_decoder(parameters)

    monkeypatch.setattr("rtcodec.webrtc.video_receiver.new_decoder", noted)
    limits = PublisherLimits(max_size=(160, 96))
    async with relay(publisher=limits) as (server, client):
        path = await client.publish("room", MovingTrack(320, 240), codec=codec)
        await until(lambda: server.relay.n_sessions == 0)
        assert server.relay.sessions_closed == {"too_large": 1}
        await until(lambda: dropped(server).get("too_large", 0) > 0)
        frames = server.relay.stats.frames
        await until(lambda: frames.received == frames.n_dropped)
        assert frames.encoded == 0
        assert decoders == []
        async with client.http.get(path) as response:
            assert response.status == 404
        # lying or standing, what is as large as allowed is fine
        await client.publish("room", MovingTrack(96, 160), codec=codec)
        await until(lambda: frames.dropped.get("unwatched", 0) > 3)


async def test_a_stream_that_grows_too_large_is_ended_with_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with relay(publisher=PublisherLimits(max_size=(200, 96))) as (server, client):
        track = MovingTrack(192, 96)
        await client.publish("room", track)
        await until(lambda: dropped(server).get("unwatched", 0) > 3)
        track.width = 208  # one block more: only when decoded is the size known exactly
        await until(lambda: server.relay.sessions_closed.get("too_large"))
        assert dropped(server)["too_large"] >= 1
    closed = [record for record in caplog.records if record.getMessage() == "session_closed"]
    assert closed[0].fields["reason"] == "too_large"  # type: ignore[attr-defined]
    assert closed[0].fields["room"] == "room"  # type: ignore[attr-defined]


async def test_frames_beyond_the_rate_are_thinned_and_counted() -> None:
    async with relay(publisher=PublisherLimits(max_fps=5)) as (server, client):
        await client.watch("room")
        await client.publish("room", MovingTrack(fps=40))
        frames = server.relay.stats.frames
        await until(lambda: frames.dropped.get("frame_rate", 0) >= 10 and frames.encoded >= 4)
    assert frames.received == frames.encoded + frames.n_dropped


async def test_a_relay_of_which_nothing_is_left_says_so_before_it_works() -> None:
    async with relay(limits=Limits(max_sessions=0, retry_after_s=7)) as (server, client):
        _, offer = await client.publisher_offer()
        async with client.http.post("/whip/room", data=offer, headers=SDP) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "7"
        assert server.relay.rooms == ()


async def test_slow_bodies_do_not_keep_others_out() -> None:
    async with relay() as (server, client):
        host, port = server.url.removeprefix("http://").split(":")
        writers = []
        for _ in range(50):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
                b"Content-Length: 1000\r\n\r\nv"
            )
            writers.append(writer)
        await client.publish("room")
        await until(lambda: dropped(server).get("unwatched", 0) > 3)
        for writer in writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)


async def test_an_oversized_header_is_refused() -> None:
    async with (
        relay() as (server, _),
        aiohttp.ClientSession(server.url) as http,
        http.get("/healthz", headers={"X": "x" * 10_000}) as response,
    ):
        assert response.status == 400
        assert await response.text() == "malformed request\n"
