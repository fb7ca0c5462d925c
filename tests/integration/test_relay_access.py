"""Who is let in by HTTP, what is said to the others, and that no token is ever logged."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from io import StringIO
from urllib.parse import urlsplit

import aiohttp
import jwt
import pytest

from rtcodec_server.logs import JsonFormatter, TextFormatter
from support.relay import KEYS, SDP, RelayClient, relay, token_for

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
ROOM_TOKEN = {"publish": True, "subscribe": True}
Asked = tuple[int, str, str]


@pytest.fixture
async def client() -> AsyncIterator[RelayClient]:
    """A relay with keys, and a client that may publish to and watch `room`."""
    async with relay(keys=KEYS, token=token_for("room", **ROOM_TOKEN)) as (_, client):
        yield client


async def ask(
    url: str, method: str, path: str, token: str | None = None, *, body: str = "v=0", **headers: str
) -> Asked:
    """Return status, WWW-Authenticate and detail."""
    given = SDP | headers | ({} if token is None else {"Authorization": f"Bearer {token}"})
    async with (
        aiohttp.ClientSession(url) as http,
        http.request(
            method, path, headers=given, data=body if method == "POST" else None
        ) as answer,
    ):
        detail = ""
        if answer.content_type == "application/problem+json":
            detail = json.loads(await answer.text())["detail"]
        return answer.status, answer.headers.get("WWW-Authenticate", ""), detail


def url_of(client: RelayClient) -> str:
    return str(client.http._base_url)


async def test_with_a_token_of_the_room_everything_works(client: RelayClient) -> None:
    watch = await client.watch("room")
    path = await client.publish("room")
    for end in (path, watch.path):
        async with client.http.get(end) as response:
            assert response.status == 200
        async with client.http.delete(end) as response:
            assert response.status == 200


async def test_without_a_token_it_is_401_that_names_the_scheme_and_no_error(
    client: RelayClient,
) -> None:
    path = await client.publish("room")
    for method, where in (
        ("POST", "/whip/room"), ("POST", "/whep/room"), ("GET", "/whip/room"), ("GET", path),
        ("DELETE", path), ("PATCH", path), ("GET", "/api/rooms"), ("GET", "/metrics"),
        ("DELETE", "/api/rooms/room"), ("POST", "/api/drain"),
    ):  # fmt: skip
        status, scheme, _ = await ask(url_of(client), method, where)
        assert (status, scheme) == (401, 'Bearer realm="rtcodec"'), (method, where)


@pytest.mark.parametrize(
    ("token", "detail"),
    [
        (token_for("room", valid_s=-60, publish=True), "the token has expired"),
        (
            token_for("room", publish=True).rpartition(".")[0] + "." + "A" * 43,
            "the token's signature is wrong",
        ),
        (jwt.encode({"room": "room", "publish": True}, KEYS["main"]), "does not say when"),
        ("secret", "the token is malformed"),
        ("a b", "the token is malformed"),
    ],
)
async def test_a_bad_token_is_401_invalid_token(
    client: RelayClient, token: str, detail: str
) -> None:
    path = await client.publish("room")
    for method, where in (("POST", "/whip/other"), ("DELETE", path), ("GET", "/api/rooms")):
        status, scheme, said = await ask(url_of(client), method, where, token)
        assert status == 401
        assert 'error="invalid_token"' in scheme
        assert detail in said
        assert token not in scheme + said


async def test_a_token_of_another_room_or_role_is_403_insufficient_scope(
    client: RelayClient,
) -> None:
    path = await client.publish("room")
    watch = await client.watch("room")
    publisher, subscriber = token_for("room", publish=True), token_for("room", subscribe=True)
    elsewhere = token_for("roo", **ROOM_TOKEN)
    admin = token_for("*", admin=True)
    for method, where, token in (
        ("POST", "/whip/room", subscriber), ("POST", "/whep/room", publisher),
        ("POST", "/whip/room", elsewhere), ("POST", "/whep/room", admin),
        ("DELETE", path, subscriber), ("DELETE", watch.path, publisher),
        ("GET", path, elsewhere), ("PATCH", path, elsewhere),
        ("GET", "/api/rooms", publisher), ("GET", "/metrics", publisher),
        ("GET", "/metrics", token_for("room", admin=True)),
        ("DELETE", "/api/rooms/room", publisher),
        ("DELETE", "/api/rooms/room", token_for("other", admin=True)),
        ("POST", "/api/drain", token_for("room", admin=True)),
    ):  # fmt: skip
        status, scheme, _ = await ask(url_of(client), method, where, token)
        assert status == 403, (method, where)
        assert 'error="insufficient_scope"' in scheme
    async with client.http.get(path) as response:
        assert response.status == 200  # nothing of that ended it


async def test_a_prefix_lets_into_its_rooms_and_no_others() -> None:
    async with relay(keys=KEYS, token=token_for("team-*", subscribe=True)) as (_, client):
        await client.watch("team-1")
        with pytest.raises(AssertionError, match="does not allow to watch room other"):
            await client.watch("other")


@pytest.mark.parametrize(
    "path", ["/whip/room?access_token={}", "/whip/room?token={}", "/whip/room?authorization={}"]
)
async def test_a_token_in_the_address_is_not_accepted(client: RelayClient, path: str) -> None:
    where = path.format(token_for("room", publish=True))
    status, scheme, detail = await ask(url_of(client), "POST", where)
    assert (status, scheme) == (401, 'Bearer realm="rtcodec"')
    assert "in the Authorization header" in detail


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
async def test_another_scheme_is_no_token(client: RelayClient, scheme: str) -> None:
    given = f"{scheme} {token_for('room', publish=True)}".strip()
    status, said, _ = await ask(url_of(client), "POST", "/whip/room", Authorization=given)
    assert (status, said) == (401, 'Bearer realm="rtcodec"')
    lower = f"bearer {token_for('room', publish=True)}"
    status, _, _ = await ask(url_of(client), "POST", "/whip/room", Authorization=lower)
    assert status == 422  # let in: `v=0` offers nothing


async def test_health_and_pages_need_no_token(client: RelayClient) -> None:
    for path in ("/healthz", "/readyz", "/", "/watch/room", "/publish/room", "/web/page.js"):
        assert (await ask(url_of(client), "GET", path))[0] == 200
    status, _, _ = await ask(url_of(client), "OPTIONS", "/whip/room")
    assert status == 200


async def test_an_admin_sees_the_rooms_that_the_token_covers(client: RelayClient) -> None:
    await client.publish("room")
    seen = {}
    for pattern in ("*", "room", "other"):
        headers = {"Authorization": f"Bearer {token_for(pattern, admin=True)}"}
        async with client.http.get("/api/rooms", headers=headers) as response:
            document = await response.json()
            seen[pattern] = ([room["room"] for room in document["rooms"]], "total" in document)
            assert ("grafana_url" in document) == ("total" in document)
    assert seen == {"*": (["room"], True), "room": (["room"], False), "other": ([], False)}
    async with client.http.get(
        "/metrics", headers={"Authorization": f"Bearer {token_for('*', admin=True)}"}
    ) as response:
        assert response.status == 200


async def test_metrics_can_be_opened() -> None:
    async with relay(keys=KEYS, metrics_open=True) as (_, client):
        assert (await ask(url_of(client), "GET", "/metrics"))[0] == 200
        assert (await ask(url_of(client), "GET", "/api/rooms"))[0] == 401


async def test_sessions_have_names_that_cannot_be_guessed(client: RelayClient) -> None:
    names = set()
    for number in range(8):
        async with client.http.delete(await client.publish("room")) as response:
            names.add(response.url.path.rpartition("/")[2])
            assert number + 1 == len(names)
    assert all(len(name) >= 22 for name in names)  # 128 bits, 6 to a character


# ------------------------------------------------------------------------- CORS


async def cors(client: RelayClient, origin: str, path: str = "/whip/room") -> str | None:
    async with client.http.options(path, headers={"Origin": origin}) as response:
        return response.headers.get("Access-Control-Allow-Origin")


async def test_with_keys_every_page_may_ask_for_its_token_says_what_it_may(
    client: RelayClient,
) -> None:
    for path in ("/whip/room", "/whep/room/session", "/api/rooms", "/api/rooms/a/sessions/b"):
        assert await cors(client, "https://example.org", path) == "*"
    async with client.http.get("/nothing", headers={"Origin": "https://a.example"}) as response:
        assert response.status == 404
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Location" in response.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_without_keys_only_pages_of_this_machine_may() -> None:
    async with relay() as (_, client):
        assert await cors(client, "https://example.org") is None
        assert await cors(client, "http://127.0.0.1.example.org") is None
        assert await cors(client, "null") is None
        assert await cors(client, "http://localhost:3000") == "http://localhost:3000"
        async with client.http.get("/healthz") as response:
            assert response.headers["Vary"] == "Origin"


async def test_origins_can_be_named() -> None:
    origins = ("https://a.example",)
    async with relay(keys=KEYS, cors_origins=origins) as (_, client):
        assert await cors(client, "https://a.example") == "https://a.example"
        assert await cors(client, "https://b.example") is None
    async with relay(cors_origins=("*",)) as (_, client):
        assert await cors(client, "https://b.example") == "*"
    async with relay(cors_origins=()) as (_, client):
        assert await cors(client, "http://localhost") is None


# ------------------------------------------------------------------------- logs


async def raw(url: str, request: bytes) -> bytes:
    """Send bytes that no HTTP client would."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
