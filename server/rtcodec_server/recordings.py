"""
All recordings of a relay: which rooms are recorded, what came of it.

A recording belongs to a room's stay: it begins with the room's first frame or when it is asked for,
goes on while publishers come and go, and ends when it is stopped, at a limit, or with the room.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rtcodec.bitstream.sequence import MODEL_ID_BYTES
from rtcodec.engine.api import EngineInfo
from rtcodec.errors import RtcodecError
from rtcodec.webrtc import monotonic_us, to_unix_us
from rtcodec_server.event import RelayEvent
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.record_folder import RecordFolder
from rtcodec_server.record_writer import RecordTarget
from rtcodec_server.recording import Recording
from rtcodec_server.room import Room
from rtcodec_server.sink import FrameSink

_log = logging.getLogger(__name__)

_SINK: Final = "recording:"
"With the stay's id, what a stream knows a recording by; no session's name has a colon."

_CLOSE_PATIENCE_S: Final = 5.0
_MB: Final = 1_000_000


class CannotRecord(RtcodecError):
    """There is no folder, no such recording, or one already."""


class Recordable(Protocol):
    """What a recording needs of a stream."""

    def add_sink(self, name: str, sink: FrameSink) -> None:
        """Give it every frame from now on; the next one can be started from, if possible."""

    def remove_sink(self, name: str) -> None:
        """Give it nothing more."""

    def restart(self, name: str) -> None:
        """Make a frame that can be started from, if possible."""


@dataclass(slots=True)
class RecordTotals:
    """Figures of all recordings since the start."""

    frames: int = 0
    dropped: int = 0
    size_bytes: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    "Reason -> recordings."


@dataclass(slots=True)
class _Stay:
    """What is recorded of one stay of a room."""

    room: str
    room_id: str
    stream: Recordable | None = None
    recording: Recording | None = None
    was_stopped: bool = False
    "Whether somebody, or a limit, ended a recording: then none starts by itself."

    @property
    def sink(self) -> str:
        """Its name at a stream, which may outlast the stay: another relay's does."""
        return _SINK + self.room_id


