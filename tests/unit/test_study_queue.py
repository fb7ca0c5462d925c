"""What goes next: the most urgent first, coarse steps first, nothing twice."""

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest

from rtcodec.bitstream.exact_file import ExactFrame, ExactWriter, FrameKind, place_of
from rtcodec.bitstream.exact_format import ALL_STEPS, COMMON_FITS, STEPS, Component, ExactFormat
from rtcodec.bitstream.exact_index import index_frames, read_header
from rtcodec.errors import RemoteProtocolError
from rtcodec.session import study_queue
from rtcodec.session.study_message import Have, Request
from rtcodec.session.study_queue import (
    AHEAD_PRIORITY,
    MAX_REQUESTS,
    Piece,
    RequestDone,
    SendIndex,
    SendPreview,
    SendRanges,
    StudyFile,
    StudyQueue,
    Unwanted,
)

VERSION = b"version1"
N_TILES = 4


def make_file(frames: int = 2) -> StudyFile:
    component = Component(0, 255, None, COMMON_FITS)
    header = ExactFormat(64, 64, frames, 8, False, False, 5, 0, (component,), b"{}")
    rng = np.random.default_rng(1)
    stream = io.BytesIO()
    writer = ExactWriter(stream, header)
    for _ in range(frames):
        sizes = [20 * (step + 1) for step in range(STEPS) for _ in range(N_TILES)]
        payloads = tuple(rng.bytes(size) for size in sizes)
        writer.write(ExactFrame(FrameKind.TILES, bytes(32), (0,) * N_TILES, payloads))
    writer.close()
    data = stream.getvalue()
    found, header_bytes = read_header(data)
    return StudyFile(data, found, header_bytes, index_frames(found, header_bytes, data), VERSION)


FILE = make_file()


def ask(number: int, instance: int = 0, **about: Any) -> Request:
    fields = {"priority": 1, "steps": ALL_STEPS, "preview": False, "first_frame": 0, "frames": 0}
    return Request(number, instance, **{**fields, **about})


def drain(queue: StudyQueue, *, max_bytes: int = 200) -> list[Piece]:
    pieces = []
    while (piece := queue.next_piece(max_bytes)) is not None:
        pieces.append(piece)
    return pieces


def ranges_of(pieces: list[Piece]) -> list[tuple[int, int]]:
    return [span for piece in pieces if isinstance(piece, SendRanges) for span in piece.ranges]


def ready(*requests: Request) -> StudyQueue:
    queue = StudyQueue()
    queue.set_file(0, FILE)
    for request in requests:
        queue.add(request)
    return queue


def step_at(offset: int) -> tuple[int, int]:
    """Frame and step of a byte; step -1 for header and heads, of frame -1 the header."""
    frame = sum(offset >= start for start in FILE.offsets) - 1
    if not 0 <= frame < 2:
        return (-1 if offset < FILE.header_bytes else 2), -1
    head = FILE.head(frame)
    for step in range(STEPS):
        first = place_of(FILE.header, step, 0, 0)
        start, end = head.span(first, first + N_TILES - 1)
        if start <= offset - FILE.offsets[frame] < end:
            return frame, step
    return frame, -1


def test_the_whole_file_goes_once_coarse_steps_of_all_frames_first() -> None:
    pieces = drain(ready(ask(1)))
    assert pieces[0] == SendIndex(0)
    assert pieces[-1] == RequestDone(1)
    ranges = ranges_of(pieces)
    bytes_sent = Counter(byte for start, end in ranges for byte in range(start, end))
    assert bytes_sent == Counter(range(len(FILE.data)))
    steps = [step_at(start)[1] for start, _ in ranges if step_at(start)[1] >= 0]
    assert steps == sorted(steps)
    frames = {step_at(start) for start, _ in ranges}
    assert {(frame, step) for frame in (0, 1) for step in range(STEPS)} <= frames


def test_no_message_is_longer_than_it_may_be() -> None:
    for piece in drain(ready(ask(1)), max_bytes=150):
        if isinstance(piece, SendRanges):
            assert sum(end - start for start, end in piece.ranges) <= 150
            assert all(start < end for start, end in piece.ranges)


def test_a_more_urgent_request_goes_before_the_rest_of_another() -> None:
    queue = ready(ask(1))
    begun = [queue.next_piece(200) for _ in range(6)]
    queue.add(ask(2, priority=0, frames=1, region=(40, 40, 2, 2)))
    rest = drain(queue)
    assert rest.index(RequestDone(2)) < rest.index(RequestDone(1))
    ours = ranges_of(rest[: rest.index(RequestDone(2))])
    assert {step_at(start)[0] for start, _ in ours} == {0}
    payloads = sum(20 * (step + 1) for step in range(STEPS))
    assert sum(end - start for start, end in ours) <= payloads
    everything = ranges_of([piece for piece in begun if piece]) + ranges_of(rest)
    assert sum(end - start for start, end in everything) == len(FILE.data)


def test_of_equals_the_newest_goes_first() -> None:
    pieces = drain(ready(ask(1, frames=1), ask(2, first_frame=1, frames=1)))
    assert pieces.index(RequestDone(2)) < pieces.index(RequestDone(1))


