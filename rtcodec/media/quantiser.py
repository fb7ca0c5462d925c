"""
How coarsely a file or a frame was quantised, where it says so.

Steps are those of an orthonormal transform of 8-bit samples, so that the error of a coefficient
that was rounded is half of one at most, whatever the codec.
"""

from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.sidedata.encparams import VideoEncParams
from numpy.typing import NDArray

JPEG_COEFFICIENTS: Final = 64

EXPORT_QUANTISER: Final = {"export_side_data": "venc_params"}
"Options of an H.264 decoder that lets `h264_step` know."

_JPEG_MODES: Final = ("L", "RGB")
"What Pillow makes of gray and of YCbCr; CMYK has other planes."

_H264_FINEST_STEP: Final = 0.625  # H.264 8.5.9: doubles with every sixth qp


def jpeg_steps(path: Path) -> NDArray[np.float32] | None:
    """
    Return the steps of a JPEG file of gray or YCbCr, None for any other file.

    Returns:
        float32 [128]: luma's 64, row by row from low to high frequencies, then chroma's, which are
        luma's again where the file has one table.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            tables: Any = getattr(image, "quantization", None)
            if image.format != "JPEG" or image.mode not in _JPEG_MODES or not tables:
                return None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    luma, chroma = tables[min(tables)], tables[max(tables)]
    steps = np.array([*luma, *chroma], np.float32)
    fits = steps.shape == (2 * JPEG_COEFFICIENTS,) and bool((steps > 0).all())
    return steps if fits else None


def h264_step(frame: av.VideoFrame) -> float | None:
    """Return the mean step of a frame of a decoder with `EXPORT_QUANTISER`; None if unknown."""
    for data in frame.side_data:
        if isinstance(data, VideoEncParams):
            qp = np.asarray(data.qp_map(), np.float64)
            return float((_H264_FINEST_STEP * 2.0 ** (qp / 6)).mean())
    return None
