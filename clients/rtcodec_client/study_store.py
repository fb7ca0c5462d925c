"""What came of studies, and what was made of it; outlives connections."""

from dataclasses import dataclass, field
from typing import Any

from rtcodec.exact.frame import Samples
from rtcodec.exact.partial import PartialPicture
from rtcodec.session.study_message import Preview, Quality


@dataclass(slots=True, eq=False)
class HeldPicture:
    """One picture, as far as it has come."""

    id: str
    about: dict[str, Any] = field(default_factory=dict)
    "As the relay last described it."

    number: int = -1
    "In the present session."

    version: bytes = b""
    part: PartialPicture | None = None
    preview: Preview | None = None
    preview_us: int | None = None
    "When it came, monotonic."

    quality: dict[int, Quality] = field(default_factory=dict)
    "What was made of each frame that is whole."

    samples: dict[int, Samples] = field(default_factory=dict)
    "Frames that have the hash that was promised."

    otherwise: set[int] = field(default_factory=set)
    "Of those, which came as fallbacks."

    problem: str | None = None
    "Why the relay cannot give it."

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is to come of it."""
        is_judged = self.part is not None and len(self.quality) == self.part.n_frames
        return self.problem is not None or is_judged

    @property
    def is_verified(self) -> bool:
        """Whether every frame has the hash that was promised."""
        return self.part is not None and len(self.samples) == self.part.n_frames

    @property
    def claim(self) -> str:
        """What may be said of it, in words."""
        if self.problem is not None:
            return self.problem
        if not self.is_settled:
            return "incomplete"
        if not self.is_verified:
            return "NOT VERIFIED"
        most = self.about.get("max_error")
        return f"within {most}, verified" if most else "lossless, verified"

    def renew(self, version: bytes) -> None:
        """Drop what is held, which is of another file, and what was made of it."""
        if self.version != version:
            self.version, self.part, self.problem = version, None, None
            self.quality, self.samples, self.otherwise = {}, {}, set()


class StudyStore:
    """Pictures by id."""

    def __init__(self) -> None:
        self.pictures: dict[str, HeldPicture] = {}
        self.alarms = 0
        "Frames whose hash or check word did not agree."

        self.received_bytes = 0
        "Of messages."

    def of(self, identifier: str) -> HeldPicture:
        """Return the picture of an id, made if need be."""
        return self.pictures.setdefault(identifier, HeldPicture(identifier))
