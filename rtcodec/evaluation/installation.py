"""What figures depend on besides the settings: versions of libraries, the machine."""

import platform
from importlib.metadata import PackageNotFoundError, version

import av
import numpy as np
from PIL import features

from rtcodec.evaluation.codec import Codec
from rtcodec.evaluation.motion import Motion
from rtcodec.evaluation.still import Still

_FFMPEG = ("av", "libavcodec")
_PILLOW = ("pillow", "libjpeg", "libjpeg_turbo", "avif")


def versions() -> dict[str, str]:
    """Return the versions of what codes and compares, by name; only of what there is."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "av": av.__version__}
    found["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    for name in ("jpg", "libjpeg_turbo", "avif"):
        number = features.version(name)
        if number:
            found[{"jpg": "libjpeg"}.get(name, name)] = number
    for name in ("pillow", "bjontegaard", "openvino", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def libraries(codec: Codec) -> tuple[str, ...] | None:
    """
    Return the names in `versions` that decide what a codec returns.

    Returns:
        Names, or None for our own code, which changes without its version.
    """
    if isinstance(codec, Motion):
        return _FFMPEG
    return (*_FFMPEG, *_PILLOW) if isinstance(codec, Still) else None


def hardware() -> dict[str, str]:
    """Return the kind of machine and its processor."""
    return {"machine": platform.machine(), "processor": _processor()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
