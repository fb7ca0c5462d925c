"""
What a receiver tells the sender about frames: read and write one report, and when to send it.

    0                 4        5        6                 8
    +-----------------+--------+--------+-----------------+----------------------+
    |     "RTCL"      |  ver   | damage |     newest      | held, u32, 1 to 8 times
    +-----------------+--------+--------+-----------------+----------------------+

The control information of an application layer feedback packet (RFC 4585 6.4: RTCP type 206, format
15), the place where REMB travels; the RTP stack writes the header and says which stream is meant.
All fields are big endian, 12 to 40 bytes. Every report says all again, so one that is lost costs
nothing once the next arrives. Bytes in, values out; time is an argument, no sockets.
"""

import struct
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import Corrupt, Truncated, Unsupported
from rtcodec.timebase import unwrap

REPORT_NAME: Final = b"RTCL"
"Tells a report from other application layer feedback."

KEYFRAME_REQUEST: Final = b"RTCK"
"Asks for a key frame where there is no RTCP to do so: a whole message beside reports."

STILL_HERE: Final = b"RTCH"
"Says that the receiver runs, where there is no RTCP to tell by: a whole message, every second."

MAX_WORDS: Final = 8
"A report covers 32 to 256 frames."

MAX_REPORT_BYTES: Final = 8 + 4 * MAX_WORDS

_VERSION: Final = 1
_HEADER: Final = struct.Struct("!4sBBH")
_WORD_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What became of the newest frames at one receiver."""

    newest: int
    "Frame number, modulo 65536, of the newest frame that was decoded or given up."

    held: int
    """Bit i says that the receiver holds what frame `newest - i` left behind, exactly as the sender
    does: it came whole, and so did all that it was predicted from. Frames without the bit were
    lost, damaged, or lie before the receiver's start."""

    words: int = 1
    "How far back `held` goes, in units of 32 frames, 1 to 8."

    damage: int = 0
    "Share of the newest frame's tiles that were concealed, of 255, rounded up; 0 if it is held."

    def __post_init__(self) -> None:
        """Check the limits; ValueError if one is broken."""
        if not 0 <= self.newest <= 0xFFFF:
            raise ValueError(f"frame {self.newest} is not within 16 bits")
        if not 1 <= self.words <= MAX_WORDS:
            raise ValueError(f"{self.words} words of frames")
        if not 0 <= self.held < 1 << _WORD_BITS * self.words:
            raise ValueError(f"frames {self.held:#x} do not fit {self.words} words")
        if not 0 <= self.damage <= 255 or (self.damage and self.held & 1):
            raise ValueError(f"damage {self.damage} of a frame that is held or beyond 255")

    @property
    def n_frames(self) -> int:
        """Frames that it speaks of, the newest included."""
        return _WORD_BITS * self.words

    def holds(self, back: int) -> bool:
        """Say whether the frame *back* before the newest is held."""
        return bool(self.held >> back & 1)


def write_report(report: FrameReport) -> bytes:
    """Lay a report out as feedback control information."""
    head = _HEADER.pack(REPORT_NAME, _VERSION, report.damage, report.newest)
    return head + report.held.to_bytes(4 * report.words, "big")


def read_report(data: bytes) -> FrameReport:
    """
    Parse exactly one report.

    Raises:
        Truncated: If *data* ends inside the header or before the first frames.
        Unsupported: If it is other feedback or a newer report.
        Corrupt: If its size is not that of 1 to 8 words of frames, or a frame is both held and
            damaged.
    """
    if len(data) < _HEADER.size:
        raise Truncated("report header is incomplete", offset=len(data))
    name, version, damage, newest = _HEADER.unpack_from(data)
    if name != REPORT_NAME:
        raise Unsupported("feedback that is not a report", offset=0)
    if version != _VERSION:
        raise Unsupported(f"report version {version}", offset=4)
    held = data[_HEADER.size :]
    words, rest = divmod(len(held), 4)
    if not words:
        raise Truncated("report without frames", offset=len(data))
    if rest or words > MAX_WORDS:
        raise Corrupt(f"{len(held)} bytes of frames", offset=_HEADER.size)
    if damage and held[-1] & 1:
        raise Corrupt(f"damage {damage} of a frame that is held", offset=5)
    return FrameReport(newest, int.from_bytes(held, "big"), words, damage)


class FrameReporter:
    """
    Decides when a receiver reports, and what.

    At once when a frame is not held, since the sender then predicts from a broken chain, and after
    every one of the next 32, since the sender may then want frames that are held; otherwise every
    *interval_us* while frames come.
    """

    def __init__(self, *, interval_us: int = 50_000, words: int = 2) -> None:
        """
        Args:
            interval_us: Between reports while all is well.
            words: How far back reports go, in units of 32 frames.
        """
        self._interval_us = interval_us
        self._words = words
        self._newest: int | None = None
        self._held = 0
        self._damage = 0
        self._broken: int | None = None  # the last frame that is not held
        self._reported_us: int | None = None
        self._due_us: int | None = None

    @property
    def deadline_us(self) -> int | None:
        """When `take_due` next has a report, or None."""
        return self._due_us

    def decided(
        self, frame_number: int, *, is_held: bool, concealed: float = 0.0, now_us: int
    ) -> None:
        """
        Note what became of a frame; those between it and the one before count as not held.

        Args:
            frame_number: Modulo 65536; older than the newest one changes nothing.
            is_held: Whether it came whole, and all that it is predicted from.
            concealed: Share of its tiles that are made up, 0 to 1; 1 if nothing came.
            now_us: When that was certain.
        """
        newest = self._newest
        number = frame_number if newest is None else unwrap(frame_number, near=newest, bits=16)
        skipped = 0
        if newest is not None:
            if number <= newest:
                return
            skipped = number - newest - 1
        mask = (1 << _WORD_BITS * self._words) - 1
        self._held = (self._held << min(skipped + 1, _WORD_BITS * self._words) | is_held) & mask
        self._damage = 0 if is_held else -(-round(concealed * 2550) // 10)
        self._newest = number
        if skipped or not is_held:
            self._broken = number
        is_calm = self._broken is None or number - self._broken > _WORD_BITS
        due_us = now_us
        if is_calm and self._reported_us is not None:
            due_us = max(now_us, self._reported_us + self._interval_us)
        self._due_us = due_us if self._due_us is None else min(self._due_us, due_us)

    def take_due(self, *, now_us: int) -> FrameReport | None:
        """Return the report to send now, or None."""
        if self._due_us is None or now_us < self._due_us or self._newest is None:
            return None
        self._due_us = None
        self._reported_us = now_us
        return FrameReport(self._newest & 0xFFFF, self._held, self._words, self._damage)
