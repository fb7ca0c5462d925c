"""
Which pictures lie in the folder of studies, and what they are called outside: nothing of a name.

    folder/scan.dcm           room `demo` (or as set)
    folder/ward7/a/b.dcm      room `ward7`, one study with what lies beside it
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rtcodec.codec.exact_files import DICOM_SUFFIXES
from rtcodec.dicom.plain import SUFFIXES
from rtcodec.errors import RemoteProtocolError
from rtcodec.session.message import check_room_name

MAX_PICTURES: Final = 20_000
EXACT_SUFFIX: Final = ".rtc"
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """One file that is offered."""

    path: Path
    room: str
    id: str
    study: str
    "Hex digits each: the same for the same file and folder under the same secret."

    stamp: tuple[int, int]
    "Its size and when it was changed."

    @property
    def uids(self) -> dict[str, str]:
        """
        Identifiers of what is made of it, in place of its own (PS3.5 B.2).

        The same each time: what is prepared again is the same file, and a viewer can go on.
        """
        series = int(self.study, 16) ^ 1
        return {
            "SOPInstanceUID": f"2.25.{int(self.id, 16)}",
            "SeriesInstanceUID": f"2.25.{series}",
            "StudyInstanceUID": f"2.25.{int(self.study, 16)}",
        }


def find_pictures(folder: Path, room: str, secret: bytes) -> list[Picture]:
    """
    Look for pictures, in the order of their paths.

    Args:
        folder: Where to look, in folders in it too; links are not followed out of it.
        room: Of what lies in *folder* itself.
        secret: That ids are made with.
    """
    root = folder.resolve()
    found: list[Picture] = []
    for path in _files(root):
        relative = path.relative_to(root)
        in_room = relative.parts[0] if len(relative.parts) > 1 else room
        if len(found) >= MAX_PICTURES or not _is_room(in_room) or not _is_picture(path):
            continue
        try:
            about = path.stat()
        except OSError:  # gone meanwhile
            continue
        name, study = str(relative), str(relative.parent)
        found.append(
            Picture(
                path,
                in_room,
                _id(secret, "picture", name),
                _id(secret, "study", study),
                (about.st_size, about.st_mtime_ns),
            )
        )
    return found


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path


def _is_room(name: str) -> bool:
    try:
        check_room_name(name)
    except RemoteProtocolError:
        return False
    return True


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in (*DICOM_SUFFIXES, *SUFFIXES, EXACT_SUFFIX):
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _id(secret: bytes, what: str, name: str) -> str:
    text = f"rtcodec {what} {name}".encode("utf-8", "surrogateescape")
    return hmac.new(secret, text, hashlib.sha256).hexdigest()[: 2 * _ID_BYTES]
