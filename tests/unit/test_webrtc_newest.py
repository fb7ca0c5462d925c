"""A queue where the newest items win."""

import asyncio

import pytest

from rtcodec.webrtc.newest import NewestQueue, QueueClosed


async def test_items_come_out_in_order() -> None:
    queue: NewestQueue[int] = NewestQueue(3, on_drop=lambda item: None)
    for item in range(3):
        queue.put(item)
    assert [await queue.get() for _ in range(3)] == [0, 1, 2]


async def test_a_full_queue_pushes_the_oldest_out() -> None:
    dropped: list[int] = []
    queue: NewestQueue[int] = NewestQueue(2, on_drop=dropped.append)
    for item in range(5):
        queue.put(item)
    assert (dropped, len(queue)) == ([0, 1, 2], 2)
    assert await queue.get() == 3


async def test_a_reader_waits_for_an_item() -> None:
    queue: NewestQueue[int] = NewestQueue(1, on_drop=lambda item: None)
    reading = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not reading.done()
    queue.put(7)
    assert await asyncio.wait_for(reading, 1) == 7


async def test_a_closed_queue_can_be_read_to_its_end_and_takes_no_more() -> None:
    dropped: list[int] = []
    queue: NewestQueue[int] = NewestQueue(2, on_drop=dropped.append)
    queue.put(1)
    assert not queue.is_closed
    queue.close()
    queue.put(2)
    assert (await queue.get(), dropped, queue.is_closed) == (1, [2], True)
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_closing_wakes_a_reader() -> None:
    queue: NewestQueue[int] = NewestQueue(1, on_drop=lambda item: None)
    reading = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.close()
    with pytest.raises(QueueClosed):
        await asyncio.wait_for(reading, 1)


async def test_draining_drops_what_is_inside() -> None:
    dropped: list[int] = []
    queue: NewestQueue[int] = NewestQueue(2, on_drop=dropped.append)
    queue.put(1)
    queue.put(2)
    queue.drain()
    assert (dropped, len(queue)) == ([1, 2], 0)


async def test_a_wide_queue_holds_more_and_with_each_that_is_read_one_fewer() -> None:
    dropped: list[int] = []
    queue: NewestQueue[int] = NewestQueue(2, on_drop=dropped.append)
    queue.widen(5)
    for item in range(6):
        queue.put(item)
    assert dropped == [0]
    assert [await queue.get() for _ in range(2)] == [1, 2]
    queue.put(6)
    assert dropped == [0, 3]  # there were three left, and places for three
    assert [await queue.get() for _ in range(3)] == [4, 5, 6]
    for item in range(7, 10):
        queue.put(item)
    assert (dropped, len(queue)) == ([0, 3, 7], 2)


async def test_a_queue_is_never_made_narrow() -> None:
    dropped: list[int] = []
    queue: NewestQueue[int] = NewestQueue(2, on_drop=dropped.append)
    queue.widen(1)
    queue.put(1)
    queue.put(2)
    assert (dropped, len(queue)) == ([], 2)
