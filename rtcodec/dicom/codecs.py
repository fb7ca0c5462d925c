"""
Samples of a DICOM data set, frame by frame, whatever their transfer syntax.

Samples that are not compressed are taken as they lie, in all the bits allocated to them. JPEG-LS,
JPEG of 12 bits and lossless, JPEG 2000 and HTJ2K are decoded by imagecodecs, which needs no library
under the GPL; the rest is pydicom's. Colours are never converted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.dicom.codestream import check_stream
from rtcodec.dicom.imagecodecs import decode_into, load_imagecodecs
from rtcodec.errors import ConfigError, InputError

FUNCTIONS: Final = {
    "1.2.840.10008.1.2.4.51": "jpeg8_decode",  # extended, 12 bits
    "1.2.840.10008.1.2.4.57": "jpeg8_decode",
    "1.2.840.10008.1.2.4.70": "jpeg8_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.90": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.91": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.201": "htj2k_decode",
    "1.2.840.10008.1.2.4.202": "htj2k_decode",
    "1.2.840.10008.1.2.4.203": "htj2k_decode",
}
"Transfer syntaxes (PS3.6 A) and what of imagecodecs decodes a frame of them."

_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_RLE: Final = "1.2.840.10008.1.2.5"
_RLE_MOST: Final = 64  # bytes of one: two say that one comes 128 times, PS3.5 G.3.1

_UNDONE_TRANSFORMS: Final = ("YBR_RCT", "YBR_ICT")  # decoders of JPEG 2000 give RGB


@dataclass(frozen=True, slots=True)
class DecodedFrames:
    """Frames and what their samples mean."""

    frames: Sequence[NDArray[Any]]
    "[rows, columns] or [rows, columns, components]."

    photometric: str
    "Photometric interpretation of the samples as decoded."


def decode_frames(
    dataset: Any, syntax: Any, count: int, shape: tuple[int, int, int]
) -> DecodedFrames:
    """
    Decode all frames of a data set.

    Args:
        dataset: pydicom's, its sizes checked.
        syntax: Its transfer syntax.
        count: Frames that it claims.
        shape: Rows, columns and components that it claims.

    Raises:
        InputError: If there are fewer frames, or they are of another size.
        ConfigError: If nothing here decodes the syntax.
    """
    if not syntax.is_transfer_syntax:
        raise InputError(f"its transfer syntax {syntax} is unknown")
    if not syntax.is_encapsulated:
        _check_native(dataset, count, shape)
    if _is_plain(dataset, syntax):
        decoded = _as_it_lies(dataset, count, shape)
    elif str(syntax) in FUNCTIONS:
        decoded = _by_imagecodecs(dataset, FUNCTIONS[str(syntax)], count, shape)
    else:
        _check_encapsulated(dataset, syntax, count, shape)
        decoded = _by_pydicom(dataset, syntax)
    if len(decoded.frames) != count:
        raise InputError(f"says {count} frames, has {len(decoded.frames)}")
    expected = shape if shape[2] > 1 else shape[:2]
    size = int(dataset.BitsAllocated) // 8
    for frame in decoded.frames:
        if frame.shape != expected or frame.dtype.kind not in "iu" or frame.dtype.itemsize != size:
            raise InputError("its frames are not of the size and depth that it says")
    return decoded


def _check_native(dataset: Any, count: int, shape: tuple[int, int, int]) -> None:
    """Refuse samples that are fewer than the header says, before anything is set up for them."""
    needed = count * shape[0] * shape[1] * shape[2] * int(dataset.BitsAllocated) // 8
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        needed = needed * 2 // 3
    have = len(dataset.PixelData)
    if have < needed:
        raise InputError(f"says {count} frames of {needed // count} bytes, has {have} in all")
    if have >= needed + needed // count:
        raise InputError(f"has {have} bytes of samples, says {count} frames of {needed // count}")


def _check_encapsulated(dataset: Any, syntax: Any, count: int, shape: tuple[int, int, int]) -> None:
    """Refuse frames that pydicom's decoders would set up more memory for than they should have."""
    from pydicom.encaps import generate_frames

    if str(syntax) == _RLE:
        needed = count * shape[0] * shape[1] * shape[2] * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) * _RLE_MOST < needed:
            raise InputError(f"says {count} frames, has too few bytes for them")
    elif str(syntax) == _JPEG_BASELINE:
        for data in generate_frames(dataset.PixelData, number_of_frames=count):
            check_stream(data, shape)


