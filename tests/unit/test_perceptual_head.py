"""The head that ships, and what is refused of others."""

import numpy as np
import pytest

from rtcodec.codec.perceptual_head import PSNR, PerceptualHead, open_head
from rtcodec.errors import ConfigError
from rtcodec.motion.refinement import CHROMA_SHAPE, LUMA_SHAPE
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec.types import tile_grid
from support.pictures import picture, same_picture


def test_weights_of_zero_leave_a_picture_of_any_size_as_it_is() -> None:
    planes = picture(202, 134)
    head = PerceptualHead(
        {"luma": np.zeros(LUMA_SHAPE, np.int16), "chroma": np.zeros(CHROMA_SHAPE, np.int16)}
    )
    qps = np.full(tile_grid(202, 134), 40, np.uint8)
    assert same_picture(head.show(planes, qps), planes)


def test_the_one_that_ships_changes_luma_alone_and_more_where_coding_was_coarser() -> None:
    head = open_head(PERCEPTUAL)
    assert head is not None
    planes = picture(192, 128)
    changes = []
    for qp in (24, 48):
        shown = head.show(planes, np.full(tile_grid(192, 128), qp, np.uint8))
        assert np.array_equal(shown.u, planes.u)
        assert np.array_equal(shown.v, planes.v)
        changes.append(np.abs(shown.y.astype(int) - planes.y).mean())
    assert 0 < changes[0] < changes[1]


def test_the_other_head_is_the_decoder_itself() -> None:
    assert open_head(PSNR) is None


def test_filters_that_lack_a_tensor_are_refused() -> None:
    with pytest.raises(ConfigError, match="chroma"):
        PerceptualHead({"luma": np.zeros(LUMA_SHAPE, np.int16)})


def test_what_ships_says_what_it_was_trained_on() -> None:
    card = load_restorer_model(PERCEPTUAL).card
    assert card["clips"] > 100
    assert "dev" not in card["data"]
