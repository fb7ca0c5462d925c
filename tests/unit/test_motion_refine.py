"""Refinement: C against numpy, its limits, and that what is fitted gives back what was lost."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.errors import ConfigError
from rtcodec.motion import native
from rtcodec.motion.native import Fine, Reference
from rtcodec.motion.refine import (
    CHROMA_PAIRS,
    CLASSES,
    CLIPS,
    LUMA_PAIRS,
    SETS,
    activity,
    blocks_of_planes,
    classes,
    refine,
    set_of,
    turned,
)
from rtcodec.motion.refinement import (
    CHROMA_SHAPE,
    FIRST_LEVELS,
    LUMA_SHAPE,
    Refinement,
)
from rtcodec.motion.steps import step_table
from support.portable import portable_motion

ROWS, COLUMNS = 4, 8
QPS = (0, 1, 22, 40, 63)


def random_weights(seed: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    rng = np.random.default_rng(seed)
    luma, chroma = (
        rng.integers(-32768, 32768, shape).astype(np.int16) for shape in (LUMA_SHAPE, CHROMA_SHAPE)
    )
    return luma, chroma


def textures(seed: int, noise: float) -> list[NDArray[np.uint16]]:
    """Planes of lines that run all ways, some of it flat, under noise; black and white too."""
    rng = np.random.default_rng(seed)
    planes = []
    for side in (16, 8, 8):
        y, x = np.mgrid[: ROWS * side, : COLUMNS * side].astype(np.float64)
        angle = np.arctan2(y - 20, x - 50)
        waves = 2040 + 2600 * np.sin(np.hypot(y - 20, x - 50) / 3) * (np.cos(3 * angle) > -0.5)
        planes.append(np.clip(waves + rng.normal(0, noise, y.shape), 0, 4080).astype(np.uint16))
    return planes


def picture_of(planes: list[NDArray[np.uint16]]) -> Reference:
    picture = Reference(ROWS, COLUMNS)
    picture.fill(np.ascontiguousarray(blocks_of_planes(planes)))
    return picture


def at(qp: int) -> NDArray[np.uint8]:
    """All tiles at a qp."""
    return np.full((ROWS // 4, COLUMNS // 4), qp, np.uint8)


def refined_plainly(how: Refinement, planes: list[NDArray[np.uint16]], qp: int) -> Fine:
    luma_step, chroma_step = (int(step) for step in step_table()[qp])
    k = set_of(qp)
    steps = (luma_step, chroma_step)
    return blocks_of_planes(refine(planes, how.luma[k], how.chroma[k], steps, how.first))


@pytest.mark.parametrize("first", sorted(FIRST_LEVELS.values()))
@pytest.mark.parametrize("noise", [0.0, 4.0, 900.0])
def test_c_refines_as_numpy_does(noise: float, first: int) -> None:
    planes = textures(1, noise)
    how = Refinement(*random_weights(2), first)
    for qp in QPS:
        assert np.array_equal(how(picture_of(planes), at(qp)), refined_plainly(how, planes, qp)), qp


def test_each_tile_is_refined_for_its_own_qp_or_not_at_all() -> None:
    planes = textures(9, 20.0)
    how = Refinement(*random_weights(2), 5)
    qps = np.array([[12, 41]], np.uint8)
    refined = how(picture_of(planes), qps)
    assert np.array_equal(refined[:, :4], refined_plainly(how, planes, 12)[:, :4])
    assert np.array_equal(refined[:, 4:], refined_plainly(how, planes, 41)[:, 4:])
    qps[0, 1] = native.NO_QP
    refined = how(picture_of(planes), qps)
    assert np.array_equal(refined[:, :4], refined_plainly(how, planes, 12)[:, :4])
    assert np.array_equal(refined[:, 4:], blocks_of_planes(planes)[:, 4:])
    with pytest.raises(ValueError, match="are not the qp of"):
        how(picture_of(planes), qps[:, :1])


def test_the_pictures_of_these_tests_have_all_directions_turns_and_most_levels() -> None:
    seen, turns = set(), set()
    for noise in (0.0, 4.0, 900.0):
        for qp in QPS:
            kind, turn = classes(textures(1, noise)[0], activity(int(step_table()[qp][0]), 5))
            seen |= set(np.unique(kind))
            turns |= set(np.unique(turn))
    assert turns == {0, 1, 2, 3}
    assert {kind // 8 for kind in seen} == set(range(5))
    assert {kind % 8 for kind in seen} == set(range(8))


def test_weights_of_nothing_leave_a_picture_as_it_is() -> None:
    planes = textures(3, 30.0)
    none = np.zeros(LUMA_SHAPE, np.int16), np.zeros(CHROMA_SHAPE, np.int16)
    for qp in QPS:
        assert np.array_equal(
            Refinement(*none, 5)(picture_of(planes), at(qp)), blocks_of_planes(planes)
        )


def test_turns_are_four_and_undo_each_other() -> None:
    turns = [turned(k) for k in range(4)]
    assert len({tuple(turn) for turn in turns}) == 4
    assert all(sorted(turn) == list(range(len(LUMA_PAIRS))) for turn in turns)
    for k in (0, 1, 2):  # mirrors; the fourth is a quarter of a whole turn
        assert [turns[k][t] for t in turns[k]] == list(range(len(LUMA_PAIRS)))


def test_a_mirrored_picture_is_refined_as_the_picture_mirrored() -> None:
    how = Refinement(*random_weights(4), 5)
    rng = np.random.default_rng(5)
    side = 64
    luma = np.clip(2000 + 900 * np.sin(np.add.outer(np.arange(side), 2.2 * np.arange(side)) / 4)
                   + rng.normal(0, 30, (side, side)), 0, 4080).astype(np.uint16)  # fmt: skip
    k, steps = set_of(30), (int(step_table()[30][0]),) * 2

    def refined(plane: NDArray[np.uint16]) -> NDArray[np.uint16]:
        none = np.zeros((32, 32), np.uint16)
        return refine([plane, none, none], how.luma[k], how.chroma[k], steps, 5)[0]

    assert not np.array_equal(refined(luma), luma)
    assert np.array_equal(refined(np.ascontiguousarray(luma.T)), refined(luma).T)


def test_each_qp_takes_the_nearest_weights() -> None:
    assert [set_of(qp) for qp in (0, 4, 6, 7, 10, 22, 52, 55, 63)] == [0, 0, 0, 1, 1, 3, 8, 8, 8]
    assert SETS == 9


def test_every_build_refines_the_same(tmp_path: Path) -> None:
    planes = textures(6, 60.0)
    how = Refinement(*random_weights(7), 20)
    here = [how(picture_of(planes), at(qp)) for qp in QPS]
    with portable_motion(tmp_path):
        for qp, expected in zip(QPS, here, strict=True):
            assert np.array_equal(how(picture_of(planes), at(qp)), expected)


def test_weights_of_another_kind_are_refused() -> None:
    luma, chroma = random_weights(8)
    with pytest.raises(ConfigError, match="weights of refinement are int32"):
        Refinement(luma.astype(np.int32), chroma, 5)
    with pytest.raises(ConfigError, match="weights of refinement are int16"):
        Refinement(luma, chroma[:, :1], 5)
    with pytest.raises(ConfigError, match=r"has no tensor 'intra\.chroma'"):
        Refinement.of({"intra.luma": luma}, "intra")
    assert Refinement.of({"intra.luma": luma}, "delta") is None
    both = {"delta.luma": luma, "delta.chroma": chroma}
    found = Refinement.of(both, "delta")
    assert found is not None
    assert found.first == FIRST_LEVELS["delta"]


def test_the_shapes_are_those_of_the_text() -> None:
    assert (len(LUMA_PAIRS), len(CHROMA_PAIRS), len(CLIPS), CLASSES) == (12, 6, 4, 40)
