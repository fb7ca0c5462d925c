"""
Tiles of frames, and the scale network, in C.

The same functions and errors as the reference (`tile`, `ScaleNet.indices_reference`), and the same
results bit for bit. The GIL is released while C runs.
"""

from __future__ import annotations

import ctypes
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import QP_COUNT
from rtcodec.entropy.library import address
from rtcodec.entropy.native_library import PTR, U32, library
from rtcodec.entropy.scale_net import Layer, ScaleNet
from rtcodec.entropy.tile import Latent, check_plane, check_values, empty_plane

_Number = TypeVar("_Number", bound=np.generic)


class _ScaleNet(ctypes.Structure):
    """`rtc_scale_net`."""

    _fields_ = (
        ("weight", PTR * 3),
        ("narrow", PTR * 3),
        ("bias", PTR * 3),
        ("rows", U32 * 3),
        ("inputs", U32 * 3),
        ("shift", U32 * 3),
        ("hyper_channels", U32),
        ("hidden", U32 * 2),
        ("latent_channels", U32),
    )


def gather_tiles(plane: NDArray[Latent], tiles: NDArray[np.uint32]) -> NDArray[Latent]:
    """Copy some tiles out of a frame: `tile.gather_tiles`, fast."""
    _, columns = check_plane(plane, tiles)
    tiles = np.ascontiguousarray(tiles)
    values = np.empty((tiles.size, plane.shape[0], 16), plane.dtype)
    library().rtc_gather(
        address(plane), _strides(plane), address(values), address(tiles), tiles.size,
        plane.shape[0], columns, plane.itemsize,
    )  # fmt: skip
    return values


def scatter_tiles(
    values: NDArray[Latent], tiles: NDArray[np.uint32], plane: NDArray[Latent]
) -> None:
    """Copy tiles into a frame, in place: `tile.scatter_tiles`, fast."""
    _, columns = check_plane(plane, tiles)
    check_values(values, tiles, plane)
    if not plane.flags.writeable:
        raise ValueError("the plane is read-only")
    tiles, values = np.ascontiguousarray(tiles), np.ascontiguousarray(values)
    library().rtc_scatter(
        address(plane), _strides(plane), address(values), address(tiles), tiles.size,
        plane.shape[0], columns, plane.itemsize,
    )  # fmt: skip


def tile_indices(net: ScaleNet, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
    """
    Scale indices of some tiles, in coding order.

    Args:
        net: Of the model.
        z: int8 [T, Cz], magnitudes up to 15.
        qp: 0..63.

    Returns:
        uint8 [T, M, 16]: what `ScaleNet.indices` gives, tile by tile.
    """
    if z.ndim != 2:
        raise ValueError(f"z is {z.dtype} {z.shape}, not int8 [T, {net.hyper_channels}]")
    net.check_input(z.T[:, :, None], qp)
    packed = _packed_net(net)
    z = np.ascontiguousarray(z)
    indices = np.empty((z.shape[0], net.latent_channels, 16), np.uint8)
    scratch = np.empty(packed.scratch_size // 2 + 1, np.int16)
    library().rtc_scale_indices(
        ctypes.addressof(packed.structs[qp]), address(z), z.shape[0], address(indices),
        address(scratch),
    )  # fmt: skip
    return net.with_always_coded(indices, axis=1)


def scale_indices(net: ScaleNet, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
    """Scale indices of a whole frame: `ScaleNet.indices`, fast."""
    net.check_input(z, qp)
    rows, columns = z.shape[1:]
    tiles = np.arange(rows * columns, dtype=np.uint32)
    indices = empty_plane(net.latent_channels, 4 * rows, 4 * columns, np.uint8)
    scatter_tiles(tile_indices(net, z.reshape(z.shape[0], -1).T, qp), tiles, indices)
    return indices


class _PackedNet:
    """A scale network as C wants it: padded, and one struct per qp."""

    def __init__(self, net: ScaleNet) -> None:
        layers = [net.layers(qp) for qp in range(QP_COUNT)]
        self._weights = [_padded(w, 8, 2).astype(np.int16) for w, _, _, _ in layers[0]]
        self._narrow = [_padded(w, 8, 4) for w, _, _, _ in layers[0]]
        self._biases: list[NDArray[np.int32]] = []  # C reads them through the structs
        self.structs = [self._struct(net, at_qp) for at_qp in layers]
        self.scratch_size: int = library().rtc_scale_scratch(ctypes.addressof(self.structs[0]))

    def _struct(self, net: ScaleNet, layers: tuple[Layer, ...]) -> _ScaleNet:
        biases = [
            _padded((b + (1 << shift >> 1))[:, None], 8, 1).astype(np.int32)
            for _, b, shift, _ in layers
        ]
        self._biases += biases
        return _ScaleNet(
            weight=(PTR * 3)(*map(address, self._weights)),
            narrow=(PTR * 3)(*map(address, self._narrow)),
            bias=(PTR * 3)(*map(address, biases)),
            rows=(U32 * 3)(*(w.shape[0] for w in self._weights)),
            inputs=(U32 * 3)(*(w.shape[1] for w in self._weights)),
            shift=(U32 * 3)(*(shift for _, _, shift, _ in layers)),
            hyper_channels=net.hyper_channels,
            hidden=(U32 * 2)(net.w2.shape[1], net.w3.shape[1]),
            latent_channels=net.latent_channels,
        )


_packed: WeakKeyDictionary[ScaleNet, _PackedNet] = WeakKeyDictionary()


def _packed_net(net: ScaleNet) -> _PackedNet:
    packed = _packed.get(net)
    if packed is None:
        packed = _packed[net] = _PackedNet(net)
    return packed


def _padded(matrix: NDArray[_Number], rows: int, columns: int) -> NDArray[_Number]:
    """Pad with zeros to multiples of *rows* and *columns*."""
    return np.pad(matrix, ((0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % columns)))


def _strides(plane: NDArray[Latent]) -> ctypes.Array[ctypes.c_ssize_t]:
    return (ctypes.c_ssize_t * 3)(*plane.strides)
