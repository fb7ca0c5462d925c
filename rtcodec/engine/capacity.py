"""
What an engine costs on this machine, and how many streams that is: arithmetic, nothing is run here.

    tiles per second  x  time per tile  =  engine seconds per second, of as many as there are lanes
                                           core seconds per second, of as many as there are cores

Work is counted in tiles of 64x64 pixels: frames of all sizes add up. Figures are a self-test's
(`rtcodec.codec.self_test`), later those of the frames that really ran.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rtcodec.engine.batch_curve import BatchCurve
from rtcodec.types import tile_grid

REST_US: Final = 67.0
"""Of a core, for each tile of a stream that is relayed: its video decoder, packets in and out.
# measured: benchmarks/load.json, ingest with an engine that costs nothing, one subscriber each"""

VIEWER_US: Final = 77.0
"""Of a core, for each tile that is encoded for ordinary viewers, before it is known better.
# measured: benchmarks/legacy.json, H.264, the dearer of the two: 4.6 ms for 60 tiles"""

USUAL_FPS: Final = 30.0


def tiles_of(width: int, height: int) -> int:
    """Return the tiles of a frame."""
    rows, columns = tile_grid(width, height)
    return rows * columns


@dataclass(frozen=True, slots=True)
class Clocks:
    """How time is told; microseconds, any origin."""

    wall_us: Callable[[], float]
    core_us: Callable[[], float]
    "Of all cores, for this process."


@dataclass(frozen=True, slots=True)
class TileCosts:
    """What one tile takes, microseconds; of delta frames where the model has them."""

    encode_us: float
    "Of a lane of the engine, symbols to be coded."

    encode_core_us: float
    "Of a core, for the same: the same on a CPU, little with a GPU."

    code_us: float
    "Of a core, for the entropy coder and packets."

    decode_us: float
    "Of a lane, from packets to a picture."


@dataclass(frozen=True, slots=True)
class Aside:
    """What is done beside coding streams, in seconds each second: for ordinary viewers."""

    decode_s: float = 0.0
    "Of a lane of the engine, decoding what was coded elsewhere."

    encode_s: float = 0.0
    "Of a core, encoding pictures as VP8 and H.264."


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much there is, and what a tile takes of it."""

    costs: TileCosts
    lanes: int
    "Calls of the engine at a time."

    cores: int
    batches: Sequence[tuple[int, float]] = ()
    "Points of its `BatchCurve`."

    size: tuple[int, int] = (640, 360)
    "Width and height that it was measured at."

    @property
    def curve(self) -> BatchCurve:
        """What frames cost that run together."""
        return BatchCurve(self.batches)

    def load(
        self,
        tiles_per_s: float,
        *,
        encode_us: float | None = None,
        core_us: float | None = None,
        aside: Aside = Aside(),  # frozen
    ) -> float:
        """
        Return the part that relaying takes of what there is: of lanes or cores, the scarcer.

        Args:
            tiles_per_s: Of all streams, offered.
            encode_us: Of a lane for each tile, if that is better known by now.
            core_us: Of a core for each tile, encoding and entropy coder, likewise.
            aside: What else is done.
        """
        costs = self.costs
        lane_us = costs.encode_us if encode_us is None else encode_us
        if core_us is None:
            core_us = costs.encode_core_us + costs.code_us
        on_cores = min(1.0, costs.encode_core_us / costs.encode_us) if costs.encode_us else 1.0
        lanes_s = tiles_per_s * lane_us / 1e6 + aside.decode_s
        cores_s = tiles_per_s * (core_us + REST_US) / 1e6
        cores_s += on_cores * aside.decode_s + aside.encode_s
        return max(lanes_s / self.lanes, cores_s / self.cores)

    def streams(self, width: int, height: int, fps: float = USUAL_FPS) -> dict[str, float]:
        """Return how many streams fit that are encoded only, decoded only, and relayed."""
        per_s = tiles_of(width, height) * fps / 1e6
        costs = self.costs
        per_core = (costs.encode_core_us + costs.code_us) / self.cores
        return {
            "encode": 1 / (per_s * max(costs.encode_us / self.lanes, per_core)),
            "decode": 1 / (per_s * costs.decode_us / self.lanes),
            "relay": 1 / self.load(per_s * 1e6),
        }
