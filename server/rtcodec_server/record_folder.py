"""
The folder of recordings: names that cannot lead out of it, files that are never overwritten.

    standup@20260101T120000.000Z.rtc      room, when it started

`@` is in no room's name, so a file's room is certain. Nobody outside names a path: only such a
name, which has no separator in it, and links are not followed.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from rtcodec.errors import InputError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,119}\.rtc")
_MAX_SAME: Final = 100  # recordings of one room that start in one millisecond


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of the folder."""

    name: str
    room: str | None
    "The room that it is of; None where its name does not say."

    size_bytes: int
    modified_s: float
    "Unix time of the last write."


class RecordFolder:
    """All that recordings do with the file system, but for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, room: str, *, unix_us: int) -> tuple[str, BinaryIO]:
        """
        Make a new file for a room; return its name, and it, open for writing and unbuffered.

        Args:
            room: A checked room's name.
            unix_us: When the recording starts.

        Raises:
            OSError: If that is not possible.
        """
        stamp = datetime.fromtimestamp(unix_us / 1e6, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        for number in range(_MAX_SAME):
            name = f"{room}@{stamp}Z{f'-{number}' if number else ''}.rtc"
            assert _NAME.fullmatch(name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                file = os.open(self.path / name, flags, 0o640)
            except FileExistsError:
                continue
            return name, os.fdopen(file, "wb", buffering=0)
        raise FileExistsError(f"{_MAX_SAME} recordings of a room at once")

    def open(self, name: str) -> BinaryIO:
        """
        Open a recording for reading.

        Raises:
            InputError: If *name* is no name of a recording, or there is no such regular file.
        """
        missing = InputError("no such recording")
        if not _NAME.fullmatch(name):
            raise missing
        try:
            # a pipe of that name would be waited for
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            file = os.open(self.path / name, flags)
        except OSError:
            raise missing from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise missing
        return os.fdopen(file, "rb")

    def files(self) -> Iterator[StoredFile]:
        """Give out what is there, oldest name first; what goes meanwhile is left out."""
        for name in sorted(os.listdir(self.path)):
            if not _NAME.fullmatch(name):
                continue
            try:
                about = os.lstat(self.path / name)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(about.st_mode):
                yield StoredFile(name, room_of_file(name), about.st_size, about.st_mtime)

    def free_bytes(self) -> int:
        """Return what others than root may still write there."""
        about = os.statvfs(self.path)
        return about.f_bavail * about.f_frsize


def room_of_file(name: str) -> str | None:
    """Return the room that a recording is of, as its name says, or None."""
    room, at, _ = name.partition("@")
    return room if at else None
