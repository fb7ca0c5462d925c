"""WHIP and WHEP to the letter: every status, every header."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from rtcodec.session.lobby import Limits
from rtcodec.webrtc import add_latent_receiver, create_offer
from rtcodec_server.app import running_server
from rtcodec_server.config import ServerConfig
from support.relay import SDP, RelayClient, relay, until

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
CANDIDATE = "a=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\n"


@pytest.fixture
async def client() -> AsyncIterator[RelayClient]:
    async with relay() as (_, client):
        yield client


async def problem(response: aiohttp.ClientResponse) -> str:
    assert response.content_type == "application/problem+json"
    document = json.loads(await response.text())
    assert document["status"] == response.status
    detail: str = document["detail"]
    assert "\n" not in detail
    return detail


async def post(
    client: RelayClient, path: str, body: bytes | str, **headers: str
) -> tuple[int, str]:
    async with client.http.post(path, data=body, headers=SDP | headers) as response:
        if response.status == 201:
            return 201, await response.text()
        return response.status, await problem(response)


async def test_an_offer_is_answered_with_201_location_and_etag(client: RelayClient) -> None:
    _, offer = await client.publisher_offer()
    async with client.http.post("/whip/room", data=offer, headers=SDP) as response:
        assert response.status == 201
        assert response.content_type == "application/sdp"
        assert response.headers["Location"].startswith("/whip/room/")
        assert response.headers["ETag"].startswith('"')
        answer = await response.text()
        location = response.headers["Location"]
    assert answer.count("a=rtcp-mux-only") == answer.count("m=")
    assert "a=recvonly" in answer
    assert " VP8/90000" in answer
    assert "X-RTC-LATENT" not in answer
    assert "127.0.0.1" in answer
    async with client.http.get(location) as response:
        assert (response.status, await response.text()) == (200, "")


async def test_a_subscriber_is_told_the_model(client: RelayClient) -> None:
    watch = await client.watch("room")
    assert len(watch.model) == 16
    int(watch.model, 16)


async def test_delete_ends_the_session_and_says_what_was_sent(client: RelayClient) -> None:
    watch = await client.watch("room")
    await until(lambda: watch.connection.connectionState == "connected")
    async with client.http.delete(watch.path, headers={"If-Match": '"stale"'}) as response:
        assert response.status == 200
        assert (await response.json())["frames_sent"] == 0
    async with client.http.delete(watch.path) as response:
        assert response.status == 404
        assert await problem(response) == "no such session"
    await asyncio.wait_for(watch.task, 60)


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_options_tell_what_is_accepted(client: RelayClient, kind: str) -> None:
    async with client.http.options(f"/{kind}/room") as response:
        assert response.status == 200
        assert response.headers["Accept-Post"] == "application/sdp"
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
    async with client.http.options(f"/{kind}/room/session") as response:
        assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    async with client.http.get(f"/{kind}/room") as response:
        assert (response.status, await response.read()) == (200, b"")
    async with client.http.head(f"/{kind}/room") as response:
        assert response.headers["Content-Type"] == "application/sdp"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", "does not start with v=0"),
        ("hello", "does not start with v=0"),
        ("v=0\r\nnonsense\r\n", "line 2 of the SDP is malformed"),
        ("v=0\r\n\x00=x\r\n", "line 2"),
        (b"v=0\r\ns=\xff\xfe\r\n", "not UTF-8"),
        ("v=0\r\n" + "a=x\r\n" * 2001, "more than 2000 lines"),
    ],
)
@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_a_malformed_sdp_is_400(
    client: RelayClient, kind: str, body: str | bytes, detail: str
) -> None:
    status, text = await post(client, f"/{kind}/room", body)
    assert status == 400
    assert detail in text


async def test_an_sdp_that_only_looks_like_one_is_400(client: RelayClient) -> None:
    body = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 97\r\n"
    body += "a=rtpmap:97 VP8/90000\r\na=sendonly\r\n"
    status, text = await post(client, "/whip/room", body)
    assert status == 400
    assert "offer cannot be used" in text
    # and the room is free again
    await client.publish("room")


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_an_sdp_without_video_is_422(client: RelayClient, kind: str) -> None:
    connection = client.new_connection()
    connection.addTransceiver("audio")
    await connection.setLocalDescription(await connection.createOffer())
    status, text = await post(client, f"/{kind}/room", connection.localDescription.sdp)
    assert (status, text) == (422, "the offer has 0 video sections, 1 is needed")


async def test_two_video_sections_are_422(client: RelayClient) -> None:
    connection = client.new_connection()
    connection.addTransceiver("video")
    connection.addTransceiver("video")
    await connection.setLocalDescription(await connection.createOffer())
    status, text = await post(client, "/whip/room", connection.localDescription.sdp)
    assert (status, text) == (422, "the offer has 2 video sections, 1 is needed")


async def test_a_publisher_without_vp8_and_h264_is_422(client: RelayClient) -> None:
    _, offer = await client.publisher_offer()
    status, text = await post(client, "/whip/room", offer.replace("VP8/", "AV1/"))
    assert (status, text) == (422, "the offer has neither VP8 nor H264 video")


async def test_a_publisher_that_only_receives_is_422(client: RelayClient) -> None:
    _, offer = await client.publisher_offer()
    status, text = await post(client, "/whip/room", offer.replace("a=sendonly", "a=recvonly"))
    assert status == 422
    assert "a publisher offers video sendonly or sendrecv, not recvonly" in text


async def test_a_subscriber_without_any_codec_that_is_sent_is_422(client: RelayClient) -> None:
    connection = client.new_connection()
    transceiver = connection.addTransceiver("video", direction="recvonly")
    known = type(transceiver.receiver).getCapabilities("video")
    assert known is not None
    transceiver.setCodecPreferences([codec for codec in known.codecs if codec.name == "VP8"])
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp.replace("VP8/", "AV1/")
    status, text = await post(client, "/whep/room", offer)
    assert (status, text) == (
        422, "the offer has none of the codecs sent here: X-RTC-LATENT, VP8, H264",
    )  # fmt: skip


async def test_a_subscriber_without_our_model_is_422(client: RelayClient) -> None:
    watch = await client.watch("other")
    assert (await client.watch("other", models=("ab" * 8, watch.model))).model == watch.model
    with pytest.raises(AssertionError, match="which is not among those offered: abababab"):
        await client.watch("room", models=("ab" * 8,))


async def test_a_subscriber_of_another_codec_version_is_422(client: RelayClient) -> None:
    with pytest.raises(AssertionError, match="2 is not spoken here"):
        await client_watch_with(client, "v=1", "v=2")


async def client_watch_with(client: RelayClient, old: str, new: str) -> None:
    connection = client.new_connection()
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    status, text = await post(
        client, "/whep/room", connection.localDescription.sdp.replace(old, new)
    )
    assert status == 201, text


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_a_huge_sdp_is_413(client: RelayClient, kind: str) -> None:
    status, text = await post(client, f"/{kind}/room", "v=0\r\n" + "a" * 70_000)
    assert status == 413
    assert "longer than 65536 bytes" in text


async def test_a_huge_sdp_of_unknown_length_is_413(client: RelayClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a=x\r\n" * 1000

    try:
        async with client.http.post("/whip/room", data=endless(), headers=SDP) as response:
            assert response.status == 413
    except aiohttp.ClientOSError:
        pass  # the relay answered and hung up while we were still sending


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/sdpx"])
async def test_another_content_type_is_415(client: RelayClient, content_type: str) -> None:
    async with client.http.post(
        "/whip/room", data="v=0", headers={"Content-Type": content_type}
    ) as response:
        assert response.status == 415
        assert response.headers["Accept"] == "application/sdp"
        assert content_type in await problem(response)


async def test_an_unknown_session_is_404(client: RelayClient) -> None:
    path = await client.publish("room")
    session = path.rsplit("/", 1)[1]
    for wrong in (f"/whip/other/{session}", f"/whep/room/{session}", "/whip/room/x"):
        async with client.http.delete(wrong) as response:
            assert response.status == 404
            assert await problem(response) == "no such session"
        async with client.http.patch(wrong, data=CANDIDATE, headers=FRAGMENT) as response:
            assert response.status == 404


async def test_an_unknown_path_or_method_is_404_or_405(client: RelayClient) -> None:
    async with client.http.get("/nothing/here") as response:
        assert response.status == 404
        await problem(response)
    async with client.http.put("/whip/room", data="x") as response:
        assert response.status == 405
        assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("room", ["..%2f..", "a%20b", "x" * 65, "%00"])
async def test_a_room_that_cannot_be_is_400(client: RelayClient, room: str) -> None:
    async with client.http.post(f"/whip/{room}", data="v=0", headers=SDP) as response:
        assert response.status == 400
        assert "a room name is" in await problem(response)


async def test_a_second_publisher_is_409_until_the_first_has_gone(client: RelayClient) -> None:
    path = await client.publish("room")
    _, offer = await client.publisher_offer()
    status, text = await post(client, "/whip/room", offer)
    assert (status, text) == (409, "room room has a publisher already")
    async with client.http.delete(path) as response:
        assert response.status == 200
    assert (await post(client, "/whip/room", offer))[0] == 201


async def test_a_full_relay_is_503_with_retry_after() -> None:
    limits = Limits(max_rooms=1, max_subscribers_per_room=1, retry_after_s=9)
    async with relay(limits=limits) as (_, client):
        await client.watch("room")
        _, offer = await client.publisher_offer()
        async with client.http.post("/whip/other", data=offer, headers=SDP) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "9"
            assert "full: 1 rooms" in await problem(response)
        with pytest.raises(AssertionError, match="room is full: 1 subscribers"):
            await client.watch("room")


async def test_candidates_can_be_trickled(client: RelayClient) -> None:
    connection, offer = await client.publisher_offer()
    async with client.http.post("/whip/room", data=offer, headers=SDP) as response:
        path, etag = response.headers["Location"], response.headers["ETag"]
    match = FRAGMENT | {"If-Match": etag}
    ufrag = offer.split("a=ice-ufrag:")[1].split("\r\n")[0]
    body = f"a=ice-ufrag:{ufrag}\r\nm=video 9 X 0\r\na=mid:0\r\n{CANDIDATE}a=end-of-candidates\r\n"
    unusable = "a=candidate:nonsense\r\na=candidate:1 1 udp 1 nowhere.invalid 5 typ host\r\n"
    for fragment in (CANDIDATE, unusable, body):
        async with client.http.patch(path, data=fragment, headers=match) as response:
            assert response.status == 204, await response.text()
    await connection.close()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (CANDIDATE, {}, 428),
        (CANDIDATE, {"If-Match": '"other"'}, 412),
        (CANDIDATE, {"If-Match": "*"}, 422),
        ("a=ice-ufrag:new\r\na=ice-pwd:x\r\n", {"If-Match": "{etag}"}, 422),
        ("nonsense", {"If-Match": "{etag}"}, 400),
        ("a=x\r\n" * 4000, {"If-Match": "{etag}"}, 413),
        (CANDIDATE, {"If-Match": "{etag}", "Content-Type": "application/sdp"}, 415),
    ],
)
async def test_a_patch_is_refused(
    client: RelayClient, body: str, headers: dict[str, str], status: int
) -> None:
    watch = await client.watch("room")
    async with client.http.get(watch.path) as response:
        etag = response.headers["ETag"]
    sent = FRAGMENT | {name: value.format(etag=etag) for name, value in headers.items()}
    async with client.http.patch(watch.path, data=body, headers=sent) as response:
        assert response.status == status
        await problem(response)
    async with client.http.get(watch.path) as response:
        assert response.status == 200  # a refused PATCH ends nothing


async def test_the_small_pages_answer(client: RelayClient) -> None:
    for path, start in (("/healthz", "ok"), ("/readyz", "ready"), ("/", "<!doctype html>")):
        async with client.http.get(path) as response:
            assert response.status == 200
            assert (await response.text()).startswith(start)
    async with client.http.get("/api/rooms") as response:
        document = await response.json()
    assert document["rooms"] == []
    assert document["engine"]["engine"] == "null"
    assert document["total"]["frames"]["received"] == 0


async def test_until_the_engine_is_ready_peers_are_turned_away() -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow_engine(config: ServerConfig) -> object:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
        from rtcodec_server.app import load_engine

        return load_engine(config)

    config = ServerConfig(port=0, engine="null", warm=((64, 48),))
    async with (
        running_server(config, engine_factory=slow_engine) as server,  # type: ignore[arg-type]
        RelayClient(server.url) as client,
    ):
        async with client.http.get("/readyz") as response:
            assert response.status == 503
        async with client.http.get("/healthz") as response:
            assert response.status == 200
        async with client.http.get("/metrics") as response:
            assert "rtcodec_ready 0.0" in await response.text()
        _, offer = await client.publisher_offer()
        async with client.http.post("/whip/room", data=offer, headers=SDP) as response:
            assert response.status == 503
            assert "Retry-After" in response.headers
        release.set()
        await server.ready
        assert (await post(client, "/whip/room", offer))[0] == 201


async def test_a_session_that_never_connects_is_let_go() -> None:
    async with relay(limits=Limits(connect_us=200_000)) as (server, client):
        _, offer = await client.publisher_offer()
        assert (await post(client, "/whip/room", offer))[0] == 201
        await until(lambda: server.relay.n_sessions == 0)
        assert server.relay.sessions_closed == {"never_connected": 1}


async def test_all_who_never_connect_are_let_go_at_once() -> None:
    async with relay(limits=Limits(connect_us=200_000)) as (server, client):
        offers = [(await client.publisher_offer())[1]]
        for _ in range(2):
            connection = client.new_connection()
            add_latent_receiver(connection)
            offers.append(await create_offer(connection, loopback_only=True))
        for kind, offer in zip(("whip", "whep", "whep"), offers, strict=True):
            assert (await post(client, f"/{kind}/room", offer))[0] == 201
        await until(lambda: server.relay.n_sessions == 0)
        assert server.relay.sessions_closed == {"never_connected": 3}
    # that their sockets were closed is seen when the litter of this test is collected


async def test_a_data_channel_is_not_for_this_relay() -> None:
    async with relay() as (server, client):
        _, offer = await client.publisher_offer()
        channel = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:9\r\n"
        async with client.http.post("/whip/room", data=offer + channel, headers=SDP) as response:
            assert response.status == 422
            assert "data channel" in await response.text()
        assert server.relay.n_sessions == 0
