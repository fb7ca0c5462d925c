"""
What is done to decoded pictures, as it is shipped: weights with a card, and a network's graph.

    restorer.jpeg.safetensors        a network's weights, shape, card; hashes, also of the graph
    restorer.jpeg.onnx               what runtimes run
    restorer.calls.safetensors       weights of filters, which need no graph
    restorer.perceptual.safetensors  others, for what screens show of our own codec

Needs no torch. The hashes are checked each time one is loaded.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as write_safetensors

from rtcodec.bundle import WEIGHTS_DIR
from rtcodec.errors import ConfigError

JPEG: Final = "jpeg"
"For stills that were JPEG files."

CALLS: Final = "calls"
"Filters, for VP8 and H.264 at the rates of calls."

PERCEPTUAL: Final = "perceptual"
"Filters, for what screens show of our own codec."

LEVELS: Final = 128
"Of a picture: of luma's 64 coefficients, row by row, then of chroma's 64."

FORMAT: Final = 1
_PREFIX: Final = "restorer"
_METADATA_KEY: Final = "rtcodec"


@dataclass(frozen=True)
class RestorerModel:
    """One network, or one set of filters."""

    name: str
    shape: Mapping[str, float]
    "Of a network: see `rtcodec.models.restorer_shape.Shape`."

    tensors: Mapping[str, NDArray[Any]]
    "Float32 by state-dict name, or int16 of filters."

    graph: bytes
    """ONNX: uint8 planes and float32 levels [N, 128, 1, 1] to uint8 planes; any size. Empty where
    there is none."""

    card: Mapping[str, Any] = field(default_factory=dict)
    "What it was trained on and how it scored; free JSON."

    @property
    def model_id(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        digest = hashlib.sha256()
        for key in sorted(self.tensors):
            digest.update(key.encode())
            digest.update(np.ascontiguousarray(self.tensors[key]).tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write both files to an existing folder."""
        metadata = {
            "format": FORMAT,
            "shape": dict(self.shape),
            "weights_sha256": self.model_id,
            "graph_sha256": hashlib.sha256(self.graph).hexdigest(),
            "card": dict(self.card),
        }
        weights = write_safetensors(
            dict(self.tensors), metadata={_METADATA_KEY: json.dumps(metadata, sort_keys=True)}
        )
        if self.graph:
            _path(folder, self.name, "onnx").write_bytes(self.graph)
        _path(folder, self.name, "safetensors").write_bytes(weights)


def load_restorer_model(name: str, folder: Path = WEIGHTS_DIR) -> RestorerModel:
    """
    Read what `RestorerModel.save` wrote.

    Args:
        name: `JPEG`, `CALLS`, `PERCEPTUAL`, or one of *folder*'s own.
        folder: Where the files lie.

    Raises:
        ConfigError: If a file is missing, no such file, or altered.
    """
    path, graph_path = _path(folder, name, "safetensors"), _path(folder, name, "onnx")
    try:
        graph = graph_path.read_bytes() if graph_path.exists() else b""
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})[_METADATA_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if metadata["format"] != FORMAT:
            raise ConfigError(f"{path}: format {metadata['format']} is not known here")
        model = RestorerModel(name, metadata["shape"], tensors, graph, metadata["card"])
        hashes = metadata["weights_sha256"], metadata["graph_sha256"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path}: not a restorer: {reason}") from None
    if hashes[0] != model.model_id:
        raise ConfigError(f"{path}: damaged: its weights do not match their hash")
    if hashes[1] != hashlib.sha256(graph).hexdigest():
        raise ConfigError(f"{graph_path}: not the graph that restorer {name} was exported with")
    return model


def _path(folder: Path, name: str, suffix: str) -> Path:
    return folder / f"{_PREFIX}.{name}.{suffix}"
