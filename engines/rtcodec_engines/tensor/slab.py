"""The pictures of all streams of one padded size, in one tensor for each plane."""

import torch
from torch import Tensor

from rtcodec_engines.tensor.predict import PLANE_SCALES, Pictures

SCRATCH = 0
"Row of pictures, and of states, that nobody reads: what fills up a batch goes there."


class Slab:
    """
    What streams keep between frames.

    Addresses never change, so a CUDA graph may index it. State k has row k of the vectors, and
    pictures from row 1 + (k - 1) * references on. Rows are not cleared.
    """

    def __init__(
        self, size: tuple[int, int], *, states: int, references: int, device: torch.device
    ) -> None:
        """
        Args:
            size: Padded (height, width) in pixels.
            states: How many streams there may be.
            references: Pictures that each may keep.
            device: Where.
        """
        height, width = size
        self._references = references
        rows = 1 + states * references
        y, u, v = (
            torch.empty((rows, height // s, width // s), dtype=torch.int16, device=device)
            for s in PLANE_SCALES
        )
        tiles = torch.empty((rows, height // 64, width // 64), dtype=torch.uint8, device=device)
        self.pictures = Pictures((y, u, v), tiles)
        "Stored pictures."
        self.vectors = torch.zeros(
            (1 + states, height // 16, width // 16, 4, 2), dtype=torch.int16, device=device
        )
        "Of each state's newest frame, where the next search begins."
        self._free = list(range(states, 0, -1))

    @property
    def size_bytes(self) -> int:
        """What it takes of the device's memory."""
        tensors = (*self.pictures.planes, self.pictures.qps, self.vectors)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @property
    def is_idle(self) -> bool:
        """Whether no stream is in it."""
        return len(self._free) == self.vectors.shape[0] - 1

    def take(self) -> int | None:
        """Return a state's row; None if there is none left."""
        if not self._free:
            return None
        state = self._free.pop()
        self.vectors[state].zero_()
        return state

    def give_back(self, state: int) -> None:
        """Let another stream have a state's row."""
        self._free.append(state)

    def row(self, state: int, place: int) -> int:
        """Which row a state's picture has at a *place* below `references`."""
        return 1 + (state - 1) * self._references + place

    def store(self, rows: Tensor, planes: list[Tensor], qps: Tensor) -> None:
        """Keep pictures [N, H, W] in rows [N]; those in `SCRATCH` are lost."""
        for slab, plane in zip(self.pictures.planes, planes, strict=True):
            slab.index_copy_(0, rows, plane.to(torch.int16))
        self.pictures.qps.index_copy_(0, rows, qps)
