"""
The models of the vectors, found by name.

`null` (block means), `random` (random tables), `exact` and `linear` (frames without networks) lie
beside the vectors, so that an outside decoder needs nothing else; any other name is a model that is
installed with the package, painted by whatever engine this machine has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from rtcodec.bitstream.packet import PacketHeader
from rtcodec.bundle import Bundle, find_bundle, integer_tensors
from rtcodec.conformance.dice import Dice
from rtcodec.conformance.exact import EXACT, LINEAR, ExactPainter, exact_bundle
from rtcodec.engine.api import DecodeJob, EngineInfo, StateId
from rtcodec.engine.loader import AUTO, open_engine
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.entropy.cdf import EntropyTables, tables_from_histograms, y_tables_from_histograms
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.types import Planes

NULL = "null"
RANDOM = "random"
CARRIED = (NULL, RANDOM, EXACT, LINEAR)
"Models that lie beside the vectors."

RANDOM_CHANNELS = 10
RANDOM_HYPER_CHANNELS = 6
_HIDDEN = (8, 12)  # H1 and H2 of the random scale network


class Painter(Protocol):
    """What of an `Engine` it takes to paint."""

    @property
    def info(self) -> EngineInfo:
        """As of an engine."""

    def open_state(self, width: int, height: int) -> StateId:
        """Make room for one stream."""

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures."""


@dataclass(frozen=True, slots=True)
class VectorModel:
    """A model and what paints its pictures."""

    bundle: Bundle

    engine: Painter | None
    "None where the model has no pictures."

    exact: bool
    "Whether pictures are the same to the last bit everywhere."


def random_bundle() -> Bundle:
    """Return a small model of random tables and a random scale network, without pictures."""
    dice = Dice("random model 1")
    radius = dice.integers(0, 127, 64)
    side = np.abs(np.arange(-127, 128))
    counts = dice.integers(1, 4000, 64, side.size) // (1 + side)
    histograms = np.where(side <= radius[:, None], counts + 1, 0)
    tables = EntropyTables(
        y_tables_from_histograms(histograms),
        tables_from_histograms(dice.integers(1, 1000, 64, RANDOM_HYPER_CHANNELS, 31)),
    )
    h1, h2 = _HIDDEN
    net = ScaleNet(
        w1=dice.integers(-127, 127, 4 * h1, RANDOM_HYPER_CHANNELS).astype(np.int8),
        b1=dice.integers(-2000, 4000, 64, 4 * h1).astype(np.int32),
        s1=4,
        w2=dice.integers(-127, 127, 4 * h2, h1).astype(np.int8),
        b2=dice.integers(-20000, 30000, 4 * h2).astype(np.int32),
        s2=8,
        w3=dice.integers(-40, 40, RANDOM_CHANNELS, h2).astype(np.int8),
        b3=dice.integers(-8, 24, 64, RANDOM_CHANNELS).astype(np.int32),
        s3=8,
    )
    return Bundle(
        name=RANDOM,
        dims={"M": RANDOM_CHANNELS, "Cz": RANDOM_HYPER_CHANNELS},
        tensors={**integer_tensors(tables, net), "gains": np.zeros((64, 1), np.float32)},
        card={"about": "random tables for conformance vectors; paints nothing"},
    )


def write_models(folder: Path) -> None:
    """Write the models that vectors carry with them into *folder*."""
    for bundle in (null_bundle(), random_bundle(), exact_bundle(), exact_bundle(LINEAR)):
        bundle.save(folder / f"{bundle.name}.rtcm")


@lru_cache(maxsize=8)
def vector_model(name: str, folder: Path, engine: str = AUTO) -> VectorModel:
    """
    Load a model once.

    Args:
        name: One of `CARRIED`, or that of an installed model.
        folder: Where `CARRIED` lie.
        engine: What paints the pictures of an installed model.

    Raises:
        ConfigError: If there is no such model, or no engine for it.
    """
    if name == NULL:
        return VectorModel(Bundle.load(folder / f"{NULL}.rtcm"), NullEngine(), exact=True)
    if name == RANDOM:
        return VectorModel(Bundle.load(folder / f"{RANDOM}.rtcm"), None, exact=True)
    if name in (EXACT, LINEAR):
        bundle = Bundle.load(folder / f"{name}.rtcm")
        return VectorModel(bundle, ExactPainter(bundle), exact=True)
    bundle = find_bundle(name)
    return VectorModel(bundle, open_engine(engine, bundle), exact=False)


def part_of(model: Bundle, header: PacketHeader) -> Bundle | None:
    """What of a model a frame is coded with; None if it has nothing for such frames. # spec 9.1"""
    if header.spatial:
        return model.spatial
    return model if header.reference is None else model.delta or model
