"""Frames that wait for a decoder, or for somebody who comes late."""

from rtcodec_server.frame_queue import FrameQueue, FrameRun, NewestFrames


def add(queue: FrameQueue[int], number: int, *, key: bool = False, size_bytes: int = 10) -> int:
    return queue.add(number, size_bytes=size_bytes, is_keyframe=key)


def drain(queue: FrameQueue[int]) -> list[int]:
    taken = []
    while (number := queue.take()) is not None:
        taken.append(number)
    return taken


def test_of_live_frames_the_two_newest_wait() -> None:
    queue = NewestFrames[int]()
    assert [add(queue, number) for number in range(1, 5)] == [0, 0, 1, 1]
    assert drain(queue) == [3, 4]
    add(queue, 5)
    queue.clear()
    assert queue.take() is None


def test_a_run_begins_with_a_key_frame_and_a_newer_one_makes_it_needless() -> None:
    run = FrameRun[int]()
    assert add(run, 1) == 1
    assert [add(run, 2, key=True), add(run, 3), add(run, 4)] == [0, 0, 0]
    assert (list(run), len(run)) == ([2, 3, 4], 3)
    assert add(run, 5, key=True) == 3
    assert list(run) == [5]


def test_a_run_goes_on_while_it_is_taken_from() -> None:
    run = FrameRun[int]()
    add(run, 1, key=True)
    add(run, 2)
    assert drain(run) == [1, 2]
    assert add(run, 3) == 0
    assert drain(run) == [3]


def test_too_many_bytes_end_a_run_until_the_next_key_frame() -> None:
    run = FrameRun[int](max_bytes=25)
    add(run, 1, key=True)
    add(run, 2)
    assert add(run, 3) == 3
    assert add(run, 4) == 1
    assert list(run) == []
    assert add(run, 5, key=True) == 0
    run.take()  # and what was taken counts no longer
    assert [add(run, 6), add(run, 7), add(run, 8)] == [0, 0, 3]
    assert add(run, 9, key=True, size_bytes=26) == 1
