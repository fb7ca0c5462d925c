"""The HTTP half of WHIP and WHEP against a relay of a few lines."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rtcodec.errors import ConfigError, RemoteProtocolError
from rtcodec_client.room_status import fetch_room
from rtcodec_client.signalling import (
    RelayBusy,
    RelayUnreachable,
    SignallingClient,
    base_of,
    check_url,
    room_of,
)

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def relay(**handlers: Handler) -> AsyncIterator[str]:
    """Serve `post`, `delete` and `get` handlers for every path; yield the address."""
    app = web.Application()
    for method, handler in handlers.items():
        app.router.add_route(method.upper(), "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_an_offer_is_answered_and_the_session_found_whatever_form_location_has() -> None:
    async def post(request: web.Request) -> web.Response:
        assert request.content_type == "application/sdp"
        assert request.headers["Authorization"] == "Bearer secret"
        assert await request.text() == "v=0 offer"
        headers = {"Location": "/whip/demo/abc123"}
        return web.Response(
            status=201, text="v=0 answer", content_type="application/sdp", headers=headers
        )

    async with (
        relay(post=post) as address,
        SignallingClient(f"{address}/whip/demo", token="secret") as client,
    ):
        answer = await client.offer("v=0 offer")
    assert answer.sdp == "v=0 answer"
    assert answer.session_url == f"{address}/whip/demo/abc123"
    assert answer.session_id == "abc123"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (409, "the room has a publisher already", "409: the room has a publisher already"),
        (406, '{"error": "model ab is not spoken here"}', "406: model ab is not spoken here"),
        (400, '{"title": "bad SDP", "detail": "no video in it"}', "400: no video in it"),
        (401, "", "401: unauthorized"),
        (500, "<html><h1>oops</h1></html>", "500: internal server error"),
        (403, "[1]", "403: forbidden"),
    ],
)
async def test_a_refusal_is_told_in_the_relays_words(status: int, body: str, expected: str) -> None:
    async def post(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with relay(post=post) as address, SignallingClient(f"{address}/whip/x") as client:
        with pytest.raises(RemoteProtocolError) as caught:
            await client.offer("v=0")
    assert str(caught.value).endswith(f"the relay answered {expected}")
    assert "\n" not in str(caught.value)


async def test_a_full_relay_says_when_to_come_back() -> None:
    async def post(request: web.Request) -> web.Response:
        return web.Response(status=503, text="full", headers={"Retry-After": "7"})

    async with relay(post=post) as address, SignallingClient(f"{address}/whip/x") as client:
        with pytest.raises(RelayBusy, match="503: full; try again in 7 s") as caught:
            await client.offer("v=0")
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("when", ["", "soon", "-3", "1e3", "Fri, 31 Dec 1999 23:59:59 GMT", "²"])
async def test_a_busy_relay_may_not_say_when(when: str) -> None:
    async def post(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": when})

    async with relay(post=post) as address, SignallingClient(f"{address}/whip/x") as client:
        with pytest.raises(RelayBusy) as caught:
            await client.offer("v=0")
    assert caught.value.retry_after_s is None


async def test_an_answer_that_is_none_is_refused() -> None:
    async def post(request: web.Request) -> web.Response:
        return web.Response(status=201, text="hello")

    async with relay(post=post) as address, SignallingClient(f"{address}/x") as client:
        with pytest.raises(RemoteProtocolError, match="not a WHIP or WHEP endpoint"):
            await client.offer("v=0")


async def test_an_endless_answer_is_cut_off() -> None:
    async def post(request: web.Request) -> web.Response:
        return web.Response(status=201, body=b"x" * (2 << 20), content_type="application/sdp")

    async with relay(post=post) as address, SignallingClient(f"{address}/x") as client:
        with pytest.raises(RemoteProtocolError, match="bytes"):
            await client.offer("v=0")


async def test_nobody_there_is_said_so() -> None:
    async with relay() as address:
        gone = address
    async with SignallingClient(f"{gone}/whip/x") as client:
        with pytest.raises(RelayUnreachable, match="connection refused"):
            await client.offer("v=0")
        with pytest.raises(RelayUnreachable, match="connection refused"):
            await client.is_ok("/readyz")
        await client.delete(f"{gone}/whip/x/1")  # gone anyway
        assert await fetch_room(client, "x") is None


async def test_the_relays_documents_are_read() -> None:
    async def get(request: web.Request) -> web.Response:
        if request.path == "/api/rooms":
            return web.json_response({"rooms": [{"room": "a", "frames": {"received": 3}}]})
        if request.path == "/nonsense":
            return web.Response(text="{")
        return web.Response(status=404)

    async with relay(get=get) as address, SignallingClient(f"{address}/whep/a") as client:
        assert await client.get_json("/missing") is None
        assert await client.get_json("/nonsense") is None
        assert not await client.is_ok("/missing")
        status = await fetch_room(client, "a")
        unknown = await fetch_room(client, "b")
    assert status is not None
    assert status.received == 3
    assert unknown is not None
    assert unknown.received is None


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://host/whip/a", "http://", "http:///whip", "http://h:x/"]
)
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        check_url(url, kind="whip")


def test_a_bare_address_means_the_demo_room() -> None:
    assert check_url("http://host:8080", kind="whep") == "http://host:8080/whep/demo"
    assert check_url("http://host/whip/a", kind="whip") == "http://host/whip/a"
    assert base_of("http://host:8080/whip/a?x=1") == "http://host:8080"
    assert room_of("http://host/whip/my-room/") == "my-room"


async def test_the_sizes_that_a_stream_may_come_in_are_asked_for_where_the_relay_says() -> None:
    async def post(request: web.Request) -> web.Response:
        link = '</whep/demo/abc/layer>; rel="urn:ietf:params:whep:ext:core:layer"'
        headers = {"Location": "/whep/demo/abc", "Link": link}
        return web.Response(status=201, content_type="application/sdp", headers=headers)

    async def get(request: web.Request) -> web.Response:
        sizes = [(160, 96), (320, 192), (160, 96)]
        layers = [{"width": width, "height": height} for width, height in sizes]
        return web.json_response({"layers": layers})

    async with (
        relay(post=post, get=get) as address,
        SignallingClient(f"{address}/whep/demo") as client,
    ):
        answer = await client.offer("v=0")
        assert answer.layer_url == f"{address}/whep/demo/abc/layer"
        assert await client.layer_sizes(answer.layer_url) == [(320, 192), (160, 96)]


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, "{}"), (200, "{"), (200, "[]"), (200, '{"layers": [1]}'), (200, '{"layers": [{}]}')],
)
async def test_layers_that_make_no_sense_are_none(status: int, body: str) -> None:
    async def get(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with relay(get=get) as address, SignallingClient(f"{address}/whep/demo") as client:
        assert await client.layer_sizes(f"{address}/layer") == []
        assert await client.layer_sizes("http://127.0.0.1:9/layer") == []
