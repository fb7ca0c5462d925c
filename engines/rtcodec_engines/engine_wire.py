"""
What is said between a worker and the engine process: fixed structs, one packet each.

    request    Open, Close, Encode, Decode       pixels and symbols are in the slots
    answer     OPENED, DONE, CODED, FAILED

Nothing but numbers and one line of text: whoever reads checks every field. No I/O.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rtcodec.engine.api import EncodeOutput, EngineInfo
from rtcodec.errors import (
    EngineError,
    LocalProtocolError,
    Overloaded,
    RemoteProtocolError,
    RtcodecError,
)
from rtcodec_engines.frame_slot import is_channels_last

MAX_PACKET_BYTES: Final = 16 * 1024
MAX_JOBS: Final = 64

MAX_LANES: Final = 2
"Calls of `encode` that one worker makes at a time: it has a connection more, to decode on."

_OPEN, _CLOSE, _ENCODE, _DECODE = range(1, 5)
_OK, _FAILED = range(2)

_SIZE: Final = struct.Struct("<BII")
_STATE: Final = struct.Struct("<BI")
_HEAD: Final = struct.Struct("<BB")
_ENCODE_JOB: Final = struct.Struct("<IBhhB")
_DECODE_JOB: Final = struct.Struct("<IBhhHHB")
_OUTPUT: Final = struct.Struct("<HHB")

_ERRORS: Final[tuple[type[RtcodecError], ...]] = (EngineError, Overloaded, LocalProtocolError)
"By number; whatever else the engine raises is an EngineError."


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Make room for a stream; the slot's descriptor comes with it."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Forget a stream."""

    state: int


@dataclass(frozen=True, slots=True)
class EncodeEntry:
    """One frame whose planes are in its state's slot."""

    state: int
    qp: int
    reference: int | None
    store: int | None
    reconstruct: bool
    neural: bool
    across_tiles: bool
    thorough: bool


@dataclass(frozen=True, slots=True)
class DecodeEntry:
    """One frame whose z and symbols are in its state's slot."""

    state: int
    qp: int
    reference: int | None
    store: int | None
    z_channels: int
    channels: int
    channels_last: bool
    spatial: bool
    across_tiles: bool


@dataclass(frozen=True, slots=True)
class CodedEntry:
    """How the integers of one frame lie in its slot."""

    z_channels: int
    channels: int
    symbols_last: bool
    indices_last: bool
    is_delta: bool
    has_picture: bool
    is_spatial: bool
    across_tiles: bool
    has_copies: bool

    @classmethod
    def of(cls, output: EncodeOutput) -> "CodedEntry":
        """Describe what an engine returned."""
        return cls(
            len(output.z),
            len(output.symbols),
            is_channels_last(output.symbols),
            is_channels_last(output.indices),
            output.is_delta,
            output.reconstruction is not None,
            output.is_spatial,
            output.across_tiles,
            output.has_copies,
        )


Request = OpenRequest | CloseRequest | list[EncodeEntry] | list[DecodeEntry]


def write_request(request: Request) -> bytes:
    """Return a request as bytes; a list holds at least one entry."""
    if isinstance(request, OpenRequest):
        return _SIZE.pack(_OPEN, request.width, request.height)
    if isinstance(request, CloseRequest):
        return _STATE.pack(_CLOSE, request.state)
    kind = _ENCODE if isinstance(request[0], EncodeEntry) else _DECODE
    return _HEAD.pack(kind, len(request)) + b"".join(map(_write_entry, request))


def read_request(data: bytes) -> Request:
    """
    Return a request.

    Raises:
        RemoteProtocolError: If it is none.
    """
    try:
        kind = data[0]
        if kind == _OPEN:
            return OpenRequest(*_SIZE.unpack(data)[1:])
        if kind == _CLOSE:
            return CloseRequest(_STATE.unpack(data)[1])
        _, count = _HEAD.unpack_from(data)
        form = {_ENCODE: _ENCODE_JOB, _DECODE: _DECODE_JOB}[kind]
        if not 0 < count <= MAX_JOBS or len(data) != _HEAD.size + count * form.size:
            raise RemoteProtocolError(f"a request for {count} frames in {len(data)} bytes")
        entries = list(form.iter_unpack(data[_HEAD.size :]))
    except (IndexError, KeyError, struct.error):
        raise RemoteProtocolError("a request is malformed") from None
    if kind == _ENCODE:
        return [
            EncodeEntry(state, qp, _read_slot(reference), _read_slot(store), *_bits(flags, 4))
            for state, qp, reference, store, flags in entries
        ]
    return [
        DecodeEntry(
            state, qp, _read_slot(reference), _read_slot(store), z, channels, *_bits(flags, 3)
        )
        for state, qp, reference, store, z, channels, flags in entries
    ]


