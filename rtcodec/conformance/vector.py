"""
A conformance vector on disk, and the check of one.

    vectors/<name>/README        one line: what it exercises, and the spec's section
                   input.rtc     the stream
                   expect.json   the model's name and what `observe` must say
                   pixels.npz    pictures to be near to; only of neural models
    models/null.rtcm random.rtcm exact.rtcm
    README.md                    the table of all vectors

The file form is strict both ways: a difference is anything missing, anything
more, anything else.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtcodec.conformance.model import vector_model
from rtcodec.conformance.observe import FAST, Coder, Observation, observe
from rtcodec.errors import InputError
from rtcodec.types import Planes

MALFORMED = "malformed"
"Folder of the vectors that end in an error."

MODELS = "models"


@dataclass(frozen=True, slots=True)
class Vector:
    """One folder of files."""

    folder: Path

    @property
    def readme(self) -> str:
        """What it exercises."""
        return (self.folder / "README").read_text().strip()

    @property
    def data(self) -> bytes:
        """The stream."""
        return (self.folder / "input.rtc").read_bytes()

    @property
    def expectation(self) -> dict[str, Any]:
        """What must be made of it; `model` and, for neural ones, `pixels` besides a report."""
        expectation: dict[str, Any] = json.loads((self.folder / "expect.json").read_text())
        return expectation

    @property
    def pictures(self) -> list[Planes]:
        """Pictures to be near to, if there are any."""
        path = self.folder / "pixels.npz"
        return read_pictures(path) if path.exists() else []


def find_vectors(root: Path) -> dict[str, Vector]:
    """
    Return all vectors below *root*, by name such as `malformed/empty`.

    Raises:
        InputError: If there are none.
    """
    folder = root / "vectors"
    found = {
        path.parent.relative_to(folder).as_posix(): Vector(path.parent)
        for path in sorted(folder.rglob("input.rtc"))
    }
    if not found:
        raise InputError(f"{root}: no vectors here")
    return found


def check_vector(vector: Vector, root: Path, *, coder: Coder = FAST) -> list[str]:
    """
    Say how this decoder differs from a vector's expectation.

    Args:
        vector: Which one.
        root: Where the models lie.
        coder: Which implementation of the integers to check.

    Returns:
        One line for each difference; empty if it conforms.
    """
    expectation = vector.expectation
    model = vector_model(expectation.get("model", ""), root / MODELS)
    return compare(expectation, observe(vector.data, model, coder=coder), vector.pictures)


def compare(expectation: dict[str, Any], seen: Observation, pictures: list[Planes]) -> list[str]:
    """
    List every difference between an expectation and an observation.

    Args:
        expectation: `model`, the report's fields, and `pixels` for neural models.
        seen: What the decoder made of the stream.
        pictures: To be near to, for neural models.
    """
    expected = {key: value for key, value in expectation.items() if key not in ("model", "pixels")}
    differences = _differences(expected, seen.report, "")
    tolerance = expectation.get("pixels")
    if tolerance is not None or pictures:
        differences += _far(tolerance or {}, seen.pictures, pictures)
    return differences


def write_pictures(path: Path, pictures: list[Planes]) -> None:
    """Write pictures as arrays `y0 u0 v0 y1 ...`."""
    arrays = {
        f"{name}{number}": getattr(planes, name)
        for number, planes in enumerate(pictures)
        for name in "yuv"
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_pictures(path: Path) -> list[Planes]:
    """Read what `write_pictures` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return [
            Planes(arrays[f"y{n}"], arrays[f"u{n}"], arrays[f"v{n}"])
            for n in range(len(arrays.files) // 3)
        ]


def _differences(expected: Any, seen: Any, path: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(seen, dict):
        lines = []
        for key in sorted({*expected, *seen}):
            where = f"{path}.{key}" if path else key
            if key not in seen:
                lines.append(f"{where}: expected but not there")
            elif key not in expected:
                lines.append(f"{where}: not expected, is {seen[key]!r}")
            else:
                lines += _differences(expected[key], seen[key], where)
        return lines
    if isinstance(expected, list) and isinstance(seen, list) and len(expected) == len(seen):
        return [
            line
            for number, (one, other) in enumerate(zip(expected, seen, strict=True))
            for line in _differences(one, other, f"{path}[{number}]")
        ]
    if type(expected) is type(seen) and expected == seen:
        return []
    if isinstance(expected, list) and isinstance(seen, list):
        return [f"{path}: expected {len(expected)} items, there are {len(seen)}"]
    return [f"{path}: expected {expected!r}, is {seen!r}"]


def _far(tolerance: dict[str, Any], seen: list[Planes], pictures: list[Planes]) -> list[str]:
    """Say which pictures are further from the stored ones than the tolerance allows."""
    if len(seen) != len(pictures):
        return [f"pixels: expected {len(pictures)} pictures, there are {len(seen)}"]
    lines = []
    for number, (one, other) in enumerate(zip(pictures, seen, strict=True)):
        for name in "yuv":
            wanted, got = getattr(one, name), getattr(other, name)
            if wanted.shape != got.shape:
                lines.append(f"pixels[{number}].{name}: expected {wanted.shape}, is {got.shape}")
                continue
            error = wanted.astype(np.int32) - got
            rms, peak = math.sqrt(float(np.mean(error**2))), int(np.abs(error).max())
            for what, value in (("rms_max", rms), ("peak_max", peak)):
                if not value <= tolerance.get(what, -1):
                    lines.append(
                        f"pixels[{number}].{name}: {what} {tolerance.get(what)}, is {value:.4f}"
                    )
    return lines
