"""The scale network gives the same integers in int64 and float32, or is refused."""

import dataclasses

import numpy as np
import pytest

from rtcodec.entropy.scale_net import EXACT_LIMIT, ScaleNet, depth_to_space
from rtcodec.errors import ConfigError
from support.latents import make_hyper_latents, make_scale_net

NET = make_scale_net()


def test_float32_and_int64_agree_on_every_index() -> None:
    z = make_hyper_latents(6, 5, 7)
    for qp in (0, 31, 63):
        reference = NET.indices_reference(z, qp)
        assert reference.shape == (10, 20, 28)
        assert len(np.unique(reference)) > 32  # not vacuous
        assert (NET.indices(z, qp) == reference).all()


def test_a_hand_computed_tile() -> None:
    one = np.int8(1)
    net = ScaleNet(
        w1=np.array([[16], [32], [48], [64]], np.int8),
        b1=np.zeros((64, 4), np.int32),
        s1=4,
        w2=np.full((4, 1), one),
        b2=np.array([0, 10, 20, 30], np.int32),
        s2=0,
        w3=np.array([[1]], np.int8),
        b3=np.full((64, 1), -3, np.int32),
        s3=1,
    )
    # a1 = 2 4 / 6 8; a2 = each + 0 10 / 20 30; index = floor(a2 / 2 + 1/2) - 3, clamped
    expected = [[0, 3, 0, 4], [8, 13, 9, 14], [0, 5, 1, 6], [10, 15, 11, 16]]
    z = np.array([[[2]]], np.int8)
    assert net.indices_reference(z, 0).tolist() == [expected]
    assert net.indices(z, 0).tolist() == [expected]


def test_no_tile_sees_another() -> None:
    z = make_hyper_latents(6, 3, 4)
    whole = NET.indices_reference(z, 9)
    part = NET.indices_reference(np.ascontiguousarray(z[:, 1:2, 2:3]), 9)
    assert (whole[:, 4:8, 8:12] == part).all()


def test_depth_to_space_orders_channels_as_pixel_shuffle() -> None:
    corners = np.arange(8).reshape(8, 1, 1)
    assert depth_to_space(corners).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_sizes_are_read_from_the_shapes() -> None:
    assert (NET.hyper_channels, NET.latent_channels) == (6, 10)
    assert NET.indices(make_hyper_latents(6, 0, 3), 0).shape == (10, 0, 12)


@pytest.mark.parametrize(
    ("z", "qp"),
    [
        (np.zeros((6, 1, 1), np.int16), 0),
        (np.zeros((5, 1, 1), np.int8), 0),
        (np.zeros((6, 1), np.int8), 0),
        (np.full((6, 1, 1), 16, np.int8), 0),
        (np.full((6, 1, 1), -16, np.int8), 0),
        (np.zeros((6, 1, 1), np.int8), -1),
        (np.zeros((6, 1, 1), np.int8), 64),
    ],
)
def test_inputs_outside_the_bound_are_refused(
    z: np.ndarray[tuple[int, ...], np.dtype[np.int8]], qp: int
) -> None:
    with pytest.raises(ValueError, match=r"z is|qp|beyond"):
        NET.indices(z, qp)


def test_bounds_count_weights_inputs_biases_and_the_half() -> None:
    net = ScaleNet(
        w1=np.array([[-3, 2], [0, 0], [0, 0], [0, 0]], np.int8),
        b1=np.full((64, 4), -7, np.int32),
        s1=4,
        w2=np.array([[2], [0], [0], [-5]], np.int8),
        b2=np.array([0, 9999, 0, -1], np.int32),
        s2=1,
        w3=np.array([[4]], np.int8),
        b3=np.full((64, 1), 6, np.int32),
        s3=3,
    )
    assert net.bounds() == (5 * 15 + 7 + 8, 9999 + 1, 4 * 255 + 6 * 8 + 4)


@pytest.mark.parametrize("name", ["b1", "b2", "b3"])
def test_a_layer_whose_sums_could_be_inexact_in_float32_is_refused(name: str) -> None:
    bias = getattr(NET, name).copy()
    bias.flat[3] = EXACT_LIMIT - 1
    with pytest.raises(ConfigError, match=f"layer {name[1]} can reach"):
        dataclasses.replace(NET, **{name: bias})


def test_the_bound_is_exact_at_its_edge() -> None:
    room = EXACT_LIMIT - 1 - NET.bounds()[1] + int(np.abs(NET.b2).max())
    bias = NET.b2.copy()
    row = int((np.abs(NET.w2.astype(int)).sum(axis=1) * 255 + np.abs(bias)).argmax())
    bias[row] = EXACT_LIMIT - 1 - 128 - int(np.abs(NET.w2[row].astype(int)).sum()) * 255
    assert room > 0
    assert dataclasses.replace(NET, b2=bias).bounds()[1] == EXACT_LIMIT - 1
    bias[row] += 1
    with pytest.raises(ConfigError, match="layer 2"):
        dataclasses.replace(NET, b2=bias)


def test_float32_is_wrong_beyond_the_bound() -> None:
    odd = np.float32(EXACT_LIMIT) + np.float32(1)
    assert int(odd) != EXACT_LIMIT + 1  # the reason for the bound


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w1": NET.w1.astype(np.int16)}, "w1 is int16"),
        ({"b2": NET.b2.astype(np.int64)}, "b2 is int64"),
        ({"w2": np.full_like(NET.w2, -128)}, "-128"),
        ({"s1": -1}, "s1 = -1"),
        ({"s3": 17}, "s3 = 17"),
        ({"w1": NET.w1[0]}, "three non-empty"),
        ({"w3": NET.w3[:0]}, "three non-empty"),
        ({"w1": NET.w1[:-1]}, "do not fit"),
        ({"w3": NET.w3[:, :-1]}, "do not fit"),
        ({"b1": NET.b1[:63]}, "biases"),
        ({"b3": NET.b3[:, :-1]}, "biases"),
    ],
)
def test_a_malformed_network_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(NET, **change)  # type: ignore[arg-type]


def test_the_arrays_are_frozen_copies() -> None:
    w1 = NET.w1.copy()
    net = dataclasses.replace(NET, w1=w1)
    w1[:] = 0
    assert net.w1.any()
    with pytest.raises(ValueError, match="read-only"):
        net.w1[0, 0] = 1
