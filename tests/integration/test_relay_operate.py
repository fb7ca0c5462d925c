"""What an operator does with a relay that runs: look, end, drain, be told."""

import asyncio
import json
import logging
from typing import Any

import pytest

from rtcodec_server.webhook_config import WebhookConfig
from support.relay import KEYS, SDP, MovingTrack, RelayClient, relay, token_for, until
from support.webhook import SECRET, receiver


async def delete(client: RelayClient, path: str, **headers: str) -> tuple[int, Any]:
    async with client.http.delete(path, headers=headers) as response:
        return response.status, json.loads(await response.text())


async def rooms(client: RelayClient) -> list[dict[str, Any]]:
    async with client.http.get("/api/rooms") as response:
        document = await response.json()
        found: list[dict[str, Any]] = document["rooms"]
        return found


async def metrics_say(client: RelayClient, line: str) -> None:
    """Wait until a line is among the metrics."""
    async with asyncio.timeout(60):
        while True:
            async with client.http.get("/metrics") as response:
                if line in (await response.text()).splitlines():
                    return
            await asyncio.sleep(0.02)


async def test_a_room_can_be_ended_for_a_reason_that_the_log_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with relay() as (server, client):
        await client.publish("room")
        watch = await client.watch("room")
        await client.watch("other")
        await until(lambda: watch.frames)
        assert await delete(client, "/api/rooms/room?reason=abuse%0Aof%20it") == (200, {"ended": 2})
        assert server.relay.sessions_closed == {"kicked": 2}
        await until(lambda: watch.connection.connectionState == "closed")
        assert [entry["room"] for entry in await rooms(client)] == ["other"]
        assert (await delete(client, "/api/rooms/room"))[0] == 404
        await client.publish("room")  # ended, not banned
    closed = [r.fields for r in caplog.records if r.getMessage() == "session_closed"]  # type: ignore[attr-defined]
    kicked = [fields for fields in closed if fields["reason"] == "kicked"]
    assert len(kicked) == 2
    assert {fields["role"] for fields in kicked} == {"publisher", "subscriber"}
    assert all(fields["room"] == "room" for fields in kicked)
    assert all(fields["note"] == "abuse\nof it" for fields in kicked)


async def test_one_session_can_be_ended_by_the_part_of_its_name_that_is_shown() -> None:
    async with relay() as (server, client):
        publisher = await client.publish("room")
        stays, goes = await client.watch("room"), await client.watch("room")
        (room,) = await rooms(client)
        shown = [entry["session"] for entry in room["subscribers"]]
        assert shown == [watch.path.rpartition("/")[2][:8] for watch in (stays, goes)]
        assert room["publisher"]["session"] == publisher.rpartition("/")[2][:8]
        assert (await delete(client, f"/api/rooms/other/sessions/{shown[1]}"))[0] == 404
        status, said = await delete(client, f"/api/rooms/room/sessions/{shown[1]}")
        assert (status, said) == (200, {"ended": 1})
        assert (await delete(client, f"/api/rooms/room/sessions/{shown[1]}"))[0] == 404
        assert server.relay.n_sessions == 2
        await until(lambda: len(stays.frames) > 3)


async def test_with_keys_it_takes_a_token_of_that_room() -> None:
    async with relay(keys=KEYS, token=token_for("room", publish=True)) as (_, client):
        await client.publish("room")
        admin = {"Authorization": f"Bearer {token_for('room', admin=True)}"}
        assert (await delete(client, "/api/rooms/room"))[0] == 403
        assert await delete(client, "/api/rooms/room", **admin) == (200, {"ended": 1})


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"X-Forwarded-For": "192.0.2.1"}]
)
async def test_without_keys_neither_pages_nor_proxies_may(headers: dict[str, str]) -> None:
    async with relay() as (server, client):
        await client.publish("room")
        assert (await delete(client, "/api/rooms/room", **headers))[0] == 403
        async with client.http.post("/api/drain", headers=headers) as response:
            assert response.status == 403
        assert server.relay.n_sessions == 1
        assert not server.relay.draining.is_set()