def write_opened(state: int) -> bytes:
    """Return the answer to `OpenRequest`."""
    return _STATE.pack(_OK, state)


def write_done() -> bytes:
    """Return the answer to what has no other: closed, decoded."""
    return bytes([_OK])


def write_coded(outputs: Sequence[CodedEntry]) -> bytes:
    """Return the answer to frames that were encoded."""
    return bytes([_OK]) + b"".join(
        _OUTPUT.pack(
            entry.z_channels,
            entry.channels,
            entry.symbols_last
            | entry.indices_last << 1
            | entry.is_delta << 2
            | entry.has_picture << 3
            | entry.is_spatial << 4
            | entry.across_tiles << 5
            | entry.has_copies << 6,
        )
        for entry in outputs
    )


def write_failed(error: Exception) -> bytes:
    """Return the answer that something failed."""
    number = _ERRORS.index(type(error)) if type(error) in _ERRORS else 0
    text = " ".join(f"{error}".split()) or type(error).__name__
    return bytes([_FAILED, number]) + text.encode()[:500]


def check_answer(data: bytes) -> bytes:
    """
    Return what follows in an answer that all went well.

    Raises:
        EngineError, Overloaded, LocalProtocolError: As the engine did.
        RemoteProtocolError: If it is no answer.
    """
    if data[:1] == bytes([_OK]):
        return data[1:]
    if len(data) < 2 or data[0] != _FAILED or data[1] >= len(_ERRORS):
        raise RemoteProtocolError("an answer of the engine is malformed")
    raise _ERRORS[data[1]](data[2:].decode(errors="replace"))


def read_opened(rest: bytes) -> int:
    """Return the state that was opened."""
    if len(rest) != 4:
        raise RemoteProtocolError("an answer of the engine is malformed")
    return int.from_bytes(rest, "little")


def read_coded(rest: bytes, n_frames: int) -> list[CodedEntry]:
    """Return how the integers lie of frames that were encoded."""
    if len(rest) != n_frames * _OUTPUT.size:
        raise RemoteProtocolError(f"an answer for {n_frames} frames in {len(rest)} bytes")
    return [
        CodedEntry(z, channels, *_bits(flags, 7))
        for z, channels, flags in _OUTPUT.iter_unpack(rest)
    ]


def write_info(info: EngineInfo) -> dict[str, Any]:
    """Return what an engine runs as JSON values."""
    return {**asdict(info), "model_id": info.model_id.hex(), "versions": dict(info.versions)}


def read_info(about: Mapping[str, Any]) -> EngineInfo:
    """
    Return what an engine runs.

    Raises:
        RemoteProtocolError: If that is not what it says.
    """
    try:
        batched = about["batched"] is True
        lanes = min(max(1, int(about["lanes"])), MAX_LANES)
        return EngineInfo(
            name=str(about["name"]),
            device=str(about["device"]),
            precision=str(about["precision"]),
            model=str(about["model"]),
            model_id=bytes.fromhex(about["model_id"]),
            latent_channels=int(about["latent_channels"]),
            hyper_channels=int(about["hyper_channels"]),
            versions={str(name): str(version) for name, version in about["versions"].items()},
            references=int(about["references"]),
            lanes=lanes if batched else 1,  # what else there is, workers share
            batched=batched,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RemoteProtocolError("an engine does not say what it runs") from None


def _write_entry(entry: EncodeEntry | DecodeEntry) -> bytes:
    head = (entry.state, entry.qp, _write_slot(entry.reference), _write_slot(entry.store))
    if isinstance(entry, EncodeEntry):
        flags = entry.reconstruct | entry.neural << 1
        return _ENCODE_JOB.pack(*head, flags | entry.across_tiles << 2 | entry.thorough << 3)
    flags = entry.channels_last | entry.spatial << 1 | entry.across_tiles << 2
    return _DECODE_JOB.pack(*head, entry.z_channels, entry.channels, flags)


def _bits(flags: int, count: int) -> tuple[bool, ...]:
    return tuple(bool(flags >> bit & 1) for bit in range(count))


def _write_slot(slot: int | None) -> int:
    return -1 if slot is None else slot


def _read_slot(slot: int) -> int | None:
    return None if slot < 0 else slot
