"""
What goes next to a viewer of studies: the most urgent request, coarse steps first, nothing twice.

    requests ─▶ (priority, newest first) ─▶ preview, index, header, heads and steps ─▶ ranges

One for each session. It decides and never sends: whoever asks for the next piece puts it on its
way, so a request that comes now is heeded with the next one. No clock, no I/O.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rtcodec.bitstream.byte_ranges import ByteRanges
from rtcodec.bitstream.exact_format import ExactFormat
from rtcodec.bitstream.exact_index import (
    END_BYTES,
    Bytes,
    FrameHead,
    Region,
    frame_offsets,
    head_max_bytes,
    read_frame_head,
    region_of,
    step_spans,
)
from rtcodec.errors import RemoteProtocolError
from rtcodec.session.study_message import Have, Request

MAX_REQUESTS: Final = 64
"At a time, of one viewer."

AHEAD_PRIORITY: Final = 2
"From here on nobody waits for it yet."

MAX_RANGES: Final = 65_536
"That a viewer may say it holds of one file."

_PART_BYTES: Final = 12  # of a message, beside the bytes themselves, for each range
_HEADS_KEPT: Final = 64


class Unwanted(RemoteProtocolError):
    """
    A request cannot be met.

    Attributes:
        code: As docs/studies.md has it.
        about: The numbers of the request and the instance, where they apply.
    """

    def __init__(self, code: str, detail: str, **about: int) -> None:
        super().__init__(detail)
        self.code = code
        self.about = about


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A file of exact pictures that can be sent in parts."""

    data: Bytes
    header: ExactFormat
    header_bytes: int
    frame_bytes: tuple[int, ...]
    version: bytes
    offsets: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find out where frames begin."""
        object.__setattr__(self, "offsets", frame_offsets(self.header_bytes, self.frame_bytes))

    def head(self, frame: int) -> FrameHead:
        """Read the head of a frame; the file was checked before."""
        start = self.offsets[frame]
        part = self.data[start : start + head_max_bytes(self.header)]
        return read_frame_head(self.header, bytes(part))


@dataclass(frozen=True, slots=True)
class SendPreview:
    """The preview of an instance goes next."""

    instance: int


@dataclass(frozen=True, slots=True)
class SendIndex:
    """The index of an instance goes next."""

    instance: int


@dataclass(frozen=True, slots=True)
class SendRanges:
    """Ranges of an instance's file go next, in one message."""

    instance: int
    ranges: tuple[tuple[int, int], ...]
    "(start, end), none over two frames."


@dataclass(frozen=True, slots=True)
class RequestDone:
    """All that a request named has been sent."""

    number: int


Piece = SendPreview | SendIndex | SendRanges | RequestDone


@dataclass(slots=True)
class _Instance:
    sent: ByteRanges = field(default_factory=ByteRanges)
    "Or held before."

    file: StudyFile | None = None
    has_preview: bool | None = None
    "None: not known yet."

    held: list[Have] = field(default_factory=list)
    "What the viewer said of a file that is not known yet."

    preview_sent: bool = False
    index_sent: bool = False
    heads: dict[int, FrameHead] = field(default_factory=dict)

    def head(self, frame: int) -> FrameHead:
        assert self.file is not None
        if frame not in self.heads:
            if len(self.heads) >= _HEADS_KEPT:
                self.heads.pop(next(iter(self.heads)))
            self.heads[frame] = self.file.head(frame)
        return self.heads[frame]


@dataclass(slots=True)
class _Waiting:
    request: Request
    serial: int
    spans: Iterator[tuple[int, int]] | None = None
    current: tuple[int, int] | None = None


