"""
The `Engine` protocol over an engine in another process.

    planes --copy--> slot ~~socket: "encode"~~> engine process --copy--> slot --copy--> integers

When that process dies, calls fail with EngineCrashed until `attach` brings the next one. Streams
stay open: each is opened again with its next frame, whose lost reference makes it an intra frame.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from socket import SHUT_RDWR, send_fds, socket
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.entropy.native_tiles import scale_indices
from rtcodec.errors import EngineCrashed, EngineError, LocalProtocolError
from rtcodec.types import Planes
from rtcodec_engines.engine_wire import (
    MAX_JOBS,
    MAX_PACKET_BYTES,
    CloseRequest,
    CodedEntry,
    DecodeEntry,
    EncodeEntry,
    OpenRequest,
    Request,
    check_answer,
    read_coded,
    read_info,
    read_opened,
    write_request,
)
from rtcodec_engines.frame_slot import (
    FrameSlot,
    SlotForm,
    copy_planes,
    is_channels_last,
    new_memory,
)


class _Link:
    """Connections to one life of the engine process; each carries one call at a time."""

    def __init__(self, ends: Sequence[socket]) -> None:
        self._idle = list(ends)
        self._all = tuple(ends)
        self._change = threading.Condition()
        self.is_dead = False

    def call(self, request: Request, *descriptors: int) -> bytes:
        """Ask, wait, and return what follows in a good answer."""
        end = self._take()
        try:
            send_fds(end, [write_request(request)], descriptors)
            answer = end.recv(MAX_PACKET_BYTES)
        except OSError:
            answer = b""
        finally:
            self._give(end)
        if not answer:
            self.end()
            raise EngineCrashed("the engine process ended")
        return check_answer(answer)

    def end(self) -> None:
        """Close it; whoever waits for an answer gets none."""
        with self._change:
            self.is_dead = True
            for end in self._all:
                with suppress(OSError):  # the other side was faster, or it is closed already
                    end.shutdown(SHUT_RDWR)
            self._close_idle()
            self._change.notify_all()

    def _take(self) -> socket:
        with self._change:
            while not self._idle and not self.is_dead:
                self._change.wait()
            if self.is_dead:
                raise EngineCrashed("the engine process ended")
            return self._idle.pop()

    def _give(self, end: socket) -> None:
        with self._change:
            self._idle.append(end)
            if self.is_dead:
                self._close_idle()
            self._change.notify()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


@dataclass(slots=True, eq=False)
class _Stream:
    """A state here, and what it is over there."""

    form: SlotForm
    link: _Link
    remote: int
    slot: FrameSlot
    kept: set[int] = field(default_factory=set)
    "Where pictures are stored over there."

    lost: set[int] = field(default_factory=set)
    "Where pictures were, before the engine died."


class RemoteEngine:
    """An engine that another process has."""

    info: EngineInfo

    def __init__(self, bundle: Bundle) -> None:
        """
        Args:
            bundle: The model that the other process runs.
        """
        self.restarts = 0
        "Times that the process was replaced."
        self.given_up: str | None = None
        "Why there will be no process any more, once that is so."
        self._bundle = bundle
        self._link: _Link | None = None
        self._attached = threading.Event()
        self._is_closed = False
        self._streams: dict[StateId, _Stream] = {}
        self._ids = count()

    def attach(self, about: Mapping[str, Any], ends: Sequence[socket]) -> None:
        """
        Use an engine process from now on, instead of the one before.

        Args:
            about: What it runs, as it says so: `engine_wire.write_info`.
            ends: Our ends of its connections, blocking SOCK_SEQPACKET.

        Raises:
            RemoteProtocolError: If *about* is malformed.
        """
        info = read_info(about)
        old, self._link = self._link, _Link(ends)
        if self._is_closed:
            self._link.end()
        if old is not None:
            old.end()
            self.restarts += 1
        if info.model_id != self._bundle.model_id:
            self._link.end()
        self.info = info
        self._attached.set()

    @property
    def is_attached(self) -> bool:
        """Whether the process is there, as far as is known."""
        return self._link is not None and not self._link.is_dead and not self._is_closed

    def give_up(self, why: str) -> None:
        """Note that there will be no process any more."""
        self.given_up = why
        self._attached.set()

    def wait_attached(self) -> None:
        """
        Wait for the first engine process.

        Raises:
            EngineError: If it runs another model, never comes, or this is closed meanwhile.
        """
        self._attached.wait()
        if self._link is None and self.given_up is not None:
            raise EngineError(self.given_up)
        if self._is_closed:
            raise EngineError("closed while the engine started")
        if self.info.model_id != self._bundle.model_id:
            raise EngineError("the engine process runs another model")

    def open_state(self, width: int, height: int) -> StateId:
        """Make room for one stream, here and there."""
        form = SlotForm.of(self._bundle, width, height)
        link = self._current()
        state = StateId(next(self._ids))
        self._streams[state] = _Stream(form, link, *_open(link, form))
        return state

    def close_state(self, state: StateId) -> None:
        """Forget a stream."""
        stream = self._streams.pop(state, None)
        if stream is not None and stream.link is self._link:
            with suppress(EngineCrashed):  # and the state with it
                stream.link.call(CloseRequest(stream.remote))

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols."""
        link = self._current()
        outputs: list[EncodeOutput] = []
        for start in range(0, len(jobs), MAX_JOBS):
            outputs += self._encode(link, jobs[start : start + MAX_JOBS])
        return outputs

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures."""
        link = self._current()
        return [self._decode(link, job) for job in jobs]

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Return the scale indices of z; exact integers need no other process."""
        return scale_indices(self._bundle.scale_net, z, qp)

    def close(self) -> None:
        """Let go of the other process."""
        self._is_closed = True
        self._attached.set()
        if self._link is not None:
            self._link.end()
        self._streams.clear()

    def _current(self) -> _Link:
        if self._link is None or self._is_closed:
            raise EngineCrashed("there is no engine process")
        return self._link

    def _encode(self, link: _Link, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        streams = [self._stream(link, job.state) for job in jobs]
        entries = []
        for job, stream in zip(jobs, streams, strict=True):
            _check_size(stream, job.planes.width, job.planes.height)
            copy_planes(job.planes, stream.slot.source)
            reference = None if _is_gone(stream, job.reference) else job.reference
            entries.append(
                EncodeEntry(
                    stream.remote,
                    job.qp,
                    reference,
                    job.store,
                    job.reconstruct,
                    job.neural,
                    job.across_tiles,
                    job.thorough,
                )
            )
        coded = read_coded(link.call(entries), len(entries))
        for job, stream in zip(jobs, streams, strict=True):
            _note_stored(stream, job.store)
        return [_output(stream.slot, how) for stream, how in zip(streams, coded, strict=True)]

    def _decode(self, link: _Link, job: DecodeJob) -> Planes:
        stream = self._stream(link, job.state)
        _check_size(stream, job.width, job.height)
        if _is_gone(stream, job.reference):
            raise EngineCrashed("what the frame is predicted from is gone with its engine")
        last = is_channels_last(job.symbols)
        np.copyto(stream.slot.z(len(job.z)), job.z)
        np.copyto(stream.slot.symbols(len(job.symbols), channels_last=last), job.symbols)
        entry = DecodeEntry(
            stream.remote, job.qp, job.reference, job.store,
            len(job.z), len(job.symbols), last, job.spatial, job.across_tiles,
        )  # fmt: skip
        link.call([entry])
        _note_stored(stream, job.store)
        return _copied(stream.slot.picture)

    def _stream(self, link: _Link, state: StateId) -> _Stream:
        """Return a stream, opened again if the engine is another one by now."""
        stream = self._streams.get(state)
        if stream is None:
            raise LocalProtocolError(f"state {state} is not open")
        if stream.link is not link:
            stream.remote, stream.slot = _open(link, stream.form)
            stream.link = link
            stream.lost |= stream.kept
            stream.kept.clear()
        return stream


def _open(link: _Link, form: SlotForm) -> tuple[int, FrameSlot]:
    with new_memory(form) as descriptor:
        slot = FrameSlot(form, descriptor)
        try:
            return read_opened(link.call(OpenRequest(form.width, form.height), descriptor)), slot
        except BaseException:
            del slot  # the traceback would keep its memory for as long as somebody keeps the error
            raise


def _is_gone(stream: _Stream, reference: int | None) -> bool:
    return reference in stream.lost and reference not in stream.kept


def _note_stored(stream: _Stream, slot: int | None) -> None:
    if slot is not None:
        stream.kept.add(slot)


def _check_size(stream: _Stream, width: int, height: int) -> None:
    if (stream.form.width, stream.form.height) != (width, height):
        raise LocalProtocolError(f"the state was not opened for {width}x{height}")


def _output(slot: FrameSlot, how: CodedEntry) -> EncodeOutput:
    return EncodeOutput(
        slot.z(how.z_channels).copy(),
        slot.symbols(how.channels, channels_last=how.symbols_last).copy("K"),
        slot.indices(how.channels, channels_last=how.indices_last).copy("K"),
        _copied(slot.picture) if how.has_picture else None,
        how.is_delta,
        how.is_spatial,
        how.across_tiles,
        how.has_copies,
    )


def _copied(planes: Planes) -> Planes:
    return Planes(planes.y.copy(), planes.u.copy(), planes.v.copy())
