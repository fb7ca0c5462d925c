"""Errors that are kept and raised later keep nothing themselves: no frame, no picture, no slot."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import pytest

from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, StateId
from rtcodec.engine.null import NullEngine
from rtcodec.errors import BitstreamError, EngineError, LocalProtocolError
from rtcodec.types import Planes
from rtcodec_engines.engine_group import EngineGroup, Member
from rtcodec_engines.gathering import Gathering
from rtcodec_engines.watched_call import WatchedCalls
from support.kept_errors import is_freed
from support.streams import coded_frames

SIZE = (64, 48)


class Refusing(NullEngine):
    """A null engine that works until it is told not to."""

    refuses = False

    def open_state(self, width: int, height: int) -> StateId:
        self._check()
        return super().open_state(width, height)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        self._check()
        return super().encode(jobs)

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        self._check()
        return super().decode(jobs)

    def _check(self) -> None:
        if self.refuses:
            raise EngineError("on fire")


def an_encode_job(state: StateId) -> EncodeJob:
    luma, chroma = np.zeros((SIZE[1], SIZE[0]), np.uint8), np.zeros((24, 32), np.uint8)
    return EncodeJob(state, Planes(luma, chroma, chroma), 20)


@pytest.mark.parametrize("hang_s", [None, 60.0], ids=["called", "watched"])
def test_errors_of_the_engines_of_a_group(hang_s: float | None) -> None:
    engine = Refusing()
    with ExitStack() as stack:
        group = EngineGroup([Member(engine, hang_s=hang_s)], on_change=lambda what, about: None)
        stack.callback(group.close)
        state = group.open_state(*SIZE)
        engine.refuses = True
        assert is_freed(lambda: group.encode([an_encode_job(state)]), EngineError)
        assert is_freed(lambda: group.open_state(*SIZE), EngineError)
        engine.refuses = False
        assert is_freed(lambda: group.encode([an_encode_job(StateId(99))]), LocalProtocolError)
        assert group.encode([an_encode_job(state)])


def refuse(*_: object) -> list[int]:
    raise EngineError("on fire")


@pytest.mark.parametrize(
    "call",
    [
        lambda: Gathering[int, int](refuse, lanes=1, max_jobs=4)([1]),
        lambda: WatchedCalls("device", 60.0).run(refuse),
    ],
    ids=["gathered", "watched"],
)
def test_errors_of_calls_that_others_make(call: Callable[[], object]) -> None:
    assert is_freed(call, EngineError)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def test_errors_of_frames_that_do_not_decode() -> None:
    engine = NullEngine()
    (frame,) = coded_frames(engine, 1, SIZE)
    decoder = PictureDecoder(engine, engine.bundle)
    for place in range(len(frame.packets[0])):
        broken = [flipped(frame.packets[0], place)]
        assert is_freed(lambda: decoder.decode(broken), BitstreamError), place  # noqa: B023
    assert is_freed(lambda: decoder.decode([]), BitstreamError)
    assert decoder.decode(frame.packets).is_complete
    decoder.close()
