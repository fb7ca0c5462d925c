"""The specification says enough: a decoder written from it alone reads every vector."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from rtcodec.bundle import WEIGHTS_DIR
from rtcodec.conformance.model import CARRIED
from rtcodec.conformance.vector import MODELS, find_vectors
from support.spec_decoder import SPATIAL, Model, decode

ROOT = Path(__file__).parent
VECTORS = find_vectors(ROOT)
LARGE = ("widest", "tallest")


@lru_cache
def model(name: str) -> Model:
    return Model((ROOT / MODELS if name in CARRIED else WEIGHTS_DIR) / f"{name}.rtcm")


def told(report: dict[str, Any]) -> dict[str, Any]:
    """What the second decoder has an opinion on: of pictures, those of spatial frames."""
    packets = ("offset", "type", "check", "z_sha256", "symbols_sha256", "body_sha256", "error")
    return {
        "error": report["error"],
        "units": [
            {
                "offset": unit["offset"],
                "pts": unit["pts"],
                "packets": [
                    {key: packet[key] for key in packets if key in packet}
                    for packet in unit["packets"]
                ],
                "pixels": unit["pixels"] if is_spatial(unit) and "pixels" in unit else None,
            }
            for unit in report["units"]
        ],
    }


def is_spatial(unit: dict[str, Any]) -> bool:
    """Whether it is painted by the second decoder too, where its model can be."""
    return any(packet["type"] in SPATIAL and "error" not in packet for packet in unit["packets"])


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in LARGE])
def test_a_decoder_made_from_the_text_agrees(name: str) -> None:
    expectation = VECTORS[name].expectation
    report = decode(VECTORS[name].data, model(expectation["model"]))
    assert told(report) == told(expectation)
