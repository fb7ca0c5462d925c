"""The C libraries as they are compiled where there are no intrinsics and no clones of functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtcodec.entropy import build
from rtcodec.motion import native


@contextmanager
def portable_motion(folder: Path) -> Iterator[None]:
    """Let `rtcodec.motion` run in such a build, made in *folder*, for a while."""
    library = folder / "portable.so"
    flags = ["-O1", "-DRTC_PORTABLE"]
    build.compile_coder(library, build.inherited_environment(), flags, build.MOTION_SOURCES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "MOTION_LIBRARY", library)
        native.library.cache_clear()
        try:
            yield
        finally:
            native.library.cache_clear()
