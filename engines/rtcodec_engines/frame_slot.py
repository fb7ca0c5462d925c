"""
Memory that two processes share, for the frames of one stream: at most one is under way.

    planes in | z | symbols | indices | planes out

It has no name, only descriptors (memfd), so it is gone with the last process that has it. Its size
is sealed: neither side can take away what the other reads.

Dims: `C` channels of symbols, `Th Tw` rows and columns of tiles.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.errors import LocalProtocolError
from rtcodec.types import COPY_CHANNELS, MAX_SIDE_PX, Planes, tile_grid

_ALIGNMENT: Final = 64
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class SlotForm:
    """What a slot has to hold; the same on both sides."""

    width: int
    height: int
    symbol_channels: int
    "The most that a frame has, of any kind."

    hyper_channels: int
    "Likewise."

    def __post_init__(self) -> None:
        """Refuse sizes that no frame has."""
        if not (0 < self.width <= MAX_SIDE_PX and 0 < self.height <= MAX_SIDE_PX):
            raise LocalProtocolError(f"no frame has {self.width}x{self.height}")

    @classmethod
    def of(cls, bundle: Bundle, width: int, height: int) -> Self:
        """Return the form for frames of a model."""
        parts = [part for part in (bundle, bundle.delta, bundle.spatial) if part is not None]
        return cls(
            width,
            height,
            max(part.latent_channels for part in parts) + COPY_CHANNELS,
            max(part.hyper_channels for part in parts),
        )

    @property
    def n_tiles(self) -> int:
        """Tiles of a frame."""
        rows, columns = tile_grid(self.width, self.height)
        return rows * columns

    @property
    def part_bytes(self) -> tuple[int, ...]:
        """Sizes of the parts, in order."""
        chroma = ((self.height + 1) // 2) * ((self.width + 1) // 2)
        planes = self.width * self.height + 2 * chroma
        n_symbols = self.symbol_channels * 16 * self.n_tiles
        return planes, self.hyper_channels * self.n_tiles, 2 * n_symbols, n_symbols, planes

    @property
    def size_bytes(self) -> int:
        """Size of the slot."""
        return sum(map(_aligned, self.part_bytes))


class FrameSlot:
    """One side's view of the memory."""

    def __init__(self, form: SlotForm, descriptor: int) -> None:
        """
        Args:
            form: What is in it.
            descriptor: Of the memory; stays the caller's.

        Raises:
            LocalProtocolError: If it has another size, or one that can still change.
        """
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        except OSError:
            raise LocalProtocolError("a slot is no memory that can be shared") from None
        if seals & _SEALS != _SEALS or os.fstat(descriptor).st_size != form.size_bytes:
            raise LocalProtocolError("a slot has another size than its frames need")
        self.form = form
        memory = np.frombuffer(mmap.mmap(descriptor, form.size_bytes), np.uint8)
        self._parts = []
        start = 0
        for size in form.part_bytes:
            self._parts.append(memory[start : start + size])
            start += _aligned(size)

    @property
    def source(self) -> Planes:
        """The picture to encode: a view."""
        return self._planes(0)

    @property
    def picture(self) -> Planes:
        """The picture that was decoded: a view."""
        return self._planes(4)

    def z(self, channels: int) -> NDArray[np.int8]:
        """Hyper-latents, int8 [Cz, Th, Tw]: a view."""
        return self._array(1, np.int8, channels, 1, channels_last=False)

    def symbols(self, channels: int, *, channels_last: bool) -> NDArray[np.int16]:
        """Symbols, int16 [C, 4 Th, 4 Tw]: a view."""
        return self._array(2, np.int16, channels, 4, channels_last=channels_last)

    def indices(self, channels: int, *, channels_last: bool) -> NDArray[np.uint8]:
        """Scale indices, uint8 [C, 4 Th, 4 Tw]: a view."""
        return self._array(3, np.uint8, channels, 4, channels_last=channels_last)

    def _planes(self, part: int) -> Planes:
        form = self.form
        height, width = (form.height + 1) // 2, (form.width + 1) // 2
        y, u, v = np.split(
            self._parts[part], (form.width * form.height, form.width * form.height + height * width)
        )
        return Planes(
            y.reshape(form.height, form.width), u.reshape(height, width), v.reshape(height, width)
        )

    def _array(
        self, part: int, dtype: npt.DTypeLike, channels: int, scale: int, *, channels_last: bool
    ) -> NDArray[Any]:
        most = self.form.hyper_channels if part == 1 else self.form.symbol_channels
        if not 0 < channels <= most:
            raise LocalProtocolError(f"{channels} channels where there are at most {most}")
        rows, columns = (scale * side for side in tile_grid(self.form.width, self.form.height))
        flat = self._parts[part].view(dtype)[: channels * rows * columns]
        if channels_last:
            return flat.reshape(rows, columns, channels).transpose(2, 0, 1)
        return flat.reshape(channels, rows, columns)


@contextmanager
def new_memory(form: SlotForm) -> Iterator[int]:
    """Yield the descriptor of memory for a slot; what maps it or got a copy keeps the memory."""
    descriptor = os.memfd_create("rtcodec-slot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, form.size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        yield descriptor
    finally:
        os.close(descriptor)


def copy_planes(source: Planes, target: Planes) -> None:
    """Write one picture over another of its size."""
    for ours, theirs in ((source.y, target.y), (source.u, target.u), (source.v, target.v)):
        np.copyto(theirs, ours)


def is_channels_last(array: NDArray[Any]) -> bool:
    """Return whether [C, h, w] lies in memory as [h, w, C]."""
    return bool(array.transpose(1, 2, 0).flags.c_contiguous)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
