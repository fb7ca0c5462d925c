"""
The pictures that are offered, and what is prepared of them.

    waiting ─▶ preparing ─▶ ready ─▶ (taken out of the cache) waiting
                        └─▶ failed

One process prepares, one picture at a time: those asked for first, then the others in order while
there is space. Belongs to the event loop; files are looked at in threads.
"""

import asyncio
import logging
import secrets
import shutil
import tempfile
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rtcodec.errors import BitstreamError
from rtcodec.process import Message
from rtcodec.session.study_message import Preview
from rtcodec.session.study_queue import StudyFile
from rtcodec.webrtc import monotonic_us
from rtcodec_server.logs import log_event
from rtcodec_server.study_audit import StudyAudit
from rtcodec_server.study_config import StudyConfig
from rtcodec_server.study_file import open_study_file
from rtcodec_server.study_source import Picture, find_pictures
from rtcodec_server.workers.managed import ManagedProcess

_log = logging.getLogger(__name__)

_MODULE: Final = "rtcodec_server.study_preparer"
_AHEAD_SHARE: Final = 0.8  # of the cache, for what nobody asked for
_PREVIEW_SHARE: Final = 0.04  # of the exact file, at most
_TICK_S: Final = 0.5
_LOOK_EVERY_US: Final = 2_000_000


@dataclass(slots=True)
class StudyStats:
    """What was done, since the start."""

    requests: int = 0
    sent_bytes: int = 0
    "Of messages to viewers."

    previews: int = 0
    prepared: int = 0
    failed: int = 0
    evicted: int = 0
    alarms: int = 0
    "Frames whose hash or check word did not agree at a viewer."

    fallbacks: int = 0


@dataclass(slots=True, eq=False)
class Instance:
    """One picture and what there is of it."""

    picture: Picture
    number: int
    "In its room, for good."

    state: str = "waiting"
    reason: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    preview: Preview | None = None
    preview_about: dict[str, Any] | None = None
    is_preview_known: bool = False
    file: StudyFile | None = None
    used_us: int = 0
    listeners: set[Callable[["Instance"], None]] = field(default_factory=set)
    "Called when something of it has changed."

    def describe(self, file: StudyFile | None = None) -> dict[str, Any]:
        """
        Return what a viewer is told: an INSTANCE of docs/studies.md.

        Args:
            file: That the viewer is sent, where it is another than the present one.
        """
        file = file or self.file
        fields: dict[str, Any] = {
            "number": self.number,
            "id": self.picture.id,
            "study": self.picture.study,
            "state": self.state if file is None else "ready",
            **self.about,
        }
        if self.reason is not None:
            fields["reason"] = self.reason
        if self.is_preview_known:
            fields["preview"] = self.preview_about
        if file is not None:
            fields["bytes"] = len(file.data)
            fields["header_bytes"] = file.header_bytes
            fields["version"] = file.version.hex()
        return fields

    def changed(self) -> None:
        """Tell who listens."""
        for listener in list(self.listeners):
            listener(self)


