"""A folder for the files that `fuzz` writes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_FOLDER: Final = tempfile.TemporaryDirectory(  # a million files on a disk take an hour
    prefix="rtcodec-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None
)
WORK: Final = Path(_FOLDER.name)
