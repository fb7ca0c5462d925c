"""Lists of tiles hold what they should, bit for bit, in the entropy coder's order."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from rtcodec.entropy.native_tiles import gather_tiles  # noqa: E402
from rtcodec_engines.batch_rows import LIST_SYMBOLS, ListedTiles  # noqa: E402
from rtcodec_engines.device import LISTED  # noqa: E402
from rtcodec_engines.tensor.tiles import list_tiles, spread_list  # noqa: E402

FRAMES, ROWS, COLUMNS, CHANNELS = 3, 2, 3, 5


@pytest.mark.parametrize("kind", [np.int16, np.uint8])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_there_and_back(kind: type[np.integer], share: float) -> None:
    rng = np.random.default_rng(4)
    about = np.iinfo(kind)  # the largest and the least, too: nothing is narrowed
    shape = (FRAMES, 4 * ROWS, 4 * COLUMNS, CHANNELS)
    dense = rng.integers(about.min, about.max, shape, endpoint=True).astype(kind)
    dense[0, 0, 0, :2] = about.min, about.max
    listed = rng.random((FRAMES, ROWS * COLUMNS)) < share
    tiles = list_tiles(torch.from_numpy(dense), torch.from_numpy(listed))
    wanted = [
        gather_tiles(frame.transpose(2, 0, 1), np.flatnonzero(own).astype(np.uint32))
        for frame, own in zip(dense, listed, strict=True)
    ]
    n_listed = np.count_nonzero(listed)
    assert np.array_equal(tiles.numpy()[:n_listed], np.concatenate(wanted))

    tiles[n_listed:] = 99  # means nothing
    back = spread_list(tiles, torch.from_numpy(listed), ROWS, COLUMNS).numpy()
    places = listed.reshape(FRAMES, ROWS, COLUMNS).repeat(4, 1).repeat(4, 2)
    assert np.array_equal(back, dense * places[..., None])


def test_frames_of_a_batch_follow_each_other_in_the_list() -> None:
    rng = np.random.default_rng(5)
    tiles = ROWS * COLUMNS
    inputs = {
        LISTED: np.ones((FRAMES, tiles), np.bool_),  # of the batch before
        LIST_SYMBOLS: np.full((FRAMES * tiles, CHANNELS, 16), 99, np.int16),
    }
    frames = []
    for k in range(FRAMES):
        symbols = rng.integers(-9, 10, (CHANNELS, 4 * ROWS, 4 * COLUMNS)).astype(np.int16)
        symbols[:, : 4 * (k % ROWS + 1), :8] = 0
        frames.append(symbols)
        ListedTiles(symbols).put(inputs, k)
    assert 0 < np.count_nonzero(inputs[LISTED]) < FRAMES * tiles
    tiles_of, listed = (torch.from_numpy(inputs[name]) for name in (LIST_SYMBOLS, LISTED))
    back = spread_list(tiles_of, listed, ROWS, COLUMNS).numpy()
    assert np.array_equal(back.transpose(0, 3, 1, 2), np.stack(frames))
