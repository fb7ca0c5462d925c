"""Events sent to another server that may be slow, broken or gone."""

import hashlib
import hmac
import logging
import socket
from typing import Any

import pytest

from rtcodec_server.event import RelayEvent
from rtcodec_server.webhook import WebhookSender, is_signed, pause_s, sign
from rtcodec_server.webhook_config import WebhookConfig
from support.relay import until
from support.webhook import SECRET, receiver

BODY = b'{"event": "room_started"}'


def config(url: str, **settings: Any) -> WebhookConfig:
    return WebhookConfig(url=url, secret=SECRET, **settings)


def event(room: str = "r") -> RelayEvent:
    return RelayEvent(name="room_started", room=room, room_id="1")


def no_pause(_n_failed: int) -> float:
    return 0.0


def test_a_signature_is_over_the_time_and_the_body() -> None:
    header = sign(BODY, SECRET, at_s=1000)
    digest = hmac.new(SECRET.encode(), b"1000." + BODY, hashlib.sha256).hexdigest()
    assert header == f"t=1000,v1={digest}"

    def holds(body: bytes = BODY, header: str = header, secret: str = SECRET) -> bool:
        return is_signed(body, header, secret, now_s=1001, max_age_s=5)

    assert holds()
    assert not holds(body=BODY + b" ")
    assert not holds(secret=SECRET + "x")
    assert not holds(header=sign(BODY, SECRET, at_s=990))
    assert not is_signed(BODY, header, SECRET, now_s=990, max_age_s=5)
    for wrong in (
        "",
        "t=",
        "t=1000",
        f"v1={digest}",
        f"t=1001,v1={digest}",
        "t=²,v1=",
        header + "0",
    ):
        assert not holds(header=wrong), wrong


def test_pauses_double_up_to_half_a_minute() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 7, 100)] == [0.5, 1, 2, 30, 30]


async def test_events_arrive_in_order_signed_and_each_with_its_own_id() -> None:
    async with receiver() as there:
        sender = WebhookSender(config(there.url))
        for number in range(5):
            sender.put(event(str(number)))
        await until(lambda: sender.outcomes["delivered"] == 5)
        await sender.close(patience_s=1)
    assert [entry["room"] for entry in there.events] == ["0", "1", "2", "3", "4"]
    assert len({entry["id"] for entry in there.events}) == 5
    assert "reason" not in there.events[0]


async def test_a_failure_is_tried_again_as_the_same_event() -> None:
    async with receiver() as there:
        there.statuses = [500, 429, 503]
        sender = WebhookSender(config(there.url), pause=no_pause)
        sender.put(event())
        await until(lambda: sender.outcomes["delivered"] == 1)
        await sender.close(patience_s=1)
    assert there.n_requests == 4
    assert len(there.events) == 1


@pytest.mark.parametrize("status", [400, 404, 410, 302])
async def test_a_refusal_is_final_and_a_redirect_is_one(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver() as there:
        there.statuses = [status]
        sender = WebhookSender(config(there.url), pause=no_pause)
        sender.put(event())
        await until(lambda: sender.outcomes["failed"] == 1)
        await sender.close(patience_s=1)
    assert there.n_requests == 1
    (record,) = caplog.records
    assert record.fields["problem"] == f"answered {status}"  # type: ignore[attr-defined]


async def test_after_so_many_attempts_an_event_is_given_up_and_the_next_one_sent() -> None:
    async with receiver() as there:
        there.statuses = [500, 500, 500]
        sender = WebhookSender(config(there.url, attempts=3), pause=no_pause)
        sender.put(event("lost"))
        sender.put(event("next"))
        await until(lambda: sender.outcomes["delivered"] == 1)
        await sender.close(patience_s=1)
    assert sender.outcomes == {"delivered": 1, "failed": 1, "dropped": 0}
    assert [entry["room"] for entry in there.events] == ["next"]


async def test_a_receiver_that_is_down_costs_events_and_says_nothing_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/hook?key=in-the-url"
        sender = WebhookSender(config(url, attempts=2), pause=no_pause)
        sender.put(event())
        await until(lambda: sender.outcomes["failed"] == 1)
        await sender.close(patience_s=1)
    assert "webhook_failed" in caplog.text
    assert "in-the-url" not in caplog.text
    assert SECRET not in caplog.text


async def test_a_receiver_that_hangs_is_waited_for_so_long_and_the_queue_stays_bounded() -> None:
    async with receiver() as there:
        there.hangs = True
        sender = WebhookSender(
            config(there.url, timeout_s=0.05, attempts=1, max_queue=3), pause=no_pause
        )
        for number in range(10):
            sender.put(event(str(number)))
        assert sender.outcomes["dropped"] == 7  # put waits for nobody
        await until(lambda: sender.outcomes["failed"] == 3)
        await sender.close(patience_s=1)
    assert there.events == []


async def test_what_is_left_at_the_end_is_dropped_and_counted() -> None:
    async with receiver() as there:
        there.hangs = True
        sender = WebhookSender(config(there.url))
        for _ in range(3):
            sender.put(event())
        await until(lambda: there.n_requests == 1)
        await sender.close(patience_s=0.01)
        assert sender.outcomes == {"delivered": 0, "failed": 0, "dropped": 3}
