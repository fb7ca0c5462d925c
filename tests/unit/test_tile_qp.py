"""Which qp a tile was last coded at."""

import numpy as np

from rtcodec.codec.tile_qp import TileQpHistory

ALL, NONE = np.ones((2, 3), np.bool_), np.zeros((2, 3), np.bool_)


def test_a_frame_that_stands_alone_is_of_its_qp_even_where_tiles_are_missing() -> None:
    history = TileQpHistory()
    assert (history.decoded(30, NONE, reference=None, store=None) == 30).all()


def test_tiles_that_say_nothing_keep_the_qp_of_the_picture_they_are_predicted_from() -> None:
    history, some = TileQpHistory(), NONE.copy()
    some[0, 1] = some[1, 2] = True
    history.decoded(20, ALL, reference=None, store=0)
    history.decoded(25, ALL, reference=None, store=1)
    assert np.array_equal(
        history.decoded(40, some, reference=0, store=2), [[20, 40, 20], [20, 20, 40]]
    )
    assert (history.decoded(41, NONE, reference=1, store=None) == 25).all()
    assert (history.decoded(41, ALL, reference=2, store=0) == 41).all()


def test_what_is_not_kept_changes_nothing() -> None:
    history = TileQpHistory()
    history.decoded(20, ALL, reference=None, store=0)
    history.decoded(40, ALL, reference=0, store=None)
    assert (history.decoded(41, NONE, reference=0, store=None) == 20).all()
