"""Which kind of frame an image takes: the one with fewer bits at the same quality."""

import math

import pytest

from rtcodec.bundle import find_bundle
from rtcodec.codec.intra_choice import bits_at, intra_kind


def test_bits_are_read_between_two_points_on_a_scale_of_shares() -> None:
    assert bits_at(42.0, (44.0, 2000.0), (40.0, 500.0)) == pytest.approx(1000.0)


def test_bits_are_read_beyond_two_points_too() -> None:
    assert bits_at(46.0, (44.0, 2000.0), (40.0, 500.0)) == pytest.approx(4000.0)


def test_two_points_of_one_quality_say_the_first_ones_bits() -> None:
    assert bits_at(44.0, (44.0, 2000.0), (44.0, 500.0)) == 2000.0
    assert bits_at(math.inf, (math.inf, 20.0), (math.inf, 5.0)) == 20.0


@pytest.mark.parametrize("other", [(57.4, 1.22), (57.2, 1.22), (57.0, 1.22)])
def test_two_points_of_nearly_one_quality_say_little_of_others(other: tuple[float, float]) -> None:
    """A screen at the finest qp: 22 dB less are not worth more bits, in either order."""
    assert 0 < bits_at(35.5, (57.2, 1.45), other) < 1.0
    assert bits_at(58.2, (57.2, 1.45), other) > 1.45


def test_files_take_either_kind_unless_told() -> None:
    bundle = find_bundle("n64")
    assert bundle.spatial is not None
    assert intra_kind(None, bundle) == "auto"
    assert intra_kind("spatial", bundle) == "spatial"