async def test_no_token_key_or_session_is_in_the_log_whatever_is_asked(
    formatter: type[logging.Formatter],
) -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    good = token_for("room", **ROOM_TOKEN)
    bad = [token_for("room", valid_s=-100, publish=True), "0123456789-opaque-secret", good[:-9]]
    answers = []
    try:
        async with relay(keys=KEYS, token=good) as (_, client):
            url = url_of(client)
            path = await client.publish("room")
            await ask(url, "DELETE", "/api/rooms/room", good)
            for token in (*bad, good):
                answers.append(str(await ask(url, "POST", "/whip/other", token)))
                answers.append(str(await ask(url, "POST", f"/whip/room?access_token={token}")))
                for header in (
                    f"Authorization: Bearer {token}\x01", f"Authorization: Bearer {token}\0",
                    f" Authorization: Bearer {token}", f"Authorization : Bearer {token}",
                    f"Authorization: Bearer {token}" + "x" * 9000,
                ):  # fmt: skip
                    request = f"POST /whip/room HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
                    answers.append((await raw(url, request.encode())).decode())
                request = f"GET /{token}\x01 HTTP/1.1\r\n\r\n"
                answers.append((await raw(url, request.encode())).decode())
            async with client.http.delete(path) as response:
                assert response.status == 200
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    log = stream.getvalue()
    assert "session_opened" in log
    assert "request_refused" in log
    assert "the token has expired" in log
    for secret in (*bad, good, KEYS["main"], path.rpartition("/")[2]):
        assert secret not in log
        assert secret.rpartition(".")[2] not in log  # the signature alone
        assert not any(secret in answer for answer in answers)
