"""
What is compared with: the interface every codec under evaluation has.

A codec turns a clip into bytes as it would be stored or sent, and those bytes,
nothing else, back into planes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.types import Planes


@dataclass(frozen=True, slots=True)
class Encoded:
    """A clip as bytes."""

    parts: tuple[bytes, ...]
    "Files, one per picture, or the packets of one stream, in order."

    frame_sizes_bytes: tuple[int, ...] = ()
    "What each frame takes, where frames share a part; a file's header and end are in none."

    @property
    def size_bytes(self) -> int:
        """What counts: every byte of every part."""
        return sum(map(len, self.parts))

    def sizes_bytes(self, n_frames: int) -> list[int] | None:
        """Return what each of *n_frames* frames takes, or None if that is not known."""
        sizes = list(self.frame_sizes_bytes or map(len, self.parts))
        return sizes if len(sizes) == n_frames else None


class Codec(Protocol):
    """Something with a quality setting."""

    @property
    def name(self) -> str:
        """Name on the command line and in tables."""

    @property
    def description(self) -> str:
        """Library and settings in words."""

    @property
    def unit(self) -> str:
        """Name of its quality setting: `quality`, `crf`, `q`, `qp`."""

    @property
    def settings(self) -> Sequence[int]:
        """The settings to measure, from coarse to fine."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it is compared on by default."""

    @property
    def threaded(self) -> bool:
        """Whether it uses several threads itself and must be measured alone."""

    def prepare(self, clip: Clip) -> None:
        """Get ready for a clip's size; not timed."""

    def encode(self, clip: Clip, setting: int) -> Encoded:
        """Compress a whole clip."""

    def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
        """Yield the pictures again; *clip* is looked at for its size only."""

    def close(self) -> None:
        """Let go of what was opened."""


class Unprepared:
    """What a codec does that has nothing to get ready and nothing to let go of."""

    threaded = False

    def prepare(self, clip: Clip) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
