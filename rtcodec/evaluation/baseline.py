"""
Codecs for still pictures that come with imagecodecs (the extra `medical`), and our progressive one.

    planes --(no colour conversion)--> JPEG 2000, near-lossless JPEG-LS, progressive pictures
    planes --RGB, as for AVIF--> JPEG XL
"""

import numpy as np

from rtcodec.bitstream.progressive_file import read_progressive
from rtcodec.bitstream.sequence import ColorRange
from rtcodec.evaluation.still import Still, picture_of, planes_of_stack, stack_of
from rtcodec.media.color import FULL_BT601, rgb_to_planes
from rtcodec.progressive.picture import decode_picture, encode_picture
from rtcodec.types import Planes

_SIZE_BYTES = 4  # of each of three codestreams, in front of them


class Jpeg2000(Still):
    """JPEG 2000, a codestream for each plane, all aiming at one error."""

    name = "jpeg2000"
    description = "JPEG 2000 (OpenJPEG through imagecodecs), 9/7, a codestream for each plane"
    unit = "dB"
    settings = (24, 28, 32, 36, 40, 44, 48, 52)

    def write(self, planes: Planes, setting: int) -> bytes:
        from imagecodecs import jpeg2k_encode

        parts = [
            jpeg2k_encode(plane, level=setting, codecformat="J2K", reversible=False)
            for plane in (planes.y, planes.u, planes.v)
        ]
        return b"".join(len(part).to_bytes(_SIZE_BYTES, "big") + part for part in parts)

    def read(self, data: bytes, width: int, height: int) -> Planes:
        from imagecodecs import jpeg2k_decode

        planes = []
        for _ in range(3):
            end = _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], "big")
            planes.append(jpeg2k_decode(data[_SIZE_BYTES:end]))
            data = data[end:]
        return Planes(*planes)


class JpegXl(Still):
    """JPEG XL by VarDCT."""

    name = "jpegxl"
    description = "JPEG XL (libjxl through imagecodecs), effort 7; includes a conversion to RGB"
    unit = "quality"
    settings = (10, 25, 40, 55, 70, 80, 90, 95)

    def write(self, planes: Planes, setting: int) -> bytes:
        from imagecodecs import jpegxl_encode

        rgb = np.asarray(picture_of(planes))
        return bytes(jpegxl_encode(rgb, level=setting, effort=7, numthreads=1))

    def read(self, data: bytes, width: int, height: int) -> Planes:
        from imagecodecs import jpegxl_decode

        return rgb_to_planes(jpegxl_decode(data, numthreads=1))


class JpegLsNear(Still):
    """JPEG-LS with a bound on every sample's error."""

    name = "jpegls-near"
    description = "JPEG-LS (CharLS through imagecodecs), near-lossless, planes as one grey picture"
    unit = "near"
    settings = (16, 12, 8, 5, 3, 2, 1)

    def write(self, planes: Planes, setting: int) -> bytes:
        from imagecodecs import jpegls_encode

        return bytes(jpegls_encode(stack_of(planes), level=setting))

    def read(self, data: bytes, width: int, height: int) -> Planes:
        from imagecodecs import jpegls_decode

        return planes_of_stack(jpegls_decode(data), width, height)


class Progressive(Still):
    """Our progressive pictures, whole."""

    name = "progressive"
    description = "rtcodec encode --progressive, whole files"
    unit = "half samples"
    settings = (128, 64, 32, 16, 8, 4, 2, 1)

    def write(self, planes: Planes, setting: int) -> bytes:
        return encode_picture(
            (planes.y, planes.u, planes.v),
            color_range=ColorRange.FULL,
            color_matrix=FULL_BT601.matrix,
            finest_step=setting / 2,
        )

    def read(self, data: bytes, width: int, height: int) -> Planes:
        return Planes(*decode_picture(read_progressive(data)))


BASELINES = (Jpeg2000(), JpegXl(), JpegLsNear(), Progressive())
