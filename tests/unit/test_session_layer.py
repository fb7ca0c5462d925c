"""What subscribers ask for, by query and by the WHEP layer extension."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.ladder import ladder, read_rung
from rtcodec.session.layer import (
    ANY_LAYER,
    FULL_RATE,
    HALF_RATE,
    LayerWish,
    read_layer_query,
    read_layer_request,
)

RUNGS = ladder([read_rung(text) for text in ("360p", "270p", "180p")], 640, 360)


def allowed(wish: LayerWish) -> list[int]:
    return [rung.index for rung in wish.allowed(RUNGS)]


def test_a_query_pins_a_rung_and_a_frame_rate() -> None:
    assert read_layer_query({}) == ANY_LAYER
    wish = read_layer_query({"rung": "1", "temporal": "0", "other": "x"})
    assert (wish.rung, wish.max_temporal) == (1, HALF_RATE)
    assert allowed(wish) == [1]


@pytest.mark.parametrize(
    "query", [{"rung": "3"}, {"rung": "-1"}, {"rung": ""}, {"rung": "٣"}, {"temporal": "2"}]
)
def test_a_query_out_of_range_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError, match="is a number from 0 to"):
        read_layer_query(query)


def test_the_draft_s_example_pins_an_encoding_and_an_empty_one_lets_go() -> None:
    assert read_layer_request('{"mediaId": "0", "rid": "2"}').rung == 2
    assert read_layer_request('{"encodingId": "1"}').rung == 1
    assert read_layer_request('{"mediaId": "0"}') == ANY_LAYER


@pytest.mark.parametrize("name", ["temporalLayerId", "maxTemporalLayerId"])
def test_temporal_layers_may_be_bounded(name: str) -> None:
    assert read_layer_request(json.dumps({name: 0})).max_temporal == HALF_RATE
    assert read_layer_request(json.dumps({name: 7})).max_temporal == FULL_RATE


def test_sizes_bound_the_choice_and_the_smallest_is_always_allowed() -> None:
    assert allowed(read_layer_request('{"maxWidth": 500}')) == [1, 2]
    assert allowed(read_layer_request('{"maxWidth": 640, "maxHeight": 200}')) == [2]
    assert allowed(read_layer_request('{"maxHeight": 10}')) == [2]
    assert allowed(ANY_LAYER) == [0, 1, 2]


def test_a_rung_that_the_stream_does_not_have_is_its_last() -> None:
    assert allowed(LayerWish(rung=2)) == [2]
    assert [rung.index for rung in LayerWish(rung=2).allowed(RUNGS[:2])] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "1", "{", '{"rid": 1}', '{"rid": "x"}', '{"rid": "3"}', '{"mediaId": "1"}',
        '{"maxWidth": -1}', '{"maxWidth": 1.5}', '{"maxWidth": true}', '{"maxHeight": null}',
        '{"spatialLayerId": 1}', '{"maxSpatialLayerId": 1}', '{"maxWidth": 4294967296}',
        '{"x": "' + "x" * 2000 + '"}',
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_layer_request(text)


def test_what_the_draft_does_not_know_is_ignored_however_deep() -> None:
    assert read_layer_request('{"x": ' + "[" * 400 + "]" * 400 + "}") == ANY_LAYER


@given(st.text(max_size=200))
def test_any_text_is_a_wish_or_refused(text: str) -> None:
    try:
        read_layer_request(text)
    except RemoteProtocolError:
        return
    assert isinstance(json.loads(text), dict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
names = st.sampled_from(
    ["rid", "encodingId", "mediaId", "spatialLayerId", "temporalLayerId", "maxWidth", "maxHeight"]
)


@given(st.dictionaries(names, json_values))
def test_any_object_is_a_wish_within_bounds_or_refused(document: dict[str, object]) -> None:
    try:
        wish = read_layer_request(json.dumps(document))
    except RemoteProtocolError:
        return
    assert wish.rung in (None, 0, 1, 2)
    assert wish.max_temporal in (HALF_RATE, FULL_RATE)
    assert wish.allowed(RUNGS)
