"""
What an engine is: the device that runs the float networks, and nothing else.

    planes --encode--> z, symbols, indices --> (entropy coder, packets)
    z, symbols --decode--> planes

An engine never sees bytes and never decides how bytes are read: scale indices are exact integers,
the same on every engine. Its floats may only move pixels.

Dims: `M` latent channels, `Cz` hyper-latent channels, `Th Tw` rows and columns of 64x64 tiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

import numpy as np
from numpy.typing import NDArray

from rtcodec.types import QP_MAX, Planes

StateId = NewType("StateId", int)
"Names what an engine keeps between the frames of one stream, in one direction."


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What runs, on what, with which model."""

    name: str
    "`openvino`, `onnxruntime`, `null` and so on."

    device: str
    "The device in words, such as the model of the CPU."

    precision: str
    "Of the networks, such as `f32`, `bf16+f32`, `f32+int8` or `integer`."

    model: str
    "Name of the bundle."

    model_id: bytes
    "SHA-256 of the bundle's content, 32 bytes."

    latent_channels: int
    "M."

    hyper_channels: int
    "Cz."

    versions: Mapping[str, str] = field(default_factory=dict)
    "Versions of the libraries underneath."

    references: int = 0
    "Frames of one stream that it can keep to predict from; 0 for intra only."

    lanes: int = 1
    "Calls of `encode` that may go on at a time, because more are done than one after the other."

    batched: bool = False
    "Whether frames of one call run together; else one after the other."


@dataclass(frozen=True, slots=True, eq=False)
class EncodeJob:
    """One frame to turn into symbols."""

    state: StateId

    planes: Planes
    "Of the size that the state was opened for. Read before `encode` returns, never kept."

    qp: int
    "0 (finest) to 63."

    reference: int | None = None
    "Slot of the stored frame to predict from; None codes the frame alone."

    store: int | None = None
    "Slot to keep this frame in as a later reference; None keeps nothing."

    reconstruct: bool = False
    "Whether to return the picture that a decoder will see."

    neural: bool = False
    "Whether a frame alone is coded by the networks, where it could be predicted from itself."

    across_tiles: bool = False
    "Whether a frame predicted from itself may be so across tiles: where it travels as one packet."

    thorough: bool = False
    "Whether time matters less than bits: for files."

    def __post_init__(self) -> None:
        """Refuse a qp outside 0..63."""
        _check_qp(self.qp)


@dataclass(frozen=True, slots=True, eq=False)
class EncodeOutput:
    """One frame as integers, ready for the entropy coder."""

    z: NDArray[np.int8]
    "Hyper-latents, int8 [Cz, Th, Tw], -15 to 15."

    symbols: NDArray[np.int16]
    """int16 [M, 4 Th, 4 Tw] in any memory layout; 0 wherever the index is 0. Of a delta frame the
    last channels are its motion."""

    indices: NDArray[np.uint8]
    """Scale indices, uint8 [M, 4 Th, 4 Tw] in any memory layout, 0 (not coded) to 63; of a delta
    frame's tiles of which nothing is said, anything."""

    reconstruction: Planes | None = None
    "What a decoder shows, if it was asked for."

    is_delta: bool = False
    """Whether it is predicted from another frame. A job with a reference may come back without:
    where a frame shows another scene it is coded alone."""

    is_spatial: bool = False
    "Whether it is predicted from itself, part by part; else a frame alone is a network's."

    across_tiles: bool = False
    "Whether it is so across tiles, and whole or nothing."

    has_copies: bool = False
    """Whether parts are copies: eight channels more, of `within.Copies`, follow those of the model
    in *symbols*, and zeros in *indices*."""

    coded: NDArray[np.bool_] | None = None
    """Of a delta frame, the tiles of which anything is said, bool [Th * Tw]; None where the engine
    did not note it."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodeJob:
    """One frame to turn back into a picture."""

    state: StateId

    z: NDArray[np.int8]
    "int8 [Cz, Th, Tw]; zeros where a tile is missing."

    symbols: NDArray[np.int16]
    """int16 [M, 4 Th, 4 Tw] in any memory layout; zeros where a tile is missing. Of a spatial frame
    with copies eight channels more."""

    qp: int
    "0 to 63, as it was coded."

    width: int
    height: int
    "Size of the picture in pixels, as the state was opened for."

    reference: int | None = None
    store: int | None = None
    "As in `EncodeJob`."

    spatial: bool = False
    across_tiles: bool = False
    "As `EncodeOutput.is_spatial` and `across_tiles`."

    def __post_init__(self) -> None:
        """Refuse a qp outside 0..63."""
        _check_qp(self.qp)


class Engine(Protocol):
    """
    Runs one model. Every method may be called from any thread and blocks until done.

    Jobs of one call may be of different streams, sizes and qp; results come in their order. Two
    jobs of one state are never in flight together: the scheduler sees to that.
    """

    info: EngineInfo

    def open_state(self, width: int, height: int) -> StateId:
        """
        Make room for one stream and get ready for its size; may take a second.

        Raises:
            Overloaded: If there is no room.
        """

    def close_state(self, state: StateId) -> None:
        """Forget a stream; a state that is not open is ignored."""

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """
        Turn frames into symbols.

        Raises:
            EngineError: If the device failed.
        """

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """
        Turn symbols into pictures. Any integers in range give some picture.

        Raises:
            EngineError: If the device failed.
        """

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """
        Return the scale indices of z int8 [Cz, Th, Tw] as uint8 [M, 4 Th, 4 Tw].

        Exact integers, identical on every engine; each tile depends on its own z only.
        """

    def close(self) -> None:
        """Let go of the device. Nothing else may be called afterwards."""


def _check_qp(qp: int) -> None:
    if not 0 <= qp <= QP_MAX:
        raise ValueError(f"qp {qp} is outside 0 to {QP_MAX}")
