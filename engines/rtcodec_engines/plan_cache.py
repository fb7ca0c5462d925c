"""
Built engines on a disk, each under a hash of all that it depends on.

    line 1   JSON: format, what the plan was built from, its size and SHA-256
    rest     the plan, as the builder gave it

A file that is damaged, or of something else, is told apart from one that is not there; neither is
ever run. Nothing is pickled: a plan is bytes for one library, which checks them itself.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rtcodec.errors import ConfigError
from rtcodec.media.atomic import atomic_file

FORMAT: Final = 1
SUFFIX: Final = ".plan"
_HEADER_MAX_BYTES: Final = 65536


class PlanMissing(ConfigError):
    """There is no plan for this."""


class PlanUnusable(ConfigError):
    """There is a file, and it is damaged or of something else."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on: another value of any of it is another plan."""

    model: str
    "Name of the model, for people; the weights are `model_id`."

    model_id: str
    graph: str
    graph_sha256: str
    settings: Mapping[str, Any]
    library: str
    "Name and version of what builds and runs it."

    gpu: str
    "Its name, compute capability and CUDA version."

    def as_json(self) -> dict[str, Any]:
        """Return what is hashed."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def digest(self) -> str:
        """SHA-256, lower-case hexadecimal."""
        content = json.dumps({"format": FORMAT, **self.as_json()}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a cache, as it says of itself."""

    path: Path
    about: Mapping[str, Any]
    "What `PlanKey.as_json` was; empty if the file is damaged."

    size_bytes: int


class PlanCache:
    """A folder of plans."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Args:
            folder: None for `$XDG_CACHE_HOME/rtcodec/engines`.
        """
        self.folder = folder or default_folder()

    def path(self, key: PlanKey) -> Path:
        """Where a plan belongs."""
        return self.folder / f"{key.model}.{key.graph}.{key.digest[:32]}{SUFFIX}"

    def store(self, key: PlanKey, plan: bytes) -> Path:
        """Write a plan; nobody ever sees half of it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sha256 = hashlib.sha256(plan).hexdigest()
        about = {"format": FORMAT, "key": key.as_json(), "bytes": len(plan), "sha256": sha256}
        path = self.path(key)
        with atomic_file(path) as partial:
            partial.write_bytes(json.dumps(about, sort_keys=True).encode() + b"\n" + plan)
        return path

    def load(self, key: PlanKey) -> bytes:
        """
        Return a plan.

        Raises:
            PlanMissing: If none was built for this.
            PlanUnusable: If the file is damaged, or of something else.
        """
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise PlanMissing(f"no engine of {key.model} {key.graph} was built for this") from None
        except OSError as error:
            raise PlanUnusable(f"{path}: {error.strerror}") from None
        about, plan = _read(path, content)
        if about["key"] != key.as_json():
            raise PlanUnusable(f"{path}: built for something else")
        if about["bytes"] != len(plan) or about["sha256"] != hashlib.sha256(plan).hexdigest():
            raise PlanUnusable(f"{path}: damaged")
        return plan

    def stored(self) -> Iterator[Stored]:
        """List what is there, damaged or not."""
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            content = path.read_bytes()
            try:
                about = _read(path, content)[0]["key"]
            except PlanUnusable:
                about = {}
            yield Stored(path, about, len(content))


def default_folder() -> Path:
    """Where plans are kept if nobody says."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rtcodec" / "engines"


def _read(path: Path, content: bytes) -> tuple[dict[str, Any], bytes]:
    line, newline, plan = content.partition(b"\n")
    try:
        about = json.loads(line) if newline and len(line) <= _HEADER_MAX_BYTES else None
    except ValueError:
        about = None
    if not isinstance(about, dict) or not {"format", "key", "bytes", "sha256"} <= about.keys():
        raise PlanUnusable(f"{path}: damaged")
    if about["format"] != FORMAT or not isinstance(about["key"], dict):
        raise PlanUnusable(f"{path}: of format {about['format']}, not {FORMAT}")
    return about, plan
