"""
How frames get into the rows of a batch, and what comes back out of them.

    planes --pad--> row k                     row k --crop--> planes
    symbols --tiles that say something--> list --scatter--> symbols, zeros elsewhere

Symbols of delta frames cross as lists of tiles, since most tiles of a call say nothing: those of
row k come after those of the rows before it. No device here, no states.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import EncodeJob, EncodeOutput
from rtcodec.entropy.native_tiles import gather_tiles, scatter_tiles
from rtcodec.motion.said import Said
from rtcodec.types import Planes, tile_grid
from rtcodec_engines.device import LIST, LISTED, Arrays, Shapes
from rtcodec_engines.tensor.frames import PLANES, QP, REFERENCE, STATE, STORE
from rtcodec_engines.tensor.slab import SCRATCH

Size = tuple[int, int]
"Padded (height, width) in pixels, multiples of 64."

ENCODE_INTRA, DECODE_INTRA, ENCODE_DELTA, DECODE_DELTA = (
    "encode_intra", "decode_intra", "encode_delta", "decode_delta",
)  # fmt: skip

KEEP = "keep"
"Stores pictures that the host painted, finer than bytes."

LIST_SYMBOLS, LIST_INDICES = f"{LIST}symbols", f"{LIST}indices"


def shapes_of(bundle: Bundle, operation: str, size: Size, bucket: int) -> Shapes:
    """What an operation of `Frames` takes for a batch."""
    height, width = size
    h, w = height // 16, width // 16
    shapes: dict[str, Any] = {"numbers": ((bucket, 4), torch.int64)}
    if operation in (ENCODE_INTRA, ENCODE_DELTA, KEEP):
        sides = ((height, width), *((height // 2, width // 2),) * 2)
        for name, side in zip(PLANES, sides, strict=True):
            shapes[name] = ((bucket, *side), torch.int16 if operation == KEEP else torch.uint8)
    elif operation == DECODE_DELTA and bundle.delta is not None:
        tiles = h * w // 16
        shapes[LISTED] = ((bucket, tiles), torch.bool)
        shapes[LIST_SYMBOLS] = ((bucket * tiles, bundle.delta.latent_channels, 16), torch.int16)
    else:
        shapes["symbols"] = ((bucket, h, w, bundle.latent_channels), torch.int16)
        shapes["z"] = ((bucket, bundle.hyper_channels, h // 4, w // 4), torch.int8)
    return shapes


def padded_size(width: int, height: int) -> Size:
    """Return the multiples of 64 that hold a frame."""
    rows, columns = tile_grid(width, height)
    return rows * 64, columns * 64


def reset(inputs: Arrays, k: int) -> None:
    """Let a row only fill up its batch."""
    inputs["numbers"][k] = SCRATCH  # every number
    if LISTED in inputs:
        inputs[LISTED][k] = False


def say(inputs: Arrays, k: int, qp: int, reference: int, store: int, state: int) -> None:
    """Write what a row is: its qp, and rows of the slab."""
    own = inputs["numbers"][k]
    own[QP], own[REFERENCE], own[STORE], own[STATE] = qp, reference, store, state


def put_planes(inputs: Arrays, k: int, planes: Planes) -> None:
    """Write a picture, its edges repeated."""
    for name, plane in zip(PLANES, (planes.y, planes.u, planes.v), strict=True):
        _pad(plane, inputs[name][k])


class ListedTiles:
    """The tiles of one frame of which anything is said."""

    def __init__(self, symbols: NDArray[np.int16]) -> None:
        """
        Args:
            symbols: int16 [M, 4 Th, 4 Tw].
        """
        self._listed = Said.of(np.ascontiguousarray(symbols.transpose(1, 2, 0))).count() > 0
        self._symbols = gather_tiles(symbols, np.flatnonzero(self._listed).astype(np.uint32))

    def put(self, inputs: Arrays, k: int) -> None:
        """Write them as row *k*; those before it were written before."""
        start = int(np.count_nonzero(inputs[LISTED][:k]))
        inputs[LIST_SYMBOLS][start : start + len(self._symbols)] = self._symbols
        inputs[LISTED][k] = self._listed


def coded(outputs: Arrays, k: int, job: EncodeJob, *, is_delta: bool) -> EncodeOutput:
    """Return a frame that was encoded."""
    planes = job.planes
    symbols, indices = _listed(outputs, k) if is_delta else _dense(outputs, k)
    seen = shown(outputs, k, planes.width, planes.height) if job.reconstruct else None
    return EncodeOutput(outputs["z"][k], symbols, indices, seen, is_delta)


def shown(outputs: Arrays, k: int, width: int, height: int) -> Planes:
    """Return a picture, cropped."""
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (
        np.ascontiguousarray(outputs[name][k, :rows, :columns])
        for name, (rows, columns) in zip(PLANES, ((height, width), half, half), strict=True)
    )
    return Planes(y, u, v)


def _dense(outputs: Arrays, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    last = (2, 0, 1)
    return outputs["symbols"][k].transpose(last), outputs["indices"][k].transpose(last)


def _listed(outputs: Arrays, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Symbols and indices of a row, [M, 4 Th, 4 Tw]; 0 in tiles of which nothing is said."""
    listed = outputs[LISTED]
    start = int(np.count_nonzero(listed[:k]))
    tiles = np.flatnonzero(listed[k]).astype(np.uint32)
    rows, columns = outputs["z"][k].shape[1:]
    dense = []
    for name in (LIST_SYMBOLS, LIST_INDICES):
        own = outputs[name][start : start + len(tiles)]
        plane = np.zeros((4 * rows, 4 * columns, own.shape[1]), own.dtype).transpose(2, 0, 1)
        scatter_tiles(own, tiles, plane)
        dense.append(plane)
    return dense[0], dense[1]


def _pad(plane: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Copy a plane into a larger one and repeat its edges."""
    height, width = plane.shape
    np.copyto(out[:height, :width], plane)
    out[:height, width:] = plane[:, -1:]
    out[height:] = out[height - 1]