def test_what_nobody_waits_for_is_left_where_there_is_no_spare_room() -> None:
    queue = ready(ask(1, priority=AHEAD_PRIORITY), ask(2, steps=1, priority=AHEAD_PRIORITY - 1))
    pieces = []
    while (piece := queue.next_piece(200, ahead=False)) is not None:
        pieces.append(piece)
    assert pieces[-1] == RequestDone(2)
    rest = drain(queue)
    assert rest[-1] == RequestDone(1)
    assert sorted(ranges_of(pieces) + ranges_of(rest))[-1][1] == len(FILE.data)


def test_what_is_cancelled_ends_and_what_another_wants_does_not() -> None:
    queue = ready(ask(1), ask(2, priority=0, steps=1))
    queue.cancel(1)
    queue.cancel(9)
    pieces = drain(queue)
    assert RequestDone(1) not in pieces
    assert max(step_at(start)[1] for start, _ in ranges_of(pieces)) == 0


def test_heads_alone_can_be_asked_for() -> None:
    ranges = ranges_of(drain(ready(ask(1, steps=0))))
    heads = [(start, start + FILE.head(k).size_bytes) for k, start in enumerate(FILE.offsets[:2])]
    covered = {byte for start, end in ranges for byte in range(start, end)}
    wanted = {byte for start, end in [(0, FILE.header_bytes), *heads] for byte in range(start, end)}
    assert covered == wanted


def test_the_preview_comes_before_all_else_and_once() -> None:
    queue = ready()
    queue.set_preview(0, exists=True)
    queue.add(ask(1, preview=True))
    queue.add(ask(2, preview=True, priority=0))
    pieces = drain(queue)
    assert pieces[:2] == [SendPreview(0), SendIndex(0)]
    assert pieces.count(SendPreview(0)) == 1


def test_a_preview_goes_while_the_file_is_not_there_and_others_are_not_kept_waiting() -> None:
    queue = ready()
    queue.add(ask(1))
    queue.add(ask(2, instance=1, preview=True, priority=0))
    assert RequestDone(1) in drain(queue)
    queue.set_preview(1, exists=True)
    assert drain(queue) == [SendPreview(1)]
    queue.set_file(1, FILE)
    assert drain(queue)[-1] == RequestDone(2)


def test_a_request_without_a_preview_goes_on_without() -> None:
    queue = ready(ask(1, preview=True))
    queue.set_preview(0, exists=False)
    assert drain(queue)[0] == SendIndex(0)


@pytest.mark.parametrize("is_early", [True, False])
def test_what_the_viewer_holds_is_not_sent(is_early: bool) -> None:
    queue = StudyQueue()
    held = ((0, 300), (500, 501), (700, 10**9))
    if is_early:
        queue.have(Have(0, VERSION, held))
        queue.set_file(0, FILE)
    else:
        queue.set_file(0, FILE)
        queue.have(Have(0, VERSION, held))
    queue.add(ask(1))
    sent = {byte for start, end in ranges_of(drain(queue)) for byte in range(start, end)}
    assert sent == set(range(300, 500)) | set(range(501, 700))


def test_what_is_held_of_another_version_is_refused_and_all_is_sent() -> None:
    queue = StudyQueue()
    queue.have(Have(0, b"another1", ((0, 300),)))
    with pytest.raises(Unwanted) as refused:
        queue.set_file(0, FILE)
    assert (refused.value.code, refused.value.about) == ("changed", {"instance": 0})
    queue.add(ask(1))
    assert sum(end - start for start, end in ranges_of(drain(queue))) == len(FILE.data)


@pytest.mark.parametrize(
    "about",
    [{"first_frame": 2}, {"frames": 3}, {"first_frame": 1, "frames": 2}, {"region": (64, 0, 1, 1)}],
)
def test_a_request_for_what_is_not_there_is_dropped_with_its_numbers(
    about: dict[str, Any],
) -> None:
    queue = ready(ask(1, **about))
    assert queue.next_piece(200) == SendIndex(0)
    with pytest.raises(Unwanted) as refused:
        queue.next_piece(200)
    assert refused.value.about == {"request": 1, "instance": 0}
    assert isinstance(refused.value, RemoteProtocolError)
    assert queue.next_piece(200) is None


def test_requests_and_what_is_said_to_be_held_are_bounded() -> None:
    queue = StudyQueue()
    for number in range(MAX_REQUESTS):
        queue.add(ask(number))
        queue.have(Have(0, VERSION, ()))
    with pytest.raises(Unwanted, match="requests"):
        queue.add(ask(99))
    with pytest.raises(Unwanted, match="held"):
        queue.have(Have(0, VERSION, ()))


def test_ranges_that_are_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_queue, "MAX_RANGES", 3)
    queue = ready()
    queue.have(Have(0, VERSION, ((0, 1), (2, 3), (4, 5))))
    with pytest.raises(Unwanted, match="ranges"):
        queue.have(Have(0, VERSION, ((6, 7),)))


def test_requests_for_what_cannot_be_had_are_dropped_together() -> None:
    queue = ready(ask(1), ask(2, instance=3), ask(3, instance=3))
    assert sorted(queue.drop_instance(3)) == [2, 3]
    assert [piece for piece in drain(queue) if isinstance(piece, RequestDone)] == [RequestDone(1)]


def test_many_heads_are_not_all_kept() -> None:
    file = make_file(frames=70)
    queue = StudyQueue()
    queue.set_file(0, file)
    queue.add(ask(1))
    sent = sum(end - start for start, end in ranges_of(drain(queue, max_bytes=4000)))
    assert sent == len(file.data)
