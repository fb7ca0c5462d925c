"""
Exact pictures by others' codecs: JPEG-LS, HTJ2K and JPEG XL in place of tiles (SPEC.md 2.4).

    frame ─▶ code streams ─▶ decoded again, compared ─▶ ExactFrame
                                    └─▶ else JPEG-LS, or the samples

imagecodecs decodes HTJ2K and JPEG XL: from files, never what comes over a network. No I/O.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import COLORS, TOGETHER_KINDS, ExactFrame, FrameKind
from rtcodec.bitstream.exact_format import Component, ExactFormat, common_fits
from rtcodec.codec.exact_streams import bare_jpeg_xl, check_htj2k, check_jpeg_xl
from rtcodec.dicom.imagecodecs import decode_into, load_imagecodecs
from rtcodec.dicom.picture import Picture
from rtcodec.errors import Corrupt
from rtcodec.exact.fallback import decode_otherwise, encode_otherwise
from rtcodec.exact.frame import FrameCoder, Samples, sample_type
from rtcodec.exact.plan import TILE_BITS
from rtcodec.exact.proof import frame_digest

OWN: Final = "rtcodec"
EXACT_CODECS: Final = {
    OWN: FrameKind.TILES,
    "jpeg-ls": FrameKind.JPEG_LS,
    "htj2k": FrameKind.HTJ2K,
    "jpegxl": FrameKind.JPEG_XL,
}
"Kinds of frames by what codecs are called here."

_JPEG_XL_EFFORT: Final = 7  # measured: docs/adr/056
_NAMES: Final = {kind: name for name, kind in EXACT_CODECS.items()}

_Image = NDArray[np.integer]
"[H, W], or [H, W, 3] where colours go together; unsigned, of 8 or 16 bits."


def whole_format(picture: Picture, kind: FrameKind, notes: bytes) -> ExactFormat:
    """
    Return the header of a picture whose frames are of *kind*, not of TILES.

    Raises:
        ConfigError: If what codes them is not installed.
    """
    load_imagecodecs(f"{_NAMES[kind]} needs")
    height, width, n_components = picture.frames[0].shape
    least = -(1 << picture.bits - 1) if picture.signed else 0
    whole = Component(least, (1 << picture.bits) - 1, None, common_fits(0))
    return ExactFormat(
        width, height, len(picture.frames), picture.bits, picture.signed, False, TILE_BITS, 0,
        (whole,) * n_components, notes, is_whole=kind in TOGETHER_KINDS,
    )  # fmt: skip


def encode_whole(header: ExactFormat, frame: Samples, kind: FrameKind) -> ExactFrame:
    """
    Encode a frame, decode it and compare.

    It becomes JPEG-LS or raw samples where it does not come back or takes more than those.

    Args:
        header: As of `whole_format`.
        frame: [rows, columns, components].
        kind: JPEG_LS, HTJ2K or JPEG_XL.

    Raises:
        ConfigError: If what codes it is not installed.
    """
    if kind == FrameKind.JPEG_LS:
        return encode_otherwise(header, frame)
    encode = _encoder(kind)
    images = _images(header, frame)
    try:
        payloads = tuple(encode(image) for image in images)
        coded = ExactFrame(kind, b"", (), payloads)
        is_same = np.array_equal(_decode_streams(header, coded), frame)
    except (Corrupt, ValueError, RuntimeError):  # of a size or depth that it does not take
        return encode_otherwise(header, frame)
    if not is_same or sum(map(len, payloads)) >= sum(image.nbytes for image in images):
        return encode_otherwise(header, frame)
    digest = frame_digest(frame, header.bits, signed=header.signed)
    return ExactFrame(kind, digest, (), payloads)


def decode_frame(header: ExactFormat, coder: FrameCoder, coded: ExactFrame) -> Samples:
    """
    Decode a frame of any kind, not yet proven.

    Args:
        header: Of its file.
        coder: Made of that.
        coded: The frame; not from a network, whose frames `decode_otherwise` is for.

    Raises:
        Corrupt: If a payload is damaged, or an image of another size or depth.
        ConfigError: If what decodes it is not installed.
    """
    if coded.kind == FrameKind.TILES:
        return coder.decode(coded)
    if coded.kind in TOGETHER_KINDS:
        return _decode_streams(header, coded)
    return decode_otherwise(header, coded)


def _images(header: ExactFormat, frame: Samples) -> list[_Image]:
    """Return what code streams hold: samples less the least, colours together."""
    unsigned = (frame.astype(np.int32) - header.least).astype(_image_type(header))
    if unsigned.shape[2] == COLORS:
        return [unsigned]
    return [np.ascontiguousarray(unsigned[..., k]) for k in range(unsigned.shape[2])]


def _decode_streams(header: ExactFormat, coded: ExactFrame) -> Samples:
    name = _NAMES[coded.kind]
    codecs = load_imagecodecs(f"frames of {name} need")
    check, decode = check_htj2k, codecs.htj2k_decode
    if coded.kind == FrameKind.JPEG_XL:
        check, decode = check_jpeg_xl, partial(codecs.jpegxl_decode, numthreads=1)
    n_components = header.channels
    shape = (header.height, header.width, n_components // len(coded.payloads))
    image_type = _image_type(header)
    frame_type = sample_type(header.bits, signed=header.signed)
    frame = np.empty((header.height, header.width, n_components), frame_type)
    for k, payload in enumerate(coded.payloads):
        check(payload, shape, 8 * image_type.itemsize)
        image = np.empty(shape[: 2 if shape[2] == 1 else 3], image_type)
        try:
            decode_into(decode, payload, image)
        except Exception as error:  # whatever a foreign library raises on foreign bytes
            raise Corrupt(f"{name}: damaged ({type(error).__name__})", offset=0) from None
        signed = image.reshape(shape).astype(np.int32) + header.least
        frame[..., k * shape[2] : (k + 1) * shape[2]] = signed
    return frame


def _encoder(kind: FrameKind) -> Callable[[_Image], bytes]:
    codecs: Any = load_imagecodecs(f"{_NAMES[kind]} needs")
    if kind == FrameKind.HTJ2K:
        return lambda image: bytes(codecs.htj2k_encode(image, reversible=True))
    effort = _JPEG_XL_EFFORT
    return lambda image: bare_jpeg_xl(
        bytes(codecs.jpegxl_encode(image, lossless=True, effort=effort, numthreads=1))
    )


def _image_type(header: ExactFormat) -> np.dtype[np.integer]:
    return sample_type(header.bits, signed=False)