class StudyQueue:
    """The requests of one viewer, and what it has of each instance."""

    def __init__(self) -> None:
        self._instances: dict[int, _Instance] = {}
        self._waiting: list[_Waiting] = []
        self._serial = 0

    def set_preview(self, instance: int, *, exists: bool) -> None:
        """Note whether there is a preview of an instance, once that is known."""
        self._of(instance).has_preview = exists

    def set_file(self, instance: int, file: StudyFile) -> None:
        """
        Note that the file of an instance can be sent; it stays the same from then on.

        Raises:
            Unwanted: If what the viewer said that it holds is of another version.
        """
        entry = self._of(instance)
        assert entry.file is None
        entry.file = file
        while entry.held:
            _note_held(entry, entry.held.pop())

    def have(self, message: Have) -> None:
        """
        Note what the viewer holds.

        Raises:
            Unwanted: If it is of another version, or too much is said of what is not known yet.
        """
        entry = self._of(message.instance)
        if entry.file is not None:
            _note_held(entry, message)
        elif len(entry.held) < MAX_REQUESTS:
            entry.held.append(message)
        else:
            raise Unwanted("busy", "too many messages on what is held")

    def add(self, request: Request) -> None:
        """
        Take a request; it goes before all that are not more urgent.

        Raises:
            Unwanted: If there are too many.
        """
        if len(self._waiting) >= MAX_REQUESTS:
            raise Unwanted("busy", f"more than {MAX_REQUESTS} requests", request=request.number)
        self._serial += 1
        self._waiting.append(_Waiting(request, self._serial))
        self._waiting.sort(key=lambda w: (w.request.priority, -w.serial))

    def cancel(self, number: int) -> None:
        """Drop a request; nothing if there is none."""
        self._waiting = [w for w in self._waiting if w.request.number != number]

    def drop_instance(self, instance: int) -> tuple[int, ...]:
        """Drop all requests for an instance that cannot be had; return their numbers."""
        dropped = [w for w in self._waiting if w.request.instance == instance]
        self._waiting = [w for w in self._waiting if w.request.instance != instance]
        return tuple(w.request.number for w in dropped)

    def next_piece(self, max_bytes: int, *, ahead: bool = True) -> Piece | None:
        """
        Return what goes next; it counts as sent. None while there is nothing.

        Args:
            max_bytes: Of the ranges and what a message says of them.
            ahead: Whether also of requests of AHEAD_PRIORITY and beyond.

        Raises:
            Unwanted: If a request names what the file does not have; it is dropped.
        """
        for waiting in list(self._waiting):
            if waiting.request.priority >= AHEAD_PRIORITY and not ahead:
                return None
            entry = self._of(waiting.request.instance)
            if waiting.request.preview and entry.has_preview and not entry.preview_sent:
                entry.preview_sent = True
                return SendPreview(waiting.request.instance)
            if entry.file is None:
                continue
            if not entry.index_sent:
                entry.index_sent = True
                return SendIndex(waiting.request.instance)
            ranges = self._take(waiting, entry, max_bytes)
            if ranges:
                return SendRanges(waiting.request.instance, ranges)
            self._waiting.remove(waiting)
            return RequestDone(waiting.request.number)
        return None

    def _of(self, instance: int) -> _Instance:
        return self._instances.setdefault(instance, _Instance())

    def _take(
        self, waiting: _Waiting, entry: _Instance, max_bytes: int
    ) -> tuple[tuple[int, int], ...]:
        """Return the next ranges of a request that were not sent, as many as a message takes."""
        if waiting.spans is None:
            try:
                waiting.spans = _spans(waiting.request, entry)
            except Unwanted:
                self._waiting.remove(waiting)
                raise
        taken: list[tuple[int, int]] = []
        left = max_bytes
        while left > _PART_BYTES:
            if waiting.current is None:
                waiting.current = next(waiting.spans, None)
                if waiting.current is None:
                    break
            missing = entry.sent.first_missing(*waiting.current)
            if missing is None:
                waiting.current = None
                continue
            start, end = missing[0], min(missing[1], missing[0] + left - _PART_BYTES)
            entry.sent.add(start, end)
            taken.append((start, end))
            left -= end - start + _PART_BYTES
        return tuple(taken)


def _note_held(entry: _Instance, message: Have) -> None:
    assert entry.file is not None
    if entry.file.version != message.version:
        raise Unwanted(
            "changed", "what the viewer holds is of another version", instance=message.instance
        )
    size = len(entry.file.data)
    for start, end in message.ranges:
        if len(entry.sent) >= MAX_RANGES:
            raise Unwanted("busy", "too many ranges are held", instance=message.instance)
        entry.sent.add(min(start, size), min(end, size))


def _spans(request: Request, entry: _Instance) -> Iterator[tuple[int, int]]:
    """
    Check a request against its file; return what it names in the order in which it is sent.

    Raises:
        Unwanted: If it names frames or a region that the file does not have.
    """
    file = entry.file
    assert file is not None
    header = file.header
    about = {"request": request.number, "instance": request.instance}
    end = request.first_frame + request.frames if request.frames else header.frames
    if not request.first_frame < end <= header.frames:
        raise Unwanted("unknown", "no such frames", **about)
    region = None
    if request.region is not None:
        region = region_of(header, *request.region)
        if region is None:
            raise Unwanted("unknown", "the region is outside the picture", **about)
    return _walk(request, entry, file, range(request.first_frame, end), region)


def _walk(
    request: Request, entry: _Instance, file: StudyFile, frames: range, region: Region | None
) -> Iterator[tuple[int, int]]:
    yield 0, file.header_bytes
    steps = min(request.steps, file.header.steps)
    for step in range(max(steps, 1)):
        for frame in frames:
            head, offset = entry.head(frame), file.offsets[frame]
            if step == 0:
                yield offset, offset + head.size_bytes
            if step < steps:
                for start, stop in step_spans(file.header, head, step, region):
                    yield offset + start, offset + stop
    if request.steps and frames == range(file.header.frames) and region is None:
        end = file.offsets[-1]
        yield end, end + END_BYTES
