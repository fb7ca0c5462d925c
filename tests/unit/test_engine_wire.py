"""What a worker and the engine process say to each other: pairs, and bytes that are neither."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.engine.null import NullEngine
from rtcodec.errors import (
    BitstreamError,
    EngineError,
    LocalProtocolError,
    Overloaded,
    RemoteProtocolError,
)
from rtcodec_engines.engine_wire import (
    MAX_JOBS,
    CloseRequest,
    CodedEntry,
    DecodeEntry,
    EncodeEntry,
    OpenRequest,
    Request,
    check_answer,
    read_coded,
    read_info,
    read_opened,
    read_request,
    write_coded,
    write_done,
    write_failed,
    write_info,
    write_opened,
    write_request,
)

slots = st.none() | st.integers(0, 255)
states = st.integers(0, 2**32 - 1)
channels = st.integers(1, 4096)
flags = st.booleans()
encodes = st.builds(EncodeEntry, states, st.integers(0, 63), slots, slots, flags, flags)
decodes = st.builds(
    DecodeEntry, states, st.integers(0, 63), slots, slots, channels, channels, flags, flags
)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(OpenRequest, states, states),
    st.builds(CloseRequest, states),
    st.lists(encodes, min_size=1, max_size=MAX_JOBS),
    st.lists(decodes, min_size=1, max_size=MAX_JOBS),
)
coded = st.lists(st.builds(CodedEntry, channels, channels, *[flags] * 5), max_size=8)


@given(requests)
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert read_request(write_request(request)) == request


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        request = read_request(data)
    except RemoteProtocolError:
        return
    assert len(write_request(request)) == len(data)


@given(requests, st.data())
def test_a_request_that_was_cut_is_refused(request: Request, data: st.DataObject) -> None:
    wire = write_request(request)
    with pytest.raises(RemoteProtocolError):
        read_request(wire[: data.draw(st.integers(0, len(wire) - 1))])


@given(coded, states)
def test_answers_are_read_as_they_were_written(entries: list[CodedEntry], state: int) -> None:
    assert read_coded(check_answer(write_coded(entries)), len(entries)) == entries
    assert read_opened(check_answer(write_opened(state))) == state
    assert check_answer(write_done()) == b""


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (Overloaded("no room"), Overloaded, "no room"),
        (LocalProtocolError("not open"), LocalProtocolError, "not open"),
        (EngineError("on fire\nnow"), EngineError, "on fire now"),
        (ValueError(), EngineError, "ValueError"),
        (BitstreamError("x", offset=1), EngineError, "x"),
        (EngineError("é" * 400), EngineError, "é"),
    ],
)
def test_a_failure_there_is_one_here(error: Exception, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        check_answer(write_failed(error))
    assert type(caught.value) is kind


@given(st.binary(max_size=30), st.integers(0, 3))
def test_arbitrary_bytes_are_an_answer_or_refused(data: bytes, n_frames: int) -> None:
    try:
        rest = check_answer(data)
    except (EngineError, LocalProtocolError, RemoteProtocolError):
        return
    for read in (read_opened, lambda rest: read_coded(rest, n_frames)):
        try:
            read(rest)
        except RemoteProtocolError:
            continue


def test_what_an_engine_runs_crosses_as_json() -> None:
    info = NullEngine().info
    assert read_info(json.loads(json.dumps(write_info(info)))) == info


@pytest.mark.parametrize(
    ("lanes", "batched", "wanted"), [(2, True, 2), (9, True, 2), (-1, True, 1), (4, False, 1)]
)
def test_a_worker_has_the_lanes_of_an_engine_that_makes_batches(
    lanes: int, batched: bool, wanted: int
) -> None:
    about = write_info(replace(NullEngine().info, lanes=lanes, batched=batched))
    info = read_info(json.loads(json.dumps(about)))
    assert (info.lanes, info.batched) == (wanted, batched)


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "xyz"},
        {"versions": []},
        {"latent_channels": None},
        {"name": ...},
        {"lanes": "two"},
    ],
)
def test_half_of_what_it_runs_is_refused(change: dict[str, Any]) -> None:
    about = {**write_info(NullEngine().info), **change}
    about = {name: value for name, value in about.items() if value is not ...}
    with pytest.raises(RemoteProtocolError):
        read_info(about)
