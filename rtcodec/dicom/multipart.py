"""
The parts of a multipart/related answer (RFC 2387), as DICOMweb has them.

    --boundary CRLF headers CRLF CRLF body CRLF --boundary ... CRLF --boundary--

Nothing is kept but the part that is being read, and no part grows beyond its limit.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from rtcodec.errors import InputError

HEADERS_MAX_BYTES: Final = 8192
CHUNK_BYTES: Final = 1 << 16

_BOUNDARY: Final = re.compile(r""";\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))""", re.I)


def read_boundary(content_type: str) -> str:
    """
    Return the boundary that a Content-Type names.

    Raises:
        InputError: If it is of something else, or names none of 1 to 70 characters of ASCII.
    """
    if not content_type.strip().lower().startswith("multipart/related"):
        raise InputError("an answer is not multipart/related")
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not boundary or not boundary.isascii():
        raise InputError("a multipart answer names no boundary")
    return boundary


def read_parts(
    read: Callable[[int], bytes], boundary: str, *, part_max_bytes: int
) -> Iterator[bytes]:
    """
    Give out the bodies of the parts.

    Args:
        read: Returns up to so many bytes, and none at the end.
        boundary: From `read_boundary`.
        part_max_bytes: Of one body.

    Raises:
        InputError: If the answer ends early, is none, or a part is larger.
    """
    window = _Window(read)
    mark = b"--" + boundary.encode("ascii")
    window.take_until(mark, HEADERS_MAX_BYTES, "preamble")  # RFC 2046 5.1.1: to be ignored
    while not window.is_at_end():
        if window.take_line().strip(b" \t"):
            raise InputError("a boundary of an answer is followed by something else")
        left = HEADERS_MAX_BYTES
        while header := window.take_line():
            left -= len(header)
            if left < 0:
                raise InputError("a part of an answer has too many headers")
        yield window.take_until(b"\r\n" + mark, part_max_bytes, "part")


class _Window:
    """What was read and not taken yet."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = bytearray()

    def take_until(self, mark: bytes, limit: int, what: str) -> bytes:
        """Return what is before *mark*, and take both; all but its beginning may still come."""
        searched = 0
        while (found := self._data.find(mark, searched)) < 0:
            searched = max(0, len(self._data) - len(mark) + 1)
            if searched > limit:
                raise InputError(f"a {what} of an answer is larger than {limit} bytes")
            self._fill()
        if found > limit:
            raise InputError(f"a {what} of an answer is larger than {limit} bytes")
        taken = bytes(memoryview(self._data)[:found])
        del self._data[: found + len(mark)]
        return taken

    def take_line(self) -> bytes:
        """Return one line without its end."""
        return self.take_until(b"\r\n", HEADERS_MAX_BYTES, "line")

    def is_at_end(self) -> bool:
        """Say whether what follows a boundary makes it the last one."""
        while len(self._data) < 2:
            self._fill()
        return self._data.startswith(b"--")

    def _fill(self) -> None:
        part = self._read(CHUNK_BYTES)
        if not part:
            raise InputError("an answer ends early")
        self._data += part
