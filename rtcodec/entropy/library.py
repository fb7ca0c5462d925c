"""
Load a shared library that `build` compiled, declare its functions, and say where arrays are.

Only the `native` modules call what is in it, and they check every argument before they do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.errors import ConfigError

Result = type["ctypes._SimpleCData[Any]"] | None
Signatures = Mapping[str, tuple[Result, tuple[type, ...]]]
"Name: what a function returns, and the types of its arguments."


def load_library(path: Path, signatures: Signatures, version: int) -> ctypes.CDLL:
    """
    Load the library at *path*.

    Args:
        path: Of the shared library.
        signatures: Of its functions; the first one returns its version.
        version: That a library built from this source has.

    Raises:
        ConfigError: If it is missing, not loadable or of another version.
    """
    advice = "run: python -m rtcodec.entropy.build"
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        found = getattr(library, next(iter(signatures)))()
    except (OSError, AttributeError) as error:
        raise ConfigError(f"compiled {path.name} cannot be loaded ({error}); {advice}") from None
    if found != version:
        raise ConfigError(f"compiled {path.name} is version {found}, not {version}; {advice}")
    return library


def address(array: NDArray[np.generic]) -> int:
    """Return where an array's first element is."""
    at: int = array.__array_interface__["data"][0]  # a fifth of what array.ctypes takes
    return at
