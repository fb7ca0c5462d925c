"""Calls for the event loop keep their order, and those that come together wake it once."""

import asyncio
import threading

from rtcodec_server.loop_calls import LoopCalls


async def test_what_comes_before_the_loop_wakes_is_one_wakeup() -> None:
    calls = LoopCalls(asyncio.get_running_loop())
    heard: list[int] = []

    def add() -> None:
        for number in range(16):
            calls.add(heard.append, number)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()  # the loop is busy all the while
    assert heard == []
    await asyncio.sleep(0)
    assert heard == list(range(16))
    assert (calls.calls, calls.wakeups) == (16, 1)
    calls.add(heard.append, 16)
    await asyncio.sleep(0)
    assert heard[-1] == 16
    assert calls.wakeups == 2


async def test_every_thread_is_heard_in_its_order() -> None:
    calls = LoopCalls(asyncio.get_running_loop())
    heard: list[tuple[int, int]] = []
    done = asyncio.Event()
    expected = 8 * 200

    def hear(who: int, number: int) -> None:
        heard.append((who, number))
        if len(heard) == expected:
            done.set()

    def add(who: int) -> None:
        for number in range(200):
            calls.add(hear, who, number)

    threads = [threading.Thread(target=add, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(60):
        await done.wait()
    for thread in threads:
        thread.join()
    for who in range(8):
        assert [number for of, number in heard if of == who] == list(range(200))


async def test_a_call_that_fails_keeps_none_of_the_others() -> None:
    loop = asyncio.get_running_loop()
    problems: list[str] = []
    loop.set_exception_handler(lambda _, about: problems.append(str(about["exception"])))
    calls = LoopCalls(loop)
    heard: list[int] = []

    def fail() -> None:
        raise ValueError("no")

    calls.add(fail)
    calls.add(heard.append, 1)
    await asyncio.sleep(0)
    assert (heard, problems) == ([1], ["no"])


async def test_what_a_call_adds_comes_later() -> None:
    calls = LoopCalls(asyncio.get_running_loop())
    heard: list[str] = []

    def first() -> None:
        calls.add(heard.append, "second")
        heard.append("first")

    calls.add(first)
    await asyncio.sleep(0)
    assert heard == ["first"]
    await asyncio.sleep(0)
    assert heard == ["first", "second"]
