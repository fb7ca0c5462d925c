"""imagecodecs, which the extra `medical` brings: words that say how to get it, errors it hides."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from rtcodec.errors import ConfigError


def load_imagecodecs(what_needs: str) -> ModuleType:
    """
    Return imagecodecs.

    Args:
        what_needs: Beginning of what is said without it, such as "such images need".

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import imagecodecs
    except ImportError:
        words = f"{what_needs} imagecodecs: pip install 'rtcodec[medical]'"
        raise ConfigError(words) from None
    module: ModuleType = imagecodecs
    return module


def decode_into(decode: Callable[..., Any], data: bytes, out: NDArray[Any]) -> None:
    """
    Decode a code stream into *out*.

    Raises:
        Exception: Whatever *decode* does, and RuntimeError for what it only prints: htj2k_decode of
            2026.3 goes on where OpenJPH gave up, and the rest of *out* stays as it was.
    """
    ignored: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda found: ignored.append(found.exc_type.__name__)
    try:
        decode(data, out=out)
    finally:
        sys.unraisablehook = before
    if ignored:
        raise RuntimeError(f"{ignored[0]} while decoding")
