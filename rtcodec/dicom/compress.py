"""
Frames to code streams of DICOM's lossless transfer syntaxes, by imagecodecs.

Each is decoded again and compared before it is given out. Nothing here reads or writes files.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.dicom.imagecodecs import load_imagecodecs
from rtcodec.errors import InputError

SYNTAXES: Final = {
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "htj2k": "1.2.840.10008.1.2.4.201",
}
"Transfer syntaxes by what they are called here; PS3.6 A. pydicom 3 knows none of JPEG XL."

_Encode = Callable[..., bytes | bytearray]
_Decode = Callable[..., NDArray[Any]]


def compress_frames(
    frames: Sequence[NDArray[np.integer]], name: str, photometric: str
) -> tuple[list[bytes], str]:
    """
    Return a code stream for each frame, and the photometric interpretation of those.

    They have as many bits as samples are stored in, 8 or 16, and those of JPEG-LS no sign: samples
    below 0 are their two's complement.

    Args:
        frames: [rows, columns, components], of 8 or 16 bits.
        name: One of `SYNTAXES`.
        photometric: Interpretation of *frames*.

    Raises:
        InputError: If the syntax cannot hold such samples, or does not bring them back.
        ConfigError: If imagecodecs is not installed.
    """
    imagecodecs = load_imagecodecs(f"{name} needs")
    components, kind = frames[0].shape[2], frames[0].dtype
    if name == "htj2k" and components > 1:
        if photometric != "RGB":
            raise InputError("htj2k holds colours of RGB only")
        photometric = "YBR_RCT"  # what the codec makes of them, PS3.5 8.2.4
    codecs: dict[str, tuple[_Encode, _Decode]] = {
        "jpeg-ls": (imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        "htj2k": (partial(imagecodecs.htj2k_encode, reversible=True), imagecodecs.htj2k_decode),
    }
    encode, decode = codecs[name]
    streams = []
    for frame in frames:
        plane = np.ascontiguousarray(frame if components > 1 else frame[..., 0])
        given = plane.view(f"u{kind.itemsize}") if name == "jpeg-ls" else plane
        stream = _compressed(encode, decode, given)
        if stream is None:
            raise InputError(f"{name} does not bring these samples back")
        streams.append(stream)
    return streams, photometric


def _compressed(encode: _Encode, decode: _Decode, samples: NDArray[np.integer]) -> bytes | None:
    try:
        stream = bytes(encode(samples))
        return stream if np.array_equal(decode(stream), samples) else None
    except (ValueError, RuntimeError):  # sizes, numbers of components that it does not take
        return None