class StudyLibrary:
    """All pictures of the folder, by room."""

    def __init__(self, config: StudyConfig, *, model: str) -> None:
        """
        Args:
            config: With a directory.
            model: Installed model for previews; empty for none.
        """
        assert config.directory is not None
        self.stats = StudyStats()
        self.audit = StudyAudit(config.audit)
        self._config = config
        self._folder = config.directory
        self._model = model
        self._secret = (config.secret or secrets.token_hex(32)).encode()
        self._cache = Path(tempfile.mkdtemp(prefix="rtcodec-studies-", dir=config.cache))
        self._rooms: dict[str, list[Instance]] = {}
        self._known: dict[str, Instance] = {}
        self._wanted: list[Instance] = []
        self._job: tuple[int, Instance] | None = None
        self._n_jobs = 0
        self._began_us = 0
        self._looked_us: int | None = None
        self._process: ManagedProcess | None = None
        self._is_prepared = False
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching = asyncio.ensure_future(self._watch())

    @property
    def states(self) -> dict[str, int]:
        """State -> pictures in it."""
        counts = dict.fromkeys(("waiting", "preparing", "ready", "failed"), 0)
        for instance in list(self._known.values()):
            counts[instance.state] += 1
        return counts

    @property
    def cached_bytes(self) -> int:
        """Bytes of all files that are ready."""
        files = (instance.file for instance in list(self._known.values()))
        return sum(len(file.data) for file in files if file is not None)

    async def look(self) -> None:
        """Look at the folder again, if that was not just done."""
        if self._looked_us is not None and monotonic_us() - self._looked_us < _LOOK_EVERY_US:
            return
        self._looked_us = monotonic_us()
        found = await asyncio.to_thread(
            find_pictures, self._folder, self._config.room, self._secret
        )
        for picture in found:
            known = self._known.get(picture.id)
            if known is None:
                room = self._rooms.setdefault(picture.room, [])
                instance = Instance(picture, len(room))
                room.append(instance)
                self._known[picture.id] = instance
            elif known.picture.stamp != picture.stamp and known.state != "preparing":
                known.picture = picture
                self._reset(known)
        self._go_on()

    def instances(self, room: str) -> list[Instance] | None:
        """Return the pictures of a room, in order, or None if there is no such room."""
        return self._rooms.get(room)

    def want(self, instance: Instance) -> None:
        """Have a picture prepared before all others, if it is not ready."""
        instance.used_us = monotonic_us()
        if instance.state != "waiting":
            return
        if instance in self._wanted:
            self._wanted.remove(instance)
        self._wanted.insert(0, instance)
        self._go_on()

    async def close(self) -> None:
        """End the process and remove what it made."""
        self._is_closed = True
        self._watching.cancel()
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(self._watching, *self._tasks, return_exceptions=True)
        self.audit.close()
        await asyncio.to_thread(shutil.rmtree, self._cache, ignore_errors=True)

    # ---- preparing

    def _go_on(self) -> None:
        """Start the next job if there is none."""
        if self._job is not None or self._is_closed:
            return
        instance = self._next()
        if instance is None:
            return
        if self._process is None:
            self._process = ManagedProcess(_MODULE, on_message=self._hear, on_end=self._ended)
            self._process.start(model=self._model)
        self._n_jobs += 1
        self._job = self._n_jobs, instance
        self._began_us = monotonic_us()
        instance.state = "preparing"
        instance.changed()
        if self._is_prepared:
            self._send_job()

    def _next(self) -> Instance | None:
        if self._wanted:
            return self._wanted.pop(0)
        space = self._config.cache_mb * 1_000_000 * _AHEAD_SHARE
        if not self._config.ahead or self.cached_bytes > space:
            return None
        waiting = (i for i in self._known.values() if i.state == "waiting")
        return next(waiting, None)

    def _send_job(self) -> None:
        assert self._job is not None
        assert self._process is not None
        number, instance = self._job
        self._process.send(
            "prepare",
            job=number,
            path=str(instance.picture.path),
            uids=instance.picture.uids,
            target=str(self._target(instance)),
            allow_burned_in=self._config.allow_burned_in,
            within=self._config.within,
        )

    def _target(self, instance: Instance) -> Path:
        return self._cache / f"{instance.picture.id}.rtc"

    def _hear(
        self, process: ManagedProcess, kind: str, fields: Message, descriptors: list[int]
    ) -> None:
        if kind == "hello":
            self._is_prepared = True
            if self._job is not None:
                self._send_job()
            return
        if self._job is None or fields.get("job") != self._job[0]:
            return
        instance = self._job[1]
        if kind == "read":
            instance.about = fields["about"]
        elif kind == "preview":
            self._take_preview(instance, fields)
        elif kind == "failed":
            self._finish(instance, reason=fields["reason"])
            return
        elif kind == "ready":
            task = asyncio.ensure_future(self._open(instance))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        instance.changed()

    def _take_preview(self, instance: Instance, fields: Message) -> None:
        instance.is_preview_known = True
        about = fields["about"]
        if about is not None:
            instance.preview_about = {**about, "model": self._model}
            packets = tuple(b64decode(packet) for packet in fields["packets"])
            instance.preview = Preview(
                instance.number, about["frame"], about["width"], about["height"], packets
            )

    async def _open(self, instance: Instance) -> None:
        try:
            instance.file = await asyncio.to_thread(open_study_file, self._target(instance))
        except (BitstreamError, OSError, ValueError):
            self._finish(instance, reason="what was prepared cannot be read")
            return
        about = instance.preview_about
        if about is not None and about["bytes"] > _PREVIEW_SHARE * len(instance.file.data):
            instance.preview = instance.preview_about = None  # all of it is there as soon
        self._finish(instance)

    def _finish(self, instance: Instance, *, reason: str | None = None) -> None:
        self._job = None
        instance.state = "ready" if reason is None else "failed"
        instance.reason = reason
        instance.used_us = max(instance.used_us, 1)
        if reason is None:
            self.stats.prepared += 1
            self._make_room(instance)
        else:
            self.stats.failed += 1
            log_event(_log, "study_failed", instance=instance.picture.id, problem=reason)
        instance.changed()
        self._go_on()

    def _make_room(self, kept: Instance) -> None:
        """Take out what was not used for longest until the rest fits."""
        most = self._config.cache_mb * 1_000_000
        ready = sorted(
            (i for i in self._known.values() if i.file is not None and i is not kept),
            key=lambda i: i.used_us,
        )
        for instance in ready:
            if self.cached_bytes <= most:
                return
            self.stats.evicted += 1
            self._reset(instance)

    def _reset(self, instance: Instance) -> None:
        self._target(instance).unlink(missing_ok=True)
        instance.state, instance.reason, instance.file = "waiting", None, None
        instance.changed()

    def _ended(self, process: ManagedProcess) -> None:
        """Go on without the process, which a picture may have ended."""
        self._process, self._is_prepared = None, False
        if self._job is not None and not self._is_closed:
            log_event(_log, "study_preparer_ended", level=logging.WARNING)
            why = "took too long" if self._is_late() else "ended unexpectedly"
            self._finish(self._job[1], reason=f"preparing it {why}")

    def _is_late(self) -> bool:
        return monotonic_us() - self._began_us > self._config.prepare_s * 1e6

    async def _watch(self) -> None:
        """Give up pictures that take too long."""
        while True:
            await asyncio.sleep(_TICK_S)
            if self._job is not None and self._process is not None and self._is_late():
                self._process.kill()
