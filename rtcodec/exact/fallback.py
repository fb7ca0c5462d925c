"""
Frames as others code them, for when our own codec failed its proof (SPEC.md 2.4).

JPEG-LS where imagecodecs is installed, else the samples as they are. Both are exact.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactFrame, FrameKind
from rtcodec.bitstream.exact_format import ExactFormat
from rtcodec.errors import ConfigError, Corrupt
from rtcodec.exact.frame import Samples, sample_type
from rtcodec.exact.proof import frame_digest

_END: Final = b"\xff\xd9"  # of an image; CharLS takes a quarter of a minute over some that lack it


def encode_otherwise(header: ExactFormat, frame: Samples) -> ExactFrame:
    """Return *frame* as JPEG-LS if that can be had and comes back the same, else as it is."""
    digest = frame_digest(frame, header.bits, signed=header.signed)
    least = _least(header)
    planes = [
        np.ascontiguousarray(frame[..., k].astype(np.int32) - least).astype("<u2")
        for k in range(frame.shape[-1])
    ]
    codec = _jpeg_ls()
    if codec is not None:
        payloads = tuple(bytes(codec.jpegls_encode(plane)) for plane in planes)
        decoded = (codec.jpegls_decode(payload) for payload in payloads)
        if all(np.array_equal(a, b) for a, b in zip(decoded, planes, strict=True)):
            return ExactFrame(FrameKind.JPEG_LS, digest, (), payloads)
    return ExactFrame(FrameKind.RAW, digest, (), tuple(plane.tobytes() for plane in planes))


def decode_otherwise(header: ExactFormat, coded: ExactFrame) -> Samples:
    """
    Return the samples of a frame that is not of TILES.

    Raises:
        Corrupt: If a payload is not what it says, or of another size.
        ConfigError: If JPEG-LS cannot be decoded here.
    """
    planes = [_decode_plane(header, coded.kind, payload) for payload in coded.payloads]
    samples = np.stack([plane.astype(np.int32) + _least(header) for plane in planes], -1)
    return samples.astype(sample_type(header.bits, signed=header.signed))


def _decode_plane(header: ExactFormat, kind: FrameKind, payload: bytes) -> NDArray[np.uint16]:
    shape = (header.height, header.width)
    if kind == FrameKind.RAW:
        if len(payload) != 2 * shape[0] * shape[1]:
            raise Corrupt(f"{len(payload)} bytes are not {shape} samples", offset=0)
        return np.frombuffer(payload, "<u2").reshape(shape)
    codec = _jpeg_ls()
    if codec is None:
        raise ConfigError("this picture holds JPEG-LS: pip install 'rtcodec[medical]'")
    out = np.empty(shape, np.uint16)
    try:
        codec.jpegls_decode(payload + _END, out=out)
    except Exception:  # whatever a foreign library raises on foreign bytes
        raise Corrupt("the JPEG-LS image is damaged", offset=0) from None
    return out


def _least(header: ExactFormat) -> int:
    return -(1 << (header.bits - 1)) if header.signed else 0


def _jpeg_ls() -> Any:
    """Return imagecodecs, or None."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs
