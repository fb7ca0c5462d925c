"""
Where the frames of a playback come from: a stored recording, or one that somebody sends meanwhile.

Blocking, for a thread of its own. Bytes from outside: the bitstream's reader bounds and checks
them, and what cannot be sent to a room is refused here.
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from typing import BinaryIO, Final, cast

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import write_packet
from rtcodec.bitstream.sequence import SequenceHeader
from rtcodec.errors import BitstreamError, InputError, Truncated

MAX_UNIT_BYTES: Final = 4 << 20
"Of one frame: what a room is played must not fill the memory."

_PIPE_BYTES: Final = 1 << 18


class StoredFrame:
    """One frame of a recording, ready for the subscribers."""

    __slots__ = ("frame_number", "is_keyframe", "packets", "pts_s")

    is_complete: Final = True
    "A file loses nothing."

    def __init__(self, unit: AccessUnit, time_base: Fraction) -> None:
        """
        Args:
            unit: Of the finest rung.
            time_base: Seconds per tick.

        Raises:
            InputError: If its packets cannot travel without the file's header.
        """
        header = unit.header
        if header.description is None:
            raise InputError("not a recording of a relay: its packets do not say their size")
        self.packets = tuple(map(write_packet, unit.packets))
        self.is_keyframe = header.keyframe
        self.frame_number = header.frame_number
        self.pts_s = unit.pts * time_base


class PlaySource(ABC):
    """Gives out the frames of a recording, blocking."""

    _sequence: SequenceHeader
    _frames: Iterator[StoredFrame]

    @property
    def sequence(self) -> SequenceHeader:
        """What the recording says of itself; there after `open`."""
        return self._sequence

    @abstractmethod
    def open(self) -> None:
        """
        Read up to the first frame, again from the start if it can be read again.

        Raises:
            BitstreamError: If the bytes are no recording.
            InputError: If it cannot be played, or has no frame.
        """

    def next(self) -> StoredFrame | None:
        """
        Return the next frame, or None at the end, also of a recording that was cut.

        Raises:
            BitstreamError: If the bytes are wrong.
        """
        return next(self._frames, None)

    @abstractmethod
    def close(self) -> None:
        """Let go of the bytes; makes a `next` that waits return. For any thread."""

    def _start(self, stream: BinaryIO) -> None:
        reader = RtcReader(stream, max_unit_bytes=MAX_UNIT_BYTES)
        self._sequence = reader.sequence
        frames = _frames(reader)
        first = next(frames, None)
        if first is None:
            raise InputError("a recording without frames")
        self._frames = chain((first,), frames)


class FileSource(PlaySource):
    """A file that can be read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def open(self) -> None:
        """Start at the first frame."""
        with self._lock:
            self._file.seek(0)
            self._start(self._file)

    def next(self) -> StoredFrame | None:
        """Return the next frame, or None at the end."""
        with self._lock:
            return None if self._file.closed else super().next()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


class UploadSource(PlaySource):
    """Bytes as they come in; they cannot be read again."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        """
        Args:
            on_room: Called, on the reading thread, when there is room for more bytes.
        """
        self._on_room = on_room
        self._chunks: deque[bytes] = deque()
        self._n_bytes = 0
        self._wake = threading.Condition()
        self._has_ended = False

    @property
    def is_full(self) -> bool:
        """Whether to wait for `on_room` before more is fed."""
        return self._n_bytes >= _PIPE_BYTES

    def feed(self, chunk: bytes) -> None:
        """Add what came in; for the event loop."""
        with self._wake:
            self._chunks.append(chunk)
            self._n_bytes += len(chunk)
            self._wake.notify()

    def end(self) -> None:
        """Say that nothing more comes; for the event loop."""
        with self._wake:
            self._has_ended = True
            self._wake.notify()

    def open(self) -> None:
        """Wait for the header and read it."""
        self._start(cast(BinaryIO, self))

    def close(self) -> None:
        """Forget what came; whoever waits gets the end."""
        with self._wake:
            self._has_ended = True
            self._chunks.clear()
            self._n_bytes = 0
            self._wake.notify()

    def read(self, size: int) -> bytes:
        """Return at most *size* bytes, as soon as there is one; none at the end."""
        with self._wake:
            while not self._chunks and not self._has_ended:
                self._wake.wait()
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            taken, rest = chunk[:size], chunk[size:]
            if rest:
                self._chunks.appendleft(rest)
            was_full = self.is_full
            self._n_bytes -= len(taken)
        if was_full and not self.is_full:
            self._on_room()
        return taken


def _frames(reader: RtcReader) -> Iterator[StoredFrame]:
    units = iter(reader)
    while True:
        try:
            unit = next(units, None)
        except Truncated:
            return  # whoever wrote it was stopped in the middle
        if unit is None:
            return
        if unit.header.layer.rung == 0:
            yield StoredFrame(unit, reader.sequence.time_base)


def describe_problem(error: BitstreamError | InputError) -> str:
    """Say in a line why something cannot be played."""
    return f"not a recording: {error}" if isinstance(error, BitstreamError) else str(error)
