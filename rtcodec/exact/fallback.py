"""
Frames as others code them, for when our own codec failed its proof (SPEC.md 2.4).

JPEG-LS where imagecodecs is installed, else the samples as they are. Both are exact, and both are
decoded by our own code: what comes over a network is not for foreign libraries.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactFrame, FrameKind
from rtcodec.bitstream.exact_format import ExactFormat
from rtcodec.errors import Corrupt, Unsupported
from rtcodec.exact.frame import Samples, sample_type
from rtcodec.exact.native import decode_jpeg_ls
from rtcodec.exact.proof import frame_digest


def encode_otherwise(header: ExactFormat, frame: Samples) -> ExactFrame:
    """
    Return *frame* as JPEG-LS or as it is.

    As it is where JPEG-LS cannot be had, does not come back the same or takes more: readers bound
    payloads by the samples, which the heads of JPEG-LS know nothing of.
    """
    digest = frame_digest(frame, header.bits, signed=header.signed)
    planes = [
        np.ascontiguousarray(frame[..., k].astype(np.int32) - header.least).astype("<u2")
        for k in range(frame.shape[-1])
    ]
    codec = _jpeg_ls()
    if codec is not None:
        payloads = tuple(bytes(codec.jpegls_encode(plane)) for plane in planes)
        decoded = (decode_jpeg_ls(payload, *frame.shape[:2]) for payload in payloads)
        is_less = sum(map(len, payloads)) < sum(plane.nbytes for plane in planes)
        if is_less and all(np.array_equal(a, b) for a, b in zip(decoded, planes, strict=True)):
            return ExactFrame(FrameKind.JPEG_LS, digest, (), payloads)
    return ExactFrame(FrameKind.RAW, digest, (), tuple(plane.tobytes() for plane in planes))


def decode_otherwise(header: ExactFormat, coded: ExactFrame) -> Samples:
    """
    Return the samples of a frame of JPEG_LS or RAW.

    Raises:
        Corrupt: If a payload is not what it says, or of another size.
        Unsupported: If the frame is of another kind: see `rtcodec.codec.exact_codecs`.
    """
    if coded.kind not in (FrameKind.JPEG_LS, FrameKind.RAW):
        raise Unsupported(f"frames of {coded.kind.name} are decoded from files only", offset=0)
    planes = [_decode_plane(header, coded.kind, payload) for payload in coded.payloads]
    samples = np.stack([plane.astype(np.int32) + header.least for plane in planes], -1)
    return samples.astype(sample_type(header.bits, signed=header.signed))


def _decode_plane(header: ExactFormat, kind: FrameKind, payload: bytes) -> NDArray[np.uint16]:
    shape = (header.height, header.width)
    if kind == FrameKind.RAW:
        if len(payload) != 2 * shape[0] * shape[1]:
            raise Corrupt(f"{len(payload)} bytes are not {shape} samples", offset=0)
        return np.frombuffer(payload, "<u2").reshape(shape)
    return decode_jpeg_ls(payload, *shape)


def _jpeg_ls() -> Any:
    """Return imagecodecs, or None."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs
