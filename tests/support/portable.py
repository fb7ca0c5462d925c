"""The C libraries as they are compiled where there are no intrinsics and no clones of functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtcodec.entropy import build
from rtcodec.motion import native

_built: list[Path] = []  # at most one: it takes seconds, and folders last as long as the tests do


@contextmanager
def portable_motion(folder: Path) -> Iterator[None]:
    """Let `rtcodec.motion` run in such a build for a while; made in *folder* if there is none."""
    if not _built:
        flags = ["-O1", "-DRTC_PORTABLE"]
        environment = build.inherited_environment()
        library = folder / "portable.so"
        _built.append(build.compile_coder(library, environment, flags, build.MOTION_SOURCES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "MOTION_LIBRARY", _built[0])
        native.library.cache_clear()
        try:
            yield
        finally:
            native.library.cache_clear()