async def test_a_draining_relay_lets_nobody_in_and_those_inside_go_on() -> None:
    async with relay() as (server, client):
        path = await client.publish("room")
        watch = await client.watch("room")
        async with client.http.post("/api/drain") as response:
            assert response.status == 202
            assert await response.json() == {"draining": True, "sessions": 2}
        _, offer = await client.publisher_offer()
        for url in ("/whip/other", "/whip/room", "/whep/room"):
            async with client.http.post(url, data=offer, headers=SDP) as response:
                assert response.status == 503
                assert response.headers["Retry-After"] == "5"
                assert "the relay is draining" in await response.text()
        async with client.http.get("/readyz") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
        async with client.http.get("/healthz") as response:
            assert response.status == 200
        n_frames = len(watch.frames)
        await until(lambda: len(watch.frames) > n_frames + 5)
        empty = asyncio.ensure_future(server.relay.until_empty())
        for end in (path, watch.path):
            assert not empty.done()
            assert (await delete(client, end))[0] == 200
        await asyncio.wait_for(empty, 60)


# ------------------------------------------------------------------------ webhooks


async def test_webhooks_tell_of_rooms_and_peers_in_order_with_figures_at_the_end() -> None:
    async with receiver() as there:
        hook = WebhookConfig(url=there.url, secret=SECRET)
        async with relay(webhook=hook) as (_, client):
            path = await client.publish("room")
            await until(lambda: "publisher_joined" in there.names)
            watch = await client.watch("room")
            await until(lambda: len(watch.frames) > 5)
            await delete(client, watch.path)
            (room,) = await rooms(client)
            await delete(
                client, f"/api/rooms/room/sessions/{room['publisher']['session']}?reason=x"
            )
            await until(lambda: "room_ended" in there.names)
            await metrics_say(client, 'rtcodec_webhooks_total{outcome="delivered"} 6.0')
    assert there.names == [
        "room_started", "publisher_joined", "subscriber_joined", "subscriber_left",
        "publisher_left", "room_ended",
    ]  # fmt: skip
    assert len({event["room_id"] for event in there.events}) == 1
    assert all(event["room"] == "room" for event in there.events)
    subscriber, publisher, ended = there.events[3:]
    assert subscriber["reason"] == "left"
    assert subscriber["figures"]["frames_sent"] > 5
    assert (publisher["reason"], publisher["note"]) == ("kicked", "x")
    assert publisher["session"] == path.rpartition("/")[2][:8]
    assert publisher["figures"]["frames"]["received"] > 5
    assert ended["figures"]["frames"]["encoded"] > 5
    assert path.rpartition("/")[2] not in json.dumps(there.events)


async def test_of_a_peer_that_never_connects_only_the_room_is_told() -> None:
    async with receiver() as there:
        async with relay(webhook=WebhookConfig(url=there.url, secret=SECRET)) as (_, client):
            _, offer = await client.publisher_offer()
            async with client.http.post("/whip/room", data=offer, headers=SDP) as response:
                location = response.headers["Location"]
            await delete(client, location)
            await until(lambda: len(there.names) == 2)
        assert there.names == ["room_started", "room_ended"]


async def test_a_receiver_that_hangs_delays_no_frame_and_not_the_end() -> None:
    async with receiver() as there:
        there.hangs = True
        hook = WebhookConfig(url=there.url, secret=SECRET, max_queue=2)
        async with relay(webhook=hook) as (_, client):
            await client.publish("room", MovingTrack())
            watch = await client.watch("room")
            await until(lambda: len(watch.frames) > 10)
            assert there.n_requests == 1  # still waiting for its first answer
            for _ in range(3):
                await delete(client, (await client.watch("room")).path)
            async with client.http.get("/metrics") as response:
                text = await response.text()
            assert 'rtcodec_webhooks_total{outcome="dropped"}' in text
            await until(lambda: len(watch.frames) > 20)
