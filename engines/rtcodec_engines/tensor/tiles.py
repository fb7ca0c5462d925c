"""
Tiles of which anything is said, in a list, and back: what of a batch crosses to the host.

    dense [N, h, w, M]  <-->  listed [N, T], list [N * T, M, 16]

Row r of the list is the r-th tile that *listed* names, frames one after the other; rows from there
on mean nothing. Shapes are fixed, nothing is read back: a CUDA graph may hold it.
"""

import torch
from torch import Tensor


def list_tiles(dense: Tensor, listed: Tensor) -> Tensor:
    """Return the tiles of *dense* that are *listed*, in the order of the entropy coder."""
    n, h, w, m = dense.shape
    tiles = dense.reshape(n, h // 4, 4, w // 4, 4, m).permute(0, 1, 3, 5, 2, 4).reshape(-1, m, 16)
    mask = listed.flatten()
    behind = torch.full_like(mask, mask.numel(), dtype=torch.int64)  # what is not listed
    place = torch.where(mask, mask.cumsum(0) - 1, behind)
    out = tiles.new_zeros((len(tiles) + 1, m, 16))
    return out.index_copy_(0, place, tiles)[:-1]


def spread_list(tiles: Tensor, listed: Tensor, rows: int, columns: int) -> Tensor:
    """Invert `list_tiles` for frames of *rows* x *columns* tiles; 0 where nothing is listed."""
    mask = listed.flatten()
    place = (mask.cumsum(0) - 1).clamp(min=0)
    own = torch.where(mask[:, None, None], tiles[place], 0)  # [N * T, M, 16]
    m = own.shape[1]
    parts = own.reshape(-1, rows, columns, m, 4, 4).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(-1, 4 * rows, 4 * columns, m)
