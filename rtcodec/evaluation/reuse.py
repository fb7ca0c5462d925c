"""
Points of an earlier run, taken over instead of measured again.

A point is taken over if nothing that decides it has changed: the samples of
the clip, the codec's description, its setting, the versions of its libraries,
and the conventions of the figures. Our own models are always measured: their
code changes without a version. Times are taken over on the same processor only.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtcodec.errors import InputError
from rtcodec.evaluation import vmaf
from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.codec import Codec
from rtcodec.evaluation.conventions import CONVENTIONS
from rtcodec.evaluation.figures import FrameFigures, read_frames
from rtcodec.evaluation.installation import hardware, libraries, versions
from rtcodec.evaluation.result import Point
from rtcodec.evaluation.row import frames_name, read_row

FRAMES = "frames"
"Folder beside `results.json` with the figures per frame."

_DECIDING = ("planes", "psnr", "ms_ssim", "vmaf", "size")
"The conventions that a point depends on."


class Reuse:
    """What an earlier run measured, found by what decided it."""

    def __init__(self, document: Mapping[str, Any], folder: Path | None = None) -> None:
        """
        Args:
            document: `results.json`, read.
            folder: With the files of figures per frame, if there are any.

        Raises:
            InputError: If it is no such document.
        """
        self._folder = folder
        self._points: dict[tuple[str, str, int], Point] = {}
        try:
            self._versions = dict(document["versions"])
            self._same_machine = document["hardware"] == hardware()
            usable = all(document["conventions"].get(k) == CONVENTIONS[k] for k in _DECIDING)
            for row in document["points"] if usable else ():
                point = read_row(row)
                description = str(document["codecs"][point.codec])
                digest = str(document["clips"][point.clip]["sha256"])
                self._points[digest, description, point.setting] = point
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(f"results to reuse are incomplete: {error!r}") from None

    @classmethod
    def read(cls, path: Path) -> "Reuse":
        """
        Read `results.json`, and `frames/` beside it when asked.

        Raises:
            InputError: If it cannot be read or is something else.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: no results to reuse: {error}") from None
        if not isinstance(document, dict):
            raise InputError(f"{path}: no results to reuse: not an object")
        return cls(document, path.parent / FRAMES)

    def find(self, codec: Codec, clip: Clip, digest: str, setting: int) -> Point | None:
        """
        Return the point that measuring would give, or None if it must be measured.

        Args:
            codec: Ours are never found.
            clip: Whose name the point gets.
            digest: `clip_sha256` of the clip.
            setting: Of the codec.
        """
        names = libraries(codec)
        found = self._points.get((digest, codec.description, setting))
        if names is None or found is None:
            return None
        now = versions()
        if any(self._versions.get(name) != now.get(name) for name in names):
            return None
        if found.vmaf is None and clip.kind == "video" and vmaf.why_not() is None:
            return None
        same = self._same_machine
        return replace(
            found,
            clip=clip.name,
            codec=codec.name,
            encode_ms=found.encode_ms if same else None,
            decode_ms=found.decode_ms if same else None,
            frames=self._frames(found),
            reused=True,
        )

    def _frames(self, point: Point) -> tuple[FrameFigures, ...]:
        """Return the figures per frame, none if their file is gone or another's."""
        if self._folder is None or point.kind == "image":
            return ()
        try:
            frames = read_frames(self._folder / frames_name(point))
        except (OSError, ValueError):
            return ()
        return frames if len(frames) == point.n_frames else ()
