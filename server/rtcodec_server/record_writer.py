"""
Writes one recording on a thread of its own.

    event loop --put--> bounded queue --> access unit --> one write --> .rtc

Every access unit reaches the system in one piece before the next, so whatever was written plays,
however the process ends; the disk is told to hurry every few seconds, against a power cut. A disk
that is too slow fills the queue, and then `put` refuses.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.file import RtcWriter
from rtcodec.bitstream.packet import Geometry, Packet, read_packet
from rtcodec.bitstream.sequence import SequenceHeader
from rtcodec.timebase import RTP_TIME_BASE
from rtcodec.webrtc.clock import monotonic_us

_log = logging.getLogger(__name__)

MAX_QUEUE_FRAMES: Final = 120
MAX_QUEUE_BYTES: Final = 8 << 20
SYNC_INTERVAL_US: Final = 5_000_000
SPACE_INTERVAL_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTarget:
    """Where a recording goes and how far."""

    create: Callable[[], tuple[str, BinaryIO]]
    "Makes the next file and says its name; called on the thread. Not buffered."

    free_bytes: Callable[[], int]
    "Room left on the disk; called on the thread."

    model_id: bytes
    "First 8 bytes of the model's SHA-256."

    references: int
    "Slots that decoders have to keep."

    max_bytes: int = 0
    "Of all files together; 0 is no limit."

    min_free_bytes: int = 0
    "The disk is full at less."


@dataclass(slots=True)
class RecordFigures:
    """What came of a recording so far; numbers are written by one thread and read by another."""

    files: list[str] = field(default_factory=list)
    "Names, in order: another size of the pictures begins another file."

    frames: int = 0
    "Written."

    dropped: int = 0
    "Not written, as the disk was too slow, or could not be decoded without one that was not."

    size_bytes: int = 0
    first_ticks: int | None = None
    last_ticks: int = 0
    "Time stamps, 90 kHz."

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return 0.0 if self.first_ticks is None else (self.last_ticks - self.first_ticks) / 90_000


@dataclass(frozen=True, slots=True)
class _Entry:
    packets: tuple[bytes, ...]
    pts: int
    size_bytes: int


class _Whole:
    """Writes all it is given before it returns, as an unbuffered file may not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(data)


class RecordWriter:
    """The queue, the thread and the open file of one recording."""

    def __init__(
        self,
        target: RecordTarget,
        *,
        on_file: Callable[[str], None],
        on_end: Callable[[str | None], None],
    ) -> None:
        """
        Start the thread.

        Args:
            target: Where to.
            on_file: Called on the thread with the name of each file, after its first frame.
            on_end: Called once on the thread when all is written and closed: with None after
                `close`, with a reason where it ended by itself.
        """
        self.figures = RecordFigures()
        self._target = target
        self._on_file = on_file
        self._on_end = on_end
        self._entries: deque[_Entry] = deque()
        self._queued_bytes = 0
        self._wake = threading.Condition()
        self._is_closing = False
        self._file: BinaryIO | None = None
        self._rtc: RtcWriter | None = None
        self._geometry: Geometry | None = None
        self._synced_us = self._measured_us = 0
        threading.Thread(target=self._run, name="record", daemon=True).start()

    # ---- for the event loop

    def put(self, packets: tuple[bytes, ...], pts: int) -> bool:
        """Queue a frame; False, and nothing done, where there is no room. Never waits."""
        size_bytes = sum(map(len, packets))
        with self._wake:
            is_full = len(self._entries) >= MAX_QUEUE_FRAMES
            if is_full or self._queued_bytes + size_bytes > MAX_QUEUE_BYTES:
                return False
            self._entries.append(_Entry(packets, pts, size_bytes))
            self._queued_bytes += size_bytes
            self._wake.notify()
        return True

    @property
    def has_caught_up(self) -> bool:
        """Whether less than half of the queue is in use: time to begin again after a refusal."""
        with self._wake:
            return (
                len(self._entries) < MAX_QUEUE_FRAMES // 2
                and self._queued_bytes < MAX_QUEUE_BYTES // 2
            )

    def close(self) -> None:
        """Write what waits, then the end mark; `on_end` tells when that is done."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()

    # ---- the thread

    def _run(self) -> None:
        reason: str | None = None
        try:
            while reason is None and (entry := self._next()) is not None:
                reason = self._write(entry)
            self._finish_file()
        except Exception as error:  # the disk's fault or ours: the relay goes on without
            _log.error(
                "recording failed: %s", error.strerror if isinstance(error, OSError) else error
            )
            reason = "failed"
            self._drop_file()
        self._on_end(reason)
        self._on_file = self._on_end = lambda _: None  # they know the recording, which knows this

    def _next(self) -> _Entry | None:
        with self._wake:
            while not self._entries:
                if self._is_closing:
                    return None
                self._wake.wait()
            entry = self._entries.popleft()
            self._queued_bytes -= entry.size_bytes
            return entry

    def _write(self, entry: _Entry) -> str | None:
        """Write one frame; return why nothing more shall be written, or None."""
        now_us = monotonic_us()
        if now_us - self._measured_us >= SPACE_INTERVAL_US or not self._measured_us:
            self._measured_us = now_us
            if self._target.free_bytes() < self._target.min_free_bytes:
                return "disk_full"
        unit = AccessUnit(entry.pts, tuple(map(read_packet, entry.packets)))
        geometry = _geometry(unit)
        is_new = self._rtc is None or geometry != self._geometry
        if is_new:
            self._finish_file()
            self._open(geometry)
        assert self._rtc is not None
        assert self._file is not None
        before = self._rtc.size_bytes
        self._rtc.write(unit)
        self._note(entry, self._rtc.size_bytes - before + (before if is_new else 0))
        if is_new:
            self._on_file(self.figures.files[-1])
        if now_us - self._synced_us >= SYNC_INTERVAL_US:
            self._synced_us = now_us
            os.fdatasync(self._file.fileno())
        limit = self._target.max_bytes
        return "max_size" if limit and self.figures.size_bytes >= limit else None

    def _note(self, entry: _Entry, size_bytes: int) -> None:
        figures = self.figures
        figures.frames += 1
        figures.size_bytes += size_bytes
        if figures.first_ticks is None:
            figures.first_ticks = entry.pts
        figures.last_ticks = entry.pts

    def _open(self, geometry: Geometry) -> None:
        name, self._file = self._target.create()
        self._geometry = geometry
        self.figures.files.append(name)
        self._rtc = RtcWriter(
            cast(BinaryIO, _Whole(self._file)),
            SequenceHeader(
                model_id=self._target.model_id,
                geometry=geometry,
                time_base=RTP_TIME_BASE,
                references=self._target.references,
            ),
        )

    def _finish_file(self) -> None:
        if self._rtc is None or self._file is None:
            return
        before = self._rtc.size_bytes
        self._rtc.close()
        self.figures.size_bytes += self._rtc.size_bytes - before
        os.fdatasync(self._file.fileno())
        self._file.close()
        self._rtc = self._file = None

    def _drop_file(self) -> None:
        """Close a file that cannot be written to; what is in it plays."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._rtc = self._file = None


def _geometry(unit: AccessUnit) -> Geometry:
    packet = unit.slices[0]
    assert isinstance(packet, Packet)
    assert packet.header.description is not None
    return packet.header.description.geometry
