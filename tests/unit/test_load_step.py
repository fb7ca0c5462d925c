"""A network that becomes another one in the middle of a run."""

import asyncio
import json
from dataclasses import asdict

import pytest

from rtcodec.errors import ConfigError
from rtcodec_client.load.arguments import parse_loss
from rtcodec_client.load.impairment import Impairment, Way
from rtcodec_client.load.link import Link, LinkSettings
from rtcodec_client.load.step import Step, parse_step, read_step

BASE = Impairment(delay_us=20_000)


def parse(text: str, direction: str = "both") -> Step:
    return parse_step(text, up=BASE, down=BASE, direction=direction, share=parse_loss)


def test_a_step_names_what_is_different() -> None:
    step = parse("6.5:loss=30%,rate=200,jitter=5")
    expected = Impairment(loss=0.3, rate_bps=200_000, jitter_us=5000, delay_us=20_000)
    assert step == Step(6_500_000, expected, expected)
    assert parse("8:") == Step(8_000_000, BASE, BASE)
    assert parse("1:loss=100%", "down") == Step(
        1_000_000, BASE, Impairment(loss=1, delay_us=20_000)
    )
    assert parse("1:delay=0", "up") == Step(1_000_000, Impairment(), BASE)


def test_a_step_reaches_other_processes_as_it_was() -> None:
    step = parse("6:loss=30%,queue=50")
    assert read_step(json.loads(json.dumps(asdict(step)))) == step


@pytest.mark.parametrize(
    "text",
    ["", "6", "x:loss=1", "6:loss", "6:loss=x", "6:love=1", "-1:", "nan:", "inf:", "6:rate=1e999"],
)
def test_anything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_what_comes_after_a_change_is_treated_so_and_what_is_under_way_stays() -> None:
    way = Way(BASE, seed="1")
    way.send(b"before", now_us=0)
    way.change(Impairment(loss=1.0))
    way.send(b"lost", now_us=1)
    way.change(Impairment())
    way.send(b"after", now_us=2)
    assert (way.deliver(now_us=2), way.deliver(now_us=20_000)) == ([b"after"], [b"before"])
    assert way.n_lost == 1


async def test_a_link_takes_its_steps_until_it_is_closed() -> None:
    steps = (Step(0, Impairment(loss=1.0), BASE), Step(60_000_000, BASE, BASE))
    link = await Link.open(LinkSettings(BASE, BASE, 1, steps), "p", loopback_only=True)
    await asyncio.sleep(0.01)
    assert link._up.way._impairment.loss == 1.0
    assert link._down.way._impairment == BASE
    link.close()
    assert all(timer.cancelled() for timer in link._timers[1:])