def _is_plain(dataset: Any, syntax: Any) -> bool:
    """Say whether samples are little-endian, one after the other."""
    is_whole = dataset.PhotometricInterpretation != "YBR_FULL_422"
    return not syntax.is_encapsulated and syntax.is_little_endian and is_whole


def _as_it_lies(dataset: Any, count: int, shape: tuple[int, int, int]) -> DecodedFrames:
    rows, columns, components = shape
    kind = np.dtype(f"<u{int(dataset.BitsAllocated) // 8}")
    data = np.frombuffer(dataset.PixelData, kind, count * rows * columns * components)
    if components > 1 and dataset.get("PlanarConfiguration"):
        frames = data.reshape(count, components, rows, columns).transpose(0, 2, 3, 1)
    else:
        frames = data.reshape(count, rows, columns, components)
    if components == 1:
        frames = frames[..., 0]
    return DecodedFrames(list(frames), str(dataset.PhotometricInterpretation))


def _by_pydicom(dataset: Any, syntax: Any) -> DecodedFrames:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise InputError("its transfer syntax is unknown, or holds no samples") from None
    if not decoder.is_available:
        raise ConfigError(f"nothing here decodes transfer syntax {syntax}")
    frames, photometric = [], str(dataset.PhotometricInterpretation)
    for frame, meta in decoder.iter_array(dataset, raw=True):
        frames.append(frame)
        photometric = str(meta["photometric_interpretation"])
    if photometric == "YBR_FULL_422":  # decoders repeat what is at every other sample
        photometric = "YBR_FULL"
    return DecodedFrames(frames, photometric)


def _by_imagecodecs(
    dataset: Any, name: str, count: int, shape: tuple[int, int, int]
) -> DecodedFrames:
    from pydicom.encaps import generate_frames

    decode = getattr(load_imagecodecs("such compressed samples need"), name)
    end = (
        b"\xff\xd9" if name == "jpegls_decode" else b""
    )  # CharLS takes a quarter of a minute without one
    kind = np.dtype(f"u{int(dataset.BitsAllocated) // 8}")
    out_shape = shape if shape[2] > 1 else shape[:2]
    signed, bits = int(dataset.PixelRepresentation), int(dataset.BitsStored)
    frames = []
    for data in generate_frames(dataset.PixelData, number_of_frames=count):
        check_stream(data, shape)
        frame = _decoded(decode, data + end, out_shape, kind.itemsize)
        if signed and frame.dtype.kind == "u":  # a code stream may not say that it is
            wide = frame.astype(np.int32) & ((1 << bits) - 1)
            frame = wide - ((wide >> (bits - 1)) << bits)
        frames.append(frame.astype(np.int32).astype(kind))
    photometric = str(dataset.PhotometricInterpretation)
    return DecodedFrames(frames, "RGB" if photometric in _UNDONE_TRANSFORMS else photometric)


def _decoded(decode: Any, data: bytes, shape: tuple[int, ...], size: int) -> NDArray[Any]:
    """
    Decode one frame into memory of the size that the data set says.

    Decoders that are given where to write refuse another depth, too.
    """
    for kind in (f"u{size}", f"i{size}", "u1"):
        decoded: NDArray[Any] = np.empty(shape, kind)
        try:
            decode_into(decode, data, decoded)
        except (ValueError, TypeError):  # of another size or type
            continue
        return decoded
    raise InputError("its frames are not of the size and depth that it says")
