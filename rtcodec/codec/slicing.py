"""
How a frame is cut into packets: by number of slices or by a size that each should keep under.

A packet is a run of tile positions. With a target in bytes the runs are planned from the exact
cost of each tile, so each run is entropy coded once; only a run that still came out too large is
halved and coded again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.tiles import TileRange, split_tiles, tile_order
from rtcodec.types import tile_grid

_PLANNING_MARGIN = 0.99
"Share of the room that is planned for; states and rounding take the rest."

_LANE_BYTES = 4  # state that each lane adds to a payload


@dataclass(frozen=True, slots=True)
class Slicing:
    """Limits on the packets of one frame."""

    target_bytes: int | None = None
    """Packets stay at or under this, header included, unless a single tile is larger; None cuts
    by `slices` alone. At least 64."""

    slices: int = 1
    "Packets of a frame when there is no target, fewer if it has fewer tiles."

    dispersed: bool = False
    "Whether a packet's tiles are spread over the frame, so that a lost one is easier to conceal."

    def __post_init__(self) -> None:
        """Check the limits; ValueError if one is broken."""
        if self.target_bytes is not None and self.target_bytes < 64:
            raise ValueError(f"a packet target of {self.target_bytes} bytes is below 64")
        if self.slices < 1:
            raise ValueError(f"{self.slices} slices")

    @property
    def keeps_whole(self) -> bool:
        """Whether every frame is one packet."""
        return self.target_bytes is None and self.slices == 1

    def plan(
        self, tile_bytes: NDArray[np.float64], width: int, height: int, header_bytes: int
    ) -> list[TileRange]:
        """
        Cut a frame into runs of tiles.

        Args:
            tile_bytes: float64 [Th * Tw], cost of each tile by tile index. Only the sum matters
                without a target.
            width: Of the frame, in pixels.
            height: Of the frame, in pixels.
            header_bytes: Largest header of a packet.

        Returns:
            Runs in increasing order that cover the frame.
        """
        if self.target_bytes is None:
            return split_tiles(width, height, self.slices, dispersed=self.dispersed)
        room = (self.target_bytes - header_bytes) * _PLANNING_MARGIN - 2 * _LANE_BYTES
        order = tile_order(*tile_grid(width, height), dispersed=self.dispersed)
        return _greedy_runs(tile_bytes[order], room, dispersed=self.dispersed)

    def too_large(self, packet_bytes: int, run: TileRange) -> bool:
        """Say whether a packet must be cut again."""
        return self.target_bytes is not None and packet_bytes > self.target_bytes and run.count > 1


def halves(run: TileRange) -> tuple[TileRange, TileRange]:
    """Cut a run of at least two tiles in two."""
    first = run.count // 2
    return (
        TileRange(run.first, first, run.dispersed),
        TileRange(run.first + first, run.count - first, run.dispersed),
    )


def lanes_for(payload_bytes: float) -> int:
    """Return how many lanes a payload of this size is worth: each costs four bytes."""
    for lanes, least_bytes in ((8, 8192), (4, 2048), (2, 512)):
        if payload_bytes >= least_bytes:
            return lanes
    return 1


def _greedy_runs(costs: NDArray[np.float64], room: float, *, dispersed: bool) -> list[TileRange]:
    """Return the longest runs whose costs fit *room*, a single tile at least."""
    ends = np.cumsum(costs)
    runs = []
    first, spent = 0, 0.0
    while first < costs.size:
        end = max(first + 1, int(np.searchsorted(ends, spent + room, side="right")))
        runs.append(TileRange(first, end - first, dispersed))
        first, spent = end, float(ends[end - 1])
    return runs