class Recordings:
    """Starts and ends recordings. Belongs to the event loop."""

    def __init__(self, config: RecordConfig, *, tell: Callable[[RelayEvent], None]) -> None:
        """
        Args:
            config: Says where to and how much.
            tell: Called with events for logs and webhooks.
        """
        self.config = config
        self.folder = RecordFolder(config.directory) if config.directory is not None else None
        self._tell = tell
        self._totals = RecordTotals()
        self._stays: dict[str, _Stay] = {}
        self._open: set[Recording] = set()

    @property
    def n_open(self) -> int:
        """Recordings that go on."""
        return len(self._open)

    @property
    def totals(self) -> RecordTotals:
        """Figures since the start, those of recordings that go on among them."""
        sums = RecordTotals(
            self._totals.frames, self._totals.dropped, self._totals.size_bytes, self._totals.ended
        )
        for recording in tuple(self._open):
            _add(sums, recording.figures)
        return sums

    def report(self, room_id: str) -> dict[str, Any] | None:
        """Return the figures of a room's recording, or None."""
        stay = self._stays.get(room_id)
        if stay is None or stay.recording is None or not stay.recording.is_open:
            return None
        return stay.recording.figures

    # ---- what happens in the relay

    def stream_started(self, room: Room, stream: Recordable, engine: EngineInfo) -> None:
        """Note that a room has another stream; it is recorded if the room is."""
        if self.folder is None:
            return
        stay = self._stays.setdefault(room.id, _Stay(room.name, room.id))
        stay.stream = stream
        if stay.recording is not None and stay.recording.is_open:
            self._attach(stay, stay.recording)
        elif self.config.takes(room.name) and not stay.was_stopped:
            self._begin(stay, engine)

    def room_ended(self, room_id: str) -> None:
        """Note that everybody has left."""
        stay = self._stays.pop(room_id, None)
        if stay is not None and stay.recording is not None:
            stay.recording.end("room_ended")

    # ---- what operators ask for

    def start(self, room: Room, engine: EngineInfo) -> dict[str, Any]:
        """
        Record a room from now on; return what there is of it: nothing yet.

        Raises:
            CannotRecord: If there is no folder, too little room in it, or a recording already.
        """
        if self.folder is None:
            raise CannotRecord("no directory for recordings is set")
        if self.folder.free_bytes() < self.config.min_free_mb * _MB:
            raise CannotRecord("too little disk space is free to record")
        stay = self._stays.setdefault(room.id, _Stay(room.name, room.id))
        if stay.recording is not None and stay.recording.is_open:
            raise CannotRecord(f"room {room.name} is being recorded")
        return self._begin(stay, engine).figures

    async def stop(self, room: Room) -> dict[str, Any]:
        """
        End a room's recording; return its figures when its file is closed.

        Raises:
            CannotRecord: If there is none.
        """
        stay = self._stays.get(room.id)
        if stay is None or stay.recording is None or not stay.recording.is_open:
            raise CannotRecord(f"room {room.name} is not being recorded")
        recording = stay.recording
        recording.end("stopped")
        await recording.wait_ended()
        return recording.figures

    async def close(self) -> None:
        """End all of them and wait, but not for ever, until their files are closed."""
        for recording in tuple(self._open):
            recording.end("shutdown")
        waiting = [asyncio.ensure_future(r.wait_ended()) for r in tuple(self._open)]
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=_CLOSE_PATIENCE_S)
        for task in late:
            task.cancel()
        if late:
            _log.warning("%d recordings could not be finished: the disk hangs", len(late))

    # ---- inside

    def _begin(self, stay: _Stay, engine: EngineInfo) -> Recording:
        assert self.folder is not None
        folder, config, room = self.folder, self.config, stay.room
        target = RecordTarget(
            create=lambda: folder.create(room, unix_us=to_unix_us(monotonic_us())),
            free_bytes=folder.free_bytes,
            model_id=engine.model_id[:MODEL_ID_BYTES],
            references=engine.references,
            max_bytes=config.max_mb * _MB,
            min_free_bytes=config.min_free_mb * _MB,
        )
        recording = Recording(
            target,
            keyframe_us=round(config.keyframe_s * 1_000_000),
            max_us=config.max_s * 1_000_000,
            on_file=lambda name: self._on_file(stay, recording, name),
            on_end=lambda reason: self._on_end(stay, recording, reason),
        )
        stay.recording = recording
        self._open.add(recording)
        if stay.stream is not None:
            self._attach(stay, recording)
        return recording

    def _attach(self, stay: _Stay, recording: Recording) -> None:
        stream = stay.stream
        assert stream is not None
        recording.follow(lambda: stream.restart(stay.sink))
        stream.add_sink(stay.sink, recording)

    def _on_file(self, stay: _Stay, recording: Recording, name: str) -> None:
        if recording.figures["files"][0] == name:
            self._tell_of(stay, "recording_started", figures={"file": name})

    def _on_end(self, stay: _Stay, recording: Recording, reason: str) -> None:
        self._open.discard(recording)
        stay.was_stopped = True
        if stay.stream is not None and stay.recording is recording:
            stay.stream.remove_sink(stay.sink)
        figures = recording.figures
        _add(self._totals, figures)
        self._totals.ended[reason] = self._totals.ended.get(reason, 0) + 1
        if figures["files"] or reason in ("failed", "disk_full"):
            self._tell_of(stay, "recording_finished", reason=reason, figures=figures)

    def _tell_of(self, stay: _Stay, name: str, **more: Any) -> None:
        self._tell(RelayEvent(name=name, room=stay.room, room_id=stay.room_id, **more))


def _add(totals: RecordTotals, figures: dict[str, Any]) -> None:
    totals.frames += figures["frames"]
    totals.dropped += figures["dropped"]
    totals.size_bytes += figures["bytes"]
